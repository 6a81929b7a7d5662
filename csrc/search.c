/* event2/buffer.h: looking for something in a buffer: lines, bytes, ends of lines. */
#include "pylibevent.h"

/* 1 and a line that Python frees with pev_free, or 0: no whole line yet. */
int
pev_buffer_readline(struct pev_buffer *h, int style, char **line, size_t *n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	if (code < 0)
		return code;
	*line = evbuffer_readln(buf, n, (enum evbuffer_eol_style)style);
	return (int)pev_buffer_leave(buf, *line != NULL);
}

/* -1: not found; other negative numbers are codes. */
#define NOT_FOUND (-1LL)

int
pev_buffer_place(struct evbuffer *buf, struct evbuffer_ptr *out, size_t position)
{
	if (position > evbuffer_get_length(buf))
		return -1;
	return evbuffer_ptr_set(buf, out, position, EVBUFFER_PTR_SET);
}

long long
pev_buffer_search(struct pev_buffer *h, const char *what, size_t n, size_t start, size_t end)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_ptr from, to, found;
	size_t length;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	length = evbuffer_get_length(buf);
	if (end > length)
		end = length;
	if (start > end || n > end - start)
		return pev_buffer_leave(buf, NOT_FOUND);
	if (n == 0)
		return pev_buffer_leave(buf, (long long)start);
	if (pev_buffer_place(buf, &from, start) < 0)
		return pev_buffer_leave(buf, NOT_FOUND);
	if (end == length) {
		found = evbuffer_search(buf, what, n, &from);
	} else {
		if (pev_buffer_place(buf, &to, end) < 0)
			return pev_buffer_leave(buf, NOT_FOUND);
		found = evbuffer_search_range(buf, what, n, &from, &to);
	}
	return pev_buffer_leave(buf, found.pos < 0 || (size_t)found.pos + n > end ? NOT_FOUND : (long long)found.pos);
}

long long
pev_buffer_search_eol(struct pev_buffer *h, int style, size_t start, size_t *eol_length)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_ptr from, found;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	if (start >= evbuffer_get_length(buf) || pev_buffer_place(buf, &from, start) < 0)
		return pev_buffer_leave(buf, NOT_FOUND);
	found = evbuffer_search_eol(buf, &from, eol_length, (enum evbuffer_eol_style)style);
	return pev_buffer_leave(buf, found.pos < 0 ? NOT_FOUND : (long long)found.pos);
}
