/* The loop, its passes, and the events of our own on it. */
#ifndef PEV_LOOP_H
#define PEV_LOOP_H

/* How much one pass may gather before Python gets its turn. Entries bound the time that callbacks wait; bytes keep
 * what was read in the processor's cache until Python looks at it. */
#define PEV_READY_BYTES (256 * 1024)

/* Of one read on the fast path: what asyncio and uvloop read. Behind the arena is room for a TLS record beside it. */
#define PEV_READ_MOST (256 * 1024)

/* What takes longer to copy than it takes to ask the system whether it is there. */
#define PEV_MUCH (32 * 1024)
#define PEV_ARENA_SLACK (20 * 1024)
#define PEV_RECORDS_SIZE (72 * 1024)

struct pev_loop {
	struct event_base *base; /* NULL once closed */
	unsigned fork_generation;
	int running; /* a thread is in EventBase.loop(), in C or in Python */
	pthread_t thread; /* the one that is, or was last, or made the base */
	int in_pass;
	int interrupted; /* end the pass though nothing was noted */
	int peeks;       /* memoryviews lent out over buffers that a pass may change */
	int relaying;    /* a relay is writing */

	struct pev_sources noted;
	unsigned n_noted;
	size_t bytes_noted;
	struct pev_ready ready[PEV_READY_MAX];
	uint64_t reads[PEV_READY_MAX]; /* their numbers */
	int n_ready; /* handed over by the last pass */
	struct timeval now; /* the time of the last pass */
	struct pev_statistics statistics;

	struct event wake;
	struct event watch; /* the read end of the wake-up descriptor, fd -1 when there is none */
	struct event beat;  /* where signals can't wake us: somebody else owns the wake-up descriptor */
	struct event second_look; /* at what waits for EV_CLOSED only */
	struct event *clock;      /* looks whether the clock was set back, while there are rate limits */
	double clock_ahead;       /* of the monotonic one, at the last look */
	struct event *breakers; /* one a priority */
	struct event *breaker;  /* the one that is on its way */
	struct pev_mark *marks; /* of rest.c, one a priority */
	int n_marks;            /* that are on their way */
	int marked;
	int patient;            /* this pass leaves on the fast path what is too much for one, and goes on */
	int brief;              /* this pass is to end though only C has work */
	int defers;             /* there may be deferred callbacks */
	int n_priorities;

	pthread_rwlock_t gate; /* who is inside from any thread; a close waits until nobody is */
	int fork_locks;        /* what a fork could lock */
	pthread_t excluder;    /* who holds the gate for writing */
	pthread_t claimer;     /* who is inside alone, while no thread runs the loop; 0: nobody */
	pthread_mutex_t lock; /* guards children, graves, and what is counted */
	struct pev_modes *modes; /* how events watch each descriptor */
	int n_modes;
	int n_signals; /* signal events that are added */
	struct pev_sources children;
	struct pev_source *graves;
	int fast_io; /* bufferevents on it take part in fast.c */
	char *arena; /* where the fast path reads to in a pass */
	char *records; /* where ciphertext is gathered, once there was more than one record to send */
	size_t arena_used;
	int much; /* fresh.c: so many bytes at a time, and more, are left in the socket */
	TAILQ_HEAD(, pev_bev) fresh; /* those that have something there */
	TAILQ_HEAD(, pev_bev) waiting; /* those that the last poll found, and whose turn comes in a later pass */
	struct pev_bev *leaving; /* with a lock, and to be closed when no pass is on */
	TAILQ_HEAD(, pev_ssl) roomy; /* those with buffers to release */
	TAILQ_ENTRY(pev_loop) next_loop;
};

/* All that Python takes at a time. */
static inline int
pev_is_full(const struct pev_loop *loop)
{
	return loop->n_noted >= PEV_READY_MAX || loop->bytes_noted >= PEV_READY_BYTES;
}

/* ---- pass.c ---- */

extern __thread struct pev_loop *pev_passing; /* the one whose pass is on in this thread */

/* ---- wake.c ---- */

void pev_mark_internal(struct event *ev);
int pev_assign_own_events(struct pev_loop *loop);
int pev_make_breakers(struct pev_loop *loop, int n);

/* A pass that was cut short has left it in its queue. */
static inline void
pev_forget_breaker(struct pev_loop *loop)
{
	if (loop->breaker != NULL)
		event_del(loop->breaker);
	loop->breaker = NULL;
}

/* ---- signals.c ---- */

int pev_claim_signals(struct pev_loop *loop);
void pev_release_signals(struct pev_loop *loop);

/* ---- event.c ---- */

uint64_t pev_event_id(const struct event *ev);
void pev_second_look(evutil_socket_t fd, short what, void *arg);

static inline int
pev_event_priority(const struct event *ev)
{
	return ev->ev_evcallback.evcb_pri;
}

/* ---- rest.c ---- */

int pev_make_marks(struct pev_loop *loop, int n);
void pev_forget_rest(struct pev_loop *loop);

/* ---- room.c ---- */

void pev_ssl_release_all(struct pev_loop *loop);

/* ---- fork.c ---- */

extern unsigned pev_fork_generation;

void pev_fork_add(struct pev_loop *loop);
void pev_fork_remove(struct pev_loop *loop);

/* Around a fork: no lock of ours may be held by a thread that the child doesn't have. */
void pev_lock_signals(void);
void pev_unlock_signals(void);
void pev_forget_signals(void);
void pev_lock_changes(void);
void pev_unlock_changes(void);

#endif
