/* event2/bufferevent.h: two bufferevents that are each other's peer.
 *
 * The rules, and the facts that make them needed:
 *
 *   1. An end that is closed says EOF to the other; libevent unlinks the two and says nothing (facts of libevent 2.4).
 *   2. What it had written comes before that, though the other end may take its time: libevent's object of the closed end
 *      is kept by the other one until then, as its last words.
 *   3. Who writes to a closed end is told so. Where another bufferevent writes, it gets the event that a socket gives.
 *   4. A flush moves everything, at once; libevent stops at the high mark the first time (3.9). After FINISHED nothing
 *      more can be written.
 *   5. The write timeout runs while bytes wait here (idle.c).
 *   6. Bytes move inside of write, enable and flush, between the buffers of both ends: none of them while memory of
 *      either is shown.
 */
#include "pylibevent.h"

struct pev_pair {
	struct pev_bev b;
	struct pev_pair *partner;     /* NULL once one of the two is closed */
	struct bufferevent *last_words; /* the closed partner, while it is the source of what comes in */
	struct evbuffer_cb_entry *last_callback;
	struct evbuffer_cb_entry *output_callback;
	struct evbuffer_cb_entry *input_callback; /* while an end waits for the one above */
	short end;
	unsigned char silent;   /* to be closed as libevent does it */
	unsigned char finished; /* it said that nothing more will be written */
};

static const struct pev_layer pair_layer;

static struct pev_pair *
pair_of(struct pev_bev *h)
{
	return (struct pev_pair *)h;
}

static void
tell(struct pev_pair *p, short what, int error)
{
	errno = error;
	bufferevent_trigger_event(p->b.bev, what, 0);
}

static void
on_input(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_pair *p = arg;
	short what = p->end;
	if (!info->n_deleted || evbuffer_get_length(buf) || !what)
		return;
	p->end = 0;
	tell(p, what, 0);
}

/* When the one above has taken all that came before. */
static void
tell_end(struct pev_pair *p, short what)
{
	if ((what & BEV_EVENT_READING) && pev_end_is_early(&p->b)) {
		if (p->input_callback == NULL)
			p->input_callback = evbuffer_add_cb(p->b.bev->input, on_input, p);
		if (p->input_callback != NULL) {
			p->end |= what;
			return;
		}
	}
	tell(p, what, 0);
}

static void
on_output(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_pair *p = arg;
	PEV_UNUSED(buf);
	pev_time_output(&p->b, info);
	if (info->n_added && p->partner != NULL)
		pev_valve_kick(&p->partner->b);
	if (p->b.cut && info->n_added)
		tell(p, BEV_EVENT_WRITING | BEV_EVENT_ERROR, EPIPE);
}

/* ------------------------------------------------------------------ making */

static void
free_both(struct bufferevent *pair[2])
{
	bufferevent_free(pair[0]);
	bufferevent_free(pair[1]);
}

static struct pev_pair *
make_end(struct pev_loop *loop, struct bufferevent *bev, int options, uint64_t id)
{
	struct pev_pair *p = pev_new(sizeof *p);
	if (p == NULL)
		return NULL;
	p->output_callback = evbuffer_add_cb(bev->output, on_output, p);
	if (p->output_callback == NULL) {
		pev_delete(p);
		return NULL;
	}
	pev_bev_init(&p->b, loop, bev, options, id, &pair_layer);
	p->b.open = 1;
	return p;
}

int
pev_pair_new(struct pev_loop *loop, int options, uint64_t id, uint64_t partner_id, struct pev_bev **out)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct bufferevent *pair[2];
	struct pev_pair *one, *other;
	int code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	if (bufferevent_pair_new(loop->base, pev_bev_c_options(options), pair) < 0)
		return -ENOMEM;
	one = make_end(loop, pair[0], options, id);
	if (one == NULL) {
		free_both(pair);
		return -ENOMEM;
	}
	other = make_end(loop, pair[1], options, partner_id);
	if (other == NULL) {
		pev_bev_drop_now(&one->b.source);
		bufferevent_free(pair[1]);
		return -ENOMEM;
	}
	one->partner = other;
	other->partner = one;
	out[0] = &one->b;
	out[1] = &other->b;
	return 0;
}

/* ------------------------------------------------------------------ events and marks */

static short
on_pair_event(struct pev_bev *h, short what, int error)
{
	PEV_UNUSED(error);
	if ((what & BEV_EVENT_TIMEOUT) && (what & BEV_EVENT_READING) && (h->ended & BEV_EVENT_EOF))
		what &= ~(BEV_EVENT_TIMEOUT | BEV_EVENT_READING);
	if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING))
		bufferevent_disable(h->bev, EV_READ);
	return what;
}

static struct pev_bev *
pair_partner(const struct pev_bev *h)
{
	struct pev_pair *partner = ((const struct pev_pair *)h)->partner;
	return partner != NULL ? &partner->b : NULL;
}

static struct bufferevent *
pair_source(const struct pev_bev *h)
{
	const struct pev_pair *p = (const struct pev_pair *)h;
	return p->partner != NULL ? p->partner->b.bev : p->last_words;
}

