/* event2/bufferevent.h: rate limits that bufferevents share. The rules are ratelimit.c's. */
#include "pylibevent.h"

/* libevent's, of a new group, in bytes */
#define LIBEVENT_MIN_SHARE 64

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
struct bufferevent_rate_limit_group *
pev_make_group(struct event_base *base, const struct pev_rate *rate)
{
	struct ev_token_bucket_cfg *cfg = pev_make_cfg(rate);
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

void
pev_on_hold(evutil_socket_t fd, short what, void *arg)
{
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	PEV_UNUSED(arg);
}

static int
join(struct pev_group *g, struct pev_limits *l)
{
	if (!pev_is_pair(l->owner) && bufferevent_add_to_rate_limit_group(l->owner->bev, g->group) < 0)
		return -ENOMEM;
	TAILQ_INSERT_TAIL(&g->members, l, next_member);
	g->n_members++;
	l->group = g;
	return pev_limits_changed(l->owner);
}

void
pev_leave_group(struct pev_limits *l)
{
	if (l->group == NULL)
		return;
	if (!pev_is_pair(l->owner))
		bufferevent_remove_from_rate_limit_group(l->owner->bev);
	TAILQ_REMOVE(&l->group->members, l, next_member);
	if (--l->group->n_members == 0)
		event_del(&l->group->hold);
	l->group = NULL;
}

static void
leave(struct pev_limits *l)
{
	pev_leave_group(l);
	pev_calm(l->owner);
	pev_limits_changed(l->owner);
}

/* Idempotent. Its members go on without it. */
static void
shut_group(struct pev_source *source)
{
	struct pev_group *g = (struct pev_group *)source;
	struct pev_limits *l;
	if (g->group == NULL)
		return;
	while ((l = TAILQ_FIRST(&g->members)) != NULL)
		leave(l);
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
	pev_source_discard(&g->source);
}

struct pev_group *
pev_group_new(struct pev_loop *loop, const struct pev_rate *rate, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
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
	g->group = pev_make_group(loop->base, rate);
	if (g->group == NULL || event_assign(&g->hold, loop->base, -1, 0, pev_on_hold, g) < 0) {
		if (g->group != NULL)
			bufferevent_rate_limit_group_free(g->group);
		pev_delete(g);
		errno = ENOMEM;
		return NULL;
	}
	pev_source_init(&g->source, loop, id, PEV_LAYER_GROUP, shut_group, drop_group);
	pev_watch_clock(loop);
	return g;
}

int
pev_group_check(struct pev_group *g)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	return g->group == NULL ? -PEV_ECLOSED : pev_loop_usable(g->source.loop, 0);
}

int
pev_group_close(struct pev_group *g)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code;
	if (g->group == NULL)
		return 0;
	code = pev_group_check(g);
	if (code < 0)
		return code;
	shut_group(&g->source);
	return 0;
}

/* From one group to another. */
int
pev_group_add(struct pev_group *g, struct pev_bev *h)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_check(g);
	struct pev_bev *low = code < 0 ? NULL : pev_find_bottom(h, &code);
	struct pev_limits *l;
	if (low == NULL)
		return code;
	if (low->source.loop != g->source.loop)
		return -PEV_EVALUE;
	bufferevent_lock(low->bev);
	l = pev_make_limits(low);
	if (l == NULL)
		code = -ENOMEM;
	else if (l->group != g) {
		pev_leave_group(l);
		code = join(g, l);
		pev_calm(low);
	}
	bufferevent_unlock(low->bev);
	return code;
}

/* 1: it was a member; 0: it wasn't */
int
pev_group_remove(struct pev_group *g, struct pev_bev *h)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_has(g, h);
	struct pev_bev *low = pev_bottom_of(h);
	if (code > 0) {
		bufferevent_lock(low->bev);
		leave(low->limits);
		bufferevent_unlock(low->bev);
	}
	return code;
}

int
pev_group_has(struct pev_group *g, struct pev_bev *h)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	struct pev_bev *low = pev_bottom_of(h);
	int code = pev_group_check(g);
	return code < 0 ? code : h->bev != NULL && low->limits != NULL && low->limits->group == g;
}

int
pev_group_count(struct pev_group *g)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_check(g);
	return code < 0 ? code : g->n_members;
}

long long
pev_group_bucket(struct bufferevent_rate_limit_group *group, int is_write)
{
	return is_write ? bufferevent_rate_limit_group_get_write_limit(group) :
			  bufferevent_rate_limit_group_get_read_limit(group);
}

void
pev_group_spend(struct bufferevent_rate_limit_group *group, int is_write, long long n)
{
	if (is_write)
		bufferevent_rate_limit_group_decrement_write(group, n);
	else
		bufferevent_rate_limit_group_decrement_read(group, n);
}

static void
calm_members(struct pev_group *g)
{
	struct pev_limits *l;
	TAILQ_FOREACH(l, &g->members, next_member) {
		pev_calm(l->owner);
		pev_limits_changed(l->owner);
	}
}

/* Another configuration for the same buckets. */
static int
change_rate(struct pev_group *g, const struct pev_rate *rate)
{
	struct ev_token_bucket_cfg *cfg = pev_make_cfg(rate);
	int d, code;
	if (cfg == NULL)
		return -ENOMEM;
	code = bufferevent_rate_limit_group_set_cfg(g->group, cfg) < 0 ? -PEV_EFAILED : 0;
	ev_token_bucket_cfg_free(cfg);
	for (d = PEV_READ; code == 0 && d <= PEV_WRITE; d++)
		if (rate->rate[d] && !g->rate.rate[d])
			pev_group_spend(g->group, d, pev_group_bucket(g->group, d) - rate->rate[d]);
	return code;
}

