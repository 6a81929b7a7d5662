/* What OpenSSL reads from and writes to in the socket form: a socket whose end it doesn't see.
 *
 * OpenSSL 3 takes an end without close_notify for a fatal error of TLS, sends an alert, and throws the session away (facts of
 * TLS 1.3), though RFC 5246 7.2.1 lets it be resumed; peers that just close are common. So the end isn't told to OpenSSL, which
 * says then that the system failed, but to us, who know what it is. SSL_OP_IGNORE_UNEXPECTED_EOF would make it a clean end.
 */
#include "tls.h"

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int
on_read(BIO *bio, char *data, int n)
{
	struct pev_ssl *s = BIO_get_data(bio);
	int r = BIO_read(BIO_next(bio), data, n);
	BIO_clear_retry_flags(bio);
	BIO_copy_next_retry(bio);
	if (r == 0 && !BIO_should_retry(bio))
		s->at_end = 1;
	return r;
}

static int
on_write(BIO *bio, const char *data, int n)
{
	int r = BIO_write(BIO_next(bio), data, n);
	BIO_clear_retry_flags(bio);
	BIO_copy_next_retry(bio);
	return r;
}

static long
on_control(BIO *bio, int what, long n, void *data)
{
	return what == BIO_CTRL_EOF || BIO_next(bio) == NULL ? 0 : BIO_ctrl(BIO_next(bio), what, n, data);
}

static void
make_method(void)
{
	BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "pylibevent socket");
	if (made != NULL && BIO_meth_set_read(made, on_read) && BIO_meth_set_write(made, on_write) &&
	    BIO_meth_set_ctrl(made, on_control))
		method = made;
	else
		BIO_meth_free(made);
}

/* In place of libevent's BIO for this descriptor. 0, or -ENOMEM */
int
pev_ssl_use_socket(struct pev_ssl *s, int fd)
{
	BIO *bio, *sock;
	pthread_once(&method_once, make_method);
	bio = method != NULL ? BIO_new(method) : NULL;
	sock = bio != NULL ? BIO_new_socket(fd, BIO_NOCLOSE) : NULL;
	if (sock == NULL) {
		BIO_free(bio);
		ERR_clear_error();
		return -ENOMEM;
	}
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	bio = BIO_push(bio, sock);
	SSL_set_bio(s->ssl, bio, bio);
	return 0;
}
