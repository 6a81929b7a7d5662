/* TLS straight on a socket (bufferevent_openssl_socket_new). Fewer copies than the filter form, and traps of its own:
 *
 *   1. What OpenSSL has decrypted and nobody has taken yet is seen by no poll. Where a high mark or a limit stops reading in
 *      the middle of a record, libevent waits for ever (facts of TLS 3, rows 1 and 2): reading goes on when it is
 *      allowed to, or, since nobody tells when a limit has room again, is tried every few milliseconds.
 *   2. The end of the connection without close_notify is told by us (stream.c), so allow_dirty_shutdown (row 7) is ours too,
 *      and libevent's stays off.
 *   3. After the peer's close_notify libevent forgets that it was writing.
 */
#include "tls.h"

#define STALL_SECONDS 0.005

/* ------------------------------------------------------------------ what no poll sees */

static int
may_read(const struct pev_bev *h)
{
	size_t high = h->bev->wm_read.high;
	return h->open && !h->paused && !h->ended && (bufferevent_get_enabled(h->bev) & EV_READ) &&
	    (!high || evbuffer_get_length(h->bev->input) < high);
}

/* Not while a limit has stopped it: event_add passes over an event that is active, which would then be lost. */
static void
read_on(struct pev_bev *h)
{
	if (h->bev->ev_read.ev_evcallback.evcb_flags & EVLIST_INSERTED)
		event_active(&h->bev->ev_read, EV_READ, 1);
}

static void
look_later(struct pev_ssl *s)
{
	struct timeval tv;
	if (s->stall != NULL && !event_pending(s->stall, EV_TIMEOUT, NULL) && pev_timeval(STALL_SECONDS, &tv) == 0)
		event_add(s->stall, &tv);
}

static void
on_stall(evutil_socket_t fd, short what, void *arg)
{
	struct pev_ssl *s = arg;
	struct pev_bev *h = &s->b, *top = h;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	if (h->bev == NULL)
		return;
	while (top->over != NULL)
		top = top->over;
	if (s->closing == 1 && top->lingering) {
		pev_bev_step(top);
		return;
	}
	bufferevent_lock(h->bev);
	if (may_read(h) && SSL_has_pending(s->ssl)) {
		read_on(h);
		look_later(s);
	}
	bufferevent_unlock(h->bev);
}

static void
look(struct pev_bev *h, int now)
{
	struct pev_ssl *s = pev_ssl_of(h);
	bufferevent_lock(h->bev);
	if (may_read(h) && SSL_has_pending(s->ssl)) {
		if (now)
			read_on(h);
		look_later(s);
	}
	bufferevent_unlock(h->bev);
}

/* libevent goes on reading itself, as far as it may. */
static void
on_direct_read(struct pev_bev *h)
{
	look(h, 0);
}

/* It may be allowed to read again. */
static void
on_direct_change(struct pev_bev *h)
{
	look(h, 1);
}

/* ------------------------------------------------------------------ events */

static short
on_failure(struct pev_ssl *s)
{
	pev_ssl_stop_timer(s);
	s->failed = 1;
	s->broken = s->n_errors == 0;
	if (s->broken && s->at_end) {
		if (s->b.open && s->allow_dirty)
			return BEV_EVENT_READING | BEV_EVENT_EOF;
		s->truncated = 1;
	}
	return BEV_EVENT_READING | BEV_EVENT_ERROR;
}

/* After the peer's close_notify SSL_get_error says so again when a write fails, and libevent takes it for the end. */
static short
on_failed_write(struct pev_ssl *s)
{
	pev_ssl_stop_timer(s);
	s->failed = s->broken = 1;
	return BEV_EVENT_WRITING | BEV_EVENT_ERROR;
}

static short
on_direct_event(struct pev_bev *h, short what, int error)
{
	struct pev_ssl *s = pev_ssl_of(h);
	PEV_UNUSED(error);
	pev_ssl_take_errors(s);
	what = pev_ssl_sift_pause(s, what);
	if (s->is_refused && (what & BEV_EVENT_ERROR))
		return pev_ssl_refuse_peer(s);
	if (what & BEV_EVENT_CONNECTED)
		return pev_ssl_connected(s, what);
	if (s->hearing)
		return 0;
	if ((what & BEV_EVENT_ERROR) && (what & BEV_EVENT_WRITING) && s->n_errors == 0 && !s->at_end) {
		pev_ssl_last_words(s);
		return on_failed_write(s);
	}
	if (what & BEV_EVENT_ERROR)
		return on_failure(s);
	if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_WRITING))
		return on_failed_write(s);
	if ((what & BEV_EVENT_EOF) && pev_bev_has_output(h) && (bufferevent_get_enabled(h->bev) & EV_WRITE))
		bufferevent_enable(h->bev, EV_WRITE);
	return pev_ssl_on_eof(s, what);
}

