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

#include <limits.h>

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

static int
find_buffer(struct pev_buffer *h, struct evbuffer **out)
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

static int
exported(const struct pev_buffer *h)
{
	return h->owner ? pev_bev_peeked(h->owner) : h->exports;
}

/* What a locked buffer allows now. */
static int
allowed(const struct pev_buffer *h, int needs)
{
	if (h->closed)
		return -PEV_ECLOSED;
	if (needs && exported(h))
		return -PEV_EPEEKED;
	if (frozen_for(h, needs))
		return -PEV_EFROZEN;
	return (needs & (PEV_ADD | PEV_PREPEND)) && h->is_output && h->owner != NULL && h->owner->cut ? -EPIPE : 0;
}

int
pev_buffer_enter(struct pev_buffer *h, int needs, struct evbuffer **out)
{
	int code = find_buffer(h, out);
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

/* libevent says -1 when there is no memory, or more than it can count, or where an end is frozen: a filter may freeze those of
 * the buffers that it is lent under other handles. */
static int
result_of(int r, struct evbuffer *buf)
{
	if (r >= 0)
		return 0;
	return evbuffer_commit_space(buf, NULL, 0) < 0 || evbuffer_drain(buf, 0) < 0 ? -PEV_EFROZEN : -ENOMEM;
}

static int
result_of_move(int r, struct evbuffer *buf, struct evbuffer *source)
{
	int code = result_of(r, buf);
	return code == -ENOMEM ? result_of(r, source) : code;
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
	if (h->callback != NULL && (loop->in_pass || pev_buffer_watch(h, 0) < 0)) {
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
	return find_buffer(h, &buf);
}

/* ------------------------------------------------------------------ bytes */

long long
pev_buffer_length(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = find_buffer(h, &buf);
	return code < 0 ? code : (long long)evbuffer_get_length(buf);
}

long long
pev_buffer_contiguous(struct pev_buffer *h)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = find_buffer(h, &buf);
	return code < 0 ? code : (long long)evbuffer_get_contiguous_space(buf);
}

int
pev_buffer_add(struct pev_buffer *h, const char *data, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_ADD, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, result_of(evbuffer_add(buf, data, n), buf));
}

int
pev_buffer_prepend(struct pev_buffer *h, const char *data, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_PREPEND, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, result_of(evbuffer_prepend(buf, data, n), buf));
}

int
pev_buffer_drain(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, result_of(evbuffer_drain(buf, n), buf));
}

long long
pev_buffer_remove(struct pev_buffer *h, char *out, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	ev_ssize_t copied;
	int code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	if (code < 0)
		return code;
	/* evbuffer_remove counts in an int */
	copied = evbuffer_copyout(buf, out, n);
	if (copied > 0 && evbuffer_drain(buf, (size_t)copied) < 0)
		copied = -1;
	return pev_buffer_leave(buf, copied < 0 ? result_of(-1, buf) : copied);
}

/* evbuffer_copyout_from refuses where the start is frozen, though it changes nothing. */
static size_t
copy_out(struct evbuffer *buf, struct evbuffer_ptr *from, char *out, size_t n)
{
	struct evbuffer_iovec vec[16];
	size_t copied = 0;
	while (copied < n) {
		size_t before = copied;
		int i, spans = evbuffer_peek(buf, (ev_ssize_t)(n - copied), from, vec, 16);
		for (i = 0; i < spans && i < 16 && copied < n; i++) {
			size_t part = vec[i].iov_len < n - copied ? vec[i].iov_len : n - copied;
			memcpy(out + copied, vec[i].iov_base, part);
			copied += part;
		}
		if (copied == before || (copied < n && evbuffer_ptr_set(buf, from, copied - before, EVBUFFER_PTR_ADD) < 0))
			break;
	}
	return copied;
}

long long
pev_buffer_copyout(struct pev_buffer *h, char *out, size_t n, size_t start)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_ptr from;
	size_t length;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	length = evbuffer_get_length(buf);
	if (start >= evbuffer_get_length(buf) || evbuffer_ptr_set(buf, &from, start, EVBUFFER_PTR_SET) < 0)
		return pev_buffer_leave(buf, 0);
	if (n > length - start)
		n = length - start;
	return pev_buffer_leave(buf, (long long)copy_out(buf, &from, out, n));
}

int
pev_buffer_expand(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_ADD, &buf);
	return code < 0 ? code : (int)pev_buffer_leave(buf, result_of(evbuffer_expand(buf, n), buf));
}

/* Once a program shares chains between buffers, libevent's pullup can write into another one's bytes (facts of libevent
 * 3.7): then go the long way. */
