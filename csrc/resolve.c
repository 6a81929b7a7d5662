/* event2/dns.h: requests: names and addresses that are looked up.
 *
 * evdns answers in a callback that can't be taken back: a request that Python drops is cancelled, and freed when its
 * callback has come.
 */
#include "dns.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static void
free_request(struct pev_dns_request *r)
{
	int i;
	pev_source_leave(&r->source);
	for (i = 0; r->names != NULL && i < r->count; i++)
		free(r->names[i]);
	free(r->names);
	free(r->addresses);
	pev_delete(r);
}

void
pev_dns_cancel(struct pev_dns_request *r)
{
	if (!r->outstanding)
		return;
	if (r->gai != NULL)
		evdns_getaddrinfo_cancel(r->gai);
	else if (r->raw != NULL)
		evdns_cancel_request(r->dns->dns, r->raw);
}

/* The loop closes: nothing is told any more. The dns base's own shut cancels. */
static void
shut_request(struct pev_source *source)
{
	pev_source_forget(source);
}

static void
drop_request(struct pev_source *source)
{
	struct pev_dns_request *r = (struct pev_dns_request *)source;
	if (!r->outstanding) {
		free_request(r);
		return;
	}
	r->dropped = 1;
	if (source->loop != NULL)
		pev_source_forget(source);
	pev_dns_cancel(r);
}

void
pev_dns_request_drop(struct pev_dns_request *r)
{
	pev_source_discard(&r->source);
}

static void
answered(struct pev_dns_request *r)
{
	struct pev_dns *h = r->dns;
	r->outstanding = 0;
	r->gai = NULL;
	r->raw = NULL;
	TAILQ_REMOVE(&h->requests, r, next);
	if (--h->outstanding == 0 && h->closing)
		event_active(&h->reap, EV_TIMEOUT, 1);
	if (r->starting)
		return;
	if (r->dropped)
		free_request(r);
	else
		pev_note(&r->source, 1, r->source.loop ? pev_default_priority(r->source.loop) : 0);
}

static void
keep_address(struct pev_dns_request *r, const struct sockaddr *sa, socklen_t length)
{
	if (r->addresses == NULL)
		r->addresses = calloc(PEV_DNS_ADDRESSES, sizeof *r->addresses);
	if (r->addresses == NULL || r->count == PEV_DNS_ADDRESSES)
		return;
	pev_address_from_sockaddr(&r->addresses[r->count++], sa, length);
}

static void
on_addrinfo(int result, struct evutil_addrinfo *list, void *arg)
{
	struct pev_dns_request *r = arg;
	struct evutil_addrinfo *at;
	r->result = result;
	for (at = list; at != NULL; at = at->ai_next)
		keep_address(r, at->ai_addr, (socklen_t)at->ai_addrlen);
	if (list != NULL)
		evutil_freeaddrinfo(list);
	answered(r);
}

static void
keep_raw_addresses(struct pev_dns_request *r, int type, int count, const void *addresses)
{
	int i;
	for (i = 0; i < count; i++) {
		if (type == DNS_IPv4_A) {
			struct sockaddr_in sin = { .sin_family = AF_INET };
			memcpy(&sin.sin_addr, (const char *)addresses + i * 4, 4);
			keep_address(r, (struct sockaddr *)&sin, sizeof sin);
		} else {
			struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
			memcpy(&sin6.sin6_addr, (const char *)addresses + i * 16, 16);
			keep_address(r, (struct sockaddr *)&sin6, sizeof sin6);
		}
	}
}

static void
keep_names(struct pev_dns_request *r, int count, char **names)
{
	r->names = calloc((size_t)count, sizeof *r->names);
	if (r->names == NULL)
		return;
	for (; r->count < count; r->count++) {
		r->names[r->count] = strdup(names[r->count]);
		if (r->names[r->count] == NULL)
			return;
	}
}

static void
on_raw(int result, char type, int count, int ttl, void *answer, void *arg)
{
	struct pev_dns_request *r = arg;
	r->result = result;
	r->ttl = ttl;
	if (result == DNS_ERR_NONE && answer != NULL && count > 0) {
		if (type == DNS_PTR)
			keep_names(r, count, answer);
		else
			keep_raw_addresses(r, type, count, answer);
	}
	answered(r);
}

static struct pev_dns_request *
new_request(struct pev_dns *h, uint64_t id)
{
	struct pev_dns_request *r;
	int code = pev_dns_check(h);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	r = pev_new(sizeof *r);
	if (r == NULL)
		return NULL;
	r->dns = h;
	r->outstanding = r->starting = 1;
	h->outstanding++;
	TAILQ_INSERT_TAIL(&h->requests, r, next);
	pev_source_init(&r->source, h->source.loop, id, PEV_LAYER_DNS, shut_request, drop_request);
	return r;
}

