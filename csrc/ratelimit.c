/* event2/bufferevent.h: the rate limit of one bufferevent.
 *
 * For sockets libevent keeps the buckets and moves the bytes; for pairs meter.c does. The rules that are kept here and in
 * group.c, and the facts that make them needed:
 *
 *   1. A limit sits at the bottom: on the bufferevent that moves the bytes, whatever stands on it. Filters are never
 *      charged, and TLS stalls inside a record (facts of libevent 4.2, 4.4).
 *   2. libevent borrows a bufferevent's configuration: it is ours, and freed when libevent has let go of it (2.6).
 *   3. A bucket never changes its tick. Its tick numbers would jump, and it might not be refilled for years (4.3): it is
 *      made anew, with what was left in it.
 *      So it is when the time of day is set back (clock.c).
 *   4. A credit never lifts a bucket above its burst: libevent would let it grow without end (4.1).
 *   5. Refilling enables, and enabling gives a write callback out of nothing (3.8): none is told unless something was
 *      sent. Nor may it add an event without a descriptor.
 *   6. A group's timer doesn't keep a loop running (4.4); members that wait for it do.
 */
#include "pylibevent.h"

#include <limits.h>

/* Buckets stay above it, so that no sum overflows. */
#define LOWEST_LEVEL (-(1LL << 62))

struct ev_token_bucket_cfg *
pev_make_cfg(const struct pev_rate *rate)
{
	struct timeval tick = { rate->tick / 1000, (rate->tick % 1000) * 1000 };
	size_t rates[2], bursts[2];
	int d;
	for (d = PEV_READ; d <= PEV_WRITE; d++) {
		rates[d] = rate->rate[d] ? (size_t)rate->rate[d] : EV_RATE_LIMIT_MAX;
		bursts[d] = rate->rate[d] ? (size_t)rate->burst[d] : EV_RATE_LIMIT_MAX;
	}
	return ev_token_bucket_cfg_new(rates[PEV_READ], bursts[PEV_READ], rates[PEV_WRITE], bursts[PEV_WRITE], &tick);
}

/* By how much to decrement a bucket at this level, so that it stays between its bounds. */
long long
pev_within(long long level, long long n, int burst)
{
	if (n < level - burst)
		return level - burst;
	return level < 0 && n > level - LOWEST_LEVEL ? level - LOWEST_LEVEL : n;
}

/* What shall be in a new bucket that takes the place of another. */
long long
pev_level_kept(const struct pev_rate *old, const struct pev_rate *new, int d, long long level)
{
	if (old->rate[d] == 0)
		return new->rate[d];
	return level < new->burst[d] ? level : new->burst[d];
}

/* ------------------------------------------------------------------ of one bufferevent */

struct pev_bev *
pev_bottom_of(struct pev_bev *h)
{
	while (h->under != NULL)
		h = h->under;
	return h;
}

/* The one that the limits of this one are on, or NULL and why not. */
struct pev_bev *
pev_find_bottom(struct pev_bev *h, int *code)
{
	struct pev_bev *low = pev_bottom_of(h);
	*code = pev_bev_usable(h);
	if (*code == 0 && low->bev == NULL)
		*code = -PEV_ECLOSED;
	return *code < 0 ? NULL : low;
}

/* libevent passes what may be read through an int: a bucket without limit must not come near a multiple of 2^32, which
 * would be an end of the stream (facts of libevent 4.3). */
#define UNLIMITED_STEP (1u << 30)

static void
on_received(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_limits *l = arg;
	struct bufferevent *bev = l->owner->bev;
	PEV_UNUSED(buf);
	if (pev_is_pair(l->owner)) {
		pev_meter_charge(l, PEV_READ, (long long)info->n_added);
		if (info->n_deleted)
			pev_valve_kick(l->owner);
		return;
	}
	if (l->cfg == NULL || l->rate.rate[PEV_READ])
		return;
	l->unlimited += info->n_added;
	if (l->unlimited < UNLIMITED_STEP)
		return;
	l->unlimited = 0;
	bufferevent_decrement_read_limit(bev, bufferevent_get_read_limit(bev) - EV_RATE_LIMIT_MAX);
}