static int
pullup_by_copy(struct evbuffer *buf, size_t n)
{
	struct evbuffer *front = evbuffer_new();
	char *bytes = malloc(n);
	int r = -1;
	if (front != NULL && bytes != NULL && evbuffer_copyout(buf, bytes, n) == (ev_ssize_t)n &&
	    evbuffer_expand(front, n) == 0 && evbuffer_add(front, bytes, n) == 0 && evbuffer_drain(buf, n) == 0)
		r = evbuffer_prepend_buffer(buf, front);
	if (front != NULL)
		evbuffer_free(front);
	free(bytes);
	return r;
}

int
pev_buffer_pullup(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int is_output = h->owner != NULL && h->is_output;
	int code = pev_buffer_enter(h, is_output ? PEV_LOOK : PEV_DRAIN | PEV_PREPEND, &buf), r = 0;
	if (code < 0)
		return code;
	if (exported(h))
		return (int)pev_buffer_leave(buf, -PEV_EPEEKED);
	if (n > evbuffer_get_length(buf))
		n = evbuffer_get_length(buf);
	if (n <= evbuffer_get_contiguous_space(buf))
		return (int)pev_buffer_leave(buf, 0);
	if (pev_multicast_seen() && is_output)
		return (int)pev_buffer_leave(buf, -PEV_EFROZEN);
	if (h->callback != NULL) /* no byte comes or goes */
		evbuffer_cb_clear_flags(buf, h->callback, EVBUFFER_CB_ENABLED);
	if (pev_multicast_seen())
		r = pullup_by_copy(buf, n);
	else if (evbuffer_pullup(buf, (ev_ssize_t)n) == NULL)
		r = -1;
	if (h->callback != NULL)
		evbuffer_cb_set_flags(buf, h->callback, EVBUFFER_CB_ENABLED);
	return (int)pev_buffer_leave(buf, result_of(r, buf));
}

/* ------------------------------------------------------------------ two buffers */

static long long
leave_both(struct evbuffer *buf, struct evbuffer *other, long long result)
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
static int
enter_both(struct pev_buffer *h, int needs, struct evbuffer **buf, struct pev_buffer *other, int other_needs,
    struct evbuffer **other_buf)
{
	int first, code = find_buffer(h, buf);
	if (code < 0)
		return code;
	code = find_buffer(other, other_buf);
	if (code < 0)
		return code - PEV_OTHER;
	if (*buf == *other_buf)
		return -PEV_EVALUE;
	first = goes_first(h, *buf, other, *other_buf);
	evbuffer_lock(first ? *buf : *other_buf);
	evbuffer_lock(first ? *other_buf : *buf);
	code = allowed(h, needs);
	if (code == 0 && (code = allowed(other, other_needs)) < 0)
		code -= PEV_OTHER;
	return code < 0 ? (int)leave_both(*buf, *other_buf, code) : 0;
}

int
pev_buffer_add_buffer(struct pev_buffer *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(from));
	struct evbuffer *buf, *source;
	int code = enter_both(h, PEV_ADD, &buf, from, PEV_DRAIN, &source);
	return code < 0 ? code : (int)leave_both(buf, source, result_of_move(evbuffer_add_buffer(buf, source), buf, source));
}

int
pev_buffer_prepend_buffer(struct pev_buffer *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(from));
	struct evbuffer *buf, *source;
	int code = enter_both(h, PEV_PREPEND, &buf, from, PEV_DRAIN, &source);
	return code < 0 ? code : (int)leave_both(buf, source, result_of_move(evbuffer_prepend_buffer(buf, source), buf, source));
}

/* By way of a fresh buffer: an unpatched 2.1.12 leaves a dangling chain otherwise (facts of libevent 2.5). The source
 * must be a buffer of its own: a bufferevent's lock dies with it while the reference lives on. */
int
pev_buffer_add_buffer_reference(struct pev_buffer *h, struct pev_buffer *from)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(from));
	struct evbuffer *buf, *source, *fresh;
	int code, r;
	if (from->owner != NULL || from->for_filters)
		return -PEV_EKIND;
	code = enter_both(h, PEV_ADD, &buf, from, PEV_LOOK, &source);
	if (code < 0)
		return code;
	fresh = evbuffer_new();
	if (fresh == NULL)
		return (int)leave_both(buf, source, -ENOMEM);
	pev_start_multicast();
	r = evbuffer_add_buffer_reference(fresh, source);
	code = r < 0 ? -PEV_EVALUE : result_of(evbuffer_add_buffer(buf, fresh), buf);
	evbuffer_free(fresh);
	return (int)leave_both(buf, source, code);
}

