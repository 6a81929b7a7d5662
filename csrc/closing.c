/* event2/bufferevent.h: how bufferevents end. Rules 5 to 7 of bufferevent.c. */
#include "pylibevent.h"

/* For what is closed and all that it stands on. */
static void
give_time(struct pev_bev *h, double seconds)
{
	for (; h != NULL; h = h->under)
		h->patience = seconds;
}

/* How many bytes it and all that it stands on have in their outputs. */
static size_t
unsent_here(const struct pev_bev *h)
{
	size_t n = 0;
	for (; h != NULL && h->bev != NULL; h = h->under)
		n += evbuffer_get_length(bufferevent_get_output(h->bev));
	return n;
}

/* The same, and what the system has that the peer doesn't. */
static size_t
unsent(const struct pev_bev *h)
{
	size_t n = unsent_here(h);
	int fd;
	while (h->under != NULL)
		h = h->under;
	fd = h->bev != NULL ? bufferevent_getfd(h->bev) : -1;
	return fd >= 0 ? n + pev_unsent(fd) : n;
}

static void
end_linger(struct pev_bev *h)
{
	if (h->deadline != NULL)
		event_free(h->deadline);
	h->deadline = NULL;
	if (h->lingering)
		pev_note(&h->source, PEV_NOTE_GONE, pev_default_priority(h->source.loop));
	h->lingering = 0;
}

/* ------------------------------------------------------------------ later, outside of the pass */

static void
leave_later(struct pev_bev *h, unsigned char how)
{
	struct pev_loop *loop = h->source.loop;
	pthread_mutex_lock(&loop->lock);
	if (!h->leaving) {
		h->next_leaving = loop->leaving;
		loop->leaving = h;
	}
	if (h->leaving < how)
		h->leaving = how;
	pthread_mutex_unlock(&loop->lock);
}

static void
leave_no_more(struct pev_bev *h)
{
	struct pev_loop *loop = h->source.loop;
	struct pev_bev **link;
	if (!h->leaving || loop == NULL)
		return;
	pthread_mutex_lock(&loop->lock);
	for (link = &loop->leaving; *link != NULL; link = &(*link)->next_leaving) {
		if (*link == h) {
			*link = h->next_leaving;
			break;
		}
	}
	h->leaving = PEV_LEAVE_NOT;
	pthread_mutex_unlock(&loop->lock);
}

static struct pev_bev *
next_to_leave(struct pev_loop *loop, unsigned char *how)
{
	struct pev_bev *h;
	pthread_mutex_lock(&loop->lock);
	h = loop->leaving;
	if (h != NULL) {
		loop->leaving = h->next_leaving;
		*how = h->leaving;
		h->leaving = PEV_LEAVE_NOT;
	}
	pthread_mutex_unlock(&loop->lock);
	return h;
}

/* ------------------------------------------------------------------ freeing */

static void
free_now(struct pev_bev *h)
{
	struct bufferevent *bev;
	if (h->over != NULL)
		pev_bev_free(h->over); /* which may free this one too */
	bev = h->bev;
	if (bev == NULL)
		return;
	if (h->relay != NULL)
		pev_relay_gone(h);
	leave_no_more(h);
	if (h->drain_callback != NULL)
		evbuffer_remove_cb_entry(bev->input, h->drain_callback);
	h->drain_callback = NULL;
	if (h->sent_callback != NULL)
		evbuffer_remove_cb_entry(bev->output, h->sent_callback);
	h->sent_callback = NULL;
	pev_fast_stop(h);
	pev_buffer_owner_gone(h->views[0], 1);
	pev_buffer_owner_gone(h->views[1], 1);
	if (h->layer != NULL && h->layer->before_free != NULL)
		h->layer->before_free(h);
	pev_limits_free(h);
	bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
	if (pev_bev_is_socket(h))
		pev_bev_close_descriptor(h);
	h->bev = NULL;
	bufferevent_free(bev);
	if (h->under != NULL) {
		struct pev_bev *under = h->under;
		h->under = under->over = NULL;
		h->layer->after_free(h, under);
	}
	end_linger(h);
}

/* libevent is on the stack, and may hold the lock of a bufferevent. */
static int
is_under_locks(const struct pev_loop *loop)
{
	return (loop->in_pass || pev_is_calling(loop)) && loop->excluder != pthread_self();
}

/* For good. Idempotent; allowed in every callback of libevent's. */
void
pev_bev_free(struct pev_bev *h)
{
	struct pev_loop *loop = h->source.loop;
	int excluded;
	if (h->bev == NULL)
		return;
	if (!(h->options & BEV_OPT_THREADSAFE)) {
		free_now(h);
	} else if (is_under_locks(loop)) {
		bufferevent_setcb(h->bev, NULL, NULL, NULL, NULL);
		leave_later(h, PEV_LEAVE_FREE);
		pev_end_pass(loop);
	} else {
		excluded = pev_exclude(loop);
		free_now(h);
		pev_readmit(loop, excluded);
	}
}

