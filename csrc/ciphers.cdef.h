/* Which versions, ciphers, groups and signatures are spoken. */

struct pev_tls_context;

struct pev_cipher {
	const char *name;
	const char *protocol;
	unsigned id;
	int bits;
	int algorithm_bits;
	int is_aead;
	char description[160];
};

int pev_tls_set_ciphersuites(struct pev_tls_context *context, const char *list);
int pev_tls_set_groups(struct pev_tls_context *context, const char *list);
int pev_tls_set_sigalgs(struct pev_tls_context *context, const char *list);
int pev_tls_cipher_at(struct pev_tls_context *context, int index, struct pev_cipher *out);
void pev_tls_set_security_level(struct pev_tls_context *context, int level);
int pev_tls_get_security_level(struct pev_tls_context *context);
void pev_tls_set_options(struct pev_tls_context *context, unsigned long long options);
unsigned long long pev_tls_get_options(struct pev_tls_context *context);
