/* What a connection knows of its peer and of itself. */
#include "tls.h"

#include <openssl/x509v3.h>

/* Only while the object is open, and under its lock: the SSL isn't safe to look at while it works. */
int
pev_ssl_look(struct pev_bev *h)
{
	int code = pev_bev_usable(h);
	if (code == 0)
		bufferevent_lock(h->bev);
	return code;
}

void
pev_ssl_looked(struct pev_bev *h)
{
	bufferevent_unlock(h->bev);
}

/* For what makes sense once the handshake is done. */
int
pev_ssl_look_open(struct pev_bev *h)
{
	int code = pev_ssl_look(h);
	if (code == 0 && !h->open) {
		pev_ssl_looked(h);
		return -ENOTCONN;
	}
	return code;
}

/* The look is over: 0, or what OpenSSL says. */
int
pev_ssl_leave(struct pev_bev *h, int ok)
{
	int code = ok ? pev_tls_well() : pev_tls_failed();
	pev_ssl_looked(h);
	return code;
}

/* ------------------------------------------------------------------ how it stands */

int
pev_ssl_is_open(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return h->open;
}

int
pev_ssl_truncated(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return pev_ssl_of(h)->truncated;
}

/* Oldest first. */
int
pev_ssl_errors(struct pev_bev *h, unsigned long *out, int max)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	int n = s->n_errors < max ? s->n_errors : max;
	memcpy(out, s->errors, (size_t)n * sizeof *out);
	return n;
}

const char *
pev_ssl_version(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	const char *name = NULL;
	int code = pev_ssl_look(h);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	errno = 0;
	if (h->open)
		name = SSL_get_version(pev_ssl_of(h)->ssl);
	pev_ssl_looked(h);
	return name;
}

/* 1, or 0 while there is no cipher yet */
int
pev_ssl_cipher(struct pev_bev *h, const char **name, const char **protocol, int *bits)
{
	PEV_VISIT(pev_visit_bev(h));
	const SSL_CIPHER *cipher;
	int code = pev_ssl_look(h);
	if (code < 0)
		return code;
	cipher = h->open ? SSL_get_current_cipher(pev_ssl_of(h)->ssl) : NULL;
	if (cipher != NULL) {
		*name = SSL_CIPHER_get_name(cipher);
		*protocol = SSL_CIPHER_get_version(cipher);
		*bits = SSL_CIPHER_get_bits(cipher, NULL);
	}
	pev_ssl_looked(h);
	return cipher != NULL;
}

int
pev_ssl_session_reused(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int reused, code = pev_ssl_look(h);
	if (code < 0)
		return code;
	reused = SSL_session_reused(pev_ssl_of(h)->ssl);
	pev_ssl_looked(h);
	return reused;
}

/* ------------------------------------------------------------------ certificates */

long
pev_ssl_verify_result(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return SSL_get_verify_result(pev_ssl_of(h)->ssl);
}

/* Whether the peer had to be verified, and was. */
int
pev_ssl_is_verified(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	const SSL *ssl = pev_ssl_of(h)->ssl;
	return h->open && (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) && SSL_get_verify_result(ssl) == X509_V_OK;
}

/* The length of the DER form, which Python frees with pev_free; 0: the peer showed none */
int
pev_ssl_peer_certificate(struct pev_bev *h, unsigned char **der)
{
	PEV_VISIT(pev_visit_bev(h));
	X509 *certificate;
	int n, code = pev_ssl_look(h);
	if (code < 0)
		return code;
	certificate = SSL_get1_peer_certificate(pev_ssl_of(h)->ssl);
	pev_ssl_looked(h);
	n = pev_der_of(certificate, der);
	X509_free(certificate);
	return n;
}

/* The certificate at an index, from the peer's up, as the peer sent them or as they were verified; its length, 0: there is
 * none. Python frees it. A server's chain as it was sent begins above the client's own. */
int
pev_ssl_chain(struct pev_bev *h, int verified, int index, unsigned char **der)
{
	PEV_VISIT(pev_visit_bev(h));
	STACK_OF(X509) * chain;
	SSL *ssl = pev_ssl_of(h)->ssl;
	X509 *own = NULL;
	int n, code = pev_ssl_look(h);
	if (code < 0)
		return code;
	*der = NULL;
	chain = verified ? SSL_get0_verified_chain(ssl) : SSL_get_peer_cert_chain(ssl);
	if (!verified && SSL_is_server(ssl) && index-- == 0)
		own = SSL_get0_peer_certificate(ssl);
	n = own != NULL ? pev_der_of(own, der) : index >= 0 && index < sk_X509_num(chain) ?
	    pev_der_of(sk_X509_value(chain, index), der) : 0;
	pev_ssl_looked(h);
	return n;
}

