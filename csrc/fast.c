/* The fast path of plain sockets. libevent reads at most 4096 bytes a readiness, and sends each message by way of two
 * changes to what epoll watches and another poll. Both are replaced here, and nothing else: what the callbacks see, and in
 * which order, is what libevent would have given them. EventBase(fast_io=False) leaves all to libevent.
 *
 * The rules:
 *
 *   1. libevent's own callbacks of ev_read and ev_write stay in charge. Ours run before them and hand over whatever isn't
 *      plain reading or writing: timeouts, errors, the end of the stream, connecting, limits of any kind, a high mark.
 *   2. What Python is about to take doesn't go into the input first: fresh.c.
 *   3. All else is read on into the input itself, as much as there is, up to MOST.
 *   4. What is written while the output is empty is sent at once; what the socket doesn't take goes the usual way. The
 *      write callback comes with the next pass, as it would.
 *   5. What comes into an empty output otherwise makes ev_write active, and not pending: it is written in the next round
 *      of the loop, by libevent's own callback, without a look at whether the socket could take it.
 *   6. A bufferevent with a lock is left to libevent.
 *   7. A pass reads no more than PEV_READY_BYTES, which Python shall find in the processor's cache, and from no more than
 *      PEV_READY_MAX sockets, which is what it takes at a time. Those that the poll found beyond that wait for a later pass, and
 *      there is no other poll before: it would find them all again. The system remembers them too, so the list may be thrown
 *      away at any time.
 */
#include "pylibevent.h"

#include <sys/uio.h>

#define FIRST 4096          /* what libevent reads */
#define MOST PEV_READ_MOST  /* at most in one go */
#define UNLIMITED (1 << 30) /* of what is written in one go */

#define QUEUED (EVLIST_INSERTED | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER)

static event_callback_fn libevent_read, libevent_write;

static int
queued(const struct event *ev)
{
	return ev->ev_evcallback.evcb_flags & QUEUED;
}

/* ------------------------------------------------------------------ writing at once */

/* Nothing is wrong, or nothing that libevent doesn't find too. */
int
pev_fast_is_passing(int error)
{
	return error == EAGAIN || error == EINTR || error == ENOTSOCK || error == ENOMEM;
}

/* As libevent does it. */
static void
report(struct bufferevent *bev, short direction, short what, int error)
{
	bufferevent_incref(bev);
	bufferevent_disable(bev, direction == BEV_EVENT_READING ? EV_READ : EV_WRITE);
	if (error)
		errno = error; /* else there may be one of the other direction's that is not yet told */
	bufferevent_trigger_event(bev, (short)(direction | what), 0);
	bufferevent_decref(bev);
}

/* Whether bytes may go right to the socket, from what has its callbacks. */
int
pev_fast_may_send_below(const struct pev_bev *h)
{
	const struct bufferevent *bev = h->bev;
	return h->fast && h->connecting == PEV_NOT_CONNECTING && (bev->enabled & EV_WRITE) && !queued(&bev->ev_write) &&
	    !(h->own_limits & EV_WRITE) && !pev_bev_is_limited(h) && !(h->options & BEV_OPT_DEFER_CALLBACKS) &&
	    (h->views[1] == NULL || (h->views[1]->callback == NULL && !h->views[1]->frozen)) &&
	    !h->lingering && event_get_fd(&bev->ev_write) >= 0 && evbuffer_get_length(bev->output) == 0;
}

static int
may_send(const struct pev_bev *h)
{
	return h->fast && pev_bev_hears(h) && pev_fast_may_send_below(h);
}

/* How many bytes the socket took. */
static size_t
send_now(struct pev_bev *h, const char *data, size_t n)
{
	ssize_t sent = send(event_get_fd(&h->bev->ev_write), data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && !pev_fast_is_passing(errno))
		h->send_error = errno; /* the socket tells it once: on_fast_write passes it on */
	return sent < 0 ? 0 : (size_t)sent;
}

size_t
pev_fast_send_below(struct pev_bev *h, const char *data, size_t n)
{
	return pev_fast_may_send_below(h) ? send_now(h, data, n) : 0;
}

