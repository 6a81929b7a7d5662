/* event2/listener.h: accepting.
 *
 * The rules:
 *
 *   1. libevent accepts until there is nothing left; we stop it after a batch and go on when Python has taken it.
 *   2. Where accepting fails for want of descriptors or memory, libevent would call back at once, and again (facts of
 *      libevent 3.11): accepting pauses, and a timer resumes it.
 *   3. What was accepted and not taken when the listener closes is closed too.
 */
#include "pylibevent.h"

#define BATCH 64

struct accepted {
	int fd;
	struct pev_address peer;
};

struct pev_listener {
	struct pev_source source;
	struct evconnlistener *listener; /* NULL once closed */
	int fd;
	int close_fd;
	int enabled; /* as Python wants it */
	struct accepted batch[BATCH];
	int n_accepted, n_taken;
	double pause;
	struct event resume;
	int priority;
};

/* Accept exactly while Python wants it, there is room, and no pause is on. */
static void
adjust(struct pev_listener *h)
{
	int has_room = h->n_accepted < BATCH || h->n_taken == BATCH;
	if (h->enabled && has_room && !event_pending(&h->resume, EV_TIMEOUT, NULL))
		evconnlistener_enable(h->listener);
	else
		evconnlistener_disable(h->listener);
}

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa, int length, void *arg)
{
	struct pev_listener *h = arg;
	struct accepted *accepted;
	if (h->n_taken == h->n_accepted)
		h->n_taken = h->n_accepted = 0;
	accepted = &h->batch[h->n_accepted++];
	accepted->fd = fd;
	pev_address_from_sockaddr(&accepted->peer, sa, (socklen_t)length);
	if (h->n_accepted == BATCH)
		evconnlistener_disable(listener);
	pev_note(&h->source, PEV_NOTE_ACCEPTED, h->priority);
}

static void
on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct pev_listener *h = arg;
	struct timeval tv;
	h->source.detail = errno;
	if (pev_timeval(h->pause, &tv) == 0 && event_add(&h->resume, &tv) == 0)
		evconnlistener_disable(listener);
	pev_note(&h->source, PEV_NOTE_ACCEPT_FAILED, h->priority);
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	adjust(arg);
}

static void
shut_listener(struct pev_source *source)
{
	struct pev_listener *h = (struct pev_listener *)source;
	if (h->listener == NULL)
		return;
	event_del(&h->resume);
	evconnlistener_free(h->listener);
	h->listener = NULL;
	if (h->close_fd)
		close(h->fd);
	while (h->n_taken < h->n_accepted)
		close(h->batch[h->n_taken++].fd);
	pev_source_forget(source);
}

static void
drop_listener(struct pev_source *source)
{
	if (source->loop != NULL) {
		shut_listener(source);
		pev_source_leave(source);
	}
	pev_delete(source);
}

void
pev_listener_drop(struct pev_listener *h)
{
	pev_source_discard(&h->source);
}

static int
listener_usable(const struct pev_listener *h)
{
	return h->listener == NULL ? -PEV_ECLOSED : pev_loop_usable(h->source.loop, 0);
}

int
pev_listener_check(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	return listener_usable(h);
}

static struct pev_listener *
finish(struct pev_listener *h, struct pev_loop *loop, int options, uint64_t id)
{
	if (h->listener == NULL) {
		int saved = errno ? errno : PEV_EFAILED;
		pev_delete(h);
		errno = saved;
		return NULL;
	}
	h->fd = evconnlistener_get_fd(h->listener);
	h->close_fd = (options & LEV_OPT_CLOSE_ON_FREE) != 0;
	h->enabled = !(options & LEV_OPT_DISABLED);
	h->pause = 0.1;
	h->priority = pev_default_priority(loop);
	event_assign(&h->resume, loop->base, -1, 0, on_resume, h);
	evconnlistener_set_error_cb(h->listener, on_accept_error);
	pev_source_init(&h->source, loop, id, PEV_LAYER_LISTENER, shut_listener, drop_listener);
	return h;
}

