/* A server's connection whose client is still to be approved of: Python's verdict on its certificate comes later.
 *
 * OpenSSL can't wait for that on a server's side. So the client is taken, and kept in the hall. The rules:
 *
 *   1. Nothing of the client's is decrypted, and nothing for it encrypted, but the handshake itself: libevent's reading and
 *      writing are suspended. In the filter form libevent may be in SSL_read, which might go on to data in the very call that ends
 *      the handshake: so the handshake pauses there before, and goes on by SSL_do_handshake. The socket form knows no other.
 *   2. The handshake isn't done for anybody but OpenSSL: no CONNECTED, and its time goes on.
 *   3. No session comes of it. TLS 1.3 gives out its tickets when the client is approved of; TLS 1.2 does so within the handshake,
 *      so they, and the session, are expired.
 *   4. A verdict that comes is told as an event, by libevent: it reaches who has the callbacks then.
 */
#include "tls.h"

/* Beside libevent's own reasons, which are bits too (BEV_SUSPEND_...). */
#define SUSPENDED_UNTIL_APPROVED 0x100
extern void bufferevent_suspend_read_(struct bufferevent *bev, uint16_t why);
extern void bufferevent_unsuspend_read_(struct bufferevent *bev, uint16_t why);
extern void bufferevent_suspend_write_(struct bufferevent *bev, uint16_t why);
extern void bufferevent_unsuspend_write_(struct bufferevent *bev, uint16_t why);

static void
shut_gate(struct pev_ssl *s)
{
	s->is_gated = 1;
	bufferevent_suspend_read_(s->b.bev, SUSPENDED_UNTIL_APPROVED);
	bufferevent_suspend_write_(s->b.bev, SUSPENDED_UNTIL_APPROVED);
}

/* The client's first message has come: 1 if the handshake must pause. */
int
pev_ssl_gate(struct pev_ssl *s)
{
	if (s->b.under == NULL || s->is_gated || !(s->context->asks & PEV_ASK_VERIFY))
		return 0;
	shut_gate(s);
	return 1;
}

void
pev_ssl_open_gate(struct pev_ssl *s)
{
	if (!s->is_gated)
		return;
	s->is_gated = 0;
	bufferevent_unsuspend_read_(s->b.bev, SUSPENDED_UNTIL_APPROVED);
	bufferevent_unsuspend_write_(s->b.bev, SUSPENDED_UNTIL_APPROVED);
}

/* Inside pev_ask_verify: the answer comes later. -PEV_EVALUE: it can't. */
int
pev_ssl_doubt(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	SSL_SESSION *session = SSL_get0_session(s->ssl);
	if (!h->busy || h->open || session == NULL || (h->under != NULL && !s->is_gated))
		return -PEV_EVALUE;
	if (!pev_ssl_hold(s))
		return -ENOMEM;
	if (!s->is_gated)
		shut_gate(s);
	if (!s->was_doubted) {
		s->n_tickets = SSL_get_num_tickets(s->ssl);
		SSL_set_num_tickets(s->ssl, 0);
		if (SSL_version(s->ssl) < TLS1_3_VERSION) {
			SSL_SESSION_set_time(session, 1);
			SSL_SESSION_set_timeout(session, 1);
		}
	}
	s->was_doubted = 1;
	s->n_doubts++;
	return 0;
}

/* One of the verdicts is there. */
int
pev_ssl_judge(struct pev_bev *h, int good)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	int code;
	if (h->bev == NULL || h->open || (h->ended & BEV_EVENT_ERROR) || s->n_doubts == 0)
		return 0;
	code = pev_loop_usable(h->source.loop, h->options & BEV_OPT_THREADSAFE);
	if (code < 0)
		return code;
	s->n_doubts--;
	if (!good)
		s->is_refused = 1;
	if (s->is_refused)
		bufferevent_trigger_event(h->bev, BEV_EVENT_READING | BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
	else if (s->n_doubts == 0 && s->is_shaken)
		bufferevent_trigger_event(h->bev, BEV_EVENT_CONNECTED, BEV_TRIG_DEFER_CALLBACKS);
	return 1;
}

/* OpenSSL's handshake is done: 1 if all others must wait. */
int
pev_ssl_is_doubted(struct pev_ssl *s)
{
	s->is_shaken = 1;
	return s->n_doubts > 0 || s->is_refused;
}

/* What the event of rule 4 says of a client that is refused. */
short
pev_ssl_refuse_peer(struct pev_ssl *s)
{
	pev_ssl_stop_timer(s);
	s->errors[0] = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_CERTIFICATE_VERIFY_FAILED);
	s->n_errors = s->failed = s->broken = 1;
	SSL_set_verify_result(s->ssl, X509_V_ERR_APPLICATION_VERIFICATION);
	bufferevent_disable(s->b.bev, EV_READ | EV_WRITE);
	return BEV_EVENT_READING | BEV_EVENT_ERROR;
}

/* The tickets that the client didn't get with the handshake. They go out now, or with the next that is read or written. */
void
pev_ssl_send_tickets(struct pev_ssl *s)
{
	size_t i;
	if (!s->was_doubted || SSL_version(s->ssl) < TLS1_3_VERSION)
		return;
	bufferevent_lock(s->b.bev);
	ERR_clear_error();
	SSL_set_num_tickets(s->ssl, s->n_tickets);
	for (i = 0; i < s->n_tickets; i++)
		SSL_new_session_ticket(s->ssl);
	if (s->n_tickets > 0)
		SSL_do_handshake(s->ssl);
	ERR_clear_error();
	bufferevent_unlock(s->b.bev);
}