/* How many bytes the socket took, 0 where they have to go the usual way. */
size_t
pev_fast_send(struct pev_bev *h, const char *data, size_t n)
{
	size_t sent;
	if (!may_send(h) || (sent = send_now(h, data, n)) == 0)
		return 0;
	h->sent_before = h->source.loop->statistics.passes + 1;
	if (sent == n)
		pev_fast_note_sent(h);
	return sent;
}

/* The same for TLS too. */
int
pev_fast_may_put(const struct pev_bev *h)
{
	return h->under == NULL ? may_send(h) : pev_records_may_write(h);
}

size_t
pev_fast_put(struct pev_bev *h, const char *data, size_t n)
{
	return h->under == NULL ? pev_fast_send(h, data, n) : pev_records_write(h, data, n);
}

/* The write callback that libevent would give in the next pass; Python may set it until then. */
void
pev_fast_note_sent(struct pev_bev *h)
{
	if ((h->wants & EV_WRITE) && h->bev != NULL && h->sent_before == h->source.loop->statistics.passes + 1 &&
	    evbuffer_get_length(h->bev->output) == 0)
		pev_note(&h->source, PEV_NOTE_WRITE, bufferevent_get_priority(h->bev));
}

/* ------------------------------------------------------------------ reading */

/* So many into the input, or a few more unless that would be too many: how many, or what read() said when there were none. */
ssize_t
pev_fast_read_input(struct pev_bev *h, int fd, size_t wanted, int no_more)
{
	struct evbuffer *input = h->bev->input;
	struct evbuffer_iovec space[2];
	ssize_t n;
	int spans;
	evbuffer_unfreeze(input, 0);
	spans = evbuffer_reserve_space(input, (ev_ssize_t)wanted, space, 2);
	if (spans < 0) {
		evbuffer_freeze(input, 0);
		errno = ENOMEM;
		return -1;
	}
	if (spans == 2) { /* the last chain may have far more room than is good for one read */
		if (space[0].iov_len >= wanted)
			spans = 1;
		else
			space[1].iov_len = wanted - space[0].iov_len < space[1].iov_len ? wanted - space[0].iov_len : space[1].iov_len;
	}
	if (no_more && space[0].iov_len > wanted)
		space[0].iov_len = wanted;
	n = readv(fd, (struct iovec *)space, spans);
	if (n > 0) {
		size_t left = (size_t)n;
		int i;
		for (i = 0; i < spans; i++) {
			if (space[i].iov_len > left)
				space[i].iov_len = left;
			left -= space[i].iov_len;
		}
		evbuffer_commit_space(input, space, spans);
	}
	evbuffer_freeze(input, 0);
	return n;
}

/* Read on as long as there is more than was expected; the next read expects what this one found. */
static ssize_t
read_on(struct pev_bev *h, int fd)
{
	size_t total = 0;
	for (;;) {
		size_t wanted = h->expected ? h->expected : FIRST;
		ssize_t n = pev_fast_read_input(h, fd, wanted, 0);
		if (n <= 0) {
			if (total == 0)
				return n;
			if (n < 0 && !pev_fast_is_passing(errno))
				h->read_error = errno;
			break; /* the next readiness says so */
		}
		total += (size_t)n;
		if ((size_t)n < wanted || total >= MOST)
			break;
		h->expected = wanted * 4 < MOST ? (unsigned)wanted * 4 : MOST;
	}
	if (total < h->expected / 4)
		h->expected /= 2;
	return (ssize_t)total;
}

/* From one socket to another, by way of the arena: nothing stays there. */
static ssize_t
relay_fresh(struct pev_bev *h, int fd)
{
	struct pev_loop *loop = h->source.loop;
	char *at = loop->arena + loop->arena_used;
	ssize_t n = recv(fd, at, MOST, MSG_DONTWAIT);
	if (n > 0)
		pev_relay_passed(h, at, (size_t)n, pev_fast_put(pev_relay_partner(h), at, (size_t)n));
	return n;
}

static int
may_read(const struct pev_bev *h)
{
	return h->connecting == PEV_NOT_CONNECTING && h->bev->wm_read.high == 0 && (h->bev->enabled & EV_READ) &&
	    !(h->own_limits & EV_READ) && !pev_bev_is_limited(h);
}

