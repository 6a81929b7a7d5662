/* TLS straight on a socket (bufferevent_openssl_socket_new). */

struct pev_loop;
struct pev_tls_context;
struct pev_bev;

struct pev_bev *pev_ssl_socket_new(struct pev_loop *loop, struct pev_tls_context *context, int fd, const char *host,
    int is_address, int check_host, struct pev_session *session, int options, uint64_t id);
int pev_ssl_attach(struct pev_bev *h, int fd, double seconds);
int pev_ssl_give_up_fd(struct pev_bev *h);
