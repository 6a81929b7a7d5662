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
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	end_farewell(arg);
}

static int
start_farewell(struct pev_loop *loop, int fd, const struct timeval *tv)
{
	struct farewell *f = pev_new(sizeof *f);
	if (f == NULL)
		return -ENOMEM;
	f->fd = fd;
	event_assign(&f->incoming, loop->base, fd, EV_READ | EV_PERSIST, on_incoming, f);
	event_assign(&f->deadline, loop->base, -1, 0, on_deadline, f);
	if (event_add(&f->deadline, tv) < 0 || event_add(&f->incoming, NULL) < 0) {
		event_del(&f->deadline);
		pev_delete(f);
		return -ENOMEM;
	}
	pev_source_init(&f->source, loop, 0, PEV_LAYER_BUFFEREVENT, end_farewell, end_farewell);
	return 0;
}

/* How many bytes TCP holds that the peer doesn't have; other sockets lose none. */
static int
unsent(int fd)
{
	struct sockaddr_storage ss;
	socklen_t length = sizeof ss;
	int n = 0;
	if (getsockname(fd, (struct sockaddr *)&ss, &length) < 0 || (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return 0;
#ifdef SIOCOUTQ
	if (ioctl(fd, SIOCOUTQ, &n) < 0)
		return 0;
#elif defined(SO_NWRITE)
	length = sizeof n;
	if (getsockopt(fd, SOL_SOCKET, SO_NWRITE, &n, &length) < 0)
		return 0;
#endif
	return n;
}

/* Close a descriptor that no event watches any more, within so many seconds; 0: now. */
void
pev_farewell(struct pev_loop *loop, int fd, double seconds)
{
	struct timeval tv;
	if (seconds > 0 && pev_timeval(seconds, &tv) == 0 && discard(fd) && unsent(fd) > 0 && shutdown(fd, SHUT_WR) == 0 &&
	    start_farewell(loop, fd, &tv) == 0)
		return;
	close(fd);
}
