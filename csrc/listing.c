/* event2/event.h: all events of a base, to be looked at. */
#include "pylibevent.h"

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
	info->id = pev_event_id(ev);
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
		info->timeout = pev_seconds(&due) - pev_seconds(&search->now);
	}
	return 0;
}

/* How many there are; the first max of them into out. */
int
pev_loop_events(struct pev_loop *loop, struct pev_event_info *out, int max)
{
	PEV_VISIT(pev_visit_shared(loop));
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
	PEV_VISIT(pev_visit_shared(loop));
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
