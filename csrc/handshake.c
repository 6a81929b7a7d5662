/* How long handshakes take, and which alerts were sent.
 *
 * libevent's timeouts begin anew with each byte, so that a peer who sends one now and then lives for ever (facts of TLS 3,
 * row 12). So the whole handshake has one timer, from when the stream below is open until CONNECTED or an error.
 */
#include "tls.h"

/* What libevent does itself to one below that shall not read. */
#define SUSPENDED_BY_FILTER 0x10
extern void bufferevent_unsuspend_read_(struct bufferevent *bev, uint16_t why);

static double
since(const struct timespec *then)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void
on_time_over(evutil_socket_t fd, short what, void *arg)
{
	struct pev_ssl *s = arg;
	struct pev_bev *h = &s->b;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	if (h->bev == NULL || h->open || (h->ended & BEV_EVENT_ERROR))
		return;
	s->late = s->failed = s->broken = 1;
	pev_ssl_await_no_more(s);
	if (h->lingering) {
		pev_bev_free(h);
		return;
	}
	bufferevent_disable(h->bev, EV_READ | EV_WRITE);
	pev_bev_note_events(h, BEV_EVENT_READING | BEV_EVENT_ERROR, 0);
}

/* The stream below is open: the first message can go out. */
void
pev_ssl_begin(struct pev_bev *h)
{
	struct pev_ssl *s = pev_ssl_of(h);
	struct timeval tv;
	if (s->began || h->bev == NULL)
		return;
	s->began = 1;
	clock_gettime(CLOCK_MONOTONIC, &s->begun);
	if (s->limit <= 0 || pev_timeval(s->limit, &tv) < 0)
		return;
	s->timer = event_new(h->source.loop->base, -1, 0, on_time_over, s);
	if (s->timer != NULL)
		event_add(s->timer, &tv);
}

void
pev_ssl_stop_timer(struct pev_ssl *s)
{
	if (s->timer != NULL)
		event_free(s->timer);
	s->timer = NULL;
	pev_ssl_await_no_more(s);
}

void
pev_ssl_done(struct pev_ssl *s)
{
	pev_ssl_stop_timer(s);
	if (s->took < 0 && s->began)
		s->took = since(&s->begun);
}

/* A server whose handshake waits for its client: libevent enables, when that is done, what is enabled then. Until then it would
 * only ask OpenSSL for bytes, which tries the handshake in vain, for a tenth of what a short one costs. 0: all others. */
int
pev_ssl_enable_later(struct pev_bev *h, short events)
{
	struct pev_ssl *s = pev_ssl_of(h);
	struct bufferevent *bev = h->bev;
	if (s->bio == NULL || !s->is_server || !s->began || s->is_shaken || h->ended || h->under->bev == NULL ||
	    evutil_timerisset(&bev->timeout_read) || evutil_timerisset(&bev->timeout_write))
		return 0;
	bev->enabled |= events;
	if (events & EV_READ) { /* disabling it has stopped the reading below, and with that the handshake */
		bufferevent_unsuspend_read_(h->under->bev, SUSPENDED_BY_FILTER);
		pev_bev_changed(h);
	}
	return 1;
}

/* OpenSSL tells of each alert; its queue of errors knows only those that came in. */
void
pev_ssl_on_info(const SSL *ssl, int where, int value)
{
	struct pev_ssl *s;
	if (!(where & (SSL_CB_ALERT | SSL_CB_EXIT)) || (s = pev_ssl_of_ssl(ssl)) == NULL)
		return;
	if (where == SSL_CB_CONNECT_EXIT || where == SSL_CB_ACCEPT_EXIT)
		pev_ssl_release_later(s);
	if (!(where & SSL_CB_ALERT))
		return;
	if ((value & 0xff) == SSL_AD_CLOSE_NOTIFY)
		return;
	if (where & SSL_CB_WRITE)
		s->alert_out = (short)(value & 0xff);
	else
		s->alert_in = (short)(value & 0xff);
}

/* ------------------------------------------------------------------ what Python asks */

int
pev_ssl_is_late(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return pev_ssl_of(h)->late;
}

/* Seconds; negative while it isn't done. */
double
pev_ssl_handshake_time(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return pev_ssl_of(h)->took;
}

/* The last alert that was sent, or came in; -1: none but close_notify. */
int
pev_ssl_alert(struct pev_bev *h, int sent)
{
	PEV_VISIT(pev_visit_bev(h));
	return sent ? pev_ssl_of(h)->alert_out : pev_ssl_of(h)->alert_in;
}