/* Nothing could be read. An error must not be asked for twice: the socket tells it once. */
static void
read_nothing(struct bufferevent *bev, ssize_t n, evutil_socket_t fd, short what)
{
	if (n == 0)
		report(bev, BEV_EVENT_READING, BEV_EVENT_EOF, 0);
	else if (pev_fast_is_passing(errno))
		libevent_read(fd, what, bev);
	else
		report(bev, BEV_EVENT_READING, BEV_EVENT_ERROR, errno);
}

/* Rule 7. */
static void
wait(struct pev_bev *h)
{
	if (h->waiting)
		return;
	h->waiting = 1;
	TAILQ_INSERT_TAIL(&h->source.loop->waiting, h, next_waiting);
}

static void
forget_waiting(struct pev_bev *h)
{
	if (!h->waiting)
		return;
	h->waiting = 0;
	TAILQ_REMOVE(&h->source.loop->waiting, h, next_waiting);
}

static void
on_fast_read(evutil_socket_t fd, short what, void *arg)
{
	struct pev_bev *h = arg;
	struct bufferevent *bev = h->bev;
	ssize_t n;
	if (!(what & EV_READ) || !may_read(h)) {
		libevent_read(fd, what, bev);
		return;
	}
	forget_waiting(h);
	if (h->source.loop->patient && pev_is_full(h->source.loop) && h->relay == NULL) {
		wait(h);
		return;
	}
	if (h->fresh_length)
		pev_fresh_settle(h);
	if (h->read_error) {
		int error = h->read_error;
		h->read_error = 0;
		report(bev, BEV_EVENT_READING, BEV_EVENT_ERROR, error);
		return;
	}
	if (h->relay != NULL && pev_fast_may_put(pev_relay_partner(h)) && evbuffer_get_length(bev->input) == 0 && pev_fresh_has_room(h)) {
		if ((n = relay_fresh(h, fd)) <= 0)
			read_nothing(bev, n, fd, what);
		return;
	}
	if (pev_fresh_may_come(h)) {
		if ((n = pev_fresh_read(h, fd)) <= 0)
			read_nothing(bev, n, fd, what);
		return;
	}
	if (h->over != NULL && pev_fresh_has_room(h) && pev_records_may_read(h->over)) {
		bufferevent_incref(bev);
		if ((n = pev_records_read(h->over, fd)) <= 0)
			read_nothing(bev, n, fd, what);
		bufferevent_decref(bev);
		return;
	}
	bufferevent_incref(bev); /* callbacks of buffers may do anything */
	n = read_on(h, fd);
	if (n > 0)
		bufferevent_trigger(bev, EV_READ, 0);
	else if (h->bev != NULL)
		read_nothing(bev, n, fd, what);
	bufferevent_decref(bev);
}

/* A pass begins, and needs no poll if anything is noted after this. */
void
pev_fast_serve(struct pev_loop *loop)
{
	struct pev_bev *h;
	while ((h = TAILQ_FIRST(&loop->waiting)) != NULL && !pev_is_full(loop)) {
		forget_waiting(h);
		if (h->bev->ev_read.ev_evcallback.evcb_flags & EVLIST_INSERTED)
			on_fast_read(event_get_fd(&h->bev->ev_read), EV_READ, h);
	}
}

/* The next poll finds them again. */
void
pev_fast_forget_waiting(struct pev_loop *loop)
{
	struct pev_bev *h;
	while ((h = TAILQ_FIRST(&loop->waiting)) != NULL)
		forget_waiting(h);
}

/* ------------------------------------------------------------------ writing later */

static void
on_fast_write(evutil_socket_t fd, short what, void *arg)
{
	struct pev_bev *h = arg;
	struct bufferevent *bev = h->bev;
	int raise = !(h->own_limits & EV_WRITE) && !pev_bev_is_limited(h);
	if (h->send_error && (what & EV_WRITE)) {
		int error = h->send_error;
		h->send_error = 0;
		report(bev, BEV_EVENT_WRITING, BEV_EVENT_ERROR, error);
		return;
	}
	bufferevent_incref(bev);
	if (raise)
		bufferevent_set_max_single_write(bev, UNLIMITED);
	libevent_write(fd, what, bev);
	if (raise && !(h->own_limits & EV_WRITE)) /* a filter may have set its own */
		bufferevent_set_max_single_write(bev, 0);
	/* It was active and not pending: what the socket didn't take waits for the socket from now on. */
	if (h->bev == bev && (bev->enabled & EV_WRITE) && evbuffer_get_length(bev->output) > 0 && !queued(&bev->ev_write))
		bufferevent_enable(bev, EV_WRITE);
	bufferevent_decref(bev);
}

