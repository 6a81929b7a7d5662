/* event2/bufferevent_ssl.h: TLS as a filter over another bufferevent.
 *
 * The rules, and the facts that make them needed:
 *
 *   1. The handle owns the SSL and frees it last; libevent gets no CLOSE_ON_FREE, whose error paths free things twice
 *      (facts of libevent 2.4).
 *   2. CONNECTED comes once. While nobody reads, the one below doesn't either, so nothing piles up there (5.1).
 *   3. What went wrong is taken out of libevent's three slots at once, oldest first (5.3).
 *   4. The end of the stream below without a close_notify is an error unless allowed, and comes after no other end (5.2).
 *   5. A close drains, sends close_notify, and drains again (facts of TLS 3.1).
 */
#include "tls.h"

/* How much ciphertext may wait below, and at which level more is made (facts of TLS 3, row 15). */
#define CIPHERTEXT_HIGH (256 * 1024)
#define CIPHERTEXT_LOW (64 * 1024)

/* libevent's first error slot holds the bare result of SSL_get_error. */
#define LARGEST_SSL_ERROR 20

static const struct pev_layer ssl_layer;

/* ------------------------------------------------------------------ events */

void
pev_ssl_take_errors(struct pev_ssl *s)
{
	unsigned long newest_first[PEV_TLS_ERRORS], code;
	int n = 0;
	while (n < PEV_TLS_ERRORS && (code = bufferevent_get_openssl_error(s->b.bev)) != 0)
		newest_first[n++] = code;
	while (n > 0 && s->n_errors < PEV_TLS_ERRORS) {
		code = newest_first[--n];
		if (code > LARGEST_SSL_ERROR)
			s->errors[s->n_errors++] = code;
	}
}

/* Deferred events come in one: the peer's close_notify, and the end of the one below that follows it. */
static int
is_clean_end(const struct pev_ssl *s, short what)
{
	const short both = BEV_EVENT_READING | BEV_EVENT_EOF;
	return (what & both) == both && (what & BEV_EVENT_ERROR) && s->n_errors == 0 &&
	    !(s->b.under->ended & BEV_EVENT_ERROR);
}

/* The one below ended: libevent says ERROR, or EOF where that is allowed, and no direction. */
static int
is_end_below(const struct pev_ssl *s, short what)
{
	return (what == BEV_EVENT_ERROR || what == BEV_EVENT_EOF) && s->n_errors == 0 && !s->b.under->connecting &&
	    !(s->b.under->ended & BEV_EVENT_ERROR);
}

/* Of the one below; OpenSSL's own have errors. */
static int
is_failed_write(const struct pev_ssl *s, short what)
{
	const short both = BEV_EVENT_WRITING | BEV_EVENT_ERROR;
	return (what & both) == both && !(what & BEV_EVENT_TIMEOUT) && s->n_errors == 0;
}

/* It resumed what may not be resumed here: nothing goes out, or comes in. */
static short
refuse_session(struct pev_ssl *s)
{
	s->errors[0] = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT);
	s->n_errors = s->failed = s->broken = 1;
	bufferevent_disable(s->b.bev, EV_READ | EV_WRITE);
	return BEV_EVENT_READING | BEV_EVENT_ERROR;
}

/* The handshake is done, perhaps not for the first time: what is to be told. */
short
pev_ssl_connected(struct pev_ssl *s, short what)
{
	struct pev_bev *h = &s->b;
	if (h->open)
		return 0;
	if (pev_ssl_is_doubted(s))
		return (short)(what & ~BEV_EVENT_CONNECTED);
	h->open = 1;
	pev_ssl_done(s);
	pev_ssl_release_buffers(s);
	pev_ssl_release_room(h);
	pev_link_settled(&s->link);
	if (!pev_link_is_trusted(s->ssl))
		return refuse_session(s);
	pev_bev_opened(h);
	pev_ssl_send_tickets(s);
	pev_ssl_open_gate(s);
	if (!(bufferevent_get_enabled(h->bev) & EV_READ))
		bufferevent_disable(h->bev, EV_READ);
	pev_ssl_step_finish(h);
	return what;
}

static short
on_ssl_event(struct pev_bev *h, short what, int error)
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
	if (is_failed_write(s, what)) {
		pev_ssl_stop_timer(s);
		pev_ssl_last_words(s);
		s->failed = s->broken = 1;
		return what;
	}
	if ((what & BEV_EVENT_EOF) && s->n_errors > 0)
		what = (short)((what & ~BEV_EVENT_EOF) | BEV_EVENT_ERROR);
	if (is_clean_end(s, what))
		what &= ~BEV_EVENT_ERROR;
	if (is_end_below(s, what)) {
		if (h->ended)
			return 0;
		s->truncated = what == BEV_EVENT_ERROR;
		what |= BEV_EVENT_READING;
	}
	if (what & BEV_EVENT_ERROR) {
		pev_ssl_stop_timer(s);
		s->failed = 1;
		s->broken = s->n_errors == 0 && !s->truncated;
	}
	return pev_ssl_on_eof(s, what);
}

