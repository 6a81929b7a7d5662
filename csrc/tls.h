/* What the files about TLS share: contexts and connections as C knows them. */
#ifndef PEV_TLS_H
#define PEV_TLS_H

#include "session.h"

#include <openssl/err.h>

struct pev_hello;

struct pev_tls_context {
	SSL_CTX *ctx;
	struct pev_sessions *sessions; /* goes with ctx */
	int refs; /* Python's handle, and each connection */
	uint64_t id;
	unsigned char is_server;
	unsigned asks;           /* PEV_ASK_...: what Python answers */
	pthread_mutex_t lock;    /* a change of the context, and the making of connections from it */
	struct pev_hello *hello; /* contexts by name */
	unsigned char *alpn;     /* a server's protocols, best first, in the form of the wire */
	unsigned n_alpn;
	unsigned char *ocsp; /* a server's OCSP response */
	int n_ocsp;
	int ocsp_policy; /* a client's: PEV_OCSP_... */
	int keylog;      /* a descriptor, or -1 */
	char *groups;    /* for connections that come to this context by name */
};

struct pev_ssl {
	struct pev_bev b;
	SSL *ssl;
	struct pev_tls_context *context;
	struct pev_call call; /* while Python is asked */
	struct pev_link link; /* to sessions */
	BIO *bio;          /* ours, where records.c takes part; the SSL owns it */
	struct loan *loan; /* what that is lent */
	unsigned char truncated; /* the stream below ended without a close_notify */
	unsigned char failed;    /* no close_notify can be sent any more */
	unsigned char broken;    /* the one below failed: nothing can be sent any more */
	unsigned char closing;   /* close_notify is on its way */
	unsigned char is_server;
	unsigned char late;        /* the handshake took too long */
	unsigned char began;       /* the handshake */
	unsigned char allow_dirty; /* the socket form's: libevent's own isn't enough under OpenSSL 3 */
	unsigned char finishing;   /* PEV_FINISH_...: close_notify is due, or said, before the end */
	unsigned char waiting;     /* a bidirectional close waits for the peer's close_notify */
	unsigned char at_end;      /* the socket form's: the peer's stream has ended */
	unsigned char is_roomy;    /* its buffers are released at the end of the pass */
	TAILQ_ENTRY(pev_ssl) next_roomy;
	unsigned char hearing;     /* a write has failed: what the peer said last is read */
	short alert_in, alert_out; /* -1: none */
	double limit;              /* seconds for the handshake, 0: none */
	struct timespec begun;
	double took; /* seconds, negative while it isn't done */
	struct event *timer;
	unsigned char awaited;    /* an answer of Python's that comes later */
	unsigned char is_pausing; /* libevent will tell an error that is none */
	unsigned char is_marked;  /* the one below has a mark meanwhile, in place of these */
	unsigned char hello_step; /* PEV_HELLO_...: what of the client's first message was looked at */
	unsigned char certified;  /* the server's certificate was asked for */
	unsigned char is_later;   /* the verification that is under way needs an answer that comes later */
	unsigned char again;      /* it was begun before */
	int n_steps;              /* of the verification, so far */
	size_t low_below, high_below;
	unsigned char is_gated;    /* approve.c: libevent neither reads nor writes */
	unsigned char is_shaken;   /* OpenSSL's handshake is done */
	unsigned char is_refused;
	unsigned char was_doubted;
	int n_doubts; /* verdicts that are still to come */
	size_t n_tickets;
	struct event *hold;
	/* Of the one below: libevent's own callbacks, an end that waits until all before it was taken, and all ends that came. */
	bufferevent_data_cb lower_read, lower_write;
	bufferevent_event_cb lower_event;
	void *lower_arg;
	struct evbuffer_cb_entry *lower_input, *lower_output;
	short held, unheard;
	struct pev_bev *own_below; /* the one below, while Python has no object for it: it is dropped together with this */
	struct event *stall; /* the socket form's: something stands in the SSL that no descriptor tells of */
	int n_errors;
	unsigned long errors[PEV_TLS_ERRORS];
};

static inline struct pev_ssl *
pev_ssl_of(struct pev_bev *h)
{
	return (struct pev_ssl *)h;
}

/* OpenSSL's queue of errors is the thread's, and may hold what somebody else has left. To look costs less than to clear it. */
static inline void
pev_forget_errors(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
}

/* ---- tls.c ---- */

SSL *pev_tls_new_ssl(struct pev_tls_context *context);
int pev_tls_expect_host(SSL *ssl, const char *host, int is_address, int check);
int pev_tls_failed(void);
int pev_tls_well(void);
struct pev_tls_context *pev_tls_context_hold(struct pev_tls_context *context);
struct pev_tls_context *pev_tls_context_of(SSL_CTX *ctx);
struct pev_ssl *pev_ssl_of_ssl(const SSL *ssl);
void pev_ssl_set_owner(SSL *ssl, struct pev_ssl *s);

