/* When Python's own timers (event/timer_queue.py) are due next: one event of libevent's for all of them.
 *
 * Their clock is Python's time.monotonic. libevent's is coarser and may be a tick behind, so its event may come too early:
 * then it is added again, and Python doesn't hear of it. It is internal to libevent's eyes; Python knows by itself whether
 * there is something to wait for. */
#include "pylibevent.h"

#include <time.h>

struct pev_deadline {
	struct pev_source source;
	struct event ev;
	double when;
};

/* libevent's timeouts have an end. */
#define FARTHEST 1e9

#ifdef __APPLE__
#define CLOCK CLOCK_UPTIME_RAW
#else
#define CLOCK CLOCK_MONOTONIC
#endif

static double
seconds_left(const struct pev_deadline *h)
{
	struct timespec now;
	double left;
	clock_gettime(CLOCK, &now);
	left = h->when - ((double)now.tv_sec + (double)now.tv_nsec / 1e9);
	if (!(left > 0))
		return 0;
	return left < FARTHEST ? left : FARTHEST;
}

static int
wait_for(struct pev_deadline *h, double seconds)
{
	struct timeval tv;
	int code = pev_timeval(seconds, &tv);
	if (code < 0)
		return code;
	return event_add(&h->ev, &tv) < 0 ? -PEV_EFAILED : 0;
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct pev_deadline *h = arg;
	double left = seconds_left(h);
	PEV_UNUSED(fd);
	if (left > 0 && wait_for(h, left) == 0)
		return;
	pev_note(&h->source, (unsigned)what, pev_event_priority(&h->ev));
}

static void
shut_deadline(struct pev_source *source)
{
	event_del(&((struct pev_deadline *)source)->ev);
	pev_source_forget(source);
}

static void
drop_deadline(struct pev_source *source)
{
	if (source->loop != NULL) {
		shut_deadline(source);
		pev_source_leave(source);
	}
	pev_delete(source);
}

void
pev_deadline_drop(struct pev_deadline *h)
{
	pev_source_discard(&h->source);
}

struct pev_deadline *
pev_deadline_new(struct pev_loop *loop, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct pev_deadline *h;
	int code = pev_loop_usable(loop, 0);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	if (event_assign(&h->ev, loop->base, -1, 0, on_deadline, h) < 0) {
		pev_delete(h);
		errno = PEV_EFAILED;
		return NULL;
	}
	pev_mark_internal(&h->ev);
	pev_source_init(&h->source, loop, id, PEV_LAYER_DEADLINE, shut_deadline, drop_deadline);
	return h;
}

/* Note it at this time.monotonic(), or at once if that has gone by. */
int
pev_deadline_set(struct pev_deadline *h, double when)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_loop_usable(h->source.loop, 0);
	if (code < 0)
		return code;
	h->when = when;
	return wait_for(h, seconds_left(h));
}

int
pev_deadline_clear(struct pev_deadline *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_loop_usable(h->source.loop, 0);
	if (code < 0)
		return code;
	event_del(&h->ev);
	pev_source_forget(&h->source);
	return 0;
}
