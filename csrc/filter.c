/* event2/bufferevent.h: a bufferevent that changes what goes through it.
 *
 * libevent's filter carries the bytes; Python's filters are called by pump.c. The rules, and the facts that make them needed
 * (facts of libevent 3.10):
 *
 *   1. Python is called by the loop, by write and by flush: never while the one above is at work (TLS would call itself),
 *      never in another thread than the loop's, never while memory is shown that could move. What can't be done now, the
 *      event `again` does.
 *   2. A filter that takes nothing isn't called again before something happens: libevent would call it for ever. One that
 *      gives without taking, or has had a lot, goes on in the next turn of the loop.
 *   3. Whatever a filter gives is announced, also with NEED_MORE. One that stopped at the limit is called again when there
 *      is room, though its source may be empty.
 *   4. ERROR ends the stream, with one event.
 *   5. The end of the one below comes when everything before it went through, and the filter was called with FINISHED.
 *      A close calls the output filter with FINISHED, if anything ever went out.
 *   6. The one below is left as it was found: its callbacks, and whether it reads. What came in there unheard is told.
 *   7. Callbacks of libevent's are deferred: none runs inside of another.
 */
#include "filter.h"

static const struct pev_layer filter_layer;

/* ------------------------------------------------------------------ what happens to our buffers, and below */

static void
on_lower_input(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	PEV_UNUSED(buf);
	((struct pev_filter *)arg)->ways[IN].took += info->n_deleted;
}

static void
on_lower_output(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	PEV_UNUSED(buf);
	((struct pev_filter *)arg)->ways[OUT].gave += info->n_added;
}

static void
on_input_change(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_filter *f = arg;
	PEV_UNUSED(buf);
	f->ways[IN].gave += info->n_added;
	if (!info->n_deleted || !pev_filter_is_alive(f))
		return;
	f->ways[IN].answered = 0;
	if (f->end || f->ways[IN].more || evbuffer_get_length(f->b.under->bev->input))
		pev_filter_look_again(f);
}

static void
on_output_change(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_filter *f = arg;
	PEV_UNUSED(buf);
	f->ways[OUT].took += info->n_deleted;
	if (info->n_added)
		f->ways[OUT].answered = 0;
	pev_time_output(&f->b, info);
}

static void
on_change(struct pev_bev *h)
{
	struct pev_filter *f = pev_filter_of(h);
	if (!pev_filter_is_alive(f))
		return;
	pev_filter_stop_idle_clock(f);
	if ((bufferevent_get_enabled(h->bev) & EV_READ) && !pev_filter_input_is_full(f) &&
	    (f->end || f->ways[IN].more || evbuffer_get_length(h->under->bev->input)))
		pev_filter_look_again(f);
	if ((bufferevent_get_enabled(h->bev) & EV_WRITE) && evbuffer_get_length(h->bev->output) && !f->ways[OUT].answered)
		pev_filter_look_again(f);
}

static void
under_read(struct bufferevent *under, void *arg)
{
	PEV_UNUSED(under);
	pev_pump_input(arg);
}

static void
under_write(struct bufferevent *under, void *arg)
{
	PEV_UNUSED(under);
	pev_pump_output(arg);
}

static void
under_event(struct bufferevent *under, short what, void *arg)
{
	int error = errno;
	struct pev_filter *f = arg;
	PEV_UNUSED(under);
	if (f->b.under == NULL)
		return;
	what = pev_bev_sift_events(f->b.under, what, error);
	if (what == 0 || !pev_filter_is_alive(f))
		return;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		pev_pump_input(f);
	if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING)) {
		f->end = what;
		pev_filter_try_to_end(f);
	} else if (pev_filter_is_alive(f)) {
		pev_filter_forward(f, what, error);
	}
}

static short
on_filter_event(struct pev_bev *h, short what, int error)
{
	PEV_UNUSED(error);
	if ((what & BEV_EVENT_TIMEOUT) && (what & BEV_EVENT_READING) && (h->ended & BEV_EVENT_EOF))
		return 0;
	if ((what & ~BEV_EVENT_READING) == (BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING) && !pev_bev_has_output(h)) {
		bufferevent_enable(h->bev, EV_WRITE);
		pev_filter_stop_idle_clock(pev_filter_of(h));
		what &= ~BEV_EVENT_WRITING;
		return what & BEV_EVENT_READING ? what : 0;
	}
	if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING))
		bufferevent_disable(h->bev, EV_READ);
	return what;
}

