/* Certificates and keys, from memory: PEM or DER, or PKCS#12.
 *
 * All is read and compared before anything is changed, so that a context keeps the pair it had when the new one is
 * damaged, encrypted, or doesn't belong together. Connections that are there keep theirs: OpenSSL copies.
 */
#include "tls.h"

#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>

struct password {
	const char *text;
	int length;
};

/* Always given: OpenSSL would ask on the terminal otherwise. */
static int
on_password(char *out, int size, int writing, void *arg)
{
	const struct password *password = arg;
	PEV_UNUSED(writing);
	if (password == NULL || password->text == NULL || password->length > size)
		return -1;
	memcpy(out, password->text, (size_t)password->length);
	return password->length;
}

static int
is_der(const char *data, int length)
{
	return length > 0 && (unsigned char)data[0] == 0x30; /* SEQUENCE */
}

/* After the last PEM block the queue says that there is no other: no failure, if there was one. */
static int
ended_well(int n)
{
	int reason = ERR_GET_REASON(ERR_peek_last_error());
	if (n == 0 || (reason != 0 && reason != PEM_R_NO_START_LINE))
		return 0;
	ERR_clear_error();
	return 1;
}

static int
read_der(STACK_OF(X509) * all, const char *data, int length)
{
	const unsigned char *at = (const unsigned char *)data, *end = at + length;
	while (at < end) {
		X509 *certificate = d2i_X509(NULL, &at, end - at);
		if (certificate == NULL || !sk_X509_push(all, certificate)) {
			X509_free(certificate);
			return 0;
		}
	}
	return sk_X509_num(all) > 0;
}

static int
read_pem(STACK_OF(X509) * all, const char *data, int length)
{
	X509 *certificate;
	BIO *bio = BIO_new_mem_buf(data, length);
	if (bio == NULL)
		return 0;
	while ((certificate = PEM_read_bio_X509_AUX(bio, NULL, on_password, NULL)) != NULL) {
		if (!sk_X509_push(all, certificate)) {
			X509_free(certificate);
			break;
		}
	}
	BIO_free(bio);
	return ended_well(sk_X509_num(all));
}

/* All that there are, NULL where there is none or one is damaged. */
static STACK_OF(X509) *
read_certificates(const char *data, int length)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	if (all != NULL && (is_der(data, length) ? read_der(all, data, length) : read_pem(all, data, length)))
		return all;
	sk_X509_pop_free(all, X509_free);
	return NULL;
}

static EVP_PKEY *
read_key(const char *data, int length, struct password *password)
{
	EVP_PKEY *key;
	BIO *bio = BIO_new_mem_buf(data, length);
	if (bio == NULL)
		return NULL;
	if (!is_der(data, length))
		key = PEM_read_bio_PrivateKey(bio, NULL, on_password, password);
	else if (password->text != NULL)
		key = d2i_PKCS8PrivateKey_bio(bio, NULL, on_password, password);
	else
		key = d2i_PrivateKey_bio(bio, NULL);
	BIO_free(bio);
	return key;
}

/* The first one is shown, the others lead to the authority. */
static int
use(struct pev_tls_context *context, X509 *certificate, EVP_PKEY *key, STACK_OF(X509) * chain)
{
	int ok;
	if (X509_check_private_key(certificate, key) != 1)
		return 0;
	pthread_mutex_lock(&context->lock);
	ok = SSL_CTX_use_cert_and_key(context->ctx, certificate, key, chain, 1);
	pthread_mutex_unlock(&context->lock);
	return ok == 1;
}

/* password NULL: none */
int
pev_tls_use(struct pev_tls_context *context, const char *certificates, int n_certificates, const char *key_data, int n_key,
    const char *text, int length)
{
	struct password password = { text, length };
	STACK_OF(X509) * all;
	EVP_PKEY *key = NULL;
	X509 *certificate;
	int ok = 0;
	ERR_clear_error();
	all = read_certificates(certificates, n_certificates);
	if (all != NULL)
		key = read_key(key_data, n_key, &password);
	if (key != NULL) {
		certificate = sk_X509_shift(all);
		ok = use(context, certificate, key, all);
		X509_free(certificate);
	}
	EVP_PKEY_free(key);
	sk_X509_pop_free(all, X509_free);
	return ok ? pev_tls_well() : pev_tls_failed();
}

/* Those that come with the certificate are taken for what leads to the authority; their order doesn't matter in the file,
 * but it does on the wire. */
static void
put_in_order(X509 *first, STACK_OF(X509) * chain)
{
	X509 *last = first;
	int i, j;
	for (i = 0; i < sk_X509_num(chain); i++) {
		for (j = i; j < sk_X509_num(chain); j++) {
			X509 *other = sk_X509_value(chain, j);
			if (X509_check_issued(other, last) != X509_V_OK)
				continue;
			sk_X509_set(chain, j, sk_X509_value(chain, i));
			sk_X509_set(chain, i, other);
			last = other;
			break;
		}
	}
}