static void
pair_changed(struct pev_bev *h)
{
	pev_valve_kick(h);
	if (pair_of(h)->partner != NULL)
		pev_valve_kick(&pair_of(h)->partner->b);
}

static int
pair_peeked(const struct pev_bev *h)
{
	const struct pev_pair *p = (const struct pev_pair *)h;
	return p->partner != NULL && p->partner->b.exports;
}

/* At most two steps: up to the high mark, and beyond it. */
static int
move(struct bufferevent *bev, short iotype, struct evbuffer *source)
{
	size_t before = evbuffer_get_length(source);
	int tries;
	for (tries = 0; tries < 2 && evbuffer_get_length(source); tries++)
		bufferevent_flush(bev, iotype, BEV_FLUSH);
	return evbuffer_get_length(source) < before;
}

static int
flush_pair(struct pev_bev *h, int iotype, int mode)
{
	struct pev_pair *p = pair_of(h), *partner = p->partner;
	struct bufferevent *source = partner ? partner->b.bev : p->last_words;
	int moved = 0;
	if (mode == BEV_NORMAL)
		return 0;
	if ((iotype & EV_READ) && source != NULL)
		moved |= move(h->bev, EV_READ, source->output);
	if (iotype & EV_WRITE) {
		if (partner == NULL)
			return p->finished ? moved : -EPIPE;
		moved |= move(h->bev, EV_WRITE, h->bev->output);
	}
	if (mode == BEV_FINISHED && partner != NULL) {
		short what = iotype & EV_READ ? BEV_EVENT_EOF | BEV_EVENT_WRITING : 0;
		if ((iotype & EV_WRITE) && !p->finished)
			what |= BEV_EVENT_EOF | BEV_EVENT_READING;
		if (iotype & EV_WRITE)
			p->finished = h->cut = 1;
		if (what)
			tell_end(partner, what);
	}
	return moved;
}

/* ------------------------------------------------------------------ closing */

void
pev_pair_keep_silent(struct pev_bev *h, int silent)
{
	PEV_VISIT(pev_visit_bev(h));
	pair_of(h)->silent = (unsigned char)silent;
}

static void
on_last_words(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	if (info->n_deleted && evbuffer_get_length(buf) == 0)
		tell_end(arg, BEV_EVENT_READING | BEV_EVENT_EOF);
}

/* What one end has written, and the other still has to take. */
static void
leave_last_words(struct bufferevent *bev, struct pev_pair *to)
{
	to->last_callback = evbuffer_add_cb(bev->output, on_last_words, to);
	if (to->last_callback == NULL) {
		tell(to, BEV_EVENT_READING | BEV_EVENT_ERROR, ENOMEM);
		return;
	}
	bufferevent_incref(bev);
	to->last_words = bev;
	bufferevent_set_timeouts(bev, NULL, NULL);
	bufferevent_enable(bev, EV_WRITE); /* which hands over what the other end takes at once */
}

static void
drop_last_words(struct pev_pair *p)
{
	struct bufferevent *bev = p->last_words;
	if (bev == NULL)
		return;
	p->last_words = NULL;
	evbuffer_remove_cb_entry(bev->output, p->last_callback);
	bufferevent_disable(bev, EV_WRITE);
	bufferevent_decref(bev);
}

static void
discard_output(struct pev_bev *h)
{
	struct evbuffer *output = h->bev->output;
	evbuffer_unfreeze(output, 1);
	evbuffer_drain(output, evbuffer_get_length(output));
	evbuffer_freeze(output, 1);
}

static void
part(struct pev_pair *p, struct pev_pair *partner)
{
	p->partner = partner->partner = NULL;
	partner->b.cut = 1;
	discard_output(&partner->b);
	if (!p->silent && !p->finished && p->b.patience > 0 && pev_bev_has_output(&p->b)) {
		leave_last_words(p->b.bev, partner);
	} else {
		bufferevent_disable(p->b.bev, EV_WRITE);
		if (!p->silent)
			tell_end(partner, BEV_EVENT_READING | BEV_EVENT_EOF);
	}
	pev_limits_changed(&partner->b);
}

static void
before_pair_free(struct pev_bev *h)
{
	struct pev_pair *p = pair_of(h);
	struct bufferevent *bev = h->bev;
	bufferevent_lock(bev);
	evbuffer_remove_cb_entry(bev->output, p->output_callback);
	if (p->input_callback != NULL)
		evbuffer_remove_cb_entry(bev->input, p->input_callback);
	bufferevent_disable(bev, EV_READ);
	drop_last_words(p);
	if (p->partner != NULL)
		part(p, p->partner);
	bufferevent_unlock(bev);
}

/* In a forked child its partner may be dropped before it. */
static void
on_pair_drop(struct pev_bev *h)
{
	if (pair_of(h)->partner != NULL)
		pair_of(h)->partner->partner = NULL;
}

static const struct pev_layer pair_layer = {
	.on_drop = on_pair_drop,
	.on_event = on_pair_event,
	.before_free = before_pair_free,
	.flush = flush_pair,
	.peeked = pair_peeked,
	.partner = pair_partner,
	.source = pair_source,
	.on_change = pair_changed,
};
