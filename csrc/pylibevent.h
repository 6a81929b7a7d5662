/* What the files of csrc/ share: the loop, and the handles that Python holds.
 *
 * Python never holds a pointer of libevent's. It holds a handle: a small struct of ours that owns, or is lent,
 * one object of libevent's, and every function that Python calls goes through its handle. That is where the rules
 * stand that keep a Python program from crashing:
 *
 *   1. A handle outlives its object. Closing clears the pointer, so a late call finds NULL and says PEV_ECLOSED.
 *   2. A handle knows its loop. A base used in a forked child before reinit() says PEV_EFORKED; a call from a thread
 *      other than the one that is running the loop says PEV_ETHREAD, unless the object has a lock.
 *   3. C never calls Python to say that something happened. Trampolines note it on the handle's source, the pass ends,
 *      and Python reads what was noted (pev_loop_pass). Only what needs an answer at once calls Python.
 *   4. Functions return 0 or more, or a negative code: -errno, or one of the PEV_E codes below. Those that return a
 *      pointer return NULL and leave the positive code in errno.
 */
#ifndef PYLIBEVENT_H
#define PYLIBEVENT_H

#include <errno.h>
#include <pthread.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/bufferevent_struct.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <event2/thread.h>
#include <event2/util.h>

#include <openssl/ssl.h>

#define PEV_UNUSED(x) (void)(x)

/* One thing that Python can be told about. It is the first member of each handle that has something to tell. */
struct pev_source {
	struct pev_loop *loop; /* NULL once the loop is closed */
	uint64_t id;           /* Python's name for it; never used twice in a process */
	unsigned noted;        /* what happened and was not yet handed to Python */
	int detail;            /* an errno or a count, by kind */
	unsigned due;          /* what was handed over, in that pass */
	uint64_t due_pass;
	unsigned char in_loop; /* a member of loop->children */
	unsigned char layer;   /* pev_loop_close shuts smaller ones first */
	/* Frees the object when the loop closes; the handle itself stays. */
	void (*shut)(struct pev_source *);
	/* Frees object and handle: Python has dropped it. */
	void (*drop)(struct pev_source *);
	TAILQ_ENTRY(pev_source) next_noted;
	TAILQ_ENTRY(pev_source) next_child;
	struct pev_source *next_grave;
};

enum {
	PEV_LAYER_RELAY,
	PEV_LAYER_BUFFEREVENT,
	PEV_LAYER_GROUP,
	PEV_LAYER_LISTENER,
	PEV_LAYER_DNS,
	PEV_LAYER_EVENT,
	PEV_LAYER_DEADLINE,
	PEV_LAYERS
};

TAILQ_HEAD(pev_sources, pev_source);

#include "library.cdef.h"
#include "util.cdef.h"
#include "loop.cdef.h"
#include "base.cdef.h"
#include "event.cdef.h"
#include "fork.cdef.h"
#include "buffer.cdef.h"
#include "bufferevent.cdef.h"
#include "listener.cdef.h"
#include "dns.cdef.h"
#include "tls.cdef.h"
#include "ssl.cdef.h"
#include "pair.cdef.h"
#include "filter.cdef.h"
#include "ratelimit.cdef.h"
#include "relay.cdef.h"
#include "handshake.cdef.h"
#include "ask.cdef.h"
#include "credentials.cdef.h"
#include "hello.cdef.h"
#include "verify.cdef.h"
#include "ciphers.cdef.h"
#include "psk.cdef.h"
#include "keylog.cdef.h"
#include "decode.cdef.h"
#include "direct.cdef.h"
#include "finish.cdef.h"
#include "inspect.cdef.h"
#include "session.cdef.h"
#include "ticket.cdef.h"
#include "seal.cdef.h"
#include "deadline.cdef.h"
#include "pause.cdef.h"
#include "certify.cdef.h"
#include "offer.cdef.h"
#include "approve.cdef.h"

/* ---- loop.c ---- */

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
	int fork_locks;        /* what pev_lock_loops could lock */
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

extern unsigned pev_fork_generation;

/* All that Python takes at a time. */
static inline int
pev_is_full(const struct pev_loop *loop)
{
	return loop->n_noted >= PEV_READY_MAX || loop->bytes_noted >= PEV_READY_BYTES;
}

