/* openssl/ssl.h: a session as Python holds it.
 *
 * OpenSSL marks a session as not to be resumed when it removes it from a cache, or when a connection that uses it ends
 * badly, and whoever else holds the object has lost it too (facts of TLS 1.3). So a handle has a copy of its own, and
 * what is offered to a connection is a copy of that.
 */
#include "tls.h"

struct pev_session *
pev_session_of(SSL_SESSION *session, int copy)
{
	struct pev_session *h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	if (copy)
		h->session = SSL_SESSION_dup(session);
	else if (SSL_SESSION_up_ref(session))
		h->session = session;
	if (h->session == NULL) {
		pev_delete(h);
		errno = ENOMEM;
		return NULL;
	}
	return h;
}

/* All of the bytes must be the session. */
struct pev_session *
pev_session_from_der(const unsigned char *der, long length)
{
	const unsigned char *at = der;
	struct pev_session *h;
	SSL_SESSION *session;
	if (length <= 0 || length > PEV_SESSION_MOST) {
		errno = PEV_EVALUE;
		return NULL;
	}
	ERR_set_mark();
	session = d2i_SSL_SESSION(NULL, &at, length);
	ERR_pop_to_mark();
	if (session == NULL || at != der + length) {
		SSL_SESSION_free(session);
		errno = PEV_EVALUE;
		return NULL;
	}
	h = pev_new(sizeof *h);
	if (h == NULL) {
		SSL_SESSION_free(session);
		errno = ENOMEM;
		return NULL;
	}
	h->session = session;
	return h;
}

/* The length of the DER form, which Python frees with pev_free */
int
pev_session_to_der(struct pev_session *h, unsigned char **der)
{
	unsigned char *at;
	int n;
	ERR_set_mark();
	n = i2d_SSL_SESSION(h->session, NULL);
	*der = at = n > 0 ? malloc((size_t)n) : NULL;
	if (at != NULL)
		n = i2d_SSL_SESSION(h->session, &at);
	ERR_pop_to_mark();
	return *der != NULL ? n : -ENOMEM;
}

void
pev_session_free(struct pev_session *h)
{
	SSL_SESSION_free(h->session);
	pev_delete(h);
}

void
pev_session_look(struct pev_session *h, struct pev_session_facts *out)
{
	const SSL_SESSION *session = h->session;
	const SSL_CIPHER *cipher = SSL_SESSION_get0_cipher(session);
	out->id = SSL_SESSION_get_id(session, &out->id_length);
	out->policy = SSL_SESSION_get0_id_context(session, &out->policy_length);
	out->host = SSL_SESSION_get0_hostname(session);
	out->cipher = cipher != NULL ? SSL_CIPHER_get_name(cipher) : NULL;
	SSL_SESSION_get0_alpn_selected(session, &out->alpn, &out->alpn_length);
	out->version = SSL_SESSION_get_protocol_version(session);
	out->is_resumable = SSL_SESSION_is_resumable(session);
	out->has_ticket = SSL_SESSION_has_ticket(session);
	out->hint = SSL_SESSION_get_ticket_lifetime_hint(session);
	out->time = SSL_SESSION_get_time(session);
	out->timeout = SSL_SESSION_get_timeout(session);
}

/* The length of the DER form, which Python frees with pev_free; 0: there is none in it */
int
pev_session_peer_certificate(struct pev_session *h, unsigned char **der)
{
	X509 *certificate = SSL_SESSION_get0_peer(h->session);
	unsigned char *at;
	int n;
	*der = NULL;
	if (certificate == NULL)
		return 0;
	n = i2d_X509(certificate, NULL);
	*der = at = n > 0 ? malloc((size_t)n) : NULL;
	if (at != NULL)
		n = i2d_X509(certificate, &at);
	ERR_clear_error();
	return *der != NULL ? n : -ENOMEM;
}

/* ------------------------------------------------------------------ of a connection */

/* The oldest that has come and wasn't taken, or NULL; also once it is closed */
struct pev_session *
pev_ssl_take_session(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	struct bufferevent *bev = h->bev;
	struct pev_session *session;
	if (bev != NULL && pev_loop_usable(h->source.loop, h->options & BEV_OPT_THREADSAFE) < 0)
		return NULL; /* it belongs to another thread now */
	if (bev != NULL)
		bufferevent_lock(bev);
	session = pev_link_take(&pev_ssl_of(h)->link);
	if (bev != NULL)
		bufferevent_unlock(bev);
	return session;
}

/* NULL with errno 0: there is none yet */
struct pev_session *
pev_ssl_session(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_session *session = NULL;
	SSL_SESSION *now;
	int code = pev_ssl_look(h);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	errno = 0;
	now = h->open ? SSL_get0_session(pev_ssl_of(h)->ssl) : NULL;
	if (now != NULL)
		session = pev_session_of(now, 1);
	if (session != NULL && !SSL_is_server(pev_ssl_of(h)->ssl) && pev_ssl_of(h)->link.host != NULL)
		SSL_SESSION_set1_hostname(session->session, pev_ssl_of(h)->link.host);
	pev_ssl_looked(h);
	return session;
}

/* Whether the session that a client was given was offered to the server */
int
pev_ssl_session_offered(struct pev_bev *h)
{
	return pev_ssl_of(h)->link.is_offered;
}
