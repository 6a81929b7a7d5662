/* openssl/ssl.h: OpenSSL's cache of sessions in a context: its kind and size, how long sessions are good for, how many tickets are
 * given, what it counts. */
#include "tls.h"

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