/* ---- visit.c ---- */

/* What a call holds while it is inside: PEV_VISIT(pev_visit_...) comes first in each function that Python calls, and lets go
 * of it at the function's end. */
struct pev_visit {
	struct pev_loop *gated;    /* its gate is held for reading */
	struct pev_loop *claimed;  /* no other thread's call is inside */
	struct pev_buffer *buffer; /* counted in it */
	int multicast;             /* the lock of shared chains is held */
};

struct pev_buffer;
struct pev_bev;

struct pev_visit pev_visit_shared(struct pev_loop *loop);
struct pev_visit pev_visit_alone(struct pev_loop *loop);
struct pev_visit pev_visit_bev(const struct pev_bev *h);
struct pev_visit pev_visit_buffer(struct pev_buffer *h);
void pev_visit_end(struct pev_visit *visit);

/* Python is called by this thread, and C waits: libevent may be on the stack, in a pass or not. */
struct pev_call {
	const struct pev_loop *loop;
	struct pev_call *outer;
};

void pev_call_begin(struct pev_call *call, const struct pev_loop *loop);
void pev_call_end(const struct pev_call *call);
int pev_is_calling(const struct pev_loop *loop);

int pev_try_claim(struct pev_loop *loop);
int pev_exclude(struct pev_loop *loop);
void pev_readmit(struct pev_loop *loop, int excluded);
void pev_unclaim(struct pev_loop *loop);
void pev_start_multicast(void);
int pev_multicast_seen(void);
void pev_init_multicast_lock(void);

#define PEV_PASTE(a, b) a##b
#define PEV_NAME(a, b) PEV_PASTE(a, b)
#define PEV_VISIT(begin) \
	__attribute__((cleanup(pev_visit_end), unused)) struct pev_visit PEV_NAME(visit_, __LINE__) = begin

/* The thread that runs the loop: nobody else's calls come in, and nobody closes the base. */
static inline int
pev_runs_here(const struct pev_loop *loop)
{
	return __atomic_load_n(&loop->running, __ATOMIC_ACQUIRE) && pthread_equal(loop->thread, pthread_self());
}

static inline int
pev_runs_elsewhere(const struct pev_loop *loop)
{
	return __atomic_load_n(&loop->running, __ATOMIC_ACQUIRE) && !pthread_equal(loop->thread, pthread_self());
}

/* What pev_visit_alone asks for. */
static inline int
pev_is_alone(const struct pev_loop *loop)
{
	return pev_runs_here(loop) || (!pev_runs_elsewhere(loop) && loop->claimer == pthread_self());
}

/* The state checks of rule 2. any_thread: a shared visit is enough. */
static inline int
pev_loop_usable(const struct pev_loop *loop, int any_thread)
{
	if (loop == NULL || loop->base == NULL)
		return -PEV_ECLOSED;
	if (loop->fork_generation != pev_fork_generation)
		return -PEV_EFORKED;
	return any_thread || pev_is_alone(loop) ? 0 : -PEV_ETHREAD;
}

/* Around a fork: no lock of ours may be held by a thread that the child doesn't have. */
void pev_lock_loops(void);
void pev_unlock_loops(int in_child);
void pev_lock_signals(void);
void pev_unlock_signals(void);
void pev_lock_changes(void);
void pev_unlock_changes(void);

/* ---- source.c ---- */

void pev_source_init(struct pev_source *source, struct pev_loop *loop, uint64_t id, int layer,
    void (*shut)(struct pev_source *), void (*drop)(struct pev_source *));
void pev_source_forget(struct pev_source *source);
void pev_source_forget_safely(struct pev_source *source);
void pev_source_leave(struct pev_source *source);
void pev_source_discard(struct pev_source *source);
void pev_note(struct pev_source *source, unsigned what, int priority);
void pev_note_fresh(struct pev_source *source, size_t n, int priority);
void pev_end_pass(struct pev_loop *loop);
void pev_end_poll(struct pev_loop *loop, int priority);
int pev_default_priority(const struct pev_loop *loop);
void pev_empty_graves(struct pev_loop *loop);

/* ---- loop.c, event.c ---- */

extern __thread struct pev_loop *pev_passing; /* the one whose pass is on in this thread */

