/* A server's connection whose client is still to be approved of. */

struct pev_bev;

int pev_ssl_doubt(struct pev_bev *h);
int pev_ssl_judge(struct pev_bev *h, int good);
