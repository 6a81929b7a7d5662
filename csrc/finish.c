/* How TLS ends: half, both ways, or back to plain (facts of TLS 3.1).
 *
 * close_notify says that nothing follows, so it is only said when all that was written has been encrypted: what libevent
 * still has in its output could never be sent after it. OpenSSL goes on reading then, until the peer's own comes.
 */
#include "tls.h"

/* 1: close_notify is said, or never can be; 0: there is no room below, try again. */
int
pev_ssl_say_goodbye(struct pev_ssl *s)
{
	int r, wait;
	if (SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN)
		return 1;
	pev_forget_errors();
	r = pev_records_shutdown(s);
	wait = r < 0 && SSL_get_error(s->ssl, r) == SSL_ERROR_WANT_WRITE; /* SSL_want_write says so after failures too */
	pev_forget_errors();
	return !wait;
}

/* What is left when nothing can be sent any more stays. */
int
pev_ssl_is_sending(struct pev_bev *h)
{
	return !pev_ssl_of(h)->broken && pev_bev_has_output(h);
}

long long
pev_ssl_given(struct pev_bev *h)
{
	BIO *bio = SSL_get_wbio(pev_ssl_of(h)->ssl);
	return bio != NULL ? (long long)BIO_number_written(bio) : 0;
}

static int
is_goodbye_heard(const struct pev_ssl *s)
{
	return (SSL_get_shutdown(s->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

/* ------------------------------------------------------------------ half, and back to plain */

static void
note_plain(struct pev_ssl *s)
{
	if (s->finishing == PEV_FINISH_UNWRAP && (SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN) && is_goodbye_heard(s))
		pev_note(&s->b.source, PEV_NOTE_PLAIN, bufferevent_get_priority(s->b.bev));
}

/* Something was sent, or the handshake is done: is it time? */
void
pev_ssl_step_finish(struct pev_bev *h)
{
	struct pev_ssl *s = pev_ssl_of(h);
	if (s->finishing == PEV_FINISH_NOT || !h->open || s->failed || h->lingering || pev_bev_has_output(h))
		return;
	bufferevent_lock(h->bev);
	if (pev_ssl_say_goodbye(s))
		note_plain(s);
	bufferevent_unlock(h->bev);
}

/* The peer said close_notify: what is left of the event. */
short
pev_ssl_on_eof(struct pev_ssl *s, short what)
{
	if (!(what & BEV_EVENT_EOF) || s->finishing != PEV_FINISH_UNWRAP || !is_goodbye_heard(s))
		return what;
	note_plain(s);
	return 0;
}

static int
finish(struct pev_bev *h, int how)
{
	struct pev_ssl *s = pev_ssl_of(h);
	int code = pev_bev_usable_alone(h);
	if (code < 0)
		return code;
	if (h->ended & BEV_EVENT_ERROR)
		return -EPIPE;
	if (s->finishing < how)
		s->finishing = (unsigned char)how;
	h->cut = 1;
	pev_ssl_step_finish(h);
	return 0;
}

/* Nothing more is written; reading goes on. */
int
pev_ssl_finish(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return finish(h, PEV_FINISH_HALF);
}

/* The same, and PEV_NOTE_PLAIN when the peer has done it too. */
int
pev_ssl_unwrap(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = finish(h, PEV_FINISH_UNWRAP);
	if (code == 0)
		note_plain(pev_ssl_of(h));
	return code;
}

/* A relay's end of one direction. */
void
pev_ssl_end_writing(struct pev_bev *h)
{
	struct pev_ssl *s = pev_ssl_of(h);
	if (s->finishing < PEV_FINISH_HALF)
		s->finishing = PEV_FINISH_HALF;
	h->cut = 1;
	pev_ssl_step_finish(h);
}

/* Both have said goodbye: the one below goes on without. */
int
pev_ssl_uncover(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	struct pev_bev *under = h->under;
	int code = pev_bev_freeable(h);
	if (code < 0)
		return code;
	h->options &= (unsigned char)~BEV_OPT_CLOSE_ON_FREE;
	pev_bev_free(h);
	if (under != NULL && under->bev != NULL)
		bufferevent_setwatermark(under->bev, EV_WRITE, 0, 0);
	return 0;
}

/* SSL_SENT_SHUTDOWN, SSL_RECEIVED_SHUTDOWN */
int
pev_ssl_get_shutdown(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return SSL_get_shutdown(pev_ssl_of(h)->ssl);
}

/* ------------------------------------------------------------------ both ways */

/* A close that comes shall wait for the peer's close_notify. */
void
pev_ssl_set_bidirectional(struct pev_bev *h, int on)
{
	PEV_VISIT(pev_visit_bev(h));
	pev_ssl_of(h)->waiting = (unsigned char)on;
}

static void
on_rest(struct bufferevent *bev, void *arg)
{
	PEV_UNUSED(arg);
	evbuffer_drain(bufferevent_get_input(bev), (size_t)-1);
}

static void
on_answer(struct bufferevent *bev, short what, void *arg)
{
	PEV_UNUSED(bev);
	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	pev_ssl_of(arg)->waiting = 0;
	if (what & BEV_EVENT_ERROR)
		pev_bev_free(arg);
	else
		pev_bev_step(arg);
}

/* Ours is said. 1: what comes until the peer's does is thrown away, and pev_bev_step called then. */
int
pev_ssl_awaits_goodbye(struct pev_ssl *s)
{
	struct bufferevent *bev = s->b.bev;
	if (!s->waiting || is_goodbye_heard(s) || s->failed)
		return 0;
	evbuffer_drain(bufferevent_get_input(bev), (size_t)-1);
	bufferevent_setwatermark(bev, EV_READ, 0, 0);
	bufferevent_setcb(bev, on_rest, NULL, on_answer, &s->b);
	bufferevent_enable(bev, EV_READ);
	return 1;
}