void pev_mark_internal(struct event *ev);
int pev_claim_signals(struct pev_loop *loop);
void pev_release_signals(struct pev_loop *loop);
void pev_second_look(evutil_socket_t fd, short what, void *arg);

static inline int
pev_event_priority(const struct event *ev)
{
	return ev->ev_evcallback.evcb_pri;
}

/* ---- rest.c ---- */

int pev_make_marks(struct pev_loop *loop, int n);
void pev_forget_rest(struct pev_loop *loop);

/* ---- library.c ---- */

void *pev_new(size_t size);
void pev_delete(void *p);
int pev_timeval(double seconds, struct timeval *tv);
int pev_log_waiting(void);

static inline double
pev_seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

/* ---- util.c ---- */

int pev_address_to_sockaddr(const struct pev_address *address, struct sockaddr_storage *out, socklen_t *length);
void pev_address_from_sockaddr(struct pev_address *address, const struct sockaddr *sa, socklen_t length);

/* ---- buffer.c ---- */

struct pev_buffer {
	struct evbuffer *own;  /* a buffer of its own, or */
	struct pev_bev *owner; /* the bufferevent whose input or output this is; NULL when that is gone */
	unsigned char closed;
	unsigned char is_output;
	unsigned char frozen; /* the ends that Python froze */
	unsigned char is_changed;
	unsigned char is_orphan; /* Python has dropped it, and the bufferevent frees it */
	int exports; /* memoryviews lent out */
	unsigned fork_generation;
	int inside; /* calls that are under way, in all threads: those of other threads aren't there after a fork */
	struct pev_lending *lending; /* it shows a buffer of a filter's while that is called */
	unsigned char for_filters;   /* it can do that, and nothing else */
	pthread_t lent_to;
	uint64_t id;
	struct evbuffer_cb_entry *callback;
	struct pev_change change; /* not yet told */
	pthread_t changed_by;
	struct pev_buffer *next_changed;
};

/* Which ends Python has frozen; libevent doesn't tell. */
enum { PEV_START_FROZEN = 1, PEV_END_FROZEN = 2 };

/* What a function is about to do to a buffer. */
enum { PEV_LOOK = 0, PEV_ADD = 1, PEV_PREPEND = 2, PEV_DRAIN = 4 };

int pev_buffer_enter(struct pev_buffer *h, int needs, struct evbuffer **out);
long long pev_buffer_leave(struct evbuffer *buf, long long result);
int pev_buffer_place(struct evbuffer *buf, struct evbuffer_ptr *ptr, size_t at);
void pev_buffer_owner_gone(struct pev_buffer *h, int keep);
void pev_forget_changes(struct pev_buffer *h);

/* ---- filter.c ---- */

/* Two buffers, lent to Python while one call of a filter lasts. */
struct pev_lending {
	struct evbuffer *from[2]; /* source, destination */
	struct pev_buffer *to[2];
};

void pev_lent_dropped(struct pev_buffer *h);
void pev_lending_end(struct pev_lending *lending);
int pev_call_filter(uint64_t id, int is_output, struct pev_lending *lending, long long limit, int mode);

/* ---- bufferevent.c ---- */

