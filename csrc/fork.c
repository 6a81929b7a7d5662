/* What a fork does to us: the child knows that it is one, and finds no lock held by a thread that it doesn't have. */
#include "pylibevent.h"

unsigned pev_fork_generation;

static void
before_fork(void)
{
	pev_lock_loops();
	pev_lock_signals();
	pev_lock_changes();
}

static void
unlock(int in_child)
{
	pev_unlock_changes();
	pev_unlock_signals();
	pev_unlock_loops(in_child);
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
