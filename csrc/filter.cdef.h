/* event2/bufferevent.h: a bufferevent that changes what goes through it. */

struct pev_bev;
struct pev_buffer;
struct pev_lending;

#ifdef PEV_CDEF
extern "Python+C" int pev_call_filter(uint64_t id, int is_output, struct pev_lending *lending, long long limit, int mode);
#endif

struct pev_bev *pev_filter_new(struct pev_bev *under, int asks_input, int asks_output, int options, uint64_t id);
struct pev_buffer *pev_lent_new(uint64_t id);
void pev_lend(struct pev_lending *lending, struct pev_buffer *source, struct pev_buffer *destination);
int pev_lent_is_kept(const struct pev_lending *lending);
