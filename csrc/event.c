/* event2/event.h: the base, its pass, and events.
 *
 * The pass (pev_loop_pass) is the one place where libevent's loop runs. The rules it keeps:
 *
 *   1. One poll, one batch. EVLOOP_ONCE goes on as long as anything is active, and what Python has not yet looked at
 *      may stay active for ever (facts of libevent: a reader at its high mark is called again and again). So the first
 *      trampoline of a pass activates a breaker: an event of ours at the same priority, hence queued behind all that
 *      the poll found, whose callback ends the pass.
 *   2. A pass in which nothing was noted doesn't return: a relay can stay in C for hours.
 *   3. What is noted twice is handed over once, with both reasons.
 *   4. Events of our own (breaker, wake-up) are internal to libevent's eyes: they don't keep a loop running.
 */
#include "pylibevent.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>

unsigned pev_fork_generation;

/* Longer than any program runs; libevent overflows near LONG_MAX. */
#define PEV_MAX_SECONDS 1e9

/* ------------------------------------------------------------------ the log */

/* libevent may log inside a signal handler and with locks held (facts of libevent 3.3), so the callback only copies the
 * text into a ring, without locks; Python empties it after each pass. What comes while the ring is full is counted. */
#define LOG_SLOTS 64
#define LOG_TEXT 480

struct log_slot {
	int full; /* 0 free, 1 being written, 2 ready */
	int severity;
	char text[LOG_TEXT];
};

static struct log_slot log_ring[LOG_SLOTS];
static unsigned log_write, log_read, log_lost;
static int log_waiting;

