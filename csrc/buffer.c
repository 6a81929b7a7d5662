/* event2/buffer.h: buffers of their own, and the input and output of bufferevents.
 *
 * The rules:
 *
 *   1. Every function enters the buffer (state, lock, lent-out memory, which end may change) and leaves it.
 *   2. A buffer of its own always has a lock: Python programs share objects between threads, and cffi lets them run.
 *   3. While memoryviews of a buffer exist, nothing may move its memory: such calls say PEV_EPEEKED, as bytearray does.
 *   4. The input of a bufferevent can't be added to nor its output be drained (facts of libevent 3.7, 5.1).
 *   5. Callbacks are not called from here. The change is recorded, and Python calls them when the operation, or the pass,
 *      is over: no lock is held then, and any callback may do anything to any buffer.
 *   6. No file is mapped and none is sent with sendfile: a file that shrinks would end the process, and libevent takes
 *      a full socket for the end of a sendfile (facts of libevent 3.7).
 */
#include "pylibevent.h"

/* ------------------------------------------------------------------ entering and leaving */

static int
frozen_for(const struct pev_buffer *h, int needs)
{
	int start = h->frozen & PEV_START_FROZEN, end = h->frozen & PEV_END_FROZEN;
	if (h->owner != NULL) {
		start |= h->is_output;
		end |= !h->is_output;
	}
	return (end && (needs & PEV_ADD)) || (start && (needs & (PEV_PREPEND | PEV_DRAIN)));
}

/* A thread that was inside when the process forked holds the lock, for ever. This call is counted, too. */
static int
survived_fork(struct pev_buffer *h)
{
	if (h->fork_generation == pev_fork_generation)
		return 0;
	if (h->inside > 1)
		return -PEV_EFORKED;
	h->fork_generation = pev_fork_generation;
	return 0;
}

/* The evbuffer, not locked. */
int
pev_buffer_find(struct pev_buffer *h, struct evbuffer **out)
{
	int code;
	if (h->for_filters) {
		*out = h->own;
		if (h->own == NULL)
			return -PEV_ECLOSED;
		return pthread_equal(h->lent_to, pthread_self()) ? 0 : -PEV_ETHREAD;
	}
	if (h->own != NULL) {
		*out = h->own;
		return h->closed ? -PEV_ECLOSED : survived_fork(h);
	}
	if (h->owner == NULL)
		return -PEV_ECLOSED; /* the bufferevent is gone */
	code = pev_bev_usable(h->owner);
	if (code < 0)
		return code;
	*out = h->is_output ? bufferevent_get_output(h->owner->bev) : bufferevent_get_input(h->owner->bev);
	return 0;
}

/* Whether its memory is shown to somebody. */
int
pev_buffer_exported(const struct pev_buffer *h)
{
	return h->owner ? pev_bev_peeked(h->owner) : h->exports;
}

/* What a locked buffer allows now. */
static int
allowed(const struct pev_buffer *h, int needs)
{
	if (h->closed)
		return -PEV_ECLOSED;
	if (needs && pev_buffer_exported(h))
		return -PEV_EPEEKED;
	if (frozen_for(h, needs))
		return -PEV_EFROZEN;
	return (needs & (PEV_ADD | PEV_PREPEND)) && h->is_output && h->owner != NULL && h->owner->cut ? -EPIPE : 0;
}

int
pev_buffer_enter(struct pev_buffer *h, int needs, struct evbuffer **out)
{
	int code = pev_buffer_find(h, out);
	if (code < 0)
		return code;
	evbuffer_lock(*out);
	code = allowed(h, needs);
	if (code < 0)
		evbuffer_unlock(*out);
	return code;
}

long long
pev_buffer_leave(struct evbuffer *buf, long long result)
{
	evbuffer_unlock(buf);
	return result;
}

long long
pev_buffer_leave_both(struct evbuffer *buf, struct evbuffer *other, long long result)
{
	evbuffer_unlock(buf);
	evbuffer_unlock(other);
	return result;
}

