/* event2/bufferevent.h: the plain socket: its descriptor, and how it connects. */
#include "pylibevent.h"

/* Without a descriptor nothing can come of its events, but enabling adds them (facts of libevent 3.1): as internal ones they
 * don't keep the loop. A new descriptor makes them ordinary again. */
static void
hush(struct bufferevent *bev)
{
	if (event_get_fd(&bev->ev_read) >= 0)
		return;
	event_del(&bev->ev_read);
	event_del(&bev->ev_write);
	pev_mark_internal(&bev->ev_read);
	pev_mark_internal(&bev->ev_write);
}

struct pev_bev *
pev_bev_socket_new(struct pev_loop *loop, int fd, int options, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct pev_bev *h;
	struct bufferevent *bev;
	int code = pev_loop_usable(loop, 0);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	bev = bufferevent_socket_new(loop->base, fd, pev_bev_c_options(options));
	if (bev == NULL) {
		pev_delete(h);
		errno = ENOMEM;
		return NULL;
	}
	hush(bev);
	pev_bev_init(h, loop, bev, options, id, NULL);
	pev_fast_start(h);
	return h;
}

/* ------------------------------------------------------------------ the descriptor */

void
pev_bev_close_descriptor(struct pev_bev *h)
{
	int fd = bufferevent_getfd(h->bev);
	if (fd < 0)
		return;
	bufferevent_setfd(h->bev, -1); /* libevent must forget it before its number is used again */
	if (h->options & BEV_OPT_CLOSE_ON_FREE)
		pev_farewell(h->source.loop, fd, h->ended & BEV_EVENT_ERROR ? 0 : h->patience);
}

/* The descriptor, or -EBADF when there is none. */
int
pev_bev_get_fd(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int fd, code = pev_bev_usable(h);
	if (code < 0)
		return code;
	fd = bufferevent_getfd(h->bev);
	return fd < 0 ? -EBADF : fd;
}

int
pev_socket_give(struct pev_bev *h, int fd)
{
	if (bufferevent_setfd(h->bev, fd) < 0)
		return -PEV_EFAILED;
	pev_fast_take_over(h);
	evbuffer_freeze(h->bev->input, 0); /* setfd lifts what the constructor froze */
	evbuffer_freeze(h->bev->output, 1);
	hush(h->bev);
	h->made_fd = 0;
	h->ended = 0;
	return 0;
}

/* A new descriptor, or -1. The old one is left to the caller. */
int
pev_bev_set_fd(struct pev_bev *h, int fd)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable_alone(h);
	if (code < 0)
		return code;
	if (!pev_bev_is_socket(h))
		return -PEV_EKIND;
	return pev_socket_give(h, fd);
}

/* The address of this end, or of the peer's. */
int
pev_bev_get_name(struct pev_bev *h, int of_peer, struct pev_address *out)
{
	PEV_VISIT(pev_visit_bev(h));
	struct sockaddr_storage ss;
	socklen_t length = sizeof ss;
	int fd = pev_bev_get_fd(h);
	if (fd < 0)
		return fd;
	if ((of_peer ? getpeername : getsockname)(fd, (struct sockaddr *)&ss, &length) < 0)
		return -errno;
	pev_address_from_sockaddr(out, (struct sockaddr *)&ss, length);
	return 0;
}

/* ------------------------------------------------------------------ connecting */

/* From here until the connection stands, its events are ours: a failed attempt isn't the end while there are other
 * addresses to try, and a layer above must not hear of it. */
void
pev_bev_take_callbacks(struct pev_bev *h)
{
	bufferevent_getcb(h->bev, &h->upper_read, &h->upper_write, &h->upper_event, &h->upper_arg);
	if (h->upper_arg == h)
		h->upper_event = NULL;
	else
		pev_bev_listen(h);
}

static void
give_callbacks_back(struct pev_bev *h)
{
	if (h->upper_event != NULL)
		bufferevent_setcb(h->bev, h->upper_read, h->upper_write, h->upper_event, h->upper_arg);
}

