/* How long handshakes take, and which alerts were sent. */

struct pev_bev;

int pev_ssl_is_late(struct pev_bev *h);
double pev_ssl_handshake_time(struct pev_bev *h);
int pev_ssl_alert(struct pev_bev *h, int sent);
