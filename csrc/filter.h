/* What filter.c and pump.c share: a filter, and its two ways. */
#ifndef PEV_FILTER_H
#define PEV_FILTER_H

#include "pylibevent.h"

enum { IN, OUT };

struct way {
	unsigned char asks;     /* Python has a filter; else bytes pass */
	unsigned char running;  /* it is being called */
	unsigned char allowed;  /* by pump.c, and not from within the one above */
	unsigned char answered; /* calling it now would give nothing new */
	unsigned char more;     /* it may have stopped at the limit */
	size_t took, gave;      /* bytes in one call: what others add or take meanwhile doesn't hide them */
	size_t taken, calls;    /* in this turn of the loop */
	uint64_t turn;
	struct pev_lending *lending;
};

struct pev_filter {
	struct pev_bev b;
	struct way ways[2];
	bufferevent_data_cb lower_read, lower_write; /* libevent's own */
	bufferevent_event_cb lower_event;
	void *lower_arg;
	struct event *again;
	struct evbuffer_cb_entry *input_callback, *output_callback, *lower_input_callback, *lower_output_callback;
	short end;              /* of the one below: not told yet */
	unsigned char failed;
	unsigned char used;     /* something went out */
	unsigned char finished[2]; /* the filter was called with FINISHED, and took nothing since */
	unsigned char under_enabled;
};

static inline struct pev_filter *
pev_filter_of(struct pev_bev *h)
{
	return (struct pev_filter *)h;
}

static inline int
pev_filter_is_alive(const struct pev_filter *f)
{
	return !f->failed && f->b.bev != NULL && f->b.under != NULL && f->b.under->bev != NULL;
}

static inline int
pev_filter_input_is_full(const struct pev_filter *f)
{
	const struct bufferevent *bev = f->b.bev;
	return bev->wm_read.high && evbuffer_get_length(bev->input) >= bev->wm_read.high;
}

static inline int
pev_filter_lower_is_full(const struct pev_filter *f)
{
	const struct bufferevent *under = f->b.under->bev;
	return under->wm_write.high && evbuffer_get_length(under->output) >= under->wm_write.high;
}

/* ---- pump.c ---- */

void pev_filter_look_again(struct pev_filter *f);
void pev_pump_again(evutil_socket_t fd, short what, void *arg);
enum bufferevent_filter_result pev_filter_input(struct evbuffer *source, struct evbuffer *destination, ev_ssize_t limit,
    enum bufferevent_flush_mode mode, void *arg);
enum bufferevent_filter_result pev_filter_output(struct evbuffer *source, struct evbuffer *destination, ev_ssize_t limit,
    enum bufferevent_flush_mode mode, void *arg);
int pev_filter_force(struct pev_filter *f, int is_output, int mode);
void pev_filter_forward(struct pev_filter *f, short what, int error);
void pev_filter_try_to_end(struct pev_filter *f);
void pev_pump_input(struct pev_filter *f);
void pev_pump_output(struct pev_filter *f);
void pev_filter_stop_idle_clock(struct pev_filter *f);

#endif