int
pev_tls_use_pkcs12(struct pev_tls_context *context, const char *data, int length, const char *password)
{
	const unsigned char *at = (const unsigned char *)data;
	STACK_OF(X509) *chain = NULL;
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	PKCS12 *store;
	int ok = 0;
	ERR_clear_error();
	store = d2i_PKCS12(NULL, &at, length);
	if (store != NULL && PKCS12_parse(store, password, &key, &certificate, &chain)) {
		if (certificate == NULL || key == NULL)
			ERR_raise(ERR_LIB_SSL, certificate == NULL ? SSL_R_NO_CERTIFICATE_ASSIGNED : SSL_R_NO_PRIVATE_KEY_ASSIGNED);
		else {
			put_in_order(certificate, chain);
			ok = use(context, certificate, key, chain);
		}
	}
	PKCS12_free(store);
	X509_free(certificate);
	EVP_PKEY_free(key);
	sk_X509_pop_free(chain, X509_free);
	return ok ? pev_tls_well() : pev_tls_failed();
}

/* A server names the authorities it accepts, so that clients can choose their certificate. */
int
pev_tls_add_client_ca(struct pev_tls_context *context, const char *data, int length)
{
	STACK_OF(X509) * all;
	int i, ok = 1;
	ERR_clear_error();
	all = read_certificates(data, length);
	pthread_mutex_lock(&context->lock);
	for (i = 0; ok && i < sk_X509_num(all); i++)
		ok = SSL_CTX_add_client_CA(context->ctx, sk_X509_value(all, i));
	pthread_mutex_unlock(&context->lock);
	sk_X509_pop_free(all, X509_free);
	return all != NULL && ok ? pev_tls_well() : pev_tls_failed();
}

/* How many authorities were added. */
int
pev_tls_trust(struct pev_tls_context *context, const char *data, int length)
{
	STACK_OF(X509) * all;
	int i, n, ok = 1;
	ERR_clear_error();
	all = read_certificates(data, length);
	n = sk_X509_num(all);
	for (i = 0; ok && i < n; i++)
		ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(context->ctx), sk_X509_value(all, i));
	sk_X509_pop_free(all, X509_free);
	if (all == NULL || !ok)
		return pev_tls_failed();
	pev_tls_well();
	return n;
}

static int
add_crls(X509_STORE *store, const char *data, int length)
{
	X509_CRL *crl;
	BIO *bio = BIO_new_mem_buf(data, length);
	int n = 0, ok = bio != NULL;
	while (ok) {
		crl = is_der(data, length) ? d2i_X509_CRL_bio(bio, NULL) : PEM_read_bio_X509_CRL(bio, NULL, on_password, NULL);
		if (crl == NULL)
			break;
		ok = X509_STORE_add_crl(store, crl);
		X509_CRL_free(crl);
		n++;
		if (is_der(data, length) && BIO_pending(bio) == 0)
			break;
	}
	BIO_free(bio);
	return ok && ended_well(n) ? n : 0;
}

/* How many lists of revoked certificates were added. */
int
pev_tls_add_crl(struct pev_tls_context *context, const char *data, int length)
{
	int n;
	ERR_clear_error();
	n = add_crls(SSL_CTX_get_cert_store(context->ctx), data, length);
	if (n == 0)
		return pev_tls_failed();
	pev_tls_well();
	return n;
}

/* ------------------------------------------------------------------ what there is */

/* The length of the DER form, which Python frees with pev_free; 0 for NULL */
int
pev_der_of(X509 *certificate, unsigned char **der)
{
	unsigned char *at;
	int n;
	*der = NULL;
	if (certificate == NULL)
		return 0;
	n = i2d_X509(certificate, NULL);
	if (n > 0 && (*der = at = malloc((size_t)n)) != NULL)
		n = i2d_X509(certificate, &at);
	else
		n = -ENOMEM;
	ERR_clear_error();
	return n;
}

int
pev_tls_has_certificate(struct pev_tls_context *context)
{
	return SSL_CTX_get0_certificate(context->ctx) != NULL;
}

int
pev_tls_certificate(struct pev_tls_context *context, unsigned char **der)
{
	int n;
	pthread_mutex_lock(&context->lock);
	n = pev_der_of(SSL_CTX_get0_certificate(context->ctx), der);
	pthread_mutex_unlock(&context->lock);
	return n;
}

int
pev_tls_trusted(struct pev_tls_context *context, int index, struct pev_trusted *out)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context->ctx);
	X509_OBJECT *object;
	X509 *certificate;
	int found;
	memset(out, 0, sizeof *out);
	X509_STORE_lock(store);
	object = sk_X509_OBJECT_value(X509_STORE_get0_objects(store), index);
	found = object != NULL;
	if (found && (certificate = X509_OBJECT_get0_X509(object)) != NULL) {
		out->is_ca = X509_check_ca(certificate) > 0;
		out->length = pev_der_of(certificate, &out->der);
	} else
		out->is_crl = found;
	X509_STORE_unlock(store);
	ERR_clear_error();
	return found;
}
