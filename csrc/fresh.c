/* What a pass has read for Python, before anybody knows what will be done with it.
 *
 *   1. It lies in the loop's arena, one after the other, and Python's read() takes it from there in one step. That is only
 *      done where nobody could tell: the read callback is ours, Python has one, the input is empty and has no callbacks.
 *   2. Who has just sent much will do so again. That stays in the socket, where the system says that it is, until Python takes
 *      it right into an object of its own. A read callback comes only where there is something: so the system is asked.
 *   3. Whoever looks at a bufferevent otherwise first has it put into the input (pev_fresh_settle), and so has the next pass. No
 *      more than what the callback was told of: for what has come since there will be another one.
 *   4. A place in the arena is nobody else's until the next pass: between hearing of it and taking bytes from there Python may run
 *      a signal's handler, which may read other bufferevents.
 */
#include "pylibevent.h"

#include <sys/ioctl.h>

#define IN_SOCKET UINT_MAX

/* Whole places, and one more where it would fill the last: of what is less than one, the end says where it begins. */
size_t
pev_fresh_room(size_t n)
{
	return (n / PEV_PLACE_SIZE + 1) * PEV_PLACE_SIZE;
}

int
pev_fresh_has_room(const struct pev_bev *h)
{
	return h->source.loop->arena_used <= PEV_ARENA_SIZE - PEV_READ_MOST;
}

/* Python could not tell whether the bytes are in the input. */
int
pev_fresh_may_come(const struct pev_bev *h)
{
	const struct bufferevent *bev = h->bev;
	return (h->wants & EV_READ) && !h->fresh_length && bev->wm_read.low <= 1 && pev_bev_hears(h) &&
	    !(h->options & BEV_OPT_DEFER_CALLBACKS) && (h->views[0] == NULL || h->views[0]->callback == NULL) &&
	    !(h->ended & BEV_EVENT_ERROR) && pev_fresh_has_room(h) && evbuffer_get_length(bev->input) == 0;
}

/* ------------------------------------------------------------------ coming */

static void
keep(struct pev_bev *h, unsigned start, size_t n)
{
	h->fresh_start = start;
	h->fresh_length = (unsigned)n;
	TAILQ_INSERT_TAIL(&h->source.loop->fresh, h, next_fresh);
}

/* Somebody else has put n bytes into the arena. */
void
pev_fresh_came(struct pev_bev *h, const char *at, size_t n)
{
	keep(h, (unsigned)(at - h->source.loop->arena), n);
	pev_note_fresh(&h->source, n, bufferevent_get_priority(h->bev));
}

static ssize_t
receive(struct pev_bev *h, int fd)
{
	struct pev_loop *loop = h->source.loop;
	ssize_t n = recv(fd, loop->arena + loop->arena_used, PEV_READ_MOST, MSG_DONTWAIT);
	if (n <= 0)
		return n;
	keep(h, (unsigned)loop->arena_used, (size_t)n);
	loop->arena_used += pev_fresh_room((size_t)n);
	return n;
}

/* How many bytes are in the socket; 0 where they had better be read now. */
static size_t
look(const struct pev_bev *h, int fd)
{
	int n;
	if (!h->sends_much || !(h->options & BEV_OPT_CLOSE_ON_FREE)) /* else others may read from it too */
		return 0;
	if (ioctl(fd, FIONREAD, &n) < 0 || n < h->source.loop->much)
		return 0;
	return n < PEV_READ_MOST ? (size_t)n : PEV_READ_MOST;
}

/* The socket can be read: what recv() would say. */
ssize_t
pev_fresh_read(struct pev_bev *h, int fd)
{
	size_t there = look(h, fd);
	ssize_t n;
	if (there) {
		keep(h, IN_SOCKET, there);
		/* Of what is read all the same, one pass may have its fill. */
		pev_note_fresh(&h->source, h->source.loop->patient ? 0 : there, bufferevent_get_priority(h->bev));
		return (ssize_t)there;
	}
	n = receive(h, fd);
	h->sends_much = n >= h->source.loop->much;
	if (n > 0)
		pev_note_fresh(&h->source, (size_t)n, bufferevent_get_priority(h->bev));
	return n;
}

/* For tests: from how many bytes on a message is large. */
void
pev_loop_set_much(struct pev_loop *loop, int bytes)
{
	loop->much = bytes;
}

/* ------------------------------------------------------------------ going into the input */

/* To the end of the input, which sockets keep frozen. */
void
pev_fresh_put_in(struct pev_bev *h, const char *data, size_t n)
{
	struct evbuffer *input = h->bev->input;
	int r;
	if (pev_bev_is_socket(h))
		evbuffer_unfreeze(input, 0);
	r = evbuffer_add(input, data, n);
	if (pev_bev_is_socket(h))
		evbuffer_freeze(input, 0);
	if (r < 0)
		pev_bev_note_events(h, BEV_EVENT_READING | BEV_EVENT_ERROR, ENOMEM);
}

/* The socket tells an error once: the next readiness passes it on. */
static void
keep_error(struct pev_bev *h, int error)
{
	if (!pev_fast_is_passing(error))
		h->read_error = error;
}

static void
read_left(struct pev_bev *h, size_t left)
{
	while (left > 0) {
		ssize_t n = pev_fast_read_input(h, event_get_fd(&h->bev->ev_read), left, 1);
		if (n <= 0) {
			if (n < 0)
				keep_error(h, errno);
			return;
		}
		left -= (size_t)n;
	}
}

