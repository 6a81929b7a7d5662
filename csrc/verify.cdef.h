/* How the peer is verified: mode, flags, depth, what Python says, and OCSP. */

#ifdef PEV_CDEF
#define X509_V_OK ...
#endif

enum {
	PEV_OCSP_OFF,
	PEV_OCSP_ASK,    /* one that is there must be good */
	PEV_OCSP_REQUIRE /* one must be there */
};

struct pev_tls_context;
struct pev_bev;

int pev_tls_set_verify(struct pev_tls_context *context, int mode);
int pev_tls_get_verify(struct pev_tls_context *context);
int pev_tls_set_verify_flags(struct pev_tls_context *context, unsigned long flags);
unsigned long pev_tls_get_verify_flags(struct pev_tls_context *context);
void pev_tls_set_verify_depth(struct pev_tls_context *context, int depth);
int pev_tls_get_verify_depth(struct pev_tls_context *context);
void pev_tls_set_common_names(struct pev_tls_context *context, int on);
void pev_tls_set_late_auth(struct pev_tls_context *context, int on);
int pev_tls_set_ocsp_response(struct pev_tls_context *context, const unsigned char *response, int length);
void pev_tls_set_ocsp_policy(struct pev_tls_context *context, int policy);
int pev_ssl_ocsp_response(struct pev_bev *h, const unsigned char **out);
