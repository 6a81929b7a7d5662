/* event2/bufferevent.h: a bufferevent that changes what goes through it.
 *
 * libevent's filter carries the bytes; Python's filters are called from here. The rules, and the facts that make them
 * needed (facts of libevent 3.10):
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
#include "pylibevent.h"

#include <limits.h>

/* How much of one stream is filtered before others get their turn: what four passes gather for Python. */
#define MOST_BYTES (4 * PEV_READY_BYTES)
#define MOST_CALLS (4 * PEV_READY_MAX)

enum { IN, OUT };

struct way {
	unsigned char asks;     /* Python has a filter; else bytes pass */
	unsigned char running;  /* it is being called */
	unsigned char allowed;  /* by this file, and not from within the one above */
	unsigned char answered; /* calling it now would give nothing new */
	unsigned char more;     /* it may have stopped at the limit */
	size_t took, gave;      /* bytes in one call: what others add or take meanwhile doesn't hide them */
	size_t taken, calls;    /* in this turn of the loop */
	uint64_t turn;
	struct pev_lending *lending;
};

struct pev_filter {
	struct pev_bev b;
	struct way ways[2];
	bufferevent_data_cb lower_read, lower_write; /* libevent's own */
	bufferevent_event_cb lower_event;
	void *lower_arg;
	struct event *again;
	struct evbuffer_cb_entry *input_callback, *output_callback, *lower_input_callback, *lower_output_callback;
	short end;              /* of the one below: not told yet */
	unsigned char failed;
	unsigned char used;     /* something went out */
	unsigned char finished[2]; /* the filter was called with FINISHED, and took nothing since */
	unsigned char under_enabled;
};

static const struct pev_layer filter_layer;

static struct pev_filter *
filter_of(struct pev_bev *h)
{
	return (struct pev_filter *)h;
}

static int
is_alive(const struct pev_filter *f)
{
	return !f->failed && f->b.bev != NULL && f->b.under != NULL && f->b.under->bev != NULL;
}

static void
look_again(struct pev_filter *f)
{
	struct timeval at_once = { 0, 0 };
	if (f->again != NULL && !event_pending(f->again, EV_TIMEOUT, NULL))
		event_add(f->again, &at_once);
}

static int
input_is_full(const struct pev_filter *f)
{
	const struct bufferevent *bev = f->b.bev;
	return bev->wm_read.high && evbuffer_get_length(bev->input) >= bev->wm_read.high;
}

static int
lower_is_full(const struct pev_filter *f)
{
	const struct bufferevent *under = f->b.under->bev;
	return under->wm_write.high && evbuffer_get_length(under->output) >= under->wm_write.high;
}

static void
fail(struct pev_filter *f, int is_output)
{
	f->failed = 1;
	f->end = 0;
	event_del(f->again);
	if (f->b.source.loop != NULL)
		f->b.source.loop->interrupted = 1; /* Python has an exception to raise */
	errno = 0;
	bufferevent_trigger_event(f->b.bev, BEV_EVENT_ERROR | (is_output ? BEV_EVENT_WRITING : BEV_EVENT_READING), 0);
}

