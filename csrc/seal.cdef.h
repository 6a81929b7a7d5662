/* openssl/evp.h: sealing what is kept elsewhere. */

#define PEV_SEAL_KEY 32

/* How many bytes more than the text: nonce and tag. */
#define PEV_SEAL_MORE 28

int pev_seal(const unsigned char *key, const unsigned char *name, int name_length, const unsigned char *text, int length,
    unsigned char *out);
int pev_unseal(const unsigned char *key, const unsigned char *name, int name_length, const unsigned char *sealed, int length,
    unsigned char *out);
