/* What a connection knows of its peer and of itself, and new keys for it. */

#ifdef PEV_CDEF
#define SSL_SENT_SHUTDOWN ...
#define SSL_RECEIVED_SHUTDOWN ...
#endif

struct pev_bev;

int pev_ssl_is_open(struct pev_bev *h);
int pev_ssl_truncated(struct pev_bev *h);
int pev_ssl_errors(struct pev_bev *h, unsigned long *out, int max);
long pev_ssl_verify_result(struct pev_bev *h);
int pev_ssl_is_verified(struct pev_bev *h);
const char *pev_ssl_version(struct pev_bev *h);
int pev_ssl_cipher(struct pev_bev *h, const char **name, const char **protocol, int *bits);
int pev_ssl_session_reused(struct pev_bev *h);
int pev_ssl_peer_certificate(struct pev_bev *h, unsigned char **der);
int pev_ssl_chain(struct pev_bev *h, int verified, int index, unsigned char **der);
int pev_ssl_shared_cipher(struct pev_bev *h, int index, const char **name, const char **protocol, int *bits);
int pev_ssl_export(struct pev_bev *h, const char *label, int n_label, const char *about, int n_about, int has_about,
    unsigned char *out, int n);
int pev_ssl_end_point(struct pev_bev *h, unsigned char *out);
int pev_ssl_finished(struct pev_bev *h, int of_peer, unsigned char *out, int most);
const char *pev_ssl_group(struct pev_bev *h);
int pev_ssl_pending(struct pev_bev *h);
int pev_ssl_protocol(struct pev_bev *h);
int pev_ssl_new_keys(struct pev_bev *h, int peer_too);
int pev_ssl_ask_certificate(struct pev_bev *h, int required);
int pev_ssl_renegotiate(struct pev_bev *h);
long pev_ssl_renegotiations(struct pev_bev *h);
