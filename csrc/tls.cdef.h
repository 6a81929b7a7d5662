/* openssl/ssl.h: contexts, and the queue of errors. */

#ifdef PEV_CDEF
#define SSL_VERIFY_NONE ...
#define SSL_VERIFY_PEER ...
#define SSL_VERIFY_FAIL_IF_NO_PEER_CERT ...
#define TLS1_VERSION ...
#define TLS1_1_VERSION ...
#define TLS1_2_VERSION ...
#define TLS1_3_VERSION ...
#endif

/* How many errors of one refusal are kept. */
#define PEV_TLS_ERRORS 8

struct pev_tls_context;

int pev_tls_init(void);
unsigned long pev_compiled_openssl(void);
unsigned long pev_loaded_openssl(void);
const char *pev_compiled_openssl_name(void);
const char *pev_loaded_openssl_name(void);

struct pev_tls_context *pev_tls_context_new(int is_server, uint64_t id);
void pev_tls_context_drop(struct pev_tls_context *context);
void pev_tls_context_free(struct pev_tls_context *context);
int pev_tls_load_verify_locations(struct pev_tls_context *context, const char *cafile, const char *capath);
int pev_tls_load_default_certs(struct pev_tls_context *context);
int pev_tls_set_versions(struct pev_tls_context *context, int minimum, int maximum);
int pev_tls_get_version(struct pev_tls_context *context, int maximum);
int pev_tls_set_ciphers(struct pev_tls_context *context, const char *list);

/* The errors of this thread's last call that said PEV_ETLS. */
int pev_tls_last_errors(unsigned long *out, int max);
const char *pev_tls_reason(unsigned long code);
int pev_tls_reason_number(unsigned long code);
const char *pev_tls_library(unsigned long code);
const char *pev_tls_verify_text(long code);
