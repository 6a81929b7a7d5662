/* event2/bufferevent_ssl.h: TLS as a filter over another bufferevent. */

struct pev_tls_context;
struct pev_bev;
struct pev_session;

struct pev_bev *pev_ssl_filter_new(struct pev_bev *under, struct pev_tls_context *context, int is_server, const char *host,
    int is_address, int check_host, struct pev_session *session, int options, uint64_t id);
int pev_ssl_start(struct pev_bev *h, double seconds);
int pev_ssl_set_allow_dirty(struct pev_bev *h, int allow);
int pev_ssl_get_allow_dirty(struct pev_bev *h);
int pev_ssl_is_open(struct pev_bev *h);
int pev_ssl_truncated(struct pev_bev *h);
int pev_ssl_errors(struct pev_bev *h, unsigned long *out, int max);
long pev_ssl_verify_result(struct pev_bev *h);
int pev_ssl_is_verified(struct pev_bev *h);
const char *pev_ssl_version(struct pev_bev *h);
int pev_ssl_cipher(struct pev_bev *h, const char **name, const char **protocol, int *bits);
int pev_ssl_session_reused(struct pev_bev *h);
int pev_ssl_peer_certificate(struct pev_bev *h, unsigned char **der);
