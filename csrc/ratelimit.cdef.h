/* event2/bufferevent.h: rate limits, of one bufferevent and of a group. */

#ifdef PEV_CDEF
#define EV_RATE_LIMIT_MAX ...
#endif

struct pev_loop;
struct pev_bev;
struct pev_group;

/* Bytes per tick: [0] for reading, [1] for writing; 0: no limit. */
struct pev_rate {
	int rate[2];
	int burst[2];
	unsigned tick; /* milliseconds */
};

int pev_bev_set_rate_limit(struct pev_bev *h, const struct pev_rate *rate);
int pev_bev_get_level(struct pev_bev *h, int is_write, long long *out);
int pev_bev_decrement(struct pev_bev *h, int is_write, long long n);
int pev_bev_get_max_to(struct pev_bev *h, int is_write, long long *out);

struct pev_group *pev_group_new(struct pev_loop *loop, const struct pev_rate *rate, uint64_t id);
void pev_group_drop(struct pev_group *g);
int pev_group_close(struct pev_group *g);
int pev_group_check(struct pev_group *g);
int pev_group_add(struct pev_group *g, struct pev_bev *h);
int pev_group_remove(struct pev_group *g, struct pev_bev *h);
int pev_group_has(struct pev_group *g, struct pev_bev *h);
int pev_group_count(struct pev_group *g);
int pev_group_set_rate(struct pev_group *g, const struct pev_rate *rate);
int pev_group_get_min_share(struct pev_group *g);
int pev_group_set_min_share(struct pev_group *g, int n);
int pev_group_get_level(struct pev_group *g, int is_write, long long *out);
int pev_group_decrement(struct pev_group *g, int is_write, long long n);
int pev_group_totals(struct pev_group *g, uint64_t *out);
int pev_group_reset_totals(struct pev_group *g);