/* The request is under way, was answered at once, or could not be started. */
static struct pev_dns_request *
started(struct pev_dns_request *r)
{
	if (r->outstanding && r->gai == NULL && r->raw == NULL) {
		r->result = r->is_gai ? EVUTIL_EAI_FAIL : DNS_ERR_UNKNOWN;
		answered(r);
	}
	r->starting = 0;
	if (r->outstanding && evdns_base_count_nameservers(r->dns->dns) == 0) {
		r->unasked = 1; /* evdns would wait until there is one */
		pev_dns_cancel(r);
	} else if (!r->outstanding)
		pev_note(&r->source, 1, pev_default_priority(r->source.loop));
	return r;
}

struct pev_dns_request *
pev_dns_getaddrinfo(struct pev_dns *h, const char *name, int port, int family, int numeric_only, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	struct evutil_addrinfo hints;
	char service[12];
	struct evdns_getaddrinfo_request *gai;
	struct pev_dns_request *r = new_request(h, id);
	if (r == NULL)
		return NULL;
	r->is_gai = 1;
	memset(&hints, 0, sizeof hints);
	hints.ai_family = family;
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_protocol = IPPROTO_TCP;
	hints.ai_flags = numeric_only ? EVUTIL_AI_NUMERICHOST : 0;
	evutil_snprintf(service, sizeof service, "%d", port);
	gai = evdns_getaddrinfo(h->dns, name, service, &hints, on_addrinfo, r);
	if (r->outstanding)
		r->gai = gai;
	return started(r);
}

struct pev_dns_request *
pev_dns_resolve(struct pev_dns *h, const char *name, int family, int flags, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	struct evdns_request *raw;
	struct pev_dns_request *r = new_request(h, id);
	if (r == NULL)
		return NULL;
	if (family == AF_INET6)
		raw = evdns_base_resolve_ipv6(h->dns, name, flags, on_raw, r);
	else
		raw = evdns_base_resolve_ipv4(h->dns, name, flags, on_raw, r);
	if (r->outstanding)
		r->raw = raw;
	return started(r);
}

struct pev_dns_request *
pev_dns_reverse(struct pev_dns *h, const struct pev_address *address, int flags, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	struct sockaddr_storage ss;
	socklen_t length;
	struct evdns_request *raw;
	struct pev_dns_request *r;
	int code = pev_address_to_sockaddr(address, &ss, &length);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	r = new_request(h, id);
	if (r == NULL)
		return NULL;
	if (ss.ss_family == AF_INET6)
		raw = evdns_base_resolve_reverse_ipv6(h->dns, &((struct sockaddr_in6 *)&ss)->sin6_addr, flags, on_raw, r);
	else
		raw = evdns_base_resolve_reverse(h->dns, &((struct sockaddr_in *)&ss)->sin_addr, flags, on_raw, r);
	if (r->outstanding)
		r->raw = raw;
	return started(r);
}

int
pev_dns_request_cancel(struct pev_dns_request *r)
{
	PEV_VISIT(pev_visit_alone(r->source.loop));
	int code = pev_loop_usable(r->source.loop, 0);
	if (code < 0)
		return code;
	pev_dns_cancel(r);
	return 0;
}

/* -1 while there is no answer; with *is_gai an EAI code, else one of evdns's. */
int
pev_dns_request_result(struct pev_dns_request *r, int *is_gai)
{
	*is_gai = r->is_gai;
	return r->outstanding ? -EAGAIN : r->is_gai && r->result < 0 ? -r->result : r->result;
}

int
pev_dns_request_unasked(struct pev_dns_request *r)
{
	return r->unasked;
}

int
pev_dns_request_ttl(struct pev_dns_request *r)
{
	return r->ttl;
}

int
pev_dns_request_count(struct pev_dns_request *r)
{
	return r->count;
}

const struct pev_address *
pev_dns_request_address(struct pev_dns_request *r, int i)
{
	PEV_VISIT(pev_visit_alone(r->source.loop));
	return r->addresses != NULL && i >= 0 && i < r->count ? &r->addresses[i] : NULL;
}

const char *
pev_dns_request_name(struct pev_dns_request *r, int i)
{
	PEV_VISIT(pev_visit_alone(r->source.loop));
	return r->names != NULL && i >= 0 && i < r->count ? r->names[i] : NULL;
}

const char *
pev_dns_gai_text(int code)
{
	return evutil_gai_strerror(code);
}

const char *
pev_dns_error_text(int code)
{
	return evdns_err_to_string(code);
}
