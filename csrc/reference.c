/* event2/buffer.h: what Python lends to buffers: memory, and stretches of files. */
#include "pylibevent.h"

#include <sys/stat.h>

/* libevent may let go of a reference in any thread, under any lock: push its token on a stack that Python empties. */
struct release {
	struct release *next;
	uint64_t token;
};

static struct release *releases;

static void
push_release(struct release *release)
{
	release->next = __atomic_load_n(&releases, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&releases, &release->next, release, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	if (pev_passing != NULL)
		pev_end_pass(pev_passing); /* so that Python hears of it */
}

static struct release *
reversed(struct release *stack)
{
	struct release *queue = NULL, *next;
	for (; stack != NULL; stack = next) {
		next = stack->next;
		stack->next = queue;
		queue = stack;
	}
	return queue;
}

/* Up to max tokens into out, in the order in which they were let go. Takes the whole stack at once, so that several threads
 * may call this. */
int
pev_take_releases(uint64_t *out, int max)
{
	struct release *taken, *next;
	int n = 0;
	if (__atomic_load_n(&releases, __ATOMIC_RELAXED) == NULL)
		return 0;
	taken = reversed(__atomic_exchange_n(&releases, NULL, __ATOMIC_ACQUIRE));
	for (; taken != NULL; taken = next) {
		next = taken->next;
		if (n == max) {
			push_release(taken);
			continue;
		}
		out[n++] = taken->token;
		free(taken);
	}
	return n;
}

static void
on_release(const void *data, size_t n, void *arg)
{
	PEV_UNUSED(data);
	PEV_UNUSED(n);
	push_release(arg);
}

static struct release *
make_release(uint64_t token)
{
	struct release *release = malloc(sizeof *release);
	if (release != NULL)
		release->token = token;
	return release;
}

int
pev_buffer_add_reference(struct pev_buffer *h, const void *data, size_t n, uint64_t token)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	struct release *release;
	int code = pev_buffer_enter(h, PEV_ADD, &buf);
	if (code < 0)
		return code;
	release = make_release(token);
	if (release == NULL)
		return (int)pev_buffer_leave(buf, -ENOMEM);
	if (evbuffer_add_reference(buf, data, n, on_release, release) < 0) {
		free(release); /* on failure libevent doesn't call the cleanup */
		return (int)pev_buffer_leave(buf, -ENOMEM);
	}
	return (int)pev_buffer_leave(buf, 0);
}

/* ------------------------------------------------------------------ file segments */

struct pev_segment {
	struct evbuffer_file_segment *segment; /* NULL when empty, or taken by a failed add */
	struct release *release;               /* told to Python when there is no libevent segment */
	long long length;
	int closed; /* by Python */
	int users;  /* those that are adding it, and Python until it closes it; at 0 it is let go */
};

static void
let_segment_go(struct pev_segment *h)
{
	if (__atomic_sub_fetch(&h->users, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (h->segment != NULL)
		evbuffer_file_segment_free(h->segment);
	h->segment = NULL;
	if (h->release != NULL)
		push_release(h->release);
	h->release = NULL;
}

static int
use_segment(struct pev_segment *h)
{
	int users = __atomic_load_n(&h->users, __ATOMIC_ACQUIRE);
	while (users > 0 && !h->closed) {
		if (__atomic_compare_exchange_n(&h->users, &users, users + 1, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return 0;
	}
	return -PEV_ECLOSED;
}

static void
on_segment_release(const struct evbuffer_file_segment *segment, int flags, void *arg)
{
	PEV_UNUSED(segment);
	PEV_UNUSED(flags);
	push_release(arg);
}

/* length < 0: to the end. Never beyond it: what is there now is read now. */
static int
clamp_to_file(int fd, long long offset, long long *length)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ESPIPE;
	if (offset < 0 || offset > (long long)st.st_size)
		return -ERANGE;
	if (*length < 0)
		*length = (long long)st.st_size - offset;
	return *length > (long long)st.st_size - offset ? -ERANGE : 0;
}

struct pev_segment *
pev_segment_new(int fd, long long offset, long long length, uint64_t token)
{
	struct pev_segment *h;
	int code = clamp_to_file(fd, offset, &length);
	if (code < 0) {
		errno = -code;
		return NULL;
	}
	h = pev_new(sizeof *h);
	if (h == NULL)
		return NULL;
	h->length = length;
	h->users = 1;
	h->release = make_release(token);
	if (h->release == NULL) {
		pev_delete(h);
		errno = ENOMEM;
		return NULL;
	}
	if (length == 0)
		return h;
	errno = 0;
	h->segment = evbuffer_file_segment_new(fd, offset, length, EVBUF_FS_DISABLE_MMAP | EVBUF_FS_DISABLE_SENDFILE);
	if (h->segment == NULL) {
		int saved = errno ? errno : EIO; /* it shrank while we read it */
		free(h->release);
		pev_delete(h);
		errno = saved;
		return NULL;
	}
	evbuffer_file_segment_add_cleanup_cb(h->segment, on_segment_release, h->release);
	h->release = NULL;
	return h;
}

/* Idempotent, from any thread. */
void
pev_segment_close(struct pev_segment *h)
{
	if (!__atomic_exchange_n(&h->closed, 1, __ATOMIC_ACQ_REL))
		let_segment_go(h);
}

void
pev_segment_drop(struct pev_segment *h)
{
	pev_segment_close(h);
	pev_delete(h);
}

long long
pev_segment_length(const struct pev_segment *h)
{
	return h->length;
}

static int
add_segment(struct evbuffer *buf, struct pev_segment *segment, long long offset, long long length)
{
	if (offset < 0 || offset > segment->length)
		return -ERANGE;
	if (length < 0)
		length = segment->length - offset;
	if (length > segment->length - offset)
		return -ERANGE;
	if (length == 0)
		return 0;
	if (segment->segment == NULL)
		return -PEV_ECLOSED;
	if (evbuffer_add_file_segment(buf, segment->segment, offset, length) < 0) {
		segment->segment = NULL; /* its error path takes our reference (facts of libevent 2.5) */
		return -ENOMEM;
	}
	return 0;
}

int
pev_buffer_add_segment(struct pev_buffer *h, struct pev_segment *segment, long long offset, long long length)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_ADD, &buf);
	if (code < 0)
		return code;
	code = use_segment(segment);
	if (code == 0) {
		code = add_segment(buf, segment, offset, length);
		let_segment_go(segment);
	}
	return (int)pev_buffer_leave(buf, code);
}
