/* openssl/ssl.h: which sessions are kept, offered and taken.
 *
 * The rules, and the facts that make them needed:
 *
 *   1. A new session is copied, noted on its connection and told after the pass. OpenSSL's callback always says that it
 *      kept nothing: the other answer leaks for all who free differently (facts of TLS 1.2).
 *   2. A session that was asked for is needed at once, so Python is asked (ask.c), in pev_session_wanted.
 *   3. Removed sessions are told later: OpenSSL holds the context's lock while it removes (1.3).
 *   4. A session is offered, or taken, only where its policy is the connection's (policy.c), and what it says about the
 *      peer's certificate is looked at once more: that there is one, that it was found good, that it hasn't expired, that
 *      it is for the host.
 */
#include "tls.h"

#include <openssl/x509v3.h>

/* Removed sessions that nobody asks for don't pile up. */
#define MOST_REMOVED 1024

static int connection_index = -1, context_index = -1;
static pthread_once_t indexes_once = PTHREAD_ONCE_INIT;

/* ------------------------------------------------------------------ what belongs to an SSL_CTX */

static struct pev_session *
pop_removed(struct pev_sessions *sessions)
{
	struct pev_session *h;
	pthread_mutex_lock(&sessions->lock);
	h = sessions->removed;
	if (h != NULL) {
		sessions->removed = h->next;
		sessions->n_removed--;
		if (sessions->removed == NULL)
			sessions->last_removed = &sessions->removed;
		h->next = NULL;
	}
	pthread_mutex_unlock(&sessions->lock);
	return h;
}

/* The SSL_CTX is being freed. */
static void
on_context_free(void *parent, void *data, CRYPTO_EX_DATA *ex, int index, long argl, void *argp)
{
	struct pev_sessions *sessions = data;
	struct pev_session *h;
	PEV_UNUSED(parent);
	PEV_UNUSED(ex);
	PEV_UNUSED(index);
	PEV_UNUSED(argl);
	PEV_UNUSED(argp);
	if (sessions == NULL)
		return;
	while ((h = pop_removed(sessions)) != NULL)
		pev_session_free(h);
	if (sessions->keys != NULL)
		pev_ticket_keys_release(sessions->keys);
	pthread_mutex_destroy(&sessions->lock);
	pev_delete(sessions);
}

static void
make_indexes(void)
{
	connection_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_context_free);
}

struct pev_link *
pev_link_of(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, connection_index);
}

/* ------------------------------------------------------------------ OpenSSL's callbacks */

static int
on_new(SSL *ssl, SSL_SESSION *session)
{
	struct pev_link *link = pev_link_of(ssl);
	struct pev_session *h;
	if (link == NULL || !(link->sessions->wants & PEV_WANT_NEW))
		return 0;
	ERR_set_mark();
	h = pev_session_of(session, 1);
	if (h != NULL && !link->sessions->is_server && link->host != NULL)
		SSL_SESSION_set1_hostname(h->session, link->host);
	ERR_pop_to_mark();
	if (h == NULL)
		return 0;
	if (link->n_fresh == PEV_FRESH) {
		pev_session_free(link->fresh[0]);
		memmove(link->fresh, link->fresh + 1, (PEV_FRESH - 1) * sizeof link->fresh[0]);
		link->n_fresh--;
	}
	link->fresh[link->n_fresh++] = h;
	pev_note(&link->bev->source, PEV_NOTE_SESSION, pev_default_priority(link->bev->source.loop));
	return 0;
}

struct answer {
	const unsigned char *id;
	unsigned id_length;
	SSL_SESSION *session;
};

int
pev_session_answer(void *to, const unsigned char *der, long length)
{
	struct answer *answer = to;
	struct pev_session *h = pev_session_from_der(der, length);
	const unsigned char *id;
	unsigned n;
	if (h == NULL)
		return 0;
	id = SSL_SESSION_get_id(h->session, &n);
	if (answer->session == NULL && n == answer->id_length && memcmp(id, answer->id, n) == 0 &&
	    SSL_SESSION_up_ref(h->session))
		answer->session = h->session;
	pev_session_free(h);
	return answer->session != NULL;
}

static int
has_expired(const X509 *certificate)
{
	return X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

/* What a server asks of a session's certificate. */
static int
is_fit_for_server(SSL *ssl, const SSL_SESSION *session)
{
	int mode = SSL_get_verify_mode(ssl);
	const X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)session);
	if (!(mode & SSL_VERIFY_PEER))
		return 1;
	if (peer == NULL)
		return !(mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
	return !has_expired(peer);
}

