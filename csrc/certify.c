/* Which certificate a server shows: Python is asked when there must be one, so not where a session is resumed.
 *
 * It comes too late to choose a whole context: what may be resumed was decided by then (facts of TLS 1.5). So certificates
 * and keys are all that is taken from the context that Python names.
 */
#include "tls.h"

/* 1, or what tells OpenSSL to come back, or to refuse. */
static int
on_certificate(SSL *ssl, void *arg)
{
	struct pev_ssl *s = pev_ssl_of_ssl(ssl);
	int answer = PEV_LATER;
	PEV_UNUSED(arg);
	if (s == NULL)
		return 0;
	if (s->b.open || s->certified || !(s->context->asks & PEV_ASK_CERTIFICATE))
		return 1;
	if (!s->awaited) {
		if (!pev_ask_begin(s))
			return 0;
		answer = pev_ask_certificate(s->b.source.id, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
		pev_ask_end(s);
	}
	if (answer == PEV_LATER) {
		if (!s->awaited && !pev_ssl_await(s))
			return 0;
		pev_ssl_pause(s);
		return -1;
	}
	s->certified = answer == PEV_CERTIFICATE_FINE;
	return s->certified;
}

int
pev_tls_ask_certificate(struct pev_tls_context *context, int on)
{
	pthread_mutex_lock(&context->lock);
	context->asks = on ? context->asks | PEV_ASK_CERTIFICATE : context->asks & ~(unsigned)PEV_ASK_CERTIFICATE;
	SSL_CTX_set_cert_cb(context->ctx, on ? on_certificate : NULL, NULL);
	pthread_mutex_unlock(&context->lock);
	return 0;
}

/* The others go. A connection of its own is looked at: to go through a context's certificates changes it. */
static int
take_certificates(SSL *ssl, SSL *from)
{
	STACK_OF(X509) * chain;
	long found;
	int ok = 1, n = 0;
	SSL_certs_clear(ssl);
	for (found = SSL_set_current_cert(from, SSL_CERT_SET_FIRST); ok && found; found = SSL_set_current_cert(from, SSL_CERT_SET_NEXT)) {
		ok = SSL_get0_chain_certs(from, &chain) &&
		    SSL_use_cert_and_key(ssl, SSL_get_certificate(from), SSL_get_privatekey(from), chain, 1) == 1;
		n++;
	}
	return ok && n > 0;
}

/* Python's answer to pev_ask_certificate, while that is being asked. */
int
pev_ssl_use_certificates(struct pev_bev *h, struct pev_tls_context *from)
{
	PEV_VISIT(pev_visit_bev(h));
	SSL *model;
	int ok;
	if (!h->busy || h->open)
		return -PEV_EINPASS;
	ERR_clear_error();
	pthread_mutex_lock(&from->lock);
	model = SSL_new(from->ctx);
	pthread_mutex_unlock(&from->lock);
	ok = model != NULL && take_certificates(pev_ssl_of(h)->ssl, model);
	SSL_free(model);
	return ok ? 0 : pev_tls_failed();
}
