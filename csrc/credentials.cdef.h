/* Certificates and keys, from memory. */

struct pev_tls_context;

int pev_tls_use(struct pev_tls_context *context, const char *certificates, int n_certificates, const char *key, int n_key,
    const char *password, int password_length);
int pev_tls_use_pkcs12(struct pev_tls_context *context, const char *data, int length, const char *password);
int pev_tls_add_client_ca(struct pev_tls_context *context, const char *data, int length);
int pev_tls_trust(struct pev_tls_context *context, const char *data, int length);
int pev_tls_add_crl(struct pev_tls_context *context, const char *data, int length);
int pev_tls_has_certificate(struct pev_tls_context *context);
int pev_tls_certificate(struct pev_tls_context *context, unsigned char **der);

/* What a context trusts: the certificate at an index, as DER that Python frees. 0: there is none any more. */
struct pev_trusted {
	int is_crl;
	int is_ca;
	unsigned char *der;
	int length;
};
int pev_tls_trusted(struct pev_tls_context *context, int index, struct pev_trusted *out);