/* Rule 3: another group takes over, with what was left. */
static int
change_tick(struct pev_group *g, const struct pev_rate *rate)
{
	struct bufferevent_rate_limit_group *old = g->group, *new = pev_make_group(g->source.loop->base, rate);
	struct pev_limits *l;
	uint64_t totals[2];
	int d;
	if (new == NULL)
		return -ENOMEM;
	for (d = PEV_READ; d <= PEV_WRITE; d++)
		if (rate->rate[d])
			pev_group_spend(new, d,
			    pev_group_bucket(new, d) - pev_level_kept(&g->rate, rate, d, pev_group_bucket(old, d)));
	TAILQ_FOREACH(l, &g->members, next_member)
		if (!pev_is_pair(l->owner))
			bufferevent_add_to_rate_limit_group(l->owner->bev, new); /* it has its memory: it can't fail */
	bufferevent_rate_limit_group_get_totals(old, &totals[PEV_READ], &totals[PEV_WRITE]);
	g->totals[PEV_READ] += totals[PEV_READ];
	g->totals[PEV_WRITE] += totals[PEV_WRITE];
	bufferevent_rate_limit_group_free(old);
	g->group = new;
	return 0;
}

static int
set_rate(struct pev_group *g, const struct pev_rate *rate, int anew)
{
	int code = anew ? change_tick(g, rate) : change_rate(g, rate);
	if (code < 0)
		return code;
	g->rate = *rate;
	calm_members(g);
	return pev_group_set_min_share(g, g->min_share);
}

int
pev_group_set_rate(struct pev_group *g, const struct pev_rate *rate)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_check(g);
	return code < 0 ? code : set_rate(g, rate, rate->tick != g->rate.tick);
}

void
pev_group_renew(struct pev_group *g)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	if (g->group != NULL)
		set_rate(g, &g->rate, 1);
}

/* libevent takes no more than one tick's worth, whatever this says. 0 would be an end of the stream (facts of libevent
 * 4.3). */
int
pev_group_set_min_share(struct pev_group *g, int n)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
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
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_check(g);
	return code < 0 ? code : g->min_share;
}

/* 1, and how many bytes are left, as of the last tick; 0: there is no limit */
int
pev_group_get_level(struct pev_group *g, int is_write, long long *out)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_check(g);
	if (code < 0 || g->rate.rate[is_write] == 0)
		return code;
	*out = pev_group_bucket(g->group, is_write);
	return 1;
}

int
pev_group_decrement(struct pev_group *g, int is_write, long long n)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_check(g);
	if (code < 0 || g->rate.rate[is_write] == 0)
		return code;
	pev_group_spend(g->group, is_write, pev_within(pev_group_bucket(g->group, is_write), n, g->rate.burst[is_write]));
	calm_members(g);
	return 0;
}

int
pev_group_totals(struct pev_group *g, uint64_t *out)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
	int code = pev_group_check(g);
	if (code < 0)
		return code;
	bufferevent_rate_limit_group_get_totals(g->group, &out[PEV_READ], &out[PEV_WRITE]);
	out[PEV_READ] += g->totals[PEV_READ];
	out[PEV_WRITE] += g->totals[PEV_WRITE];
	return 0;
}

int
pev_group_reset_totals(struct pev_group *g)
{
	PEV_VISIT(pev_visit_alone(g->source.loop));
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
#define VALVE_HOLD 20

static int
is_waiting(const struct pev_limits *l)
{
	struct bufferevent *bev = l->owner->bev;
	int enabled = bufferevent_get_enabled(bev);
	if (pev_is_pair(l->owner) || (pev_bev_has_descriptor(l->owner) && bufferevent_getfd(bev) < 0))
		return 0;
	if ((enabled & EV_READ) && bufferevent_get_max_to_read(bev) == 0)
		return 1;
	return (enabled & EV_WRITE) && pev_bev_has_output(l->owner) && bufferevent_get_max_to_write(bev) == 0;
}

static int
start_hold(struct event *hold, unsigned ms)
{
	struct timeval tv;
	if (ms > LONGEST_HOLD)
		ms = LONGEST_HOLD;
	tv.tv_sec = ms / 1000;
	tv.tv_usec = (ms % 1000) * 1000;
	return event_add(hold, &tv) == 0;
}

static int
hold_group(struct pev_group *g)
{
	struct pev_limits *l;
	if (g->group != NULL)
		TAILQ_FOREACH(l, &g->members, next_member)
			if (is_waiting(l))
				return start_hold(&g->hold, g->rate.tick);
	return 0;
}

/* The loop has no events. 1: it has now, since something waits for the next tick of a group, or of a pair. */
int
pev_limits_hold(struct pev_loop *loop)
{
	struct pev_source *source;
	int held = 0;
	pthread_mutex_lock(&loop->lock);
	TAILQ_FOREACH(source, &loop->children, next_child) {
		if (source->layer == PEV_LAYER_GROUP)
			held |= hold_group((struct pev_group *)source);
		else if (source->layer == PEV_LAYER_BUFFEREVENT && pev_valve_is_waiting((struct pev_bev *)source))
			held |= start_hold(&((struct pev_bev *)source)->limits->valve->hold, VALVE_HOLD);
	}
	pthread_mutex_unlock(&loop->lock);
	return held;
}
