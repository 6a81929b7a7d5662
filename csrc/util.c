/* event2/util.h: socket addresses both ways. */
#include "pylibevent.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

static int
to_inet(const struct pev_address *address, struct sockaddr_in *sin)
{
	sin->sin_family = AF_INET;
	sin->sin_port = htons((uint16_t)address->port);
	return evutil_inet_pton(AF_INET, address->text, &sin->sin_addr) == 1 ? (int)sizeof *sin : -PEV_EVALUE;
}

static int
to_inet6(const struct pev_address *address, struct sockaddr_in6 *sin6)
{
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons((uint16_t)address->port);
	sin6->sin6_flowinfo = htonl(address->flowinfo);
	sin6->sin6_scope_id = address->scope_id;
	return evutil_inet_pton(AF_INET6, address->text, &sin6->sin6_addr) == 1 ? (int)sizeof *sin6 : -PEV_EVALUE;
}

static int
to_unix(const struct pev_address *address, struct sockaddr_un *sun)
{
	size_t n = (size_t)address->length;
	int is_abstract = n > 0 && address->text[0] == '\0';
	/* A path needs room for its NUL; an abstract name may fill the array. */
	if (n == 0 || n > sizeof sun->sun_path || (!is_abstract && n == sizeof sun->sun_path))
		return -ENAMETOOLONG;
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, address->text, n);
	return (int)(offsetof(struct sockaddr_un, sun_path) + n + !is_abstract);
}

int
pev_address_to_sockaddr(const struct pev_address *address, struct sockaddr_storage *out, socklen_t *length)
{
	int n;
	memset(out, 0, sizeof *out);
	switch (address->family) {
	case AF_INET: n = to_inet(address, (struct sockaddr_in *)out); break;
	case AF_INET6: n = to_inet6(address, (struct sockaddr_in6 *)out); break;
	case AF_UNIX: n = to_unix(address, (struct sockaddr_un *)out); break;
	default: n = -EAFNOSUPPORT; break;
	}
	if (n < 0)
		return n;
	*length = (socklen_t)n;
	return 0;
}

static void
from_unix(struct pev_address *address, const struct sockaddr_un *sun, socklen_t length)
{
	int n = (int)length - (int)offsetof(struct sockaddr_un, sun_path);
	if (n <= 0)
		return; /* the peer has no name */
	if (sun->sun_path[0] != '\0')
		n = (int)strnlen(sun->sun_path, (size_t)n);
	memcpy(address->text, sun->sun_path, (size_t)n);
	address->length = n;
}

void
pev_address_from_sockaddr(struct pev_address *address, const struct sockaddr *sa, socklen_t length)
{
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;

	memset(address, 0, sizeof *address);
	if (sa == NULL || length < (socklen_t)sizeof sa->sa_family)
		return;
	address->family = sa->sa_family;
	if (sa->sa_family == AF_INET) {
		evutil_inet_ntop(AF_INET, &sin->sin_addr, address->text, sizeof address->text);
		address->port = ntohs(sin->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		evutil_inet_ntop(AF_INET6, &sin6->sin6_addr, address->text, sizeof address->text);
		address->port = ntohs(sin6->sin6_port);
		address->flowinfo = ntohl(sin6->sin6_flowinfo);
		address->scope_id = sin6->sin6_scope_id;
	} else if (sa->sa_family == AF_UNIX) {
		from_unix(address, (const struct sockaddr_un *)sa, length);
		return;
	}
	address->length = (int)strlen(address->text);
}

/* "1.2.3.4:80", "[::1]:80", "::1" */
int
pev_parse_address(const char *text, struct pev_address *out)
{
	struct sockaddr_storage ss;
	int length = sizeof ss;
	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&ss, &length) < 0)
		return -PEV_EVALUE;
	pev_address_from_sockaddr(out, (struct sockaddr *)&ss, (socklen_t)length);
	return 0;
}

/* Without it a handshake and every request waits for the peer's delayed acknowledgement. Says nothing on sockets that
 * aren't TCP. */
int
pev_set_nodelay(int fd)
{
	int on = 1;
	return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ? -errno : 0;
}

int
pev_set_nonblocking(int fd)
{
	return evutil_make_socket_nonblocking(fd) < 0 ? (errno ? -errno : -PEV_EFAILED) : 0;
}

static int
listens(int fd)
{
	int value = 0;
	socklen_t size = sizeof value;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
}

/* Ready for a bufferevent; is_ready: it is known not to block. One that listens would only say ENOTCONN, and not before
 * somebody connects to it: it is refused where it blocks, as those do that were meant to be accepted from. What a server has
 * accepted doesn't block, and isn't asked. */
int
pev_ready_stream(int fd, int is_ready, int nodelay)
{
	int flags = is_ready ? O_NONBLOCK : fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK)) {
		if (listens(fd))
			return -PEV_ELISTENS;
		if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return -errno;
	}
	if (nodelay)
		pev_set_nodelay(fd);
	return 0;
}
