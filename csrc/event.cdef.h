/* event2/event.h: events. */

#ifdef PEV_CDEF
#define EV_TIMEOUT ...
#define EV_READ ...
#define EV_WRITE ...
#define EV_SIGNAL ...
#define EV_PERSIST ...
#define EV_ET ...
#define EV_CLOSED ...
#endif

struct pev_loop;
struct pev_event;

/* A view of an event for foreach() and dump(). */
struct pev_event_info {
	uint64_t id; /* 0: not one of Python's events */
	int fd;
	int events;
	int pending;
	int priority;
	int internal;
	double timeout; /* seconds from now, negative: none */
};

struct pev_event *pev_event_new(struct pev_loop *loop, int fd, int events, int priority, uint64_t id);
void pev_event_drop(struct pev_event *h);
int pev_event_close(struct pev_event *h);
int pev_event_add(struct pev_event *h);
int pev_event_add_timeout(struct pev_event *h, double seconds);
int pev_event_add_common(struct pev_event *h, const void *common);
int pev_event_delete(struct pev_event *h);
int pev_event_remove_timer(struct pev_event *h);
int pev_event_active(struct pev_event *h, int events);
int pev_event_pending(struct pev_event *h, int events, double *expires, int was_called);
int pev_event_set_priority(struct pev_event *h, int priority, int was_called);
int pev_event_get_priority(struct pev_event *h);
int pev_loop_events(struct pev_loop *loop, struct pev_event_info *out, int max);
int pev_loop_dump(struct pev_loop *loop, char **out);