static int
flush_filter(struct pev_bev *h, int iotype, int mode)
{
	struct pev_filter *f = pev_filter_of(h);
	struct pev_bev *under = h->under;
	int moved = 0, r = 0;
	if (!pev_filter_is_alive(f))
		return 0;
	if ((iotype & EV_READ) && mode == BEV_NORMAL)
		pev_pump_input(f);
	if ((iotype & EV_WRITE) && mode == BEV_NORMAL)
		pev_pump_output(f);
	if ((iotype & EV_WRITE) && mode != BEV_NORMAL)
		moved |= pev_filter_force(f, OUT, mode);
	if (pev_filter_is_alive(f) && under->layer != NULL && under->layer->flush != NULL)
		r = under->layer->flush(under, iotype, mode);
	if (pev_filter_is_alive(f) && (iotype & EV_READ) && mode != BEV_NORMAL)
		moved |= pev_filter_force(f, IN, mode);
	return r < 0 ? r : moved | r;
}

static int
filter_peeked(const struct pev_bev *h)
{
	const struct pev_filter *f = (const struct pev_filter *)h;
	const struct pev_lending *in = f->ways[IN].lending, *out = f->ways[OUT].lending;
	return (in != NULL && pev_lent_is_kept(in)) || (out != NULL && pev_lent_is_kept(out));
}

/* ------------------------------------------------------------------ making */

static void
remove_callback(struct evbuffer *buf, struct evbuffer_cb_entry *callback)
{
	if (callback != NULL)
		evbuffer_remove_cb_entry(buf, callback);
}

static void
release(struct pev_filter *f)
{
	if (f->again != NULL)
		event_free(f->again);
	pev_delete(f);
}

/* The callbacks of the one below are libevent's; those of ours that call them come in between. */
static void
take_lower(struct pev_filter *f, struct pev_bev *under)
{
	bufferevent_getcb(under->bev, &f->lower_read, &f->lower_write, &f->lower_event, &f->lower_arg);
	bufferevent_setcb(under->bev, under_read, under_write, under_event, f);
	if (under->connecting != PEV_NOT_CONNECTING)
		pev_bev_take_callbacks(under); /* they come when the connection stands */
	if (pev_bev_has_descriptor(under) && event_get_fd(&under->bev->ev_read) < 0) {
		event_del(&under->bev->ev_read);
		event_del(&under->bev->ev_write);
	}
}

static struct bufferevent *
make_bev(struct pev_filter *f, struct pev_bev *under, int options)
{
	struct bufferevent *bev;
	f->again = event_new(under->source.loop->base, -1, 0, pev_pump_again, f);
	if (f->again == NULL)
		return NULL;
	bev = bufferevent_filter_new(under->bev, pev_filter_input, pev_filter_output,
	    pev_bev_filter_options(options) | BEV_OPT_DEFER_CALLBACKS, NULL, f);
	if (bev == NULL)
		return NULL;
	if (pev_bev_share_lock(bev, options) < 0) {
		bufferevent_free(bev);
		pev_bev_listen(under);
		return NULL;
	}
	f->input_callback = evbuffer_add_cb(bev->input, on_input_change, f);
	f->output_callback = evbuffer_add_cb(bev->output, on_output_change, f);
	f->lower_input_callback = evbuffer_add_cb(under->bev->input, on_lower_input, f);
	f->lower_output_callback = evbuffer_add_cb(under->bev->output, on_lower_output, f);
	if (f->input_callback == NULL || f->output_callback == NULL || f->lower_input_callback == NULL ||
	    f->lower_output_callback == NULL) {
		remove_callback(under->bev->input, f->lower_input_callback);
		remove_callback(under->bev->output, f->lower_output_callback);
		bufferevent_free(bev);
		pev_bev_listen(under);
		return NULL;
	}
	return bev;
}

