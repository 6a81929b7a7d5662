/* Questions that OpenSSL asks in the middle of its work, and that Python answers.
 *
 * The rules:
 *
 *   1. A question is asked while SSL_do_handshake is on the stack: nobody may use that connection then, and nothing at all
 *      may be closed. Both say PEV_EINPASS.
 *   2. No answer, an exception, or one that can't be is the answer that refuses. The exception comes out of the loop.
 *   3. Whatever Python leaves in OpenSSL's queue of errors is taken out: the handshake would look failed (facts of TLS 1.4).
 */
#include "tls.h"

__thread int pev_asking;

/* 0: there is nobody to ask. */
int
pev_ask_begin(struct pev_ssl *s)
{
	if (s == NULL || s->b.bev == NULL || s->b.source.loop == NULL)
		return 0;
	pev_asking++;
	s->b.busy = 1;
	ERR_set_mark();
	return 1;
}

void
pev_ask_end(struct pev_ssl *s)
{
	ERR_pop_to_mark();
	s->b.busy = 0;
	pev_asking--;
}

/* Which of Python's objects has the context that the connection is under now. */
uint64_t
pev_ssl_context_id(struct pev_bev *h)
{
	return pev_ssl_of(h)->context->id;
}
