/* event2/bufferevent.h: the handle that all kinds share, and the plain socket.
 *
 * The rules:
 *
 *   1. The three trampolines are always installed: an event that finds no callback is lost (facts of libevent 3.8).
 *   2. A reader at its high mark is paused until something is drained (watermark.c).
 *   3. EOF is noted once, ERROR once, and nothing after ERROR.
 *   4. Those with a lock also defer, so that trampolines run in the loop's thread only.
 *   5. The descriptor is closed when the close is done, and not, as bufferevent_free does, in some later pass.
 *   6. A close with output left lingers: the handle stays with C until all is sent, fails, or makes no headway for so long.
 *   7. Those with a lock are freed outside of a pass, by the loop's thread or by one that is alone, while no other is inside.
 */
#include "pylibevent.h"

#define ENDS (BEV_EVENT_EOF | BEV_EVENT_ERROR)

/* OpenSSL is at work in it, or in what it stands on, and waits for Python: nothing may call OpenSSL there. */
int
pev_bev_asks(const struct pev_bev *h)
{
	for (; h != NULL; h = h->under)
		if (h->busy)
			return 1;
	return 0;
}

/* What its state allows: 0, or why not. Whoever looks at the input asks pev_bev_usable. */
int
pev_bev_state(const struct pev_bev *h)
{
	if (h->bev == NULL || h->lingering || h->leaving)
		return -PEV_ECLOSED;
	if (pev_bev_asks(h))
		return -PEV_EINPASS;
	return pev_loop_usable(h->source.loop, h->options & BEV_OPT_THREADSAFE);
}

int
pev_bev_usable(struct pev_bev *h)
{
	int code = pev_bev_state(h);
	if (code == 0 && h->fresh_length)
		pev_fresh_settle(h);
	return code;
}

/* For what frees it at once. */
int
pev_bev_freeable(struct pev_bev *h)
{
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (!pev_is_alone(h->source.loop))
		return -PEV_ETHREAD;
	return pev_is_calling(h->source.loop) ? -PEV_EINPASS : 0;
}

/* For what would come between a bufferevent and the one that stands on it. */
int
pev_bev_usable_alone(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code == 0 && h->over != NULL)
		return -PEV_ECARRIES;
	return code == 0 && h->relay != NULL ? -PEV_ERELAYED : code;
}

/* For what is about to stand on it. */
int
pev_bev_may_carry(struct pev_bev *h)
{
	const struct pev_bev *below;
	int code = pev_bev_usable_alone(h), layers = 1;
	if (code < 0)
		return code;
	for (below = h; below != NULL; below = below->under)
		layers++;
	return layers > PEV_MOST_LAYERS ? -PEV_EDEEP : 0;
}

int
pev_bev_check(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return pev_bev_usable(h);
}

int
pev_bev_has_output(const struct pev_bev *h)
{
	return evbuffer_get_length(bufferevent_get_output(h->bev)) > 0;
}

int
pev_bev_is_socket(const struct pev_bev *h)
{
	return h->layer == NULL;
}

/* Whether its events watch one, or will. */
int
pev_bev_has_descriptor(const struct pev_bev *h)
{
	return pev_bev_is_socket(h) || h->layer->has_descriptor;
}

static void
note(struct pev_bev *h, unsigned what)
{
	pev_note(&h->source, what, bufferevent_get_priority(h->bev));
}

/* What must be looked at after bytes were written, or switches and marks changed, here and below. */
void
pev_bev_changed(struct pev_bev *h)
{
	if (h->over != NULL && h->over->bev != NULL && h->over->layer->on_change != NULL)
		h->over->layer->on_change(h->over);
	for (; h != NULL && h->bev != NULL; h = h->under) {
		if (h->layer != NULL && h->layer->on_change != NULL)
			h->layer->on_change(h);
		/* An event without a descriptor would keep the loop for ever (facts of libevent 3.1). */
		if (pev_bev_has_descriptor(h) && event_get_fd(&h->bev->ev_read) < 0) {
			event_del(&h->bev->ev_read);
			event_del(&h->bev->ev_write);
		}
	}
}

/* ------------------------------------------------------------------ trampolines */

/* Python wasn't told of it: what came before it can be told first. TLS says that it failed, and then that it had read. */
static int
is_error_due(const struct pev_bev *h)
{
	return (h->source.noted & (BEV_EVENT_ERROR << PEV_NOTE_EVENTS)) != 0;
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct pev_bev *h = arg;
	if (h->relay == NULL)
		pev_bev_hold(h);
	if (h->layer != NULL && h->layer->on_read != NULL)
		h->layer->on_read(h);
	if (h->relay != NULL) {
		pev_relay_read(h);
		return;
	}
	if (!(h->wants & EV_READ) || ((h->ended & BEV_EVENT_ERROR) && !is_error_due(h)))
		return;
	if (!h->source.noted && h->source.loop)
		h->source.loop->bytes_noted += evbuffer_get_length(bev->input);
	note(h, PEV_NOTE_READ);
}

