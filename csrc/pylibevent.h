/* What the files of csrc/ share; each of them includes this.
 *
 * Python never holds a pointer of libevent's. It holds a handle: a small struct of ours that owns, or is lent,
 * one object of libevent's, and every function that Python calls goes through its handle. That is where the rules
 * stand that keep a Python program from crashing:
 *
 *   1. A handle outlives its object. Closing clears the pointer, so a late call finds NULL and says PEV_ECLOSED.
 *   2. A handle knows its loop. A base used in a forked child before reinit() says PEV_EFORKED; a call from a thread
 *      other than the one that is running the loop says PEV_ETHREAD, unless the object has a lock.
 *   3. C never calls Python to say that something happened. Trampolines note it on the handle's source, the pass ends,
 *      and Python reads what was noted (pev_loop_pass). Only what needs an answer at once calls Python.
 *   4. Functions return 0 or more, or a negative code: -errno, or one of the PEV_E codes below. Those that return a
 *      pointer return NULL and leave the positive code in errno.
 */
#ifndef PYLIBEVENT_H
#define PYLIBEVENT_H

#include <errno.h>
#include <pthread.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/bufferevent_struct.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <event2/thread.h>
#include <event2/util.h>

#include <openssl/ssl.h>

#define PEV_UNUSED(x) (void)(x)

#include "library.cdef.h"
#include "util.cdef.h"
#include "loop.cdef.h"
#include "base.cdef.h"
#include "event.cdef.h"
#include "fork.cdef.h"
#include "buffer.cdef.h"
#include "bufferevent.cdef.h"
#include "listener.cdef.h"
#include "dns.cdef.h"
#include "tls.cdef.h"
#include "ssl.cdef.h"
#include "pair.cdef.h"
#include "filter.cdef.h"
#include "ratelimit.cdef.h"
#include "relay.cdef.h"
#include "handshake.cdef.h"
#include "ask.cdef.h"
#include "credentials.cdef.h"
#include "hello.cdef.h"
#include "verify.cdef.h"
#include "ciphers.cdef.h"
#include "psk.cdef.h"
#include "keylog.cdef.h"
#include "decode.cdef.h"
#include "direct.cdef.h"
#include "finish.cdef.h"
#include "inspect.cdef.h"
#include "session.cdef.h"
#include "ticket.cdef.h"
#include "seal.cdef.h"
#include "deadline.cdef.h"
#include "pause.cdef.h"
#include "certify.cdef.h"
#include "offer.cdef.h"
#include "approve.cdef.h"

/* What each room shares with others, from the ground up. None of these is included alone. */
#include "source.h"
#include "loop.h"
#include "visit.h"
#include "buffer.h"
#include "bufferevent.h"
#include "ratelimit.h"
#include "fast.h"

/* ---- library.c ---- */

void *pev_new(size_t size);
void pev_delete(void *p);
int pev_timeval(double seconds, struct timeval *tv);
int pev_log_waiting(void);

static inline double
pev_seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

/* ---- util.c ---- */

int pev_address_to_sockaddr(const struct pev_address *address, struct sockaddr_storage *out, socklen_t *length);
void pev_address_from_sockaddr(struct pev_address *address, const struct sockaddr *sa, socklen_t length);

#endif
