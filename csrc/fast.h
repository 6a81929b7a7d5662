/* The fast path: past libevent's buffers. */
#ifndef PEV_FAST_H
#define PEV_FAST_H

/* ---- fast.c ---- */

void pev_fast_start(struct pev_bev *h);
void pev_fast_take_over(struct pev_bev *h);
void pev_fast_stop(struct pev_bev *h);
void pev_fast_serve(struct pev_loop *loop);
void pev_fast_forget_waiting(struct pev_loop *loop);
void pev_fast_wait(struct pev_bev *h);
void pev_fast_flush(struct pev_bev *h);
void pev_fast_note_sent(struct pev_bev *h);
size_t pev_fast_send(struct pev_bev *h, const char *data, size_t n);
int pev_fast_may_send_below(const struct pev_bev *h);
size_t pev_fast_send_below(struct pev_bev *h, const char *data, size_t n);
int pev_fast_may_put(const struct pev_bev *h);
size_t pev_fast_put(struct pev_bev *h, const char *data, size_t n);
int pev_fast_is_passing(int error);
ssize_t pev_fast_read_input(struct pev_bev *h, int fd, size_t wanted, int no_more);

/* ---- fresh.c ---- */

size_t pev_fresh_room(size_t n);
int pev_fresh_has_room(const struct pev_bev *h);
int pev_fresh_may_come(const struct pev_bev *h);
ssize_t pev_fresh_read(struct pev_bev *h, int fd);
void pev_fresh_came(struct pev_bev *h, const char *at, size_t n);
void pev_fresh_put_in(struct pev_bev *h, const char *data, size_t n);
void pev_fresh_forget(struct pev_bev *h);
void pev_fresh_settle(struct pev_bev *h);
void pev_fresh_settle_all(struct pev_loop *loop);
void pev_fresh_bring_in(struct pev_loop *loop);
int pev_fresh_pass_on(struct pev_bev *from, struct pev_bev *to);

/* ---- records.c ---- */

int pev_records_may_read(const struct pev_bev *h);
int pev_records_may_write(const struct pev_bev *h);
ssize_t pev_records_read(struct pev_bev *h, int fd);
size_t pev_records_write(struct pev_bev *h, const char *data, size_t n);

#endif
