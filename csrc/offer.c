/* Which sessions a client offers, and looking for them before OpenSSL wants one.
 *
 * OpenSSL asks for a session in the middle of its work, and takes no "later" for an answer (facts of TLS 1.4). So what
 * stands in the client's first message is looked for when OpenSSL can still be told to come back. A client that offers TLS 1.3
 * puts random bytes where the number of a session stood before; what it offers stands in the extension for keys in advance.
 */
#include "tls.h"

#define TLS13 0x0304
#define MOST_ID SSL_MAX_SSL_SESSION_ID_LENGTH

extern int pev_ask_offers(uint64_t connection, const struct pev_offer *offers, int n, int once);

struct reader {
	const unsigned char *at, *end;
};

/* A number of so many bytes; -1: there is none. */
static long
read_number(struct reader *r, int size)
{
	long n = 0;
	if (r->end - r->at < size)
		return -1;
	while (size-- > 0)
		n = n << 8 | *r->at++;
	return n;
}

/* What has its length in front, in so many bytes. 0: it is cut short. */
static int
read_block(struct reader *r, int size, struct reader *out)
{
	long n = read_number(r, size);
	if (n < 0 || r->end - r->at < n)
		return 0;
	out->at = r->at;
	out->end = r->at += n;
	return 1;
}

static int
extension(SSL *ssl, unsigned type, struct reader *out)
{
	size_t n;
	if (!SSL_client_hello_get0_ext(ssl, type, &out->at, &n))
		return 0;
	out->end = out->at + n;
	return 1;
}

/* Whether the client and this server both have it: then it will be TLS 1.3. */
static int
will_be_tls13(SSL *ssl)
{
	struct reader all, versions;
	long most = SSL_get_max_proto_version(ssl), version;
	if ((most != 0 && most < TLS13) || (SSL_get_options(ssl) & SSL_OP_NO_TLSv1_3) ||
	    !extension(ssl, TLSEXT_TYPE_supported_versions, &all) || !read_block(&all, 1, &versions))
		return 0;
	while ((version = read_number(&versions, 2)) >= 0)
		if (version == TLS13)
			return 1;
	return 0;
}

static int
add(struct pev_offer *offers, int n, const unsigned char *id, size_t length)
{
	if (length == 0 || length > MOST_ID || n == PEV_MOST_OFFERS)
		return n;
	offers[n].id = id;
	offers[n].length = (int)length;
	return n + 1;
}

/* Numbers of sessions; what is longer is a ticket. */
static int
read_keys_in_advance(SSL *ssl, struct pev_offer *offers)
{
	struct reader all, list, identity;
	int n = 0;
	if (!extension(ssl, TLSEXT_TYPE_psk_kex_modes, &all) || !extension(ssl, TLSEXT_TYPE_psk, &all) ||
	    !read_block(&all, 2, &list))
		return 0;
	while (n < PEV_MOST_OFFERS && read_block(&list, 2, &identity) && read_number(&list, 4) >= 0)
		n = add(offers, n, identity.at, (size_t)(identity.end - identity.at));
	return n;
}

static int
read_offers(SSL *ssl, struct pev_offer *offers, int *once)
{
	const unsigned char *id;
	size_t length;
	*once = will_be_tls13(ssl);
	if (*once)
		return read_keys_in_advance(ssl, offers);
	length = SSL_client_hello_get0_session_id(ssl, &id);
	return add(offers, 0, id, length);
}

/* While the client's first message is looked at: 0, or PEV_LATER. */
int
pev_offers_look(struct pev_ssl *s)
{
	struct pev_offer offers[PEV_MOST_OFFERS];
	struct pev_link *link = pev_link_of(s->ssl);
	int n, once, answer;
	if (link == NULL || !(link->sessions->wants & PEV_WANT_OFFERS))
		return 0;
	n = read_offers(s->ssl, offers, &once);
	if (n > 0) {
		if (!pev_ask_begin(s))
			return 0;
		answer = pev_ask_offers(s->b.source.id, offers, n, once);
		pev_ask_end(s);
		if (answer == PEV_LATER && pev_ssl_await(s))
			return PEV_LATER;
	}
	link->was_looked_for = 1;
	return 0;
}

static int
is_offered(const SSL_SESSION *session, const struct pev_offer *offers, int n)
{
	unsigned length;
	const unsigned char *id = SSL_SESSION_get_id(session, &length);
	int i;
	for (i = 0; i < n; i++)
		if ((unsigned)offers[i].length == length && memcmp(offers[i].id, id, length) == 0)
			return 1;
	return 0;
}

int
pev_offers_found(struct pev_bev *h, const unsigned char *der, long length)
{
	PEV_VISIT(pev_visit_bev(h));
	struct pev_ssl *s = pev_ssl_of(h);
	struct pev_offer offers[PEV_MOST_OFFERS];
	struct pev_session *found;
	int once, ok;
	if (!h->busy || h->open || s->link.found != NULL || (found = pev_session_from_der(der, length)) == NULL)
		return 0;
	ok = is_offered(found->session, offers, read_offers(s->ssl, offers, &once)) && SSL_SESSION_up_ref(found->session);
	if (ok)
		s->link.found = found->session;
	pev_session_free(found);
	return ok;
}
