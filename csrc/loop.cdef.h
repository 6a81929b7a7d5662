/* event2/event.h: the base and its pass. */

#ifdef PEV_CDEF
#define EVLOOP_ONCE ...
#define EVLOOP_NONBLOCK ...
#define EVLOOP_NO_EXIT_ON_EMPTY ...
#define EV_FEATURE_ET ...
#define EV_FEATURE_O1 ...
#define EV_FEATURE_FDS ...
#define EV_FEATURE_EARLY_CLOSE ...
#define EVENT_BASE_FLAG_NOLOCK ...
#define EVENT_BASE_FLAG_IGNORE_ENV ...
#define EVENT_BASE_FLAG_NO_CACHE_TIME ...
#define EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST ...
#define EVENT_BASE_FLAG_PRECISE_TIMER ...
#define EVENT_BASE_COUNT_ACTIVE ...
#define EVENT_BASE_COUNT_VIRTUAL ...
#define EVENT_BASE_COUNT_ADDED ...
#endif

/* What pev_loop_pass may say beside the number of entries. */
enum {
	PEV_PASS_EMPTY = 0x10000, /* no event is pending or active */
	PEV_PASS_READS = 0x80000, /* nothing but bytes to read: pev_loop_reads has the numbers */
	PEV_PASS_LOGGED = 0x20000,      /* libevent had something to say: pev_log_next */
	PEV_PASS_INTERRUPTED = 0x40000, /* a signal, or pev_loop_wake */
	/* and what may be said to it, beside EVLOOP flags */
	PEV_PASS_TAKEN = 0x10000 /* the entries of the pass before were taken: else they are handed over again */
};

struct pev_loop;

/* As many places as a pass may fill, and more than what ends a pass and the most of one read. Shifted up, a place in it leaves
 * room for its end. */
#define PEV_ARENA_SIZE 1048576
#define PEV_FRESH_BITS 21
#define PEV_FRESH_LEFT 0x20000000000000 /* above any descriptor */

/* What is read begins at a multiple of this. */
#define PEV_PLACE_SIZE 2048

/* The most that one pass hands over. */
#define PEV_READY_MAX 256

/* One entry of what a pass found. */
struct pev_ready {
	uint64_t id;
	unsigned what;
	int detail;
};

struct pev_statistics {
	uint64_t passes;   /* crossings into C */
	uint64_t polls;    /* calls of event_base_loop in them */
	uint64_t noted;    /* entries handed to Python */
	uint64_t cut_short; /* passes ended because enough was gathered */
};

struct pev_config {
	const char *avoid; /* names of methods, separated by commas */
	int features;
	int flags;
	int num_cpus_hint;
	double max_interval; /* seconds, negative: none */
	int max_callbacks;   /* negative: no limit */
	int min_priority;
	int fast_io; /* fast.c */
};

struct pev_loop *pev_loop_new(const struct pev_config *config);
int pev_loop_close(struct pev_loop *loop);
void pev_loop_free(struct pev_loop *loop);
int pev_loop_check(struct pev_loop *loop);
int pev_loop_check_thread(struct pev_loop *loop);
int pev_loop_may_enter(struct pev_loop *loop);
int pev_loop_enter(struct pev_loop *loop);
void pev_loop_leave(struct pev_loop *loop);
int pev_loop_goes_on(struct pev_loop *loop, int polled);
int pev_loop_pass(struct pev_loop *loop, int flags);
const struct pev_ready *pev_loop_ready(struct pev_loop *loop);
const uint64_t *pev_loop_reads(struct pev_loop *loop);
const char *pev_loop_arena(struct pev_loop *loop);
void pev_loop_set_much(struct pev_loop *loop, int bytes);
int pev_loop_wake(struct pev_loop *loop);
int pev_loop_watch(struct pev_loop *loop, int fd);
int pev_loop_beat(struct pev_loop *loop, double seconds);
int pev_loop_is_mine(struct pev_loop *loop);
int pev_loop_reinit(struct pev_loop *loop);
int pev_loop_set_priorities(struct pev_loop *loop, int n);
