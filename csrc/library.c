/* The library as a whole: its log, its versions, and the memory of handles. */
#include "pylibevent.h"

#include <math.h>

/* Longer than any program runs; libevent overflows near LONG_MAX. */
#define PEV_MAX_SECONDS 1e9

/* ------------------------------------------------------------------ the log */

/* libevent may log inside a signal handler and with locks held (facts of libevent 3.3), so the callback only copies the
 * text into a ring, without locks; Python empties it after each pass. What comes while the ring is full is counted. */
#define LOG_SLOTS 64
#define LOG_TEXT 480

struct log_slot {
	int full; /* 0 free, 1 being written, 2 ready */
	int severity;
	char text[LOG_TEXT];
};

static struct log_slot log_ring[LOG_SLOTS];
static unsigned log_write, log_read, log_lost;
static int log_waiting;

/* A handshake waits for an answer of Python's (pause.c): SSL_ERROR_WANT_CLIENT_HELLO_CB, SSL_ERROR_WANT_RETRY_VERIFY. */
static int
is_pause(const char *text)
{
	return strcmp(text, "BUG: Unexpected OpenSSL error code 11") == 0 ||
	    strcmp(text, "BUG: Unexpected OpenSSL error code 12") == 0;
}

static void
write_log(int severity, const char *text)
{
	int saved_errno = errno;
	unsigned i = __atomic_fetch_add(&log_write, 1, __ATOMIC_RELAXED);
	struct log_slot *slot = &log_ring[i % LOG_SLOTS];
	int free_slot = 0;

	if (!__atomic_compare_exchange_n(&slot->full, &free_slot, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&log_lost, 1, __ATOMIC_RELAXED);
	} else {
		size_t n = strlen(text);
		if (n >= LOG_TEXT)
			n = LOG_TEXT - 1;
		memcpy(slot->text, text, n);
		slot->text[n] = '\0';
		slot->severity = severity;
		__atomic_store_n(&slot->full, 2, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&log_waiting, 1, __ATOMIC_RELEASE);
	errno = saved_errno;
}

static void
on_log(int severity, const char *text)
{
	if (!is_pause(text))
		write_log(severity, text);
}

/* The next message into out: its length, or -1 when there is none. Called with the GIL held by one thread at a time. */
int
pev_log_next(int *severity, char *out, int size)
{
	unsigned tries;
	__atomic_store_n(&log_waiting, 0, __ATOMIC_RELEASE);
	for (tries = 0; tries < LOG_SLOTS; tries++) {
		struct log_slot *slot = &log_ring[log_read % LOG_SLOTS];
		if (__atomic_load_n(&slot->full, __ATOMIC_ACQUIRE) == 2) {
			int n = snprintf(out, size, "%s", slot->text);
			*severity = slot->severity;
			__atomic_store_n(&slot->full, 0, __ATOMIC_RELEASE);
			log_read++;
			__atomic_store_n(&log_waiting, 1, __ATOMIC_RELEASE);
			return n < size ? n : size - 1;
		}
		/* A lost message leaves a gap: step over it, but never past the writer. */
		if (log_read == __atomic_load_n(&log_write, __ATOMIC_ACQUIRE))
			break;
		log_read++;
	}
	if (__atomic_load_n(&log_lost, __ATOMIC_RELAXED)) {
		unsigned lost = __atomic_exchange_n(&log_lost, 0, __ATOMIC_RELAXED);
		*severity = EVENT_LOG_WARN;
		return snprintf(out, size, "%u messages of libevent were lost: they came faster than they could be taken", lost);
	}
	return -1;
}

int
pev_log_waiting(void)
{
	return __atomic_load_n(&log_waiting, __ATOMIC_RELAXED);
}

void
pev_log_debug(int enable)
{
	event_enable_debug_logging(enable ? EVENT_DBG_ALL : EVENT_DBG_NONE);
}

/* ------------------------------------------------------------------ the library */

/* Once a process, before anything else of libevent: locks can't be added to what exists (facts of libevent 3.6). */
int
pev_init(void)
{
	static int done;
	if (done)
		return 0;
	event_set_log_callback(on_log);
	if (evthread_use_pthreads() < 0)
		return -PEV_EFAILED;
	done = 1;
	return 0;
}

unsigned
pev_compiled_libevent(void)
{
	return LIBEVENT_VERSION_NUMBER;
}

unsigned
pev_loaded_libevent(void)
{
	return event_get_version_number();
}

const char *
pev_loaded_libevent_name(void)
{
	return event_get_version();
}

const char *
pev_compiled_libevent_name(void)
{
	return LIBEVENT_VERSION;
}

/* Handles embed struct event, so its size has to be the one that was compiled. */
int
pev_event_abi_ok(void)
{
	return event_get_struct_event_size() == sizeof(struct event);
}

/* The i-th method this build of libevent supports; the array may be freed by the next call, so it is copied at once. */
int
pev_method_name(int i, char *out, int size)
{
	const char **methods = event_get_supported_methods();
	int n;
	for (n = 0; methods[n] != NULL; n++) {
		if (n == i)
			return snprintf(out, size, "%s", methods[n]);
	}
	return -1;
}

void
pev_free(void *p)
{
	free(p);
}

/* Handles are counted, so that tests can see that none is left. */
static long live_handles;

void *
pev_new(size_t size)
{
	void *p = calloc(1, size);
	if (p != NULL)
		__atomic_add_fetch(&live_handles, 1, __ATOMIC_RELAXED);
	return p;
}

void
pev_delete(void *p)
{
	if (p != NULL)
		__atomic_sub_fetch(&live_handles, 1, __ATOMIC_RELAXED);
	free(p);
}

long
pev_live_handles(void)
{
	return __atomic_load_n(&live_handles, __ATOMIC_RELAXED);
}

/* Seconds to a normalised timeval: libevent aborts on others (facts of libevent 3.2, 6). Rounded up: a timer that
 * fires before its time is a bug, one that fires a microsecond late isn't. */
int
pev_timeval(double seconds, struct timeval *tv)
{
	double whole;
	if (!(seconds >= 0 && seconds <= PEV_MAX_SECONDS))
		return -PEV_ETIME;
	whole = floor(seconds);
	tv->tv_sec = (time_t)whole;
	tv->tv_usec = (suseconds_t)ceil((seconds - whole) * 1e6);
	if (tv->tv_usec >= 1000000) {
		tv->tv_sec++;
		tv->tv_usec -= 1000000;
	}
	return 0;
}