static void
on_log(int severity, const char *text)
{
	int saved_errno = errno;
	unsigned i = __atomic_fetch_add(&log_write, 1, __ATOMIC_RELAXED);
	struct log_slot *slot = &log_ring[i % LOG_SLOTS];
	int free_slot = 0;

	if (!__atomic_compare_exchange_n(&slot->full, &free_slot, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&log_lost, 1, __ATOMIC_RELAXED);
	} else {
		size_t n = strlen(text);
		if (n >= LOG_TEXT)
			n = LOG_TEXT - 1;
		memcpy(slot->text, text, n);
		slot->text[n] = '\0';
		slot->severity = severity;
		__atomic_store_n(&slot->full, 2, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&log_waiting, 1, __ATOMIC_RELEASE);
	errno = saved_errno;
}

/* The next message into out: its length, or -1 when there is none. Called with the GIL held by one thread at a time. */
int
pev_log_next(int *severity, char *out, int size)
{
	unsigned tries;
	__atomic_store_n(&log_waiting, 0, __ATOMIC_RELEASE);
	for (tries = 0; tries < LOG_SLOTS; tries++) {
		struct log_slot *slot = &log_ring[log_read % LOG_SLOTS];
		if (__atomic_load_n(&slot->full, __ATOMIC_ACQUIRE) == 2) {
			int n = snprintf(out, size, "%s", slot->text);
			*severity = slot->severity;
			__atomic_store_n(&slot->full, 0, __ATOMIC_RELEASE);
			log_read++;
			__atomic_store_n(&log_waiting, 1, __ATOMIC_RELEASE);
			return n < size ? n : size - 1;
		}
		/* A lost message leaves a gap: step over it, but never past the writer. */
		if (log_read == __atomic_load_n(&log_write, __ATOMIC_ACQUIRE))
			break;
		log_read++;
	}
	if (__atomic_load_n(&log_lost, __ATOMIC_RELAXED)) {
		unsigned lost = __atomic_exchange_n(&log_lost, 0, __ATOMIC_RELAXED);
		*severity = EVENT_LOG_WARN;
		return snprintf(out, size, "%u messages of libevent were lost: they came faster than they could be taken", lost);
	}
	return -1;
}

void
pev_log_debug(int enable)
{
	event_enable_debug_logging(enable ? EVENT_DBG_ALL : EVENT_DBG_NONE);
}

/* ------------------------------------------------------------------ the library */

static void
after_fork_in_child(void)
{
	pev_fork_generation++;
}

unsigned
pev_forks(void)
{
	return pev_fork_generation;
}

/* Once a process, before anything else of libevent: locks can't be added to what exists (facts of libevent 3.6). */
int
pev_init(void)
{
	static int done;
	if (done)
		return 0;
	event_set_log_callback(on_log);
	if (evthread_use_pthreads() < 0)
		return -PEV_EFAILED;
	if (pthread_atfork(NULL, NULL, after_fork_in_child) != 0)
		return -ENOMEM;
	done = 1;
	return 0;
}

unsigned
pev_compiled_libevent(void)
{
	return LIBEVENT_VERSION_NUMBER;
}

unsigned
pev_loaded_libevent(void)
{
	return event_get_version_number();
}

const char *
pev_loaded_libevent_name(void)
{
	return event_get_version();
}

const char *
pev_compiled_libevent_name(void)
{
	return LIBEVENT_VERSION;
}

/* Handles embed struct event, so its size has to be the one that was compiled. */
int
pev_event_abi_ok(void)
{
	return event_get_struct_event_size() == sizeof(struct event);
}

/* The i-th method this build of libevent supports; the array may be freed by the next call, so it is copied at once. */
int
pev_method_name(int i, char *out, int size)
{
	const char **methods = event_get_supported_methods();
	int n;
	for (n = 0; methods[n] != NULL; n++) {
		if (n == i)
			return snprintf(out, size, "%s", methods[n]);
	}
	return -1;
}

void
pev_free(void *p)
{
	free(p);
}

/* Handles are counted, so that tests can see that none is left. */
static long live_handles;

void *
pev_new(size_t size)
{
	void *p = calloc(1, size);
	if (p != NULL)
		__atomic_add_fetch(&live_handles, 1, __ATOMIC_RELAXED);
	return p;
}

void
pev_delete(void *p)
{
	if (p != NULL)
		__atomic_sub_fetch(&live_handles, 1, __ATOMIC_RELAXED);
	free(p);
}

long
pev_live_handles(void)
{
	return __atomic_load_n(&live_handles, __ATOMIC_RELAXED);
}

/* Seconds to a normalised timeval: libevent aborts on others (facts of libevent 3.2, 6). Rounded up: a timer that
 * fires before its time is a bug, one that fires a microsecond late isn't. */
int
pev_timeval(double seconds, struct timeval *tv)
{
	double whole;
	if (!(seconds >= 0 && seconds <= PEV_MAX_SECONDS))
		return -PEV_ETIME;
	whole = floor(seconds);
	tv->tv_sec = (time_t)whole;
	tv->tv_usec = (suseconds_t)ceil((seconds - whole) * 1e6);
	if (tv->tv_usec >= 1000000) {
		tv->tv_sec++;
		tv->tv_usec -= 1000000;
	}
	return 0;
}

static double
seconds_of(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

/* ------------------------------------------------------------------ sources */

void
pev_source_init(struct pev_source *source, struct pev_loop *loop, uint64_t id, int layer,
    void (*shut)(struct pev_source *), void (*drop)(struct pev_source *))
{
	source->loop = loop;
	source->id = id;
	source->layer = (unsigned char)layer;
	source->shut = shut;
	source->drop = drop;
	pthread_mutex_lock(&loop->lock);
	TAILQ_INSERT_HEAD(&loop->children, source, next_child);
	source->in_loop = 1;
	pthread_mutex_unlock(&loop->lock);
}

/* Take back what was noted and not yet handed over. */
void
pev_source_forget(struct pev_source *source)
{
	if (source->noted) {
		TAILQ_REMOVE(&source->loop->noted, source, next_noted);
		source->loop->n_noted--;
		source->noted = 0;
	}
}

/* The loop shall not know the source any more. */
void
pev_source_leave(struct pev_source *source)
{
	struct pev_loop *loop = source->loop;
	if (loop == NULL)
		return;
	pev_source_forget(source);
	pthread_mutex_lock(&loop->lock);
	if (source->in_loop) {
		TAILQ_REMOVE(&loop->children, source, next_child);
		source->in_loop = 0;
	}
	pthread_mutex_unlock(&loop->lock);
	source->loop = NULL;
}

/* Garbage collection may drop a handle in any thread and at any time, also while libevent is on the stack, or in a forked
 * child that shares its parent's epoll set. Unless this is the loop's own thread outside of a pass, leave the handle to
 * the loop: 1. Otherwise 0: go ahead. */
int
pev_source_bury(struct pev_source *source)
{
	struct pev_loop *loop = source->loop;
	int forked;
	if (loop == NULL)
		return 0;
	forked = loop->fork_generation != pev_fork_generation;
	if (!forked && !loop->in_pass && pthread_equal(loop->thread, pthread_self()))
		return 0;
	pthread_mutex_lock(&loop->lock);
	source->next_grave = loop->graves;
	loop->graves = source;
	pthread_mutex_unlock(&loop->lock);
	if (!forked)
		event_active(&loop->wake, EV_READ, 1);
	return 1;
}

static void
empty_graves(struct pev_loop *loop)
{
	struct pev_source *source, *next;
	if (__atomic_load_n(&loop->graves, __ATOMIC_RELAXED) == NULL)
		return;
	pthread_mutex_lock(&loop->lock);
	source = loop->graves;
	loop->graves = NULL;
	pthread_mutex_unlock(&loop->lock);
	for (; source != NULL; source = next) {
		next = source->next_grave;
		source->drop(source);
	}
}

void
pev_note(struct pev_source *source, unsigned what, int priority)
{
	struct pev_loop *loop = source->loop;
	if (loop == NULL)
		return;
	if (!source->noted) {
		TAILQ_INSERT_TAIL(&loop->noted, source, next_noted);
		loop->n_noted++;
	}
	source->noted |= what;
	if (!loop->in_pass)
		return; /* the next pass starts with it */
	if (!loop->breaking) {
		loop->breaking = 1;
		if (priority < 0 || priority >= loop->n_priorities)
			priority = loop->n_priorities - 1;
		event_active(&loop->breakers[priority], EV_TIMEOUT, 1);
		event_base_gettimeofday_cached(loop->base, &loop->now);
	}
	if (loop->n_noted >= PEV_READY_MAX || loop->bytes_noted >= PEV_READY_BYTES) {
		loop->statistics.cut_short++;
		event_base_loopbreak(loop->base);
	}
}

/* End the pass and return to Python though nothing may have been noted. */
void
pev_end_pass(struct pev_loop *loop)
{
	loop->interrupted = 1;
	event_base_loopbreak(loop->base);
}

int
pev_default_priority(const struct pev_loop *loop)
{
	return loop->n_priorities / 2;
}

/* ------------------------------------------------------------------ events of our own */

static int claim_signals(struct pev_loop *loop);
static void release_signals(struct pev_loop *loop);
static void on_second_look(evutil_socket_t fd, short what, void *arg);

/* libevent neither counts internal events nor lets them keep a loop running. */
void
pev_mark_internal(struct event *ev)
{
	ev->ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
}

static void
on_breaker(evutil_socket_t fd, short what, void *arg)
{
	struct pev_loop *loop = arg;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	event_base_loopbreak(loop->base);
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	pev_end_pass(arg);
}

/* Signals have written their numbers here; Python runs its handlers as soon as it is back. */
static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	char numbers[64];
	PEV_UNUSED(what);
	while (read(fd, numbers, sizeof numbers) == (ssize_t)sizeof numbers)
		;
	pev_end_pass(arg);
}

static int
assign_own(struct pev_loop *loop, struct event *ev, int fd, short events, event_callback_fn callback, int priority)
{
	if (event_assign(ev, loop->base, fd, events, callback, loop) < 0)
		return -PEV_EFAILED;
	event_priority_set(ev, priority);
	pev_mark_internal(ev);
	return 0;
}

static int
make_breakers(struct pev_loop *loop, int n)
{
	struct event *breakers = calloc((size_t)n, sizeof *breakers);
	int i;
	if (breakers == NULL)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		if (assign_own(loop, &breakers[i], -1, 0, on_breaker, i) < 0) {
			free(breakers);
			return -PEV_EFAILED;
		}
	}
	free(loop->breakers);
	loop->breakers = breakers;
	loop->n_priorities = n;
	return 0;
}

