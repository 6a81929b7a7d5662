/* openssl/ssl.h: contexts.
 *
 * OpenSSL reports through a queue per thread, and whatever anybody leaves there makes the next call look failed (facts
 * of TLS 1.4; Python's own ssl module uses the same queue). So each function here starts with an empty queue, keeps what
 * a failure adds, and leaves the queue empty.
 */
#include "tls.h"

#include <openssl/x509v3.h>

/* Levels below 2 admit keys and digests that are broken; a stricter openssl.cnf is left alone. */
#define LEAST_SECURITY_LEVEL 2

/* For TLS 1.2. Without those that use the certificate's key to exchange others: who gets it could read all that was recorded.
 * CPython's ssl leaves them out since 3.10. */
#define CIPHERS "DEFAULT:!kRSA:!kRSAPSK:!SHA1"

static int context_index, owner_index;

/* ------------------------------------------------------------------ errors */

static __thread unsigned long last_errors[PEV_TLS_ERRORS];
static __thread int n_last_errors;

int
pev_tls_failed(void)
{
	unsigned long code;
	n_last_errors = 0;
	while ((code = ERR_get_error()) != 0) {
		if (n_last_errors < PEV_TLS_ERRORS)
			last_errors[n_last_errors++] = code;
	}
	return -PEV_ETLS;
}

int
pev_tls_well(void)
{
	ERR_clear_error();
	return 0;
}

/* Oldest first. */
int
pev_tls_last_errors(unsigned long *out, int max)
{
	int n = n_last_errors < max ? n_last_errors : max;
	memcpy(out, last_errors, (size_t)n * sizeof *out);
	return n;
}

const char *
pev_tls_reason(unsigned long code)
{
	return ERR_reason_error_string(code);
}

int
pev_tls_reason_number(unsigned long code)
{
	return ERR_GET_REASON(code);
}

const char *
pev_tls_library(unsigned long code)
{
	return ERR_lib_error_string(code);
}

const char *
pev_tls_verify_text(long code)
{
	return X509_verify_cert_error_string(code);
}

/* ------------------------------------------------------------------ the library */

unsigned long
pev_compiled_openssl(void)
{
	return OPENSSL_VERSION_NUMBER;
}

unsigned long
pev_loaded_openssl(void)
{
	return OpenSSL_version_num();
}

const char *
pev_compiled_openssl_name(void)
{
	return OPENSSL_VERSION_TEXT;
}

