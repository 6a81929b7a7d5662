/* The load: a closed loop of echo clients on bare epoll and OpenSSL, so that no library that is measured is the client too.
 *
 *   load PORT CONNECTIONS SIZE SECONDS MODE PID
 *
 * MODE tcp, tls, tls12: each connection sends a message of SIZE bytes, waits until it is back, and sends the next.
 * MODE full, full12, resumed, resumed12: each connection shakes hands, has one byte echoed, ends, and begins again.
 *
 * Prints one line of JSON. The figure that counts is cpu_us: microseconds of processor time that the main thread of the
 * process PID took per message, once each connection has had one back, which neighbours on the machine disturb least. Every
 * byte that comes back is compared. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#define MOST_FAILURES 1000
#define READ_SIZE (256 * 1024)
#define MOST_WARMING 60 /* seconds until each connection has had a message back */

struct connection {
	int fd;
	SSL *ssl;
	int warm;        /* a message has come back */
	int open;        /* the handshake, where there is one, is done */
	size_t sent;     /* of the message under way */
	size_t received;
	unsigned watched; /* what epoll was told */
};

static struct {
	const char *mode;
	int tls, handshakes, resume;
	size_t size;
	struct sockaddr_in server;
	const char *pid;
} options;

static int epoll_fd;
static SSL_CTX *context;
static SSL_SESSION *session;
static char *message, *incoming;
static unsigned long done, failed, resumed, wrong, warmed;

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* ------------------------------------------------------------------ one connection */

static void
watch(struct connection *c, unsigned events, int operation)
{
	struct epoll_event e = { .events = events, .data.ptr = c };
	if (operation == EPOLL_CTL_MOD && c->watched == events)
		return;
	c->watched = events;
	if (epoll_ctl(epoll_fd, operation, c->fd, &e) < 0)
		die("epoll_ctl");
}

static void
start(struct connection *c)
{
	int one = 1;
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&options.server, sizeof options.server) < 0)
		die("connect");
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->open = !options.tls;
	c->sent = c->received = 0;
	if (options.tls) {
		c->ssl = SSL_new(context);
		SSL_set_fd(c->ssl, c->fd);
		SSL_set_connect_state(c->ssl);
		if (session != NULL)
			SSL_set_session(c->ssl, session);
	}
	watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

static void
stop(struct connection *c, int clean)
{
	struct linger at_once = { 1, 0 }; /* no port waits in TIME_WAIT */
	if (c->ssl != NULL) {
		if (clean) {
			SSL_set_shutdown(c->ssl, SSL_RECEIVED_SHUTDOWN);
			SSL_shutdown(c->ssl);
		}
		SSL_free(c->ssl);
		c->ssl = NULL;
	}
	if (options.handshakes)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	close(c->fd);
}

static void
lost(struct connection *c)
{
	stop(c, 0);
	if (++failed > MOST_FAILURES)
		exit(1);
	start(c);
}