/* ------------------------------------------------------------------ a base */

/* libevent ends the process when it can't open its descriptors (facts of libevent 6): try first. */
static int
descriptors_left(int wanted)
{
	int fds[8], n, ok;
	for (n = 0; n < wanted; n++) {
		fds[n] = fcntl(0, F_DUPFD_CLOEXEC, 0);
		if (fds[n] < 0)
			fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (fds[n] < 0)
			break;
	}
	ok = n == wanted;
	while (n > 0)
		close(fds[--n]);
	return ok;
}

/* epoll, the pair for signals, the notification, the timer */
#define BASE_DESCRIPTORS 6

static struct event_config *
make_config(const struct pev_config *from)
{
	struct event_config *config = event_config_new();
	char name[64];
	const char *p = from->avoid;
	if (config == NULL)
		return NULL;
	while (p != NULL && *p) {
		size_t n = strcspn(p, ",");
		if (n < sizeof name) {
			memcpy(name, p, n);
			name[n] = '\0';
			event_config_avoid_method(config, name);
		}
		p += n + (p[n] == ',');
	}
	event_config_require_features(config, from->features);
	event_config_set_flag(config, from->flags);
	event_config_set_num_cpus_hint(config, from->num_cpus_hint);
	if (from->max_interval >= 0 || from->max_callbacks >= 0) {
		struct timeval tv;
		int timed = from->max_interval >= 0 && pev_timeval(from->max_interval, &tv) == 0;
		event_config_set_max_dispatch_interval(config, timed ? &tv : NULL, from->max_callbacks, from->min_priority);
	}
	return config;
}

static int
assign_own_events(struct pev_loop *loop)
{
	if (assign_own(loop, &loop->wake, -1, 0, on_wake, 0) < 0)
		return -1;
	if (assign_own(loop, &loop->watch, -1, EV_READ | EV_PERSIST, on_watch, 0) < 0)
		return -1;
	if (assign_own(loop, &loop->beat, -1, EV_PERSIST, on_wake, 0) < 0)
		return -1;
	if (assign_own(loop, &loop->second_look, -1, 0, on_second_look, 0) < 0)
		return -1;
	return make_breakers(loop, 1);
}