const char *
pev_loaded_openssl_name(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

/* libevent makes its table of BIO methods at the first TLS filter, without a lock (facts of libevent 3.6): make one while
 * there is one thread. */
int
pev_tls_init(void)
{
	struct event_base *base = event_base_new();
	struct bufferevent *pair[2] = { NULL, NULL }, *tls = NULL;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	int code = -PEV_EFAILED;

	context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	owner_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (context_index >= 0 && owner_index >= 0 && base != NULL && ssl != NULL && bufferevent_pair_new(base, 0, pair) == 0)
		tls = bufferevent_openssl_filter_new(base, pair[0], ssl, BUFFEREVENT_SSL_CONNECTING, 0);
	if (tls != NULL) {
		code = 0;
		bufferevent_free(tls);
	}
	if (pair[0] != NULL) {
		bufferevent_free(pair[0]);
		bufferevent_free(pair[1]);
	}
	if (base != NULL) {
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		event_base_free(base);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return code;
}

/* ------------------------------------------------------------------ a context */

static int
set_defaults(SSL_CTX *ctx, int is_server)
{
	SSL_CTX_set_options(ctx, SSL_OP_ALL | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
	    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	/* Partial writes reorder data below 2.2 (facts of libevent 5.1). */
	SSL_CTX_clear_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (SSL_CTX_get_security_level(ctx) < LEAST_SECURITY_LEVEL)
		SSL_CTX_set_security_level(ctx, LEAST_SECURITY_LEVEL);
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) || !SSL_CTX_set_cipher_list(ctx, CIPHERS))
		return 0;
	SSL_CTX_set_verify(ctx, is_server ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	return 1;
}

struct pev_tls_context *
pev_tls_context_new(int is_server, uint64_t id)
{
	struct pev_tls_context *context = pev_new(sizeof *context);
	if (context == NULL)
		return NULL;
	ERR_clear_error();
	context->ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
	if (context->ctx != NULL && set_defaults(context->ctx, is_server))
		context->sessions = pev_sessions_new(context->ctx, is_server);
	if (context->sessions == NULL) {
		pev_tls_failed();
		SSL_CTX_free(context->ctx);
		pev_delete(context);
		errno = PEV_ETLS;
		return NULL;
	}
	context->id = id;
	context->refs = 1;
	context->keylog = -1;
	context->is_server = (unsigned char)is_server;
	pthread_mutex_init(&context->lock, NULL);
	SSL_CTX_set_ex_data(context->ctx, context_index, context);
	SSL_CTX_set_info_callback(context->ctx, pev_ssl_on_info);
	pev_tls_set_common_names(context, 0);
	if (is_server)
		pev_hello_install(context->ctx);
	return context;
}

/* Connections keep their context: OpenSSL's callbacks look into it. */
struct pev_tls_context *
pev_tls_context_hold(struct pev_tls_context *context)
{
	__atomic_add_fetch(&context->refs, 1, __ATOMIC_RELAXED);
	return context;
}

void
pev_tls_context_free(struct pev_tls_context *context)
{
	if (__atomic_sub_fetch(&context->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	SSL_CTX_free(context->ctx);
	ERR_clear_error();
	if (context->keylog >= 0)
		close(context->keylog);
	free(context->alpn);
	free(context->ocsp);
	free(context->groups);
	pthread_mutex_destroy(&context->lock);
	pev_delete(context);
}

/* Python's object is gone: contexts may lead to each other by name, and none would ever be freed. */
void
pev_tls_context_drop(struct pev_tls_context *context)
{
	pev_hello_set(context, NULL, 0);
	pev_sessions_leave(context->sessions);
	pev_tls_context_free(context);
}

struct pev_tls_context *
pev_tls_context_of(SSL_CTX *ctx)
{
	return SSL_CTX_get_ex_data(ctx, context_index);
}

/* NULL once the connection is gone. */
struct pev_ssl *
pev_ssl_of_ssl(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, owner_index);
}

void
pev_ssl_set_owner(SSL *ssl, struct pev_ssl *s)
{
	SSL_set_ex_data(ssl, owner_index, s);
}

/* ------------------------------------------------------------------ authorities */

/* Authorities that are read when they are needed: sessions belong to the place they come from. */
static int
trust_directory(struct pev_tls_context *context, const char *path)
{
	pev_policy_directory(context->sessions);
	return pev_policy_add(context->sessions, "authorities", path, strlen(path));
}

int
pev_tls_load_verify_locations(struct pev_tls_context *context, const char *cafile, const char *capath)
{
	ERR_clear_error();
	if (capath != NULL && trust_directory(context, capath) < 0)
		return pev_tls_failed();
	return SSL_CTX_load_verify_locations(context->ctx, cafile, capath) == 1 ? pev_tls_well() : pev_tls_failed();
}

int
pev_tls_load_default_certs(struct pev_tls_context *context)
{
	ERR_clear_error();
	if (trust_directory(context, "of the system") < 0)
		return pev_tls_failed();
	return SSL_CTX_set_default_verify_paths(context->ctx) == 1 ? pev_tls_well() : pev_tls_failed();
}

/* ------------------------------------------------------------------ policy */

/* 0: the lowest, or highest, that OpenSSL has */
int
pev_tls_set_versions(struct pev_tls_context *context, int minimum, int maximum)
{
	ERR_clear_error();
	if (!SSL_CTX_set_min_proto_version(context->ctx, minimum) || !SSL_CTX_set_max_proto_version(context->ctx, maximum))
		return pev_tls_failed();
	return pev_tls_well();
}

int
pev_tls_get_version(struct pev_tls_context *context, int maximum)
{
	return (int)(maximum ? SSL_CTX_get_max_proto_version(context->ctx) : SSL_CTX_get_min_proto_version(context->ctx));
}

/* ------------------------------------------------------------------ one connection */

SSL *
pev_tls_new_ssl(struct pev_tls_context *context)
{
	SSL *ssl;
	pev_forget_errors();
	pthread_mutex_lock(&context->lock);
	ssl = pev_policy_refresh(context) == 0 ? SSL_new(context->ctx) : NULL;
	pthread_mutex_unlock(&context->lock);
	if (ssl == NULL)
		pev_tls_failed();
	return ssl;
}

/* The name, or address, that the peer's certificate must be for. Python has looked at it before: OpenSSL would take an
 * empty name for no check at all (facts of TLS 2). */
int
pev_tls_expect_host(SSL *ssl, const char *host, int is_address, int check)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	int ok = 1;
	ERR_clear_error();
	if (!is_address)
		ok = SSL_set_tlsext_host_name(ssl, host) == 1;
	if (ok && check)
		ok = is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, host) : X509_VERIFY_PARAM_set1_host(param, host, 0);
	return ok == 1 ? pev_tls_well() : pev_tls_failed();
}
