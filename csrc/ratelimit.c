/* event2/bufferevent.h: rate limits, of one bufferevent and of a group.
 *
 * libevent keeps the buckets and moves the bytes. The rules that are kept here, and the facts that make them needed:
 *
 *   1. A limit sits at the bottom: on the bufferevent that moves the bytes, whatever stands on it. Filters are never
 *      charged, and TLS stalls inside a record (facts of libevent 4.2, 4.4).
 *   2. libevent borrows a bufferevent's configuration: it is ours, and freed when libevent has let go of it (2.6).
 *   3. A bucket never changes its tick. Its tick numbers would jump, and it might not be refilled for years (4.3): it is
 *      made anew, with what was left in it.
 *   4. A credit never lifts a bucket above its burst: libevent would let it grow without end (4.1).
 *   5. Refilling enables, and enabling gives a write callback out of nothing (3.8): none is told unless something was
 *      sent. Nor may it add an event without a descriptor.
 *   6. A group's timer doesn't keep a loop running (4.4); members that wait for it do.
 */
#include "pylibevent.h"

#include <limits.h>

enum { READ, WRITE };

/* libevent's, of a new group, in bytes */
#define LIBEVENT_MIN_SHARE 64

/* Buckets stay above it, so that no sum overflows. */
#define LOWEST_LEVEL (-(1LL << 62))

static struct ev_token_bucket_cfg *
make_cfg(const struct pev_rate *rate)
{
	struct timeval tick = { rate->tick / 1000, (rate->tick % 1000) * 1000 };
	size_t rates[2], bursts[2];
	int d;
	for (d = READ; d <= WRITE; d++) {
		rates[d] = rate->rate[d] ? (size_t)rate->rate[d] : EV_RATE_LIMIT_MAX;
		bursts[d] = rate->rate[d] ? (size_t)rate->burst[d] : EV_RATE_LIMIT_MAX;
	}
	return ev_token_bucket_cfg_new(rates[READ], bursts[READ], rates[WRITE], bursts[WRITE], &tick);
}

/* By how much to decrement a bucket at this level, so that it stays between its bounds. */
static long long
within(long long level, long long n, int burst)
{
	if (n < level - burst)
		return level - burst;
	return level < 0 && n > level - LOWEST_LEVEL ? level - LOWEST_LEVEL : n;
}

/* What shall be in a new bucket that takes the place of another. */
static long long
level_kept(const struct pev_rate *old, const struct pev_rate *new, int d, long long level)
{
	if (old->rate[d] == 0)
		return new->rate[d];
	return level < new->burst[d] ? level : new->burst[d];
}

/* ------------------------------------------------------------------ of one bufferevent */

static struct pev_bev *
bottom_of(struct pev_bev *h)
{
	while (h->under != NULL)
		h = h->under;
	return h;
}