void
pev_bev_shut(struct pev_source *source)
{
	struct pev_bev *h = (struct pev_bev *)source, *top = h;
	while (top->over != NULL)
		top = top->over;
	give_time(top, 0);
	pev_bev_free(h);
	leave_no_more(h);
	pev_source_forget(source);
}

void
pev_bev_drop_now(struct pev_source *source)
{
	struct pev_bev *h = (struct pev_bev *)source;
	if (source->loop != NULL) {
		pev_bev_shut(source);
		pev_source_leave(source);
	}
	pev_buffer_owner_gone(h->views[0], 0);
	pev_buffer_owner_gone(h->views[1], 0);
	if (h->layer != NULL && h->layer->on_drop != NULL)
		h->layer->on_drop(h);
	/* In a forked child nothing was freed, and what it stands on may be dropped first. */
	if (h->over != NULL)
		h->over->under = NULL;
	if (h->under != NULL)
		h->under->over = NULL;
	pev_delete(h);
}

void
pev_bev_drop(struct pev_bev *h)
{
	pev_source_discard(&h->source);
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct pev_bev *h = arg;
	size_t left = unsent(h);
	struct timeval tv;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	if (h->patience > 0 && left < h->left && pev_timeval(h->patience, &tv) == 0 && event_add(h->deadline, &tv) == 0) {
		h->left = left; /* it makes headway */
		return;
	}
	give_time(h, h->patience > 0 && unsent_here(h) > 0 ? PEV_GIVEN_UP : 0);
	pev_bev_free(h);
}

static int
is_sending(struct pev_bev *h)
{
	if (h->ended & BEV_EVENT_ERROR)
		return 0;
	return h->layer != NULL && h->layer->is_sending != NULL ? h->layer->is_sending(h) : pev_bev_has_output(h);
}

/* Python is called from within this, or from what it stands on. */
static int
is_busy(const struct pev_bev *h)
{
	for (; h != NULL; h = h->under)
		if (h->layer != NULL && h->layer->is_busy != NULL && h->layer->is_busy(h))
			return 1;
	return 0;
}

/* Closing: what is left of it, if anything. */
void
pev_bev_step(struct pev_bev *h)
{
	if (h->bev == NULL || is_busy(h) || is_sending(h))
		return;
	if (h->layer == NULL || h->layer->on_drained == NULL || h->layer->on_drained(h))
		pev_bev_free(h);
}

