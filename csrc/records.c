/* TLS on the fast path (fast.c): records go between OpenSSL and the socket without a stay in libevent's buffers.
 *
 * libevent's filter copies what the socket gave into chains of the input below, asks OpenSSL until that says no, and lets the
 * bytes lie in chains of the input; on the way out it is the same, and the write callback is deferred, for which the loop takes
 * another turn. Here one recv() feeds OpenSSL, what it decrypts lies in the loop's arena, and what it encrypts is sent at once.
 *
 * The rules:
 *
 *   1. The BIO is ours. At any time it does what libevent's would, with the buffers of the one below, but for what it is lent
 *      while a call of this file lasts, and for what a server says in its first handshake, which is sent at once.
 *   2. All that isn't reading or writing of an open stream without marks, limits and timeouts is libevent's: handshakes, first and
 *      later ones, what OpenSSL couldn't do at once, and the end, but for close_notify and for telling why: OpenSSL says that
 *      once.
 *   3. Decrypting is done in place: no record gives more bytes than it has, so what comes out never overtakes what is still to go
 *      in. What OpenSSL holds from before, part of one record, is why the ciphertext begins SLACK further up.
 *   4. What was lent and not taken goes to the input below, where libevent would have left it.
 */
#include "tls.h"

#define SLACK PEV_ARENA_SLACK
#define RECORD 16384       /* the most in one (RFC 8446 5.1) */
#define MOST_GATHERED 65536 /* of ciphertext in one send: four records, which the second-level cache still has */

/* What it is lent. */
struct loan {
	const char *in; /* ciphertext that has come */
	size_t n_in;
	char *out; /* where ciphertext is gathered; NULL: each record is sent by itself */
	size_t n_out;
};

/* ------------------------------------------------------------------ the BIO */

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static struct bufferevent *
below(const struct pev_ssl *s)
{
	return s->b.under != NULL ? s->b.under->bev : NULL;
}

static int
take_lent(struct loan *loan, char *to, int n)
{
	if ((size_t)n > loan->n_in)
		n = (int)loan->n_in;
	memcpy(to, loan->in, (size_t)n);
	loan->in += n;
	loan->n_in -= (size_t)n;
	return n;
}

static int
bio_read(BIO *bio, char *to, int n)
{
	struct pev_ssl *s = BIO_get_data(bio);
	struct bufferevent *bev;
	BIO_clear_retry_flags(bio);
	if (n <= 0 || (bev = below(s)) == NULL)
		return -1;
	if (s->loan != NULL && s->loan->n_in)
		return take_lent(s->loan, to, n);
	if (evbuffer_get_length(bev->input) == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	return evbuffer_remove(bev->input, to, (size_t)n);
}

/* What the socket doesn't take at once waits in the output below. */
static int
send_on(struct pev_ssl *s, const char *data, size_t n)
{
	size_t sent = pev_fast_send_below(s->b.under, data, n);
	return sent == n ? 0 : evbuffer_add(s->b.under->bev->output, data + sent, n - sent);
}

static int
send_gathered(struct pev_ssl *s)
{
	size_t n = s->loan->n_out;
	s->loan->n_out = 0;
	return n ? send_on(s, s->loan->out, n) : 0;
}

/* From the loan's holder: nothing is ever left over. */
static int
send_lent(struct pev_ssl *s, const char *data, int n)
{
	struct loan *loan = s->loan;
	if (loan->out == NULL)
		return send_on(s, data, (size_t)n) < 0 ? -1 : n;
	if (loan->n_out + (size_t)n > PEV_RECORDS_SIZE && send_gathered(s) < 0)
		return -1;
	if ((size_t)n > PEV_RECORDS_SIZE)
		return send_on(s, data, (size_t)n) < 0 ? -1 : n;
	memcpy(loan->out + loan->n_out, data, (size_t)n);
	loan->n_out += (size_t)n;
	return n;
}

/* What a server says in its handshake. Nobody waits for the tickets of TLS 1.3: they go out together with what follows. */
static int
is_awaited(const struct pev_ssl *s)
{
	return s->is_server && !s->b.open && SSL_get_state(s->ssl) != TLS_ST_SW_SESSION_TICKET;
}

static int
bio_write(BIO *bio, const char *data, int n)
{
	struct pev_ssl *s = BIO_get_data(bio);
	struct bufferevent *bev;
	size_t high, length;
	BIO_clear_retry_flags(bio);
	if (n <= 0 || (bev = below(s)) == NULL)
		return -1;
	if (s->loan != NULL && s->loan->in == NULL)
		return send_lent(s, data, n);
	if (is_awaited(s) && pev_fast_may_send_below(s->b.under))
		return send_on(s, data, (size_t)n) < 0 ? -1 : n;
	high = bev->wm_write.high;
	length = evbuffer_get_length(bev->output);
	if (high && high <= length) {
		BIO_set_retry_write(bio);
		return -1;
	}
	if (high && high - length < (size_t)n)
		n = (int)(high - length);
	return evbuffer_add(bev->output, data, (size_t)n) < 0 ? -1 : n;
}

static int
bio_puts(BIO *bio, const char *data)
{
	return bio_write(bio, data, (int)strlen(data));
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	const struct bufferevent *bev = below(BIO_get_data(bio));
	PEV_UNUSED(number);
	PEV_UNUSED(pointer);
	switch (command) {
	case BIO_CTRL_PENDING:
		return bev != NULL && evbuffer_get_length(bev->input) != 0;
	case BIO_CTRL_WPENDING:
		return bev != NULL && evbuffer_get_length(bev->output) != 0;
	case BIO_CTRL_DUP:
	case BIO_CTRL_FLUSH:
		return 1;
	default:
		return 0;
	}
}

static void
make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pylibevent");
	if (method == NULL)
		return;
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_puts(method, bio_puts);
	BIO_meth_set_ctrl(method, bio_ctrl);
}

