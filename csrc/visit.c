/* Who may be inside, of all threads: what keeps a call in one thread from finding its object freed by another.
 *
 *   1. The thread that runs a loop has it for itself: calls from other threads are refused, but for those that any thread
 *      may make, and a base isn't closed by another thread while it runs.
 *   2. What any thread may call (events, what has a lock) holds the loop's gate for reading. Closing a base, or a bufferevent
 *      with a lock, takes it for writing; no lock of libevent's is held then, for which one of those inside may wait.
 *   3. All other calls, while no loop runs, claim the loop: one thread at a time. Whoever finds it claimed waits for a moment,
 *      since calls are short, and is then refused.
 *   4. A buffer of its own has libevent's lock. Chains that two buffers share make libevent lock one buffer while it holds
 *      another: from the first of them on, one lock goes before all these.
 */
#include "pylibevent.h"

#include <sched.h>
#include <time.h>

/* How long a call waits for another thread's call to end. */
#define YIELDS 1000
#define NAPS 2000
#define NAP_NANOSECONDS 1000000

static int multicast_seen;
static pthread_mutex_t multicast_lock;

/* For chains that buffers share. Before the first of them. */
void
pev_start_multicast(void)
{
	__atomic_store_n(&multicast_seen, 1, __ATOMIC_RELEASE);
}

int
pev_multicast_seen(void)
{
	return __atomic_load_n(&multicast_seen, __ATOMIC_ACQUIRE);
}

/* Once a process, and in a forked child, where nobody holds it. */
void
pev_init_multicast_lock(void)
{
	pthread_mutexattr_t recursive;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&multicast_lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
}

/* 1: claimed. 0: this thread had it already, or another one has. */
int
pev_try_claim(struct pev_loop *loop)
{
	pthread_t nobody = 0;
	return __atomic_compare_exchange_n(&loop->claimer, &nobody, pthread_self(), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

void
pev_unclaim(struct pev_loop *loop)
{
	__atomic_store_n(&loop->claimer, 0, __ATOMIC_RELEASE);
}

static int
claim(struct pev_loop *loop)
{
	const struct timespec nap = { 0, NAP_NANOSECONDS };
	int tries;
	for (tries = 0; tries < YIELDS + NAPS; tries++) {
		if (pev_try_claim(loop))
			return 1;
		if (loop->claimer == pthread_self() || pev_runs_elsewhere(loop))
			return 0;
		if (tries < YIELDS)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
	return 0;
}

/* Nobody is inside any more, until pev_readmit. For a thread that is there alone, holds no lock of libevent's, and has no shared
 * visit. Returns what pev_readmit needs. */
int
pev_exclude(struct pev_loop *loop)
{
	if (loop->excluder == pthread_self())
		return 0;
	pthread_rwlock_wrlock(&loop->gate);
	loop->excluder = pthread_self();
	return 1;
}

void
pev_readmit(struct pev_loop *loop, int excluded)
{
	if (!excluded)
		return;
	loop->excluder = 0;
	pthread_rwlock_unlock(&loop->gate);
}

struct pev_visit
pev_visit_shared(struct pev_loop *loop)
{
	struct pev_visit visit = { 0 };
	if (loop == NULL || pev_runs_here(loop) || loop->excluder == pthread_self())
		return visit;
	pthread_rwlock_rdlock(&loop->gate);
	visit.gated = loop;
	return visit;
}

struct pev_visit
pev_visit_alone(struct pev_loop *loop)
{
	struct pev_visit visit = { 0 };
	if (loop != NULL && !pev_runs_here(loop) && !pev_runs_elsewhere(loop) && claim(loop))
		visit.claimed = loop;
	return visit;
}

struct pev_visit
pev_visit_bev(const struct pev_bev *h)
{
	struct pev_loop *loop = h->source.loop;
	return h->options & BEV_OPT_THREADSAFE ? pev_visit_shared(loop) : pev_visit_alone(loop);
}

struct pev_visit
pev_visit_buffer(struct pev_buffer *h)
{
	struct pev_visit visit = { 0 };
	if (h->owner != NULL)
		visit = pev_visit_bev(h->owner);
	if (h->own != NULL) {
		__atomic_add_fetch(&h->inside, 1, __ATOMIC_ACQ_REL);
		visit.buffer = h;
	}
	if (pev_multicast_seen()) {
		pthread_mutex_lock(&multicast_lock);
		visit.multicast = 1;
	}
	return visit;
}

void
pev_visit_end(struct pev_visit *visit)
{
	if (visit->multicast)
		pthread_mutex_unlock(&multicast_lock);
	if (visit->buffer != NULL)
		__atomic_sub_fetch(&visit->buffer->inside, 1, __ATOMIC_ACQ_REL);
	if (visit->claimed != NULL)
		pev_unclaim(visit->claimed);
	if (visit->gated != NULL)
		pthread_rwlock_unlock(&visit->gated->gate);
}
