/* How the peer is verified: mode, flags, depth, what Python says, and OCSP.
 *
 * Python's verdict on a certificate may turn a refusal into a yes and the other way round, so what OpenSSL remembers of
 * the verification follows it. A stapled OCSP response is looked at by us: OpenSSL only carries it.
 */
#include "tls.h"

#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

/* How far the clocks of an OCSP responder and ours may differ, in seconds: what Apache httpd allows. */
#define OCSP_LEEWAY 300

/* ------------------------------------------------------------------ Python's verdict */

int
pev_on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct pev_ssl *s = ssl != NULL ? pev_ssl_of_ssl(ssl) : NULL;
	struct pev_verify_step step = { .ok = ok, .code = X509_STORE_CTX_get_error(store) };
	int accepted;
	unsigned char *der = NULL;
	int answer;
	if (!pev_ask_begin(s))
		return 0;
	step.depth = X509_STORE_CTX_get_error_depth(store);
	step.number = s->n_steps++;
	step.again = s->again;
	step.length = pev_der_of(X509_STORE_CTX_get_current_cert(store), &der);
	step.der = der;
	answer = pev_ask_verify(s->b.source.id, &step);
	pev_ask_end(s);
	free(der);
	s->is_later = answer == PEV_LATER;
	accepted = answer == 1;
	if (accepted)
		X509_STORE_CTX_set_error(store, X509_V_OK);
	else if (ok)
		X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return accepted;
}

/* Where an answer comes later the verification ends there, and is made again when it is known: Python gives the answers that it
 * gave before. A client's: OpenSSL has no such thing for servers. */
static int
on_chain(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct pev_ssl *s = ssl != NULL ? pev_ssl_of_ssl(ssl) : NULL;
	int ok;
	PEV_UNUSED(arg);
	if (s == NULL)
		return 0;
	if (!s->awaited) {
		s->n_steps = s->is_later = 0;
		ERR_set_mark();
		ok = X509_verify_cert(store);
		s->again = s->is_later;
		if (!s->is_later) {
			ERR_clear_last_mark();
			return ok > 0;
		}
		ERR_pop_to_mark();
		if (SSL_is_server(ssl) || s->b.open || !pev_ssl_await(s))
			return 0; /* OpenSSL would take the 1 below for a yes */
	}
	pev_ssl_pause(s);
	SSL_set_retry_verify(ssl);
	return 1;
}

static SSL_verify_cb
verify_callback(const struct pev_tls_context *context)
{
	return context->asks & PEV_ASK_VERIFY ? pev_on_verify : NULL;
}

/* A connection comes to this context from another one. Locked by the caller. */
void
pev_verify_switch(SSL *ssl, struct pev_tls_context *context)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context->ctx), verify_callback(context));
	X509_VERIFY_PARAM_clear_flags(param, X509_VERIFY_PARAM_get_flags(param));
	SSL_set1_param(ssl, SSL_CTX_get0_param(context->ctx));
}

/* ------------------------------------------------------------------ settings */

int
pev_tls_set_verify(struct pev_tls_context *context, int mode)
{
	pthread_mutex_lock(&context->lock);
	SSL_CTX_set_verify(context->ctx, mode, verify_callback(context));
	SSL_CTX_set_cert_verify_callback(context->ctx, context->asks & PEV_ASK_VERIFY ? on_chain : NULL, NULL);
	pthread_mutex_unlock(&context->lock);
	return 0;
}

int
pev_tls_get_verify(struct pev_tls_context *context)
{
	return SSL_CTX_get_verify_mode(context->ctx);
}

int
pev_tls_set_verify_flags(struct pev_tls_context *context, unsigned long flags)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context->ctx);
	unsigned long before = X509_VERIFY_PARAM_get_flags(param);
	int ok;
	ERR_clear_error();
	pthread_mutex_lock(&context->lock);
	ok = X509_VERIFY_PARAM_clear_flags(param, before & ~flags) && X509_VERIFY_PARAM_set_flags(param, flags & ~before);
	pthread_mutex_unlock(&context->lock);
	return ok ? pev_tls_well() : pev_tls_failed();
}

unsigned long
pev_tls_get_verify_flags(struct pev_tls_context *context)
{
	return X509_VERIFY_PARAM_get_flags(SSL_CTX_get0_param(context->ctx));
}

void
pev_tls_set_verify_depth(struct pev_tls_context *context, int depth)
{
	pthread_mutex_lock(&context->lock);
	SSL_CTX_set_verify_depth(context->ctx, depth);
	pthread_mutex_unlock(&context->lock);
}

/* -1: OpenSSL's own limit, 100 */
int
pev_tls_get_verify_depth(struct pev_tls_context *context)
{
	return SSL_CTX_get_verify_depth(context->ctx);
}

/* Whether a certificate without names for hosts may have one in its subject. */
void
pev_tls_set_common_names(struct pev_tls_context *context, int on)
{
	unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
	if (!on)
		flags |= X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
	pthread_mutex_lock(&context->lock);
	X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(context->ctx), flags);
	pthread_mutex_unlock(&context->lock);
}

/* A client that will show its certificate when it is asked after the handshake. */
void
pev_tls_set_late_auth(struct pev_tls_context *context, int on)
{
	pthread_mutex_lock(&context->lock);
	SSL_CTX_set_post_handshake_auth(context->ctx, on);
	pthread_mutex_unlock(&context->lock);
}

