/* event2/buffer.h */

#ifdef PEV_CDEF
#define EVBUFFER_EOL_ANY ...
#define EVBUFFER_EOL_CRLF ...
#define EVBUFFER_EOL_CRLF_STRICT ...
#define EVBUFFER_EOL_LF ...
#define EVBUFFER_EOL_NUL ...
#endif

/* In a code: it is about the other of two buffers. */
#define PEV_OTHER 0x10000

struct pev_buffer;
struct pev_bev;
struct pev_segment;

/* A stretch of a buffer's memory. */
struct pev_span {
	void *start;
	size_t length;
};

/* What happened to a buffer since its callbacks were last told. */
struct pev_change {
	uint64_t id;
	size_t orig_size;
	size_t added;
	size_t deleted;
};

struct pev_buffer *pev_buffer_new(uint64_t id);
struct pev_buffer *pev_buffer_view(struct pev_bev *owner, int is_output, uint64_t id);
void pev_buffer_drop(struct pev_buffer *h);
int pev_buffer_close(struct pev_buffer *h);
int pev_buffer_check(struct pev_buffer *h);

long long pev_buffer_length(struct pev_buffer *h);
long long pev_buffer_contiguous(struct pev_buffer *h);
int pev_buffer_add(struct pev_buffer *h, const char *data, size_t n);
int pev_buffer_prepend(struct pev_buffer *h, const char *data, size_t n);
int pev_buffer_drain(struct pev_buffer *h, size_t n);
long long pev_buffer_remove(struct pev_buffer *h, char *out, size_t n);
long long pev_buffer_copyout(struct pev_buffer *h, char *out, size_t n, size_t start);
int pev_buffer_expand(struct pev_buffer *h, size_t n);
int pev_buffer_pullup(struct pev_buffer *h, size_t n);
int pev_buffer_add_buffer(struct pev_buffer *h, struct pev_buffer *from);
int pev_buffer_prepend_buffer(struct pev_buffer *h, struct pev_buffer *from);
int pev_buffer_add_buffer_reference(struct pev_buffer *h, struct pev_buffer *from);
long long pev_buffer_remove_buffer(struct pev_buffer *h, struct pev_buffer *to, size_t n);
int pev_buffer_readline(struct pev_buffer *h, int style, char **line, size_t *n);
long long pev_buffer_search(struct pev_buffer *h, const char *what, size_t n, size_t start, size_t end);
long long pev_buffer_search_eol(struct pev_buffer *h, int style, size_t start, size_t *eol_length);
long long pev_buffer_read_fd(struct pev_buffer *h, int fd, int n);
long long pev_buffer_write_fd(struct pev_buffer *h, int fd, long long n);
int pev_buffer_freeze(struct pev_buffer *h, int at_start);
int pev_buffer_unfreeze(struct pev_buffer *h, int at_start);
long long pev_buffer_get_max_read(struct pev_buffer *h);
int pev_buffer_set_max_read(struct pev_buffer *h, size_t n);

int pev_buffer_peek(struct pev_buffer *h, size_t n, size_t start, struct pev_span *out, int max);
int pev_buffer_reserve(struct pev_buffer *h, size_t n, struct pev_span *out, int max);
int pev_buffer_commit(struct pev_buffer *h, const struct pev_span *spans, int n);
int pev_buffer_lend(struct pev_buffer *h);
void pev_buffer_give_back(struct pev_buffer *h);

int pev_buffer_watch(struct pev_buffer *h, int on);
int pev_buffer_next_change(struct pev_change *out);

int pev_buffer_add_reference(struct pev_buffer *h, const void *data, size_t n, uint64_t token);
int pev_take_releases(uint64_t *out, int max);

struct pev_segment *pev_segment_new(int fd, long long offset, long long length, uint64_t token);
void pev_segment_close(struct pev_segment *segment);
void pev_segment_drop(struct pev_segment *segment);
long long pev_segment_length(const struct pev_segment *segment);
int pev_buffer_add_segment(struct pev_buffer *h, struct pev_segment *segment, long long offset, long long length);
