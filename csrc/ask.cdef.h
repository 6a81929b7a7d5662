/* Questions that OpenSSL asks in the middle of its work, and that Python answers. */

/* What a context's Python object answers. */
enum {
	PEV_ASK_NAME = 1,
	PEV_ASK_VERIFY = 2,
	PEV_ASK_OCSP = 4,
	PEV_ASK_PSK = 8,
	PEV_ASK_CERTIFICATE = 16
};

/* In place of any answer: it comes later. */
enum { PEV_LATER = -2 };

/* The answer of pev_ask_name that isn't an alert, which is 0 to 255. */
enum { PEV_NAME_FINE = -1 };

/* One certificate of a chain that is being verified. */
struct pev_verify_step {
	int ok;
	int code; /* X509_V_... */
	int depth;
	int number; /* from 0 */
	int again;  /* the verification was begun before, and had to wait */
	const unsigned char *der;
	int length;
};

struct pev_tls_context;
struct pev_bev;

uint64_t pev_ssl_context_id(struct pev_bev *h);

#ifdef PEV_CDEF
extern "Python+C" int pev_ask_name(uint64_t connection, const char *name);
extern "Python+C" int pev_ask_certificate(uint64_t connection, const char *name);
extern "Python+C" int pev_ask_verify(uint64_t connection, const struct pev_verify_step *step);
extern "Python+C" int pev_ask_ocsp(uint64_t connection, const unsigned char *response, int length);
extern "Python+C" int pev_ask_psk_client(uint64_t connection, const char *hint, char *identity, int most_identity,
    unsigned char *key, int most_key);
extern "Python+C" int pev_ask_psk_server(uint64_t connection, const char *identity, unsigned char *key, int most_key);
#endif
