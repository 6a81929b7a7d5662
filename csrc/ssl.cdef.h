/* event2/bufferevent_ssl.h: TLS as a filter over another bufferevent. */

struct pev_tls_context;
struct pev_bev;
struct pev_session;

struct pev_bev *pev_ssl_filter_new(struct pev_bev *under, struct pev_tls_context *context, int is_server, const char *host,
    int is_address, int check_host, struct pev_session *session, int options, uint64_t id);
int pev_ssl_start(struct pev_bev *h, double seconds);
struct pev_bev *pev_ssl_accept(struct pev_loop *loop, struct pev_tls_context *context, int fd, int is_ready, int options,
    double seconds, uint64_t id_below, uint64_t id);
struct pev_bev *pev_ssl_own_below(struct pev_bev *h, int let_go);
int pev_ssl_set_allow_dirty(struct pev_bev *h, int allow);
int pev_ssl_get_allow_dirty(struct pev_bev *h);
