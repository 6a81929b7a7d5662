/* openssl/ssl.h: sessions, and what contexts do with them. */

#ifdef PEV_CDEF
#define SSL_SESS_CACHE_OFF ...
#define SSL_SESS_CACHE_CLIENT ...
#define SSL_SESS_CACHE_SERVER ...
#define SSL_SESS_CACHE_BOTH ...
#define SSL_SESS_CACHE_NO_AUTO_CLEAR ...
#define SSL_SESS_CACHE_NO_INTERNAL_LOOKUP ...
#define SSL_SESS_CACHE_NO_INTERNAL_STORE ...
#define SSL_SESS_CACHE_NO_INTERNAL ...
extern "Python+C" void pev_session_wanted(uint64_t connection, const unsigned char *id, int length, int once, void *answer);
#endif

/* The length of a policy's digest, in bytes: what fits into a session id context. */
#define PEV_POLICY 32

/* The longest session that is taken, in bytes: a client's certificate may be in it. */
#define PEV_SESSION_MOST 65536

struct pev_session;
struct pev_tls_context;
struct pev_bev;
struct pev_ticket_keys;

/* What Python wants to be told. */
enum {
	PEV_WANT_NEW = 1,
	PEV_WANT_GET = 2,
	PEV_WANT_REMOVED = 4
};

/* Pointers go into the session and live as long as it. */
struct pev_session_facts {
	const unsigned char *id;
	unsigned id_length;
	const unsigned char *policy;
	unsigned policy_length;
	const char *host;    /* NULL: not known */
	const char *cipher;  /* NULL: not known */
	const unsigned char *alpn;
	size_t alpn_length;
	int version;
	int is_resumable;
	int has_ticket;
	unsigned long hint; /* seconds */
	long long time;
	long long timeout;
};

struct pev_session_counts {
	long number, connect, connect_good, connect_renegotiate, accept, accept_good, accept_renegotiate, hits, misses,
	    timeouts, cache_full, cb_hits;
};

struct pev_session *pev_session_from_der(const unsigned char *der, long length);
int pev_session_to_der(struct pev_session *h, unsigned char **der);
void pev_session_free(struct pev_session *h);
void pev_session_look(struct pev_session *h, struct pev_session_facts *out);
int pev_session_peer_certificate(struct pev_session *h, unsigned char **der);

/* Inside pev_session_wanted: 1 if the bytes are the session that was asked for. */
int pev_session_answer(void *answer, const unsigned char *der, long length);

void pev_sessions_want(struct pev_tls_context *context, unsigned wants);
struct pev_session *pev_sessions_take_removed(struct pev_tls_context *context);
void pev_sessions_set_mode(struct pev_tls_context *context, long mode);
long pev_sessions_get_mode(struct pev_tls_context *context);
void pev_sessions_set_size(struct pev_tls_context *context, long size);
long pev_sessions_get_size(struct pev_tls_context *context);
void pev_sessions_set_timeout(struct pev_tls_context *context, long seconds);
long pev_sessions_get_timeout(struct pev_tls_context *context);
void pev_sessions_set_tickets(struct pev_tls_context *context, int n);
int pev_sessions_get_tickets(struct pev_tls_context *context);
void pev_sessions_set_stateful(struct pev_tls_context *context, int stateful);
void pev_sessions_flush(struct pev_tls_context *context, long long at);
void pev_sessions_count(struct pev_tls_context *context, struct pev_session_counts *out);
void pev_sessions_set_keys(struct pev_tls_context *context, struct pev_ticket_keys *keys);
int pev_sessions_set_app(struct pev_tls_context *context, const unsigned char *id, int length);
int pev_sessions_add_policy(struct pev_tls_context *context, const char *what, const char *data, int length);
int pev_sessions_policy(struct pev_tls_context *context, const char *host, int is_address, int check_host, unsigned char *out);

struct pev_session *pev_ssl_take_session(struct pev_bev *h);
struct pev_session *pev_ssl_session(struct pev_bev *h);
int pev_ssl_session_offered(struct pev_bev *h);
