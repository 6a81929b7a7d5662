/* event2/bufferevent.h: bytes that Python writes to a bufferevent, and reads from it. What the fast path has read: fresh.c. */
#include "pylibevent.h"

/* For what doesn't look at the input. */
static int
may_write(const struct pev_bev *h)
{
	int code = pev_bev_state(h);
	if (code == 0 && h->over != NULL)
		return -PEV_ECARRIES;
	return code == 0 && h->relay != NULL ? -PEV_ERELAYED : code;
}

/* libevent says -1 when there is no memory, or when Python froze that end. */
static int
why_not_added(struct evbuffer *buf)
{
	return evbuffer_commit_space(buf, NULL, 0) < 0 ? -PEV_EFROZEN : -ENOMEM;
}

static inline int
write_bytes(struct pev_bev *h, const char *data, size_t n)
{
	size_t sent = 0;
	int code = may_write(h);
	if (code < 0)
		return code;
	if (pev_bev_peeked(h))
		return -PEV_EPEEKED;
	if (h->cut || (h->ended & BEV_EVENT_ERROR))
		return -EPIPE;
	if (n)
		sent = pev_fast_put(h, data, n);
	if (sent && sent == n)
		return PEV_SENT;
	if (n > sent && bufferevent_write(h->bev, data + sent, n - sent) < 0)
		return why_not_added(bufferevent_get_output(h->bev));
	if (h->under != NULL)
		pev_fast_flush(h);
	pev_bev_changed(h);
	return PEV_KEPT;
}

int
pev_bev_write(struct pev_bev *h, const char *data, size_t n)
{
	PEV_VISIT(pev_visit_bev(h));
	return write_bytes(h, data, n);
}

#define SHORT_PLAIN (128 * 1024)
#define SHORT_TLS 2048

/* Whether so many bytes are sent in no more time than other threads may wait, and without asking a filter. */
static int
is_short(const struct pev_bev *h, size_t n)
{
	const struct pev_loop *loop = h->source.loop;
	const struct pev_bev *under = h->under; /* none when it is closed */
	if (loop == NULL || !pev_runs_here(loop) || (h->options & BEV_OPT_THREADSAFE))
		return 0;
	if (h->layer == NULL)
		return n <= SHORT_PLAIN;
	return n <= SHORT_TLS && h->layer->is_records && under != NULL && under->layer == NULL;
}

/* The same of a few bytes. Python keeps its lock meanwhile (build_ffi.py). PEV_LONG: pev_bev_write does it. */
int
pev_bev_write_short(struct pev_bev *h, const char *data, size_t n)
{
	return is_short(h, n) ? write_bytes(h, data, n) : PEV_LONG;
}

/* The input of a bufferevent that nobody has looked at since it came in, likewise. PEV_LONG: pev_bev_write_buffer does it. */
int
pev_bev_write_fresh(struct pev_bev *h, struct pev_buffer *from)
{
	struct pev_bev *source = from->owner;
	int may = source != NULL && !from->is_output && source->fresh_length > 0 && is_short(h, source->fresh_length) &&
	    may_write(h) == 0 && !h->cut && !(h->ended & BEV_EVENT_ERROR) && !pev_bev_peeked(h);
	return may && pev_fresh_pass_on(source, h) ? PEV_SENT : PEV_LONG;
}

int
pev_bev_write_buffer(struct pev_bev *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_buffer output = { .owner = h, .is_output = 1, .frozen = h->views[1] ? h->views[1]->frozen : 0 };
	int code = may_write(h);
	if (code < 0)
		return code;
	if (h->cut || (h->ended & BEV_EVENT_ERROR))
		return -EPIPE;
	if (!pev_bev_peeked(h) && from->owner != NULL && !from->is_output && pev_fresh_pass_on(from->owner, h))
		return PEV_SENT;
	code = pev_buffer_add_buffer(&output, from);
	if (code == 0)
		pev_fast_flush(h);
	pev_bev_changed(h);
	return code < 0 ? code : PEV_KEPT;
}

long long
pev_bev_read(struct pev_bev *h, char *out, size_t n)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_buffer input = { .owner = h, .frozen = h->views[0] ? h->views[0]->frozen : 0 };
	if (h->relay != NULL)
		return -PEV_ERELAYED;
	return h->over != NULL ? -PEV_ECARRIES : pev_buffer_remove(&input, out, n);
}

int
pev_bev_read_buffer(struct pev_bev *h, struct pev_buffer *to)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_buffer input = { .owner = h, .frozen = h->views[0] ? h->views[0]->frozen : 0 };
	if (h->relay != NULL)
		return -PEV_ERELAYED;
	return h->over != NULL ? -PEV_ECARRIES : pev_buffer_add_buffer(to, &input);
}

long long
pev_bev_input_length(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : (long long)evbuffer_get_length(bufferevent_get_input(h->bev));
}

long long
pev_bev_output_length(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : (long long)evbuffer_get_length(bufferevent_get_output(h->bev));
}