/* A close waits for what goes on here. */
static void
tell_closing(struct pev_filter *f)
{
	struct pev_bev *top = &f->b;
	while (top->over != NULL)
		top = top->over;
	if (top->lingering && top->bev != NULL)
		bufferevent_trigger(top->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* ------------------------------------------------------------------ one call of a filter */

static int
must_wait(struct pev_filter *f, const struct way *w)
{
	struct pev_bev *h = &f->b;
	if ((h->options & BEV_OPT_THREADSAFE) && !pthread_equal(h->source.loop->thread, pthread_self()))
		return 1;
	return (h->over != NULL && !w->allowed) || pev_bev_peeked(h);
}

/* libevent doesn't tell what Python froze; but both of these change nothing, and say whether they could. */
static int
is_frozen(struct evbuffer *source, struct evbuffer *destination)
{
	return evbuffer_drain(source, 0) < 0 || evbuffer_commit_space(destination, NULL, 0) < 0;
}

/* A turn of the loop has its share of each stream. */
static int
had_enough(struct pev_filter *f, struct way *w)
{
	uint64_t turn = f->b.source.loop->statistics.polls;
	if (w->turn != turn)
		w->taken = w->calls = 0;
	w->turn = turn;
	return w->taken >= MOST_BYTES || w->calls >= MOST_CALLS;
}

static int
pass_through(struct evbuffer *source, struct evbuffer *destination, long long limit)
{
	int r;
	if (limit < 0)
		r = evbuffer_add_buffer(destination, source);
	else
		r = evbuffer_remove_buffer(source, destination, limit > INT_MAX / 2 ? INT_MAX / 2 : (size_t)limit);
	return r < 0 ? BEV_NEED_MORE : BEV_OK; /* that end is frozen, for now */
}

static int
ask(struct pev_filter *f, int is_output, struct evbuffer *source, struct evbuffer *destination, long long limit, int mode)
{
	struct pev_loop *loop = f->b.source.loop;
	struct pev_lending lending = { .from = { source, destination } };
	struct pev_call call;
	int result;
	f->ways[is_output].lending = &lending;
	pev_call_begin(&call, loop);
	result = pev_call_filter(f->b.source.id, is_output, &lending, limit, mode);
	pev_call_end(&call);
	f->ways[is_output].lending = NULL;
	if (pev_lent_is_kept(&lending))
		result = BEV_ERROR;
	pev_lending_end(&lending);
	return result;
}

/* What one call means for the next. */
static void
judge(struct pev_filter *f, int is_output, int result, size_t left, long long limit, int mode)
{
	struct way *w = &f->ways[is_output];
	w->taken += w->took;
	w->more = result == BEV_OK && limit >= 0 && w->gave;
	w->answered = result != BEV_OK || !w->took;
	/* Where bytes were taken, and are left, libevent's loop goes on. */
	if (result == BEV_OK && w->gave && (left ? !w->took : w->more))
		look_again(f);
	if (mode == BEV_FINISHED || w->took)
		f->finished[is_output] = mode == BEV_FINISHED;
	if (is_output && (w->took || w->gave))
		f->used = 1;
}

/* BEV_OK when something moved. */
static enum bufferevent_filter_result
run(struct pev_filter *f, int is_output, struct evbuffer *source, struct evbuffer *destination, long long limit, int mode)
{
	struct way *w = &f->ways[is_output];
	int result;
	if (!is_alive(f))
		return BEV_ERROR;
	if (w->running || w->answered || (mode == BEV_NORMAL && evbuffer_get_length(source) == 0 && !w->more))
		return BEV_NEED_MORE;
	if (is_frozen(source, destination))
		return BEV_NEED_MORE;
	if (must_wait(f, w) || (mode == BEV_NORMAL && had_enough(f, w))) {
		look_again(f);
		return BEV_NEED_MORE;
	}
	w->calls++;
	w->running = 1;
	w->took = w->gave = 0;
	result = w->asks ? ask(f, is_output, source, destination, limit, mode) : pass_through(source, destination, limit);
	w->running = 0;
	tell_closing(f);
	if (f->b.bev == NULL)
		return BEV_ERROR;
	if (result == BEV_ERROR) {
		fail(f, is_output);
		return BEV_ERROR;
	}
	judge(f, is_output, result, evbuffer_get_length(source), limit, mode);
	return w->took || w->gave ? BEV_OK : BEV_NEED_MORE;
}

static enum bufferevent_filter_result
on_input(struct evbuffer *source, struct evbuffer *destination, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *arg)
{
	return run(arg, IN, source, destination, limit, mode);
}

static enum bufferevent_filter_result
on_output(struct evbuffer *source, struct evbuffer *destination, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *arg)
{
	return run(arg, OUT, source, destination, limit, mode);
}

/* Calls regardless of marks, as a flush does: whether something moved. */
static int
force(struct pev_filter *f, int is_output, int mode)
{
	struct way *w = &f->ways[is_output];
	struct evbuffer *source = is_output ? f->b.bev->output : f->b.under->bev->input;
	struct evbuffer *destination = is_output ? f->b.under->bev->output : f->b.bev->input;
	size_t left = evbuffer_get_length(source); /* what a filter adds to its own source comes later */
	int moved = 0;
	unsigned char allowed = w->allowed;
	w->allowed = 1;
	w->answered = 0;
	while (run(f, is_output, source, destination, -1, mode) == BEV_OK) {
		moved = 1;
		if (evbuffer_get_length(source) == 0 || w->took >= left)
			break;
		left -= w->took;
	}
	w->allowed = allowed;
	w->more = 0;
	if (moved && is_alive(f))
		bufferevent_trigger(f->b.bev, is_output ? EV_WRITE : EV_READ, 0);
	return moved;
}

/* ------------------------------------------------------------------ as far as marks and switches let it */

static void
forward(struct pev_filter *f, short what, int error)
{
	errno = error;
	f->lower_event(f->b.under->bev, what, f->lower_arg);
}

/* Rule 5. */
static void
try_to_end(struct pev_filter *f)
{
	short what = f->end;
	if (!what || !is_alive(f) || f->ways[IN].running || event_pending(f->again, EV_TIMEOUT, NULL))
		return;
	if (!(bufferevent_get_enabled(f->b.bev) & EV_READ) || input_is_full(f))
		return;
	if (!f->finished[IN])
		force(f, IN, BEV_FINISHED);
	if (!is_alive(f) || !f->finished[IN])
		return; /* failed, or its turn will come */
	if (pev_end_is_early(&f->b))
		return;
	f->end = 0;
	forward(f, what, 0);
}

/* The one below stops at its high mark. Where that is too low for the filter to do anything, it gets a higher one. */
static void
hold_lower(struct pev_filter *f)
{
	struct pev_bev *under = f->b.under;
	struct bufferevent *bev = under->bev;
	const struct way *w = &f->ways[IN];
	size_t n = evbuffer_get_length(bev->input);
	if (!bev->wm_read.high || n < bev->wm_read.high)
		return;
	if (w->answered && !w->more && !event_pending(f->again, EV_TIMEOUT, NULL) && !input_is_full(f) &&
	    (bufferevent_get_enabled(f->b.bev) & EV_READ))
		bufferevent_setwatermark(bev, EV_READ, bev->wm_read.low, 2 * n);
	else
		pev_bev_hold(under);
}

static void
pump_input(struct pev_filter *f)
{
	struct way *w = &f->ways[IN];
	if (!is_alive(f) || w->running)
		return;
	w->answered = 0;
	w->allowed = 1;
	f->lower_read(f->b.under->bev, f->lower_arg);
	w->allowed = 0;
	if (is_alive(f))
		hold_lower(f);
	try_to_end(f);
}

/* libevent starts the clock of writing whenever something moved, though nothing may be left. */
static void
stop_idle_clock(struct pev_filter *f)
{
	if (evbuffer_get_length(f->b.bev->output) == 0)
		event_del(&f->b.bev->ev_write);
}

static void
pump_output(struct pev_filter *f)
{
	struct way *w = &f->ways[OUT];
	struct bufferevent *under;
	if (!is_alive(f) || w->running)
		return;
	under = f->b.under->bev;
	w->answered = 0;
	w->allowed = 1;
	f->lower_write(under, f->lower_arg);
	if (is_alive(f) && w->more && evbuffer_get_length(f->b.bev->output) == 0 && !lower_is_full(f)) {
		long long limit = under->wm_write.high ? (long long)(under->wm_write.high - evbuffer_get_length(under->output)) : -1;
		run(f, OUT, f->b.bev->output, under->output, limit, BEV_NORMAL);
	}
	w->allowed = 0;
	if (f->b.bev != NULL)
		stop_idle_clock(f);
	tell_closing(f);
}

static void
on_again(evutil_socket_t fd, short what, void *arg)
{
	struct pev_filter *f = arg;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	pump_input(f);
	pump_output(f);
}

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
	if (!info->n_deleted || !is_alive(f))
		return;
	f->ways[IN].answered = 0;
	if (f->end || f->ways[IN].more || evbuffer_get_length(f->b.under->bev->input))
		look_again(f);
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
	struct pev_filter *f = filter_of(h);
	if (!is_alive(f))
		return;
	stop_idle_clock(f);
	if ((bufferevent_get_enabled(h->bev) & EV_READ) && !input_is_full(f) &&
	    (f->end || f->ways[IN].more || evbuffer_get_length(h->under->bev->input)))
		look_again(f);
	if ((bufferevent_get_enabled(h->bev) & EV_WRITE) && evbuffer_get_length(h->bev->output) && !f->ways[OUT].answered)
		look_again(f);
}

static void
under_read(struct bufferevent *under, void *arg)
{
	PEV_UNUSED(under);
	pump_input(arg);
}

static void
under_write(struct bufferevent *under, void *arg)
{
	PEV_UNUSED(under);
	pump_output(arg);
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
	if (what == 0 || !is_alive(f))
		return;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		pump_input(f);
	if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING)) {
		f->end = what;
		try_to_end(f);
	} else if (is_alive(f)) {
		forward(f, what, error);
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
		stop_idle_clock(filter_of(h));
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
	struct pev_filter *f = filter_of(h);
	struct pev_bev *under = h->under;
	int moved = 0, r = 0;
	if (!is_alive(f))
		return 0;
	if ((iotype & EV_READ) && mode == BEV_NORMAL)
		pump_input(f);
	if ((iotype & EV_WRITE) && mode == BEV_NORMAL)
		pump_output(f);
	if ((iotype & EV_WRITE) && mode != BEV_NORMAL)
		moved |= force(f, OUT, mode);
	if (is_alive(f) && under->layer != NULL && under->layer->flush != NULL)
		r = under->layer->flush(under, iotype, mode);
	if (is_alive(f) && (iotype & EV_READ) && mode != BEV_NORMAL)
		moved |= force(f, IN, mode);
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
	f->again = event_new(under->source.loop->base, -1, 0, on_again, f);
	if (f->again == NULL)
		return NULL;
	bev = bufferevent_filter_new(under->bev, on_input, on_output, pev_bev_filter_options(options) | BEV_OPT_DEFER_CALLBACKS,
	    NULL, f);
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
	int code = pev_bev_usable_alone(under);
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
	struct pev_filter *f = filter_of(h);
	if (!is_alive(f) || (h->under->ended & BEV_EVENT_ERROR))
		return 0;
	if (f->ways[OUT].running || event_pending(f->again, EV_TIMEOUT, NULL))
		return 1;
	return pev_bev_has_output(h) && lower_is_full(f);
}

static int
on_filter_drained(struct pev_bev *h)
{
	struct pev_filter *f = filter_of(h);
	if (!is_alive(f) || (h->under->ended & BEV_EVENT_ERROR))
		return 1;
	if (!f->finished[OUT] && (f->used || pev_bev_has_output(h)))
		force(f, OUT, BEV_FINISHED);
	if (!is_alive(f))
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
	struct pev_filter *f = filter_of(h);
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
		give_back(filter_of(h), under);
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
