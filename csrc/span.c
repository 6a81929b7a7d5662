/* event2/buffer.h: a buffer's memory, lent to Python: peek, reserve and commit. */
#include "pylibevent.h"

static int
copy_spans(struct pev_span *out, const struct evbuffer_iovec *vec, int n, size_t limit)
{
	int i;
	for (i = 0; i < n && limit > 0; i++) {
		out[i].start = vec[i].iov_base;
		out[i].length = vec[i].iov_len < limit ? vec[i].iov_len : limit;
		limit -= out[i].length;
	}
	return i;
}

static struct evbuffer *
buffer_of(const struct pev_buffer *h)
{
	if (h->own != NULL)
		return h->own;
	if (h->owner == NULL || h->owner->bev == NULL)
		return NULL;
	return h->is_output ? bufferevent_get_output(h->owner->bev) : bufferevent_get_input(h->owner->bev);
}

/* Under the buffer's lock: a look at exports and what follows from it are one step for others. */
static void
count_export(struct pev_buffer *h, int n)
{
	struct evbuffer *buf = buffer_of(h);
	if (buf != NULL)
		evbuffer_lock(buf);
	if (h->owner == NULL) {
		h->exports += n;
	} else {
		h->owner->exports += n;
		if (h->owner->source.loop)
			__atomic_add_fetch(&h->owner->source.loop->peeks, n, __ATOMIC_SEQ_CST);
	}
	if (buf != NULL)
		evbuffer_unlock(buf);
}

/* What shows memory of a bufferevent while libevent waits for Python would still show it when libevent goes on, and another thread
 * that runs the loop may send it, and free it, at any time. */
static int
may_show(const struct pev_buffer *h)
{
	struct pev_loop *loop = h->owner != NULL ? h->owner->source.loop : NULL;
	if (loop == NULL)
		return 0;
	return pev_is_calling(loop) ? -PEV_EINPASS : pev_runs_elsewhere(loop) ? -PEV_ETHREAD : 0;
}

/* How many spans there are; up to max of them into out. The caller lends the buffer before and gives it back after. */
int
pev_buffer_peek(struct pev_buffer *h, size_t n, size_t start, struct pev_span *out, int max)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_ptr from;
	struct evbuffer_iovec *vec;
	size_t length;
	int spans, code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	length = evbuffer_get_length(buf);
	if (start >= length || n == 0 || pev_buffer_place(buf, &from, start) < 0)
		return (int)pev_buffer_leave(buf, 0);
	if (n > length - start)
		n = length - start;
	spans = evbuffer_peek(buf, (ev_ssize_t)n, &from, NULL, 0);
	if (spans <= 0 || spans > max)
		return (int)pev_buffer_leave(buf, spans);
	vec = calloc((size_t)spans, sizeof *vec);
	if (vec == NULL)
		return (int)pev_buffer_leave(buf, -ENOMEM);
	spans = evbuffer_peek(buf, (ev_ssize_t)n, &from, vec, spans);
	if (spans > 0)
		spans = copy_spans(out, vec, spans, n);
	free(vec);
	return (int)pev_buffer_leave(buf, spans);
}

/* Lends the buffer too: the caller gives it back. */
int
pev_buffer_reserve(struct pev_buffer *h, size_t n, struct pev_span *out, int max)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_iovec vec[16];
	int spans, code = pev_buffer_enter(h, PEV_ADD, &buf);
	if (code < 0)
		return code;
	if (n == 0 || n > (size_t)EV_SSIZE_MAX / 2 || max < 1 || max > 16)
		return (int)pev_buffer_leave(buf, -PEV_EVALUE); /* size 0 aborts (facts of libevent 6) */
	spans = pev_buffer_lend(h);
	if (spans < 0)
		return (int)pev_buffer_leave(buf, spans);
	spans = evbuffer_reserve_space(buf, (ev_ssize_t)n, vec, max);
	if (spans < 0) {
		count_export(h, -1);
		return (int)pev_buffer_leave(buf, -ENOMEM);
	}
	return (int)pev_buffer_leave(buf, copy_spans(out, vec, spans, EV_SSIZE_MAX));
}

/* libevent may reserve a single span in the second of several chains, after some room that didn't suffice, and doesn't find it
 * again but after a span of that room. */
static int
commit(struct evbuffer *buf, struct evbuffer_iovec *vec, int n)
{
	struct evbuffer_iovec both[2];
	if (evbuffer_commit_space(buf, vec, n) == 0)
		return 0;
	if (n != 1 || evbuffer_reserve_space(buf, 1, both, 2) != 1)
		return -PEV_EVALUE;
	both[0].iov_len = 0;
	both[1] = vec[0];
	return evbuffer_commit_space(buf, both, 2) < 0 ? -PEV_EVALUE : 0;
}

/* The same for the output of TLS over another bufferevent: libevent would encrypt it in this very call, and free memory that is
 * still shown. The next turn of the loop does, and there is none before all is given back. */
static int
commit_to_tls(struct pev_bev *owner, struct evbuffer *buf, struct evbuffer_iovec *vec, int n)
{
	struct bufferevent *bev = owner->bev;
	short writes = bev->enabled & EV_WRITE;
	int code;
	bev->enabled &= ~EV_WRITE;
	code = commit(buf, vec, n);
	bev->enabled |= writes;
	if (code == 0 && writes && owner->open && owner->under->bev != NULL)
		bufferevent_trigger(owner->under->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	return code;
}

/* The spans as reserved, with their lengths cut to what was filled. */
int
pev_buffer_commit(struct pev_buffer *h, const struct pev_span *spans, int n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_iovec vec[16];
	int i, code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	if (h->frozen & PEV_END_FROZEN)
		return (int)pev_buffer_leave(buf, -PEV_EFROZEN);
	if (n < 0 || n > 16)
		return (int)pev_buffer_leave(buf, -PEV_EVALUE);
	for (i = 0; i < n; i++) {
		vec[i].iov_base = spans[i].start;
		vec[i].iov_len = spans[i].length;
	}
	if (h->owner != NULL && h->owner->under != NULL && h->owner->layer->is_records)
		code = commit_to_tls(h->owner, buf, vec, n);
	else
		code = commit(buf, vec, n);
	return (int)pev_buffer_leave(buf, code);
}

/* Looked at twice: a loop that begins to run meanwhile sees what was lent, or is seen. */
int
pev_buffer_lend(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_find(h, &buf);
	if (code == 0)
		code = may_show(h);
	if (code < 0)
		return code;
	count_export(h, 1);
	code = may_show(h);
	if (code < 0)
		count_export(h, -1);
	return code;
}

void
pev_buffer_give_back(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	count_export(h, -1);
}
