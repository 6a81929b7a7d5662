/* event2/dns.h: resolving without blocking: the base, and what is set on it. Requests: resolve.c.
 *
 * evdns_base_free leaves what is under way in a bad state: a base that closes cancels all requests, and is freed when
 * the last one has been called back.
 */
#include "dns.h"

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
		pev_dns_cancel(r);
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
