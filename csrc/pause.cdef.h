/* Questions of OpenSSL's whose answers come later, while the handshake waits. */

struct pev_bev;

int pev_ssl_resume(struct pev_bev *h);