/* Bytes; 0: not now; -1: it is over. */
static long
move(struct connection *c, int out, char *at, size_t n)
{
	long r;
	int why;
	if (!options.tls) {
		r = out ? send(c->fd, at, n, MSG_NOSIGNAL) : recv(c->fd, at, n, 0);
		return r > 0 ? r : r < 0 && errno == EAGAIN ? 0 : -1;
	}
	r = out ? SSL_write(c->ssl, at, (int)n) : SSL_read(c->ssl, at, (int)n);
	if (r > 0)
		return r;
	why = SSL_get_error(c->ssl, (int)r);
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* 1: done, 0: under way, -1: failed */
static int
shake_hands(struct connection *c)
{
	int r = SSL_do_handshake(c->ssl), why;
	if (r == 1)
		return c->open = 1;
	why = SSL_get_error(c->ssl, r);
	if (why == SSL_ERROR_WANT_READ)
		watch(c, EPOLLIN, EPOLL_CTL_MOD);
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void
finish_handshake(struct connection *c)
{
	resumed += (unsigned long)SSL_session_reused(c->ssl);
	if (options.resume) {
		SSL_SESSION *newest = SSL_get1_session(c->ssl);
		if (newest != NULL) {
			SSL_SESSION_free(session);
			session = newest;
		}
	}
	done++;
	stop(c, 1);
	start(c);
}

static void
compare(const struct connection *c, const char *at, size_t n)
{
	if (c->received + n > options.size || memcmp(at, message + c->received, n) != 0)
		wrong++;
}

static void
step(struct connection *c)
{
	long r;
	if (!c->open && (r = shake_hands(c)) <= 0) {
		if (r < 0)
			lost(c);
		return;
	}
	for (;;) {
		while (c->sent < options.size && (r = move(c, 1, message + c->sent, options.size - c->sent)) != 0) {
			if (r < 0) {
				lost(c);
				return;
			}
			c->sent += (size_t)r;
		}
		r = move(c, 0, incoming, READ_SIZE);
		if (r < 0) {
			lost(c);
			return;
		}
		if (r == 0)
			break;
		compare(c, incoming, (size_t)r);
		c->received += (size_t)r;
		if (c->received >= options.size) {
			c->sent = c->received = 0;
			if (options.handshakes) {
				finish_handshake(c);
				return;
			}
			done++;
			warmed += !c->warm;
			c->warm = 1;
		}
	}
	watch(c, c->sent < options.size ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

/* ------------------------------------------------------------------ the run */

/* Microseconds of processor time of the server's main thread. */
static double
server_cpu(void)
{
	char path[64], text[128] = "";
	FILE *f;
	snprintf(path, sizeof path, "/proc/%s/schedstat", options.pid);
	f = fopen(path, "r");
	if (f == NULL || fgets(text, sizeof text, f) == NULL)
		die(path);
	fclose(f);
	return atof(text) / 1e3;
}

static void
run(double seconds)
{
	struct epoll_event ready[256];
	double end = now() + seconds;
	while (now() < end) {
		int i, n = epoll_wait(epoll_fd, ready, 256, 50);
		for (i = 0; i < n; i++)
			step(ready[i].data.ptr);
	}
}

static void
make_context(void)
{
	context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (strstr(options.mode, "12") != NULL)
		SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
}

int
main(int argc, char **argv)
{
	int i, connections;
	double seconds, cpu, began, took, end;
	struct connection *all;
	if (argc != 7) {
		fprintf(stderr, "usage: load PORT CONNECTIONS SIZE SECONDS MODE PID\n");
		return 2;
	}
	connections = atoi(argv[2]);
	options.size = (size_t)atol(argv[3]);
	seconds = atof(argv[4]);
	options.mode = argv[5];
	options.pid = argv[6];
	options.server.sin_family = AF_INET;
	options.server.sin_port = htons((unsigned short)atoi(argv[1]));
	options.server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	options.tls = strcmp(options.mode, "tcp") != 0;
	options.resume = strncmp(options.mode, "resumed", 7) == 0;
	options.handshakes = options.resume || strncmp(options.mode, "full", 4) == 0;
	signal(SIGPIPE, SIG_IGN);
	if (options.tls)
		make_context();
	message = malloc(options.size);
	incoming = malloc(READ_SIZE);
	all = calloc((size_t)connections, sizeof *all);
	epoll_fd = epoll_create1(0);
	for (size_t at = 0; at < options.size; at++)
		message[at] = (char)(at * 131 + at / 251 + 7);
	for (i = 0; i < connections; i++)
		start(&all[i]);
	end = now() + MOST_WARMING;
	do
		run(seconds / 4); /* warm up */
	while (!options.handshakes && warmed < (unsigned long)connections && now() < end);
	done = resumed = 0;
	cpu = server_cpu();
	began = now();
	run(seconds);
	took = now() - began;
	cpu = server_cpu() - cpu;
	printf("{\"per_second\": %.0f, \"cpu_us\": %.3f, \"busy\": %.3f, \"done\": %lu, \"resumed\": %lu, \"failed\": %lu, "
	       "\"wrong\": %lu}\n",
	    (double)done / took, done ? cpu / (double)done : 0, cpu / took / 1e6, done, resumed, failed, wrong);
	return 0;
}
