/* Which certificate a server shows. */

struct pev_tls_context;
struct pev_bev;

/* The answer of pev_ask_certificate: go on, or refuse. */
enum { PEV_CERTIFICATE_FINE = 1, PEV_CERTIFICATE_REFUSED = 0 };

int pev_tls_ask_certificate(struct pev_tls_context *context, int on);
int pev_ssl_use_certificates(struct pev_bev *h, struct pev_tls_context *from);
