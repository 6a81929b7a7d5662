/* Buffers: the handle, and what a call may do to one. */
#ifndef PEV_BUFFER_H
#define PEV_BUFFER_H

struct pev_buffer {
	struct evbuffer *own;  /* a buffer of its own, or */
	struct pev_bev *owner; /* the bufferevent whose input or output this is; NULL when that is gone */
	unsigned char closed;
	unsigned char is_output;
	unsigned char frozen; /* the ends that Python froze */
	unsigned char is_changed;
	unsigned char is_orphan; /* Python has dropped it, and the bufferevent frees it */
	int exports; /* memoryviews lent out */
	unsigned fork_generation;
	int inside; /* calls that are under way, in all threads: those of other threads aren't there after a fork */
	struct pev_lending *lending; /* it shows a buffer of a filter's while that is called */
	unsigned char for_filters;   /* it can do that, and nothing else */
	pthread_t lent_to;
	uint64_t id;
	struct evbuffer_cb_entry *callback;
	struct pev_change change; /* not yet told */
	pthread_t changed_by;
	struct pev_buffer *next_changed;
};

/* Which ends Python has frozen; libevent doesn't tell. */
enum { PEV_START_FROZEN = 1, PEV_END_FROZEN = 2 };

/* What a function is about to do to a buffer. */
enum { PEV_LOOK = 0, PEV_ADD = 1, PEV_PREPEND = 2, PEV_DRAIN = 4 };

int pev_buffer_find(struct pev_buffer *h, struct evbuffer **out);
int pev_buffer_exported(const struct pev_buffer *h);
int pev_buffer_enter(struct pev_buffer *h, int needs, struct evbuffer **out);
long long pev_buffer_leave(struct evbuffer *buf, long long result);
int pev_buffer_enter_both(struct pev_buffer *h, int needs, struct evbuffer **buf, struct pev_buffer *other, int other_needs,
    struct evbuffer **other_buf);
long long pev_buffer_leave_both(struct evbuffer *buf, struct evbuffer *other, long long result);
void pev_buffer_owner_gone(struct pev_buffer *h, int keep);

/* libevent says -1 when there is no memory, or more than it can count, or where an end is frozen: a filter may freeze those of
 * the buffers that it is lent under other handles. */
static inline int
pev_buffer_result(int r, struct evbuffer *buf)
{
	if (r >= 0)
		return 0;
	return evbuffer_commit_space(buf, NULL, 0) < 0 || evbuffer_drain(buf, 0) < 0 ? -PEV_EFROZEN : -ENOMEM;
}

/* ---- search.c ---- */

int pev_buffer_place(struct evbuffer *buf, struct evbuffer_ptr *ptr, size_t at);

/* ---- change.c ---- */

void pev_forget_changes(struct pev_buffer *h);

/* ---- lending.c ---- */

/* Two buffers, lent to Python while one call of a filter lasts. */
struct pev_lending {
	struct evbuffer *from[2]; /* source, destination */
	struct pev_buffer *to[2];
};

void pev_lent_dropped(struct pev_buffer *h);
void pev_lending_end(struct pev_lending *lending);
int pev_call_filter(uint64_t id, int is_output, struct pev_lending *lending, long long limit, int mode);

#endif