struct pev_bev {
	struct pev_source source;
	struct bufferevent *bev;  /* NULL once closed */
	unsigned char options;    /* as Python gave them */
	unsigned char wants;      /* EV_READ, EV_WRITE: Python has a callback */
	unsigned char ended;      /* BEV_EVENT_EOF, BEV_EVENT_ERROR once they came */
	unsigned char connecting; /* PEV_CONNECT_... */
	unsigned char made_fd;    /* connect made the socket */
	unsigned char paused;     /* reading stopped at the high mark until something is drained */
	unsigned char lingering;  /* closed by Python, with something left to send */
	unsigned char open;       /* the handshake, where there is one, is done */
	unsigned char fast;       /* takes part in fast.c */
	unsigned char own_limits; /* EV_READ, EV_WRITE: Python has set the most of one read or write */
	unsigned char busy;       /* OpenSSL waits for an answer about it */
	unsigned char leaving;    /* PEV_LEAVE_...: on its loop's list */
	struct pev_bev *next_leaving;
	unsigned char waiting;    /* on its loop's list */
	unsigned char sends_much; /* the last that came in was large */
	unsigned char cut;        /* nothing more may be written: the end was said, or nobody is there who could get it */
	int exports;              /* memoryviews lent out over input or output */
	unsigned fresh_start, fresh_length; /* fresh.c: came in in this pass, and wasn't taken yet */
	uint64_t sent_before;     /* the pass before which something was sent at once */
	int read_error, send_error; /* errno of what the socket told us, and Python wasn't told yet */
	unsigned expected;        /* bytes of the next read, 0 before the first */
	TAILQ_ENTRY(pev_bev) next_fresh, next_waiting;
	struct evbuffer_cb_entry *drain_callback, *output_callback;
	struct pev_buffer *views[2]; /* Python's input and output */
	struct event *deadline;      /* of a close that lingers */
	double time_left;            /* for closing, in seconds */
	const struct pev_layer *layer; /* what a kind other than the plain socket does differently */
	struct pev_bev *under;         /* what it stands on */
	struct pev_bev *over;          /* what stands on it, and goes first */
	struct pev_limits *limits;     /* rate limits, NULL if there never were any */
	struct pev_relay *relay;       /* what it is a part of */
	/* Who has the callbacks when the connection stands: a TLS layer, for instance. */
	bufferevent_data_cb upper_read, upper_write;
	bufferevent_event_cb upper_event;
	void *upper_arg;
	struct evbuffer_cb_entry *sent_callback; /* of one above, whose close waits for this output */
};

enum { PEV_LEAVE_NOT, PEV_LEAVE_CLOSE, PEV_LEAVE_FREE };
enum { PEV_NOT_CONNECTING, PEV_CONNECTING, PEV_CONNECT_FAILED };

struct pev_layer {
	/* An event, before it is noted: what is left of it, 0 for nothing. */
	short (*on_event)(struct pev_bev *h, short what, int error);
	/* Closing, and the output is empty: 1 when nothing more is to be sent, 0 when it will call pev_bev_free later. */
	int (*on_drained)(struct pev_bev *h);
	/* Nothing more shall be written, but read; NULL: flush. */
	void (*end_writing)(struct pev_bev *h);
	/* The one below is open. */
	void (*begin)(struct pev_bev *h);
	/* Something was written. */
	void (*on_write)(struct pev_bev *h);
	/* Something was read. */
	void (*on_read)(struct pev_bev *h);
	/* Nothing more shall be read. */
	void (*stop_reading)(struct pev_bev *h);
	/* Just before, and just after the bufferevent is freed. */
	void (*before_free)(struct pev_bev *h);
	void (*after_free)(struct pev_bev *h, struct pev_bev *under);
	/* The handle is about to be freed. */
	void (*on_drop)(struct pev_bev *h);
	/* Reading or writing is to be switched on: 1 when the layer sees to it later. */
	int (*enable_later)(struct pev_bev *h, short events);
	/* Reading or writing was switched on. */
	void (*on_enable)(struct pev_bev *h);
	/* An event while it is being closed: what is left of it. */
	short (*sift)(struct pev_bev *h, short what);
	/* Moves what it can, regardless of marks: 1 when anything was moved. */
	int (*flush)(struct pev_bev *h, int iotype, int mode);
	/* Closing: whether the output is still on its way down; without this: while there is any. */
	int (*is_sending)(struct pev_bev *h);
	/* Switches or marks were changed, or bytes were written. */
	void (*on_change)(struct pev_bev *h);
	/* Whether Python is called from within, so that freeing must wait. */
	int (*is_busy)(const struct pev_bev *h);
	/* It tells the end of the one below when it has taken everything from there; libevent's TLS tells it at once. */
	int waits_for_all;
	/* Of pairs: the other end, and what its bytes come from, which may outlive it. NULL: there is none. */
	struct pev_bev *(*partner)(const struct pev_bev *h);
	struct bufferevent *(*source)(const struct pev_bev *h);
	/* Its events watch a descriptor, as a plain socket's do. */
	int has_descriptor;
	/* A TLS filter: records.c may move its bytes. */
	int is_records;
	/* Whether moving bytes would change memory that somebody looks at, beside its own. */
	int (*peeked)(const struct pev_bev *h);
};

