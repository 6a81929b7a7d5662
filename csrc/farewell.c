/* The last words of a socket that is closed.
 *
 * TCP throws away what it has not yet sent when a socket is closed with unread bytes in it, or gets some afterwards: the
 * peer finds a reset in place of the end. TLS 1.3 makes it the rule, since a server's session tickets come when nobody
 * reads any more. So a close that has the time says that nothing will follow, reads on to nowhere until the peer ends
 * too, and closes then (nginx calls it lingering_close).
 */
#include "pylibevent.h"

#include <sys/ioctl.h>
#ifdef __linux__
#include <linux/sockios.h>
#endif

#define CHUNK (16 * 1024)
#define MOST_CHUNKS 64 /* in one go; the event comes again */

struct farewell {
	struct pev_source source;
	int fd;
	size_t left;
	struct timeval patience;
	struct event incoming;
	struct event deadline;
};

/* What has come in, to nowhere: 0 when the peer has ended, or failed. */
static int
discard(int fd)
{
	char nowhere[CHUNK];
	int i;
	for (i = 0; i < MOST_CHUNKS; i++) {
		ssize_t n = recv(fd, nowhere, sizeof nowhere, MSG_DONTWAIT);
		if (n == 0)
			return 0;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
	}
	return 1;
}

static void
end_farewell(struct pev_source *source)
{
	struct farewell *f = (struct farewell *)source;
	event_del(&f->incoming);
	event_del(&f->deadline);
	close(f->fd);
	pev_source_leave(source);
	pev_delete(f);
}

static void
on_incoming(evutil_socket_t fd, short what, void *arg)
{
	if ((what & EV_TIMEOUT) || !discard(fd))
		end_farewell(arg);
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct farewell *f = arg;
	size_t left = pev_unsent(f->fd);
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	if (left == 0 || left >= f->left || event_add(&f->deadline, &f->patience) < 0) {
		end_farewell(arg);
		return;
	}
	f->left = left; /* it makes headway */
}

static int
start_farewell(struct pev_loop *loop, int fd, const struct timeval *tv)
{
	struct farewell *f = pev_new(sizeof *f);
	if (f == NULL)
		return -ENOMEM;
	f->fd = fd;
	f->left = pev_unsent(fd);
	f->patience = *tv;
	event_assign(&f->incoming, loop->base, fd, EV_READ | EV_PERSIST, on_incoming, f);
	event_assign(&f->deadline, loop->base, -1, 0, on_deadline, f);
	if (event_add(&f->deadline, tv) < 0 || event_add(&f->incoming, NULL) < 0) {
		event_del(&f->deadline);
		pev_delete(f);
		return -ENOMEM;
	}
	pev_source_init(&f->source, loop, 0, PEV_LAYER_FAREWELL, end_farewell, end_farewell);
	return 0;
}

/* How many bytes the system holds that the peer doesn't have. */
size_t
pev_unsent(int fd)
{
	int n = 0;
#ifdef SIOCOUTQ
	if (ioctl(fd, SIOCOUTQ, &n) < 0)
		return 0;
#elif defined(SO_NWRITE)
	socklen_t length = sizeof n;
	if (getsockopt(fd, SOL_SOCKET, SO_NWRITE, &n, &length) < 0)
		return 0;
#endif
	return n > 0 ? (size_t)n : 0;
}

/* Other sockets lose nothing when they are closed. */
static int
is_tcp(int fd)
{
	struct sockaddr_storage ss;
	socklen_t length = sizeof ss;
	return getsockname(fd, (struct sockaddr *)&ss, &length) == 0 && (ss.ss_family == AF_INET || ss.ss_family == AF_INET6);
}

/* Part of what was written is lost, and the peer shall not take what it has for all. */
static void
close_with_reset(int fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	close(fd);
}

/* Close a descriptor that no event watches any more, within so many seconds without headway; 0: now; PEV_GIVEN_UP: now, and
 * the peer is told that it didn't get everything. */
void
pev_farewell(struct pev_loop *loop, int fd, double seconds)
{
	struct timeval tv;
	if (seconds < 0) {
		close_with_reset(fd);
		return;
	}
	if (seconds > 0 && pev_timeval(seconds, &tv) == 0 && is_tcp(fd) && discard(fd) && pev_unsent(fd) > 0 &&
	    shutdown(fd, SHUT_WR) == 0 && start_farewell(loop, fd, &tv) == 0)
		return;
	close(fd);
}