struct pev_loop *
pev_loop_new(const struct pev_config *from)
{
	struct pev_loop *loop;
	struct event_config *config;

	if (!descriptors_left(BASE_DESCRIPTORS)) {
		errno = PEV_EFDS;
		return NULL;
	}
	loop = pev_new(sizeof *loop);
	config = make_config(from);
	if (loop == NULL || config == NULL) {
		if (config)
			event_config_free(config);
		pev_delete(loop);
		errno = ENOMEM;
		return NULL;
	}
	TAILQ_INIT(&loop->noted);
	TAILQ_INIT(&loop->children);
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	if (loop->base == NULL) {
		pev_delete(loop);
		errno = PEV_EFAILED;
		return NULL;
	}
	if (assign_own_events(loop) < 0) {
		event_base_free(loop->base);
		pev_delete(loop);
		errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_init(&loop->lock, NULL);
	loop->thread = pthread_self();
	loop->fork_generation = pev_fork_generation;
	return loop;
}

/* Let finalizers and deferred callbacks run: they hold memory and descriptors that event_base_free would leak (facts of
 * libevent 2.1). Each pass may queue more, one layer of a stack at a time. */
static void
settle(struct event_base *base)
{
	int tries;
	for (tries = 0; tries < 1000; tries++) {
		if (event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE) == 0 && tries > 0)
			return;
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	}
}

/* Shuts a layer's children, the newest first: a filter is younger than what it stands on. */
static void
shut_layer(struct pev_loop *loop, int layer)
{
	struct pev_source *source, *next;
	for (source = TAILQ_FIRST(&loop->children); source != NULL; source = next) {
		next = TAILQ_NEXT(source, next_child);
		if (source->layer == layer)
			source->shut(source);
	}
}

int
pev_loop_close(struct pev_loop *loop)
{
	struct pev_source *source;
	struct event_base *base = loop->base;
	int layer;

	if (base == NULL)
		return 0;
	if (loop->in_pass)
		return -PEV_EINPASS;
	if (loop->peeks)
		return -PEV_EPEEKED;
	if (loop->running && !pthread_equal(loop->thread, pthread_self()))
		return -PEV_ETHREAD;
	if (loop->fork_generation != pev_fork_generation) {
		int code = pev_loop_reinit(loop);
		if (code < 0)
			return code;
	}
	loop->in_pass = 1; /* no trampoline may think that Python is listening, none may bury itself here */
	loop->breaking = 1;
	for (layer = 0; layer < PEV_LAYERS; layer++)
		shut_layer(loop, layer);
	event_del(&loop->watch);
	event_del(&loop->beat);
	event_del(&loop->wake);
	event_del(&loop->second_look);
	release_signals(loop);
	settle(base);
	while ((source = TAILQ_FIRST(&loop->children)) != NULL)
		pev_source_leave(source);
	loop->in_pass = 0;
	empty_graves(loop);
	event_base_free(base);
	loop->base = NULL;
	free(loop->breakers);
	loop->breakers = NULL;
	return 0;
}

/* Python's base is gone; it was closed before, or can't be (a base in a forked child). */
void
pev_loop_free(struct pev_loop *loop)
{
	struct pev_source *source;
	while ((source = TAILQ_FIRST(&loop->children)) != NULL)
		pev_source_leave(source);
	free(loop->breakers);
	free(loop->modes);
	pthread_mutex_destroy(&loop->lock);
	pev_delete(loop);
}

int
pev_loop_check(struct pev_loop *loop)
{
	return pev_loop_usable(loop, 1);
}

int
pev_loop_is_mine(struct pev_loop *loop)
{
	return pthread_equal(loop->thread, pthread_self());
}

int
pev_loop_enter(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (loop->running)
		return pthread_equal(loop->thread, pthread_self()) ? -PEV_ERUNNING : -PEV_ETHREAD;
	if (loop->in_pass)
		return -PEV_EINPASS;
	loop->thread = pthread_self();
	loop->running = 1;
	code = claim_signals(loop);
	if (code < 0)
		loop->running = 0;
	return code;
}

void
pev_loop_leave(struct pev_loop *loop)
{
	loop->running = 0;
	release_signals(loop);
}

static int
hand_over(struct pev_loop *loop)
{
	int n = 0;
	struct pev_source *source;
	while (n < PEV_READY_MAX && (source = TAILQ_FIRST(&loop->noted)) != NULL) {
		struct pev_ready *entry = &loop->ready[n++];
		entry->id = source->id;
		entry->what = source->noted;
		entry->detail = source->detail;
		TAILQ_REMOVE(&loop->noted, source, next_noted);
		loop->n_noted--;
		source->noted = 0;
		source->detail = 0;
	}
	loop->statistics.noted += (unsigned)n;
	loop->n_ready = n;
	return n;
}

static int
poll_once(struct pev_loop *loop, int flags)
{
	int result;
	loop->breaking = 0;
	loop->bytes_noted = 0;
	loop->statistics.polls++;
	result = event_base_loop(loop->base, EVLOOP_ONCE | flags);
	if (result < 0)
		return errno ? -errno : -PEV_EFAILED;
	return result;
}

/* One pass: poll, let libevent do its I/O, gather what happened. Returns the number of entries in pev_loop_ready(), with
 * PEV_PASS_ bits. flags: EVLOOP_ and PEV_PASS_TAKEN, without which a KeyboardInterrupt between this function and the
 * statement after it would lose a batch. */
