/* Questions of OpenSSL's whose answers come later: the handshake waits, and nothing else does.
 *
 * OpenSSL can be told to come back where it looks at a client's first message, where a server chooses its certificate, and where
 * a client verifies a chain. libevent knows nothing of it: it takes it for an error, tells that, and lets the connection be
 * (facts of TLS 1.4). The rules:
 *
 *   1. A question is asked once. Whoever makes OpenSSL come to the same place meanwhile is told to come back, and Python isn't asked.
 *   2. The error that libevent tells then is passed over. It may be told later, and together with an end below.
 *   3. When there is an answer, the handshake goes on as if something had come in, but not before that error was told.
 *   4. The handshake's time goes on meanwhile, and the loop has something to wait for.
 *   5. Nothing piles up below. A socket there is read up to a mark, so that its end is noticed.
 */
#include "tls.h"

/* More than the messages that a peer may send before it needs an answer; what OpenSSL takes of a chain is 100 KiB. */
#define MOST_BELOW (128 * 1024)

/* What libevent does itself to one below that shall not read. */
#define SUSPENDED_BY_FILTER 0x10
extern void bufferevent_suspend_read_(struct bufferevent *bev, uint16_t why);

#define PAUSED (BEV_EVENT_READING | BEV_EVENT_WRITING | BEV_EVENT_ERROR)

/* The loop isn't empty. */
static void
on_hold(evutil_socket_t fd, short what, void *arg)
{
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	PEV_UNUSED(arg);
}

/* 0: there is no memory. */
int
pev_ssl_hold(struct pev_ssl *s)
{
	const struct timeval hour = { 3600, 0 };
	if (s->hold == NULL)
		s->hold = event_new(s->b.source.loop->base, -1, EV_PERSIST, on_hold, NULL);
	return s->hold != NULL && event_add(s->hold, &hour) == 0;
}

/* Python will say when there is an answer. 0: there is no memory. */
int
pev_ssl_await(struct pev_ssl *s)
{
	s->awaited = (unsigned char)pev_ssl_hold(s);
	return s->awaited;
}

void
pev_ssl_await_no_more(struct pev_ssl *s)
{
	if (s->hold != NULL)
		event_free(s->hold);
	s->hold = NULL;
}

/* OpenSSL is about to be told to come back: libevent will tell an error. */
void
pev_ssl_pause(struct pev_ssl *s)
{
	s->is_pausing = 1;
}

/* ------------------------------------------------------------------ below */

static int
is_on_socket(const struct pev_ssl *s)
{
	return s->b.under != NULL && pev_bev_is_socket(s->b.under);
}

static void
hold_back_below(struct pev_ssl *s)
{
	struct pev_bev *under = s->b.under;
	if (under == NULL || under->bev == NULL)
		return;
	if (!is_on_socket(s)) {
		bufferevent_suspend_read_(under->bev, SUSPENDED_BY_FILTER); /* the handshake undoes that itself */
	} else if (!s->is_marked) {
		bufferevent_getwatermark(under->bev, EV_READ, &s->low_below, &s->high_below);
		if (s->high_below == 0 || s->high_below > MOST_BELOW) {
			bufferevent_setwatermark(under->bev, EV_READ, s->low_below, MOST_BELOW);
			s->is_marked = 1;
		}
	}
}

static void
let_go_below(struct pev_ssl *s)
{
	if (s->is_marked)
		bufferevent_setwatermark(s->b.under->bev, EV_READ, s->low_below, s->high_below);
	s->is_marked = 0;
}

/* Where events are deferred, several are told as one. */
static int
has_ended_below(const struct pev_ssl *s)
{
	const struct pev_bev *under = s->b.under;
	char byte;
	if (under == NULL || !(s->b.options & (BEV_OPT_DEFER_CALLBACKS | BEV_OPT_THREADSAFE)))
		return 0;
	if (!pev_bev_is_socket(under))
		return under->ended != 0;
	return !(bufferevent_get_enabled(under->bev) & EV_READ) &&
	    recv(bufferevent_getfd(under->bev), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* ------------------------------------------------------------------ going on */

static void
go_on(struct pev_ssl *s)
{
	struct pev_bev *under = s->b.under;
	pev_ssl_await_no_more(s);
	if (under == NULL) {
		event_active(&s->b.bev->ev_read, EV_READ, 1);
	} else if (under->bev != NULL) {
		let_go_below(s);
		bufferevent_trigger(under->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	}
}

/* An event: what is left of it when it was told only because OpenSSL shall come back. */
short
pev_ssl_sift_pause(struct pev_ssl *s, short what)
{
	if (!s->is_pausing || !(what & BEV_EVENT_ERROR))
		return what;
	s->is_pausing = 0;
	if (s->n_errors > 0)
		return what;
	what = (short)(what & ~PAUSED);
	if (has_ended_below(s))
		what |= BEV_EVENT_ERROR;
	if (what & (BEV_EVENT_ERROR | BEV_EVENT_EOF))
		return what;
	if (s->awaited)
		hold_back_below(s);
	else
		go_on(s);
	return what;
}

/* There is an answer: OpenSSL will ask again, and Python knows it then. 1: it will; 0: nobody wants it any more. */
int
pev_ssl_resume(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	int code;
	if (h->bev == NULL || h->open || (h->ended & BEV_EVENT_ERROR) || !s->awaited)
		return 0;
	code = pev_loop_usable(h->source.loop, h->options & BEV_OPT_THREADSAFE);
	if (code < 0)
		return code;
	bufferevent_lock(h->bev);
	s->awaited = 0;
	if (!s->is_pausing)
		go_on(s);
	bufferevent_unlock(h->bev);
	return 1;
}
