/* openssl/ssl.h: what one connection has to do with sessions: which one it offers, those that come, and whether what was resumed
 * may be trusted. Rule 4 of resumption.c.
 */
#include "tls.h"

#include <openssl/x509v3.h>

int pev_link_index = -1;

struct pev_link *
pev_link_of(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, pev_link_index);
}

/* ------------------------------------------------------------------ which sessions are fit */

static int
has_expired(const X509 *certificate)
{
	return X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

/* What a server asks of a session's certificate. */
int
pev_session_fits_server(SSL *ssl, const SSL_SESSION *session)
{
	int mode = SSL_get_verify_mode(ssl);
	const X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)session);
	if (!(mode & SSL_VERIFY_PEER))
		return 1;
	if (peer == NULL)
		return !(mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
	return !has_expired(peer);
}

static int
is_for_host(const struct pev_link *link, SSL *ssl, X509 *peer)
{
	const unsigned flags = X509_VERIFY_PARAM_get_hostflags(SSL_get0_param(ssl));
	if (!link->check_host || link->host == NULL)
		return 1;
	return (link->is_address ? X509_check_ip_asc(peer, link->host, 0)
	                         : X509_check_host(peer, link->host, 0, flags, NULL)) == 1;
}

static int
is_fit_for_client(const struct pev_link *link, SSL *ssl, SSL_SESSION *session)
{
	X509 *peer = SSL_SESSION_get0_peer(session);
	unsigned n;
	const unsigned char *policy = SSL_SESSION_get0_id_context(session, &n);
	if (n != PEV_POLICY || memcmp(policy, link->policy, n) != 0 || !SSL_SESSION_is_resumable(session))
		return 0;
	if (!(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER))
		return 1;
	return peer != NULL && !has_expired(peer) && is_for_host(link, ssl, peer);
}

/* ------------------------------------------------------------------ its life */

/* 1 when it is offered; otherwise the handshake is a full one. */
static int
offer(struct pev_link *link, SSL *ssl, struct pev_session *h)
{
	SSL_SESSION *session = NULL;
	int ok;
	ERR_set_mark();
	if (is_fit_for_client(link, ssl, h->session))
		session = SSL_SESSION_dup(h->session);
	ok = session != NULL && SSL_set_session(ssl, session) == 1;
	if (ok && (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) && SSL_get_verify_result(ssl) != X509_V_OK) {
		SSL_set_session(ssl, NULL);
		SSL_set_verify_result(ssl, X509_V_OK);
		ok = 0;
	}
	SSL_SESSION_free(session);
	ERR_pop_to_mark();
	return ok;
}

/* 0, or -PEV_ETLS with OpenSSL's queue filled */
int
pev_link_begin(struct pev_link *link, struct pev_tls_context *context, SSL *ssl, const char *host, int is_address,
    int check_host, struct pev_session *offered)
{
	struct pev_sessions *sessions = context->sessions;
	link->sessions = sessions;
	link->is_address = (unsigned char)is_address;
	link->check_host = (unsigned char)check_host;
	if (!SSL_set_ex_data(ssl, pev_link_index, link))
		return -PEV_ETLS;
	if (sessions->is_server)
		return 0;
	if (host != NULL && (link->host = strdup(host)) == NULL)
		return -PEV_ETLS;
	if (pev_policy_of_host(sessions, host, is_address, check_host, link->policy) < 0)
		return -PEV_ETLS;
	/* Under TLS 1.3 a key in advance is a session without a policy: it would be refused in one. */
	if (context->asks & PEV_ASK_PSK)
		return SSL_set_session_id_context(ssl, (const unsigned char *)"", 0) ? 0 : -PEV_ETLS;
	if (!SSL_set_session_id_context(ssl, link->policy, PEV_POLICY))
		return -PEV_ETLS;
	link->is_offered = offered != NULL && offer(link, ssl, offered);
	return 0;
}

/* The handshake is done: what was found is taken, or not. A renegotiation asks anew. */
void
pev_link_settled(struct pev_link *link)
{
	SSL_SESSION_free(link->found);
	link->found = NULL;
	link->was_looked_for = 0;
}

/* The SSL is about to be freed. */
void
pev_link_end(struct pev_link *link, SSL *ssl)
{
	struct pev_session *h;
	if (ssl != NULL && pev_link_index >= 0)
		SSL_set_ex_data(ssl, pev_link_index, NULL);
	while ((h = pev_link_take(link)) != NULL)
		pev_session_free(h);
	pev_link_settled(link);
	free(link->host);
	link->host = NULL;
}

/* The oldest new session that wasn't taken, or NULL */
struct pev_session *
pev_link_take(struct pev_link *link)
{
	struct pev_session *h;
	if (link->n_fresh == 0)
		return NULL;
	h = link->fresh[0];
	link->n_fresh--;
	memmove(link->fresh, link->fresh + 1, (size_t)link->n_fresh * sizeof link->fresh[0]);
	return h;
}

/* The handshake is done. Where it resumed a session the certificates weren't verified: what the session says about them
 * must be what a full handshake would have asked for. */
int
pev_link_is_trusted(SSL *ssl)
{
	const struct pev_link *link = pev_link_of(ssl);
	int mode = SSL_get_verify_mode(ssl);
	X509 *peer = SSL_get0_peer_certificate(ssl);
	if (link == NULL || !link->is_offered || !SSL_session_reused(ssl) || !(mode & SSL_VERIFY_PEER))
		return 1;
	if (SSL_get_verify_result(ssl) != X509_V_OK && !(pev_ssl_of_ssl(ssl)->context->asks & PEV_ASK_VERIFY))
		return 0; /* where Python was asked it had the last word */
	if (peer == NULL)
		return SSL_is_server(ssl) && !(mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
	return SSL_is_server(ssl) || is_for_host(link, ssl, peer);
}
