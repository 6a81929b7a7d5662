/* event2/bufferevent.h: what a peer said last.
 *
 * libevent gives up where a write fails, though what the peer sent before may still wait in the system: why it hung up, for
 * instance, or under TLS an alert that says what it refused. So that is read before the ERROR is told: up to the high mark, and
 * MOST_LAST_WORDS. An end that comes behind it isn't told: the ERROR is the end.
 */
#include "tls.h"

#define MOST_LAST_WORDS (1024 * 1024)
#define RECORD (16 * 1024)

/* How much more its input may take; nothing while memory of it is shown. */
static size_t
room(const struct pev_bev *h, size_t before)
{
	size_t now = evbuffer_get_length(h->bev->input), most = before + MOST_LAST_WORDS;
	size_t high = h->bev->wm_read.high;
	if (high && high < most)
		most = high;
	return pev_bev_peeked(h) || now >= most ? 0 : most - now;
}

static void
note_read(struct pev_bev *h)
{
	if ((h->wants & EV_READ) && (bufferevent_get_enabled(h->bev) & EV_READ))
		pev_note(&h->source, PEV_NOTE_READ, bufferevent_get_priority(h->bev));
}

/* From the socket into its input. 1: something came. */
static int
fetch(struct pev_bev *h)
{
	struct evbuffer *input = h->bev->input;
	size_t before;
	int fd = bufferevent_getfd(h->bev);
	if (!pev_bev_is_socket(h) || fd < 0)
		return 0;
	pev_fresh_settle(h);
	before = evbuffer_get_length(input);
	evbuffer_unfreeze(input, 0);
	while (room(h, before) && evbuffer_read(input, fd, -1) > 0)
		;
	evbuffer_freeze(input, 0);
	return evbuffer_get_length(input) > before;
}

void
pev_bev_last_words(struct pev_bev *h)
{
	if (h->over == NULL && fetch(h))
		note_read(h);
}

/* ------------------------------------------------------------------ under TLS */

static void
call_reader(struct bufferevent *bev)
{
	bufferevent_data_cb read = NULL;
	void *arg;
	bufferevent_getcb(bev, &read, NULL, NULL, &arg);
	if (read != NULL)
		read(bev, arg);
}

/* What OpenSSL says about the end of the stream isn't why the write failed; an alert is. */
static void
take_failure(struct pev_ssl *s, int r)
{
	unsigned long code;
	if (SSL_get_error(s->ssl, r) != SSL_ERROR_SSL)
		return;
	while (s->n_errors < PEV_TLS_ERRORS && (code = ERR_get_error()) != 0) {
		if (ERR_GET_REASON(code) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
			s->errors[s->n_errors++] = code;
	}
}

/* One piece of a record. 0: there is no more. */
static int
decrypt(struct pev_ssl *s, size_t most)
{
	struct evbuffer *input = s->b.bev->input;
	struct evbuffer_iovec space;
	int r;
	if (evbuffer_reserve_space(input, (ev_ssize_t)(most < RECORD ? most : RECORD), &space, 1) < 1)
		return 0;
	ERR_clear_error();
	r = SSL_read(s->ssl, space.iov_base, (int)(space.iov_len < most ? space.iov_len : most));
	if (r <= 0) {
		take_failure(s, r);
		ERR_clear_error();
		return 0;
	}
	space.iov_len = (size_t)r;
	return evbuffer_commit_space(input, &space, 1) == 0;
}

/* The handshake may be done with what came. */
static void
go_on_shaking(struct pev_ssl *s)
{
	struct pev_bev *h = &s->b;
	if (h->under == NULL)
		return; /* the socket form's would write first, and fail again */
	call_reader(h->under->bev);
	pev_ssl_take_errors(s);
	if (h->bev != NULL && s->n_errors == 0 && !h->open && SSL_is_init_finished(s->ssl))
		pev_bev_note_events(h, pev_ssl_connected(s, BEV_EVENT_CONNECTED), 0);
}

/* OpenSSL waits for an answer of Python's. */
static int
is_waiting(const SSL *ssl)
{
	int what = SSL_want(ssl);
	return what != SSL_NOTHING && what != SSL_READING && what != SSL_WRITING;
}

/* A write to the socket has failed. OpenSSL itself reads on after one that it can't send (statem_srvr.c: tickets). */
void
pev_ssl_last_words(struct pev_ssl *s)
{
	struct pev_bev *h = &s->b;
	struct bufferevent *bev = h->bev;
	size_t before = evbuffer_get_length(bev->input), most;
	if (s->hearing || s->n_errors > 0 || is_waiting(s->ssl) || (h->under != NULL && !pev_bev_is_socket(h->under)))
		return;
	s->hearing = 1;
	bufferevent_incref(bev); /* one above that was closing may free it */
	bufferevent_lock(bev);
	if (h->under != NULL)
		fetch(h->under);
	if (h->bev != NULL && !h->open)
		go_on_shaking(s);
	while (h->bev != NULL && h->open && s->n_errors == 0 && (most = room(h, before)) > 0 && decrypt(s, most))
		;
	bufferevent_unlock(bev);
	bufferevent_decref(bev);
	s->hearing = 0;
	if (h->bev == NULL || evbuffer_get_length(bev->input) == before)
		return;
	if (h->over != NULL)
		call_reader(h->bev);
	else
		note_read(h);
}