void pev_bev_opened(struct pev_bev *h);
int pev_bev_asks(const struct pev_bev *h);
int pev_bev_usable(struct pev_bev *h);
int pev_bev_usable_alone(struct pev_bev *h);
int pev_bev_freeable(struct pev_bev *h);
void pev_bev_listen(struct pev_bev *h);
void pev_bev_init(struct pev_bev *h, struct pev_loop *loop, struct bufferevent *bev, int options, uint64_t id,
    const struct pev_layer *layer);
int pev_bev_c_options(int options);
int pev_bev_filter_options(int options);
int pev_bev_share_lock(struct bufferevent *bev, int options);
void pev_bev_free(struct pev_bev *h);
void pev_bev_step(struct pev_bev *h);
void pev_bev_leave_all(struct pev_loop *loop);
void pev_bev_shut(struct pev_source *source);
void pev_bev_drop_now(struct pev_source *source);
int pev_bev_is_socket(const struct pev_bev *h);
int pev_bev_has_descriptor(const struct pev_bev *h);
short pev_bev_sift_events(struct pev_bev *h, short what, int error);
void pev_bev_note_events(struct pev_bev *h, short what, int error);
void pev_bev_hold(struct pev_bev *h);
void pev_bev_changed(struct pev_bev *h);
int pev_below_is_sent(struct pev_bev *h);
void pev_call_when_sent(struct pev_bev *h);
int pev_end_is_early(const struct pev_bev *h);
void pev_bev_take_callbacks(struct pev_bev *h);
void pev_bev_connect_event(struct pev_bev *h, short what, int error);
void pev_bev_close_descriptor(struct pev_bev *h);
void pev_ssl_release_all(struct pev_loop *loop);
int pev_socket_give(struct pev_bev *h, int fd);
int pev_bev_hears(const struct pev_bev *h);
void pev_farewell(struct pev_loop *loop, int fd, double seconds);
int pev_bev_has_output(const struct pev_bev *h);
int pev_bev_peeked(const struct pev_bev *h);

/* ---- lastwords.c ---- */

void pev_bev_last_words(struct pev_bev *h);

/* ---- idle.c ---- */

void pev_time_output(struct pev_bev *h, const struct evbuffer_cb_info *info);

/* ---- ratelimit.c ---- */

enum { PEV_READ, PEV_WRITE };

/* The rate limits of a bufferevent that nothing is under. */
struct pev_limits {
	struct pev_bev *owner;
	struct ev_token_bucket_cfg *cfg; /* NULL: none of its own */
	struct pev_rate rate;
	struct pev_group *group;
	TAILQ_ENTRY(pev_limits) next_member;
	struct evbuffer_cb_entry *on_received, *on_sent;
	struct pev_valve *valve; /* of a pair's end */
	long long levels[2];     /* of a pair's end: its buckets */
	uint64_t tick;           /* in which they were filled last */
	size_t unlimited;   /* bytes read without a limit since the bucket was last filled up */
	unsigned char sent; /* something was, since the last write callback */
};

struct pev_group {
	struct pev_source source;
	struct bufferevent_rate_limit_group *group; /* NULL once closed */
	struct pev_rate rate;
	struct event hold; /* keeps the loop while members wait */
	uint64_t totals[2]; /* of groups of libevent's that were here before */
	int min_share;
	int n_members;
	TAILQ_HEAD(, pev_limits) members;
};

int pev_limits_sent(struct pev_bev *h);
void pev_limits_free(struct pev_bev *h);
void pev_limits_renew(struct pev_limits *l);
struct ev_token_bucket_cfg *pev_make_cfg(const struct pev_rate *rate);
long long pev_within(long long level, long long n, int burst);
long long pev_level_kept(const struct pev_rate *old, const struct pev_rate *new, int d, long long level);
struct pev_bev *pev_bottom_of(struct pev_bev *h);
struct pev_bev *pev_find_bottom(struct pev_bev *h, int *code);
struct pev_limits *pev_make_limits(struct pev_bev *low);
void pev_calm(struct pev_bev *low);

/* ---- group.c ---- */