/* Which to lock first, so that no two threads wait for each other: a bufferevent's before one of its own, whose chains it may
 * share and let go of while it sends; else by address. */
static int
goes_first(const struct pev_buffer *h, const struct evbuffer *buf, const struct pev_buffer *other,
    const struct evbuffer *other_buf)
{
	if ((h->owner != NULL) != (other->owner != NULL))
		return h->owner != NULL;
	return buf < other_buf;
}

/* Both are locked when it says 0. */
int
pev_buffer_enter_both(struct pev_buffer *h, int needs, struct evbuffer **buf, struct pev_buffer *other, int other_needs,
    struct evbuffer **other_buf)
{
	int first, code = pev_buffer_find(h, buf);
	if (code < 0)
		return code;
	code = pev_buffer_find(other, other_buf);
	if (code < 0)
		return code - PEV_OTHER;
	if (*buf == *other_buf)
		return -PEV_ESELF;
	first = goes_first(h, *buf, other, *other_buf);
	evbuffer_lock(first ? *buf : *other_buf);
	evbuffer_lock(first ? *other_buf : *buf);
	code = allowed(h, needs);
	if (code == 0 && (code = allowed(other, other_needs)) < 0)
		code -= PEV_OTHER;
	return code < 0 ? (int)pev_buffer_leave_both(*buf, *other_buf, code) : 0;
}

/* ------------------------------------------------------------------ making and closing */

struct pev_buffer *
pev_buffer_new(uint64_t id)
{
	struct pev_buffer *h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	h->id = id;
	h->fork_generation = pev_fork_generation;
	h->own = evbuffer_new();
	if (h->own == NULL || evbuffer_enable_locking(h->own, NULL) < 0) {
		if (h->own)
			evbuffer_free(h->own);
		pev_delete(h);
		errno = ENOMEM;
		return NULL;
	}
	return h;
}

/* Under the bufferevent's lock: two threads may ask at once. */
static struct pev_buffer *
view(struct pev_bev *owner, int is_output, uint64_t id)
{
	struct pev_buffer *h = owner->views[is_output];
	if (h != NULL && !h->is_orphan) {
		errno = EEXIST;
		return NULL;
	}
	if (h == NULL && (h = pev_new(sizeof *h)) == NULL)
		return NULL;
	h->is_orphan = 0;
	h->id = id;
	h->owner = owner;
	h->is_output = is_output;
	return owner->views[is_output] = h;
}

/* At most one view of each end is alive: the bufferevent has to reach it when it goes. */
struct pev_buffer *
pev_buffer_view(struct pev_bev *owner, int is_output, uint64_t id)
{
	PEV_VISIT(pev_visit_bev(owner));
	struct pev_buffer *h;
	int code = pev_bev_usable(owner);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	bufferevent_lock(owner->bev);
	h = view(owner, !!is_output, id);
	code = errno;
	bufferevent_unlock(owner->bev);
	errno = code;
	return h;
}

/* Lets go of the bytes. The evbuffer itself stays until Python drops the handle: another thread may be on its way in. */
int
pev_buffer_close(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code;
	if (h->for_filters)
		return -PEV_EKIND;
	if (h->own == NULL)
		return h->owner ? -PEV_EKIND : 0; /* the bufferevent's own */
	if (h->closed)
		return 0;
	code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	if (h->exports)
		return (int)pev_buffer_leave(buf, -PEV_EPEEKED);
	h->closed = 1;
	if (h->callback != NULL)
		evbuffer_remove_cb_entry(buf, h->callback);
	h->callback = NULL;
	evbuffer_unfreeze(buf, 1);
	evbuffer_drain(buf, evbuffer_get_length(buf));
	pev_forget_changes(h);
	return (int)pev_buffer_leave(buf, 0);
}

