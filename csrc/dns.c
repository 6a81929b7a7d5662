/* event2/dns.h: resolving without blocking.
 *
 * The rules:
 *
 *   1. evdns answers in a callback that can't be taken back: a request that Python drops is cancelled, and freed when its
 *      callback has come.
 *   2. evdns_base_free leaves what is under way in a bad state: a base that closes cancels all requests, and is freed when
 *      the last one has been called back.
 */
#include "pylibevent.h"

#include <arpa/inet.h>
#include <netinet/in.h>

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

/* ------------------------------------------------------------------ requests */

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

static void
cancel_request(struct pev_dns_request *r)
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
	cancel_request(r);
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
		cancel_request(r);
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
	cancel_request(r);
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

/* ------------------------------------------------------------------ the base */

static void
on_reap(evutil_socket_t fd, short what, void *arg)
{
	struct pev_dns *h = arg;
	PEV_UNUSED(fd);
	PEV_UNUSED(what);
	if (h->dns != NULL)
		evdns_base_free(h->dns, 0);
	h->dns = NULL;
	if (h->dropped) {
		pev_source_leave(&h->source);
		pev_delete(h);
	}
}

static void
close_dns(struct pev_dns *h)
{
	struct pev_dns_request *r, *next;
	if (h->closing)
		return;
	h->closing = 1;
	for (r = TAILQ_FIRST(&h->requests); r != NULL; r = next) {
		next = TAILQ_NEXT(r, next);
		cancel_request(r);
	}
	if (h->outstanding == 0)
		event_active(&h->reap, EV_TIMEOUT, 1);
}

static void
shut_dns(struct pev_source *source)
{
	close_dns((struct pev_dns *)source);
}

static void
drop_dns(struct pev_source *source)
{
	struct pev_dns *h = (struct pev_dns *)source;
	if (source->loop != NULL)
		close_dns(h);
	h->dropped = 1;
	if (h->dns == NULL) {
		pev_source_leave(source);
		pev_delete(h);
	}
}

void
pev_dns_drop(struct pev_dns *h)
{
	pev_source_discard(&h->source);
}

struct pev_dns *
pev_dns_new(struct pev_loop *loop, int flags, uint64_t id)
{
	PEV_VISIT(pev_visit_alone(loop));
	struct pev_dns *h;
	int code = pev_loop_usable(loop, 0);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	/* evdns_base_new heeds DISABLE_WHEN_INACTIVE only after it has read resolv.conf: those servers would keep the loop
	 * running. A file that is missing or empty leaves 127.0.0.1, as in the system's resolver. */
	h->dns = evdns_base_new(loop->base, flags & ~EVDNS_BASE_INITIALIZE_NAMESERVERS);
	if (h->dns != NULL && (flags & EVDNS_BASE_INITIALIZE_NAMESERVERS))
		evdns_base_resolv_conf_parse(h->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
	if (h->dns == NULL) {
		pev_delete(h);
		errno = PEV_EFAILED;
		return NULL;
	}
	TAILQ_INIT(&h->requests);
	event_assign(&h->reap, loop->base, -1, 0, on_reap, h);
	pev_source_init(&h->source, loop, id, PEV_LAYER_DNS, shut_dns, drop_dns);
	return h;
}

int
pev_dns_check(struct pev_dns *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	return h->closing || h->dns == NULL ? -PEV_ECLOSED : pev_loop_usable(h->source.loop, 0);
}

int
pev_dns_close(struct pev_dns *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	if (code == -PEV_ECLOSED)
		return 0;
	if (code == 0)
		close_dns(h);
	return code;
}

/* ------------------------------------------------------------------ settings */

int
pev_dns_add_nameserver(struct pev_dns *h, const struct pev_address *address)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	struct sockaddr_storage ss;
	socklen_t length;
	int code = pev_dns_check(h);
	if (code == 0)
		code = pev_address_to_sockaddr(address, &ss, &length);
	if (code < 0)
		return code;
	return evdns_base_nameserver_sockaddr_add(h->dns, (struct sockaddr *)&ss, length, 0) == 0 ? 0 : -PEV_EVALUE;
}

int
pev_dns_count_nameservers(struct pev_dns *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	return code < 0 ? code : evdns_base_count_nameservers(h->dns);
}

int
pev_dns_get_nameserver(struct pev_dns *h, int i, struct pev_address *out)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	struct sockaddr_storage ss;
	int length, code = pev_dns_check(h);
	if (code < 0)
		return code;
	length = evdns_base_get_nameserver_addr(h->dns, i, (struct sockaddr *)&ss, sizeof ss);
	if (length <= 0 || length > (int)sizeof ss)
		return -ENOENT;
	pev_address_from_sockaddr(out, (struct sockaddr *)&ss, (socklen_t)length);
	return 0;
}

int
pev_dns_clear_nameservers(struct pev_dns *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	return code < 0 ? code : evdns_base_clear_nameservers_and_suspend(h->dns) == 0 ? 0 : -PEV_EFAILED;
}

int
pev_dns_resume(struct pev_dns *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	return code < 0 ? code : evdns_base_resume(h->dns) == 0 ? 0 : -PEV_EFAILED;
}

int
pev_dns_set_option(struct pev_dns *h, const char *name, const char *value)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	return code < 0 ? code : evdns_base_set_option(h->dns, name, value) == 0 ? 0 : -PEV_EVALUE;
}

/* 0, or what evdns says of the file: 1 can't open, 2 can't stat, 3 too large, 4 no memory, 5 short read, 6 no servers */
int
pev_dns_parse_resolv_conf(struct pev_dns *h, int flags, const char *path)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	return code < 0 ? code : evdns_base_resolv_conf_parse(h->dns, flags, path);
}

int
pev_dns_load_hosts(struct pev_dns *h, const char *path)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	return code < 0 ? code : evdns_base_load_hosts(h->dns, path) == 0 ? 0 : -ENOENT;
}

int
pev_dns_clear_hosts(struct pev_dns *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	if (code == 0)
		evdns_base_clear_host_addresses(h->dns);
	return code;
}

int
pev_dns_search_clear(struct pev_dns *h)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	if (code == 0)
		evdns_base_search_clear(h->dns);
	return code;
}

int
pev_dns_search_add(struct pev_dns *h, const char *domain)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	if (code == 0)
		evdns_base_search_add(h->dns, domain);
	return code;
}

int
pev_dns_search_ndots(struct pev_dns *h, int ndots)
{
	PEV_VISIT(pev_visit_alone(h->source.loop));
	int code = pev_dns_check(h);
	if (code == 0)
		evdns_base_search_ndots_set(h->dns, ndots);
	return code;
}
