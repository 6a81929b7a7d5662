/* event2/bufferevent.h: the two buffers that a filter gets.
 *
 * A filter's source and destination are bufferevents' own, with no end protected, and libevent is on the stack. So Python
 * gets them under handles that show something while a call lasts, are closed before and after, and work in the thread that
 * is called. Source can be taken from, destination be added to. Memory that is still shown when the filter returns goes to
 * the handle for good, and the buffer goes on with a copy. */
#include "pylibevent.h"

enum { SOURCE, DESTINATION };

/* The ends that stay closed, as buffer.c counts them. */
static const unsigned char closed_ends[2] = { [SOURCE] = 2, [DESTINATION] = 1 };

struct pev_buffer *
pev_lent_new(uint64_t id)
{
	struct pev_buffer *h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	h->id = id;
	h->for_filters = 1;
	h->fork_generation = pev_fork_generation;
	return h;
}

static void
lend(struct pev_lending *lending, int which, struct pev_buffer *h)
{
	if (!h->for_filters || h->lending != NULL)
		return;
	h->own = lending->from[which];
	h->frozen = closed_ends[which];
	h->lending = lending;
	h->lent_to = pthread_self();
	lending->to[which] = h;
}

void
pev_lend(struct pev_lending *lending, struct pev_buffer *source, struct pev_buffer *destination)
{
	lend(lending, SOURCE, source);
	lend(lending, DESTINATION, destination);
}

int
pev_lent_is_kept(const struct pev_lending *lending)
{
	int which, kept = 0;
	for (which = SOURCE; which <= DESTINATION; which++)
		kept |= lending->to[which] != NULL && lending->to[which]->exports;
	return kept;
}

static void
take_back(struct pev_buffer *h, int which)
{
	h->lending->to[which] = NULL;
	h->lending = NULL;
	h->own = NULL;
	h->frozen = 0;
}

/* The chains stay where they are, in a buffer that is the handle's from now on. */
static void
leave_memory(struct pev_buffer *h, struct evbuffer *buf)
{
	struct evbuffer *shown = evbuffer_new();
	size_t n = evbuffer_get_length(buf);
	char *copy = malloc(n ? n : 1);
	if (shown == NULL || copy == NULL)
		abort(); /* nothing else keeps the memory in place */
	evbuffer_enable_locking(shown, NULL);
	evbuffer_copyout(buf, copy, n);
	evbuffer_unfreeze(buf, 1);
	evbuffer_add_buffer(shown, buf);
	evbuffer_add(buf, copy, n);
	free(copy);
	h->for_filters = 0;
	h->own = shown;
}

/* The filter has returned. */
void
pev_lending_end(struct pev_lending *lending)
{
	int which;
	for (which = SOURCE; which <= DESTINATION; which++) {
		struct pev_buffer *h = lending->to[which];
		if (h == NULL)
			continue;
		take_back(h, which);
		if (h->exports)
			leave_memory(h, lending->from[which]);
	}
}

/* Python has dropped the handle while it was lent. */
void
pev_lent_dropped(struct pev_buffer *h)
{
	if (h->lending != NULL)
		take_back(h, h->lending->to[SOURCE] == h ? SOURCE : DESTINATION);
}
