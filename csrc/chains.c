/* event2/buffer.h: from one buffer to another, without a copy. */
#include "pylibevent.h"

#include <limits.h>

static int
result_of_move(int r, struct evbuffer *buf, struct evbuffer *source)
{
	int code = pev_buffer_result(r, buf);
	return code == -ENOMEM ? pev_buffer_result(r, source) : code;
}

int
pev_buffer_add_buffer(struct pev_buffer *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(from));
	struct evbuffer *buf, *source;
	int code = pev_buffer_enter_both(h, PEV_ADD, &buf, from, PEV_DRAIN, &source);
	if (code < 0)
		return code;
	code = result_of_move(evbuffer_add_buffer(buf, source), buf, source);
	return (int)pev_buffer_leave_both(buf, source, code);
}

int
pev_buffer_prepend_buffer(struct pev_buffer *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(from));
	struct evbuffer *buf, *source;
	int code = pev_buffer_enter_both(h, PEV_PREPEND, &buf, from, PEV_DRAIN, &source);
	if (code < 0)
		return code;
	code = result_of_move(evbuffer_prepend_buffer(buf, source), buf, source);
	return (int)pev_buffer_leave_both(buf, source, code);
}

/* By way of a fresh buffer: an unpatched 2.1.12 leaves a dangling chain otherwise (facts of libevent 2.5). The source
 * must be a buffer of its own: a bufferevent's lock dies with it while the reference lives on. */
int
pev_buffer_add_buffer_reference(struct pev_buffer *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(from));
	struct evbuffer *buf, *source, *fresh;
	int code, r;
	if (from->owner != NULL || from->for_filters)
		return -PEV_EKIND;
	code = pev_buffer_enter_both(h, PEV_ADD, &buf, from, PEV_LOOK, &source);
	if (code < 0)
		return code;
	fresh = evbuffer_new();
	if (fresh == NULL)
		return (int)pev_buffer_leave_both(buf, source, -ENOMEM);
	pev_start_multicast();
	r = evbuffer_add_buffer_reference(fresh, source);
	code = r < 0 ? -PEV_EVALUE : pev_buffer_result(evbuffer_add_buffer(buf, fresh), buf);
	evbuffer_free(fresh);
	return (int)pev_buffer_leave_both(buf, source, code);
}

/* Moves the first n bytes to the end of another buffer. */
long long
pev_buffer_remove_buffer(struct pev_buffer *h, struct pev_buffer *to, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(to));
	struct evbuffer *buf, *destination;
	long long moved = 0;
	int code = pev_buffer_enter_both(h, PEV_DRAIN, &buf, to, PEV_ADD, &destination);
	if (code < 0)
		return code;
	while (n > 0) { /* evbuffer_remove_buffer counts in an int */
		int part = n > INT_MAX / 2 ? INT_MAX / 2 : (int)n;
		int r = evbuffer_remove_buffer(buf, destination, (size_t)part);
		if (r < 0)
			return pev_buffer_leave_both(buf, destination, moved ? moved : result_of_move(r, destination, buf));
		moved += r;
		n -= (size_t)r;
		if (r < part)
			break;
	}
	return pev_buffer_leave_both(buf, destination, moved);
}
