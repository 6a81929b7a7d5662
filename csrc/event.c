/* event2/event.h: events: descriptors, timers, signals. */
#include "pylibevent.h"

#include <poll.h>

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

void
pev_second_look(evutil_socket_t fd, short what, void *arg)
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
	pev_source_discard(&h->source);
}

static int
event_usable(const struct pev_event *h)
{
	return h->closed ? -PEV_ECLOSED : pev_loop_usable(h->source.loop, 1);
}

struct pev_event *
pev_event_new(struct pev_loop *loop, int fd, int events, int priority, uint64_t id)
{
	PEV_VISIT(pev_visit_shared(loop));
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

int
pev_event_close(struct pev_event *h)
{
	struct pev_loop *loop = h->source.loop;
	PEV_VISIT(pev_visit_shared(loop));
	if (h->source.loop == NULL || __atomic_exchange_n(&h->closed, 1, __ATOMIC_ACQ_REL))
		return 0;
	if (loop->fork_generation != pev_fork_generation)
		return 0; /* the epoll set is the parent's too: leave it alone */
	event_del(&h->ev);
	uncount(h);
	pev_source_forget_safely(&h->source);
	return 0;
}

static int
add_event(struct pev_event *h, const struct timeval *tv)
{
	int code = count(h);
	if (code == 0 && is_signal(h))
		code = pev_claim_signals(h->source.loop);
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
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = event_usable(h);
	return code < 0 ? code : add_event(h, NULL);
}

int
pev_event_add_timeout(struct pev_event *h, double seconds)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	struct timeval tv;
	int code = event_usable(h);
	if (code == 0)
		code = pev_timeval(seconds, &tv);
	return code < 0 ? code : add_event(h, &tv);
}

int
pev_event_add_common(struct pev_event *h, const void *common)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = event_usable(h);
	return code < 0 ? code : add_event(h, common);
}

int
pev_event_delete(struct pev_event *h)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = event_usable(h);
	if (code < 0)
		return code;
	if (event_del(&h->ev) < 0)
		return -PEV_EFAILED;
	uncount(h);
	pev_source_forget_safely(&h->source);
	return 0;
}

int
pev_event_remove_timer(struct pev_event *h)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = event_usable(h);
	if (code < 0)
		return code;
	return event_remove_timer(&h->ev) < 0 ? -PEV_EFAILED : 0;
}

int
pev_event_active(struct pev_event *h, int events)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = event_usable(h);
	if (code < 0)
		return code;
	event_active(&h->ev, events, 1);
	return 0;
}

/* What it has fired for and Python hasn't yet called; with was_called, what the last pass handed over was called. */
static unsigned
due(const struct pev_event *h, int was_called)
{
	const struct pev_source *source = &h->source;
	unsigned bits = source->noted;
	if (!was_called && source->loop != NULL && source->due_pass == source->loop->statistics.passes)
		bits |= source->due;
	return bits;
}

/* What the event is pending for; *expires is the time.time() at which it times out, or negative. */
int
pev_event_pending(struct pev_event *h, int events, double *expires, int was_called)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	struct timeval tv = { 0, 0 };
	int what, code = event_usable(h);
	if (code < 0)
		return code;
	what = event_pending(&h->ev, (short)events, &tv);
	if (expires != NULL)
		*expires = (what & EV_TIMEOUT) && tv.tv_sec ? pev_seconds(&tv) : -1;
	return what | (int)(due(h, was_called) & (unsigned)events);
}

int
pev_event_set_priority(struct pev_event *h, int priority, int was_called)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = event_usable(h);
	if (code < 0)
		return code;
	if (priority < 0 || priority >= h->source.loop->n_priorities)
		return -PEV_EVALUE;
	/* An active one would be looked for in a queue that it isn't in. */
	if ((h->ev.ev_evcallback.evcb_flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER)) || due(h, was_called))
		return -PEV_EPENDING;
	return event_priority_set(&h->ev, priority) < 0 ? -PEV_EPENDING : 0;
}

int
pev_event_get_priority(struct pev_event *h)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = event_usable(h);
	return code < 0 ? code : pev_event_priority(&h->ev);
}

/* 0: not one of Python's events */
uint64_t
pev_event_id(const struct event *ev)
{
	if (ev->ev_evcallback.evcb_cb_union.evcb_callback != on_event)
		return 0;
	return ((const struct pev_event *)ev->ev_evcallback.evcb_arg)->source.id;
}