/* RFC 5929: the hash of the server's certificate, by the signature's own algorithm or SHA-256 where that is weak. */
int
pev_ssl_end_point(struct pev_bev *h, unsigned char *out)
{
	PEV_VISIT(pev_visit_bev(h));
	SSL *ssl = pev_ssl_of(h)->ssl;
	X509 *certificate;
	const EVP_MD *md = NULL;
	unsigned n = 0;
	int nid, code = pev_ssl_look_open(h);
	if (code < 0)
		return code;
	certificate = SSL_is_server(ssl) ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
	if (certificate != NULL) {
		if (OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &nid, NULL) && nid != NID_undef)
			md = EVP_get_digestbynid(nid);
		if (md == NULL || nid == NID_md5 || nid == NID_sha1)
			md = EVP_sha256();
		if (!X509_digest(certificate, md, out, &n))
			n = 0;
	}
	ERR_clear_error();
	pev_ssl_looked(h);
	return (int)n;
}

/* ------------------------------------------------------------------ keys and secrets */

int
pev_ssl_export(struct pev_bev *h, const char *label, int n_label, const char *about, int n_about, int has_about,
    unsigned char *out, int n)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_ssl_look_open(h);
	if (code < 0)
		return code;
	ERR_clear_error();
	return pev_ssl_leave(h, SSL_export_keying_material(pev_ssl_of(h)->ssl, out, (size_t)n, label, (size_t)n_label,
	                            (const unsigned char *)about, (size_t)n_about, has_about) == 1);
}

int
pev_ssl_finished(struct pev_bev *h, int of_peer, unsigned char *out, int most)
{
	PEV_VISIT(pev_visit_bev(h));
	SSL *ssl = pev_ssl_of(h)->ssl;
	size_t n;
	int code = pev_ssl_look_open(h);
	if (code < 0)
		return code;
	n = of_peer ? SSL_get_peer_finished(ssl, out, (size_t)most) : SSL_get_finished(ssl, out, (size_t)most);
	pev_ssl_looked(h);
	return (int)(n < (size_t)most ? n : (size_t)most);
}

/* NULL and errno 0: none */
const char *
pev_ssl_group(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	SSL *ssl = pev_ssl_of(h)->ssl;
	const char *name = NULL;
	int nid, code = pev_ssl_look(h);
	errno = code < 0 ? -code : 0;
	if (code < 0)
		return NULL;
	nid = h->open ? (int)SSL_get_negotiated_group(ssl) : NID_undef;
	if (nid != NID_undef)
		name = nid & TLSEXT_nid_unknown ? "unknown" : OBJ_nid2sn(nid);
	pev_ssl_looked(h);
	ERR_clear_error();
	errno = 0;
	return name;
}

int
pev_ssl_pending(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int n, code = pev_ssl_look(h);
	if (code < 0)
		return code;
	n = SSL_pending(pev_ssl_of(h)->ssl);
	pev_ssl_looked(h);
	return n;
}

/* What both sides have, the client's first choice first; 1, or 0 when there are no more. */
int
pev_ssl_shared_cipher(struct pev_bev *h, int index, const char **name, const char **protocol, int *bits)
{
	PEV_VISIT(pev_visit_bev(h));
	SSL *ssl = pev_ssl_of(h)->ssl;
	STACK_OF(SSL_CIPHER) * theirs;
	STACK_OF(SSL_CIPHER) * ours;
	const SSL_CIPHER *cipher = NULL;
	int i, code = pev_ssl_look(h);
	if (code < 0)
		return code;
	theirs = SSL_get_client_ciphers(ssl);
	ours = SSL_get_ciphers(ssl);
	for (i = 0; SSL_is_server(ssl) && i < sk_SSL_CIPHER_num(theirs); i++) {
		if (sk_SSL_CIPHER_find(ours, (SSL_CIPHER *)sk_SSL_CIPHER_value(theirs, i)) < 0)
			continue;
		if (index-- == 0) {
			cipher = sk_SSL_CIPHER_value(theirs, i);
			break;
		}
	}
	if (cipher != NULL) {
		*name = SSL_CIPHER_get_name(cipher);
		*protocol = SSL_CIPHER_get_version(cipher);
		*bits = SSL_CIPHER_get_bits(cipher, NULL);
	}
	pev_ssl_looked(h);
	return cipher != NULL;
}

/* TLS1_2_VERSION and so on; 0 before the handshake is done */
int
pev_ssl_protocol(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	return h->open ? SSL_version(pev_ssl_of(h)->ssl) : 0;
}
