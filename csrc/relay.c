/* Relays: everything that comes in at one bufferevent goes out at another, and back. Python hears of it once, at the end.
 *
 * The rules:
 *
 *   1. The bufferevents stay what they are: their trampolines (bufferevent.c) come here instead of noting something, so
 *      connecting, TLS's own events and limits work as ever.
 *   2. Input never piles up. Where the output it goes to does, reading stops until that is down to the low mark.
 *   3. The end of one direction is passed on when all that came before it is sent: shutdown() for a socket, close_notify
 *      for TLS, BEV_FINISHED for all others, and then to what these stand on if they close that too. The other direction
 *      goes on.
 *   4. It is over when both directions have ended, one end fails or times out, or is closed. What has come in until then
 *      is still passed on; closing, which sends what is left, is Python's.
 *   5. Both ends may be the same: an echo, with one direction.
 *   6. Pairs hand bytes over inside of a write, so one relay may feed another, or itself. What comes in while a relay is
 *      writing waits for the next turn of the loop: a ring of relays runs, but the stack doesn't.
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
	struct pev_bev *told[2]; /* down to this one of the stack */
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

static int
is_tls(const struct pev_bev *h)
{
	return h->layer != NULL && h->layer->end_writing != NULL;
}

/* What is told to it goes on to what it stands on: a filter, and not TLS, whose end is an end. */
static int
goes_on_below(const struct pev_bev *h)
{
	return h->under != NULL && h->under->bev != NULL && !is_tls(h);
}

/* Where bytes may pile up further down. TLS keeps a bound (ssl.c) on what waits in the one that it stands on, not below that. */
static struct pev_bev *
outlet(const struct pev_bev *h)
{
	struct pev_bev *under = h->under;
	if (under == NULL || under->bev == NULL)
		return NULL;
	return is_tls(h) && under->under == NULL ? NULL : under;
}

/* Bytes that wait to be sent. What a filter itself holds back, while nothing waits below, may need more to go on. */
static size_t
waiting(const struct pev_bev *h)
{
	const struct pev_bev *under = outlet(h);
	size_t below;
	if (under == NULL)
		return output_length(h);
	below = waiting(under);
	return below || is_tls(h) ? below + output_length(h) : 0;
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
	else if (h->layer->flush != NULL)
		h->layer->flush(h, EV_WRITE, BEV_FINISHED);
}

/* Who is to be told next, if anybody is. */
static struct pev_bev *
end_below(const struct pev_bev *h)
{
	return goes_on_below(h) && (h->options & BEV_OPT_CLOSE_ON_FREE) ? h->under : NULL;
}

/* Whether all that was written to it has gone; else the write callback of the one on top comes when it has. */
static int
has_sent(struct pev_bev *h)
{
	if (h->connecting != PEV_NOT_CONNECTING || !h->open)
		return 0;
	if (output_length(h) == 0)
		return 1;
	if (h->over != NULL)
		pev_call_when_sent(h);
	return 0;
}

/* Tell the other side that nothing follows, once all is sent. */
static void
pass_end(struct pev_relay *r, struct pev_bev *from)
{
	struct pev_bev *to = partner(r, from), *h;
	int i = side(r, from);
	if (!r->eof[i] || r->passed[i])
		return;
	for (h = r->told[i] == NULL ? to : end_below(r->told[i]); h != NULL; h = end_below(h)) {
		if (!has_sent(h))
			return;
		r->told[i] = h;
		end_writing(h);
		if (from->relay != r) /* a filter may do anything */
			return;
	}
	r->passed[i] = 1;
	if (r->passed[!i] || to == from)
		end(r, NULL, 0, 0);
}

/* ------------------------------------------------------------------ bytes */

/* Its own output says so at the low mark; those below, when they are empty. */
static void
hear_when_sent(struct pev_bev *h)
{
	while ((h = outlet(h)) != NULL)
		if (output_length(h) > 0)
			pev_call_when_sent(h);
}

static void
choke(struct pev_relay *r, struct pev_bev *from, struct pev_bev *to)
{
	if (r->choked[side(r, from)] || waiting(to) < OUTPUT_HIGH)
		return;
	r->choked[side(r, from)] = 1;
	hear_when_sent(to);
	bufferevent_setwatermark(to->bev, EV_WRITE, OUTPUT_LOW, 0);
	bufferevent_disable(from->bev, EV_READ);
}

/* A loop with ONCE has seen something happen. */
static void
count(struct pev_relay *r, const struct pev_bev *from, uint64_t *passed, size_t n)
{
	struct pev_loop *loop = r->source.loop;
	*passed += n;
	if (loop != NULL && loop->in_pass && loop->brief && from->bev != NULL)
		pev_end_poll(loop, bufferevent_get_priority(from->bev));
}

