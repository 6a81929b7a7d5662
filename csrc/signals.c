/* event2/event.h: one receiver of signals a process (facts of libevent 3.3): the base that adds a signal event, or begins to
 * run with some, takes all signals from whoever had them. So nobody does while another base that has some runs. */
#include "pylibevent.h"

static pthread_mutex_t signals_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pev_loop *signals_loop; /* it is running, and has signal events */

void
pev_lock_signals(void)
{
	pthread_mutex_lock(&signals_lock);
}

/* In a forked child: threads that ran a loop aren't there. */
void
pev_forget_signals(void)
{
	if (signals_loop != NULL && !pev_runs_here(signals_loop))
		signals_loop = NULL;
}

void
pev_unlock_signals(void)
{
	pthread_mutex_unlock(&signals_lock);
}

/* Before this base adds a signal event, and when it begins to run. */
int
pev_claim_signals(struct pev_loop *loop)
{
	int code = 0;
	if (!loop->n_signals)
		return 0;
	pthread_mutex_lock(&signals_lock);
	if (signals_loop != NULL && signals_loop != loop)
		code = -PEV_ESIGNALS;
	else if (loop->running)
		signals_loop = loop;
	pthread_mutex_unlock(&signals_lock);
	return code;
}

void
pev_release_signals(struct pev_loop *loop)
{
	pthread_mutex_lock(&signals_lock);
	if (signals_loop == loop)
		signals_loop = NULL;
	pthread_mutex_unlock(&signals_lock);
}
