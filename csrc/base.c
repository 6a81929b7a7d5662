/* event2/event.h: what can be asked of a base, and set on it. */
#include "pylibevent.h"

#include <signal.h>

int
pev_loop_priorities(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_shared(loop));
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : loop->n_priorities;
}

int
pev_loop_has_children(struct pev_loop *loop)
{
	return !TAILQ_EMPTY(&loop->children);
}

const char *
pev_loop_method(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_shared(loop));
	return loop->base ? event_base_get_method(loop->base) : NULL;
}

int
pev_loop_features(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_shared(loop));
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : event_base_get_features(loop->base);
}

int
pev_loop_count(struct pev_loop *loop, int kinds)
{
	PEV_VISIT(pev_visit_shared(loop));
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : event_base_get_num_events(loop->base, (unsigned)kinds);
}

int
pev_loop_max(struct pev_loop *loop, int kinds, int clear)
{
	PEV_VISIT(pev_visit_shared(loop));
	int code = pev_loop_usable(loop, 1);
	return code < 0 ? code : event_base_get_max_events(loop->base, (unsigned)kinds, clear);
}

int
pev_loop_now(struct pev_loop *loop, int cached, double *out)
{
	PEV_VISIT(pev_visit_shared(loop));
	struct timeval tv;
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (cached && loop->now.tv_sec) {
		*out = pev_seconds(&loop->now);
		return 0;
	}
	if (event_base_gettimeofday_cached(loop->base, &tv) < 0)
		return -PEV_EFAILED;
	*out = pev_seconds(&tv);
	return 0;
}

int
pev_loop_update_now(struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_alone(loop));
	int code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	event_base_update_cache_time(loop->base);
	return event_base_gettimeofday_cached(loop->base, &loop->now) < 0 ? -PEV_EFAILED : 0;
}

int
pev_loop_monotonic(struct pev_loop *loop, double *out)
{
	PEV_VISIT(pev_visit_shared(loop));
	struct timeval tv;
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (event_gettime_monotonic(loop->base, &tv) < 0)
		return -PEV_EFAILED;
	*out = pev_seconds(&tv);
	return 0;
}

int
pev_loop_active_by_fd(struct pev_loop *loop, int fd, int events)
{
	PEV_VISIT(pev_visit_shared(loop));
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (fd < 0)
		return -EBADF;
	event_base_active_by_fd(loop->base, fd, (short)events);
	return 0;
}

int
pev_loop_active_by_signal(struct pev_loop *loop, int signum)
{
	PEV_VISIT(pev_visit_shared(loop));
	int code = pev_loop_usable(loop, 1);
	if (code < 0)
		return code;
	if (signum <= 0 || signum >= NSIG)
		return -PEV_EVALUE;
	event_base_active_by_signal(loop->base, signum);
	return 0;
}

void
pev_loop_statistics(struct pev_loop *loop, struct pev_statistics *out)
{
	*out = loop->statistics;
}

/* A queue for all timeouts of one length: the pointer stands for it in pev_event_add_common. */
const void *
pev_loop_common_timeout(struct pev_loop *loop, double seconds)
{
	PEV_VISIT(pev_visit_shared(loop));
	struct timeval tv;
	const struct timeval *common;
	int code = pev_loop_usable(loop, 1);
	if (code == 0)
		code = pev_timeval(seconds, &tv);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	common = event_base_init_common_timeout(loop->base, &tv);
	if (common == NULL)
		errno = ENOSPC; /* 256 of them are in use */
	return common;
}
