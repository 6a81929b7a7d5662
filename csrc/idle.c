/* event2/bufferevent.h: write timeouts where no descriptor is written to: pairs and filters.
 *
 * libevent starts the clock of such a bufferevent when it is enabled and when the timeout is set, but neither when bytes
 * come to wait in its output nor stops it when they have gone. */
#include "pylibevent.h"

/* The output has changed. Called back by its evbuffer, so under the bufferevent's lock. */
void
pev_time_output(struct pev_bev *h, const struct evbuffer_cb_info *info)
{
	struct bufferevent *bev = h->bev;
	if (!evutil_timerisset(&bev->timeout_write))
		return;
	if (evbuffer_get_length(bev->output) == 0)
		event_del(&bev->ev_write);
	else if ((bev->enabled & EV_WRITE) && (info->n_deleted || !event_pending(&bev->ev_write, EV_TIMEOUT, NULL)))
		event_add(&bev->ev_write, &bev->timeout_write);
}