/* While it is being closed: what was written goes out when the handshake is done. */
short
pev_ssl_sift(struct pev_bev *h, short what)
{
	struct pev_ssl *s = pev_ssl_of(h);
	pev_ssl_take_errors(s);
	what = pev_ssl_sift_pause(s, what);
	if (!(what & BEV_EVENT_CONNECTED) || h->open)
		return what;
	if (pev_ssl_is_doubted(s))
		return (short)(what & ~BEV_EVENT_CONNECTED);
	if (!pev_link_is_trusted(s->ssl))
		return BEV_EVENT_ERROR; /* nothing goes out */
	pev_ssl_stop_timer(s);
	pev_ssl_open_gate(s);
	return what;
}

/* A fatal alert may still be on its way out below, so only the reading ends. */
static void
stop_reading_below(struct pev_bev *h)
{
	if (h->under->bev != NULL)
		bufferevent_disable(h->under->bev, EV_READ);
}

/* ------------------------------------------------------------------ making */

struct pev_ssl *
pev_ssl_make(struct pev_tls_context *context, const char *host, int is_address, int check_host, struct pev_session *session,
    uint64_t id)
{
	struct pev_ssl *s = pev_new(sizeof *s);
	if (s == NULL)
		return NULL;
	s->ssl = pev_tls_new_ssl(context);
	s->link.bev = &s->b;
	s->link.id = id;
	if (s->ssl == NULL || (host != NULL && pev_tls_expect_host(s->ssl, host, is_address, check_host) < 0) ||
	    pev_link_begin(&s->link, context, s->ssl, host, is_address, check_host, session) < 0) {
		pev_link_end(&s->link, s->ssl);
		SSL_free(s->ssl);
		pev_delete(s);
		errno = PEV_ETLS;
		return NULL;
	}
	s->context = pev_tls_context_hold(context);
	s->is_server = context->is_server;
	s->alert_in = s->alert_out = -1;
	s->took = -1;
	pev_ssl_set_owner(s->ssl, s);
	return s;
}

void
pev_ssl_unmake(struct pev_ssl *s)
{
	pev_link_end(&s->link, s->ssl);
	SSL_free(s->ssl);
	pev_tls_context_free(s->context);
	pev_delete(s);
}

struct pev_bev *
pev_ssl_filter_new(struct pev_bev *under, struct pev_tls_context *context, int is_server, const char *host, int is_address,
    int check_host, struct pev_session *session, int options, uint64_t id)
{
	struct pev_ssl *s;
	PEV_VISIT(pev_visit_bev(under));
	struct bufferevent *bev;
	int code = pev_bev_may_carry(under);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	s = pev_ssl_make(context, host, is_address, check_host, session, id);
	if (s == NULL)
		return NULL;
	bev = bufferevent_openssl_filter_new(under->source.loop->base, under->bev, s->ssl,
	    is_server ? BUFFEREVENT_SSL_ACCEPTING : BUFFEREVENT_SSL_CONNECTING, pev_bev_filter_options(options));
	if (bev != NULL && (pev_bev_share_lock(bev, options) < 0 || !pev_ssl_stand_on(s, under))) {
		bufferevent_free(bev);
		bev = NULL;
	}
	if (bev == NULL) {
		pev_ssl_unmake(s);
		errno = ENOMEM;
		return NULL;
	}
	s->b.under = under;
	under->over = &s->b;
	under->wants = 0;
	pev_bev_init(&s->b, under->source.loop, bev, options, id, &ssl_layer);
	pev_ssl_listen_below(s);
	if (under->connecting != PEV_NOT_CONNECTING)
		pev_bev_take_callbacks(under);
	pev_records_start(s);
	bufferevent_setwatermark(under->bev, EV_WRITE, CIPHERTEXT_LOW, CIPHERTEXT_HIGH);
	if (event_get_fd(&under->bev->ev_read) < 0) {
		event_del(&under->bev->ev_read);
		event_del(&under->bev->ev_write);
	}
	return &s->b;
}

/* Whether all that it stands on is open: the first message can go out. */
static int
is_open_below(const struct pev_bev *h)
{
	while ((h = h->under) != NULL)
		if (!h->open || h->bev == NULL || h->connecting || (pev_bev_is_socket(h) && bufferevent_getfd(h->bev) < 0))
			return 0;
	return 1;
}

