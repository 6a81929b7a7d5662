/* Bufferevents: the handle, and what a kind other than the plain socket does differently. */
#ifndef PEV_BUFFEREVENT_H
#define PEV_BUFFEREVENT_H

struct pev_bev {
	struct pev_source source;
	struct bufferevent *bev;  /* NULL once closed */
	unsigned char options;    /* as Python gave them */
	unsigned char wants;      /* EV_READ, EV_WRITE: Python has a callback */
	unsigned char ended;      /* BEV_EVENT_EOF, BEV_EVENT_ERROR once they came */
	unsigned char connecting; /* PEV_CONNECT_... */
	unsigned char made_fd;    /* connect made the socket */
	unsigned char paused;     /* reading stopped at the high mark until something is drained */
	unsigned char lingering;  /* closed by Python, with something left to send */
	unsigned char open;       /* the handshake, where there is one, is done */
	unsigned char fast;       /* takes part in fast.c */
	unsigned char own_limits; /* EV_READ, EV_WRITE: Python has set the most of one read or write */
	unsigned char busy;       /* OpenSSL waits for an answer about it */
	unsigned char leaving;    /* PEV_LEAVE_...: on its loop's list */
	struct pev_bev *next_leaving;
	unsigned char waiting;    /* on its loop's list */
	unsigned char sends_much; /* the last that came in was large */
	unsigned char cut;        /* nothing more may be written: the end was said, or nobody is there who could get it */
	int exports;              /* memoryviews lent out over input or output */
	unsigned fresh_start, fresh_length; /* fresh.c: came in in this pass, and wasn't taken yet */
	uint64_t sent_before;     /* the pass before which something was sent at once */
	int read_error, send_error; /* errno of what the socket told us, and Python wasn't told yet */
	unsigned expected;        /* bytes of the next read, 0 before the first */
	TAILQ_ENTRY(pev_bev) next_fresh, next_waiting;
	struct evbuffer_cb_entry *drain_callback, *output_callback;
	struct pev_buffer *views[2]; /* Python's input and output */
	struct event *deadline;      /* of a close that lingers */
	double patience;             /* for closing, in seconds without headway; PEV_GIVEN_UP: what is left is lost */
	long long headway;           /* when the deadline was set */
	const struct pev_layer *layer; /* what a kind other than the plain socket does differently */
	struct pev_bev *under;         /* what it stands on */
	struct pev_bev *over;          /* what stands on it, and goes first */
	struct pev_limits *limits;     /* rate limits, NULL if there never were any */
	struct pev_relay *relay;       /* what it is a part of */
	/* Who has the callbacks when the connection stands: a TLS layer, for instance. */
	bufferevent_data_cb upper_read, upper_write;
	bufferevent_event_cb upper_event;
	void *upper_arg;
	struct evbuffer_cb_entry *sent_callback; /* of one above, whose close waits for this output */
};

#define PEV_GIVEN_UP (-1)

enum { PEV_LEAVE_NOT, PEV_LEAVE_CLOSE, PEV_LEAVE_FREE };
enum { PEV_NOT_CONNECTING, PEV_CONNECTING, PEV_CONNECT_FAILED };

struct pev_layer {
	/* An event, before it is noted: what is left of it, 0 for nothing. */
	short (*on_event)(struct pev_bev *h, short what, int error);
	/* Closing, and the output is empty: 1 when nothing more is to be sent, 0 when it will call pev_bev_free later. */
	int (*on_drained)(struct pev_bev *h);
	/* Nothing more shall be written, but read; NULL: flush. */
	void (*end_writing)(struct pev_bev *h);
	/* The one below is open. */
	void (*begin)(struct pev_bev *h);
	/* Something was written. */
	void (*on_write)(struct pev_bev *h);
	/* Something was read. */
	void (*on_read)(struct pev_bev *h);
	/* Nothing more shall be read. */
	void (*stop_reading)(struct pev_bev *h);
	/* Just before, and just after the bufferevent is freed. */
	void (*before_free)(struct pev_bev *h);
	void (*after_free)(struct pev_bev *h, struct pev_bev *under);
	/* The handle is about to be freed. */
	void (*on_drop)(struct pev_bev *h);
	/* Reading or writing is to be switched on: 1 when the layer sees to it later. */
	int (*enable_later)(struct pev_bev *h, short events);
	/* Reading or writing was switched on. */
	void (*on_enable)(struct pev_bev *h);
	/* An event while it is being closed: what is left of it. */
	short (*sift)(struct pev_bev *h, short what);
	/* Moves what it can, regardless of marks: 1 when anything was moved. */
	int (*flush)(struct pev_bev *h, int iotype, int mode);
	/* Closing: whether the output is still on its way down; without this: while there is any. */
	int (*is_sending)(struct pev_bev *h);
	/* Switches or marks were changed, or bytes were written. */
	void (*on_change)(struct pev_bev *h);
	/* Whether Python is called from within, so that freeing must wait. */
	int (*is_busy)(const struct pev_bev *h);
	/* It tells the end of the one below when it has taken everything from there; libevent's TLS tells it at once. */
	int waits_for_all;
	/* Of pairs: the other end, and what its bytes come from, which may outlive it. NULL: there is none. */
	struct pev_bev *(*partner)(const struct pev_bev *h);
	struct bufferevent *(*source)(const struct pev_bev *h);
	/* Its events watch a descriptor, as a plain socket's do. */
	int has_descriptor;
	/* A TLS filter: records.c may move its bytes. */
	int is_records;
	/* How many bytes it has given to the one below, or to the system; NULL: what leaves its output is given. */
	long long (*given)(struct pev_bev *h);
	/* Whether moving bytes would change memory that somebody looks at, beside its own. */
	int (*peeked)(const struct pev_bev *h);
};

