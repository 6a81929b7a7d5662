/* event2/dns.h: resolving without blocking. */

#ifdef PEV_CDEF
#define EVDNS_BASE_INITIALIZE_NAMESERVERS ...
#define DNS_OPTION_NAMESERVERS_NO_DEFAULT ...
#define EVDNS_BASE_DISABLE_WHEN_INACTIVE ...
#define DNS_QUERY_NO_SEARCH ...
#define DNS_OPTION_SEARCH ...
#define DNS_OPTION_NAMESERVERS ...
#define DNS_OPTION_MISC ...
#define DNS_OPTION_HOSTSFILE ...
#define DNS_OPTIONS_ALL ...
#define DNS_ERR_NONE ...
#define DNS_ERR_CANCEL ...
#define DNS_ERR_SHUTDOWN ...
#endif

#define PEV_DNS_ADDRESSES 32

struct pev_dns;
struct pev_dns_request;
struct pev_address;

struct pev_dns *pev_dns_new(struct pev_loop *loop, int flags, uint64_t id);
void pev_dns_drop(struct pev_dns *h);
int pev_dns_close(struct pev_dns *h);
int pev_dns_check(struct pev_dns *h);
int pev_dns_add_nameserver(struct pev_dns *h, const struct pev_address *address);
int pev_dns_count_nameservers(struct pev_dns *h);
int pev_dns_get_nameserver(struct pev_dns *h, int i, struct pev_address *out);
int pev_dns_clear_nameservers(struct pev_dns *h);
int pev_dns_resume(struct pev_dns *h);
int pev_dns_set_option(struct pev_dns *h, const char *name, const char *value);
int pev_dns_parse_resolv_conf(struct pev_dns *h, int flags, const char *path);
int pev_dns_load_hosts(struct pev_dns *h, const char *path);
int pev_dns_clear_hosts(struct pev_dns *h);
int pev_dns_search_clear(struct pev_dns *h);
int pev_dns_search_add(struct pev_dns *h, const char *domain);
int pev_dns_search_ndots(struct pev_dns *h, int ndots);

struct pev_dns_request *pev_dns_getaddrinfo(struct pev_dns *h, const char *name, int port, int family, int numeric_only,
    uint64_t id);
struct pev_dns_request *pev_dns_resolve(struct pev_dns *h, const char *name, int family, int flags, uint64_t id);
struct pev_dns_request *pev_dns_reverse(struct pev_dns *h, const struct pev_address *address, int flags, uint64_t id);
void pev_dns_request_drop(struct pev_dns_request *r);
int pev_dns_request_cancel(struct pev_dns_request *r);
int pev_dns_request_result(struct pev_dns_request *r, int *is_gai);
int pev_dns_request_unasked(struct pev_dns_request *r);
int pev_dns_request_ttl(struct pev_dns_request *r);
int pev_dns_request_count(struct pev_dns_request *r);
const struct pev_address *pev_dns_request_address(struct pev_dns_request *r, int i);
const char *pev_dns_request_name(struct pev_dns_request *r, int i);
const char *pev_dns_gai_text(int code);
const char *pev_dns_error_text(int code);