/* libevent waits for something to happen there. */
static void
look_below(struct pev_bev *h)
{
	bufferevent_trigger(h->under->bev, EV_READ | EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* It is open now. */
static void
on_open_below(struct pev_bev *h)
{
	pev_ssl_begin(h);
	if (h->bev != NULL && h->under->bev != NULL && !h->open)
		look_below(h);
}

/* A client's first message, or what has already come in below.
 * seconds: how long the handshake may take once the one below is open; 0: as long as it likes. */
int
pev_ssl_start(struct pev_bev *h, double seconds)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	pev_ssl_of(h)->limit = seconds;
	if (h->under->bev == NULL || h->under->connecting)
		return 0;
	if (is_open_below(h))
		pev_ssl_begin(h);
	look_below(h);
	return 0;
}

/* ------------------------------------------------------------------ closing */

static void
on_last_write(struct bufferevent *bev, void *arg)
{
	if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		pev_bev_step(arg);
}

static void
on_last_event(struct bufferevent *bev, short what, void *arg)
{
	struct pev_bev *h = arg;
	PEV_UNUSED(bev);
	if (!(what & (BEV_EVENT_ERROR | BEV_EVENT_WRITING)))
		return;
	if (h->under != NULL)
		h->under->patience = 0;
	pev_bev_free(h);
}

/* What it still has to send can't be sent. One that isn't closed too is told that first. */
static int
is_useless_below(const struct pev_bev *h)
{
	return (h->under->ended & BEV_EVENT_ERROR) || ((h->options & BEV_OPT_CLOSE_ON_FREE) && h->under->send_error);
}

/* All that was written is encrypted. Say close_notify, and wait until the one below has sent everything. */
static int
on_ssl_drained(struct pev_bev *h)
{
	struct pev_ssl *s = pev_ssl_of(h);
	struct bufferevent *below = h->under->bev;
	if (below == NULL || h->under->connecting || s->broken)
		return 1;
	if (h->open && !s->failed && !s->closing) {
		if (!pev_ssl_say_goodbye(s))
			return 0; /* no room below: the next write callback comes back here */
		if (h->bev == NULL)
			return 0; /* it failed at once */
		s->closing = 1;
	}
	if (s->closing && pev_ssl_awaits_goodbye(s))
		return 0;
	if (!pev_bev_is_socket(h->under))
		return pev_below_is_sent(h);
	if (!pev_bev_has_output(h->under) || is_useless_below(h))
		return 1;
	bufferevent_setwatermark(below, EV_WRITE, 0, 0);
	bufferevent_setcb(below, NULL, on_last_write, on_last_event, h);
	bufferevent_enable(below, EV_WRITE); /* off where a write failed: it will again, and say so */
	return 0;
}

/* Without a shutdown state OpenSSL takes the session for broken and throws it away (facts of TLS 1.3). Only TLS itself can break
 * one: a stream that ends, or fails, says nothing about it (RFC 5246 7.2.1). */
void
pev_ssl_keep_session(struct pev_ssl *s)
{
	if (s->n_errors == 0)
		SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

static void
before_ssl_free(struct pev_bev *h)
{
	struct pev_ssl *s = pev_ssl_of(h);
	pev_ssl_release_no_more(s);
	pev_ssl_stop_timer(s);
	pev_ssl_keep_session(s);
	h->bev->enabled = 0; /* one above may still let it read, though its SSL is gone */
	pev_ssl_leave_below(s);
	if ((h->options & BEV_OPT_CLOSE_ON_FREE) && h->under->bev != NULL)
		bufferevent_disable(h->under->bev, EV_READ); /* or libevent reads on there, for the moment that it still has */
}

static void
after_ssl_free(struct pev_bev *h, struct pev_bev *under)
{
	if (under->bev == NULL)
		return;
	if (h->options & BEV_OPT_CLOSE_ON_FREE)
		pev_bev_free(under);
	else
		pev_ssl_tell_below(pev_ssl_of(h), under);
}

void
pev_ssl_on_drop(struct pev_bev *h)
{
	pev_ssl_release_no_more(pev_ssl_of(h));
	pev_ssl_set_owner(pev_ssl_of(h)->ssl, NULL);
	pev_link_end(&pev_ssl_of(h)->link, pev_ssl_of(h)->ssl);
	SSL_free(pev_ssl_of(h)->ssl);
	pev_forget_errors();
	pev_tls_context_free(pev_ssl_of(h)->context);
	if (pev_ssl_of(h)->own_below != NULL)
		pev_bev_drop(pev_ssl_of(h)->own_below);
}

static const struct pev_layer ssl_layer = {
	.begin = on_open_below,
	.on_event = on_ssl_event,
	.on_drained = on_ssl_drained,
	.sift = pev_ssl_sift,
	.is_sending = pev_ssl_is_sending,
	.given = pev_ssl_given,
	.end_writing = pev_ssl_end_writing,
	.stop_reading = stop_reading_below,
	.before_free = before_ssl_free,
	.after_free = after_ssl_free,
	.on_write = pev_ssl_step_finish,
	.on_drop = pev_ssl_on_drop,
	.enable_later = pev_ssl_enable_later,
	.on_enable = pev_ssl_release_room,
	.is_records = 1,
};

/* ------------------------------------------------------------------ an end without a close_notify */

int
pev_ssl_set_allow_dirty(struct pev_bev *h, int allow)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	pev_ssl_of(h)->allow_dirty = (unsigned char)allow;
	if (h->under != NULL)
		bufferevent_openssl_set_allow_dirty_shutdown(h->bev, allow);
	return 0;
}

int
pev_ssl_get_allow_dirty(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : pev_ssl_of(h)->allow_dirty;
}
