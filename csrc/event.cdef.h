/* event2/event.h and event2/thread.h: base, events, the pass, the log.
 *
 * Each NAME.cdef.h is read twice: by the C compiler as a header, and by build_ffi.py as the declarations that Python
 * sees. What only cffi understands stands between #ifdef PEV_CDEF and #endif. */

#ifdef PEV_CDEF
#define EV_TIMEOUT ...
#define EV_READ ...
#define EV_WRITE ...
#define EV_SIGNAL ...
#define EV_PERSIST ...
#define EV_ET ...
#define EV_CLOSED ...
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
#define EVENT_LOG_DEBUG ...
#define EVENT_LOG_MSG ...
#define EVENT_LOG_WARN ...
#define EVENT_LOG_ERR ...
#endif

/* Codes of our own, beside the errno values. errors.py says what each one means. */
enum {
	PEV_ECLOSED = 10001, /* the object is closed */
	PEV_EFORKED,         /* a base in a forked child, before reinit() */
	PEV_ETHREAD,         /* another thread is running the loop */
	PEV_ERUNNING,        /* the loop is running already */
	PEV_EINPASS,         /* not from a callback that C waits for */
	PEV_EPEEKED,         /* memoryviews of the buffer still exist */
	PEV_EFROZEN,         /* that end of the buffer can't be changed */
	PEV_ETIME,           /* not a time that can be used */
	PEV_EPENDING,        /* only possible while the event isn't pending or active */
	PEV_EFAILED,         /* libevent said no and didn't say why */
	PEV_EEDGE,           /* edge- and level-triggered events on one descriptor */
	PEV_ETLS,            /* OpenSSL said no: see the queue */
	PEV_EFORKEDLOOP,     /* forked while another thread was running the loop */
	PEV_EKIND,           /* this kind of bufferevent can't do that */
	PEV_EFDS,            /* too few descriptors left for a base */
	PEV_EVALUE,          /* an argument that Python should have refused */
	PEV_ESIGNALS,        /* another base is receiving the process's signals */
	PEV_ECARRIES         /* another bufferevent stands on this one */
};

/* What pev_loop_pass may say beside the number of entries. */
enum {
	PEV_PASS_EMPTY = 0x10000, /* no event is pending or active */
	PEV_PASS_LOGGED = 0x20000,      /* libevent had something to say: pev_log_next */
	PEV_PASS_INTERRUPTED = 0x40000, /* a signal, or pev_loop_wake */
	/* and what may be said to it, beside EVLOOP flags */
	PEV_PASS_TAKEN = 0x10000 /* the entries of the pass before were taken: else they are handed over again */
};

struct pev_loop;
struct pev_event;

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

/* A view of an event for foreach() and dump(). */
struct pev_event_info {
	uint64_t id; /* 0: not one of Python's events */
	int fd;
	int events;
	int pending;
	int priority;
	int internal;
	double timeout; /* seconds from now, negative: none */
};

struct pev_config {
	const char *avoid; /* names of methods, separated by commas */
	int features;
	int flags;
	int num_cpus_hint;
	double max_interval; /* seconds, negative: none */
	int max_callbacks;   /* negative: no limit */
	int min_priority;
};

/* ---- the library ---- */
int pev_init(void);
unsigned pev_compiled_libevent(void);
unsigned pev_loaded_libevent(void);
const char *pev_loaded_libevent_name(void);
const char *pev_compiled_libevent_name(void);
int pev_event_abi_ok(void);
int pev_has_max_read(void);
int pev_method_name(int i, char *out, int size);
int pev_log_next(int *severity, char *out, int size);
void pev_log_debug(int enable);
unsigned pev_forks(void);

/* ---- a base ---- */
struct pev_loop *pev_loop_new(const struct pev_config *config);
int pev_loop_close(struct pev_loop *loop);
void pev_loop_free(struct pev_loop *loop);
int pev_loop_check(struct pev_loop *loop);
int pev_loop_enter(struct pev_loop *loop);
void pev_loop_leave(struct pev_loop *loop);
int pev_loop_pass(struct pev_loop *loop, int flags);
const struct pev_ready *pev_loop_ready(struct pev_loop *loop);
int pev_loop_wake(struct pev_loop *loop);
int pev_loop_watch(struct pev_loop *loop, int fd);
int pev_loop_beat(struct pev_loop *loop, double seconds);
int pev_loop_is_mine(struct pev_loop *loop);
int pev_loop_reinit(struct pev_loop *loop);
int pev_loop_priorities(struct pev_loop *loop);
int pev_loop_set_priorities(struct pev_loop *loop, int n);
int pev_loop_has_children(struct pev_loop *loop);
const char *pev_loop_method(struct pev_loop *loop);
int pev_loop_features(struct pev_loop *loop);
int pev_loop_count(struct pev_loop *loop, int kinds);
int pev_loop_max(struct pev_loop *loop, int kinds, int clear);
int pev_loop_now(struct pev_loop *loop, int cached, double *out);
int pev_loop_update_now(struct pev_loop *loop);
int pev_loop_monotonic(struct pev_loop *loop, double *out);
int pev_loop_active_by_fd(struct pev_loop *loop, int fd, int events);
int pev_loop_active_by_signal(struct pev_loop *loop, int signum);
int pev_loop_events(struct pev_loop *loop, struct pev_event_info *out, int max);
int pev_loop_dump(struct pev_loop *loop, char **out);
void pev_free(void *p);
long pev_live_handles(void);
void pev_loop_statistics(struct pev_loop *loop, struct pev_statistics *out);
const void *pev_loop_common_timeout(struct pev_loop *loop, double seconds);

/* ---- an event ---- */
struct pev_event *pev_event_new(struct pev_loop *loop, int fd, int events, int priority, uint64_t id);
void pev_event_drop(struct pev_event *h);
int pev_event_close(struct pev_event *h);
int pev_event_add(struct pev_event *h);
int pev_event_add_timeout(struct pev_event *h, double seconds);
int pev_event_add_common(struct pev_event *h, const void *common);
int pev_event_delete(struct pev_event *h);
int pev_event_remove_timer(struct pev_event *h);
int pev_event_active(struct pev_event *h, int events);
int pev_event_pending(struct pev_event *h, int events, double *expires);
int pev_event_set_priority(struct pev_event *h, int priority);
int pev_event_get_priority(struct pev_event *h);
