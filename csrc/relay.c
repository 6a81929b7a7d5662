/* Relays: everything that comes in at one bufferevent goes out at another, and back. Python hears of it once, at the end.
 *
 * The rules:
 *
 *   1. The bufferevents stay what they are: their trampolines (bufferevent.c) come here instead of noting something, so
 *      connecting, TLS's own events and limits work as ever.
 *   2. Input never piles up. Where the output it goes to does, reading stops until that is down to the low mark.
 *   3. The end of one direction is passed on when all that came before it is sent: shutdown() for a socket, close_notify
 *      for TLS, BEV_FINISHED for all others. The other direction goes on.
 *   4. It is over when both directions have ended, one end fails or times out, or is closed. What has come in until then
 *      is still passed on; closing, which sends what is left, is Python's.
 *   5. Both ends may be the same: an echo, with one direction.
 */
#include "pylibevent.h"

/* libevent's le-proxy stops at 512 KiB of output; twice what fast.c reads at once is as much. */
#define OUTPUT_HIGH (512 * 1024)
#define OUTPUT_LOW (128 * 1024)

struct pev_relay {
	struct pev_source source;
	struct pev_bev *ends[2];
	struct pev_relay_record record;
	unsigned char eof[2];    /* this end said that nothing follows */
	unsigned char passed[2]; /* and the other one was told */
	unsigned char choked[2]; /* not read until the other one has sent something */
};

static int
side(const struct pev_relay *r, const struct pev_bev *h)
{
	return h != r->ends[0];
}

static struct pev_bev *
partner(const struct pev_relay *r, const struct pev_bev *h)
{
	return r->ends[!side(r, h)];
}

static size_t
output_length(const struct pev_bev *h)
{
	return evbuffer_get_length(bufferevent_get_output(h->bev));
}

/* ------------------------------------------------------------------ the end */

static void
let_go(struct pev_relay *r)
{
	int i;
	for (i = 0; i < 2; i++) {
		struct pev_bev *h = r->ends[i];
		r->ends[i] = NULL;
		if (h == NULL || h->relay != r)
			continue;
		h->relay = NULL;
		if (h->bev != NULL)
			bufferevent_disable(h->bev, EV_READ);
	}
}

/* culprit NULL: all went well */
static void
end(struct pev_relay *r, const struct pev_bev *culprit, short what, int error)
{
	int priority = pev_default_priority(r->source.loop);
	if (r->record.ended)
		return;
	r->record.ended = 1;
	r->record.culprit = culprit == NULL ? -1 : side(r, culprit);
	r->record.what = (unsigned short)what;
	r->record.error = error;
	let_go(r);
	pev_note(&r->source, PEV_NOTE_RELAYED, priority);
}

static void
end_writing(struct pev_bev *h)
{
	if (h->layer == NULL)
		shutdown(bufferevent_getfd(h->bev), SHUT_WR);
	else if (h->layer->end_writing != NULL)
		h->layer->end_writing(h);
	else
		bufferevent_flush(h->bev, EV_WRITE, BEV_FINISHED);
}

/* Tell the other side that nothing follows, once all is sent. */
static void
pass_end(struct pev_relay *r, struct pev_bev *from)
{
	struct pev_bev *to = partner(r, from);
	int i = side(r, from);
	if (!r->eof[i] || r->passed[i] || to->connecting || !to->open || output_length(to) > 0)
		return;
	r->passed[i] = 1;
	end_writing(to);
	if (!r->record.ended && (r->passed[!i] || to == from))
		end(r, NULL, 0, 0);
}

/* ------------------------------------------------------------------ bytes */

static void
choke(struct pev_relay *r, struct pev_bev *from, struct pev_bev *to)
{
	if (r->choked[side(r, from)] || output_length(to) < OUTPUT_HIGH)
		return;
	r->choked[side(r, from)] = 1;
	bufferevent_setwatermark(to->bev, EV_WRITE, OUTPUT_LOW, 0);
	bufferevent_disable(from->bev, EV_READ);
}

static void
count(struct pev_relay *r, const struct pev_bev *from, size_t n)
{
	if (side(r, from) == 0)
		r->record.sent += n;
	else
		r->record.received += n;
}

/* Something has come in. */
void
pev_relay_read(struct pev_bev *from)
{
	struct pev_relay *r = from->relay;
	struct pev_bev *to = partner(r, from);
	struct evbuffer *input = bufferevent_get_input(from->bev);
	size_t n = evbuffer_get_length(input);
	if (n == 0)
		return;
	if (evbuffer_add_buffer(bufferevent_get_output(to->bev), input) < 0) {
		end(r, to, BEV_EVENT_WRITING | BEV_EVENT_ERROR, ENOBUFS);
		return;
	}
	count(r, from, n);
	if (from->relay == r) /* sending may have failed */
		choke(r, from, to);
}

