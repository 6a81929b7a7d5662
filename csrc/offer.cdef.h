/* Which sessions a client offers, and looking for them before OpenSSL wants one. */

struct pev_bev;

/* How many are looked for. Go's crypto/tls looks at as many (maxClientPSKIdentities). */
#define PEV_MOST_OFFERS 5

struct pev_offer {
	const unsigned char *id;
	int length;
};

/* Inside pev_ask_offers: 1 if the bytes are one of them. */
int pev_offers_found(struct pev_bev *h, const unsigned char *der, long length);

#ifdef PEV_CDEF
extern "Python+C" int pev_ask_offers(uint64_t connection, const struct pev_offer *offers, int n, int once);
#endif
