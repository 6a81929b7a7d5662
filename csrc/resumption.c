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

/* Removed sessions that nobody asks for don't pile up. */
#define MOST_REMOVED 1024

static int context_index = -1;
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
	pev_link_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_context_free);
}

/* ------------------------------------------------------------------ OpenSSL's callbacks */

static int
on_new(SSL *ssl, SSL_SESSION *session)
{
	struct pev_link *link = pev_link_of(ssl);
	struct pev_session *h;
	if (link == NULL || !(link->sessions->wants & PEV_WANT_NEW))
		return 0;
	if (pev_ssl_of(link->bev)->was_doubted && !link->bev->open)
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

/* Among those that were looked for before (offer.c); OpenSSL may ask twice. */
static SSL_SESSION *
was_found(const struct pev_link *link, const struct answer *wanted)
{
	unsigned n;
	const unsigned char *id;
	if (link->found == NULL)
		return NULL;
	id = SSL_SESSION_get_id(link->found, &n);
	if (n != wanted->id_length || memcmp(id, wanted->id, n) != 0 || !SSL_SESSION_up_ref(link->found))
		return NULL;
	return link->found;
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
	if (link->was_looked_for) {
		answer.session = was_found(link, &answer);
	} else {
		s = pev_ssl_of_ssl(ssl);
		if (!pev_ask_begin(s))
			return NULL;
		pev_session_wanted(link->id, id, length, SSL_version(ssl) == TLS1_3_VERSION, &answer);
		pev_ask_end(s);
	}
	ERR_set_mark();
	if (answer.session != NULL && !pev_session_fits_server(ssl, answer.session)) {
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
	fits = link != NULL && session != NULL && pev_session_fits_server(ssl, session);
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
