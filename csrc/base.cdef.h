/* event2/event.h: what can be asked of a base, and set on it. */

struct pev_loop;
struct pev_statistics;

int pev_loop_priorities(struct pev_loop *loop);
int pev_loop_has_children(struct pev_loop *loop);
const char *pev_loop_method(struct pev_loop *loop);
int pev_loop_features(struct pev_loop *loop);
int pev_loop_count(struct pev_loop *loop, int kinds);
int pev_loop_max(struct pev_loop *loop, int kinds, int clear);
int pev_loop_now(struct pev_loop *loop, int cached, double *out);
int pev_loop_update_now(struct pev_loop *loop);
int pev_loop_monotonic(struct pev_loop *loop, double *out);
int pev_loop_active_by_fd(struct pev_loop *loop, int fd, int events);
int pev_loop_active_by_signal(struct pev_loop *loop, int signum);
void pev_loop_statistics(struct pev_loop *loop, struct pev_statistics *out);
const void *pev_loop_common_timeout(struct pev_loop *loop, double seconds);