/* A filter over a socket was made. Where there is no memory all is left to libevent. */
void
pev_records_start(struct pev_ssl *s)
{
	BIO *bio;
	if (!s->b.under->fast || (s->b.options & (BEV_OPT_DEFER_CALLBACKS | BEV_OPT_THREADSAFE)))
		return;
	pthread_once(&method_once, make_method);
	if (method == NULL || (bio = BIO_new(method)) == NULL)
		return;
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	SSL_set_bio(s->ssl, bio, bio);
	s->bio = bio;
}

/* ------------------------------------------------------------------ what is ours to do */

/* Of both directions. libevent puts its own BIO there with another descriptor. */
static int
is_plain_sailing(const struct pev_ssl *s)
{
	return s->bio != NULL && s->loan == NULL && s->b.open && !s->failed && !s->broken && !s->closing && !s->b.lingering &&
	    !s->b.ended && !s->b.busy && s->b.over == NULL && s->b.under->connecting == PEV_NOT_CONNECTING &&
	    SSL_get_rbio(s->ssl) == s->bio && !SSL_in_init(s->ssl) && !SSL_renegotiate_pending(s->ssl);
}

/* Nobody looks at what comes and goes in this buffer. */
static int
is_unwatched(const struct pev_buffer *view)
{
	return view == NULL || (view->callback == NULL && !view->frozen);
}

static int
is_timed(const struct timeval *tv)
{
	return tv->tv_sec || tv->tv_usec;
}

/* Whether what comes in at the socket may go this way. */
int
pev_records_may_read(const struct pev_bev *h)
{
	const struct bufferevent *bev = h->bev;
	return h->layer->is_records && bev != NULL && is_plain_sailing((const struct pev_ssl *)h) && (bev->enabled & EV_READ) &&
	    (h->relay != NULL ? pev_fast_may_put(pev_relay_partner(h)) : h->wants & EV_READ) && pev_bev_hears(h) && bev->wm_read.high == 0 && bev->wm_read.low <= 1 &&
	    !h->fresh_length && !is_timed(&bev->timeout_read) && evbuffer_get_length(bev->input) == 0 &&
	    is_unwatched(h->views[0]) && is_unwatched(h->under->views[0]) && evbuffer_get_length(h->under->bev->input) == 0;
}

int
pev_records_may_write(const struct pev_bev *h)
{
	const struct bufferevent *bev = h->bev;
	const struct pev_ssl *s = (const struct pev_ssl *)h;
	return h->layer != NULL && h->layer->is_records && bev != NULL && is_plain_sailing(s) && (bev->enabled & EV_WRITE) &&
	    !h->cut && !s->finishing && pev_bev_hears(h) && !is_timed(&bev->timeout_write) &&
	    evbuffer_get_length(bev->output) == 0 && is_unwatched(h->views[1]) && SSL_get_shutdown(s->ssl) == 0 &&
	    pev_fast_may_send_below(h->under);
}

/* ------------------------------------------------------------------ reading */

static void
take_errors(struct pev_ssl *s)
{
	unsigned long code;
	while (s->n_errors < PEV_TLS_ERRORS && (code = ERR_get_error()) != 0)
		s->errors[s->n_errors++] = code;
	ERR_clear_error();
}

static void
give_back(struct pev_ssl *s, const struct loan *loan)
{
	if (loan->n_in && below(s) != NULL)
		pev_fresh_put_in(s->b.under, loan->in, loan->n_in);
}

/* SSL_read() gave nothing: what it says about that, in the words of libevent's events. 0: nothing to tell. */
static short
why_nothing(struct pev_ssl *s, int r)
{
	int error = SSL_get_error(s->ssl, r);
	switch (error) {
	case SSL_ERROR_ZERO_RETURN:
		return BEV_EVENT_READING | (SSL_get_shutdown(s->ssl) & SSL_RECEIVED_SHUTDOWN ? BEV_EVENT_EOF : BEV_EVENT_ERROR);
	case SSL_ERROR_SYSCALL:
		if (ERR_peek_error() == 0 && s->allow_dirty)
			return BEV_EVENT_READING | BEV_EVENT_EOF;
		break;
	case SSL_ERROR_SSL:
		break;
	default:
		return 0;
	}
	take_errors(s);
	return BEV_EVENT_READING | BEV_EVENT_ERROR;
}

