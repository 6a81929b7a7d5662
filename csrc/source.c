/* Sources: what Python can be told about. What happens to one is noted, and handed over by the pass (pass.c). */
#include "pylibevent.h"

void
pev_source_init(struct pev_source *source, struct pev_loop *loop, uint64_t id, int layer,
    void (*shut)(struct pev_source *), void (*drop)(struct pev_source *))
{
	source->loop = loop;
	source->id = id;
	source->layer = (unsigned char)layer;
	source->shut = shut;
	source->drop = drop;
	pthread_mutex_lock(&loop->lock);
	TAILQ_INSERT_HEAD(&loop->children, source, next_child);
	source->in_loop = 1;
	pthread_mutex_unlock(&loop->lock);
}

/* Take back what was noted and not yet handed over. */
void
pev_source_forget(struct pev_source *source)
{
	if (source->noted) {
		TAILQ_REMOVE(&source->loop->noted, source, next_noted);
		source->loop->n_noted--;
		source->noted = 0;
	}
}

/* The same where another thread may be running the loop: then it stays, and Python passes over it. */
void
pev_source_forget_safely(struct pev_source *source)
{
	struct pev_loop *loop = source->loop;
	int claimed = !pev_runs_here(loop) && pev_try_claim(loop);
	if (pev_is_alone(loop))
		pev_source_forget(source);
	if (claimed)
		pev_unclaim(loop);
}

/* The loop shall not know the source any more. */
void
pev_source_leave(struct pev_source *source)
{
	struct pev_loop *loop = source->loop;
	if (loop == NULL)
		return;
	pev_source_forget(source);
	pthread_mutex_lock(&loop->lock);
	if (source->in_loop) {
		TAILQ_REMOVE(&loop->children, source, next_child);
		source->in_loop = 0;
	}
	pthread_mutex_unlock(&loop->lock);
	source->loop = NULL;
}

/* This thread may be inside alone, libevent isn't on the stack, and no memory is shown that goes with what this stands on, or with
 * the other end of a pair: 1, and it is done. */
static int
drop_alone(struct pev_source *source, struct pev_loop *loop)
{
	int here = pev_runs_here(loop);
	int claimed = !here && pev_try_claim(loop);
	int may = loop->fork_generation == pev_fork_generation && !loop->in_pass && !pev_is_calling(loop) &&
	    !(loop->peeks && source->layer == PEV_LAYER_BUFFEREVENT) &&
	    (here || (claimed && !loop->running));
	if (may)
		source->drop(source);
	if (claimed)
		pev_unclaim(loop);
	return may;
}

/* 0: the loop was closed meanwhile. */
static int
bury(struct pev_source *source, struct pev_loop *loop)
{
	PEV_VISIT(pev_visit_shared(loop));
	if (source->loop == NULL)
		return 0;
	pthread_mutex_lock(&loop->lock);
	source->next_grave = loop->graves;
	loop->graves = source;
	pthread_mutex_unlock(&loop->lock);
	if (loop->fork_generation == pev_fork_generation)
		event_active(&loop->wake, EV_READ, 1);
	return 1;
}

/* Python has dropped a handle. Garbage collection does so in any thread and at any time, also while libevent is on the stack,
 * or in a forked child that shares its parent's epoll set: then the handle is left to the loop. */
void
pev_source_discard(struct pev_source *source)
{
	struct pev_loop *loop = source->loop;
	if (loop == NULL || (!drop_alone(source, loop) && !bury(source, loop)))
		source->drop(source);
}

void
pev_empty_graves(struct pev_loop *loop)
{
	struct pev_source *source, *next;
	if (__atomic_load_n(&loop->graves, __ATOMIC_RELAXED) == NULL)
		return;
	pthread_mutex_lock(&loop->lock);
	source = loop->graves;
	loop->graves = NULL;
	pthread_mutex_unlock(&loop->lock);
	for (; source != NULL; source = next) {
		next = source->next_grave;
		source->drop(source);
	}
}

static void
cut_short(struct pev_loop *loop)
{
	loop->statistics.cut_short++;
	event_base_loopbreak(loop->base);
}

/* Whether a pass is on. */
static int
note(struct pev_source *source, unsigned what, int priority)
{
	struct pev_loop *loop = source->loop;
	if (loop == NULL || what == 0)
		return 0; /* in the queue is who has something noted */
	if (!source->noted) {
		TAILQ_INSERT_TAIL(&loop->noted, source, next_noted);
		loop->n_noted++;
	}
	source->noted |= what;
	if (!loop->in_pass)
		return 0; /* the next pass starts with it */
	pev_end_poll(loop, priority);
	return 1;
}

void
pev_note(struct pev_source *source, unsigned what, int priority)
{
	if (note(source, what, priority) && pev_is_full(source->loop))
		cut_short(source->loop);
}

/* The fast path has read, and will leave the others where they are: but for them the pass goes on. */
void
pev_note_fresh(struct pev_source *source, size_t n, int priority)
{
	source->loop->bytes_noted += n;
	if (note(source, PEV_NOTE_READ, priority) && pev_is_full(source->loop) && !source->loop->patient)
		cut_short(source->loop);
}

/* The pass ends when all that the poll found has run, at this priority or above. */
void
pev_end_poll(struct pev_loop *loop, int priority)
{
	if (loop->breaker != NULL)
		return;
	if (priority < 0 || priority >= loop->n_priorities)
		priority = loop->n_priorities - 1;
	loop->breaker = &loop->breakers[priority];
	event_active(loop->breaker, EV_TIMEOUT, 1);
	event_base_gettimeofday_cached(loop->base, &loop->now);
}

/* End the pass and return to Python though nothing may have been noted. */
void
pev_end_pass(struct pev_loop *loop)
{
	loop->interrupted = 1;
	event_base_loopbreak(loop->base);
}

int
pev_default_priority(const struct pev_loop *loop)
{
	return loop->n_priorities / 2;
}
