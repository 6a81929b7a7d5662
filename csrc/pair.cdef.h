/* event2/bufferevent.h: two bufferevents that are each other's peer. */

struct pev_loop;
struct pev_bev;

int pev_pair_new(struct pev_loop *loop, int options, uint64_t id, uint64_t partner_id, struct pev_bev **out);
void pev_pair_keep_silent(struct pev_bev *h, int silent);