static void
drop_failed_socket(struct pev_bev *h)
{
	int fd = bufferevent_getfd(h->bev);
	if (fd >= 0 && h->made_fd) {
		bufferevent_setfd(h->bev, -1);
		close(fd);
		evbuffer_freeze(h->bev->input, 0);
		evbuffer_freeze(h->bev->output, 1);
	}
	event_del(&h->bev->ev_read);
	event_del(&h->bev->ev_write);
	hush(h->bev);
}

void
pev_bev_connect_event(struct pev_bev *h, short what, int error)
{
	if (h->connecting == PEV_CONNECT_FAILED)
		return; /* a second report of the same failure */
	if (what & BEV_EVENT_CONNECTED) {
		h->connecting = PEV_NOT_CONNECTING;
		give_callbacks_back(h);
		pev_bev_opened(h);
		if (h->upper_event != NULL)
			h->upper_event(h->bev, what, h->upper_arg);
		else
			pev_bev_note_events(h, what, error);
		return;
	}
	h->connecting = PEV_CONNECT_FAILED;
	drop_failed_socket(h);
	h->source.detail = error ? error : ECONNREFUSED;
	pev_note(&h->source, PEV_NOTE_CONNECT_FAILED | (unsigned)(unsigned short)what << PEV_NOTE_EVENTS,
	    bufferevent_get_priority(h->bev));
}

/* A connection is on its way, but there is no address yet. */
int
pev_bev_expect_connect(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (!pev_bev_is_socket(h))
		return -PEV_EKIND;
	if (h->connecting == PEV_CONNECTING)
		return -EALREADY;
	if (h->connecting == PEV_NOT_CONNECTING)
		pev_bev_take_callbacks(h);
	h->connecting = PEV_CONNECTING;
	h->ended = 0;
	return 0;
}

/* Not inherited by programs that are started; libevent's own would be. */
static int
make_socket(struct pev_bev *h, int family)
{
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
#else
	int fd = socket(family, SOCK_STREAM, 0);
	if (fd < 0)
		return -errno;
	if (evutil_make_socket_nonblocking(fd) < 0 || evutil_make_socket_closeonexec(fd) < 0) {
		int saved = errno;
		close(fd);
		return -saved;
	}
#endif
	bufferevent_setfd(h->bev, fd);
	return 0;
}

static int
try_connect(struct pev_bev *h, const struct sockaddr *sa, socklen_t length)
{
	h->made_fd = bufferevent_getfd(h->bev) < 0;
	if (h->made_fd) {
		int code = make_socket(h, sa->sa_family);
		if (code < 0)
			return code;
	}
	errno = 0;
	if (bufferevent_socket_connect(h->bev, sa, (int)length) < 0)
		return errno ? -errno : -PEV_EFAILED;
	pev_fast_take_over(h);
	evbuffer_freeze(h->bev->input, 0);
	evbuffer_freeze(h->bev->output, 1);
	/* Where connect succeeds at once libevent relies on EV_WRITE being enabled to notice. */
	if (!event_pending(&h->bev->ev_write, EV_WRITE, NULL))
		event_add(&h->bev->ev_write, NULL);
	return 0;
}

int
pev_bev_connect(struct pev_bev *h, const struct pev_address *address)
{
	PEV_VISIT(pev_visit_bev(h));
	struct sockaddr_storage ss;
	socklen_t length;
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (!pev_bev_is_socket(h))
		return -PEV_EKIND;
	code = pev_address_to_sockaddr(address, &ss, &length);
	if (code < 0)
		return code;
	if (h->connecting == PEV_NOT_CONNECTING)
		pev_bev_take_callbacks(h);
	h->connecting = PEV_CONNECTING;
	h->ended = 0;
	code = try_connect(h, (struct sockaddr *)&ss, length);
	if (code < 0) {
		h->connecting = PEV_CONNECT_FAILED;
		drop_failed_socket(h);
	}
	return code;
}

/* The last attempt failed: whoever has the callbacks hears of it. */
int
pev_bev_fail(struct pev_bev *h, int what, int error)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	h->connecting = PEV_NOT_CONNECTING;
	give_callbacks_back(h);
	if (what == 0)
		return 0; /* the caller says it */
	errno = error;
	if (h->upper_event != NULL) {
		h->ended |= what & BEV_EVENT_ERROR;
		h->upper_event(h->bev, (short)what, h->upper_arg);
	} else
		pev_bev_note_events(h, (short)what, error);
	return 0;
}