struct bufferevent_rate_limit_group *pev_make_group(struct event_base *base, const struct pev_rate *rate);
void pev_leave_group(struct pev_limits *l);
long long pev_group_bucket(struct bufferevent_rate_limit_group *group, int is_write);
void pev_group_spend(struct bufferevent_rate_limit_group *group, int is_write, long long n);
void pev_on_hold(evutil_socket_t fd, short what, void *arg);
int pev_limits_hold(struct pev_loop *loop);

void pev_group_renew(struct pev_group *g);

/* ---- clock.c ---- */

void pev_watch_clock(struct pev_loop *loop);
void pev_forget_clock(struct pev_loop *loop);

/* ---- meter.c ---- */

/* What lets bytes into a pair's end, while there is a limit on their way. */
struct pev_valve {
	struct bufferevent_rate_limit_group *gate; /* suspends the reading of its only member */
	struct event step; /* lets some bytes in; internal to libevent's eyes */
	struct event hold; /* keeps the loop while bytes wait */
};

static inline int
pev_is_pair(const struct pev_bev *h)
{
	return h->layer != NULL && h->layer->partner != NULL;
}

int pev_limits_changed(struct pev_bev *h);
void pev_meter_set(struct pev_limits *l, const struct pev_rate *rate);
long long pev_meter_level(struct pev_limits *l, int is_write);
long long pev_meter_max(struct pev_bev *h, int is_write);
void pev_meter_charge(struct pev_limits *l, int is_write, long long n);
void pev_valve_kick(struct pev_bev *h);
void pev_valve_free(struct pev_limits *l);
int pev_valve_is_waiting(struct pev_bev *h);

/* Whether a rate limit is set, its own or that of a group. */
static inline int
pev_bev_is_limited(const struct pev_bev *h)
{
	return h->limits != NULL && (h->limits->cfg != NULL || h->limits->group != NULL);
}

/* ---- fast.c ---- */

void pev_fast_start(struct pev_bev *h);
void pev_fast_take_over(struct pev_bev *h);
void pev_fast_stop(struct pev_bev *h);
void pev_fast_serve(struct pev_loop *loop);
void pev_fast_forget_waiting(struct pev_loop *loop);
void pev_fast_wait(struct pev_bev *h);
void pev_fast_flush(struct pev_bev *h);
void pev_fast_note_sent(struct pev_bev *h);
size_t pev_fast_send(struct pev_bev *h, const char *data, size_t n);
int pev_fast_may_send_below(const struct pev_bev *h);
size_t pev_fast_send_below(struct pev_bev *h, const char *data, size_t n);
int pev_fast_may_put(const struct pev_bev *h);
size_t pev_fast_put(struct pev_bev *h, const char *data, size_t n);
int pev_fast_is_passing(int error);
ssize_t pev_fast_read_input(struct pev_bev *h, int fd, size_t wanted);

/* ---- fresh.c ---- */

size_t pev_fresh_room(size_t n);
int pev_fresh_has_room(const struct pev_bev *h);
int pev_fresh_may_come(const struct pev_bev *h);
ssize_t pev_fresh_read(struct pev_bev *h, int fd);
void pev_fresh_came(struct pev_bev *h, const char *at, size_t n);
void pev_fresh_put_in(struct pev_bev *h, const char *data, size_t n);
void pev_fresh_forget(struct pev_bev *h);
void pev_fresh_settle(struct pev_bev *h);
void pev_fresh_settle_all(struct pev_loop *loop);
int pev_fresh_pass_on(struct pev_bev *from, struct pev_bev *to);

/* ---- records.c ---- */

int pev_records_may_read(const struct pev_bev *h);
int pev_records_may_write(const struct pev_bev *h);
ssize_t pev_records_read(struct pev_bev *h, int fd);
size_t pev_records_write(struct pev_bev *h, const char *data, size_t n);

/* ---- relay.c ---- */

void pev_relay_read(struct pev_bev *from);
void pev_relay_passed(struct pev_bev *from, const char *data, size_t n, size_t sent);
struct pev_bev *pev_relay_partner(const struct pev_bev *h);
void pev_relay_written(struct pev_bev *to);
void pev_relay_event(struct pev_bev *h, short what, int error);
void pev_relay_gone(struct pev_bev *h);

/* ---- tls.c ---- */

SSL *pev_tls_new_ssl(struct pev_tls_context *context);
int pev_tls_expect_host(SSL *ssl, const char *host, int is_address, int check);

#endif
