/* When Python's own timers are due next. */

struct pev_loop;
struct pev_deadline;

struct pev_deadline *pev_deadline_new(struct pev_loop *loop, uint64_t id);
void pev_deadline_drop(struct pev_deadline *h);
int pev_deadline_set(struct pev_deadline *h, double when);
int pev_deadline_clear(struct pev_deadline *h);