int
pev_loop_pass(struct pev_loop *loop, int flags)
{
	int result = 0, n;
	int code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	if (loop->in_pass)
		return -PEV_EINPASS;
	if (loop->peeks)
		return -PEV_EPEEKED;
	if (loop->n_ready && !(flags & PEV_PASS_TAKEN))
		return loop->n_ready;
	loop->n_ready = 0;
	empty_graves(loop);
	loop->statistics.passes++;
	loop->interrupted = 0;
	loop->in_pass = 1;
	if (!TAILQ_EMPTY(&loop->noted))
		flags |= EVLOOP_NONBLOCK;
	do {
		result = poll_once(loop, flags & (EVLOOP_NONBLOCK | EVLOOP_NO_EXIT_ON_EMPTY));
	} while (result == 0 && TAILQ_EMPTY(&loop->noted) && !loop->interrupted &&
	    !(flags & (EVLOOP_NONBLOCK | EVLOOP_ONCE)));
	loop->in_pass = 0;
	empty_graves(loop);
	if (result < 0)
		return result;
	n = hand_over(loop);
	if (result == 1)
		n |= PEV_PASS_EMPTY;
	if (loop->interrupted)
		n |= PEV_PASS_INTERRUPTED;
	if (__atomic_load_n(&log_waiting, __ATOMIC_RELAXED))
		n |= PEV_PASS_LOGGED;
	return n;
}

const struct pev_ready *
pev_loop_ready(struct pev_loop *loop)
{
	return loop->ready;
}

/* From any thread: the pass that is under way, or the next one, returns. */
int
pev_loop_wake(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	event_active(&loop->wake, EV_READ, 1);
	return 0;
}

/* Watch the read end of the wake-up descriptor; fd -1 stops. */
int
pev_loop_watch(struct pev_loop *loop, int fd)
{
	if (loop->base == NULL)
		return -PEV_ECLOSED;
	event_del(&loop->watch);
	if (assign_own(loop, &loop->watch, fd, EV_READ | EV_PERSIST, on_watch, 0) < 0)
		return -PEV_EFAILED;
	if (fd >= 0 && event_add(&loop->watch, NULL) < 0)
		return errno ? -errno : -PEV_EFAILED;
	return 0;
}

/* Come back to Python every so many seconds; 0 stops. */
int
pev_loop_beat(struct pev_loop *loop, double seconds)
{
	struct timeval tv;
	int code;
	if (loop->base == NULL)
		return -PEV_ECLOSED;
	event_del(&loop->beat);
	if (seconds <= 0)
		return 0;
	if ((code = pev_timeval(seconds, &tv)) < 0)
		return code;
	return event_add(&loop->beat, &tv) < 0 ? -PEV_EFAILED : 0;
}

int
pev_loop_reinit(struct pev_loop *loop)
{
	if (loop->base == NULL)
		return -PEV_ECLOSED;
	if (loop->in_pass)
		return -PEV_EINPASS;
	if (loop->running && !pthread_equal(loop->thread, pthread_self())) {
		/* The thread that ran the loop isn't there in a child, but the lock it may have held is. */
		return loop->fork_generation != pev_fork_generation ? -PEV_EFORKEDLOOP : -PEV_ETHREAD;
	}
	if (!descriptors_left(BASE_DESCRIPTORS))
		return -PEV_EFDS;
	if (event_reinit(loop->base) < 0)
		return -PEV_EFAILED;
	loop->fork_generation = pev_fork_generation;
	return 0;
}

int
pev_loop_priorities(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : loop->n_priorities;
}

int
pev_loop_has_children(struct pev_loop *loop)
{
	return !TAILQ_EMPTY(&loop->children);
}

/* Only on a base that has no children: fewer priorities than an event has seen is an abort (facts of libevent 3.1). */
int
pev_loop_set_priorities(struct pev_loop *loop, int n)
{
	int code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	if (n < 1 || n > 255)
		return -PEV_EVALUE;
	if (pev_loop_has_children(loop) || loop->running)
		return -PEV_EPENDING;
	settle(loop->base);
	if (event_base_priority_init(loop->base, n) < 0)
		return -PEV_EPENDING;
	return make_breakers(loop, n);
}

const char *
pev_loop_method(struct pev_loop *loop)
{
	return loop->base ? event_base_get_method(loop->base) : NULL;
}

int
pev_loop_features(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : event_base_get_features(loop->base);
}

int
pev_loop_count(struct pev_loop *loop, int kinds)
{
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : event_base_get_num_events(loop->base, (unsigned)kinds);
}

int
pev_loop_max(struct pev_loop *loop, int kinds, int clear)
{
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : event_base_get_max_events(loop->base, (unsigned)kinds, clear);
}

int
pev_loop_now(struct pev_loop *loop, int cached, double *out)
{
	struct timeval tv;
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (cached && loop->now.tv_sec) {
		*out = seconds_of(&loop->now);
		return 0;
	}
	if (event_base_gettimeofday_cached(loop->base, &tv) < 0)
		return -PEV_EFAILED;
	*out = seconds_of(&tv);
	return 0;
}