/* Moves the first n bytes to the end of another buffer. */
long long
pev_buffer_remove_buffer(struct pev_buffer *h, struct pev_buffer *to, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	PEV_VISIT(pev_visit_buffer(to));
	struct evbuffer *buf, *destination;
	long long moved = 0;
	int code = enter_both(h, PEV_DRAIN, &buf, to, PEV_ADD, &destination);
	if (code < 0)
		return code;
	while (n > 0) { /* evbuffer_remove_buffer counts in an int */
		int part = n > INT_MAX / 2 ? INT_MAX / 2 : (int)n;
		int r = evbuffer_remove_buffer(buf, destination, (size_t)part);
		if (r < 0)
			return leave_both(buf, destination, moved ? moved : result_of_move(r, destination, buf));
		moved += r;
		n -= (size_t)r;
		if (r < part)
			break;
	}
	return leave_both(buf, destination, moved);
}

/* ------------------------------------------------------------------ looking for something */

/* 1 and a line that Python frees with pev_free, or 0: no whole line yet. */
int
pev_buffer_readline(struct pev_buffer *h, int style, char **line, size_t *n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	if (code < 0)
		return code;
	*line = evbuffer_readln(buf, n, (enum evbuffer_eol_style)style);
	return (int)pev_buffer_leave(buf, *line != NULL);
}

/* -1: not found; other negative numbers are codes. */
#define NOT_FOUND (-1LL)

int
pev_buffer_place(struct evbuffer *buf, struct evbuffer_ptr *out, size_t position)
{
	if (position > evbuffer_get_length(buf))
		return -1;
	return evbuffer_ptr_set(buf, out, position, EVBUFFER_PTR_SET);
}

long long
pev_buffer_search(struct pev_buffer *h, const char *what, size_t n, size_t start, size_t end)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_ptr from, to, found;
	size_t length;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	length = evbuffer_get_length(buf);
	if (end > length)
		end = length;
	if (start > end || n > end - start)
		return pev_buffer_leave(buf, NOT_FOUND);
	if (n == 0)
		return pev_buffer_leave(buf, (long long)start);
	if (pev_buffer_place(buf, &from, start) < 0)
		return pev_buffer_leave(buf, NOT_FOUND);
	if (end == length) {
		found = evbuffer_search(buf, what, n, &from);
	} else {
		if (pev_buffer_place(buf, &to, end) < 0)
			return pev_buffer_leave(buf, NOT_FOUND);
		found = evbuffer_search_range(buf, what, n, &from, &to);
	}
	return pev_buffer_leave(buf, found.pos < 0 || (size_t)found.pos + n > end ? NOT_FOUND : (long long)found.pos);
}

long long
pev_buffer_search_eol(struct pev_buffer *h, int style, size_t start, size_t *eol_length)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct evbuffer_ptr from, found;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	if (start >= evbuffer_get_length(buf) || pev_buffer_place(buf, &from, start) < 0)
		return pev_buffer_leave(buf, NOT_FOUND);
	found = evbuffer_search_eol(buf, &from, eol_length, (enum evbuffer_eol_style)style);
	return pev_buffer_leave(buf, found.pos < 0 ? NOT_FOUND : (long long)found.pos);
}

/* ------------------------------------------------------------------ descriptors */

long long
pev_buffer_read_fd(struct pev_buffer *h, int fd, int n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int r, code = pev_buffer_enter(h, PEV_ADD, &buf);
	if (code < 0)
		return code;
	if (n == 0)
		return pev_buffer_leave(buf, 0); /* evbuffer_read aborts on 0 when the last chain is full (facts of libevent 6) */
	errno = 0;
	r = evbuffer_read(buf, fd, n);
	return pev_buffer_leave(buf, r < 0 ? (errno ? -errno : -PEV_EFAILED) : r);
}

/* n < 0: all of it */
long long
pev_buffer_write_fd(struct pev_buffer *h, int fd, long long n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int r, code = pev_buffer_enter(h, PEV_DRAIN, &buf);
	if (code < 0)
		return code;
	if (evbuffer_get_length(buf) == 0 || n == 0)
		return pev_buffer_leave(buf, 0); /* evbuffer_write says -1 and leaves errno alone */
	errno = 0;
	r = evbuffer_write_atmost(buf, fd, (ev_ssize_t)n);
	return pev_buffer_leave(buf, r < 0 ? (errno ? -errno : -PEV_EFAILED) : r);
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
	int code = find_buffer(h, &buf);
	return code < 0 ? code : (long long)evbuffer_get_max_read(buf);
}

int
pev_buffer_set_max_read(struct pev_buffer *h, size_t n)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = find_buffer(h, &buf);
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
