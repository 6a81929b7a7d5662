/* event2/bufferevent.h: the handle that all kinds share, and the plain socket.
 *
 * The rules:
 *
 *   1. The three trampolines are always installed: an event that finds no callback is lost (facts of libevent 3.8).
 *   2. A reader at its high mark is paused here until something is drained; libevent would call it again and again.
 *   3. EOF is noted once, ERROR once, and nothing after ERROR.
 *   4. Those with a lock also defer, so that trampolines run in the loop's thread only.
 *   5. The descriptor is closed when the close is done, and not, as bufferevent_free does, in some later pass.
 *   6. A close with output left lingers: the handle stays with C until all is sent, fails, or the deadline passes.
 *   7. Those with a lock are freed outside of a pass, by the loop's thread or by one that is alone, while no other is inside.
 */
#include "pylibevent.h"

#include <limits.h>

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

static int
is_usable(const struct pev_bev *h)
{
	if (h->bev == NULL || h->lingering || h->leaving)
		return -PEV_ECLOSED;
	if (pev_bev_asks(h))
		return -PEV_EINPASS;
	return pev_loop_usable(h->source.loop, h->options & BEV_OPT_THREADSAFE);
}

/* For what doesn't look at the input. */
static int
may_write(const struct pev_bev *h)
{
	int code = is_usable(h);
	if (code == 0 && h->over != NULL)
		return -PEV_ECARRIES;
	return code == 0 && h->relay != NULL ? -PEV_ERELAYED : code;
}

