/* How TLS ends: half, both ways, or back to plain. */

struct pev_bev;

int pev_ssl_finish(struct pev_bev *h);
int pev_ssl_unwrap(struct pev_bev *h);
int pev_ssl_uncover(struct pev_bev *h);
void pev_ssl_set_bidirectional(struct pev_bev *h, int on);
int pev_ssl_get_shutdown(struct pev_bev *h);
