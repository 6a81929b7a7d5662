/* event2/event.h: the base and its pass.
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
#include <time.h>

/* All that there are, for a fork's sake. */
static TAILQ_HEAD(, pev_loop) loops = TAILQ_HEAD_INITIALIZER(loops);
static pthread_mutex_t loops_lock = PTHREAD_MUTEX_INITIALIZER;

/* What a fork has locked, and for how many seconds it waits for calls of other threads to end. */
enum { GATE_LOCKED = 1, CLAIMED = 2 };
#define MOST_FORK_WAIT 2

/* A callback of a call that is under way may fork: then this thread itself is inside, and no wait ends that. */
static void
lock_for_fork(struct pev_loop *loop)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += MOST_FORK_WAIT;
	loop->fork_locks = 0;
	if (pthread_rwlock_timedwrlock(&loop->gate, &until) == 0)
		loop->fork_locks |= GATE_LOCKED;
	if (!loop->running && pev_try_claim(loop))
		loop->fork_locks |= CLAIMED;
	pthread_mutex_lock(&loop->lock);
}

/* The child's thread isn't the one that locked, to a rwlock's eyes: it is made anew there. */
static void
unlock_after_fork(struct pev_loop *loop, int in_child)
{
	pthread_mutex_unlock(&loop->lock);
	if (in_child) {
		pthread_rwlock_init(&loop->gate, NULL);
		pev_unclaim(loop);
		return;
	}
	if (loop->fork_locks & CLAIMED)
		pev_unclaim(loop);
	if (loop->fork_locks & GATE_LOCKED)
		pthread_rwlock_unlock(&loop->gate);
}

void
pev_lock_loops(void)
{
	struct pev_loop *loop;
	pthread_mutex_lock(&loops_lock);
	TAILQ_FOREACH(loop, &loops, next_loop)
		lock_for_fork(loop);
}

void
pev_unlock_loops(int in_child)
{
	struct pev_loop *loop;
	TAILQ_FOREACH(loop, &loops, next_loop)
		unlock_after_fork(loop, in_child);
	pthread_mutex_unlock(&loops_lock);
}

/* ------------------------------------------------------------------ events of our own */

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
	loop->breaker = NULL;
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
	if (pev_make_marks(loop, n) < 0) {
		free(breakers);
		return -ENOMEM;
	}
	free(loop->breakers);
	loop->breakers = breakers;
	loop->n_priorities = n;
	return 0;
}

/* A pass that was cut short has left it in its queue. */
static void
forget_breaker(struct pev_loop *loop)
{
	if (loop->breaker != NULL)
		event_del(loop->breaker);
	loop->breaker = NULL;
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
	if (assign_own(loop, &loop->second_look, -1, 0, pev_second_look, 0) < 0)
		return -1;
	return make_breakers(loop, 1);
}

/* On a page of its own: kernels copy to where 64 bytes begin a tenth faster. */
static char *
make_arena(void)
{
	void *arena;
	return posix_memalign(&arena, 4096, PEV_ARENA_SIZE + PEV_ARENA_SLACK) == 0 ? arena : NULL;
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
	TAILQ_INIT(&loop->fresh);
	TAILQ_INIT(&loop->waiting);
	TAILQ_INIT(&loop->roomy);
	loop->fast_io = from->fast_io;
	loop->arena_used = PEV_DESK_SIZE;
	loop->much = PEV_MUCH;
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	if (loop->base == NULL) {
		pev_delete(loop);
		errno = PEV_EFAILED;
		return NULL;
	}
	loop->arena = make_arena();
	if (loop->arena == NULL || assign_own_events(loop) < 0) {
		event_base_free(loop->base);
		free(loop->arena);
		pev_delete(loop);
		errno = ENOMEM;
		return NULL;
	}
	pthread_rwlock_init(&loop->gate, NULL);
	pthread_mutex_init(&loop->lock, NULL);
	loop->thread = pthread_self();
	loop->fork_generation = pev_fork_generation;
	pthread_mutex_lock(&loops_lock);
	TAILQ_INSERT_TAIL(&loops, loop, next_loop);
	pthread_mutex_unlock(&loops_lock);
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

static int
close_loop(struct pev_loop *loop)
{
	struct pev_source *source;
	struct event_base *base = loop->base;
	int layer;

	if (base == NULL)
		return 0;
	if (loop->in_pass || pev_is_calling(loop))
		return -PEV_EINPASS;
	if (loop->peeks)
		return -PEV_EPEEKED;
	if (loop->fork_generation != pev_fork_generation) {
		int code = pev_loop_reinit(loop);
		if (code < 0)
			return code;
	}
	loop->in_pass = 1; /* no trampoline may think that Python is listening, none may bury itself here */
	pev_forget_rest(loop);
	forget_breaker(loop);
	loop->breaker = &loop->breakers[0]; /* as if it were on its way: nothing ends what follows */
	for (layer = 0; layer < PEV_LAYERS; layer++)
		shut_layer(loop, layer);
	event_del(&loop->watch);
	event_del(&loop->beat);
	event_del(&loop->wake);
	event_del(&loop->second_look);
	pev_forget_clock(loop);
	pev_release_signals(loop);
	settle(base);
	while ((source = TAILQ_FIRST(&loop->children)) != NULL)
		pev_source_leave(source);
	loop->in_pass = 0;
	pev_empty_graves(loop);
	event_base_free(base);
	loop->base = NULL;
	free(loop->breakers);
	free(loop->marks);
	loop->breakers = loop->breaker = NULL;
	loop->marks = NULL;
	return 0;
}

/* Nobody is inside while it closes, and whoever comes then finds it closed. */
int
pev_loop_close(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_alone(loop));
	int code, excluded;
	if (loop->base == NULL)
		return 0;
	if (!pev_is_alone(loop))
		return -PEV_ETHREAD;
	if (loop->in_pass || pev_is_calling(loop)) /* and whoever is inside may wait for what this thread holds */
		return -PEV_EINPASS;
	excluded = pev_exclude(loop);
	code = close_loop(loop);
	pev_readmit(loop, excluded);
	return code;
}

