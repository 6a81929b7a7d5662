/* event2/bufferevent_ssl.h: a server's TLS on a descriptor, in one step. */
#include "tls.h"

/* A descriptor on which the peer speaks first: it is watched for reading only. libevent's own way, with the descriptor there
 * from the start, asks OpenSSL for a handshake three times before anything can have come, and waits for writing in vain. */
static int
give_descriptor(struct pev_bev *below, int fd)
{
	int code;
	bufferevent_disable(below->bev, EV_WRITE);
	code = pev_socket_give(below, fd);
	below->bev->enabled |= EV_WRITE;
	return code;
}

/* A socket bufferevent with TLS on it, for a server; is_ready: the descriptor doesn't block. If it fails, the descriptor is
 * still the caller's. */
struct pev_bev *
pev_ssl_accept(struct pev_loop *loop, struct pev_tls_context *context, int fd, int is_ready, int options, double seconds,
    uint64_t id_below, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct pev_bev *below, *h;
	int code = pev_ready_stream(fd, is_ready, 1);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	below = pev_bev_socket_new(loop, -1, options, id_below);
	if (below == NULL)
		return NULL;
	h = pev_ssl_filter_new(below, context, 1, NULL, 0, 0, NULL, options, id);
	if (h == NULL) {
		code = errno;
		pev_bev_drop(below);
		errno = code;
		return NULL;
	}
	pev_ssl_of(h)->own_below = below;
	code = give_descriptor(below, fd);
	if (code < 0) {
		pev_bev_drop(h);
		errno = -code;
		return NULL;
	}
	pev_ssl_of(h)->limit = seconds;
	pev_ssl_begin(h);
	return h;
}

/* The one below that Python has no object for yet, or NULL. let_go: it has one now, which drops it. */
struct pev_bev *
pev_ssl_own_below(struct pev_bev *h, int let_go)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_bev *below = pev_ssl_of(h)->own_below;
	if (let_go)
		pev_ssl_of(h)->own_below = NULL;
	return below;
}
