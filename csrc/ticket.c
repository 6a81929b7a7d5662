/* openssl/ssl.h: a ring of ticket keys.
 *
 * The first key seals new tickets. The others open what was sealed with them, and the client gets a ticket of the first
 * one in exchange. All of this is C: a ticket costs no call of Python's. Under TLS 1.3 each ticket that is opened is
 * exchanged, since clients use one only once: without that they run dry (facts of TLS 1.2).
 */
#include "tls.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#define NAME 16
#define SECRET 32

struct key {
	unsigned char name[NAME];
	unsigned char mac[SECRET];
	unsigned char cipher[SECRET];
};

struct pev_ticket_keys {
	pthread_mutex_t lock;
	int references; /* Python's, and one a context */
	int n;
	struct key keys[PEV_TICKET_KEYS_MOST];
	struct pev_ticket_keys_counts counts;
};

_Static_assert(sizeof(struct key) == PEV_TICKET_KEY, "the keys are one after the other");

struct pev_ticket_keys *
pev_ticket_keys_new(void)
{
	struct pev_ticket_keys *h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	h->references = 1;
	pthread_mutex_init(&h->lock, NULL);
	return h;
}

static void
hold(struct pev_ticket_keys *h)
{
	__atomic_add_fetch(&h->references, 1, __ATOMIC_RELAXED);
}

void
pev_ticket_keys_release(struct pev_ticket_keys *h)
{
	if (__atomic_sub_fetch(&h->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	OPENSSL_cleanse(h->keys, sizeof h->keys);
	pthread_mutex_destroy(&h->lock);
	pev_delete(h);
}

void
pev_ticket_keys_free(struct pev_ticket_keys *h)
{
	pev_ticket_keys_release(h);
}

int
pev_ticket_key_make(unsigned char *out)
{
	return RAND_priv_bytes(out, PEV_TICKET_KEY) == 1 ? 0 : -PEV_EFAILED;
}

int
pev_ticket_keys_set(struct pev_ticket_keys *h, const unsigned char *keys, int n)
{
	if (n < 1 || n > PEV_TICKET_KEYS_MOST)
		return -PEV_EVALUE;
	pthread_mutex_lock(&h->lock);
	OPENSSL_cleanse(h->keys, sizeof h->keys);
	memcpy(h->keys, keys, (size_t)n * sizeof h->keys[0]);
	h->n = n;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

/* How many were copied */
int
pev_ticket_keys_get(struct pev_ticket_keys *h, unsigned char *out, int most)
{
	int n;
	pthread_mutex_lock(&h->lock);
	n = h->n < most ? h->n : most;
	memcpy(out, h->keys, (size_t)n * sizeof h->keys[0]);
	pthread_mutex_unlock(&h->lock);
	return n;
}

void
pev_ticket_keys_count(struct pev_ticket_keys *h, struct pev_ticket_keys_counts *out)
{
	pthread_mutex_lock(&h->lock);
	*out = h->counts;
	pthread_mutex_unlock(&h->lock);
}

/* ------------------------------------------------------------------ OpenSSL's callback */

static struct pev_ticket_keys *
keys_of(SSL *ssl)
{
	struct pev_link *link = pev_link_of(ssl);
	struct pev_ticket_keys *h;
	if (link == NULL)
		return NULL;
	pthread_mutex_lock(&link->sessions->lock);
	h = link->sessions->keys;
	if (h != NULL)
		hold(h);
	pthread_mutex_unlock(&link->sessions->lock);
	return h;
}

static int
start_mac(EVP_MAC_CTX *mac, struct key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[3];
	params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac);
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[2] = OSSL_PARAM_construct_end();
	return EVP_MAC_CTX_set_params(mac, params);
}

static int
seal(struct pev_ticket_keys *h, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct key *key = &h->keys[0];
	if (h->n == 0 || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
		return -1;
	memcpy(name, key->name, NAME);
	if (!EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) || !start_mac(mac, key))
		return -1;
	h->counts.issued++;
	return 1;
}

/* 0: no such key, a full handshake; 1: opened; 2: opened, and the client shall have a new one */
static int
unseal(struct pev_ticket_keys *h, const unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
    int exchange)
{
	int i;
	for (i = 0; i < h->n && memcmp(name, h->keys[i].name, NAME) != 0; i++)
		;
	if (i == h->n) {
		h->counts.unknown++;
		return 0;
	}
	if (!start_mac(mac, &h->keys[i]) || !EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, h->keys[i].cipher, iv))
		return -1;
	if (i == 0)
		h->counts.opened++;
	else
		h->counts.renewed++;
	return i > 0 || exchange ? 2 : 1;
}

int
pev_ticket_key_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
    int encrypt)
{
	struct pev_ticket_keys *h = keys_of(ssl);
	int result;
	if (h == NULL)
		return encrypt ? -1 : 0;
	pthread_mutex_lock(&h->lock);
	if (encrypt)
		result = seal(h, name, iv, cipher, mac);
	else
		result = unseal(h, name, iv, cipher, mac, SSL_version(ssl) == TLS1_3_VERSION);
	pthread_mutex_unlock(&h->lock);
	pev_ticket_keys_release(h);
	return result;
}

/* NULL: OpenSSL's own keys, which live and die with the context */
void
pev_sessions_set_keys(struct pev_tls_context *context, struct pev_ticket_keys *keys)
{
	struct pev_sessions *sessions = context->sessions;
	struct pev_ticket_keys *before;
	if (keys != NULL)
		hold(keys);
	pthread_mutex_lock(&sessions->lock);
	before = sessions->keys;
	sessions->keys = keys;
	pthread_mutex_unlock(&sessions->lock);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(context->ctx, keys != NULL ? pev_ticket_key_callback : NULL);
	if (before != NULL)
		pev_ticket_keys_release(before);
}
