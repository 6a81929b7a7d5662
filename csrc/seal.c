/* openssl/evp.h: AES-256-GCM over what is kept where others can read or write.
 *
 * Nonces are random, and one key bears some 2^32 of them (NIST SP 800-38D 8.3), which a busy server uses up in weeks. So
 * each name has a key of its own, HMAC-SHA256 of the name, and names of sessions aren't used twice. The name is
 * authenticated too: what stands under another name doesn't open.
 */
#include "session.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define NONCE 12
#define TAG 16

_Static_assert(NONCE + TAG == PEV_SEAL_MORE, "a nonce before, a tag behind");

static int
derive(const unsigned char *key, const unsigned char *name, int name_length, unsigned char *out)
{
	unsigned n = PEV_SEAL_KEY;
	return HMAC(EVP_sha256(), key, PEV_SEAL_KEY, name, (size_t)name_length, out, &n) != NULL;
}

static int
encrypt(EVP_CIPHER_CTX *ctx, const unsigned char *key, const unsigned char *name, int name_length,
    const unsigned char *text, int length, unsigned char *out)
{
	int n, rest;
	return RAND_bytes(out, NONCE) == 1 && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, out) &&
	    EVP_EncryptUpdate(ctx, NULL, &n, name, name_length) &&
	    EVP_EncryptUpdate(ctx, out + NONCE, &n, text, length) && EVP_EncryptFinal_ex(ctx, out + NONCE + n, &rest) &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + NONCE + length);
}

static int
decrypt(EVP_CIPHER_CTX *ctx, const unsigned char *key, const unsigned char *name, int name_length,
    const unsigned char *sealed, int length, unsigned char *out)
{
	int n, rest;
	return EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, sealed) &&
	    EVP_DecryptUpdate(ctx, NULL, &n, name, name_length) &&
	    EVP_DecryptUpdate(ctx, out, &n, sealed + NONCE, length) &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, (void *)(sealed + NONCE + length)) &&
	    EVP_DecryptFinal_ex(ctx, out + n, &rest);
}

/* Writes length + PEV_SEAL_MORE bytes: their number, or a negative code */
int
pev_seal(const unsigned char *key, const unsigned char *name, int name_length, const unsigned char *text, int length,
    unsigned char *out)
{
	unsigned char own[PEV_SEAL_KEY];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int ok;
	ERR_set_mark();
	ok = ctx != NULL && derive(key, name, name_length, own) && encrypt(ctx, own, name, name_length, text, length, out);
	ERR_pop_to_mark();
	OPENSSL_cleanse(own, sizeof own);
	EVP_CIPHER_CTX_free(ctx);
	return ok ? length + PEV_SEAL_MORE : -PEV_EFAILED;
}

/* Writes length - PEV_SEAL_MORE bytes: their number, or -PEV_EVALUE where it isn't what pev_seal made of this key and name */
int
pev_unseal(const unsigned char *key, const unsigned char *name, int name_length, const unsigned char *sealed, int length,
    unsigned char *out)
{
	unsigned char own[PEV_SEAL_KEY];
	EVP_CIPHER_CTX *ctx;
	int ok, n = length - PEV_SEAL_MORE;
	if (n < 0)
		return -PEV_EVALUE;
	ctx = EVP_CIPHER_CTX_new();
	ERR_set_mark();
	ok = ctx != NULL && derive(key, name, name_length, own) && decrypt(ctx, own, name, name_length, sealed, n, out);
	ERR_pop_to_mark();
	OPENSSL_cleanse(own, sizeof own);
	EVP_CIPHER_CTX_free(ctx);
	return ok ? n : -PEV_EVALUE;
}