static struct pev_listener *
prepare(struct pev_loop *loop)
{
	int code = pev_loop_usable(loop, 0);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	errno = 0;
	return pev_new(sizeof(struct pev_listener));
}

/* The listener's own lock deadlocks where it is needed (facts of libevent 3.6), and ours are used by one thread. Its
 * CLOSE_ON_FREE is ours: the descriptor is closed when the close is done. */
#define C_OPTIONS(options) ((unsigned)((options) & ~(LEV_OPT_THREADSAFE | LEV_OPT_CLOSE_ON_FREE)))

struct pev_listener *
pev_listener_bind(struct pev_loop *loop, const struct pev_address *address, int options, int backlog, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct sockaddr_storage ss;
	socklen_t length;
	struct pev_listener *h = prepare(loop);
	int code;
	if (h == NULL)
		return NULL;
	code = pev_address_to_sockaddr(address, &ss, &length);
	if (code < 0) {
		pev_delete(h);
		errno = -code;
		return NULL;
	}
	h->listener = evconnlistener_new_bind(loop->base, on_accept, h, C_OPTIONS(options), backlog, (struct sockaddr *)&ss,
	    (int)length);
	return finish(h, loop, options, id);
}

/* The descriptor must be one that doesn't block: accept would, and the loop with it. backlog 0: it listens already. */
struct pev_listener *
pev_listener_new(struct pev_loop *loop, int fd, int options, int backlog, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct pev_listener *h = prepare(loop);
	int code;
	if (h == NULL)
		return NULL;
	code = pev_set_nonblocking(fd);
	if (code < 0) {
		pev_delete(h);
		errno = -code;
		return NULL;
	}
	h->listener = evconnlistener_new(loop->base, on_accept, h, C_OPTIONS(options), backlog, fd);
	return finish(h, loop, options, id);
}

int
pev_listener_close(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	if (code == -PEV_ECLOSED)
		return 0;
	if (code < 0)
		return code;
	shut_listener(&h->source);
	return 0;
}

int
pev_listener_enable(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	if (code < 0)
		return code;
	h->enabled = 1;
	adjust(h);
	if (h->n_taken < h->n_accepted && h->enabled)
		pev_note(&h->source, PEV_NOTE_ACCEPTED, h->priority);
	return 0;
}

int
pev_listener_disable(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	if (code < 0)
		return code;
	h->enabled = 0;
	adjust(h);
	return 0;
}

int
pev_listener_enabled(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	return code < 0 ? code : h->enabled;
}

int
pev_listener_get_fd(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	return code < 0 ? code : h->fd;
}

int
pev_listener_set_pause(struct pev_listener *h, double seconds)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	if (code < 0)
		return code;
	if (!(seconds > 0 && seconds <= 1e6))
		return -PEV_ETIME;
	h->pause = seconds;
	return 0;
}

/* The next accepted descriptor, which is the caller's from now on, and how many wait behind it; or -EAGAIN. */
int
pev_listener_next(struct pev_listener *h, struct pev_address *peer, int *fd)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	struct accepted *accepted;
	int code = listener_usable(h);
	if (code < 0)
		return code;
	if (h->n_taken == h->n_accepted || !h->enabled)
		return -EAGAIN;
	accepted = &h->batch[h->n_taken++];
	*peer = accepted->peer;
	*fd = accepted->fd;
	if (h->n_taken == BATCH)
		adjust(h);
	return h->n_accepted - h->n_taken;
}

/* The last one that was taken comes again. */
int
pev_listener_put_back(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	if (code < 0)
		return code;
	if (h->n_taken > 0)
		h->n_taken--;
	adjust(h); /* the batch may be full again */
	return 0;
}

/* Python could not take all: an exception, loopbreak. The next pass says so again. */
int
pev_listener_renote(struct pev_listener *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = listener_usable(h);
	if (code < 0)
		return code;
	if (h->enabled && h->n_taken < h->n_accepted)
		pev_note(&h->source, PEV_NOTE_ACCEPTED, h->priority);
	return 0;
}