static void
on_sent(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_limits *l = arg;
	PEV_UNUSED(buf);
	if (info->n_deleted)
		l->sent = 1;
	if (pev_is_pair(l->owner))
		pev_meter_charge(l, PEV_WRITE, (long long)info->n_deleted);
}

static void
delete_limits(struct pev_limits *l)
{
	if (l->on_received != NULL)
		evbuffer_remove_cb_entry(bufferevent_get_input(l->owner->bev), l->on_received);
	if (l->on_sent != NULL)
		evbuffer_remove_cb_entry(bufferevent_get_output(l->owner->bev), l->on_sent);
	l->owner->limits = NULL;
	pev_delete(l);
}

struct pev_limits *
pev_make_limits(struct pev_bev *low)
{
	struct pev_limits *l = low->limits;
	if (l != NULL)
		return l;
	l = pev_new(sizeof *l);
	if (l == NULL)
		return NULL;
	l->owner = low;
	low->limits = l;
	l->sent = (low->options & (BEV_OPT_DEFER_CALLBACKS | BEV_OPT_THREADSAFE)) != 0; /* one may be on its way */
	l->on_received = evbuffer_add_cb(bufferevent_get_input(low->bev), on_received, l);
	l->on_sent = evbuffer_add_cb(bufferevent_get_output(low->bev), on_sent, l);
	if (l->on_received == NULL || l->on_sent == NULL) {
		delete_limits(l);
		return NULL;
	}
	pev_watch_clock(low->source.loop);
	return l;
}

/* A write callback: whether it says something. */
int
pev_limits_sent(struct pev_bev *h)
{
	int sent = h->limits->sent;
	h->limits->sent = 0;
	return sent;
}

/* Changing limits has enabled what was suspended. */
void
pev_calm(struct pev_bev *low)
{
	if (!pev_bev_has_descriptor(low))
		return;
	if (event_get_fd(&low->bev->ev_read) < 0) {
		event_del(&low->bev->ev_read);
		event_del(&low->bev->ev_write);
	} else if (pev_bev_is_socket(low) && low->connecting == PEV_NOT_CONNECTING && !pev_bev_has_output(low))
		event_del(&low->bev->ev_write);
}

static long long
level_of(struct pev_limits *l, int is_write)
{
	struct bufferevent *bev = l->owner->bev;
	if (pev_is_pair(l->owner))
		return pev_meter_level(l, is_write);
	return is_write ? bufferevent_get_write_limit(bev) : bufferevent_get_read_limit(bev);
}

static int
decrement(struct pev_limits *l, int is_write, long long n)
{
	struct bufferevent *bev = l->owner->bev;
	int r;
	if (n == 0)
		return 0;
	if (pev_is_pair(l->owner)) {
		l->levels[is_write] -= n;
		return pev_limits_changed(l->owner);
	}
	r = is_write ? bufferevent_decrement_write_limit(bev, n) : bufferevent_decrement_read_limit(bev, n);
	return r < 0 ? -ENOMEM : 0;
}

/* The same for a pair: only whether there is a configuration matters there. */
static int
replace_meter(struct pev_limits *l, struct ev_token_bucket_cfg *cfg, const struct pev_rate *rate)
{
	pev_meter_set(l, rate);
	if (l->cfg != NULL)
		ev_token_bucket_cfg_free(l->cfg);
	l->cfg = cfg;
	return pev_limits_changed(l->owner);
}

/* Rule 3: libevent forgets the old bucket before it hears of the new one. cfg may be NULL: no limit. */
static int
replace_cfg(struct pev_limits *l, struct ev_token_bucket_cfg *cfg, const struct pev_rate *rate)
{
	struct bufferevent *bev = l->owner->bev;
	struct ev_token_bucket_cfg *old = l->cfg;
	long long levels[2] = { level_of(l, PEV_READ), level_of(l, PEV_WRITE) };
	int d, code = 0;
	if (pev_is_pair(l->owner))
		return replace_meter(l, cfg, rate);
	bufferevent_set_rate_limit(bev, NULL);
	l->cfg = NULL;
	if (cfg != NULL && bufferevent_set_rate_limit(bev, cfg) < 0)
		code = -ENOMEM;
	else
		l->cfg = cfg;
	for (d = PEV_READ; code == 0 && cfg != NULL && old != NULL && d <= PEV_WRITE; d++)
		if (rate->rate[d])
			code = decrement(l, d, level_of(l, d) - pev_level_kept(&l->rate, rate, d, levels[d]));
	if (old != NULL)
		ev_token_bucket_cfg_free(old);
	if (l->cfg != NULL)
		l->rate = *rate;
	else if (cfg != NULL)
		ev_token_bucket_cfg_free(cfg);
	return code;
}

