/* What the files about sessions share: session.c, resumption.c, link.c, policy.c, ticket.c, and those that use them. */
#ifndef PYLIBEVENT_SESSION_H
#define PYLIBEVENT_SESSION_H

#include "pylibevent.h"

/* A session: a copy of its own, which OpenSSL neither changes nor spoils. */
struct pev_session {
	SSL_SESSION *session;
	struct pev_session *next;
};

struct pev_session *pev_session_of(SSL_SESSION *session, int copy);

/* What a session's trust depends on, at the time of the last look. */
struct pev_policy_state {
	unsigned changes;
	int n_trusted;
	int verify_mode;
	int depth;
	int least_version;
	int level;
	unsigned long flags;
	unsigned hostflags;
	unsigned asks; /* what Python answers */
	int ocsp;
	unsigned char certificate[20];
};

struct pev_policy {
	unsigned char digest[PEV_POLICY];
	unsigned char app[PEV_POLICY];  /* of what the application calls itself */
	unsigned char more[PEV_POLICY]; /* of what OpenSSL has no getter for */
	unsigned changes;
	int has_directory; /* authorities are read when they are needed: their number says nothing */
	int is_known;
	struct pev_policy_state seen;
};

/* What an SSL_CTX has to do with sessions. It goes with the SSL_CTX, which outlives Python's object. */
struct pev_sessions {
	SSL_CTX *ctx;
	int is_server;
	unsigned wants; /* PEV_WANT_... */
	pthread_mutex_t lock; /* of what follows */
	struct pev_policy policy;
	struct pev_ticket_keys *keys;
	struct pev_session *removed, **last_removed;
	int n_removed;
};

/* As many as a server gives out at once, at most. */
#define PEV_FRESH 16

/* What one connection has to do with sessions. */
struct pev_link {
	struct pev_sessions *sessions; /* of the context it was made with, which the SSL keeps alive */
	struct pev_bev *bev;
	uint64_t id;
	char *host;
	unsigned char is_address;
	unsigned char check_host;
	unsigned char is_offered; /* a session was */
	unsigned char policy[PEV_POLICY];
	struct pev_session *fresh[PEV_FRESH]; /* oldest first */
	int n_fresh;
	unsigned char was_looked_for; /* what the client offers, before OpenSSL asks: offer.c */
	SSL_SESSION *found;
};

/* ---- resumption.c ---- */
struct pev_sessions *pev_sessions_new(SSL_CTX *ctx, int is_server);
void pev_sessions_leave(struct pev_sessions *sessions);

/* ---- link.c ---- */
extern int pev_link_index; /* of a connection's link in its SSL */

int pev_session_fits_server(SSL *ssl, const SSL_SESSION *session);
int pev_link_begin(struct pev_link *link, struct pev_tls_context *context, SSL *ssl, const char *host, int is_address,
    int check_host, struct pev_session *offered);
void pev_link_settled(struct pev_link *link);
void pev_link_end(struct pev_link *link, SSL *ssl);
struct pev_session *pev_link_take(struct pev_link *link);
struct pev_link *pev_link_of(const SSL *ssl);
int pev_link_is_trusted(SSL *ssl);

/* ---- policy.c ---- */
int pev_policy_refresh(struct pev_tls_context *context);
int pev_policy_of_host(struct pev_sessions *sessions, const char *host, int is_address, int check_host,
    unsigned char *out);
int pev_policy_add(struct pev_sessions *sessions, const char *what, const void *data, size_t length);
void pev_policy_directory(struct pev_sessions *sessions);

/* ---- ticket.c ---- */
void pev_ticket_keys_release(struct pev_ticket_keys *keys);
int pev_ticket_key_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
    int encrypt);

/* ---- Python (resumption.py) ---- */
extern void pev_session_wanted(uint64_t connection, const unsigned char *id, int length, int once, void *answer);

#endif
