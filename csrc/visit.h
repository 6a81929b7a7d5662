/* Who may be inside, of all threads: visit.c has the rules. */
#ifndef PEV_VISIT_H
#define PEV_VISIT_H

/* What a call holds while it is inside: PEV_VISIT(pev_visit_...) comes first in each function that Python calls, and lets go
 * of it at the function's end. */
struct pev_visit {
	struct pev_loop *gated;    /* its gate is held for reading */
	struct pev_loop *claimed;  /* no other thread's call is inside */
	struct pev_buffer *buffer; /* counted in it */
	int multicast;             /* the lock of shared chains is held */
};

struct pev_buffer;
struct pev_bev;

struct pev_visit pev_visit_shared(struct pev_loop *loop);
struct pev_visit pev_visit_alone(struct pev_loop *loop);
struct pev_visit pev_visit_bev(const struct pev_bev *h);
struct pev_visit pev_visit_buffer(struct pev_buffer *h);
void pev_visit_end(struct pev_visit *visit);

/* Python is called by this thread, and C waits: libevent may be on the stack, in a pass or not. */
struct pev_call {
	const struct pev_loop *loop;
	struct pev_call *outer;
};

void pev_call_begin(struct pev_call *call, const struct pev_loop *loop);
void pev_call_end(const struct pev_call *call);
int pev_is_calling(const struct pev_loop *loop);

int pev_try_claim(struct pev_loop *loop);
int pev_exclude(struct pev_loop *loop);
void pev_readmit(struct pev_loop *loop, int excluded);
void pev_unclaim(struct pev_loop *loop);
void pev_start_multicast(void);
int pev_multicast_seen(void);
void pev_init_multicast_lock(void);

#define PEV_PASTE(a, b) a##b
#define PEV_NAME(a, b) PEV_PASTE(a, b)
#define PEV_VISIT(begin) \
	__attribute__((cleanup(pev_visit_end), unused)) struct pev_visit PEV_NAME(visit_, __LINE__) = begin

/* The thread that runs the loop: nobody else's calls come in, and nobody closes the base. */
static inline int
pev_runs_here(const struct pev_loop *loop)
{
	return __atomic_load_n(&loop->running, __ATOMIC_ACQUIRE) && pthread_equal(loop->thread, pthread_self());
}

static inline int
pev_runs_elsewhere(const struct pev_loop *loop)
{
	return __atomic_load_n(&loop->running, __ATOMIC_ACQUIRE) && !pthread_equal(loop->thread, pthread_self());
}

/* What pev_visit_alone asks for. */
static inline int
pev_is_alone(const struct pev_loop *loop)
{
	return pev_runs_here(loop) || (!pev_runs_elsewhere(loop) && loop->claimer == pthread_self());
}

/* The state checks of rule 2 of pylibevent.h. any_thread: a shared visit is enough. */
static inline int
pev_loop_usable(const struct pev_loop *loop, int any_thread)
{
	if (loop == NULL || loop->base == NULL)
		return -PEV_ECLOSED;
	if (loop->fork_generation != pev_fork_generation)
		return -PEV_EFORKED;
	return any_thread || pev_is_alone(loop) ? 0 : -PEV_ETHREAD;
}

#endif
