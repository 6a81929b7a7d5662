/* event2/bufferevent.h: rate limits of pairs, which libevent neither charges nor, for writing, obeys (facts of libevent 4.2).
 *
 *   1. The buckets of a pair's end are kept here; a group's are libevent's, and are charged from here.
 *   2. Bytes on the way into an end are limited by its limits for reading and by the other end's for writing. While there
 *      are any, a valve stands before its input: libevent's own suspension, by a group of libevent's that has this one
 *      member and nothing to give.
 *   3. A step opens the valve for as many bytes as the limits allow. The high mark tells libevent how many.
 *   4. Whatever moves is charged, whoever moves it: a flush goes into debt.
 *   5. The timer of the next step doesn't keep a loop running; bytes that wait for it, where somebody reads, do.
 */
#include "pylibevent.h"

#include <limits.h>

/* Shuts a valve for longer than it could ever be refilled. */
#define SHUT (1LL << 40)

/* Looks again at an end that doesn't read though it may: what stands on it says nothing when it does. Milliseconds. */
#define LOOK_AGAIN 20

#define LONGEST_TICK 2000000000u

/* ------------------------------------------------------------------ buckets */

static uint64_t
milliseconds(const struct pev_limits *l)
{
	struct timeval now;
	event_gettime_monotonic(l->owner->source.loop->base, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

static void
fill(struct pev_limits *l)
{
	uint64_t tick, n;
	int d;
	if (l->cfg == NULL)
		return;
	tick = milliseconds(l) / l->rate.tick;
	n = tick - l->tick;
	l->tick = tick;
	for (d = PEV_READ; n > 0 && d <= PEV_WRITE; d++) {
		long long room = l->rate.burst[d] - l->levels[d];
		if (l->rate.rate[d] == 0)
			continue;
		if (n > (uint64_t)(room / l->rate.rate[d]))
			l->levels[d] += room;
		else
			l->levels[d] += (long long)n * l->rate.rate[d];
	}
}

/* rate: NULL for none. What was left is left. */
void
pev_meter_set(struct pev_limits *l, const struct pev_rate *rate)
{
	int d, had = l->cfg != NULL;
	fill(l);
	if (rate == NULL)
		return;
	for (d = PEV_READ; d <= PEV_WRITE; d++)
		l->levels[d] = had ? pev_level_kept(&l->rate, rate, d, l->levels[d]) : rate->rate[d];
	l->rate = *rate;
	l->tick = milliseconds(l) / rate->tick;
}

long long
pev_meter_level(struct pev_limits *l, int is_write)
{
	fill(l);
	return l->levels[is_write];
}

void
pev_meter_charge(struct pev_limits *l, int is_write, long long n)
{
	if (n == 0)
		return;
	if (l->cfg != NULL && l->rate.rate[is_write])
		l->levels[is_write] -= n;
	if (l->group == NULL)
		return;
	if (l->group->rate.rate[is_write])
		pev_group_spend(l->group->group, is_write, n);
	l->group->totals[is_write] += (uint64_t)n;
}

/* As libevent reckons for sockets. */
static long long
share(const struct pev_group *g, int is_write)
{
	long long level = pev_group_bucket(g->group, is_write), least = g->min_share, share = level / g->n_members;
	int d;
	for (d = PEV_READ; d <= PEV_WRITE; d++)
		if (g->rate.rate[d] && least > g->rate.rate[d])
			least = g->rate.rate[d];
	return level <= 0 ? 0 : share < least ? least : share;
}

static int
has_limit(const struct pev_limits *l, int is_write)
{
	return l != NULL && ((l->cfg != NULL && l->rate.rate[is_write]) || (l->group != NULL && l->group->rate.rate[is_write]));
}

/* How many bytes an end may move now. */
static long long
allowance(struct pev_limits *l, int is_write)
{
	long long most = LLONG_MAX, n;
	if (l == NULL)
		return most;
	fill(l);
	if (l->cfg != NULL && l->rate.rate[is_write])
		most = l->levels[is_write];
	if (l->group != NULL && l->group->rate.rate[is_write] && (n = share(l->group, is_write)) < most)
		most = n;
	return most < 0 ? 0 : most;
}

/* What bufferevent_get_max_to_read and _write would say. */
long long
pev_meter_max(struct pev_bev *h, int is_write)
{
	if (!pev_is_pair(h))
		return is_write ? bufferevent_get_max_to_write(h->bev) : bufferevent_get_max_to_read(h->bev);
	if (has_limit(h->limits, is_write))
		return allowance(h->limits, is_write);
	return is_write ? bufferevent_get_max_single_write(h->bev) : bufferevent_get_max_single_read(h->bev);
}

/* ------------------------------------------------------------------ on the way into an end */

static struct pev_limits *
limits_of_writer(const struct pev_bev *h)
{
	struct pev_bev *partner = h->layer->partner(h);
	return partner != NULL ? partner->limits : NULL;
}

static size_t
waiting(const struct pev_bev *h)
{
	struct bufferevent *source = h->layer->source(h);
	return source != NULL ? evbuffer_get_length(bufferevent_get_output(source)) : 0;
}

static long long
way_allowance(struct pev_bev *h)
{
	long long in = allowance(h->limits, PEV_READ), out = allowance(limits_of_writer(h), PEV_WRITE);
	return in < out ? in : out;
}

/* The time until the next multiple of a length. */
static unsigned
until_next(const struct pev_limits *l, unsigned ms)
{
	return ms - (unsigned)(milliseconds(l) % ms);
}

/* When to look for new bytes, in milliseconds. Groups are filled by a timer of their own: look twice a tick, not to miss
 * one. */
static void
shortest_tick(const struct pev_limits *l, unsigned *ms)
{
	unsigned own = *ms, group = *ms;
	if (l != NULL && l->cfg != NULL)
		own = until_next(l, l->rate.tick);
	if (l != NULL && l->group != NULL)
		group = until_next(l, l->group->rate.tick > 1 ? l->group->rate.tick / 2 : 1);
	own = group < own ? group : own;
	*ms = own < *ms ? own : *ms;
}

/* Members of a group take turns in a new order each time: the share of whoever comes first is the largest. */
static void
step_after(struct pev_valve *v, unsigned ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };
	unsigned random;
	evutil_secure_rng_get_bytes(&random, sizeof random);
	if (ms > 0)
		tv.tv_usec += random % 1000;
	event_add(&v->step, &tv);
}

/* libevent moves at most n bytes, if this end wants any. */
static size_t
let_in(struct pev_bev *h, struct pev_valve *v, long long n)
{
	struct bufferevent *bev = h->bev;
	size_t low = bev->wm_read.low, high = bev->wm_read.high, before = waiting(h);
	size_t length = evbuffer_get_length(bev->input), mark = length + (size_t)(n < INT_MAX ? n : INT_MAX);
	if (high && high < mark)
		mark = high;
	if (mark <= length)
		return 0;
	bufferevent_setwatermark(bev, EV_READ, low, mark);
	pev_group_spend(v->gate, PEV_READ, -SHUT);
	pev_group_spend(v->gate, PEV_READ, SHUT);
	bufferevent_setwatermark(bev, EV_READ, low, high);
	return before - waiting(h);
}

static void
step(struct pev_bev *h, struct pev_valve *v)
{
	long long n = way_allowance(h);
	unsigned ms = LONGEST_TICK;
	if (waiting(h) == 0)
		return;
	if (pev_bev_peeked(h)) {
		step_after(v, LOOK_AGAIN);
	} else if (n == 0) {
		shortest_tick(h->limits, &ms);
		shortest_tick(limits_of_writer(h), &ms);
		step_after(v, ms);
	} else if (let_in(h, v, n) > 0) {
		if (waiting(h))
			step_after(v, 0);
	} else if (h->over != NULL)
		step_after(v, LOOK_AGAIN);
}

static void
on_step(evutil_socket_t fd, short what, void *arg)
{
	struct pev_bev *h = arg;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	bufferevent_lock(h->bev);
	step(h, h->limits->valve);
	bufferevent_unlock(h->bev);
}

/* Bytes may have come, or somebody may have begun to read. */
void
pev_valve_kick(struct pev_bev *h)
{
	if (h->limits != NULL && h->limits->valve != NULL && h->bev != NULL)
		event_active(&h->limits->valve->step, EV_TIMEOUT, 1);
}

/* ------------------------------------------------------------------ the valve */

static struct pev_valve *
make_valve(struct pev_bev *h)
{
	static const struct pev_rate nothing = { { 1, 1 }, { 1, 1 }, LONGEST_TICK };
	struct event_base *base = h->source.loop->base;
	struct pev_valve *v = pev_new(sizeof *v);
	if (v == NULL)
		return NULL;
	v->gate = pev_make_group(base, &nothing);
	if (v->gate == NULL || event_assign(&v->step, base, -1, 0, on_step, h) < 0 ||
	    event_assign(&v->hold, base, -1, 0, pev_on_hold, h) < 0 ||
	    bufferevent_add_to_rate_limit_group(h->bev, v->gate) < 0) {
		if (v->gate != NULL)
			bufferevent_rate_limit_group_free(v->gate);
		pev_delete(v);
		return NULL;
	}
	pev_mark_internal(&v->step);
	pev_group_spend(v->gate, PEV_READ, SHUT);
	return v;
}

/* libevent moves what waits, if this end wants it. */
void
pev_valve_free(struct pev_limits *l)
{
	struct pev_valve *v = l->valve;
	if (v == NULL)
		return;
	l->valve = NULL;
	event_del(&v->step);
	event_del(&v->hold);
	bufferevent_remove_from_rate_limit_group(l->owner->bev);
	bufferevent_rate_limit_group_free(v->gate);
	pev_delete(v);
}

static int
look_at_way_into(struct pev_bev *h)
{
	struct pev_limits *l = h->limits;
	if (!has_limit(l, PEV_READ) && !has_limit(limits_of_writer(h), PEV_WRITE)) {
		if (l != NULL)
			pev_valve_free(l);
		return 0;
	}
	l = pev_make_limits(h);
	if (l == NULL || (l->valve == NULL && (l->valve = make_valve(h)) == NULL))
		return -ENOMEM;
	pev_valve_kick(h);
	return 0;
}

/* The limits of an end have changed, or its partner is gone. */
int
pev_limits_changed(struct pev_bev *h)
{
	struct pev_bev *partner;
	int code, other = 0;
	if (!pev_is_pair(h))
		return 0;
	partner = h->layer->partner(h);
	code = look_at_way_into(h);
	if (partner != NULL)
		other = look_at_way_into(partner);
	return code < 0 ? code : other;
}

/* The loop has nothing else to do: whether bytes wait here for somebody who reads. */
int
pev_valve_is_waiting(struct pev_bev *h)
{
	struct pev_bev *top = h;
	if (h->bev == NULL || h->limits == NULL || h->limits->valve == NULL || waiting(h) == 0)
		return 0;
	while (top->over != NULL)
		top = top->over;
	return (bufferevent_get_enabled(h->bev) & EV_READ) && top->bev != NULL &&
	    (bufferevent_get_enabled(top->bev) & EV_READ);
}
