/* Keys that both sides have already (PSK): Python is asked for them. TLS 1.3 uses OpenSSL's callbacks for 1.2 too. */
#include "tls.h"

static unsigned
on_client(SSL *ssl, const char *hint, char *identity, unsigned most_identity, unsigned char *key, unsigned most_key)
{
	struct pev_ssl *s = pev_ssl_of_ssl(ssl);
	int n;
	if (!pev_ask_begin(s))
		return 0;
	n = pev_ask_psk_client(s->b.source.id, hint, identity, (int)most_identity, key, (int)most_key);
	pev_ask_end(s);
	return n > 0 ? (unsigned)n : 0;
}

static unsigned
on_server(SSL *ssl, const char *identity, unsigned char *key, unsigned most_key)
{
	struct pev_ssl *s = pev_ssl_of_ssl(ssl);
	int n;
	if (!pev_ask_begin(s))
		return 0;
	n = pev_ask_psk_server(s->b.source.id, identity, key, (int)most_key);
	pev_ask_end(s);
	return n > 0 ? (unsigned)n : 0;
}

/* hint: what a server tells its clients under TLS 1.2; NULL: nothing */
int
pev_tls_set_psk(struct pev_tls_context *context, int on, const char *hint)
{
	int ok = 1;
	ERR_clear_error();
	pthread_mutex_lock(&context->lock);
	context->asks = on ? context->asks | PEV_ASK_PSK : context->asks & ~(unsigned)PEV_ASK_PSK;
	if (context->is_server) {
		SSL_CTX_set_psk_server_callback(context->ctx, on ? on_server : NULL);
		ok = SSL_CTX_use_psk_identity_hint(context->ctx, on ? hint : NULL) == 1;
	} else
		SSL_CTX_set_psk_client_callback(context->ctx, on ? on_client : NULL);
	pthread_mutex_unlock(&context->lock);
	return ok ? pev_tls_well() : pev_tls_failed();
}

/* A server's connection comes to this context from another one. Locked by the caller. */
void
pev_psk_switch(SSL *ssl, struct pev_tls_context *context)
{
	SSL_set_psk_server_callback(ssl, context->asks & PEV_ASK_PSK ? on_server : NULL);
}