struct pev_bev *
pev_filter_new(struct pev_bev *under, int asks_input, int asks_output, int options, uint64_t id)
{
	PEV_VISIT(pev_visit_bev(under));
	struct pev_filter *f;
	struct bufferevent *bev;
	int code = pev_bev_may_carry(under);
	if (code == 0 && (under->ended & BEV_EVENT_ERROR))
		code = -EPIPE;
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	f = pev_new(sizeof *f);
	if (f == NULL)
		return NULL;
	f->under_enabled = (unsigned char)(bufferevent_get_enabled(under->bev) | (under->paused ? EV_READ : 0));
	f->ways[IN].asks = (unsigned char)asks_input;
	f->ways[OUT].asks = (unsigned char)asks_output;
	under->paused = 0;
	bev = make_bev(f, under, options);
	if (bev == NULL) {
		release(f);
		errno = ENOMEM;
		return NULL;
	}
	take_lower(f, under);
	f->b.under = under;
	under->over = &f->b;
	under->wants = 0;
	pev_bev_init(&f->b, under->source.loop, bev, options, id, &filter_layer);
	f->b.open = 1;
	if (under->ended & BEV_EVENT_EOF)
		f->end = BEV_EVENT_EOF | BEV_EVENT_READING;
	return &f->b;
}

/* ------------------------------------------------------------------ closing */

static int
is_sending(struct pev_bev *h)
{
	struct pev_filter *f = pev_filter_of(h);
	if (!pev_filter_is_alive(f) || (h->under->ended & BEV_EVENT_ERROR))
		return 0;
	if (f->ways[OUT].running || event_pending(f->again, EV_TIMEOUT, NULL))
		return 1;
	return pev_bev_has_output(h) && pev_filter_lower_is_full(f);
}

static int
on_filter_drained(struct pev_bev *h)
{
	struct pev_filter *f = pev_filter_of(h);
	if (!pev_filter_is_alive(f) || (h->under->ended & BEV_EVENT_ERROR))
		return 1;
	if (!f->finished[OUT] && (f->used || pev_bev_has_output(h)))
		pev_filter_force(f, OUT, BEV_FINISHED);
	if (!pev_filter_is_alive(f))
		return 1;
	if (event_pending(f->again, EV_TIMEOUT, NULL))
		return 0;
	return pev_below_is_sent(h);
}

static int
is_busy(const struct pev_bev *h)
{
	const struct pev_filter *f = (const struct pev_filter *)h;
	return f->ways[IN].running || f->ways[OUT].running;
}

static void
before_filter_free(struct pev_bev *h)
{
	struct pev_filter *f = pev_filter_of(h);
	evbuffer_remove_cb_entry(h->bev->input, f->input_callback);
	evbuffer_remove_cb_entry(h->bev->output, f->output_callback);
	event_free(f->again);
	f->again = NULL;
	if (h->under->bev == NULL)
		return;
	remove_callback(h->under->bev->input, f->lower_input_callback);
	remove_callback(h->under->bev->output, f->lower_output_callback);
	if (h->under->connecting != PEV_NOT_CONNECTING)
		h->under->upper_event = NULL;
	if (h->options & BEV_OPT_CLOSE_ON_FREE)
		bufferevent_setcb(h->under->bev, NULL, NULL, NULL, NULL);
	else
		pev_bev_listen(h->under);
}

/* Rule 6. */
static void
give_back(struct pev_filter *f, struct pev_bev *under)
{
	struct bufferevent *bev = under->bev;
	int unheard = BEV_TRIG_DEFER_CALLBACKS;
	if (!(f->under_enabled & EV_READ))
		bufferevent_disable(bev, EV_READ);
	else if (evbuffer_get_length(bev->input))
		bufferevent_trigger(bev, EV_READ, unheard);
	if (!(f->under_enabled & EV_WRITE))
		bufferevent_disable(bev, EV_WRITE);
	if (f->end) {
		under->ended &= (unsigned char)~BEV_EVENT_EOF;
		errno = 0;
		bufferevent_trigger_event(bev, f->end, unheard);
	}
}

static void
after_filter_free(struct pev_bev *h, struct pev_bev *under)
{
	if (under->bev == NULL)
		return;
	if (h->options & BEV_OPT_CLOSE_ON_FREE)
		pev_bev_free(under);
	else
		give_back(pev_filter_of(h), under);
}

static const struct pev_layer filter_layer = {
	.begin = pev_bev_opened,
	.on_event = on_filter_event,
	.on_drained = on_filter_drained,
	.before_free = before_filter_free,
	.after_free = after_filter_free,
	.flush = flush_filter,
	.waits_for_all = 1,
	.is_sending = is_sending,
	.on_change = on_change,
	.is_busy = is_busy,
	.peeked = filter_peeked,
};
