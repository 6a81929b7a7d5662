/* The same in C: an echo server, or a proxy, on libevent's bufferevents as its documentation shows them.
 *
 *   echo_libevent PORT BACKEND [CERTIFICATE KEY]      BACKEND 0: echo; else the port of 127.0.0.1 to pass everything to */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/ssl.h>

#define ENDS (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)
#define MOST_OUTPUT (512 * 1024) /* what libevent's own le-proxy lets pile up */

static SSL_CTX *context;
static struct sockaddr_in backend;

static struct sockaddr_in
loopback(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	address.sin_port = htons((unsigned short)port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* ------------------------------------------------------------------ echo */

static void
echo(struct bufferevent *bev, void *arg)
{
	(void)arg;
	bufferevent_write_buffer(bev, bufferevent_get_input(bev));
}

static void
end_echo(struct bufferevent *bev, short what, void *arg)
{
	(void)arg;
	if (what & ENDS)
		bufferevent_free(bev);
}

/* ------------------------------------------------------------------ proxy */

static void
read_on(struct bufferevent *bev, void *arg)
{
	bufferevent_setwatermark(bev, EV_WRITE, 0, 0);
	bufferevent_enable(arg, EV_READ);
}

static void end_proxy(struct bufferevent *bev, short what, void *arg);
static void pass_on(struct bufferevent *bev, void *arg);

static void
pass_on(struct bufferevent *bev, void *arg)
{
	struct bufferevent *partner = arg;
	bufferevent_write_buffer(partner, bufferevent_get_input(bev));
	if (evbuffer_get_length(bufferevent_get_output(partner)) >= MOST_OUTPUT) {
		bufferevent_setcb(partner, pass_on, read_on, end_proxy, bev);
		bufferevent_setwatermark(partner, EV_WRITE, MOST_OUTPUT / 2, MOST_OUTPUT);
		bufferevent_disable(bev, EV_READ);
	}
}

static void
end_proxy(struct bufferevent *bev, short what, void *arg)
{
	if (what & ENDS) {
		bufferevent_free(arg);
		bufferevent_free(bev);
	}
}

static void
start_proxy(struct event_base *base, struct bufferevent *bev)
{
	struct bufferevent *partner = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	int one = 1;
	bufferevent_socket_connect(partner, (struct sockaddr *)&backend, sizeof backend);
	setsockopt(bufferevent_getfd(partner), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	bufferevent_setcb(bev, pass_on, NULL, end_proxy, partner);
	bufferevent_setcb(partner, pass_on, NULL, end_proxy, bev);
	bufferevent_enable(partner, EV_READ | EV_WRITE);
}

/* ------------------------------------------------------------------ the server */

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int length, void *arg)
{
	struct event_base *base = arg;
	struct bufferevent *bev;
	int one = 1;
	(void)listener, (void)address, (void)length;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (context != NULL) {
		bev = bufferevent_openssl_socket_new(base, fd, SSL_new(context), BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	} else {
		bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	}
	if (backend.sin_port)
		start_proxy(base, bev);
	else
		bufferevent_setcb(bev, echo, NULL, end_echo, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static SSL_CTX *
make_context(const char *certificate, const char *key)
{
	SSL_CTX *made = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(made, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(made, key, SSL_FILETYPE_PEM) != 1)
		exit(1);
	SSL_CTX_set_session_id_context(made, (const unsigned char *)"echo", 4);
	return made;
}

int
main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	struct sockaddr_in address;
	if (argc < 3)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	address = loopback(atoi(argv[1]));
	if (atoi(argv[2]))
		backend = loopback(atoi(argv[2]));
	if (argc > 4)
		context = make_context(argv[3], argv[4]);
	if (evconnlistener_new_bind(base, on_accept, base, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 1024,
	        (struct sockaddr *)&address, sizeof address) == NULL)
		return 1;
	return event_base_dispatch(base);
}