/* The one that the limits of this one are on, or NULL and why not. */
static struct pev_bev *
find_bottom(struct pev_bev *h, int *code)
{
	struct pev_bev *low = bottom_of(h);
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
	if (l->cfg == NULL || l->rate.rate[READ])
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

static struct pev_limits *
make_limits(struct pev_bev *low)
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
static void
calm(struct pev_bev *low)
{
	if (!pev_bev_is_socket(low))
		return;
	if (event_get_fd(&low->bev->ev_read) < 0) {
		event_del(&low->bev->ev_read);
		event_del(&low->bev->ev_write);
	} else if (low->connecting == PEV_NOT_CONNECTING && !pev_bev_has_output(low))
		event_del(&low->bev->ev_write);
}

static long long
level_of(const struct pev_limits *l, int is_write)
{
	struct bufferevent *bev = l->owner->bev;
	return is_write ? bufferevent_get_write_limit(bev) : bufferevent_get_read_limit(bev);
}

static int
decrement(const struct pev_limits *l, int is_write, long long n)
{
	struct bufferevent *bev = l->owner->bev;
	int r;
	if (n == 0)
		return 0;
	r = is_write ? bufferevent_decrement_write_limit(bev, n) : bufferevent_decrement_read_limit(bev, n);
	return r < 0 ? -ENOMEM : 0;
}

/* Rule 3: libevent forgets the old bucket before it hears of the new one. cfg may be NULL: no limit. */
static int
replace_cfg(struct pev_limits *l, struct ev_token_bucket_cfg *cfg, const struct pev_rate *rate)
{
	struct bufferevent *bev = l->owner->bev;
	struct ev_token_bucket_cfg *old = l->cfg;
	long long levels[2] = { level_of(l, READ), level_of(l, WRITE) };
	int d, code = 0;
	bufferevent_set_rate_limit(bev, NULL);
	l->cfg = NULL;
	if (cfg != NULL && bufferevent_set_rate_limit(bev, cfg) < 0)
		code = -ENOMEM;
	else
		l->cfg = cfg;
	for (d = READ; code == 0 && cfg != NULL && old != NULL && d <= WRITE; d++)
		if (rate->rate[d])
			code = decrement(l, d, level_of(l, d) - level_kept(&l->rate, rate, d, levels[d]));
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
	struct pev_limits *l = make_limits(low);
	int code;
	if (l == NULL || (cfg = make_cfg(rate)) == NULL)
		return -ENOMEM;
	code = replace_cfg(l, cfg, rate);
	l->unlimited = 0;
	return code;
}

int
pev_bev_set_rate_limit(struct pev_bev *h, const struct pev_rate *rate)
{
	PEV_INSIDE(pev_shared_loop(h));
	int code;
	struct pev_bev *low = find_bottom(h, &code);
	if (low == NULL)
		return code;
	bufferevent_lock(low->bev);
	if (rate != NULL)
		code = set_rate(low, rate);
	else if (low->limits != NULL && low->limits->cfg != NULL)
		code = replace_cfg(low->limits, NULL, NULL);
	calm(low);
	bufferevent_unlock(low->bev);
	return code;
}

/* 1, and how many bytes are left in the bucket; 0: there is no limit */
int
pev_bev_get_level(struct pev_bev *h, int is_write, long long *out)
{
	PEV_INSIDE(pev_shared_loop(h));
	int code;
	struct pev_bev *low = find_bottom(h, &code);
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
	PEV_INSIDE(pev_shared_loop(h));
	int code;
	struct pev_bev *low = find_bottom(h, &code);
	struct pev_limits *l;
	if (low == NULL)
		return code;
	bufferevent_lock(low->bev);
	l = low->limits;
	if (l == NULL || l->cfg == NULL)
		code = -PEV_ENOLIMIT;
	else if (l->rate.rate[is_write])
		code = decrement(l, is_write, within(level_of(l, is_write), n, l->rate.burst[is_write]));
	calm(low);
	bufferevent_unlock(low->bev);
	return code;
}

/* All limits together: its own, and those below it. */
int
pev_bev_get_max_to(struct pev_bev *h, int is_write, long long *out)
{
	PEV_INSIDE(pev_shared_loop(h));
	int code;
	if (find_bottom(h, &code) == NULL)
		return code;
	*out = LLONG_MAX;
	for (; h != NULL && h->bev != NULL; h = h->under) {
		long long n = is_write ? bufferevent_get_max_to_write(h->bev) : bufferevent_get_max_to_read(h->bev);
		if (n < *out)
			*out = n;
	}
	return 0;
}

static void
leave_group(struct pev_limits *l)
{
	if (l->group == NULL)
		return;
	bufferevent_remove_from_rate_limit_group(l->owner->bev);
	TAILQ_REMOVE(&l->group->members, l, next_member);
	if (--l->group->n_members == 0)
		event_del(&l->group->hold);
	l->group = NULL;
}

/* The bufferevent is about to be freed. */
void
pev_limits_free(struct pev_bev *h)
{
	struct pev_limits *l = h->limits;
	if (l == NULL)
		return;
	bufferevent_lock(h->bev);
	leave_group(l);
	if (l->cfg != NULL)
		replace_cfg(l, NULL, NULL);
	delete_limits(l);
	bufferevent_unlock(h->bev);
}

/* ------------------------------------------------------------------ of a group */

struct search {
	const void *group;
	struct event *found;
};

static int
is_refill(const struct event_base *base, const struct event *ev, void *arg)
{
	struct search *search = arg;
	PEV_UNUSED(base);
	if (ev->ev_evcallback.evcb_arg != search->group)
		return 0;
	search->found = (struct event *)ev;
	return 1;
}

/* The group's timer is an event like any other: made internal, it neither counts nor keeps the loop. */
static struct bufferevent_rate_limit_group *
make_group(struct event_base *base, const struct pev_rate *rate)
{
	struct ev_token_bucket_cfg *cfg = make_cfg(rate);
	struct timeval tick = { rate->tick / 1000, (rate->tick % 1000) * 1000 };
	struct search search = { NULL, NULL };
	struct bufferevent_rate_limit_group *group;
	if (cfg == NULL)
		return NULL;
	group = bufferevent_rate_limit_group_new(base, cfg);
	ev_token_bucket_cfg_free(cfg);
	if (group == NULL)
		return NULL;
	search.group = group;
	event_base_foreach_event(base, is_refill, &search);
	if (search.found != NULL) {
		event_del(search.found);
		pev_mark_internal(search.found);
	}
	if (search.found == NULL || event_add(search.found, &tick) < 0) {
		bufferevent_rate_limit_group_free(group);
		return NULL;
	}
	return group;
}

static void
on_hold(evutil_socket_t fd, short what, void *arg)
{
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	PEV_UNUSED(arg);
}

/* Idempotent. Its members go on without it. */
static void
shut_group(struct pev_source *source)
{
	struct pev_group *g = (struct pev_group *)source;
	struct pev_limits *l;
	if (g->group == NULL)
		return;
	while ((l = TAILQ_FIRST(&g->members)) != NULL) {
		leave_group(l);
		calm(l->owner);
	}
	event_del(&g->hold);
	bufferevent_rate_limit_group_free(g->group);
	g->group = NULL;
}

static void
drop_group(struct pev_source *source)
{
	if (source->loop != NULL) {
		shut_group(source);
		pev_source_leave(source);
	}
	pev_delete(source);
}

void
pev_group_drop(struct pev_group *g)
{
	if (!pev_source_bury(&g->source))
		drop_group(&g->source);
}

struct pev_group *
pev_group_new(struct pev_loop *loop, const struct pev_rate *rate, uint64_t id)
{
	struct pev_group *g;
	int code = pev_loop_usable(loop, 0);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	g = pev_new(sizeof *g);
	if (g == NULL)
		return NULL;
	TAILQ_INIT(&g->members);
	g->rate = *rate;
	g->min_share = LIBEVENT_MIN_SHARE;
	g->group = make_group(loop->base, rate);
	if (g->group == NULL || event_assign(&g->hold, loop->base, -1, 0, on_hold, g) < 0) {
		if (g->group != NULL)
			bufferevent_rate_limit_group_free(g->group);
		pev_delete(g);
		errno = ENOMEM;
		return NULL;
	}
	pev_source_init(&g->source, loop, id, PEV_LAYER_GROUP, shut_group, drop_group);
	return g;
}

int
pev_group_check(struct pev_group *g)
{
	return g->group == NULL ? -PEV_ECLOSED : pev_loop_usable(g->source.loop, 0);
}

int
pev_group_close(struct pev_group *g)
{
	int code;
	if (g->group == NULL)
		return 0;
	code = pev_group_check(g);
	if (code < 0)
		return code;
	shut_group(&g->source);
	return 0;
}

static int
join(struct pev_group *g, struct pev_limits *l)
{
	if (bufferevent_add_to_rate_limit_group(l->owner->bev, g->group) < 0)
		return -ENOMEM;
	TAILQ_INSERT_TAIL(&g->members, l, next_member);
	g->n_members++;
	l->group = g;
	return 0;
}

/* From one group to another. */
int
pev_group_add(struct pev_group *g, struct pev_bev *h)
{
	int code = pev_group_check(g);
	struct pev_bev *low = code < 0 ? NULL : find_bottom(h, &code);
	struct pev_limits *l;
	if (low == NULL)
		return code;
	if (low->source.loop != g->source.loop)
		return -PEV_EVALUE;
	bufferevent_lock(low->bev);
	l = make_limits(low);
	if (l == NULL)
		code = -ENOMEM;
	else if (l->group != g) {
		leave_group(l);
		code = join(g, l);
		calm(low);
	}
	bufferevent_unlock(low->bev);
	return code;
}

/* 1: it was a member; 0: it wasn't */
int
pev_group_remove(struct pev_group *g, struct pev_bev *h)
{
	int code = pev_group_has(g, h);
	struct pev_bev *low = bottom_of(h);
	if (code > 0) {
		bufferevent_lock(low->bev);
		leave_group(low->limits);
		calm(low);
		bufferevent_unlock(low->bev);
	}
	return code;
}

int
pev_group_has(struct pev_group *g, struct pev_bev *h)
{
	struct pev_bev *low = bottom_of(h);
	int code = pev_group_check(g);
	return code < 0 ? code : h->bev != NULL && low->limits != NULL && low->limits->group == g;
}

int
pev_group_count(struct pev_group *g)
{
	int code = pev_group_check(g);
	return code < 0 ? code : g->n_members;
}

static long long
group_level(struct bufferevent_rate_limit_group *group, int is_write)
{
	return is_write ? bufferevent_rate_limit_group_get_write_limit(group) :
			  bufferevent_rate_limit_group_get_read_limit(group);
}

static int
group_decrement(struct bufferevent_rate_limit_group *group, int is_write, long long n)
{
	return is_write ? bufferevent_rate_limit_group_decrement_write(group, n) :
			  bufferevent_rate_limit_group_decrement_read(group, n);
}

static void
calm_members(struct pev_group *g)
{
	struct pev_limits *l;
	TAILQ_FOREACH(l, &g->members, next_member)
		calm(l->owner);
}

/* Another configuration for the same buckets. */
static int
change_rate(struct pev_group *g, const struct pev_rate *rate)
{
	struct ev_token_bucket_cfg *cfg = make_cfg(rate);
	int d, code;
	if (cfg == NULL)
		return -ENOMEM;
	code = bufferevent_rate_limit_group_set_cfg(g->group, cfg) < 0 ? -PEV_EFAILED : 0;
	ev_token_bucket_cfg_free(cfg);
	for (d = READ; code == 0 && d <= WRITE; d++)
		if (rate->rate[d] && !g->rate.rate[d])
			group_decrement(g->group, d, group_level(g->group, d) - rate->rate[d]);
	return code;
}

/* Rule 3: another group takes over, with what was left. */
static int
change_tick(struct pev_group *g, const struct pev_rate *rate)
{
	struct bufferevent_rate_limit_group *old = g->group, *new = make_group(g->source.loop->base, rate);
	struct pev_limits *l;
	uint64_t totals[2];
	int d;
	if (new == NULL)
		return -ENOMEM;
	for (d = READ; d <= WRITE; d++)
		if (rate->rate[d])
			group_decrement(new, d,
			    group_level(new, d) - level_kept(&g->rate, rate, d, group_level(old, d)));
	TAILQ_FOREACH(l, &g->members, next_member)
		bufferevent_add_to_rate_limit_group(l->owner->bev, new); /* it has its memory, so it can't fail */
	bufferevent_rate_limit_group_get_totals(old, &totals[READ], &totals[WRITE]);
	g->totals[READ] += totals[READ];
	g->totals[WRITE] += totals[WRITE];
	bufferevent_rate_limit_group_free(old);
	g->group = new;
	return 0;
}

int
pev_group_set_rate(struct pev_group *g, const struct pev_rate *rate)
{
	int code = pev_group_check(g);
	if (code < 0)
		return code;
	code = rate->tick == g->rate.tick ? change_rate(g, rate) : change_tick(g, rate);
	if (code < 0)
		return code;
	g->rate = *rate;
	calm_members(g);
	return pev_group_set_min_share(g, g->min_share);
}

/* libevent takes no more than one tick's worth, whatever this says. 0 would be an end of the stream (facts of libevent
 * 4.3). */
int
pev_group_set_min_share(struct pev_group *g, int n)
{
	int code = pev_group_check(g);
	if (code < 0)
		return code;
	if (n < 1)
		return -PEV_EVALUE;
	g->min_share = n;
	return bufferevent_rate_limit_group_set_min_share(g->group, (size_t)n) < 0 ? -PEV_EVALUE : 0;
}

int
pev_group_get_min_share(struct pev_group *g)
{
	int code = pev_group_check(g);
	return code < 0 ? code : g->min_share;
}

/* 1, and how many bytes are left, as of the last tick; 0: there is no limit */
int
pev_group_get_level(struct pev_group *g, int is_write, long long *out)
{
	int code = pev_group_check(g);
	if (code < 0 || g->rate.rate[is_write] == 0)
		return code;
	*out = group_level(g->group, is_write);
	return 1;
}

int
pev_group_decrement(struct pev_group *g, int is_write, long long n)
{
	int code = pev_group_check(g);
	if (code < 0 || g->rate.rate[is_write] == 0)
		return code;
	group_decrement(g->group, is_write, within(group_level(g->group, is_write), n, g->rate.burst[is_write]));
	calm_members(g);
	return 0;
}

int
pev_group_totals(struct pev_group *g, uint64_t *out)
{
	int code = pev_group_check(g);
	if (code < 0)
		return code;
	bufferevent_rate_limit_group_get_totals(g->group, &out[READ], &out[WRITE]);
	out[READ] += g->totals[READ];
	out[WRITE] += g->totals[WRITE];
	return 0;
}

int
pev_group_reset_totals(struct pev_group *g)
{
	int code = pev_group_check(g);
	if (code < 0)
		return code;
	bufferevent_rate_limit_group_reset_totals(g->group);
	memset(g->totals, 0, sizeof g->totals);
	return 0;
}

/* ------------------------------------------------------------------ rule 6 */

/* How long a loop that has nothing else to wait for waits at most, in milliseconds, before it looks again. */
#define LONGEST_HOLD 1000

static int
is_waiting(const struct pev_limits *l)
{
	struct bufferevent *bev = l->owner->bev;
	int enabled = bufferevent_get_enabled(bev);
	if (pev_bev_is_socket(l->owner) && bufferevent_getfd(bev) < 0)
		return 0;
	if ((enabled & EV_READ) && bufferevent_get_max_to_read(bev) == 0)
		return 1;
	return (enabled & EV_WRITE) && pev_bev_has_output(l->owner) && bufferevent_get_max_to_write(bev) == 0;
}

static int
hold(struct pev_group *g)
{
	struct pev_limits *l;
	unsigned ms = g->rate.tick < LONGEST_HOLD ? g->rate.tick : LONGEST_HOLD;
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };
	TAILQ_FOREACH(l, &g->members, next_member)
		if (is_waiting(l))
			return event_add(&g->hold, &tv) == 0;
	return 0;
}

/* The loop has no events. 1: it has now, since members of a group wait for its next tick. */
int
pev_groups_hold(struct pev_loop *loop)
{
	struct pev_source *source;
	int held = 0;
	TAILQ_FOREACH(source, &loop->children, next_child)
		if (source->layer == PEV_LAYER_GROUP && ((struct pev_group *)source)->group != NULL)
			held |= hold((struct pev_group *)source);
	return held;
}
