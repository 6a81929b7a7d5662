/* event2/bufferevent.h: how bufferevents end. Rules 5 to 7 of bufferevent.c. */
#include "pylibevent.h"

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
	pev_linger_end(h);
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
	pev_linger_patience(top, 0);
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
	code = pev_linger_start(h, seconds);
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
	pev_linger_patience(h, seconds);
	if (pev_bev_is_busy(h)) { /* freed as soon as the loop is back */
		if (h->lingering) {
			struct timeval at_once = { 0, 0 };
			return event_add(h->deadline, &at_once) < 0 ? -ENOMEM : 1;
		}
		code = pev_linger_start(h, seconds);
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
