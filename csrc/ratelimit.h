/* Rate limits: of a bufferevent, of a group, of a pair's end. */
#ifndef PEV_RATELIMIT_H
#define PEV_RATELIMIT_H

enum { PEV_READ, PEV_WRITE };

/* The rate limits of a bufferevent that nothing is under. */
struct pev_limits {
	struct pev_bev *owner;
	struct ev_token_bucket_cfg *cfg; /* NULL: none of its own */
	struct pev_rate rate;
	struct pev_group *group;
	TAILQ_ENTRY(pev_limits) next_member;
	struct evbuffer_cb_entry *on_received, *on_sent;
	struct pev_valve *valve; /* of a pair's end */
	long long levels[2];     /* of a pair's end: its buckets */
	uint64_t tick;           /* in which they were filled last */
	size_t unlimited;   /* bytes read without a limit since the bucket was last filled up */
	unsigned char sent; /* something was, since the last write callback */
};

struct pev_group {
	struct pev_source source;
	struct bufferevent_rate_limit_group *group; /* NULL once closed */
	struct pev_rate rate;
	struct event hold; /* keeps the loop while members wait */
	uint64_t totals[2]; /* of groups of libevent's that were here before */
	int min_share;
	int n_members;
	TAILQ_HEAD(, pev_limits) members;
};

int pev_limits_sent(struct pev_bev *h);
void pev_limits_free(struct pev_bev *h);
void pev_limits_renew(struct pev_limits *l);
struct ev_token_bucket_cfg *pev_make_cfg(const struct pev_rate *rate);
long long pev_within(long long level, long long n, int burst);
long long pev_level_kept(const struct pev_rate *old, const struct pev_rate *new, int d, long long level);
struct pev_bev *pev_bottom_of(struct pev_bev *h);
struct pev_bev *pev_find_bottom(struct pev_bev *h, int *code);
struct pev_limits *pev_make_limits(struct pev_bev *low);
void pev_calm(struct pev_bev *low);

/* ---- group.c ---- */

struct bufferevent_rate_limit_group *pev_make_group(struct event_base *base, const struct pev_rate *rate);
void pev_leave_group(struct pev_limits *l);
long long pev_group_bucket(struct bufferevent_rate_limit_group *group, int is_write);
void pev_group_spend(struct bufferevent_rate_limit_group *group, int is_write, long long n);
void pev_on_hold(evutil_socket_t fd, short what, void *arg);
int pev_limits_hold(struct pev_loop *loop);
void pev_group_renew(struct pev_group *g);

/* ---- clock.c ---- */

void pev_watch_clock(struct pev_loop *loop);
void pev_forget_clock(struct pev_loop *loop);

/* ---- meter.c ---- */

/* What lets bytes into a pair's end, while there is a limit on their way. */
struct pev_valve {
	struct bufferevent_rate_limit_group *gate; /* suspends the reading of its only member */
	struct event step; /* lets some bytes in; internal to libevent's eyes */
	struct event hold; /* keeps the loop while bytes wait */
};

static inline int
pev_is_pair(const struct pev_bev *h)
{
	return h->layer != NULL && h->layer->partner != NULL;
}

int pev_limits_changed(struct pev_bev *h);
void pev_meter_set(struct pev_limits *l, const struct pev_rate *rate);
long long pev_meter_level(struct pev_limits *l, int is_write);
long long pev_meter_max(struct pev_bev *h, int is_write);
void pev_meter_charge(struct pev_limits *l, int is_write, long long n);
void pev_valve_kick(struct pev_bev *h);
void pev_valve_free(struct pev_limits *l);
int pev_valve_is_waiting(struct pev_bev *h);

/* Whether a rate limit is set, its own or that of a group. */
static inline int
pev_bev_is_limited(const struct pev_bev *h)
{
	return h->limits != NULL && (h->limits->cfg != NULL || h->limits->group != NULL);
}

#endif