/* Whether memory may be shown that moves when bytes come or go here. */
static inline int
pev_bev_peeked(const struct pev_bev *h)
{
	for (; h != NULL; h = h->under)
		if (h->exports || (h->layer != NULL && h->layer->peeked != NULL && h->layer->peeked(h)))
			return 1;
	return 0;
}

/* Switches and marks of those without a descriptor may let bytes through inside the very call. */
static inline int
pev_bev_moves_at_once(const struct pev_bev *h)
{
	return h->layer != NULL;
}

void pev_bev_opened(struct pev_bev *h);
int pev_bev_state(const struct pev_bev *h);
int pev_bev_asks(const struct pev_bev *h);
int pev_bev_usable(struct pev_bev *h);
int pev_bev_usable_alone(struct pev_bev *h);
int pev_bev_may_carry(struct pev_bev *h);
int pev_bev_freeable(struct pev_bev *h);
void pev_bev_listen(struct pev_bev *h);
void pev_bev_init(struct pev_bev *h, struct pev_loop *loop, struct bufferevent *bev, int options, uint64_t id,
    const struct pev_layer *layer);
int pev_bev_c_options(int options);
int pev_bev_filter_options(int options);
int pev_bev_share_lock(struct bufferevent *bev, int options);
int pev_bev_is_socket(const struct pev_bev *h);
int pev_bev_has_descriptor(const struct pev_bev *h);
short pev_bev_sift_events(struct pev_bev *h, short what, int error);
void pev_bev_note_events(struct pev_bev *h, short what, int error);
void pev_bev_changed(struct pev_bev *h);
int pev_bev_hears(const struct pev_bev *h);
int pev_bev_has_output(const struct pev_bev *h);

/* ---- watermark.c ---- */

void pev_bev_pause_reading(struct pev_bev *h);
void pev_bev_resume_reading(struct pev_bev *h);

static inline int
pev_bev_is_at_high_mark(const struct pev_bev *h)
{
	size_t high = h->bev->wm_read.high;
	return high && evbuffer_get_length(h->bev->input) >= high;
}

/* Its reader took nothing: libevent would call that again and again. */
static inline void
pev_bev_hold(struct pev_bev *h)
{
	if (!h->paused && pev_bev_is_at_high_mark(h))
		pev_bev_pause_reading(h);
}

/* ---- socket.c ---- */

void pev_bev_take_callbacks(struct pev_bev *h);
void pev_bev_connect_event(struct pev_bev *h, short what, int error);
void pev_bev_close_descriptor(struct pev_bev *h);
int pev_socket_give(struct pev_bev *h, int fd);

/* ---- closing.c ---- */

void pev_bev_free(struct pev_bev *h);
void pev_bev_leave_all(struct pev_loop *loop);
void pev_bev_shut(struct pev_source *source);
void pev_bev_drop_now(struct pev_source *source);

/* ---- linger.c ---- */

void pev_linger_patience(struct pev_bev *h, double seconds);
int pev_linger_start(struct pev_bev *h, double seconds);
void pev_linger_end(struct pev_bev *h);
int pev_bev_is_busy(const struct pev_bev *h);
void pev_bev_step(struct pev_bev *h);
int pev_below_is_sent(struct pev_bev *h);
void pev_call_when_sent(struct pev_bev *h);
int pev_end_is_early(const struct pev_bev *h);

/* ---- farewell.c ---- */

void pev_farewell(struct pev_loop *loop, int fd, double seconds);
size_t pev_unsent(int fd);

/* ---- lastwords.c ---- */

void pev_bev_last_words(struct pev_bev *h);

/* ---- idle.c ---- */

void pev_time_output(struct pev_bev *h, const struct evbuffer_cb_info *info);

/* ---- relay.c ---- */

void pev_relay_read(struct pev_bev *from);
void pev_relay_passed(struct pev_bev *from, const char *data, size_t n, size_t sent);
struct pev_bev *pev_relay_partner(const struct pev_bev *h);
void pev_relay_written(struct pev_bev *to);
void pev_relay_event(struct pev_bev *h, short what, int error);
void pev_relay_gone(struct pev_bev *h);

#endif