static void
on_write(struct bufferevent *bev, void *arg)
{
	struct pev_bev *h = arg;
	PEV_UNUSED(bev);
	if (h->layer != NULL && h->layer->on_write != NULL)
		h->layer->on_write(h);
	if (h->relay != NULL) {
		pev_relay_written(h);
		return;
	}
	if (h->limits != NULL && !pev_limits_sent(h))
		return;
	if ((h->wants & EV_WRITE) && h->connecting == PEV_NOT_CONNECTING && !(h->ended & BEV_EVENT_ERROR))
		note(h, PEV_NOTE_WRITE);
}

static void
stop_after_error(struct pev_bev *h, short what)
{
	if (what & BEV_EVENT_WRITING)
		pev_bev_last_words(h);
	if (h->bev == NULL)
		return; /* one above that was closing has freed it */
	h->paused = 0;
	if (h->layer != NULL && h->layer->stop_reading != NULL)
		h->layer->stop_reading(h);
	else
		bufferevent_disable(h->bev, EV_READ | EV_WRITE);
}

/* Events of one whose callbacks another has that stands on it: what that shall hear of. Rule 3 is for the one on top. */
short
pev_bev_sift_events(struct pev_bev *h, short what, int error)
{
	if (h->layer != NULL && h->layer->on_event != NULL)
		what = h->layer->on_event(h, what, error);
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_READING | BEV_EVENT_WRITING)) != (BEV_EVENT_EOF | BEV_EVENT_WRITING))
		h->ended |= what & ENDS;
	if (what & BEV_EVENT_ERROR)
		stop_after_error(h, what);
	return what;
}

/* Rule 3: whether these events are told. */
static int
latch(struct pev_bev *h, short what)
{
	if (h->ended & BEV_EVENT_ERROR)
		return 0;
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_READING | BEV_EVENT_WRITING)) == (BEV_EVENT_EOF | BEV_EVENT_WRITING))
		return 1; /* a pair's: the other end reads no more, but may write */
	if ((what & ENDS) && (h->ended & ENDS & what) == (what & ENDS))
		return 0; /* told before */
	h->ended |= what & ENDS;
	if (what & BEV_EVENT_ERROR)
		stop_after_error(h, what);
	return 1;
}

void
pev_bev_note_events(struct pev_bev *h, short what, int error)
{
	if (!latch(h, what))
		return;
	if (h->relay != NULL) {
		pev_relay_event(h, what, error);
		return;
	}
	h->source.detail = error;
	note(h, (unsigned)(unsigned short)what << PEV_NOTE_EVENTS);
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	int error = errno;
	struct pev_bev *h = arg;
	PEV_UNUSED(bev);
	if (h->layer != NULL && h->layer->on_event != NULL)
		what = h->layer->on_event(h, what, error);
	if (what == 0)
		return;
	if (h->connecting != PEV_NOT_CONNECTING)
		pev_bev_connect_event(h, what, error);
	else
		pev_bev_note_events(h, what, error);
}

/* ------------------------------------------------------------------ making */

int
pev_bev_filter_options(int options)
{
	return pev_bev_c_options(options) & ~BEV_OPT_THREADSAFE;
}

int
pev_bev_c_options(int options)
{
	int c_options = options & BEV_OPT_DEFER_CALLBACKS;
	if (options & BEV_OPT_THREADSAFE)
		c_options |= BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS;
	return c_options; /* descriptors are closed by us, and no callback runs under a lock */
}

/* One that stands on another must share its lock: libevent goes up and down such a stack, and locks on its way. It would give a
 * filter made with THREADSAFE one of its own, since it doesn't know yet what that stands on; so it is told afterwards. */
extern int bufferevent_enable_locking_(struct bufferevent *bev, void *lock);

int
pev_bev_share_lock(struct bufferevent *bev, int options)
{
	return options & BEV_OPT_THREADSAFE ? bufferevent_enable_locking_(bev, NULL) : 0;
}

/* The stream is open: whoever stands on it may begin. */
void
pev_bev_opened(struct pev_bev *h)
{
	if (h->over != NULL && h->over->layer->begin != NULL)
		h->over->layer->begin(h->over);
}

/* The trampolines are called, from now on or again. */
void
pev_bev_listen(struct pev_bev *h)
{
	bufferevent_setcb(h->bev, on_read, on_write, on_event, h);
}

/* Whether they are. */
int
pev_bev_hears(const struct pev_bev *h)
{
	return h->bev->readcb == on_read && h->bev->cbarg == h;
}

void
pev_bev_init(struct pev_bev *h, struct pev_loop *loop, struct bufferevent *bev, int options, uint64_t id,
    const struct pev_layer *layer)
{
	h->bev = bev;
	h->options = (unsigned char)options;
	h->layer = layer;
	h->open = layer == NULL;
	if (layer != NULL || (options & (BEV_OPT_DEFER_CALLBACKS | BEV_OPT_THREADSAFE)))
		loop->defers = 1;
	pev_bev_listen(h);
	pev_source_init(&h->source, loop, id, PEV_LAYER_BUFFEREVENT, pev_bev_shut, pev_bev_drop_now);
}
