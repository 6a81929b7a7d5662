/* event2/bufferevent.h: when a filter is called, with what, and what its answer means. Rules 1 to 5 of filter.c. */
#include "filter.h"

#include <limits.h>

/* How much of one stream is filtered before others get their turn: what four passes gather for Python. */
#define MOST_BYTES (4 * PEV_READY_BYTES)
#define MOST_CALLS (4 * PEV_READY_MAX)

void
pev_filter_look_again(struct pev_filter *f)
{
	struct timeval at_once = { 0, 0 };
	if (f->again != NULL && !event_pending(f->again, EV_TIMEOUT, NULL))
		event_add(f->again, &at_once);
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
		pev_filter_look_again(f);
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
	if (!pev_filter_is_alive(f))
		return BEV_ERROR;
	if (w->running || w->answered || (mode == BEV_NORMAL && evbuffer_get_length(source) == 0 && !w->more))
		return BEV_NEED_MORE;
	if (is_frozen(source, destination))
		return BEV_NEED_MORE;
	if (must_wait(f, w) || (mode == BEV_NORMAL && had_enough(f, w))) {
		pev_filter_look_again(f);
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

enum bufferevent_filter_result
pev_filter_input(struct evbuffer *source, struct evbuffer *destination, ev_ssize_t limit, enum bufferevent_flush_mode mode,
    void *arg)
{
	return run(arg, IN, source, destination, limit, mode);
}

enum bufferevent_filter_result
pev_filter_output(struct evbuffer *source, struct evbuffer *destination, ev_ssize_t limit, enum bufferevent_flush_mode mode,
    void *arg)
{
	return run(arg, OUT, source, destination, limit, mode);
}

/* Calls regardless of marks, as a flush does: whether something moved. */
int
pev_filter_force(struct pev_filter *f, int is_output, int mode)
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
	if (moved && pev_filter_is_alive(f))
		bufferevent_trigger(f->b.bev, is_output ? EV_WRITE : EV_READ, 0);
	return moved;
}

/* ------------------------------------------------------------------ as far as marks and switches let it */

void
pev_filter_forward(struct pev_filter *f, short what, int error)
{
	errno = error;
	f->lower_event(f->b.under->bev, what, f->lower_arg);
}

/* Rule 5. */
void
pev_filter_try_to_end(struct pev_filter *f)
{
	short what = f->end;
	if (!what || !pev_filter_is_alive(f) || f->ways[IN].running || event_pending(f->again, EV_TIMEOUT, NULL))
		return;
	if (!(bufferevent_get_enabled(f->b.bev) & EV_READ) || pev_filter_input_is_full(f))
		return;
	if (!f->finished[IN])
		pev_filter_force(f, IN, BEV_FINISHED);
	if (!pev_filter_is_alive(f) || !f->finished[IN])
		return; /* failed, or its turn will come */
	if (pev_end_is_early(&f->b))
		return;
	f->end = 0;
	pev_filter_forward(f, what, 0);
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
	if (w->answered && !w->more && !event_pending(f->again, EV_TIMEOUT, NULL) && !pev_filter_input_is_full(f) &&
	    (bufferevent_get_enabled(f->b.bev) & EV_READ))
		bufferevent_setwatermark(bev, EV_READ, bev->wm_read.low, 2 * n);
	else
		pev_bev_hold(under);
}

void
pev_pump_input(struct pev_filter *f)
{
	struct way *w = &f->ways[IN];
	if (!pev_filter_is_alive(f) || w->running)
		return;
	w->answered = 0;
	w->allowed = 1;
	f->lower_read(f->b.under->bev, f->lower_arg);
	w->allowed = 0;
	if (pev_filter_is_alive(f))
		hold_lower(f);
	pev_filter_try_to_end(f);
}

/* libevent starts the clock of writing whenever something moved, though nothing may be left. */
void
pev_filter_stop_idle_clock(struct pev_filter *f)
{
	if (evbuffer_get_length(f->b.bev->output) == 0)
		event_del(&f->b.bev->ev_write);
}

void
pev_pump_output(struct pev_filter *f)
{
	struct way *w = &f->ways[OUT];
	struct bufferevent *under;
	if (!pev_filter_is_alive(f) || w->running)
		return;
	under = f->b.under->bev;
	w->answered = 0;
	w->allowed = 1;
	f->lower_write(under, f->lower_arg);
	if (pev_filter_is_alive(f) && w->more && evbuffer_get_length(f->b.bev->output) == 0 && !pev_filter_lower_is_full(f)) {
		long long limit = under->wm_write.high ? (long long)(under->wm_write.high - evbuffer_get_length(under->output)) : -1;
		run(f, OUT, f->b.bev->output, under->output, limit, BEV_NORMAL);
	}
	w->allowed = 0;
	if (f->b.bev != NULL)
		pev_filter_stop_idle_clock(f);
	tell_closing(f);
}

void
pev_pump_again(evutil_socket_t fd, short what, void *arg)
{
	struct pev_filter *f = arg;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	pev_pump_input(f);
	pev_pump_output(f);
}
