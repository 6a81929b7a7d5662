/* event2/bufferevent.h: what Python switches, sets and sets off on a bufferevent. Its watermarks: watermark.c; its limits:
 * ratelimit.c. */
#include "pylibevent.h"

#include <limits.h>

/* ------------------------------------------------------------------ switches */

int
pev_bev_want(struct pev_bev *h, int callbacks)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable_alone(h);
	if (code < 0)
		return code;
	h->wants = (unsigned char)callbacks;
	pev_fast_note_sent(h);
	return 0;
}

int
pev_bev_enable(struct pev_bev *h, int events)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (pev_bev_moves_at_once(h) && pev_bev_peeked(h))
		return -PEV_EPEEKED;
	if ((events & EV_READ) && h->paused) {
		events &= ~EV_READ;
		if (!pev_bev_is_at_high_mark(h))
			pev_bev_resume_reading(h);
	}
	/* Enabling what is enabled gives a write callback out of nothing (facts of libevent 3.8). */
	events &= ~bufferevent_get_enabled(h->bev);
	if (events == 0 || (h->layer != NULL && h->layer->enable_later != NULL && h->layer->enable_later(h, (short)events)))
		return 0;
	errno = 0;
	if (bufferevent_enable(h->bev, (short)events) < 0) {
		code = errno ? -errno : -PEV_EFAILED;
		bufferevent_disable(h->bev, (short)events);
		return code;
	}
	if (h->layer != NULL && h->layer->on_enable != NULL)
		h->layer->on_enable(h);
	pev_bev_changed(h);
	return 0;
}

int
pev_bev_disable(struct pev_bev *h, int events)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (events & EV_READ)
		h->paused = 0;
	if (bufferevent_disable(h->bev, (short)events) < 0)
		return -PEV_EFAILED;
	/* A TLS filter that stops writing lets the one below read again (facts of libevent 5.1): stop it again. */
	if (h->layer != NULL && !(bufferevent_get_enabled(h->bev) & EV_READ))
		bufferevent_disable(h->bev, EV_READ);
	return 0;
}

int
pev_bev_enabled(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : bufferevent_get_enabled(h->bev) | (h->paused ? EV_READ : 0);
}

int
pev_bev_ended(struct pev_bev *h)
{
	return h->ended;
}

int
pev_bev_connecting(struct pev_bev *h)
{
	return h->connecting != PEV_NOT_CONNECTING;
}

/* ------------------------------------------------------------------ settings */

/* Seconds; negative: none. libevent takes zero for none, so zero isn't a time. */
int
pev_bev_set_timeouts(struct pev_bev *h, double read, double write)
{
	PEV_VISIT(pev_visit_bev(h));
	struct timeval read_tv, write_tv;
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (read == 0 || write == 0 || (read > 0 && pev_timeval(read, &read_tv) < 0) ||
	    (write > 0 && pev_timeval(write, &write_tv) < 0))
		return -PEV_ETIME;
	if (bufferevent_set_timeouts(h->bev, read > 0 ? &read_tv : NULL, write > 0 ? &write_tv : NULL) < 0)
		return -PEV_EFAILED;
	return 0;
}

int
pev_bev_set_priority(struct pev_bev *h, int priority)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (priority < 0 || priority >= h->source.loop->n_priorities)
		return -PEV_EVALUE;
	pev_fast_wait(h);
	return bufferevent_priority_set(h->bev, priority) < 0 ? -PEV_EPENDING : 0;
}

int
pev_bev_get_priority(struct pev_bev *h)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	return code < 0 ? code : bufferevent_get_priority(h->bev);
}

/* 0 gives the default back. libevent passes these numbers through an int (facts of libevent 4.3). */
int
pev_bev_set_max_single(struct pev_bev *h, int is_write, size_t n)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (n > INT_MAX)
		return -PEV_EVALUE;
	if (n)
		h->own_limits |= is_write ? EV_WRITE : EV_READ;
	else
		h->own_limits &= (unsigned char)~(is_write ? EV_WRITE : EV_READ);
	if (is_write)
		bufferevent_set_max_single_write(h->bev, n);
	else
		bufferevent_set_max_single_read(h->bev, n);
	return 0;
}

long long
pev_bev_get_max_single(struct pev_bev *h, int is_write)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	return is_write ? bufferevent_get_max_single_write(h->bev) : bufferevent_get_max_single_read(h->bev);
}

/* ------------------------------------------------------------------ setting off */

int
pev_bev_flush(struct pev_bev *h, int iotype, int mode)
{
	PEV_VISIT(pev_visit_bev(h));
	int r, code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (pev_bev_peeked(h))
		return -PEV_EPEEKED;
	if (h->layer != NULL && h->layer->flush != NULL)
		return h->layer->flush(h, iotype, mode);
	r = bufferevent_flush(h->bev, (short)iotype, (enum bufferevent_flush_mode)mode);
	return r < 0 ? -PEV_EFAILED : r > 0;
}

int
pev_bev_trigger(struct pev_bev *h, int iotype, int options)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (h->options & BEV_OPT_THREADSAFE || h->over != NULL)
		options |= BEV_TRIG_DEFER_CALLBACKS; /* TLS above may be at work, and wait for Python */
	if (h->limits != NULL)
		h->limits->sent = 1;
	bufferevent_trigger(h->bev, (short)iotype, options);
	return 0;
}

int
pev_bev_trigger_event(struct pev_bev *h, int what)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	errno = 0;
	bufferevent_trigger_event(h->bev, (short)what,
	    h->options & BEV_OPT_THREADSAFE || h->over != NULL ? BEV_TRIG_DEFER_CALLBACKS : 0);
	return 0;
}
