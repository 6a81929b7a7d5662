/* A file of secrets, for those who debug. */

struct pev_tls_context;

int pev_tls_set_keylog(struct pev_tls_context *context, const char *path);