static int
set_rate(struct pev_bev *low, const struct pev_rate *rate)
{
	struct ev_token_bucket_cfg *cfg;
	struct pev_limits *l = pev_make_limits(low);
	if (l == NULL || (cfg = pev_make_cfg(rate)) == NULL)
		return -ENOMEM;
	l->unlimited = 0;
	return replace_cfg(l, cfg, rate);
}

/* The same limit in a new bucket. */
void
pev_limits_renew(struct pev_limits *l)
{
	struct pev_rate rate = l->rate;
	if (l->cfg == NULL || pev_is_pair(l->owner))
		return;
	bufferevent_lock(l->owner->bev);
	set_rate(l->owner, &rate);
	pev_calm(l->owner);
	bufferevent_unlock(l->owner->bev);
}

int
pev_bev_set_rate_limit(struct pev_bev *h, const struct pev_rate *rate)
{
	PEV_VISIT(pev_visit_bev(h));
	int code;
	struct pev_bev *low = pev_find_bottom(h, &code);
	if (low == NULL)
		return code;
	bufferevent_lock(low->bev);
	if (rate != NULL)
		code = set_rate(low, rate);
	else if (low->limits != NULL && low->limits->cfg != NULL)
		code = replace_cfg(low->limits, NULL, NULL);
	pev_calm(low);
	bufferevent_unlock(low->bev);
	return code;
}

/* 1, and how many bytes are left in the bucket; 0: there is no limit */
int
pev_bev_get_level(struct pev_bev *h, int is_write, long long *out)
{
	PEV_VISIT(pev_visit_bev(h));
	int code;
	struct pev_bev *low = pev_find_bottom(h, &code);
	if (low == NULL)
		return code;
	bufferevent_lock(low->bev);
	if (low->limits != NULL && low->limits->cfg != NULL && low->limits->rate.rate[is_write]) {
		*out = level_of(low->limits, is_write);
		code = 1;
	}
	bufferevent_unlock(low->bev);
	return code;
}

int
pev_bev_decrement(struct pev_bev *h, int is_write, long long n)
{
	PEV_VISIT(pev_visit_bev(h));
	int code;
	struct pev_bev *low = pev_find_bottom(h, &code);
	struct pev_limits *l;
	if (low == NULL)
		return code;
	bufferevent_lock(low->bev);
	l = low->limits;
	if (l == NULL || l->cfg == NULL)
		code = -PEV_ENOLIMIT;
	else if (l->rate.rate[is_write])
		code = decrement(l, is_write, pev_within(level_of(l, is_write), n, l->rate.burst[is_write]));
	pev_calm(low);
	bufferevent_unlock(low->bev);
	return code;
}

/* All limits together: its own, and those below it. */
int
pev_bev_get_max_to(struct pev_bev *h, int is_write, long long *out)
{
	PEV_VISIT(pev_visit_bev(h));
	int code;
	if (pev_find_bottom(h, &code) == NULL)
		return code;
	*out = LLONG_MAX;
	for (; h != NULL && h->bev != NULL; h = h->under) {
		long long n = pev_meter_max(h, is_write);
		if (n < *out)
			*out = n;
	}
	return 0;
}

/* The bufferevent is about to be freed. */
void
pev_limits_free(struct pev_bev *h)
{
	struct pev_limits *l = h->limits;
	if (l == NULL)
		return;
	bufferevent_lock(h->bev);
	pev_leave_group(l);
	pev_valve_free(l);
	if (l->cfg != NULL && !pev_is_pair(h))
		replace_cfg(l, NULL, NULL);
	else if (l->cfg != NULL)
		ev_token_bucket_cfg_free(l->cfg);
	delete_limits(l);
	bufferevent_unlock(h->bev);
}
