/* event2/util.h: addresses, and the few functions that Python has no equal for. */

/* A socket address on its way between Python and C. */
struct pev_address {
	int family; /* AF_INET, AF_INET6, AF_UNIX; 0: no address */
	int port;
	unsigned flowinfo;
	unsigned scope_id;
	int length;     /* of text */
	char text[112]; /* the numeric host, or a path with its NULs */
};

int pev_parse_address(const char *text, struct pev_address *out);
int pev_set_nodelay(int fd);
int pev_set_nonblocking(int fd);
int pev_ready_stream(int fd, int is_ready, int nodelay);