static uint64_t *
counter(struct pev_relay *r, const struct pev_bev *from)
{
	return side(r, from) == 0 ? &r->record.sent : &r->record.received;
}

/* Before the relay began: TLS that has said close_notify. */
static int
has_ended_writing(const struct pev_bev *to)
{
	return to->cut && is_tls(to);
}

/* All that has come in. Writing may end the relay, and close any bufferevent. */
static void
pass_on(struct pev_bev *from)
{
	struct pev_relay *r = from->relay;
	struct pev_loop *loop = r->source.loop;
	struct pev_bev *to = partner(r, from);
	struct evbuffer *input = bufferevent_get_input(from->bev);
	size_t n = evbuffer_get_length(input);
	uint64_t *passed = counter(r, from);
	int failed;
	if (n == 0)
		return;
	if (has_ended_writing(to)) {
		end(r, to, BEV_EVENT_WRITING | BEV_EVENT_ERROR, EPIPE);
		return;
	}
	loop->relaying++;
	failed = evbuffer_add_buffer(bufferevent_get_output(to->bev), input) < 0;
	loop->relaying--;
	if (!failed)
		count(r, from, passed, n);
	if (from->relay != r)
		return;
	if (failed) {
		end(r, to, BEV_EVENT_WRITING | BEV_EVENT_ERROR, ENOBUFS);
		return;
	}
	pev_bev_changed(to);
	choke(r, from, to);
}

/* Something has come in. */
void
pev_relay_read(struct pev_bev *from)
{
	if (from->source.loop->relaying)
		bufferevent_trigger(from->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	else
		pass_on(from);
}

/* The same for what fast.c has read, and perhaps sent in part. */
void
pev_relay_passed(struct pev_bev *from, const char *data, size_t n, size_t sent)
{
	struct pev_relay *r = from->relay;
	struct pev_bev *to = partner(r, from);
	count(r, from, counter(r, from), n);
	if (sent == n)
		return;
	if (evbuffer_add(bufferevent_get_output(to->bev), data + sent, n - sent) < 0)
		end(r, to, BEV_EVENT_WRITING | BEV_EVENT_ERROR, ENOBUFS);
	else if (from->relay == r) /* TLS that failed at once has ended it */
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
	if (r->choked[i] && waiting(to) > OUTPUT_LOW)
		hear_when_sent(to);
	else if (r->choked[i]) {
		r->choked[i] = 0;
		bufferevent_setwatermark(to->bev, EV_WRITE, 0, 0);
		if (!r->eof[i]) {
			bufferevent_enable(from->bev, EV_READ);
			pev_bev_changed(from);
		}
		if (to->relay != r)
			return;
	}
	pass_end(r, from);
}

void
pev_relay_event(struct pev_bev *h, short what, int error)
{
	struct pev_relay *r = h->relay;
	int fails = what & (BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT); /* deferred events come in one, an end and a failure */
	if (what & BEV_EVENT_CONNECTED) {
		pass_end(r, partner(r, h));
		return;
	}
	if (!fails && (what & (BEV_EVENT_EOF | BEV_EVENT_READING)) == BEV_EVENT_EOF)
		return; /* a pair's other end reads no more: what is written there waits, as with any peer */
	pass_on(h);
	if (h->relay != r)
		return;
	if (fails) {
		end(r, h, what, error);
	} else if (what & BEV_EVENT_EOF) {
		r->eof[side(r, h)] = 1;
		pass_end(r, h);
		if (h->relay == r && h->cut) /* what waited there was dropped: its partner may go on, and will hear of it */
			pev_relay_written(h);
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
	pev_bev_set_watermark(h, EV_READ | EV_WRITE, 0, 0);
	if (h->relay == r)
		pev_bev_enable(h, EV_READ | EV_WRITE);
	if (h->relay == r)
		pass_on(h);
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
	if (pev_bev_peeked(h))
		return -PEV_EPEEKED;
	return h->ended & BEV_EVENT_ERROR ? -EPIPE : 0;
}

struct pev_relay *
pev_relay_new(struct pev_bev *one, struct pev_bev *other, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(one->source.loop));
	struct pev_relay *r;
	int code = may_relay(one);
	if (code == 0 && (code = may_relay(other)) < 0)
		code = -(-code | PEV_OTHER);
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
	pev_source_init(&r->source, one->source.loop, id, PEV_LAYER_RELAY, shut_relay, drop_relay);
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
	PEV_VISIT(pev_visit_alone(r->source.loop));
	*out = r->record;
}
