/* Keys that both sides have already. */

struct pev_tls_context;

#define PEV_PSK_IDENTITY 256
#define PEV_PSK_KEY 512

int pev_tls_set_psk(struct pev_tls_context *context, int on, const char *hint);