static void
free_own(struct pev_buffer *h)
{
	if (h->callback != NULL)
		evbuffer_remove_cb_entry(h->own, h->callback);
	evbuffer_unfreeze(h->own, 1); /* a chain may refer to this very buffer: empty, it lets go of itself */
	evbuffer_drain(h->own, evbuffer_get_length(h->own));
	evbuffer_free(h->own);
}

/* 0: the bufferevent is in use by another thread, or by the pass, and will free the handle. */
static int
leave_owner(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_bev(h->owner));
	struct pev_loop *loop = h->owner->source.loop;
	if (h->callback != NULL && (loop == NULL || loop->in_pass || pev_buffer_watch(h, 0) < 0)) {
		h->is_orphan = 1;
		return 0;
	}
	h->owner->views[h->is_output] = NULL;
	return 1;
}

void
pev_buffer_drop(struct pev_buffer *h)
{
	if (h->for_filters) {
		pev_lent_dropped(h);
		pev_delete(h);
		return;
	}
	pev_forget_changes(h);
	if (h->owner != NULL && !leave_owner(h))
		return;
	if (h->own != NULL) {
		PEV_VISIT(pev_visit_buffer(h));
		if (survived_fork(h) == 0) /* else its lock is held for ever, and its memory is the price */
			free_own(h);
	}
	pev_delete(h);
}

/* The bufferevent's C object goes, and with keep 0 its handle too. */
void
pev_buffer_owner_gone(struct pev_buffer *h, int keep)
{
	if (h == NULL)
		return;
	if (h->callback != NULL && h->owner->bev != NULL)
		evbuffer_remove_cb_entry(h->is_output ? bufferevent_get_output(h->owner->bev)
		                                      : bufferevent_get_input(h->owner->bev), h->callback);
	h->callback = NULL;
	pev_forget_changes(h);
	if (keep)
		return;
	h->owner = NULL;
	if (h->is_orphan)
		pev_delete(h);
}

int
pev_buffer_check(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	return pev_buffer_find(h, &buf);
}

/* ------------------------------------------------------------------ freezing */

static int
freeze_end_ok(const struct pev_buffer *h, int at_start)
{
	/* libevent needs the other end of a bufferevent's buffers for itself */
	return !h->for_filters && (h->owner == NULL || (h->is_output ? !at_start : at_start));
}

int
pev_buffer_freeze(struct pev_buffer *h, int at_start)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	if (!freeze_end_ok(h, at_start))
		return (int)pev_buffer_leave(buf, -PEV_EFROZEN);
	if (evbuffer_freeze(buf, at_start) < 0)
		return (int)pev_buffer_leave(buf, -PEV_EFAILED);
	h->frozen |= at_start ? PEV_START_FROZEN : PEV_END_FROZEN;
	return (int)pev_buffer_leave(buf, 0);
}

int
pev_buffer_unfreeze(struct pev_buffer *h, int at_start)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	if (!freeze_end_ok(h, at_start))
		return (int)pev_buffer_leave(buf, -PEV_EFROZEN);
	if (evbuffer_unfreeze(buf, at_start) < 0)
		return (int)pev_buffer_leave(buf, -PEV_EFAILED);
	h->frozen &= (unsigned char)~(at_start ? PEV_START_FROZEN : PEV_END_FROZEN);
	return (int)pev_buffer_leave(buf, 0);
}

#if LIBEVENT_VERSION_NUMBER >= 0x02020000
int
pev_has_max_read(void)
{
	return 1;
}

long long
pev_buffer_get_max_read(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_find(h, &buf);
	return code < 0 ? code : (long long)evbuffer_get_max_read(buf);
}

int
pev_buffer_set_max_read(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_find(h, &buf);
	return code < 0 ? code : evbuffer_set_max_read(buf, n) < 0 ? -PEV_EVALUE : 0;
}
#else
int
pev_has_max_read(void)
{
	return 0;
}

long long
pev_buffer_get_max_read(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_UNUSED(h);
	return -ENOTSUP;
}

int
pev_buffer_set_max_read(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_UNUSED(h);
	PEV_UNUSED(n);
	return -ENOTSUP;
}
#endif