int
pev_bev_usable(struct pev_bev *h)
{
	int code = is_usable(h);
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

/* Whether memory may be shown that moves when bytes come or go here. */
int
pev_bev_peeked(const struct pev_bev *h)
{
	for (; h != NULL; h = h->under)
		if (h->exports || (h->layer != NULL && h->layer->peeked != NULL && h->layer->peeked(h)))
			return 1;
	return 0;
}

/* Switches and marks of those without a descriptor may let bytes through inside the very call. */
static int
moves_at_once(const struct pev_bev *h)
{
	return h->layer != NULL;
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

/* ------------------------------------------------------------------ pausing at the high mark */

static int
at_high_mark(const struct pev_bev *h)
{
	size_t high = h->bev->wm_read.high;
	return high && evbuffer_get_length(h->bev->input) >= high;
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

static void
resume_reading(struct pev_bev *h)
{
	h->paused = 0;
	bufferevent_enable(h->bev, EV_READ);
	pev_bev_changed(h);
}

/* Something was drained: read on when there is room, else give the reader another turn. */
static void
on_drain(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_bev *h = arg;
	PEV_UNUSED(buf);
	if (!h->paused || !info->n_deleted)
		return;
	if (!at_high_mark(h))
		resume_reading(h);
	else
		bufferevent_trigger(h->bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
}

static void
pause_reading(struct pev_bev *h)
{
	if (h->drain_callback == NULL)
		h->drain_callback = evbuffer_add_cb(h->bev->input, on_drain, h);
	if (h->drain_callback == NULL)
		return; /* no memory: better busy than deaf */
	h->paused = 1;
	bufferevent_disable(h->bev, EV_READ);
}

/* Its reader took nothing: libevent would call that again and again. */
void
pev_bev_hold(struct pev_bev *h)
{
	if (!h->paused && at_high_mark(h))
		pause_reading(h);
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

/* ------------------------------------------------------------------ reading and writing */

int
pev_bev_want(struct pev_bev *h, int callbacks)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable_alone(h);
	if (code < 0)
		return code;
	h->wants = (unsigned char)callbacks;
	pev_fast_note_sent(h);
	return 0;
}

int
pev_bev_enable(struct pev_bev *h, int events)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (moves_at_once(h) && pev_bev_peeked(h))
		return -PEV_EPEEKED;
	if ((events & EV_READ) && h->paused) {
		events &= ~EV_READ;
		if (!at_high_mark(h))
			resume_reading(h);
	}
	/* Enabling what is enabled gives a write callback out of nothing (facts of libevent 3.8). */
	events &= ~bufferevent_get_enabled(h->bev);
	if (events == 0 || (h->layer != NULL && h->layer->enable_later != NULL && h->layer->enable_later(h, (short)events)))
		return 0;
	errno = 0;
	if (bufferevent_enable(h->bev, (short)events) < 0) {
		code = errno ? -errno : -PEV_EFAILED;
		bufferevent_disable(h->bev, (short)events);
		return code;
	}
	if (h->layer != NULL && h->layer->on_enable != NULL)
		h->layer->on_enable(h);
	pev_bev_changed(h);
	return 0;
}

int
pev_bev_disable(struct pev_bev *h, int events)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (events & EV_READ)
		h->paused = 0;
	if (bufferevent_disable(h->bev, (short)events) < 0)
		return -PEV_EFAILED;
	/* A TLS filter that stops writing lets the one below read again (facts of libevent 5.1): stop it again. */
	if (h->layer != NULL && !(bufferevent_get_enabled(h->bev) & EV_READ))
		bufferevent_disable(h->bev, EV_READ);
	return 0;
}

int
pev_bev_enabled(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : bufferevent_get_enabled(h->bev) | (h->paused ? EV_READ : 0);
}

int
pev_bev_ended(struct pev_bev *h)
{
	return h->ended;
}

int
pev_bev_connecting(struct pev_bev *h)
{
	return h->connecting != PEV_NOT_CONNECTING;
}

/* libevent says -1 when there is no memory, or when Python froze that end. */
static int
why_not_added(struct evbuffer *buf)
{
	return evbuffer_commit_space(buf, NULL, 0) < 0 ? -PEV_EFROZEN : -ENOMEM;
}

static int
write_bytes(struct pev_bev *h, const char *data, size_t n)
{
	size_t sent = 0;
	int code = may_write(h);
	if (code < 0)
		return code;
	if (pev_bev_peeked(h))
		return -PEV_EPEEKED;
	if (h->cut || (h->ended & BEV_EVENT_ERROR))
		return -EPIPE;
	if (n)
		sent = pev_fast_put(h, data, n);
	if (sent && sent == n)
		return PEV_SENT;
	if (n > sent && bufferevent_write(h->bev, data + sent, n - sent) < 0)
		return why_not_added(bufferevent_get_output(h->bev));
	if (h->under != NULL)
		pev_fast_flush(h);
	pev_bev_changed(h);
	return PEV_KEPT;
}

int
pev_bev_write(struct pev_bev *h, const char *data, size_t n)
{
	PEV_VISIT(pev_visit_bev(h));
	return write_bytes(h, data, n);
}

#define SHORT_PLAIN (128 * 1024)
#define SHORT_TLS 2048

/* The same of a few bytes. Python keeps its lock meanwhile (build_ffi.py), so there is neither waiting for other threads nor a
 * filter that may take its time. PEV_LONG: pev_bev_write does it. */
int
pev_bev_write_short(struct pev_bev *h, const char *data, size_t n)
{
	const struct pev_loop *loop = h->source.loop;
	int is_short = loop != NULL && pev_runs_here(loop) && !(h->options & BEV_OPT_THREADSAFE) &&
	    (h->layer == NULL ? n <= SHORT_PLAIN : n <= SHORT_TLS && h->layer->is_records && h->under->layer == NULL);
	return is_short ? write_bytes(h, data, n) : PEV_LONG;
}

int
pev_bev_write_buffer(struct pev_bev *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_buffer output = { .owner = h, .is_output = 1, .frozen = h->views[1] ? h->views[1]->frozen : 0 };
	int code = may_write(h);
	if (code < 0)
		return code;
	if (h->cut || (h->ended & BEV_EVENT_ERROR))
		return -EPIPE;
	if (!pev_bev_peeked(h) && from->owner != NULL && !from->is_output && pev_fresh_pass_on(from->owner, h))
		return PEV_SENT;
	code = pev_buffer_add_buffer(&output, from);
	if (code == 0)
		pev_fast_flush(h);
	pev_bev_changed(h);
	return code < 0 ? code : PEV_KEPT;
}

long long
pev_bev_read(struct pev_bev *h, char *out, size_t n)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_buffer input = { .owner = h, .frozen = h->views[0] ? h->views[0]->frozen : 0 };
	if (h->relay != NULL)
		return -PEV_ERELAYED;
	return h->over != NULL ? -PEV_ECARRIES : pev_buffer_remove(&input, out, n);
}

int
pev_bev_read_buffer(struct pev_bev *h, struct pev_buffer *to)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_buffer input = { .owner = h, .frozen = h->views[0] ? h->views[0]->frozen : 0 };
	if (h->relay != NULL)
		return -PEV_ERELAYED;
	return h->over != NULL ? -PEV_ECARRIES : pev_buffer_add_buffer(to, &input);
}

