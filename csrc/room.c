/* What idle TLS connections give back: OpenSSL's 32 KiB of buffers, and the room that libevent reserved.
 *
 * With SSL_MODE_RELEASE_BUFFERS OpenSSL frees its buffers when they are empty, but each message of a handshake makes both of
 * them anew, and of those that come later, as tickets do, the one for writing stays. They can't be freed while OpenSSL is at it,
 * so that waits until the end of the pass. */
#include "tls.h"

/* 32 KiB that an idle connection doesn't need. A handshake does, again and again: it keeps them. */
void
pev_ssl_release_buffers(struct pev_ssl *s)
{
	SSL_set_mode(s->ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_free_buffers(s->ssl); /* not while something is in them; the next read comes back to it */
}

/* OpenSSL has done something else than reading and writing. Called from within. */
void
pev_ssl_release_later(struct pev_ssl *s)
{
	struct pev_loop *loop = s->b.source.loop;
	if (!s->b.open || s->is_roomy || pev_passing != loop)
		return;
	s->is_roomy = 1;
	TAILQ_INSERT_TAIL(&loop->roomy, s, next_roomy);
}

void
pev_ssl_release_no_more(struct pev_ssl *s)
{
	if (s->is_roomy && s->b.source.loop != NULL)
		TAILQ_REMOVE(&s->b.source.loop->roomy, s, next_roomy);
	s->is_roomy = 0;
}

/* At the end of a pass. */
void
pev_ssl_release_all(struct pev_loop *loop)
{
	struct pev_ssl *s;
	while ((s = TAILQ_FIRST(&loop->roomy)) != NULL) {
		pev_ssl_release_no_more(s);
		if (s->b.bev == NULL)
			continue;
		bufferevent_lock(s->b.bev);
		SSL_free_buffers(s->ssl);
		pev_ssl_release_room(&s->b);
		bufferevent_unlock(s->b.bev);
	}
}

/* libevent reserves 8 KiB before it asks OpenSSL for bytes, and keeps them when none come; taking the last byte out of a buffer
 * frees all of its room. Only where nobody would notice. */
void
pev_ssl_release_room(struct pev_bev *h)
{
	struct evbuffer *input = h->bev->input;
	const struct pev_buffer *view = h->views[0];
	if (evbuffer_get_length(input) > 0 || (view != NULL && (view->callback != NULL || view->frozen)) || h->over != NULL ||
	    h->limits != NULL || h->drain_callback != NULL || h->bev->wm_read.high > 0)
		return;
	if (evbuffer_add(input, "", 1) == 0)
		evbuffer_drain(input, 1);
}