/* Python's base is gone; it was closed before, or can't be (a base in a forked child). */
void
pev_loop_free(struct pev_loop *loop)
{
	struct pev_source *source;
	while ((source = TAILQ_FIRST(&loop->children)) != NULL)
		pev_source_leave(source);
	pthread_mutex_lock(&loops_lock);
	TAILQ_REMOVE(&loops, loop, next_loop);
	pthread_mutex_unlock(&loops_lock);
	free(loop->breakers);
	free(loop->marks);
	free(loop->modes);
	free(loop->arena);
	free(loop->records);
	pthread_rwlock_destroy(&loop->gate);
	pthread_mutex_destroy(&loop->lock);
	pev_delete(loop);
}

int
pev_loop_check(struct pev_loop *loop)
{
	return pev_loop_usable(loop, 1);
}

/* The same for what isn't for other threads while the loop runs. */
int
pev_loop_check_thread(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 1);
	return code == 0 && pev_runs_elsewhere(loop) ? -PEV_ETHREAD : code;
}

int
pev_loop_is_mine(struct pev_loop *loop)
{
	return pthread_equal(loop->thread, pthread_self());
}

int
pev_loop_may_enter(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (loop->running)
		return pthread_equal(loop->thread, pthread_self()) ? -PEV_ERUNNING : -PEV_ETHREAD;
	return loop->in_pass || pev_is_calling(loop) ? -PEV_EINPASS : 0;
}

int
pev_loop_enter(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_alone(loop));
	int code = pev_loop_may_enter(loop);
	if (code < 0)
		return code;
	if (!pev_is_alone(loop))
		return -PEV_ETHREAD;
	loop->thread = pthread_self();
	__atomic_store_n(&loop->running, 1, __ATOMIC_RELEASE);
	code = pev_claim_signals(loop);
	if (code < 0)
		__atomic_store_n(&loop->running, 0, __ATOMIC_RELEASE);
	return code;
}

void
pev_loop_leave(struct pev_loop *loop)
{
	if (!pev_runs_here(loop))
		return; /* it was interrupted before it entered */
	pev_release_signals(loop);
	if (loop->base != NULL)
		pev_forget_rest(loop);
	__atomic_store_n(&loop->running, 0, __ATOMIC_RELEASE);
}

static int
hand_over(struct pev_loop *loop)
{
	int n = 0;
	unsigned other = 0;
	struct pev_source *source;
	while (n < PEV_READY_MAX && (source = TAILQ_FIRST(&loop->noted)) != NULL) {
		struct pev_ready *entry = &loop->ready[n];
		loop->reads[n++] = source->id;
		other |= (source->noted ^ PEV_NOTE_READ) | (unsigned)source->detail;
		entry->id = source->id;
		entry->what = source->noted;
		entry->detail = source->detail;
		TAILQ_REMOVE(&loop->noted, source, next_noted);
		loop->n_noted--;
		source->due = source->noted;
		source->due_pass = loop->statistics.passes;
		source->noted = 0;
		source->detail = 0;
	}
	loop->statistics.noted += (unsigned)n;
	loop->n_ready = n;
	return n && !other ? n | PEV_PASS_READS : n;
}

__thread struct pev_loop *pev_passing;

static int
poll_once(struct pev_loop *loop, int flags)
{
	int result;
	forget_breaker(loop);
	loop->bytes_noted = 0;
	loop->statistics.polls++;
	pev_passing = loop;
	result = event_base_loop(loop->base, EVLOOP_ONCE | flags);
	if (result == 1 && pev_limits_hold(loop))
		result = flags & EVLOOP_NONBLOCK ? 0 : event_base_loop(loop->base, EVLOOP_ONCE | flags);
	pev_passing = NULL;
	if (result < 0)
		return errno ? -errno : -PEV_EFAILED;
	return result;
}

/* Rule 2. */
static int
poll_until_noted(struct pev_loop *loop, int flags)
{
	int result;
	do {
		result = poll_once(loop, flags & (EVLOOP_NONBLOCK | EVLOOP_NO_EXIT_ON_EMPTY));
	} while (result == 0 && TAILQ_EMPTY(&loop->noted) && !loop->interrupted && !(flags & (EVLOOP_NONBLOCK | EVLOOP_ONCE)));
	return result;
}

