/* Rate limits and a clock that is set back.
 *
 * libevent's ticks are counted by the time of day. When that is set back, no bucket is filled until it is as late again as it
 * was (facts of libevent 4.3). So while there are limits we look, once a second, and make all buckets anew, with what was
 * left in them. Pairs count by the clock that is never set. */
#include "pylibevent.h"

static const struct timeval EVERY = { 1, 0 };

/* What a bucket is late by is lost anyway; less than this isn't worth the trouble. Seconds. */
#define SET_BACK 0.25

/* As libevent sees it, which looks at the time of day every five seconds. */
static double
clock_ahead(struct pev_loop *loop)
{
	struct timeval day, monotonic;
	event_base_gettimeofday_cached(loop->base, &day);
	event_gettime_monotonic(loop->base, &monotonic);
	return pev_seconds(&day) - pev_seconds(&monotonic);
}

/* Returns whether there are any limits. */
static int
look_at_limits(struct pev_loop *loop, int renew)
{
	struct pev_source *source;
	int found = 0;
	pthread_mutex_lock(&loop->lock);
	TAILQ_FOREACH(source, &loop->children, next_child) {
		struct pev_limits *l = NULL;
		if (source->layer == PEV_LAYER_BUFFEREVENT)
			l = ((struct pev_bev *)source)->limits;
		found |= l != NULL || source->layer == PEV_LAYER_GROUP;
		if (renew && l != NULL)
			pev_limits_renew(l);
		if (renew && source->layer == PEV_LAYER_GROUP)
			pev_group_renew((struct pev_group *)source);
	}
	pthread_mutex_unlock(&loop->lock);
	return found;
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	struct pev_loop *loop = arg;
	double ahead = clock_ahead(loop);
	int was_set_back = ahead < loop->clock_ahead - SET_BACK;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	loop->clock_ahead = ahead;
	if (look_at_limits(loop, was_set_back))
		event_add(loop->clock, &EVERY);
}

/* There is a limit on this loop. Without memory for the event it works as libevent does. */
void
pev_watch_clock(struct pev_loop *loop)
{
	if (loop->clock == NULL) {
		loop->clock = event_new(loop->base, -1, 0, on_look, loop);
		if (loop->clock == NULL)
			return;
		pev_mark_internal(loop->clock);
	}
	if (event_pending(loop->clock, EV_TIMEOUT, NULL))
		return;
	loop->clock_ahead = clock_ahead(loop);
	event_add(loop->clock, &EVERY);
}

void
pev_forget_clock(struct pev_loop *loop)
{
	if (loop->clock != NULL)
		event_free(loop->clock);
	loop->clock = NULL;
}
