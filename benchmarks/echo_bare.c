/* To compare with: an echo server on bare epoll and bare OpenSSL, without any library of events.
 *
 *   echo_bare PORT [CERTIFICATE KEY] */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#define ROOM (256 * 1024)
#define RECORD (16 * 1024)

struct connection {
	int fd;
	SSL *ssl;
	int open;
	char *left; /* what the socket didn't take */
	size_t at, length;
};

static char room[ROOM];
static int epoll_fd;
static SSL_CTX *context;

static void
watch(struct connection *c, unsigned events, int operation)
{
	struct epoll_event e = { .events = events, .data.ptr = c };
	epoll_ctl(epoll_fd, operation, c->fd, &e);
}

static void
stop(struct connection *c)
{
	SSL_free(c->ssl);
	close(c->fd);
	free(c->left);
	free(c);
}

static int
not_now(const struct connection *c, int r)
{
	int why = SSL_get_error(c->ssl, r);
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* How many bytes; -1: it is over. */
static ssize_t
put(struct connection *c, const char *at, size_t n)
{
	size_t put = 0;
	if (c->ssl == NULL) {
		ssize_t r = send(c->fd, at, n, MSG_NOSIGNAL);
		return r < 0 && errno == EAGAIN ? 0 : r;
	}
	while (put < n) {
		int r = SSL_write(c->ssl, at + put, (int)(n - put > RECORD ? RECORD : n - put));
		if (r <= 0)
			return not_now(c, r) ? (ssize_t)put : -1;
		put += (size_t)r;
	}
	return (ssize_t)put;
}

static ssize_t
take(struct connection *c)
{
	size_t taken = 0;
	if (c->ssl == NULL) {
		ssize_t r = recv(c->fd, room, ROOM, 0);
		return r > 0 ? r : r < 0 && errno == EAGAIN ? 0 : -1;
	}
	while (taken < ROOM) {
		int r = SSL_read(c->ssl, room + taken, (int)(ROOM - taken));
		if (r <= 0)
			return not_now(c, r) || taken ? (ssize_t)taken : -1;
		taken += (size_t)r;
	}
	return (ssize_t)taken;
}

static int
keep(struct connection *c, const char *at, size_t n)
{
	c->left = malloc(n);
	memcpy(c->left, at, n);
	c->at = 0;
	c->length = n;
	watch(c, EPOLLOUT, EPOLL_CTL_MOD);
	return 0;
}

/* -1: it is over */
static int
step(struct connection *c)
{
	ssize_t n, m;
	if (!c->open) {
		int r = SSL_do_handshake(c->ssl);
		if (r != 1)
			return not_now(c, r) ? 0 : -1;
		c->open = 1;
	}
	if (c->length) {
		if ((m = put(c, c->left + c->at, c->length)) < 0)
			return -1;
		c->at += (size_t)m;
		c->length -= (size_t)m;
		if (c->length)
			return 0;
		free(c->left);
		c->left = NULL;
		watch(c, EPOLLIN, EPOLL_CTL_MOD);
	}
	if ((n = take(c)) <= 0)
		return (int)n;
	if ((m = put(c, room, (size_t)n)) < 0)
		return -1;
	return m < n ? keep(c, room + m, (size_t)(n - m)) : 0;
}

static void
start(int fd)
{
	struct connection *c = calloc(1, sizeof *c);
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->fd = fd;
	c->open = context == NULL;
	if (context != NULL) {
		c->ssl = SSL_new(context);
		SSL_set_fd(c->ssl, fd);
		SSL_set_accept_state(c->ssl);
	}
	watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

static void
serve(int listener)
{
	struct epoll_event ready[256], e = { .events = EPOLLIN };
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int i, n = epoll_wait(epoll_fd, ready, 256, -1);
		for (i = 0; i < n; i++) {
			struct connection *c = ready[i].data.ptr;
			int fd;
			if (c != NULL && step(c) < 0)
				stop(c);
			else if (c == NULL && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
				start(fd);
		}
	}
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (argc < 2)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	address.sin_port = htons((unsigned short)atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (argc > 3) {
		context = SSL_CTX_new(TLS_server_method());
		if (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
		    SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1)
			return 1;
		SSL_CTX_set_read_ahead(context, 1);
		SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		SSL_CTX_set_session_id_context(context, (const unsigned char *)"echo", 4);
	}
	epoll_fd = epoll_create1(0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0)
		return 1;
	serve(listener);
}
