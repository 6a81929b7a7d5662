/* event2/listener.h */

#ifdef PEV_CDEF
#define LEV_OPT_LEAVE_SOCKETS_BLOCKING ...
#define LEV_OPT_CLOSE_ON_FREE ...
#define LEV_OPT_CLOSE_ON_EXEC ...
#define LEV_OPT_REUSEABLE ...
#define LEV_OPT_THREADSAFE ...
#define LEV_OPT_DISABLED ...
#define LEV_OPT_DEFERRED_ACCEPT ...
#define LEV_OPT_REUSEABLE_PORT ...
#define LEV_OPT_BIND_IPV6ONLY ...
#endif

enum {
	PEV_NOTE_ACCEPTED = 1,
	PEV_NOTE_ACCEPT_FAILED = 2
};

struct pev_listener;
struct pev_address;

struct pev_listener *pev_listener_bind(struct pev_loop *loop, const struct pev_address *address, int options, int backlog,
    uint64_t id);
struct pev_listener *pev_listener_new(struct pev_loop *loop, int fd, int options, int backlog, uint64_t id);
void pev_listener_drop(struct pev_listener *h);
int pev_listener_close(struct pev_listener *h);
int pev_listener_check(struct pev_listener *h);
int pev_listener_enable(struct pev_listener *h);
int pev_listener_disable(struct pev_listener *h);
int pev_listener_enabled(struct pev_listener *h);
int pev_listener_get_fd(struct pev_listener *h);
int pev_listener_set_pause(struct pev_listener *h, double seconds);
int pev_listener_next(struct pev_listener *h, struct pev_address *peer, int *fd);
int pev_listener_put_back(struct pev_listener *h);
int pev_listener_renote(struct pev_listener *h);
