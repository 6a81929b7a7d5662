/* What a client's first message asks for: a name, and protocols. */

struct pev_tls_context;
struct pev_hello;
struct pev_bev;

struct pev_hello *pev_hello_new(int room);
int pev_hello_add(struct pev_hello *hello, const char *name, struct pev_tls_context *context);
void pev_hello_set(struct pev_tls_context *context, struct pev_hello *hello, int strict);
void pev_tls_ask(struct pev_tls_context *context, unsigned what, int on);
int pev_tls_set_alpn(struct pev_tls_context *context, const unsigned char *wire, unsigned n);
int pev_ssl_alpn(struct pev_bev *h, char *out);
int pev_ssl_asked_name(struct pev_bev *h, char *out, int size);
int pev_ssl_switch(struct pev_bev *h, struct pev_tls_context *context);
