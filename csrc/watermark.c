/* event2/bufferevent.h: watermarks, and the pause at the high one.
 *
 * A reader at its high mark is paused here until something is drained; libevent would call it again and again. */
#include "pylibevent.h"

void
pev_bev_resume_reading(struct pev_bev *h)
{
	h->paused = 0;
	bufferevent_enable(h->bev, EV_READ);
	pev_bev_changed(h);
}

/* Something was drained: read on when there is room, else give the reader another turn. */
static void
on_drain(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_bev *h = arg;
	PEV_UNUSED(buf);
	if (!h->paused || !info->n_deleted)
		return;
	if (!pev_bev_is_at_high_mark(h))
		pev_bev_resume_reading(h);
	else
		bufferevent_trigger(h->bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
}

void
pev_bev_pause_reading(struct pev_bev *h)
{
	if (h->drain_callback == NULL)
		h->drain_callback = evbuffer_add_cb(h->bev->input, on_drain, h);
	if (h->drain_callback == NULL)
		return; /* no memory: better busy than deaf */
	h->paused = 1;
	bufferevent_disable(h->bev, EV_READ);
}

/* ------------------------------------------------------------------ marks */

int
pev_bev_set_watermark(struct pev_bev *h, int events, size_t low, size_t high)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	if (pev_bev_moves_at_once(h) && pev_bev_peeked(h))
		return -PEV_EPEEKED;
	bufferevent_setwatermark(h->bev, (short)events, low, high);
	if (h->paused && !pev_bev_is_at_high_mark(h))
		pev_bev_resume_reading(h);
	pev_bev_changed(h);
	return 0;
}

int
pev_bev_get_watermark(struct pev_bev *h, int event, size_t *low, size_t *high)
{
	PEV_VISIT(pev_visit_bev(h));
	int code = pev_bev_usable(h);
	if (code < 0)
		return code;
	return bufferevent_getwatermark(h->bev, (short)event, low, high) < 0 ? -PEV_EVALUE : 0;
}
