/* Which versions, ciphers, groups and signatures are spoken. */
#include "tls.h"

static int
leave(struct pev_tls_context *context, int ok)
{
	pthread_mutex_unlock(&context->lock);
	return ok ? pev_tls_well() : pev_tls_failed();
}

static void
enter(struct pev_tls_context *context)
{
	ERR_clear_error();
	pthread_mutex_lock(&context->lock);
}

/* For TLS 1.2 and below, in OpenSSL's notation. */
int
pev_tls_set_ciphers(struct pev_tls_context *context, const char *list)
{
	enter(context);
	return leave(context, SSL_CTX_set_cipher_list(context->ctx, list) == 1);
}

/* For TLS 1.3. */
int
pev_tls_set_ciphersuites(struct pev_tls_context *context, const char *list)
{
	enter(context);
	return leave(context, SSL_CTX_set_ciphersuites(context->ctx, list) == 1);
}

int
pev_tls_set_groups(struct pev_tls_context *context, const char *list)
{
	char *copy = strdup(list);
	int ok;
	if (copy == NULL)
		return -ENOMEM;
	enter(context);
	ok = SSL_CTX_set1_groups_list(context->ctx, list) == 1;
	if (ok) {
		free(context->groups);
		context->groups = copy;
	} else
		free(copy);
	return leave(context, ok);
}

int
pev_tls_set_sigalgs(struct pev_tls_context *context, const char *list)
{
	enter(context);
	return leave(context, SSL_CTX_set1_sigalgs_list(context->ctx, list) == 1);
}

/* 1, or 0 when there are no more */
int
pev_tls_cipher_at(struct pev_tls_context *context, int index, struct pev_cipher *out)
{
	const SSL_CIPHER *cipher;
	pthread_mutex_lock(&context->lock);
	cipher = sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(context->ctx), index);
	pthread_mutex_unlock(&context->lock);
	if (cipher == NULL)
		return 0;
	out->name = SSL_CIPHER_get_name(cipher);
	out->protocol = SSL_CIPHER_get_version(cipher);
	out->id = SSL_CIPHER_get_id(cipher);
	out->bits = SSL_CIPHER_get_bits(cipher, &out->algorithm_bits);
	out->is_aead = SSL_CIPHER_is_aead(cipher);
	SSL_CIPHER_description(cipher, out->description, sizeof out->description);
	return 1;
}

void
pev_tls_set_security_level(struct pev_tls_context *context, int level)
{
	enter(context);
	SSL_CTX_set_security_level(context->ctx, level);
	leave(context, 1);
}

int
pev_tls_get_security_level(struct pev_tls_context *context)
{
	return SSL_CTX_get_security_level(context->ctx);
}

void
pev_tls_set_options(struct pev_tls_context *context, unsigned long long options)
{
	enter(context);
	SSL_CTX_clear_options(context->ctx, SSL_CTX_get_options(context->ctx) & ~options);
	SSL_CTX_set_options(context->ctx, options);
	leave(context, 1);
}

unsigned long long
pev_tls_get_options(struct pev_tls_context *context)
{
	return SSL_CTX_get_options(context->ctx);
}