int
pev_loop_update_now(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	event_base_update_cache_time(loop->base);
	return event_base_gettimeofday_cached(loop->base, &loop->now) < 0 ? -PEV_EFAILED : 0;
}

int
pev_loop_monotonic(struct pev_loop *loop, double *out)
{
	struct timeval tv;
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (event_gettime_monotonic(loop->base, &tv) < 0)
		return -PEV_EFAILED;
	*out = seconds_of(&tv);
	return 0;
}

int
pev_loop_active_by_fd(struct pev_loop *loop, int fd, int events)
{
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (fd < 0)
		return -EBADF;
	event_base_active_by_fd(loop->base, fd, (short)events);
	return 0;
}

int
pev_loop_active_by_signal(struct pev_loop *loop, int signum)
{
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (signum <= 0 || signum >= NSIG)
		return -PEV_EVALUE;
	event_base_active_by_signal(loop->base, signum);
	return 0;
}

void
pev_loop_statistics(struct pev_loop *loop, struct pev_statistics *out)
{
	*out = loop->statistics;
}

/* A queue for all timeouts of one length: the pointer stands for it in pev_event_add_common. */
const void *
pev_loop_common_timeout(struct pev_loop *loop, double seconds)
{
	struct timeval tv;
	const struct timeval *common;
	int code = pev_loop_usable(loop, 1);
	if (code == 0)
		code = pev_timeval(seconds, &tv);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	common = event_base_init_common_timeout(loop->base, &tv);
	if (common == NULL)
		errno = ENOSPC; /* 256 of them are in use */
	return common;
}

/* ------------------------------------------------------------------ an event */

struct pev_event {
	struct pev_source source;
	unsigned char closed;  /* by Python */
	unsigned char counted; /* in what the loop counts, below */
	struct event ev;
};

#define IO_EVENTS (EV_READ | EV_WRITE | EV_CLOSED)

static int
is_signal(const struct pev_event *h)
{
	return (h->ev.ev_events & EV_SIGNAL) != 0;
}

static int
is_io(const struct pev_event *h)
{
	return h->ev.ev_fd >= 0 && !is_signal(h) && (h->ev.ev_events & IO_EVENTS);
}

/* ---- signals: one receiver a process (facts of libevent 3.3). Of two running bases with signal events, one would never
 * hear of them. */

static pthread_mutex_t signals_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pev_loop *signals_loop; /* it is running, and has signal events */

static int
claim_signals(struct pev_loop *loop)
{
	int code = 0;
	if (!loop->n_signals || !loop->running)
		return 0;
	pthread_mutex_lock(&signals_lock);
	if (signals_loop != NULL && signals_loop != loop)
		code = -PEV_ESIGNALS;
	else
		signals_loop = loop;
	pthread_mutex_unlock(&signals_lock);
	return code;
}

static void
release_signals(struct pev_loop *loop)
{
	pthread_mutex_lock(&signals_lock);
	if (signals_loop == loop)
		signals_loop = NULL;
	pthread_mutex_unlock(&signals_lock);
}

/* ---- modes: edge- and level-triggered events on one descriptor. libevent gets the mixture wrong and says nothing (facts of
 * libevent 3.5), so the loop counts both, by descriptor. */

struct pev_modes {
	unsigned short level, edge;
};

static struct pev_modes *
modes_of(struct pev_loop *loop, int fd)
{
	if (fd >= loop->n_modes) {
		int n = fd < 512 ? 1024 : fd * 2;
		struct pev_modes *modes = realloc(loop->modes, (size_t)n * sizeof *modes);
		if (modes == NULL)
			return NULL;
		memset(modes + loop->n_modes, 0, (size_t)(n - loop->n_modes) * sizeof *modes);
		loop->modes = modes;
		loop->n_modes = n;
	}
	return &loop->modes[fd];
}

static int
count_mode(struct pev_loop *loop, const struct pev_event *h)
{
	struct pev_modes *modes = modes_of(loop, h->ev.ev_fd);
	if (modes == NULL)
		return -ENOMEM;
	if (h->ev.ev_events & EV_ET ? modes->level : modes->edge)
		return -PEV_EEDGE;
	if (h->ev.ev_events & EV_ET)
		modes->edge++;
	else
		modes->level++;
	return 0;
}

static void
uncount_mode(struct pev_loop *loop, const struct pev_event *h)
{
	struct pev_modes *modes = &loop->modes[h->ev.ev_fd];
	if (h->ev.ev_events & EV_ET)
		modes->edge--;
	else
		modes->level--;
}

/* ---- what is added is counted, and uncounted when it is deleted or has fired for the last time */

static int
count(struct pev_event *h)
{
	struct pev_loop *loop = h->source.loop;
	int code = 0;
	if (h->counted || !(is_io(h) || is_signal(h)))
		return 0;
	pthread_mutex_lock(&loop->lock);
	if (is_io(h))
		code = count_mode(loop, h);
	else
		loop->n_signals++;
	h->counted = code == 0;
	pthread_mutex_unlock(&loop->lock);
	return code;
}