/* Python has written to a stack of bufferevents: what came out below is sent at once too. */
void
pev_fast_flush(struct pev_bev *h)
{
	struct bufferevent *bev;
	while (h->under != NULL)
		h = h->under;
	bev = h->bev;
	if (bev == NULL || !h->fast || (h->options & BEV_OPT_DEFER_CALLBACKS) || queued(&bev->ev_write) != EVLIST_ACTIVE)
		return;
	if (pev_is_calling(h->source.loop)) /* a filter: libevent may be at work with these very buffers */
		return;
	h->sent_before = h->source.loop->statistics.passes + 1;
	event_del(&bev->ev_write);
	on_fast_write(event_get_fd(&bev->ev_write), EV_WRITE, h);
}

/* More has come since, and waits: libevent will tell when that is sent. */
static void
take_back_sent(struct pev_bev *h)
{
	if (!(h->source.noted & PEV_NOTE_WRITE) || h->sent_before != h->source.loop->statistics.passes + 1)
		return;
	if (h->source.noted == PEV_NOTE_WRITE)
		pev_source_forget(&h->source);
	else
		h->source.noted &= ~(unsigned)PEV_NOTE_WRITE;
}

/* Runs before libevent's own, which finds ev_write on its way and leaves it there. */
static void
on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_bev *h = arg;
	struct bufferevent *bev = h->bev;
	PEV_UNUSED(output);
	if (!info->n_added || bev == NULL)
		return;
	take_back_sent(h);
	if ((bev->enabled & EV_WRITE) && h->connecting == PEV_NOT_CONNECTING &&
	    !queued(&bev->ev_write) && event_get_fd(&bev->ev_write) >= 0 && !pev_bev_is_limited(h))
		event_active(&bev->ev_write, EV_WRITE, 1);
}

/* Before something that libevent refuses while an event is active. */
void
pev_fast_wait(struct pev_bev *h)
{
	struct bufferevent *bev = h->bev;
	if (!h->fast || (queued(&bev->ev_write) & QUEUED) != EVLIST_ACTIVE)
		return;
	event_del(&bev->ev_write);
	bufferevent_enable(bev, bev->enabled & EV_WRITE);
}

/* ------------------------------------------------------------------ taking part */

static void
set_callback(struct event *ev, event_callback_fn callback, void *arg)
{
	ev->ev_evcallback.evcb_cb_union.evcb_callback = callback;
	ev->ev_evcallback.evcb_arg = arg;
}

/* libevent has assigned its callbacks: a new bufferevent, or a new descriptor. */
void
pev_fast_take_over(struct pev_bev *h)
{
	if (!h->fast)
		return;
	if (event_get_callback(&h->bev->ev_read) == on_fast_read)
		return;
	h->read_error = h->send_error = 0;
	libevent_read = event_get_callback(&h->bev->ev_read);
	libevent_write = event_get_callback(&h->bev->ev_write);
	set_callback(&h->bev->ev_read, on_fast_read, h);
	set_callback(&h->bev->ev_write, on_fast_write, h);
}

void
pev_fast_start(struct pev_bev *h)
{
	if (!h->source.loop->fast_io || (h->options & BEV_OPT_THREADSAFE))
		return;
	h->output_callback = evbuffer_add_cb(h->bev->output, on_output, h);
	if (h->output_callback == NULL)
		return; /* no memory: the slow way is a way */
	h->fast = 1;
	pev_fast_take_over(h);
}

/* The bufferevent is about to be freed, for which libevent needs its own argument back. */
void
pev_fast_stop(struct pev_bev *h)
{
	pev_fresh_forget(h);
	forget_waiting(h);
	if (!h->fast)
		return;
	if (event_get_callback(&h->bev->ev_read) == on_fast_read) {
		set_callback(&h->bev->ev_read, libevent_read, h->bev);
		set_callback(&h->bev->ev_write, libevent_write, h->bev);
	}
	if (h->output_callback != NULL)
		evbuffer_remove_cb_entry(h->bev->output, h->output_callback);
	h->output_callback = NULL;
	h->fast = 0;
}
