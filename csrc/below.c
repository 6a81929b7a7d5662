/* event2/bufferevent_ssl.h: what stands below TLS and is more than a socket.
 *
 * libevent puts callbacks of its own there, and others once the handshake is done. The rules:
 *
 *   1. Whoever is below hears of its own events too: that its handshake is done, or why it failed. So the callbacks here come in
 *      between, and look after each call whether libevent has put others in their place.
 *   2. The end of the one below comes when all that it had read was taken; libevent would tell it at once.
 *   3. What happened below is told there once TLS is gone.
 *   4. What TLS writes below other TLS encrypts at once, and libevent throws away then what OpenSSL has just said about the one
 *      above: why the alert is sent. So that is taken before.
 */
#include "tls.h"

#define ENDS (BEV_EVENT_EOF | BEV_EVENT_ERROR)

static int
is_end_of_reading(short what)
{
	return (what & ENDS) && (what & BEV_EVENT_READING) && !(what & BEV_EVENT_WRITING);
}

static void
on_lower_input(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_ssl *s = arg;
	short what = s->held;
	if (!what || !info->n_deleted || evbuffer_get_length(buf))
		return;
	s->held = 0;
	bufferevent_trigger_event(s->b.under->bev, what, BEV_TRIG_DEFER_CALLBACKS);
}

/* Rule 2: whether it is told later. */
static int
hold_end(struct pev_ssl *s, short what)
{
	if (!is_end_of_reading(what) || s->b.ended || !pev_end_is_early(s->b.under))
		return 0;
	s->held |= what;
	return 1;
}

/* Rule 4. This comes before libevent's own, which was there first. */
static void
on_lower_output(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_ssl *s = arg;
	unsigned long code;
	PEV_UNUSED(buf);
	while (info->n_added && s->n_errors < PEV_TLS_ERRORS && (code = ERR_get_error()) != 0)
		s->errors[s->n_errors++] = code;
}

static void
under_read(struct bufferevent *under, void *arg)
{
	struct pev_ssl *s = arg;
	s->lower_read(under, s->lower_arg);
	pev_ssl_listen_below(s);
}

static void
under_write(struct bufferevent *under, void *arg)
{
	struct pev_ssl *s = arg;
	s->lower_write(under, s->lower_arg);
	pev_ssl_listen_below(s);
}

static void
under_event(struct bufferevent *under, short what, void *arg)
{
	int error = errno;
	struct pev_ssl *s = arg;
	what = pev_bev_sift_events(s->b.under, what, error);
	if (what & ENDS)
		s->unheard |= what;
	if (what == 0 || s->b.bev == NULL || hold_end(s, what))
		return;
	errno = error;
	s->lower_event(under, what, s->lower_arg);
	pev_ssl_listen_below(s);
}

static void
forget(struct evbuffer *buf, struct evbuffer_cb_entry **callback)
{
	if (*callback != NULL)
		evbuffer_remove_cb_entry(buf, *callback);
	*callback = NULL;
}

/* 0: there is no memory. */
int
pev_ssl_stand_on(struct pev_ssl *s, struct pev_bev *under)
{
	if (under->layer == NULL)
		return 1;
	s->lower_output = evbuffer_add_cb(under->bev->output, on_lower_output, s);
	s->lower_input = evbuffer_add_cb(under->bev->input, on_lower_input, s);
	if (s->lower_input != NULL && s->lower_output != NULL)
		return 1;
	forget(under->bev->input, &s->lower_input);
	forget(under->bev->output, &s->lower_output);
	return 0;
}

/* Rule 1: after all that may make libevent change its callbacks. */
void
pev_ssl_listen_below(struct pev_ssl *s)
{
	struct pev_bev *under = s->b.under;
	bufferevent_event_cb event;
	bufferevent_data_cb read, write;
	void *arg;
	if (under == NULL || under->bev == NULL || under->layer == NULL)
		return;
	bufferevent_getcb(under->bev, &read, &write, &event, &arg);
	if (arg == s || arg == NULL || read == NULL)
		return;
	s->lower_read = read;
	s->lower_write = write;
	s->lower_event = event;
	s->lower_arg = arg;
	bufferevent_setcb(under->bev, under_read, under_write, under_event, s);
}

/* TLS is about to be freed. */
void
pev_ssl_leave_below(struct pev_ssl *s)
{
	struct bufferevent *below = s->b.under->bev;
	if (below == NULL)
		return;
	if (s->b.under->connecting != PEV_NOT_CONNECTING)
		s->b.under->upper_event = NULL;
	bufferevent_setcb(below, NULL, NULL, NULL, NULL);
	forget(below->input, &s->lower_input);
	forget(below->output, &s->lower_output);
}

/* Rule 3. */
void
pev_ssl_tell_below(struct pev_ssl *s, struct pev_bev *under)
{
	pev_bev_listen(under);
	if (!s->unheard)
		return;
	under->ended = 0;
	errno = 0;
	bufferevent_trigger_event(under->bev, s->unheard, BEV_TRIG_DEFER_CALLBACKS);
}
