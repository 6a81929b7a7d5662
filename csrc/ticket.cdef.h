/* openssl/ssl.h: the keys that session tickets are sealed with. */

/* A key as SSL_CTX_set_tlsext_ticket_keys has it: a name of 16 bytes, 32 for HMAC-SHA256, 32 for AES-256. */
#define PEV_TICKET_KEY 80

/* The most keys of a ring: each handshake looks through them. */
#define PEV_TICKET_KEYS_MOST 16

struct pev_ticket_keys;

struct pev_ticket_keys_counts {
	unsigned long long issued;  /* tickets sealed with the first key */
	unsigned long long opened;  /* opened with the first */
	unsigned long long renewed; /* opened with a later one */
	unsigned long long unknown; /* of a key that isn't here */
};

struct pev_ticket_keys *pev_ticket_keys_new(void);
void pev_ticket_keys_free(struct pev_ticket_keys *h);
int pev_ticket_keys_set(struct pev_ticket_keys *h, const unsigned char *keys, int n);
int pev_ticket_keys_get(struct pev_ticket_keys *h, unsigned char *out, int most);
int pev_ticket_key_make(unsigned char *out);
void pev_ticket_keys_count(struct pev_ticket_keys *h, struct pev_ticket_keys_counts *out);
