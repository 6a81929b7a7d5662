/* event2/bufferevent.h: a close that lingers, since something is still to be sent. Rule 6 of bufferevent.c.
 *
 * It ends when all of it is sent, when that fails, and when the peer takes nothing for as long as the close has patience: a slow
 * peer gets everything, and one that stands still finds a reset in place of the end (farewell.c).
 */
#include "pylibevent.h"

/* For what is closed and all that it stands on. */
void
pev_linger_patience(struct pev_bev *h, double seconds)
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

/* A number that grows as its bytes go down from one to the next, into the system, and to the peer. What TLS encrypts leaves its
 * output only when all of a write is encrypted, so it counts what it gave to the one below. */
static long long
headway(struct pev_bev *h)
{
	long long n = 0;
	int fd = -1;
	for (; h != NULL && h->bev != NULL; h = h->under) {
		if (h->layer != NULL && h->layer->given != NULL)
			n += h->layer->given(h);
		else
			n -= (long long)evbuffer_get_length(bufferevent_get_output(h->bev));
		fd = bufferevent_getfd(h->bev);
	}
	return fd >= 0 ? n - (long long)pev_unsent(fd) : n;
}

void
pev_linger_end(struct pev_bev *h)
{
	if (h->deadline != NULL)
		event_free(h->deadline);
	h->deadline = NULL;
	if (h->lingering)
		pev_note(&h->source, PEV_NOTE_GONE, pev_default_priority(h->source.loop));
	h->lingering = 0;
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct pev_bev *h = arg;
	long long now = headway(h);
	struct timeval tv;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	if (h->patience > 0 && now > h->headway && pev_timeval(h->patience, &tv) == 0 && event_add(h->deadline, &tv) == 0) {
		h->headway = now;
		return;
	}
	pev_linger_patience(h, h->patience > 0 && unsent_here(h) > 0 ? PEV_GIVEN_UP : 0);
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
int
pev_bev_is_busy(const struct pev_bev *h)
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
	if (h->bev == NULL || pev_bev_is_busy(h) || is_sending(h))
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
 * they are closed too. Where something does, pev_bev_step comes again when it is sent. */
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
		pev_linger_patience(h, 0);
		pev_bev_free(h);
	}
}

int
pev_linger_start(struct pev_bev *h, double seconds)
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
	h->headway = headway(h);
	h->lingering = 1;
	bufferevent_setwatermark(h->bev, EV_WRITE, 0, 0);
	bufferevent_setcb(h->bev, NULL, on_linger_write, on_linger_event, h);
	if (h->open)
		bufferevent_disable(h->bev, EV_READ);
	bufferevent_enable(h->bev, EV_WRITE);
	return 0;
}