/* ---- ask.c ---- */

int pev_ask_begin(struct pev_ssl *s);
void pev_ask_end(struct pev_ssl *s);

/* Python (answers.py) */
extern int pev_ask_certificate(uint64_t connection, const char *name);
extern int pev_ask_name(uint64_t connection, const char *name);
extern int pev_ask_verify(uint64_t connection, const struct pev_verify_step *step);
extern int pev_ask_ocsp(uint64_t connection, const unsigned char *response, int length);
extern int pev_ask_psk_client(uint64_t connection, const char *hint, char *identity, int most_identity, unsigned char *key,
    int most_key);
extern int pev_ask_psk_server(uint64_t connection, const char *identity, unsigned char *key, int most_key);

/* ---- hello.c ---- */

void pev_hello_install(SSL_CTX *ctx);

/* ---- certify.c ---- */

void pev_certify_install(struct pev_tls_context *context);

/* ---- verify.c ---- */

int pev_on_verify(int ok, X509_STORE_CTX *store);
void pev_verify_switch(SSL *ssl, struct pev_tls_context *context);
int pev_der_of(X509 *certificate, unsigned char **der);

/* ---- psk.c ---- */

void pev_psk_switch(SSL *ssl, struct pev_tls_context *context);

/* ---- handshake.c ---- */

void pev_ssl_begin(struct pev_bev *h);
void pev_ssl_done(struct pev_ssl *s);
void pev_ssl_stop_timer(struct pev_ssl *s);
int pev_ssl_enable_later(struct pev_bev *h, short events);
void pev_ssl_on_info(const SSL *ssl, int where, int value);

/* ---- ssl.c ---- */

struct pev_ssl *pev_ssl_make(struct pev_tls_context *context, const char *host, int is_address, int check_host,
    struct pev_session *session, uint64_t id);
void pev_ssl_unmake(struct pev_ssl *s);
void pev_ssl_take_errors(struct pev_ssl *s);
short pev_ssl_connected(struct pev_ssl *s, short what);
short pev_ssl_sift(struct pev_bev *h, short what);
void pev_ssl_keep_session(struct pev_ssl *s);
void pev_ssl_on_drop(struct pev_bev *h);

/* ---- room.c ---- */

void pev_ssl_release_buffers(struct pev_ssl *s);
void pev_ssl_release_later(struct pev_ssl *s);
void pev_ssl_release_no_more(struct pev_ssl *s);
void pev_ssl_release_room(struct pev_bev *h);

/* ---- inspect.c ---- */

int pev_ssl_look(struct pev_bev *h);
void pev_ssl_looked(struct pev_bev *h);
int pev_ssl_look_open(struct pev_bev *h);
int pev_ssl_leave(struct pev_bev *h, int ok);

/* ---- pause.c ---- */

int pev_ssl_hold(struct pev_ssl *s);
int pev_ssl_await(struct pev_ssl *s);
void pev_ssl_await_no_more(struct pev_ssl *s);
void pev_ssl_pause(struct pev_ssl *s);
short pev_ssl_sift_pause(struct pev_ssl *s, short what);

/* ---- approve.c ---- */

int pev_ssl_gate(struct pev_ssl *s);
void pev_ssl_open_gate(struct pev_ssl *s);
int pev_ssl_is_doubted(struct pev_ssl *s);
short pev_ssl_refuse_peer(struct pev_ssl *s);
void pev_ssl_send_tickets(struct pev_ssl *s);

/* ---- offer.c ---- */

int pev_offers_look(struct pev_ssl *s);

/* ---- below.c ---- */

int pev_ssl_stand_on(struct pev_ssl *s, struct pev_bev *under);
void pev_ssl_listen_below(struct pev_ssl *s);
void pev_ssl_leave_below(struct pev_ssl *s);
void pev_ssl_tell_below(struct pev_ssl *s, struct pev_bev *under);

/* ---- stream.c ---- */

int pev_ssl_use_socket(struct pev_ssl *s, int fd);

/* ---- lastwords.c ---- */

void pev_ssl_last_words(struct pev_ssl *s);
/* ---- records.c ---- */

void pev_records_start(struct pev_ssl *s);
int pev_records_shutdown(struct pev_ssl *s);

/* ---- finish.c ---- */

enum { PEV_FINISH_NOT, PEV_FINISH_HALF, PEV_FINISH_UNWRAP };

int pev_ssl_is_sending(struct pev_bev *h);
long long pev_ssl_given(struct pev_bev *h);
int pev_ssl_say_goodbye(struct pev_ssl *s);
int pev_ssl_awaits_goodbye(struct pev_ssl *s);
void pev_ssl_end_writing(struct pev_bev *h);
void pev_ssl_step_finish(struct pev_bev *h);
short pev_ssl_on_eof(struct pev_ssl *s, short what);

#endif
