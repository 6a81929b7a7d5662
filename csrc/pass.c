/* event2/event.h: the pass.
 *
 * The pass (pev_loop_pass) is the one place where libevent's loop runs. The rules it keeps:
 *
 *   1. One poll, one batch. EVLOOP_ONCE goes on as long as anything is active, and what Python has not yet looked at
 *      may stay active for ever (facts of libevent: a reader at its high mark is called again and again). So the first
 *      trampoline of a pass activates a breaker: an event of ours at the same priority, hence queued behind all that
 *      the poll found, whose callback ends the pass.
 *   2. A pass in which nothing was noted doesn't return: a relay can stay in C for hours.
 *   3. What is noted twice is handed over once, with both reasons.
 *   4. Events of our own (breaker, wake-up) are internal to libevent's eyes: they don't keep a loop running (wake.c).
 */
#include "pylibevent.h"

static int
hand_over(struct pev_loop *loop)
{
	int n = 0;
	unsigned other = 0;
	struct pev_source *source;
	while (n < PEV_READY_MAX && (source = TAILQ_FIRST(&loop->noted)) != NULL) {
		struct pev_ready *entry = &loop->ready[n];
		loop->reads[n++] = source->id;
		other |= (source->noted ^ PEV_NOTE_READ) | (unsigned)source->detail;
		entry->id = source->id;
		entry->what = source->noted;
		entry->detail = source->detail;
		TAILQ_REMOVE(&loop->noted, source, next_noted);
		loop->n_noted--;
		source->due = source->noted;
		source->due_pass = loop->statistics.passes;
		source->noted = 0;
		source->detail = 0;
	}
	loop->statistics.noted += (unsigned)n;
	loop->n_ready = n;
	return n && !other ? n | PEV_PASS_READS : n;
}

__thread struct pev_loop *pev_passing;

static int
poll_once(struct pev_loop *loop, int flags)
{
	int result;
	pev_forget_breaker(loop);
	loop->bytes_noted = 0;
	loop->statistics.polls++;
	pev_passing = loop;
	result = event_base_loop(loop->base, EVLOOP_ONCE | flags);
	if (result == 1 && pev_limits_hold(loop))
		result = flags & EVLOOP_NONBLOCK ? 0 : event_base_loop(loop->base, EVLOOP_ONCE | flags);
	pev_passing = NULL;
	if (result < 0)
		return errno ? -errno : -PEV_EFAILED;
	return result;
}

/* Rule 2. */
static int
poll_until_noted(struct pev_loop *loop, int flags)
{
	int result;
	do {
		result = poll_once(loop, flags & (EVLOOP_NONBLOCK | EVLOOP_NO_EXIT_ON_EMPTY));
	} while (result == 0 && TAILQ_EMPTY(&loop->noted) && !loop->interrupted && !(flags & (EVLOOP_NONBLOCK | EVLOOP_ONCE)));
	return result;
}

/* What the last poll found and was too much for its pass: 1 when there is something to hand over. */
static int
go_on(struct pev_loop *loop)
{
	if (TAILQ_EMPTY(&loop->waiting))
		return 0;
	pev_forget_breaker(loop);
	loop->breaker = &loop->breakers[0]; /* as if it were on its way: there is no poll to end */
	loop->bytes_noted = 0;
	event_base_gettimeofday_cached(loop->base, &loop->now);
	pev_passing = loop;
	pev_fast_serve(loop);
	pev_passing = NULL;
	return !TAILQ_EMPTY(&loop->noted);
}

/* One pass: poll, let libevent do its I/O, gather what happened. Returns the number of entries in pev_loop_ready(), with
 * PEV_PASS_ bits. flags: EVLOOP_ and PEV_PASS_TAKEN, without which a KeyboardInterrupt between this function and the
 * statement after it would lose a batch. */
int
pev_loop_pass(struct pev_loop *loop, int flags)
{
	int result = 0, n, asked = flags;
	int code = pev_loop_usable(loop, 0);
	if (code < 0)
		return code;
	if (loop->in_pass || pev_is_calling(loop))
		return -PEV_EINPASS;
	if (loop->peeks)
		return -PEV_EPEEKED;
	if (loop->n_ready && !(flags & PEV_PASS_TAKEN))
		return loop->n_ready;
	loop->n_ready = 0;
	pev_empty_graves(loop);
	pev_fresh_settle_all(loop);
	pev_bev_leave_all(loop);
	loop->statistics.passes++;
	loop->interrupted = 0;
	loop->in_pass = 1;
	if (!TAILQ_EMPTY(&loop->noted))
		flags |= EVLOOP_NONBLOCK;
	loop->brief = (flags & (EVLOOP_ONCE | EVLOOP_NONBLOCK)) != 0;
	loop->patient = !(asked & (EVLOOP_ONCE | EVLOOP_NONBLOCK)) && loop->n_priorities == 1;
	if (!loop->patient)
		pev_fast_forget_waiting(loop);
	if (!go_on(loop))
		result = poll_until_noted(loop, flags);
	loop->in_pass = 0;
	pev_empty_graves(loop);
	pev_ssl_release_all(loop);
	pev_bev_leave_all(loop);
	if (result < 0)
		return result;
	n = hand_over(loop);
	if (result == 1)
		n |= PEV_PASS_EMPTY;
	if (loop->interrupted)
		n |= PEV_PASS_INTERRUPTED;
	if (pev_log_waiting())
		n |= PEV_PASS_LOGGED;
	return n;
}

const struct pev_ready *
pev_loop_ready(struct pev_loop *loop)
{
	return loop->ready;
}

/* The numbers alone: enough where a pass says PEV_PASS_READS. */
const uint64_t *
pev_loop_reads(struct pev_loop *loop)
{
	return loop->reads;
}

/* Where pev_bev_take finds bytes: PEV_ARENA_SIZE of them. */
const char *
pev_loop_arena(struct pev_loop *loop)
{
	return loop->arena;
}