void
pev_fresh_forget(struct pev_bev *h)
{
	if (h->fresh_length == 0)
		return;
	h->fresh_length = 0;
	TAILQ_REMOVE(&h->source.loop->fresh, h, next_fresh);
}

/* What was not taken goes where everybody expects it. */
void
pev_fresh_settle(struct pev_bev *h)
{
	unsigned n = h->fresh_length;
	if (n == 0)
		return;
	pev_fresh_forget(h);
	if (h->fresh_start == IN_SOCKET)
		read_left(h, n);
	else
		pev_fresh_put_in(h, h->source.loop->arena + h->fresh_start, n);
}

/* The process is about to fork, and the socket will be the child's too. */
void
pev_fresh_bring_in(struct pev_loop *loop)
{
	struct pev_bev *h, *next;
	for (h = TAILQ_FIRST(&loop->fresh); h != NULL; h = next) {
		next = TAILQ_NEXT(h, next_fresh);
		if (h->fresh_start == IN_SOCKET)
			pev_fresh_settle(h);
	}
}

/* A pass begins: the arena is needed. */
void
pev_fresh_settle_all(struct pev_loop *loop)
{
	struct pev_bev *h;
	while ((h = TAILQ_FIRST(&loop->fresh)) != NULL)
		pev_fresh_settle(h);
	loop->arena_used = 0;
}

/* ------------------------------------------------------------------ being taken */

static int
may_take(const struct pev_bev *h)
{
	return h->bev != NULL && pev_loop_usable(h->source.loop, 0) == 0 && h->over == NULL && h->relay == NULL && !h->exports &&
	    !h->lingering && (h->views[0] == NULL || !h->views[0]->frozen);
}

/* What has come in in this pass. Positive: where it ends in the arena, and it begins where that place does. Negative: minus where
 * it begins, PEV_FRESH_BITS up, and where it ends; or, with PEV_FRESH_LEFT, minus the descriptor and how many bytes can be read
 * from it. PEV_ASK: pev_bev_take may have some. Python keeps its lock meanwhile (build_ffi.py), so there is no waiting: whoever
 * isn't the loop's thread has to ask. */
long long
pev_bev_take_fresh(struct pev_bev *h)
{
	const struct pev_loop *loop = h->source.loop; /* looked up once: another thread may close it meanwhile */
	unsigned n = h->fresh_length, start = h->fresh_start;
	if (n == 0 || loop == NULL || !pev_runs_here(loop) || !may_take(h))
		return PEV_ASK;
	pev_fresh_forget(h);
	if (n < PEV_PLACE_SIZE && start % PEV_PLACE_SIZE == 0)
		return start + n;
	if (start == IN_SOCKET)
		return -(PEV_FRESH_LEFT | (long long)event_get_fd(&h->bev->ev_read) << PEV_FRESH_BITS | n);
	return -((long long)start << PEV_FRESH_BITS | (start + n));
}

/* Python could not read from the descriptor. */
int
pev_bev_keep_error(struct pev_bev *h, int error)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code == 0)
		keep_error(h, error);
	return code;
}

/* From the input to the arena: Python gets bytes from there in one step. */
static long long
take_input(struct pev_bev *h)
{
	struct pev_loop *loop = h->source.loop;
	struct evbuffer *input = h->bev->input;
	size_t n = evbuffer_get_length(input), at = loop->arena_used;
	if (n == 0 || at >= PEV_ARENA_SIZE || n > PEV_ARENA_SIZE - at || (h->options & BEV_OPT_THREADSAFE))
		return PEV_ASK;
	loop->arena_used += pev_fresh_room(n);
	if (evbuffer_remove(input, loop->arena + at, n) != (int)n)
		return PEV_ASK;
	return (long long)at << PEV_FRESH_BITS | (long long)(at + n);
}

/* The same of what is in the input, where it may matter to somebody that it is taken. PEV_ASK: it takes pev_bev_read. */
long long
pev_bev_take(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	if (!may_take(h))
		return PEV_ASK;
	pev_fresh_settle(h);
	return take_input(h);
}

/* Where it lies in the arena, if need be from now on. */
static int
bring(struct pev_bev *h)
{
	ssize_t n;
	if (h->fresh_start != IN_SOCKET)
		return 1;
	if (!pev_fresh_has_room(h))
		return 0;
	pev_fresh_forget(h);
	n = receive(h, event_get_fd(&h->bev->ev_read));
	if (n < 0)
		keep_error(h, errno);
	return n > 0;
}

/* To another bufferevent: 1 if it is all sent. What was brought for it leaves its place to the next. */
int
pev_fresh_pass_on(struct pev_bev *from, struct pev_bev *to)
{
	struct pev_loop *loop = from->source.loop;
	size_t sent, used = loop->arena_used;
	if (loop != to->source.loop || from->fresh_length == 0 || from->over != NULL || pev_bev_state(from) < 0 ||
	    (from->views[0] != NULL && from->views[0]->frozen) || !bring(from))
		return 0;
	sent = pev_fast_put(to, loop->arena + from->fresh_start, from->fresh_length);
	if (sent < from->fresh_length) {
		from->fresh_start += (unsigned)sent;
		from->fresh_length -= (unsigned)sent;
		return 0;
	}
	pev_fresh_forget(from);
	loop->arena_used = used;
	return 1;
}
