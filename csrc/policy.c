/* What a session's trust depends on.
 *
 * A resumed connection checks no certificates: it has what the first one found, and OpenSSL carries that over to any
 * context that can read the session (facts of TLS 1.5: a session made where nobody was asked for a certificate is taken
 * where one is required, with a verification result of "ok"). OpenSSL compares one thing only, the session id context.
 * So that is a digest of the policy: the certificate that is shown, who is trusted, how strictly, for which host. Two
 * processes with the same policy have the same digest; a session that was made under another one isn't resumed.
 */
#include "tls.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, PEV_POLICY);
}

static int
digest_object(const X509_OBJECT *object, unsigned char *out)
{
	unsigned n = PEV_POLICY;
	if (X509_OBJECT_get_type(object) == X509_LU_X509)
		return X509_digest(X509_OBJECT_get0_X509(object), EVP_sha256(), out, &n);
	if (X509_OBJECT_get_type(object) == X509_LU_CRL)
		return X509_CRL_digest(X509_OBJECT_get0_X509_CRL((X509_OBJECT *)object), EVP_sha256(), out, &n);
	return 0;
}

/* Authorities and revocation lists, in whatever order they were loaded. */
static int
add_trusted(EVP_MD_CTX *md, X509_STORE *store)
{
	STACK_OF(X509_OBJECT) * objects;
	unsigned char *all;
	size_t n = 0;
	int i, ok;
	X509_STORE_lock(store);
	objects = X509_STORE_get0_objects(store);
	all = calloc((size_t)sk_X509_OBJECT_num(objects) + 1, PEV_POLICY);
	for (i = 0; all != NULL && i < sk_X509_OBJECT_num(objects); i++) {
		if (digest_object(sk_X509_OBJECT_value(objects, i), all + n * PEV_POLICY))
			n++;
	}
	X509_STORE_unlock(store);
	if (all == NULL)
		return 0;
	qsort(all, n, PEV_POLICY, compare);
	ok = EVP_DigestUpdate(md, all, n * PEV_POLICY);
	free(all);
	return ok;
}

static int
add_certificate(EVP_MD_CTX *md, const SSL_CTX *ctx)
{
	unsigned char digest[PEV_POLICY];
	unsigned n = sizeof digest;
	const X509 *certificate = SSL_CTX_get0_certificate(ctx);
	if (certificate == NULL)
		return 1;
	return X509_digest(certificate, EVP_sha256(), digest, &n) && EVP_DigestUpdate(md, digest, n);
}

static int
digest_all(const struct pev_sessions *sessions, const struct pev_policy_state *state, unsigned char *out)
{
	const struct pev_policy *policy = &sessions->policy;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	char text[200];
	int n, ok;
	if (md == NULL)
		return 0;
	n = snprintf(text, sizeof text, "pylibevent %d verify %d depth %d flags %lx version %x level %d host %x asks %x ocsp %d|",
	    sessions->is_server, state->verify_mode, state->depth, state->flags, (unsigned)state->least_version, state->level,
	    state->hostflags, state->asks, state->ocsp);
	ok = EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, text, (size_t)n) &&
	    EVP_DigestUpdate(md, policy->app, PEV_POLICY) && EVP_DigestUpdate(md, policy->more, PEV_POLICY) &&
	    add_certificate(md, sessions->ctx) && add_trusted(md, SSL_CTX_get_cert_store(sessions->ctx)) &&
	    EVP_DigestFinal_ex(md, out, NULL);
	EVP_MD_CTX_free(md);
	return ok;
}

