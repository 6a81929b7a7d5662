/* What dns.c and resolve.c share: a base, and what is asked of it. */
#ifndef PEV_DNS_H
#define PEV_DNS_H

#include "pylibevent.h"

struct pev_dns {
	struct pev_source source;
	struct evdns_base *dns; /* NULL once closed and freed */
	int closing;
	int dropped;
	int outstanding;
	struct event reap;
	TAILQ_HEAD(, pev_dns_request) requests;
};

struct pev_dns_request {
	struct pev_source source;
	struct pev_dns *dns; /* while outstanding */
	struct evdns_getaddrinfo_request *gai;
	struct evdns_request *raw;
	int outstanding;
	int dropped;
	int starting; /* the call that starts it may call back at once */
	int unasked;  /* there was no server to ask */
	int is_gai;
	int result, ttl;
	int count;
	struct pev_address *addresses;
	char **names;
	TAILQ_ENTRY(pev_dns_request) next;
};

/* ---- resolve.c ---- */

void pev_dns_cancel(struct pev_dns_request *r);

#endif