static SSL_SESSION *
on_get(SSL *ssl, const unsigned char *id, int length, int *copy)
{
	struct pev_link *link = pev_link_of(ssl);
	struct answer answer = { id, (unsigned)length, NULL };
	struct pev_ssl *s;
	*copy = 0; /* the reference is OpenSSL's */
	if (link == NULL || !(link->sessions->wants & PEV_WANT_GET))
		return NULL;
	s = pev_ssl_of_ssl(ssl);
	if (!pev_ask_begin(s))
		return NULL;
	pev_session_wanted(link->id, id, length, SSL_version(ssl) == TLS1_3_VERSION, &answer);
	pev_ask_end(s);
	ERR_set_mark();
	if (answer.session != NULL && !is_fit_for_server(ssl, answer.session)) {
		SSL_SESSION_free(answer.session);
		answer.session = NULL;
	}
	ERR_pop_to_mark();
	link->is_offered = answer.session != NULL;
	return answer.session;
}

static void
on_removed(SSL_CTX *ctx, SSL_SESSION *session)
{
	struct pev_sessions *sessions = SSL_CTX_get_ex_data(ctx, context_index);
	struct pev_session *h, *first = NULL;
	if (sessions == NULL || !(sessions->wants & PEV_WANT_REMOVED))
		return;
	h = pev_session_of(session, 0);
	if (h == NULL)
		return;
	if (sessions->n_removed >= MOST_REMOVED)
		first = pop_removed(sessions);
	pthread_mutex_lock(&sessions->lock);
	*sessions->last_removed = h;
	sessions->last_removed = &h->next;
	sessions->n_removed++;
	pthread_mutex_unlock(&sessions->lock);
	if (first != NULL)
		pev_session_free(first);
}