/* The same for what fast.c has read, and perhaps sent in part. */
void
pev_relay_passed(struct pev_bev *from, const char *data, size_t n, size_t sent)
{
	struct pev_relay *r = from->relay;
	struct pev_bev *to = partner(r, from);
	count(r, from, n);
	if (sent == n)
		return;
	if (evbuffer_add(bufferevent_get_output(to->bev), data + sent, n - sent) < 0)
		end(r, to, BEV_EVENT_WRITING | BEV_EVENT_ERROR, ENOBUFS);
	else
		choke(r, from, to);
}

struct pev_bev *
pev_relay_partner(const struct pev_bev *h)
{
	return partner(h->relay, h);
}

/* Output is sent, or down to the low mark. */
void
pev_relay_written(struct pev_bev *to)
{
	struct pev_relay *r = to->relay;
	struct pev_bev *from = partner(r, to);
	int i = side(r, from);
	if (r->choked[i] && output_length(to) <= OUTPUT_LOW) {
		r->choked[i] = 0;
		bufferevent_setwatermark(to->bev, EV_WRITE, 0, 0);
		if (!r->eof[i])
			bufferevent_enable(from->bev, EV_READ);
	}
	pass_end(r, from);
}

void
pev_relay_event(struct pev_bev *h, short what, int error)
{
	struct pev_relay *r = h->relay;
	if (what & BEV_EVENT_CONNECTED) {
		pass_end(r, partner(r, h));
		return;
	}
	pev_relay_read(h);
	if (h->relay != r)
		return;
	if (what & BEV_EVENT_EOF) {
		r->eof[side(r, h)] = 1;
		pass_end(r, h);
	} else {
		end(r, h, what, error);
	}
}

/* A bufferevent is closed. */
void
pev_relay_gone(struct pev_bev *h)
{
	end(h->relay, h, 0, 0);
}

/* ------------------------------------------------------------------ its life */

static void
shut_relay(struct pev_source *source)
{
	let_go((struct pev_relay *)source);
	pev_source_forget(source);
}

static void
drop_relay(struct pev_source *source)
{
	if (source->loop != NULL) {
		shut_relay(source);
		pev_source_leave(source);
	}
	pev_delete(source);
}

void
pev_relay_drop(struct pev_relay *r)
{
	pev_source_discard(&r->source);
}

/* From now on: what has come in already, and what ended already. */
static void
begin(struct pev_bev *h)
{
	struct pev_relay *r = h->relay;
	bufferevent_setwatermark(h->bev, EV_READ | EV_WRITE, 0, 0);
	pev_bev_enable(h, EV_READ | EV_WRITE);
	if (h->relay == r)
		pev_relay_read(h);
	if (h->relay == r && (h->ended & BEV_EVENT_EOF)) {
		r->eof[side(r, h)] = 1;
		pass_end(r, h);
	}
}

static int
may_relay(struct pev_bev *h)
{
	int code = pev_bev_usable_alone(h);
	if (code < 0)
		return code;
	if (h->exports)
		return -PEV_EPEEKED;
	return h->ended & BEV_EVENT_ERROR ? -EPIPE : 0;
}

struct pev_relay *
pev_relay_new(struct pev_bev *one, struct pev_bev *other, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(one->source.loop));
	struct pev_relay *r;
	int code = may_relay(one);
	if (code == 0)
		code = may_relay(other);
	if (code == 0 && one->source.loop != other->source.loop)
		code = -PEV_EVALUE;
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	r = pev_new(sizeof *r);
	if (r == NULL)
		return NULL;
	r->ends[0] = one;
	r->ends[1] = other;
	r->record.culprit = -1;
	pev_source_init(&r->source, one->source.loop, id, PEV_LAYER_BUFFEREVENT, shut_relay, drop_relay);
	one->wants = other->wants = 0;
	one->relay = other->relay = r;
	begin(one);
	if (other != one && other->relay == r)
		begin(other);
	return r;
}

/* By hand: nothing more is passed on. */
int
pev_relay_stop(struct pev_relay *r)
{
	PEV_VISIT(pev_visit_alone(r->source.loop));
	int code = pev_loop_usable(r->source.loop, 0);
	if (code < 0)
		return code;
	end(r, NULL, 0, 0);
	return 0;
}

void
pev_relay_look(struct pev_relay *r, struct pev_relay_record *out)
{
	*out = r->record;
}
