/* event2/event.h: the base: how it is made, entered by the thread that runs it, and closed. Its pass: pass.c. */
#include "pylibevent.h"

#include <fcntl.h>

/* ------------------------------------------------------------------ making */

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
	loop->much = PEV_MUCH;
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	if (loop->base == NULL) {
		pev_delete(loop);
		errno = PEV_EFAILED;
		return NULL;
	}
	loop->arena = make_arena();
	if (loop->arena == NULL || pev_assign_own_events(loop) < 0) {
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
	pev_fork_add(loop);
	return loop;
}

/* ------------------------------------------------------------------ closing */

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
	pev_forget_breaker(loop);
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

/* Another thread runs it. That thread isn't there in a forked child, but the lock it may have held is. */
static int
in_use(const struct pev_loop *loop)
{
	return loop->fork_generation != pev_fork_generation ? -PEV_EFORKEDLOOP : -PEV_ETHREAD;
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
		return in_use(loop);
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
	struct pev_bev *h;
	while ((h = TAILQ_FIRST(&loop->fresh)) != NULL)
		pev_fresh_forget(h);
	pev_fast_forget_waiting(loop);
	while ((source = TAILQ_FIRST(&loop->children)) != NULL)
		pev_source_leave(source);
	pev_fork_remove(loop);
	free(loop->breakers);
	free(loop->marks);
	free(loop->modes);
	free(loop->arena);
	free(loop->records);
	pthread_rwlock_destroy(&loop->gate);
	pthread_mutex_destroy(&loop->lock);
	pev_delete(loop);
}

/* ------------------------------------------------------------------ who may use it */

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

/* ------------------------------------------------------------------ anew */

int
pev_loop_reinit(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_alone(loop));
	if (loop->base == NULL)
		return -PEV_ECLOSED;
	if (!pev_is_alone(loop))
		return in_use(loop);
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
	pev_forget_breaker(loop);
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
		code = pev_make_breakers(loop, n);
	if (woken)
		event_active(&loop->wake, EV_READ, 1);
	return code;
}