/* A ticket was opened: its session is looked at before it is used. */
static SSL_TICKET_RETURN
on_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t length, SSL_TICKET_STATUS status, void *arg)
{
	struct pev_link *link = pev_link_of(ssl);
	int fits;
	PEV_UNUSED(name);
	PEV_UNUSED(length);
	PEV_UNUSED(arg);
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	ERR_set_mark();
	fits = link != NULL && session != NULL && is_fit_for_server(ssl, session);
	ERR_pop_to_mark();
	if (!fits)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	link->is_offered = 1;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* ------------------------------------------------------------------ a context */

struct pev_sessions *
pev_sessions_new(SSL_CTX *ctx, int is_server)
{
	struct pev_sessions *sessions;
	pthread_once(&indexes_once, make_indexes);
	sessions = pev_new(sizeof *sessions);
	if (sessions == NULL)
		return NULL;
	sessions->ctx = ctx;
	sessions->is_server = is_server;
	sessions->last_removed = &sessions->removed;
	pthread_mutex_init(&sessions->lock, NULL);
	if (!SSL_CTX_set_ex_data(ctx, context_index, sessions)) {
		pthread_mutex_destroy(&sessions->lock);
		pev_delete(sessions);
		return NULL;
	}
	/* A client's sessions stand in a cache of ours: OpenSSL's can't be asked by host. */
	SSL_CTX_set_session_cache_mode(ctx,
	    is_server ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_new);
	if (is_server && !SSL_CTX_set_session_ticket_cb(ctx, NULL, on_ticket, NULL))
		return NULL;
	return sessions;
}

/* Python has dropped the context: nobody asks any more what is removed. */
void
pev_sessions_leave(struct pev_sessions *sessions)
{
	sessions->wants &= ~(unsigned)PEV_WANT_REMOVED;
	SSL_CTX_sess_set_remove_cb(sessions->ctx, NULL);
}

void
pev_sessions_want(struct pev_tls_context *context, unsigned wants)
{
	context->sessions->wants = wants;
	/* With a callback for what is removed OpenSSL keeps every session of TLS 1.3, whether it can be asked for or not. */
	SSL_CTX_sess_set_remove_cb(context->ctx, wants & PEV_WANT_REMOVED ? on_removed : NULL);
	SSL_CTX_sess_set_get_cb(context->ctx, wants & PEV_WANT_GET ? on_get : NULL);
}

struct pev_session *
pev_sessions_take_removed(struct pev_tls_context *context)
{
	if (__atomic_load_n(&context->sessions->n_removed, __ATOMIC_RELAXED) == 0)
		return NULL;
	return pop_removed(context->sessions);
}

void
pev_sessions_set_mode(struct pev_tls_context *context, long mode)
{
	SSL_CTX_set_session_cache_mode(context->ctx, mode);
}

long
pev_sessions_get_mode(struct pev_tls_context *context)
{
	return SSL_CTX_get_session_cache_mode(context->ctx);
}

void
pev_sessions_set_size(struct pev_tls_context *context, long size)
{
	SSL_CTX_sess_set_cache_size(context->ctx, size);
}

long
pev_sessions_get_size(struct pev_tls_context *context)
{
	return SSL_CTX_sess_get_cache_size(context->ctx);
}

void
pev_sessions_set_timeout(struct pev_tls_context *context, long seconds)
{
	SSL_CTX_set_timeout(context->ctx, seconds);
}

long
pev_sessions_get_timeout(struct pev_tls_context *context)
{
	return SSL_CTX_get_timeout(context->ctx);
}

void
pev_sessions_set_tickets(struct pev_tls_context *context, int n)
{
	SSL_CTX_set_num_tickets(context->ctx, (size_t)n);
}

int
pev_sessions_get_tickets(struct pev_tls_context *context)
{
	return (int)SSL_CTX_get_num_tickets(context->ctx);
}

/* Stateful: what clients get is a number, the session stays with the server. */
void
pev_sessions_set_stateful(struct pev_tls_context *context, int stateful)
{
	if (stateful)
		SSL_CTX_set_options(context->ctx, SSL_OP_NO_TICKET);
	else
		SSL_CTX_clear_options(context->ctx, SSL_OP_NO_TICKET);
}

void
pev_sessions_flush(struct pev_tls_context *context, long long at)
{
	SSL_CTX_flush_sessions(context->ctx, (long)at);
	ERR_clear_error();
}

void
pev_sessions_count(struct pev_tls_context *context, struct pev_session_counts *out)
{
	SSL_CTX *ctx = context->ctx;
	out->number = SSL_CTX_sess_number(ctx);
	out->connect = SSL_CTX_sess_connect(ctx);
	out->connect_good = SSL_CTX_sess_connect_good(ctx);
	out->connect_renegotiate = SSL_CTX_sess_connect_renegotiate(ctx);
	out->accept = SSL_CTX_sess_accept(ctx);
	out->accept_good = SSL_CTX_sess_accept_good(ctx);
	out->accept_renegotiate = SSL_CTX_sess_accept_renegotiate(ctx);
	out->hits = SSL_CTX_sess_hits(ctx);
	out->misses = SSL_CTX_sess_misses(ctx);
	out->timeouts = SSL_CTX_sess_timeouts(ctx);
	out->cache_full = SSL_CTX_sess_cache_full(ctx);
	out->cb_hits = SSL_CTX_sess_cb_hits(ctx);
}

/* ------------------------------------------------------------------ the policy, as Python sees it */

/* What the application calls itself: sessions of another name aren't resumed. */
int
pev_sessions_set_app(struct pev_tls_context *context, const unsigned char *id, int length)
{
	struct pev_sessions *sessions = context->sessions;
	unsigned char digest[PEV_POLICY];
	ERR_clear_error();
	if (!EVP_Digest(id, (size_t)length, digest, NULL, EVP_sha256(), NULL))
		return -ENOMEM;
	pthread_mutex_lock(&sessions->lock);
	memcpy(sessions->policy.app, digest, sizeof digest);
	sessions->policy.changes++;
	pthread_mutex_unlock(&sessions->lock);
	return 0;
}

int
pev_sessions_add_policy(struct pev_tls_context *context, const char *what, const char *data, int length)
{
	return pev_policy_add(context->sessions, what, data, (size_t)length) < 0 ? -ENOMEM : 0;
}

/* For a client the host's, too */
int
pev_sessions_policy(struct pev_tls_context *context, const char *host, int is_address, int check_host, unsigned char *out)
{
	struct pev_sessions *sessions = context->sessions;
	ERR_clear_error();
	if (pev_policy_refresh(context) < 0)
		return -ENOMEM;
	if (!sessions->is_server)
		return pev_policy_of_host(sessions, host, is_address, check_host, out) < 0 ? -ENOMEM : 0;
	pthread_mutex_lock(&sessions->lock);
	memcpy(out, sessions->policy.digest, PEV_POLICY);
	pthread_mutex_unlock(&sessions->lock);
	return 0;
}

/* ------------------------------------------------------------------ a connection */

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
	if (!SSL_set_ex_data(ssl, connection_index, link))
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

/* The SSL is about to be freed. */
void
pev_link_end(struct pev_link *link, SSL *ssl)
{
	struct pev_session *h;
	if (ssl != NULL && connection_index >= 0)
		SSL_set_ex_data(ssl, connection_index, NULL);
	while ((h = pev_link_take(link)) != NULL)
		pev_session_free(h);
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