static void
uncount(struct pev_event *h)
{
	struct pev_loop *loop = h->source.loop;
	if (!h->counted || loop == NULL)
		return;
	pthread_mutex_lock(&loop->lock);
	h->counted = 0;
	if (is_io(h))
		uncount_mode(loop, h);
	else
		loop->n_signals--;
	pthread_mutex_unlock(&loop->lock);
}

/* ---- events that wait for EV_CLOSED and nothing else don't hear of a reset, while epoll reports it again and again (facts
 * of libevent 3.5): a second look, now and then, as long as there are such events. */

#define SECOND_LOOK 0.25

static int
is_closed_only(const struct pev_event *h)
{
	return h->counted && is_io(h) && (h->ev.ev_events & IO_EVENTS) == EV_CLOSED && !(h->ev.ev_events & EV_ET);
}

static void
start_second_look(struct pev_loop *loop)
{
	struct timeval tv;
	if (pev_timeval(SECOND_LOOK, &tv) == 0 && !event_pending(&loop->second_look, EV_TIMEOUT, NULL))
		event_add(&loop->second_look, &tv);
}

static int
is_broken(int fd)
{
	struct pollfd p = { .fd = fd };
	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* The first that is broken; *waiting says whether there are any at all. */
static struct pev_event *
find_broken(struct pev_loop *loop, int *waiting)
{
	struct pev_source *source;
	struct pev_event *found = NULL;
	*waiting = 0;
	pthread_mutex_lock(&loop->lock);
	TAILQ_FOREACH(source, &loop->children, next_child) {
		struct pev_event *h = (struct pev_event *)source;
		if (source->layer != PEV_LAYER_EVENT || !is_closed_only(h))
			continue;
		*waiting = 1;
		if (is_broken(h->ev.ev_fd)) {
			found = h;
			break;
		}
	}
	pthread_mutex_unlock(&loop->lock);
	return found;
}

static void
on_second_look(evutil_socket_t fd, short what, void *arg)
{
	struct pev_loop *loop = arg;
	struct pev_event *h;
	int waiting;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	while ((h = find_broken(loop, &waiting)) != NULL) {
		event_del(&h->ev); /* nothing more can come of it */
		uncount(h);
		event_active(&h->ev, EV_CLOSED, 1);
	}
	if (waiting)
		start_second_look(loop);
}

/* ---- the handle */

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct pev_event *h = arg;
	PEV_UNUSED(fd);
	if (h->counted && !(h->ev.ev_evcallback.evcb_flags & EVLIST_INSERTED))
		uncount(h); /* it was for once */
	h->source.detail++; /* a signal that came n times is called n times */
	pev_note(&h->source, (unsigned)what, pev_event_priority(&h->ev));
}

/* event_del waits for a callback that runs in another thread; ours are short and never wait for Python. */
static void
shut_event(struct pev_source *source)
{
	struct pev_event *h = (struct pev_event *)source;
	event_del(&h->ev);
	uncount(h);
	h->closed = 1;
	pev_source_forget(source);
}

static void
drop_event(struct pev_source *source)
{
	if (source->loop != NULL) {
		shut_event(source);
		pev_source_leave(source);
	}
	pev_delete(source);
}

void
pev_event_drop(struct pev_event *h)
{
	if (!pev_source_bury(&h->source))
		drop_event(&h->source);
}

static int
event_usable(const struct pev_event *h)
{
	return h->closed ? -PEV_ECLOSED : pev_loop_usable(h->source.loop, 1);
}

struct pev_event *
pev_event_new(struct pev_loop *loop, int fd, int events, int priority, uint64_t id)
{
	struct pev_event *h;
	int code = pev_loop_usable(loop, 1);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	if (event_assign(&h->ev, loop->base, fd, (short)events, on_event, h) < 0 ||
	    (priority >= 0 && event_priority_set(&h->ev, priority) < 0)) {
		pev_delete(h);
		errno = PEV_EVALUE;
		return NULL;
	}
	pev_source_init(&h->source, loop, id, PEV_LAYER_EVENT, shut_event, drop_event);
	return h;
}

static int
in_another_thread(const struct pev_loop *loop)
{
	return loop->running && !pthread_equal(loop->thread, pthread_self());
}

int
pev_event_close(struct pev_event *h)
{
	struct pev_loop *loop = h->source.loop;
	if (h->closed || loop == NULL)
		return 0;
	h->closed = 1;
	if (loop->fork_generation != pev_fork_generation)
		return 0; /* the epoll set is the parent's too: leave it alone */
	event_del(&h->ev);
	uncount(h);
	if (!in_another_thread(loop)) /* else Python passes over what was noted: the event isn't armed any more */
		pev_source_forget(&h->source);
	return 0;
}

static int
add_event(struct pev_event *h, const struct timeval *tv)
{
	int code = count(h);
	if (code == 0 && is_signal(h))
		code = claim_signals(h->source.loop);
	errno = 0;
	if (code == 0 && event_add(&h->ev, tv) < 0)
		code = errno ? -errno : -PEV_EFAILED;
	if (code == 0 && is_closed_only(h))
		start_second_look(h->source.loop);
	if (code < 0 && !(h->ev.ev_evcallback.evcb_flags & EVLIST_INSERTED))
		uncount(h);
	return code;
}