static void
on_sent(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_bev *top = arg;
	while (top->over != NULL)
		top = top->over;
	if (info->n_deleted && evbuffer_get_length(buf) == 0 && top->bev != NULL)
		bufferevent_trigger(top->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* The write callback of the one on top comes when this output is empty. */
void
pev_call_when_sent(struct pev_bev *h)
{
	if (h->sent_callback == NULL)
		h->sent_callback = evbuffer_add_cb(h->bev->output, on_sent, h);
}

/* Closing, and all has gone down to the one below: whether nothing waits there and further down that must be sent before
 * they are closed too. Where something does, step_linger comes again when it is sent. */
int
pev_below_is_sent(struct pev_bev *h)
{
	struct pev_bev *under = h->under;
	if (!(h->options & BEV_OPT_CLOSE_ON_FREE) || under->bev == NULL || under->connecting == PEV_CONNECT_FAILED)
		return 1;
	if ((under->ended & BEV_EVENT_ERROR) || (under->layer != NULL && under->layer->on_drained == NULL))
		return 1; /* a pair hands over what it has when it is freed */
	if (is_sending(under)) {
		pev_call_when_sent(under);
		return 0;
	}
	return under->layer == NULL || under->layer->on_drained(under);
}

/* Whether the one above would take this for the end though it hasn't read everything. */
int
pev_end_is_early(const struct pev_bev *h)
{
	return h->over != NULL && !h->over->layer->waits_for_all && evbuffer_get_length(h->bev->input) > 0;
}

static void
on_linger_write(struct bufferevent *bev, void *arg)
{
	PEV_UNUSED(bev);
	pev_bev_step(arg);
}

static void
on_linger_event(struct bufferevent *bev, short what, void *arg)
{
	struct pev_bev *h = arg;
	if (h->layer != NULL && h->layer->sift != NULL)
		what = h->layer->sift(h, what);
	if (what & BEV_EVENT_CONNECTED) { /* what was written before the connection stood goes out now */
		h->open = 1;
		bufferevent_disable(bev, EV_READ);
		pev_bev_step(h);
	} else if (what & (BEV_EVENT_ERROR | BEV_EVENT_WRITING)) {
		give_time(h, 0);
		pev_bev_free(h);
	}
}

static int
start_linger(struct pev_bev *h, double seconds)
{
	struct timeval tv;
	int code = pev_timeval(seconds, &tv);
	if (code < 0)
		return code;
	h->deadline = event_new(h->source.loop->base, -1, 0, on_deadline, h);
	if (h->deadline == NULL || event_add(h->deadline, &tv) < 0) {
		if (h->deadline != NULL)
			event_free(h->deadline);
		h->deadline = NULL;
		return -ENOMEM;
	}
	h->left = unsent(h);
	h->lingering = 1;
	bufferevent_setwatermark(h->bev, EV_WRITE, 0, 0);
	bufferevent_setcb(h->bev, NULL, on_linger_write, on_linger_event, h);
	if (h->open)
		bufferevent_disable(h->bev, EV_READ);
	bufferevent_enable(h->bev, EV_WRITE);
	return 0;
}

static int
has_more_to_send(struct pev_bev *h)
{
	if (h->layer != NULL)
		return h->layer->on_drained != NULL;
	return !(h->ended & BEV_EVENT_ERROR) && pev_bev_has_output(h) &&
	    (h->connecting == PEV_CONNECTING || bufferevent_getfd(h->bev) >= 0);
}

/* TLS on a socket has mostly nothing left to send but its close_notify, and that goes out at once. */
static int
ends_at_once(struct pev_bev *h)
{
	if (h->layer == NULL || !h->layer->is_records || h->under == NULL || !pev_bev_is_socket(h->under))
		return 0;
	pev_bev_step(h);
	return h->bev == NULL;
}

static int
send_rest(struct pev_bev *h, double seconds)
{
	int code;
	if (ends_at_once(h))
		return 0;
	code = start_linger(h, seconds);
	if (code < 0)
		return code;
	if (h->bev != NULL) /* enabling may have written all, or failed */
		pev_bev_step(h);
	if (h->bev != NULL)
		return 1;
	pev_source_forget(&h->source); /* the caller is told */
	return 0;
}

static int
close_now(struct pev_bev *h, double seconds)
{
	int code;
	pev_source_forget(&h->source);
	if (h->relay != NULL)
		pev_relay_gone(h);
	h->wants = 0;
	h->paused = 0;
	give_time(h, seconds);
	if (is_busy(h)) { /* freed as soon as the loop is back */
		if (h->lingering) {
			struct timeval at_once = { 0, 0 };
			return event_add(h->deadline, &at_once) < 0 ? -ENOMEM : 1;
		}
		code = start_linger(h, seconds);
		return code < 0 ? code : 1;
	}
	if (!h->lingering && seconds > 0 && has_more_to_send(h))
		return send_rest(h, seconds);
	h->lingering = 0;
	pev_bev_free(h);
	return h->bev != NULL;
}

/* The thread that runs the loop closes it, soon. */
static int
close_elsewhere(struct pev_bev *h, double seconds)
{
	PEV_VISIT(pev_visit_shared(h->source.loop));
	int code = pev_loop_usable(h->source.loop, 1);
	if (code == -PEV_ECLOSED || h->bev == NULL)
		return 0; /* the loop's thread was quicker */
	if (code < 0)
		return code;
	h->patience = seconds;
	leave_later(h, PEV_LEAVE_CLOSE);
	event_active(&h->source.loop->wake, EV_READ, 1);
	return 1;
}

/* 0: closed. 1: what was written is still being sent, or another thread runs the loop; PEV_NOTE_GONE will say when it is
 * over. */
int
pev_bev_close(struct pev_bev *h, double seconds)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code;
	if (h->bev == NULL)
		return 0;
	code = pev_loop_usable(h->source.loop, h->options & BEV_OPT_THREADSAFE);
	if (code < 0)
		return code;
	if (h->over != NULL)
		return -PEV_ECARRIES;
	if (h->exports || (h->layer != NULL && pev_bev_peeked(h)))
		return -PEV_EPEEKED;
	if ((h->lingering || h->leaving) && seconds > 0)
		return 1;
	if (pev_bev_asks(h) ||
	    ((h->options & BEV_OPT_THREADSAFE) && (is_under_locks(h->source.loop) || !pev_is_alone(h->source.loop))))
		return close_elsewhere(h, seconds);
	return close_now(h, seconds);
}

/* What was closed by other threads, or ended, while a pass was on. */
void
pev_bev_leave_all(struct pev_loop *loop)
{
	struct pev_bev *h;
	unsigned char how;
	while (__atomic_load_n(&loop->leaving, __ATOMIC_ACQUIRE) != NULL && (h = next_to_leave(loop, &how)) != NULL) {
		if (h->bev == NULL)
			continue;
		if (how == PEV_LEAVE_FREE || (close_now(h, h->patience) < 0 && !h->lingering))
			pev_bev_free(h);
		if (h->bev == NULL)
			pev_note(&h->source, PEV_NOTE_GONE, pev_default_priority(loop));
	}
}