long long
pev_bev_input_length(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : (long long)evbuffer_get_length(bufferevent_get_input(h->bev));
}

long long
pev_bev_output_length(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : (long long)evbuffer_get_length(bufferevent_get_output(h->bev));
}

/* ------------------------------------------------------------------ settings */

/* Seconds; negative: none. libevent takes zero for none, so zero isn't a time. */
int
pev_bev_set_timeouts(struct pev_bev *h, double read, double write)
{
	PEV_VISIT(pev_visit_bev(h));
	struct timeval read_tv, write_tv;
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (read == 0 || write == 0 || (read > 0 && pev_timeval(read, &read_tv) < 0) ||
	    (write > 0 && pev_timeval(write, &write_tv) < 0))
		return -PEV_ETIME;
	if (bufferevent_set_timeouts(h->bev, read > 0 ? &read_tv : NULL, write > 0 ? &write_tv : NULL) < 0)
		return -PEV_EFAILED;
	return 0;
}

int
pev_bev_set_watermark(struct pev_bev *h, int events, size_t low, size_t high)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (moves_at_once(h) && pev_bev_peeked(h))
		return -PEV_EPEEKED;
	bufferevent_setwatermark(h->bev, (short)events, low, high);
	if (h->paused && !at_high_mark(h))
		resume_reading(h);
	pev_bev_changed(h);
	return 0;
}

int
pev_bev_get_watermark(struct pev_bev *h, int event, size_t *low, size_t *high)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	return bufferevent_getwatermark(h->bev, (short)event, low, high) < 0 ? -PEV_EVALUE : 0;
}

int
pev_bev_set_priority(struct pev_bev *h, int priority)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (priority < 0 || priority >= h->source.loop->n_priorities)
		return -PEV_EVALUE;
	pev_fast_wait(h);
	return bufferevent_priority_set(h->bev, priority) < 0 ? -PEV_EPENDING : 0;
}

int
pev_bev_get_priority(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : bufferevent_get_priority(h->bev);
}

int
pev_bev_flush(struct pev_bev *h, int iotype, int mode)
{
	PEV_VISIT(pev_visit_bev(h));
	int r, code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (pev_bev_peeked(h))
		return -PEV_EPEEKED;
	if (h->layer != NULL && h->layer->flush != NULL)
		return h->layer->flush(h, iotype, mode);
	r = bufferevent_flush(h->bev, (short)iotype, (enum bufferevent_flush_mode)mode);
	return r < 0 ? -PEV_EFAILED : r > 0;
}

int
pev_bev_trigger(struct pev_bev *h, int iotype, int options)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (h->options & BEV_OPT_THREADSAFE || h->over != NULL)
		options |= BEV_TRIG_DEFER_CALLBACKS; /* TLS above may be at work, and wait for Python */
	if (h->limits != NULL)
		h->limits->sent = 1;
	bufferevent_trigger(h->bev, (short)iotype, options);
	return 0;
}

int
pev_bev_trigger_event(struct pev_bev *h, int what)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	errno = 0;
	bufferevent_trigger_event(h->bev, (short)what,
	    h->options & BEV_OPT_THREADSAFE || h->over != NULL ? BEV_TRIG_DEFER_CALLBACKS : 0);
	return 0;
}

/* 0 gives the default back. libevent passes these numbers through an int (facts of libevent 4.3). */
int
pev_bev_set_max_single(struct pev_bev *h, int is_write, size_t n)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (n > INT_MAX)
		return -PEV_EVALUE;
	if (n)
		h->own_limits |= is_write ? EV_WRITE : EV_READ;
	else
		h->own_limits &= (unsigned char)~(is_write ? EV_WRITE : EV_READ);
	if (is_write)
		bufferevent_set_max_single_write(h->bev, n);
	else
		bufferevent_set_max_single_read(h->bev, n);
	return 0;
}

long long
pev_bev_get_max_single(struct pev_bev *h, int is_write)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	return is_write ? bufferevent_get_max_single_write(h->bev) : bufferevent_get_max_single_read(h->bev);
}
