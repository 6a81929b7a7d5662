/* event2/event.h: events of our own: breakers, which end a pass, and what brings it back to Python from outside: calls of other
 * threads, signals. All are internal to libevent's eyes: they don't keep a loop running. */
#include "pylibevent.h"

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

/* For so many priorities, instead of those before; their marks too. */
int
pev_make_breakers(struct pev_loop *loop, int n)
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

int
pev_assign_own_events(struct pev_loop *loop)
{
	if (assign_own(loop, &loop->wake, -1, 0, on_wake, 0) < 0)
		return -1;
	if (assign_own(loop, &loop->watch, -1, EV_READ | EV_PERSIST, on_watch, 0) < 0)
		return -1;
	if (assign_own(loop, &loop->beat, -1, EV_PERSIST, on_wake, 0) < 0)
		return -1;
	if (assign_own(loop, &loop->second_look, -1, 0, pev_second_look, 0) < 0)
		return -1;
	return pev_make_breakers(loop, 1);
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
