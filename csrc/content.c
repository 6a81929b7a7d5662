/* event2/buffer.h: what is in a buffer: bytes in and out, also by way of a descriptor. */
#include "pylibevent.h"

long long
pev_buffer_length(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_find(h, &buf);
	return code < 0 ? code : (long long)evbuffer_get_length(buf);
}

long long
pev_buffer_contiguous(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_find(h, &buf);
	return code < 0 ? code : (long long)evbuffer_get_contiguous_space(buf);
}

int
pev_buffer_add(struct pev_buffer *h, const char *data, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_ADD, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, pev_buffer_result(evbuffer_add(buf, data, n), buf));
}

int
pev_buffer_prepend(struct pev_buffer *h, const char *data, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_PREPEND, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, pev_buffer_result(evbuffer_prepend(buf, data, n), buf));
}

int
pev_buffer_drain(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, pev_buffer_result(evbuffer_drain(buf, n), buf));
}

long long
pev_buffer_remove(struct pev_buffer *h, char *out, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	ev_ssize_t copied;
	int code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	if (code < 0)
		return code;
	/* evbuffer_remove counts in an int */
	copied = evbuffer_copyout(buf, out, n);
	if (copied > 0 && evbuffer_drain(buf, (size_t)copied) < 0)
		copied = -1;
	return pev_buffer_leave(buf, copied < 0 ? pev_buffer_result(-1, buf) : copied);
}

/* evbuffer_copyout_from refuses where the start is frozen, though it changes nothing. */
static size_t
copy_out(struct evbuffer *buf, struct evbuffer_ptr *from, char *out, size_t n)
{
	struct evbuffer_iovec vec[16];
	size_t copied = 0;
	while (copied < n) {
		size_t before = copied;
		int i, spans = evbuffer_peek(buf, (ev_ssize_t)(n - copied), from, vec, 16);
		for (i = 0; i < spans && i < 16 && copied < n; i++) {
			size_t part = vec[i].iov_len < n - copied ? vec[i].iov_len : n - copied;
			memcpy(out + copied, vec[i].iov_base, part);
			copied += part;
		}
		if (copied == before || (copied < n && evbuffer_ptr_set(buf, from, copied - before, EVBUFFER_PTR_ADD) < 0))
			break;
	}
	return copied;
}

long long
pev_buffer_copyout(struct pev_buffer *h, char *out, size_t n, size_t start)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_ptr from;
	size_t length;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	length = evbuffer_get_length(buf);
	if (start >= evbuffer_get_length(buf) || evbuffer_ptr_set(buf, &from, start, EVBUFFER_PTR_SET) < 0)
		return pev_buffer_leave(buf, 0);
	if (n > length - start)
		n = length - start;
	return pev_buffer_leave(buf, (long long)copy_out(buf, &from, out, n));
}

int
pev_buffer_expand(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_ADD, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, pev_buffer_result(evbuffer_expand(buf, n), buf));
}

/* Once a program shares chains between buffers, libevent's pullup can write into another one's bytes (facts of libevent
 * 3.7): then go the long way. */
static int
pullup_by_copy(struct evbuffer *buf, size_t n)
{
	struct evbuffer *front = evbuffer_new();
	char *bytes = malloc(n);
	int r = -1;
	if (front != NULL && bytes != NULL && evbuffer_copyout(buf, bytes, n) == (ev_ssize_t)n &&
	    evbuffer_expand(front, n) == 0 && evbuffer_add(front, bytes, n) == 0 && evbuffer_drain(buf, n) == 0)
		r = evbuffer_prepend_buffer(buf, front);
	if (front != NULL)
		evbuffer_free(front);
	free(bytes);
	return r;
}

int
pev_buffer_pullup(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int is_output = h->owner != NULL && h->is_output;
	int code = pev_buffer_enter(h, is_output ? PEV_LOOK : PEV_DRAIN | PEV_PREPEND, &buf), r = 0;
	if (code < 0)
		return code;
	if (pev_buffer_exported(h))
		return (int)pev_buffer_leave(buf, -PEV_EPEEKED);
	if (n > evbuffer_get_length(buf))
		n = evbuffer_get_length(buf);
	if (n <= evbuffer_get_contiguous_space(buf))
		return (int)pev_buffer_leave(buf, 0);
	if (pev_multicast_seen() && is_output)
		return (int)pev_buffer_leave(buf, -PEV_EFROZEN);
	if (h->callback != NULL) /* no byte comes or goes */
		evbuffer_cb_clear_flags(buf, h->callback, EVBUFFER_CB_ENABLED);
	if (pev_multicast_seen())
		r = pullup_by_copy(buf, n);
	else if (evbuffer_pullup(buf, (ev_ssize_t)n) == NULL)
		r = -1;
	if (h->callback != NULL)
		evbuffer_cb_set_flags(buf, h->callback, EVBUFFER_CB_ENABLED);
	return (int)pev_buffer_leave(buf, pev_buffer_result(r, buf));
}

/* ------------------------------------------------------------------ descriptors */

long long
pev_buffer_read_fd(struct pev_buffer *h, int fd, int n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int r, code = pev_buffer_enter(h, PEV_ADD, &buf);
	if (code < 0)
		return code;
	if (n == 0)
		return pev_buffer_leave(buf, 0); /* evbuffer_read aborts on 0 when the last chain is full (facts of libevent 6) */
	errno = 0;
	r = evbuffer_read(buf, fd, n);
	return pev_buffer_leave(buf, r < 0 ? (errno ? -errno : -PEV_EFAILED) : r);
}

/* n < 0: all of it */
long long
pev_buffer_write_fd(struct pev_buffer *h, int fd, long long n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int r, code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	if (code < 0)
		return code;
	if (evbuffer_get_length(buf) == 0 || n == 0)
		return pev_buffer_leave(buf, 0); /* evbuffer_write says -1 and leaves errno alone */
	errno = 0;
	r = evbuffer_write_atmost(buf, fd, (ev_ssize_t)n);
	return pev_buffer_leave(buf, r < 0 ? (errno ? -errno : -PEV_EFAILED) : r);
}
