/* In the middle of an open stream: new keys, a client's certificate after all, the handshake once more. */
#include "tls.h"

/* Send what OpenSSL has made ready. What finds no room goes out with the next write. */
static void
send_now(struct pev_ssl *s)
{
	SSL_do_handshake(s->ssl);
	ERR_clear_error();
	if (s->b.under != NULL && s->b.under->bev != NULL)
		bufferevent_trigger(s->b.under->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* What was asked of OpenSSL is sent, where it agreed. */
static int
leave(struct pev_bev *h, int ok)
{
	int code = ok ? 0 : pev_tls_failed();
	if (ok)
		send_now(pev_ssl_of(h));
	pev_ssl_looked(h);
	return code;
}

/* TLS 1.3: new keys for what we send, and on request for what the peer sends. */
int
pev_ssl_new_keys(struct pev_bev *h, int peer_too)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	int code = pev_ssl_look_open(h);
	if (code < 0)
		return code;
	ERR_clear_error();
	return leave(h, SSL_key_update(s->ssl, peer_too ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
}

/* TLS 1.3: a server asks its client for a certificate after all. */
int
pev_ssl_ask_certificate(struct pev_bev *h, int required)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	int mode = SSL_VERIFY_PEER | SSL_VERIFY_POST_HANDSHAKE | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
	int code = pev_ssl_look_open(h);
	if (code < 0)
		return code;
	ERR_clear_error();
	SSL_set_verify(s->ssl, mode, SSL_get_verify_callback(s->ssl));
	return leave(h, SSL_verify_client_post_handshake(s->ssl) == 1);
}

/* TLS 1.2: the handshake once more. libevent takes a refusal for a success, and a filter waits until something is written
 * below (facts of TLS 3, row 10). */
int
pev_ssl_renegotiate(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	int code = pev_ssl_look_open(h);
	if (code < 0)
		return code;
	ERR_clear_error();
	if (SSL_get_options(s->ssl) & SSL_OP_NO_RENEGOTIATION) {
		ERR_raise(ERR_LIB_SSL, SSL_R_NO_RENEGOTIATION);
		return pev_ssl_leave(h, 0);
	}
	code = bufferevent_ssl_renegotiate(h->bev) < 0 && ERR_peek_error() != 0 ? pev_tls_failed() : 0;
	pev_ssl_listen_below(s);
	if (h->under != NULL && h->under->bev != NULL)
		bufferevent_trigger(h->under->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	pev_ssl_looked(h);
	return code;
}

/* How many were done. */
long
pev_ssl_renegotiations(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return SSL_total_renegotiations(pev_ssl_of(h)->ssl);
}
