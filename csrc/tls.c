/* openssl/ssl.h: contexts.
 *
 * OpenSSL reports through a queue per thread, and whatever anybody leaves there makes the next call look failed (facts
 * of TLS 1.4; Python's own ssl module uses the same queue). So each function here starts with an empty queue, keeps what
 * a failure adds, and leaves the queue empty.
 */
#include "session.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* Levels below 2 admit keys and digests that are broken; a stricter openssl.cnf is left alone. */
#define LEAST_SECURITY_LEVEL 2

/* ------------------------------------------------------------------ errors */

static __thread unsigned long last_errors[PEV_TLS_ERRORS];
static __thread int n_last_errors;

static int
failed(void)
{
	unsigned long code;
	n_last_errors = 0;
	while ((code = ERR_get_error()) != 0) {
		if (n_last_errors < PEV_TLS_ERRORS)
			last_errors[n_last_errors++] = code;
	}
	return -PEV_ETLS;
}

static int
well(void)
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

	if (base != NULL && ssl != NULL && bufferevent_pair_new(base, 0, pair) == 0)
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
	/* Partial writes reorder data below 2.2 (facts of libevent 5.1); idle buffers cost 32 KiB a connection. */
	SSL_CTX_clear_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_get_security_level(ctx) < LEAST_SECURITY_LEVEL)
		SSL_CTX_set_security_level(ctx, LEAST_SECURITY_LEVEL);
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION))
		return 0;
	SSL_CTX_set_verify(ctx, is_server ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	return 1;
}

struct pev_tls_context *
pev_tls_context_new(int is_server)
{
	struct pev_tls_context *context = pev_new(sizeof *context);
	if (context == NULL)
		return NULL;
	ERR_clear_error();
	context->ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
	if (context->ctx != NULL && set_defaults(context->ctx, is_server))
		context->sessions = pev_sessions_new(context->ctx, is_server);
	if (context->sessions == NULL) {
		failed();
		SSL_CTX_free(context->ctx);
		pev_delete(context);
		errno = PEV_ETLS;
		return NULL;
	}
	return context;
}

void
pev_tls_context_free(struct pev_tls_context *context)
{
	pev_sessions_leave(context->sessions);
	SSL_CTX_free(context->ctx);
	ERR_clear_error();
	pev_delete(context);
}

/* ------------------------------------------------------------------ certificates */

struct password {
	const char *text;
	int length;
};

/* Always installed: OpenSSL would ask on the terminal otherwise. */
static int
on_password(char *out, int size, int writing, void *arg)
{
	const struct password *password = arg;
	PEV_UNUSED(writing);
	if (password->text == NULL || password->length > size)
		return -1;
	memcpy(out, password->text, (size_t)password->length);
	return password->length;
}

/* password NULL: none */
int
pev_tls_load_cert_chain(struct pev_tls_context *context, const char *certfile, const char *keyfile, const char *text,
    int length)
{
	struct password password = { text, length };
	int ok;
	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(context->ctx, on_password);
	SSL_CTX_set_default_passwd_cb_userdata(context->ctx, &password);
	ok = SSL_CTX_use_certificate_chain_file(context->ctx, certfile) == 1 &&
	    SSL_CTX_use_PrivateKey_file(context->ctx, keyfile, SSL_FILETYPE_PEM) == 1 &&
	    SSL_CTX_check_private_key(context->ctx) == 1;
	SSL_CTX_set_default_passwd_cb_userdata(context->ctx, NULL);
	SSL_CTX_set_default_passwd_cb(context->ctx, NULL);
	return ok ? well() : failed();
}

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
		return failed();
	return SSL_CTX_load_verify_locations(context->ctx, cafile, capath) == 1 ? well() : failed();
}

static int
add_trusted(struct pev_tls_context *context, X509 *certificate)
{
	int ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(context->ctx), certificate);
	X509_free(certificate);
	return ok;
}

/* How many certificates were added; a text without one is a failure. */
int
pev_tls_load_verify_pem(struct pev_tls_context *context, const char *pem, int length)
{
	BIO *bio;
	X509 *certificate;
	int n = 0;
	ERR_clear_error();
	bio = BIO_new_mem_buf(pem, length);
	if (bio == NULL)
		return failed();
	while ((certificate = PEM_read_bio_X509(bio, NULL, on_password, &(struct password) { NULL, 0 })) != NULL) {
		if (!add_trusted(context, certificate)) {
			BIO_free(bio);
			return failed();
		}
		n++;
	}
	BIO_free(bio);
	if (n == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return failed();
	well();
	return n;
}

int
pev_tls_load_verify_der(struct pev_tls_context *context, const unsigned char *der, long length)
{
	const unsigned char *at = der;
	int n = 0;
	ERR_clear_error();
	while (at < der + length) {
		X509 *certificate = d2i_X509(NULL, &at, der + length - at);
		if (certificate == NULL || !add_trusted(context, certificate))
			return failed();
		n++;
	}
	well();
	return n;
}

int
pev_tls_load_default_certs(struct pev_tls_context *context)
{
	ERR_clear_error();
	if (trust_directory(context, "of the system") < 0)
		return failed();
	return SSL_CTX_set_default_verify_paths(context->ctx) == 1 ? well() : failed();
}

/* A server names the authorities it accepts, so that clients can choose their certificate. */
int
pev_tls_send_ca_names(struct pev_tls_context *context, const char *cafile)
{
	STACK_OF(X509_NAME) * names;
	ERR_clear_error();
	names = SSL_load_client_CA_file(cafile);
	if (names == NULL)
		return failed();
	SSL_CTX_set_client_CA_list(context->ctx, names);
	return well();
}

/* ------------------------------------------------------------------ policy */

int
pev_tls_set_verify(struct pev_tls_context *context, int mode)
{
	SSL_CTX_set_verify(context->ctx, mode, NULL);
	return 0;
}

int
pev_tls_get_verify(struct pev_tls_context *context)
{
	return SSL_CTX_get_verify_mode(context->ctx);
}

/* 0: the lowest, or highest, that OpenSSL has */
int
pev_tls_set_versions(struct pev_tls_context *context, int minimum, int maximum)
{
	ERR_clear_error();
	if (!SSL_CTX_set_min_proto_version(context->ctx, minimum) || !SSL_CTX_set_max_proto_version(context->ctx, maximum))
		return failed();
	return well();
}

int
pev_tls_get_version(struct pev_tls_context *context, int maximum)
{
	return (int)(maximum ? SSL_CTX_get_max_proto_version(context->ctx) : SSL_CTX_get_min_proto_version(context->ctx));
}

/* For TLS 1.2 and below, in OpenSSL's notation. */
int
pev_tls_set_ciphers(struct pev_tls_context *context, const char *list)
{
	ERR_clear_error();
	return SSL_CTX_set_cipher_list(context->ctx, list) == 1 ? well() : failed();
}

/* ------------------------------------------------------------------ one connection */

SSL *
pev_tls_new_ssl(struct pev_tls_context *context)
{
	SSL *ssl;
	ERR_clear_error();
	ssl = pev_policy_refresh(context->sessions) == 0 ? SSL_new(context->ctx) : NULL;
	if (ssl == NULL)
		failed();
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
	if (ok && check) {
		X509_VERIFY_PARAM_set_hostflags(param,
		    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
		ok = is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, host) : X509_VERIFY_PARAM_set1_host(param, host, 0);
	}
	return ok == 1 ? well() : failed();
}