/* What the last poll found and was too much for its pass: 1 when there is something to hand over. */
static int
go_on(struct pev_loop *loop)
{
	if (TAILQ_EMPTY(&loop->waiting))
		return 0;
	forget_breaker(loop);
	loop->breaker = &loop->breakers[0]; /* as if it were on its way: there is no poll to end */
	loop->bytes_noted = 0;
	event_base_gettimeofday_cached(loop->base, &loop->now);
	pev_passing = loop;
	pev_fast_serve(loop);
	pev_passing = NULL;
	return !TAILQ_EMPTY(&loop->noted);
}

/* One pass: poll, let libevent do its I/O, gather what happened. Returns the number of entries in pev_loop_ready(), with
 * PEV_PASS_ bits. flags: EVLOOP_ and PEV_PASS_TAKEN, without which a KeyboardInterrupt between this function and the
 * statement after it would lose a batch. */
int
pev_loop_pass(struct pev_loop *loop, int flags)
{
	int result = 0, n, asked = flags;
	int code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	if (loop->in_pass || pev_is_calling(loop))
		return -PEV_EINPASS;
	if (loop->peeks)
		return -PEV_EPEEKED;
	if (loop->n_ready && !(flags & PEV_PASS_TAKEN))
		return loop->n_ready;
	loop->n_ready = 0;
	pev_empty_graves(loop);
	pev_fresh_settle_all(loop);
	pev_bev_leave_all(loop);
	loop->statistics.passes++;
	loop->interrupted = 0;
	loop->in_pass = 1;
	if (!TAILQ_EMPTY(&loop->noted))
		flags |= EVLOOP_NONBLOCK;
	loop->brief = (flags & (EVLOOP_ONCE | EVLOOP_NONBLOCK)) != 0;
	loop->patient = !(asked & (EVLOOP_ONCE | EVLOOP_NONBLOCK)) && loop->n_priorities == 1;
	if (!loop->patient)
		pev_fast_forget_waiting(loop);
	if (!go_on(loop))
		result = poll_until_noted(loop, flags);
	loop->in_pass = 0;
	pev_empty_graves(loop);
	pev_ssl_release_all(loop);
	pev_bev_leave_all(loop);
	if (result < 0)
		return result;
	n = hand_over(loop);
	if (result == 1)
		n |= PEV_PASS_EMPTY;
	if (loop->interrupted)
		n |= PEV_PASS_INTERRUPTED;
	if (pev_log_waiting())
		n |= PEV_PASS_LOGGED;
	return n;
}

const struct pev_ready *
pev_loop_ready(struct pev_loop *loop)
{
	return loop->ready;
}

/* The numbers alone: enough where a pass says PEV_PASS_READS. */
const uint64_t *
pev_loop_reads(struct pev_loop *loop)
{
	return loop->reads;
}

/* Where pev_bev_take finds bytes: PEV_ARENA_SIZE of them. */
const char *
pev_loop_arena(struct pev_loop *loop)
{
	return loop->arena;
}

/* From any thread: the pass that is under way, or the next one, returns. */
int
pev_loop_wake(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_shared(loop));
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
	PEV_VISIT(pev_visit_alone(loop));
	if (loop->base == NULL)
		return -PEV_ECLOSED;
	if (!pev_is_alone(loop)) {
		/* The thread that ran the loop isn't there in a child, but the lock it may have held is. */
		return loop->fork_generation != pev_fork_generation ? -PEV_EFORKEDLOOP : -PEV_ETHREAD;
	}
	if (loop->in_pass || pev_is_calling(loop))
		return -PEV_EINPASS;
	if (!descriptors_left(BASE_DESCRIPTORS))
		return -PEV_EFDS;
	if (event_reinit(loop->base) < 0)
		return -PEV_EFAILED;
	loop->fork_generation = pev_fork_generation;
	return 0;
}

/* libevent frees its queues though there are internal events in them. */
static void
leave_queues(struct pev_loop *loop)
{
	pev_forget_rest(loop);
	forget_breaker(loop);
	event_del(&loop->wake);
	event_del(&loop->second_look);
}

/* Only on a base that has no children: fewer priorities than an event has seen is an abort (facts of libevent 3.1). */
int
pev_loop_set_priorities(struct pev_loop *loop, int n)
{
	PEV_VISIT(pev_visit_alone(loop));
	int woken, code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	if (n < 1 || n > 255)
		return -PEV_EVALUE;
	if (pev_loop_has_children(loop) || loop->running)
		return -PEV_EPENDING;
	settle(loop->base);
	woken = event_pending(&loop->wake, EV_READ, NULL);
	leave_queues(loop);
	if (event_base_priority_init(loop->base, n) < 0)
		code = -PEV_EPENDING;
	else
		code = make_breakers(loop, n);
	if (woken)
		event_active(&loop->wake, EV_READ, 1);
	return code;
}
