/* event2/bufferevent.h: what all kinds share, and the plain socket. */

#ifdef PEV_CDEF
#define BEV_EVENT_READING ...
#define BEV_EVENT_WRITING ...
#define BEV_EVENT_EOF ...
#define BEV_EVENT_ERROR ...
#define BEV_EVENT_TIMEOUT ...
#define BEV_EVENT_CONNECTED ...
#define BEV_OPT_CLOSE_ON_FREE ...
#define BEV_OPT_THREADSAFE ...
#define BEV_OPT_DEFER_CALLBACKS ...
#define BEV_OPT_UNLOCK_CALLBACKS ...
#define BEV_NORMAL ...
#define BEV_FLUSH ...
#define BEV_FINISHED ...
#define BEV_OK ...
#define BEV_NEED_MORE ...
#define BEV_ERROR ...
#define BEV_TRIG_IGNORE_WATERMARKS ...
#define BEV_TRIG_DEFER_CALLBACKS ...
#endif

/* What a bufferevent's entry in the ready list says; the BEV_EVENT bits stand PEV_NOTE_EVENTS further up. */
enum {
	PEV_NOTE_READ = 2,
	PEV_NOTE_WRITE = 4,
	PEV_NOTE_CONNECT_FAILED = 8,
	PEV_NOTE_GONE = 16, /* a close that lingered is over */
	PEV_NOTE_SESSION = 64, /* a TLS session has come: pev_ssl_take_session */
	PEV_NOTE_PLAIN = 128, /* both sides have ended TLS */
	PEV_NOTE_EVENTS = 8
};

enum {
	PEV_SENT = 0, /* pev_bev_write and _write_buffer: all of it, and nothing else has changed */
	PEV_KEPT = 1, /* it waits in the output, or buffers have changed */
	PEV_LONG = 2, /* pev_bev_write_short: nothing was done, since it may take longer */
	PEV_ASK = 0   /* pev_bev_take_fresh: pev_bev_take knows; pev_bev_take: pev_bev_read does */
};

struct pev_bev;
struct pev_buffer;
struct pev_address;

struct pev_bev *pev_bev_socket_new(struct pev_loop *loop, int fd, int options, uint64_t id);
void pev_bev_drop(struct pev_bev *h);
int pev_bev_close(struct pev_bev *h, double seconds);
int pev_bev_check(struct pev_bev *h);
int pev_bev_usable_alone(struct pev_bev *h);

int pev_bev_want(struct pev_bev *h, int callbacks);
int pev_bev_enable(struct pev_bev *h, int events);
int pev_bev_disable(struct pev_bev *h, int events);
int pev_bev_enabled(struct pev_bev *h);
int pev_bev_ended(struct pev_bev *h);
int pev_bev_connecting(struct pev_bev *h);

int pev_bev_write(struct pev_bev *h, const char *data, size_t n);
int pev_bev_write_short(struct pev_bev *h, const char *data, size_t n);
int pev_bev_write_fresh(struct pev_bev *h, struct pev_buffer *from);
int pev_bev_write_buffer(struct pev_bev *h, struct pev_buffer *from);
long long pev_bev_take_fresh(struct pev_bev *h);
int pev_bev_keep_error(struct pev_bev *h, int error);
long long pev_bev_take(struct pev_bev *h);
long long pev_bev_read(struct pev_bev *h, char *out, size_t n);
int pev_bev_read_buffer(struct pev_bev *h, struct pev_buffer *to);
long long pev_bev_input_length(struct pev_bev *h);
long long pev_bev_output_length(struct pev_bev *h);

int pev_bev_set_timeouts(struct pev_bev *h, double read, double write);
int pev_bev_set_watermark(struct pev_bev *h, int events, size_t low, size_t high);
int pev_bev_get_watermark(struct pev_bev *h, int event, size_t *low, size_t *high);
int pev_bev_set_priority(struct pev_bev *h, int priority);
int pev_bev_get_priority(struct pev_bev *h);
int pev_bev_flush(struct pev_bev *h, int iotype, int mode);
int pev_bev_trigger(struct pev_bev *h, int iotype, int options);
int pev_bev_trigger_event(struct pev_bev *h, int what);
int pev_bev_set_max_single(struct pev_bev *h, int is_write, size_t n);
long long pev_bev_get_max_single(struct pev_bev *h, int is_write);

int pev_bev_get_fd(struct pev_bev *h);
int pev_bev_get_name(struct pev_bev *h, int of_peer, struct pev_address *out);
int pev_bev_set_fd(struct pev_bev *h, int fd);
int pev_bev_connect(struct pev_bev *h, const struct pev_address *address);
int pev_bev_expect_connect(struct pev_bev *h);
int pev_bev_fail(struct pev_bev *h, int what, int error);
