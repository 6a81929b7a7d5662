/* event2/buffer.h: callbacks. What changed is recorded here; Python calls them, when no lock is held any more. */
#include "pylibevent.h"

/* What was recorded and not yet told, by the thread that made the change. */
static pthread_mutex_t changes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pev_buffer *changed_first, *changed_last;

void
pev_lock_changes(void)
{
	pthread_mutex_lock(&changes_lock);
}

void
pev_unlock_changes(void)
{
	pthread_mutex_unlock(&changes_lock);
}

void
pev_forget_changes(struct pev_buffer *h)
{
	struct pev_buffer **link, *before = NULL;
	pthread_mutex_lock(&changes_lock);
	for (link = &changed_first; *link != NULL; before = *link, link = &(*link)->next_changed) {
		if (*link != h)
			continue;
		*link = h->next_changed;
		if (changed_last == h)
			changed_last = before;
		break;
	}
	h->is_changed = 0;
	pthread_mutex_unlock(&changes_lock);
}

static void
on_change(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct pev_buffer *h = arg;
	PEV_UNUSED(buf);
	pthread_mutex_lock(&changes_lock);
	if (!h->is_changed) {
		h->is_changed = 1;
		h->change.orig_size = info->orig_size;
		h->change.added = h->change.deleted = 0;
		h->changed_by = pthread_self();
		h->next_changed = NULL;
		if (changed_last)
			changed_last->next_changed = h;
		else
			changed_first = h;
		changed_last = h;
	}
	h->change.added += info->n_added;
	h->change.deleted += info->n_deleted;
	pthread_mutex_unlock(&changes_lock);
	if (h->owner != NULL && h->owner->source.loop != NULL && h->owner->source.loop->in_pass)
		pev_end_pass(h->owner->source.loop);
}

int
pev_buffer_watch(struct pev_buffer *h, int on)
{
	PEV_VISIT(pev_visit_buffer(h));
	struct evbuffer *buf;
	int code = pev_buffer_enter(h, PEV_LOOK, &buf);
	if (code < 0)
		return code;
	if (on && h->callback == NULL) {
		h->callback = evbuffer_add_cb(buf, on_change, h);
		if (h->callback == NULL)
			return (int)pev_buffer_leave(buf, -ENOMEM);
	} else if (!on && h->callback != NULL) {
		evbuffer_remove_cb_entry(buf, h->callback);
		h->callback = NULL;
	}
	return (int)pev_buffer_leave(buf, 0);
}

/* The next change made by this thread: 1, or 0 when there is none. */
int
pev_buffer_next_change(struct pev_change *out)
{
	struct pev_buffer **link, *before = NULL, *h = NULL;
	if (__atomic_load_n(&changed_first, __ATOMIC_RELAXED) == NULL)
		return 0;
	pthread_mutex_lock(&changes_lock);
	for (link = &changed_first; *link != NULL; before = *link, link = &(*link)->next_changed) {
		if (!pthread_equal((*link)->changed_by, pthread_self()))
			continue;
		h = *link;
		*link = h->next_changed;
		if (changed_last == h)
			changed_last = before;
		h->is_changed = 0;
		*out = h->change;
		out->id = h->id;
		break;
	}
	pthread_mutex_unlock(&changes_lock);
	return h != NULL;
}