/* What can be looked at for each connection; OpenSSL keeps the SHA-1 of a certificate. */
static void
look(const struct pev_tls_context *context, struct pev_policy_state *state)
{
	const struct pev_sessions *sessions = context->sessions;
	SSL_CTX *ctx = sessions->ctx;
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
	const X509 *certificate = SSL_CTX_get0_certificate(ctx);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	unsigned n = sizeof state->certificate;
	memset(state, 0, sizeof *state);
	state->changes = sessions->policy.changes;
	state->verify_mode = SSL_CTX_get_verify_mode(ctx);
	state->depth = X509_VERIFY_PARAM_get_depth(param);
	state->flags = X509_VERIFY_PARAM_get_flags(param);
	state->least_version = (int)SSL_CTX_get_min_proto_version(ctx);
	state->hostflags = X509_VERIFY_PARAM_get_hostflags(param);
	state->asks = context->asks & (PEV_ASK_VERIFY | PEV_ASK_OCSP);
	state->ocsp = context->ocsp_policy;
	state->level = SSL_CTX_get_security_level(ctx);
	if (certificate != NULL)
		X509_digest(certificate, EVP_sha1(), state->certificate, &n);
	if (!sessions->policy.has_directory) {
		X509_STORE_lock(store);
		state->n_trusted = sk_X509_OBJECT_num(X509_STORE_get0_objects(store));
		X509_STORE_unlock(store);
	}
}

/* Before each connection: 0, or -PEV_ETLS with OpenSSL's queue filled. */
int
pev_policy_refresh(struct pev_tls_context *context)
{
	struct pev_sessions *sessions = context->sessions;
	struct pev_policy *policy = &sessions->policy;
	struct pev_policy_state state;
	int ok = 1;
	pthread_mutex_lock(&sessions->lock);
	look(context, &state);
	if (!policy->is_known || memcmp(&state, &policy->seen, sizeof state) != 0) {
		ok = digest_all(sessions, &state, policy->digest) &&
		    SSL_CTX_set_session_id_context(sessions->ctx, policy->digest, PEV_POLICY);
		policy->seen = state;
		policy->is_known = ok;
	}
	pthread_mutex_unlock(&sessions->lock);
	return ok ? 0 : -PEV_ETLS;
}

/* A client's sessions are for the host, too, that was checked. Call it after pev_policy_refresh. */
int
pev_policy_of_host(struct pev_sessions *sessions, const char *host, int is_address, int check_host, unsigned char *out)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char kind = (unsigned char)((is_address ? 1 : 0) | (check_host ? 2 : 0));
	int ok;
	if (md == NULL)
		return -PEV_ETLS;
	pthread_mutex_lock(&sessions->lock);
	ok = EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, sessions->policy.digest, PEV_POLICY);
	pthread_mutex_unlock(&sessions->lock);
	ok = ok && EVP_DigestUpdate(md, &kind, 1) && (host == NULL || EVP_DigestUpdate(md, host, strlen(host))) &&
	    EVP_DigestFinal_ex(md, out, NULL);
	EVP_MD_CTX_free(md);
	return ok ? 0 : -PEV_ETLS;
}

/* Something that OpenSSL has no getter for belongs to the policy. */
int
pev_policy_add(struct pev_sessions *sessions, const char *what, const void *data, size_t length)
{
	struct pev_policy *policy = &sessions->policy;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int ok;
	if (md == NULL)
		return -PEV_ETLS;
	pthread_mutex_lock(&sessions->lock);
	ok = EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, policy->more, PEV_POLICY) &&
	    EVP_DigestUpdate(md, what, strlen(what) + 1) && EVP_DigestUpdate(md, data, length) &&
	    EVP_DigestFinal_ex(md, policy->more, NULL);
	policy->changes++;
	pthread_mutex_unlock(&sessions->lock);
	EVP_MD_CTX_free(md);
	return ok ? 0 : -PEV_ETLS;
}

void
pev_policy_directory(struct pev_sessions *sessions)
{
	pthread_mutex_lock(&sessions->lock);
	sessions->policy.has_directory = 1;
	sessions->policy.changes++;
	pthread_mutex_unlock(&sessions->lock);
}

/* ------------------------------------------------------------------ as Python sees it */

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