/* ------------------------------------------------------------------ OCSP, the server's side */

static int
send_response(SSL *ssl, void *arg)
{
	struct pev_ssl *s = pev_ssl_of_ssl(ssl);
	struct pev_tls_context *context = s != NULL ? s->context : NULL;
	unsigned char *copy = NULL;
	PEV_UNUSED(arg);
	if (context == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	pthread_mutex_lock(&context->lock);
	if (context->n_ocsp > 0 && (copy = OPENSSL_malloc((size_t)context->n_ocsp)) != NULL) {
		memcpy(copy, context->ocsp, (size_t)context->n_ocsp);
		SSL_set_tlsext_status_ocsp_resp(ssl, copy, context->n_ocsp);
	}
	pthread_mutex_unlock(&context->lock);
	return copy != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* What is sent to clients that ask; length 0: nothing. */
int
pev_tls_set_ocsp_response(struct pev_tls_context *context, const unsigned char *response, int length)
{
	unsigned char *copy = NULL, *before;
	if (length > 0) {
		copy = malloc((size_t)length);
		if (copy == NULL)
			return -ENOMEM;
		memcpy(copy, response, (size_t)length);
	}
	pthread_mutex_lock(&context->lock);
	before = context->ocsp;
	context->ocsp = copy;
	context->n_ocsp = length;
	SSL_CTX_set_tlsext_status_cb(context->ctx, send_response);
	pthread_mutex_unlock(&context->lock);
	free(before);
	return 0;
}

/* ------------------------------------------------------------------ OCSP, the client's side */

/* The certificate that is shown, and the one that signed it. */
static OCSP_CERTID *
certificate_id(STACK_OF(X509) * chain)
{
	if (sk_X509_num(chain) < 2)
		return NULL;
	return OCSP_cert_to_id(NULL, sk_X509_value(chain, 0), sk_X509_value(chain, 1));
}

static int
is_good(OCSP_BASICRESP *basic, OCSP_CERTID *id)
{
	ASN1_GENERALIZEDTIME *produced, *from, *until;
	int status, reason;
	return id != NULL && OCSP_resp_find_status(basic, id, &status, &reason, &produced, &from, &until) == 1 &&
	    status == V_OCSP_CERTSTATUS_GOOD && until != NULL && OCSP_check_validity(from, until, OCSP_LEEWAY, -1) == 1;
}

/* Signed by the authority or by whom it named, current, and about this certificate. */
static int
verify_response(SSL *ssl, const unsigned char *data, long n)
{
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &data, n);
	OCSP_BASICRESP *basic = NULL;
	OCSP_CERTID *id = certificate_id(chain);
	int ok;
	if (response != NULL && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		basic = OCSP_response_get1_basic(response);
	ok = basic != NULL && OCSP_basic_verify(basic, chain, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)), 0) == 1 &&
	    is_good(basic, id);
	OCSP_CERTID_free(id);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return ok;
}

static int
refused(SSL *ssl)
{
	SSL_set_verify_result(ssl, X509_V_ERR_OCSP_VERIFY_FAILED);
	return 0;
}

/* 1: go on, 0: an alert ends the handshake */
static int
on_response(SSL *ssl, void *arg)
{
	struct pev_ssl *s = pev_ssl_of_ssl(ssl);
	const unsigned char *data = NULL;
	long n;
	int answer, policy;
	PEV_UNUSED(arg);
	if (s == NULL)
		return 0;
	policy = s->context->ocsp_policy;
	n = SSL_get_tlsext_status_ocsp_resp(ssl, &data);
	if (data == NULL || n < 0)
		n = 0;
	if (policy == PEV_OCSP_REQUIRE && n == 0 && !SSL_session_reused(ssl)) {
		SSL_set_verify_result(ssl, X509_V_ERR_OCSP_VERIFY_NEEDED);
		return 0;
	}
	if (n > 0 && (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER)) {
		ERR_set_mark();
		answer = verify_response(ssl, data, n);
		ERR_pop_to_mark();
		if (!answer)
			return refused(ssl);
	}
	if (!(s->context->asks & PEV_ASK_OCSP))
		return 1;
	if (!pev_ask_begin(s))
		return 0;
	answer = pev_ask_ocsp(s->b.source.id, data, (int)n);
	pev_ask_end(s);
	return answer == 1 ? 1 : refused(ssl);
}

/* Whether the server is asked for an OCSP response, and what is made of it. */
void
pev_tls_set_ocsp_policy(struct pev_tls_context *context, int policy)
{
	pthread_mutex_lock(&context->lock);
	context->ocsp_policy = policy;
	SSL_CTX_set_tlsext_status_type(context->ctx, policy == PEV_OCSP_OFF ? -1 : TLSEXT_STATUSTYPE_ocsp);
	SSL_CTX_set_tlsext_status_cb(context->ctx, on_response);
	pthread_mutex_unlock(&context->lock);
}

/* The length of what the server sent, 0: nothing. It lives as long as the connection. */
int
pev_ssl_ocsp_response(struct pev_bev *h, const unsigned char **out)
{
	PEV_VISIT(pev_visit_bev(h));
	long n;
	int code = pev_ssl_look(h);
	if (code < 0)
		return code;
	*out = NULL;
	n = SSL_get_tlsext_status_ocsp_resp(pev_ssl_of(h)->ssl, out);
	pev_ssl_looked(h);
	return *out != NULL && n > 0 ? (int)n : 0;
}