int
pev_event_add(struct pev_event *h)
{
	int code = event_usable(h);
	return code < 0 ? code : add_event(h, NULL);
}

int
pev_event_add_timeout(struct pev_event *h, double seconds)
{
	struct timeval tv;
	int code = event_usable(h);
	if (code == 0)
		code = pev_timeval(seconds, &tv);
	return code < 0 ? code : add_event(h, &tv);
}

int
pev_event_add_common(struct pev_event *h, const void *common)
{
	int code = event_usable(h);
	return code < 0 ? code : add_event(h, common);
}

int
pev_event_delete(struct pev_event *h)
{
	int code = event_usable(h);
	if (code < 0)
		return code;
	if (event_del(&h->ev) < 0)
		return -PEV_EFAILED;
	uncount(h);
	if (!in_another_thread(h->source.loop))
		pev_source_forget(&h->source);
	return 0;
}

int
pev_event_remove_timer(struct pev_event *h)
{
	int code = event_usable(h);
	if (code < 0)
		return code;
	return event_remove_timer(&h->ev) < 0 ? -PEV_EFAILED : 0;
}

int
pev_event_active(struct pev_event *h, int events)
{
	int code = event_usable(h);
	if (code < 0)
		return code;
	event_active(&h->ev, events, 1);
	return 0;
}

/* What the event is pending for; *expires is the time.time() at which it times out, or negative. */
int
pev_event_pending(struct pev_event *h, int events, double *expires)
{
	struct timeval tv = { 0, 0 };
	int what, code = event_usable(h);
	if (code < 0)
		return code;
	what = event_pending(&h->ev, (short)events, &tv);
	if (expires != NULL)
		*expires = (what & EV_TIMEOUT) && tv.tv_sec ? seconds_of(&tv) : -1;
	return what;
}

int
pev_event_set_priority(struct pev_event *h, int priority)
{
	int code = event_usable(h);
	if (code < 0)
		return code;
	if (priority < 0 || priority >= h->source.loop->n_priorities)
		return -PEV_EVALUE;
	/* An active one would be looked for in a queue that it isn't in. */
	if (h->ev.ev_evcallback.evcb_flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER))
		return -PEV_EPENDING;
	return event_priority_set(&h->ev, priority) < 0 ? -PEV_EPENDING : 0;
}

int
pev_event_get_priority(struct pev_event *h)
{
	int code = event_usable(h);
	return code < 0 ? code : pev_event_priority(&h->ev);
}

/* ------------------------------------------------------------------ looking at all events */

struct events_search {
	struct pev_event_info *out;
	int n, max;
	struct timeval now;
};

/* Runs with the base's lock held: copies, and calls nothing of libevent that takes it. */
static int
on_events_search(const struct event_base *base, const struct event *ev, void *arg)
{
	struct events_search *search = arg;
	struct pev_event_info *info;
	short flags = ev->ev_evcallback.evcb_flags;
	PEV_UNUSED(base);
	if (search->n >= search->max) {
		search->n++;
		return 0;
	}
	info = &search->out[search->n++];
	memset(info, 0, sizeof *info);
	if (ev->ev_evcallback.evcb_cb_union.evcb_callback == on_event)
		info->id = ((const struct pev_event *)ev->ev_evcallback.evcb_arg)->source.id;
	info->fd = ev->ev_fd;
	info->events = ev->ev_events;
	info->priority = ev->ev_evcallback.evcb_pri;
	info->internal = (flags & EVLIST_INTERNAL) != 0;
	if (flags & EVLIST_INSERTED)
		info->pending |= ev->ev_events & (EV_READ | EV_WRITE | EV_SIGNAL | EV_CLOSED);
	if (flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER))
		info->pending |= ev->ev_res;
	info->timeout = -1;
	if (flags & EVLIST_TIMEOUT) {
		struct timeval due = ev->ev_timeout;
		due.tv_usec &= 0xfffff; /* common timeouts are tagged above */
		info->pending |= EV_TIMEOUT;
		info->timeout = seconds_of(&due) - seconds_of(&search->now);
	}
	return 0;
}

/* How many there are; the first max of them into out. */
int
pev_loop_events(struct pev_loop *loop, struct pev_event_info *out, int max)
{
	struct events_search search = { out, 0, max, { 0, 0 } };
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	event_gettime_monotonic(loop->base, &search.now);
	event_base_foreach_event(loop->base, on_events_search, &search);
	return search.n;
}

/* The text of event_base_dump_events; Python frees it with pev_free. */
int
pev_loop_dump(struct pev_loop *loop, char **out)
{
	size_t size = 0;
	FILE *file;
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	*out = NULL;
	file = open_memstream(out, &size);
	if (file == NULL)
		return -errno;
	event_base_dump_events(loop->base, file);
	if (fclose(file) != 0) {
		free(*out);
		return -ENOMEM;
	}
	return (int)size;
}