/* Decrypts all that is lent, to this place. Returns what SSL_read() said last: more than 0 when everything was taken. */
static int
decrypt(struct pev_ssl *s, char *to, size_t *n)
{
	struct loan *loan = s->loan;
	int r;
	do {
		size_t room = loan->n_in ? (size_t)(loan->in - to) - *n : PEV_READ_MOST - *n;
		if (room == 0)
			return 1; /* what OpenSSL held was more than one record: the rest goes the usual way */
		pev_forget_errors();
		r = SSL_read(s->ssl, to + *n, room > RECORD ? RECORD : (int)room);
		if (r > 0)
			*n += (size_t)r;
	} while (r > 0 && (loan->n_in || SSL_pending(s->ssl) > 0));
	return r;
}

/* Python finds it in the arena, or a relay takes it from there. */
static void
hand_on(struct pev_bev *h, char *at, size_t n)
{
	if (h->relay != NULL)
		pev_relay_passed(h, at, n, pev_fast_put(pev_relay_partner(h), at, n));
	else
		pev_fresh_came(h, at, n);
}

/* libevent looks at what is there: OpenSSL says again what it wants. */
static void
leave_to_libevent(struct pev_bev *h)
{
	bufferevent_trigger(h->under->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS);
}

/* The socket can be read: what recv() said, 0 or less when there is nothing that was read. */
ssize_t
pev_records_read(struct pev_bev *h, int fd)
{
	struct pev_ssl *s = pev_ssl_of(h);
	struct pev_loop *loop = h->source.loop;
	struct loan loan = { 0 };
	size_t start = loop->arena_used, n = 0;
	char *at = loop->arena + start;
	short what = 0;
	int r;
	ssize_t got = recv(fd, at + SLACK, PEV_READ_MOST, MSG_DONTWAIT);
	if (got <= 0)
		return got;
	loan.in = at + SLACK;
	loan.n_in = (size_t)got;
	loop->arena_used += PEV_READ_MOST; /* OpenSSL may call Python, who may use it too */
	s->loan = &loan;
	r = decrypt(s, at, &n);
	s->loan = NULL;
	if (r <= 0)
		what = why_nothing(s, r);
	give_back(s, &loan);
	if (loop->arena_used == start + PEV_READ_MOST)
		loop->arena_used = start + (h->relay != NULL ? 0 : pev_fresh_room(n));
	if (n > 0)
		hand_on(h, at, n);
	if (what) {
		errno = 0;
		bufferevent_trigger_event(h->bev, what, 0);
	} else if (loan.n_in || (r <= 0 && !SSL_want_read(s->ssl))) {
		leave_to_libevent(h);
	}
	return got;
}

/* ------------------------------------------------------------------ writing */

static char *
gathering_place(struct pev_loop *loop)
{
	if (loop->records == NULL)
		loop->records = malloc(PEV_RECORDS_SIZE);
	return loop->records;
}

/* How many bytes were encrypted, and sent or put into the output below; the others have to go the usual way. */
size_t
pev_records_write(struct pev_bev *h, const char *data, size_t n)
{
	struct pev_ssl *s = pev_ssl_of(h);
	struct loan loan = { 0 };
	size_t done = 0;
	if (!pev_records_may_write(h))
		return 0;
	if (n > RECORD)
		loan.out = gathering_place(h->source.loop);
	s->loan = &loan;
	while (done < n && evbuffer_get_length(h->under->bev->output) == 0) {
		size_t part = n - done < MOST_GATHERED ? n - done : MOST_GATHERED;
		int r;
		pev_forget_errors();
		r = SSL_write(s->ssl, data + done, (int)part);
		if (loan.out != NULL && send_gathered(s) < 0)
			r = -1;
		if (r <= 0) {
			take_errors(s); /* libevent tries again, and is told less */
			break;
		}
		done += (size_t)r;
	}
	s->loan = NULL;
	if (done) {
		h->sent_before = h->source.loop->statistics.passes + 1;
		pev_fast_note_sent(h);
	}
	return done;
}

/* What SSL_shutdown() says. Its close_notify is sent at once where it may be. */
int
pev_records_shutdown(struct pev_ssl *s)
{
	struct loan loan = { 0 };
	int r, is_ours = s->bio != NULL && s->loan == NULL && s->b.under->bev != NULL && pev_fast_may_send_below(s->b.under);
	if (is_ours)
		s->loan = &loan;
	r = SSL_shutdown(s->ssl);
	if (is_ours)
		s->loan = NULL;
	return r;
}