static void
stop_reading_here(struct pev_bev *h)
{
	bufferevent_disable(h->bev, EV_READ | EV_WRITE);
}

/* ------------------------------------------------------------------ closing */

static int
on_direct_drained(struct pev_bev *h)
{
	struct pev_ssl *s = pev_ssl_of(h);
	if (bufferevent_getfd(h->bev) < 0 || s->broken || !h->open || s->failed)
		return 1;
	if (s->closing < 2 && !pev_ssl_say_goodbye(s)) {
		s->closing = 1;
		look_later(s); /* no room in the socket */
		return 0;
	}
	s->closing = 2;
	return !pev_ssl_awaits_goodbye(s);
}

static void
before_direct_free(struct pev_bev *h)
{
	struct pev_ssl *s = pev_ssl_of(h);
	int fd = bufferevent_getfd(h->bev);
	pev_ssl_release_no_more(s);
	pev_ssl_stop_timer(s);
	if (s->stall != NULL)
		event_free(s->stall);
	s->stall = NULL;
	pev_ssl_keep_session(s);
	h->bev->enabled = 0; /* one above may still let it read, though its SSL is gone */
	pev_limits_free(h); /* which starts what they had stopped */
	event_del(&h->bev->ev_read); /* libevent must forget the descriptor before its number is used again */
	event_del(&h->bev->ev_write);
	if (fd >= 0 && (h->options & BEV_OPT_CLOSE_ON_FREE))
		pev_farewell(h->source.loop, fd, h->ended & BEV_EVENT_ERROR ? 0 : h->patience);
}

static const struct pev_layer direct_layer = {
	.on_event = on_direct_event,
	.on_drained = on_direct_drained,
	.sift = pev_ssl_sift,
	.is_sending = pev_ssl_is_sending,
	.given = pev_ssl_given,
	.on_write = pev_ssl_step_finish,
	.on_read = on_direct_read,
	.on_change = on_direct_change,
	.end_writing = pev_ssl_end_writing,
	.has_descriptor = 1,
	.stop_reading = stop_reading_here,
	.before_free = before_direct_free,
	.on_drop = pev_ssl_on_drop,
	.on_enable = pev_ssl_release_room,
};

/* ------------------------------------------------------------------ making */

/* fd -1: it will come by pev_ssl_attach. */
struct pev_bev *
pev_ssl_socket_new(struct pev_loop *loop, struct pev_tls_context *context, int fd, const char *host, int is_address,
    int check_host, struct pev_session *session, int options, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct pev_ssl *s;
	struct bufferevent *bev;
	int code = pev_loop_usable(loop, 0);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	s = pev_ssl_make(context, host, is_address, check_host, session, id);
	if (s == NULL)
		return NULL;
	s->stall = event_new(loop->base, -1, 0, on_stall, s);
	bev = s->stall == NULL ? NULL :
	    bufferevent_openssl_socket_new(loop->base, fd, s->ssl,
	        s->is_server ? BUFFEREVENT_SSL_ACCEPTING : BUFFEREVENT_SSL_CONNECTING, pev_bev_c_options(options));
	if (bev != NULL && fd >= 0 && pev_ssl_use_socket(s, fd) < 0) {
		bufferevent_free(bev);
		bev = NULL;
	}
	if (bev == NULL) {
		if (s->stall != NULL)
			event_free(s->stall);
		pev_ssl_unmake(s);
		errno = ENOMEM;
		return NULL;
	}
	pev_bev_init(&s->b, loop, bev, options, id, &direct_layer);
	if (fd < 0) {
		event_del(&bev->ev_read);
		event_del(&bev->ev_write);
	}
	return &s->b;
}

/* The descriptor is connected; -1: the one that it was made with. Also for one that was closed with something to send. */
int
pev_ssl_attach(struct pev_bev *h, int fd, double seconds)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = h->bev == NULL ? -PEV_ECLOSED : pev_loop_usable(h->source.loop, h->options & BEV_OPT_THREADSAFE);
	if (code < 0)
		return code;
	pev_ssl_of(h)->limit = seconds;
	if (fd >= 0 && bufferevent_setfd(h->bev, fd) < 0)
		return -PEV_EFAILED;
	if (fd >= 0 && (code = pev_ssl_use_socket(pev_ssl_of(h), fd)) < 0)
		return code;
	if (bufferevent_getfd(h->bev) >= 0)
		pev_ssl_begin(h);
	return 0;
}

/* The descriptor shall go on without TLS: it is the caller's, and this is closed. */
int
pev_ssl_give_up_fd(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int fd, code = pev_bev_freeable(h);
	if (code < 0)
		return code;
	fd = bufferevent_getfd(h->bev);
	h->options &= (unsigned char)~BEV_OPT_CLOSE_ON_FREE;
	pev_bev_free(h);
	return fd < 0 ? -EBADF : fd;
}
