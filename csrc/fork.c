/* What a fork does to us: the child knows that it is one, and finds no lock held by a thread that it doesn't have. */
#include "pylibevent.h"

#include <time.h>

unsigned pev_fork_generation;

/* All that there are, for a fork's sake. */
static TAILQ_HEAD(, pev_loop) loops = TAILQ_HEAD_INITIALIZER(loops);
static pthread_mutex_t loops_lock = PTHREAD_MUTEX_INITIALIZER;

/* A loop is made. */
void
pev_fork_add(struct pev_loop *loop)
{
	pthread_mutex_lock(&loops_lock);
	TAILQ_INSERT_TAIL(&loops, loop, next_loop);
	pthread_mutex_unlock(&loops_lock);
}

/* A loop is about to be freed. */
void
pev_fork_remove(struct pev_loop *loop)
{
	pthread_mutex_lock(&loops_lock);
	TAILQ_REMOVE(&loops, loop, next_loop);
	pthread_mutex_unlock(&loops_lock);
}

/* What a fork has locked, and for how many seconds it waits for calls of other threads to end. */
enum { GATE_LOCKED = 1, CLAIMED = 2 };
#define MOST_FORK_WAIT 2

/* A callback of a call that is under way may fork: then this thread itself is inside, and no wait ends that. */
static void
lock_for_fork(struct pev_loop *loop)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += MOST_FORK_WAIT;
	loop->fork_locks = 0;
	if (pthread_rwlock_timedwrlock(&loop->gate, &until) == 0)
		loop->fork_locks |= GATE_LOCKED;
	if (!loop->running && pev_try_claim(loop))
		loop->fork_locks |= CLAIMED;
	if ((loop->fork_locks & CLAIMED) || (pev_runs_here(loop) && !loop->in_pass))
		pev_fresh_bring_in(loop);
	pthread_mutex_lock(&loop->lock);
}

/* The child's thread isn't the one that locked, to a rwlock's eyes: it is made anew there. */
static void
unlock_after_fork(struct pev_loop *loop, int in_child)
{
	pthread_mutex_unlock(&loop->lock);
	if (in_child) {
		pthread_rwlock_init(&loop->gate, NULL);
		pev_unclaim(loop);
		return;
	}
	if (loop->fork_locks & CLAIMED)
		pev_unclaim(loop);
	if (loop->fork_locks & GATE_LOCKED)
		pthread_rwlock_unlock(&loop->gate);
}

static void
lock_loops(void)
{
	struct pev_loop *loop;
	pthread_mutex_lock(&loops_lock);
	TAILQ_FOREACH(loop, &loops, next_loop)
		lock_for_fork(loop);
}

static void
unlock_loops(int in_child)
{
	struct pev_loop *loop;
	TAILQ_FOREACH(loop, &loops, next_loop)
		unlock_after_fork(loop, in_child);
	pthread_mutex_unlock(&loops_lock);
}

static void
before_fork(void)
{
	lock_loops();
	pev_lock_signals();
	pev_lock_changes();
}

static void
unlock(int in_child)
{
	pev_unlock_changes();
	pev_unlock_signals();
	unlock_loops(in_child);
}

static void
after_fork(void)
{
	unlock(0);
}

static void
after_fork_in_child(void)
{
	pev_fork_generation++;
	pev_init_multicast_lock();
	pev_forget_signals();
	unlock(1);
}

unsigned
pev_forks(void)
{
	return pev_fork_generation;
}

/* Once a process. */
int
pev_watch_forks(void)
{
	static int done;
	if (done)
		return 0;
	pev_init_multicast_lock();
	if (pthread_atfork(before_fork, after_fork, after_fork_in_child) != 0)
		return -ENOMEM;
	done = 1;
	return 0;
}
