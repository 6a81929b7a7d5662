/* event2/event.h: how a loop with ONCE or NONBLOCK ends, though there is always more to do.
 *
 * libevent polls again and again as long as anything is active, and each poll finds new bytes where senders are fast. The
 * rules:
 *
 *   1. One poll, and what it found. What is active when those callbacks were called, since a pass was cut short or since they
 *      made it so, still belongs to it, and nothing else does: marks are queued behind that, one a priority.
 *   2. Deferred callbacks that are too many wait outside of the queues until libevent polls again. Where there may be any, a
 *      mark goes to the end of its queue a second time.
 *   3. What C does without Python, which is relaying, ends such a pass too.
 *   4. What a mark cut off stays active, and is the first thing in the next loop.
 */
#include "pylibevent.h"

struct pev_mark {
	struct event event;
	struct pev_loop *loop;
	int wanted;
	int again; /* rule 2 */
};

static void
on_mark(evutil_socket_t fd, short what, void *arg)
{
	struct pev_mark *mark = arg;
	struct pev_loop *loop = mark->loop;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	if (mark->again) {
		mark->again = 0;
		event_active(&mark->event, EV_TIMEOUT, 1);
	} else if (--loop->n_marks == 0) {
		event_base_loopbreak(loop->base);
	}
}

/* For so many priorities, instead of those before. */
int
pev_make_marks(struct pev_loop *loop, int n)
{
	struct pev_mark *marks = calloc((size_t)n, sizeof *marks);
	int i;
	if (marks == NULL)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		marks[i].loop = loop;
		if (event_assign(&marks[i].event, loop->base, -1, 0, on_mark, &marks[i]) < 0) {
			free(marks);
			return -PEV_EFAILED;
		}
		event_priority_set(&marks[i].event, i);
		pev_mark_internal(&marks[i].event);
	}
	free(loop->marks);
	loop->marks = marks;
	return 0;
}

/* The base is locked here. */
static int
want_if_active(const struct event_base *base, const struct event *ev, void *arg)
{
	struct pev_loop *loop = arg;
	int flags = ev->ev_evcallback.evcb_flags;
	PEV_UNUSED(base);
	if ((flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER)) && !(flags & EVLIST_INTERNAL))
		loop->marks[pev_event_priority(ev)].wanted = 1;
	return 0;
}

static void
set_marks(struct pev_loop *loop)
{
	int i;
	for (i = 0; i < loop->n_priorities; i++)
		loop->marks[i].wanted = loop->n_priorities == 1;
	if (loop->n_priorities > 1)
		event_base_foreach_event(loop->base, want_if_active, loop);
	if (loop->defers)
		loop->marks[pev_default_priority(loop)].wanted = 1;
	for (i = 0; i < loop->n_priorities; i++) {
		if (!loop->marks[i].wanted)
			continue;
		loop->marks[i].again = loop->defers;
		event_active(&loop->marks[i].event, EV_TIMEOUT, 1);
		loop->n_marks++;
	}
}

/* Callbacks were called, of a pass or of what was left before: whether a loop that is to end goes on, without waiting. */
int
pev_loop_goes_on(struct pev_loop *loop, int polled)
{
	if (loop->base == NULL || event_base_get_num_events(loop->base, EVENT_BASE_COUNT_ACTIVE) == 0)
		return 0;
	if (!polled)
		return 1;
	if (!loop->marked)
		set_marks(loop);
	loop->marked = 1;
	return loop->n_marks > 0;
}

/* The loop is left, or goes on with something else. */
void
pev_forget_rest(struct pev_loop *loop)
{
	int i;
	for (i = 0; loop->n_marks > 0 && i < loop->n_priorities; i++)
		event_del(&loop->marks[i].event);
	loop->n_marks = loop->marked = 0;
}
