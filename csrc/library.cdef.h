/* The library as a whole: codes, versions, the log.
 *
 * Each NAME.cdef.h is read twice: by the C compiler as a header, and by build_ffi.py as the declarations that Python
 * sees. What only cffi understands stands between #ifdef PEV_CDEF and #endif. */

#ifdef PEV_CDEF
#define EVENT_LOG_DEBUG ...
#define EVENT_LOG_MSG ...
#define EVENT_LOG_WARN ...
#define EVENT_LOG_ERR ...
#endif

/* Codes of our own, beside the errno values. errors.py says what each one means. */
enum {
	PEV_ECLOSED = 10001, /* the object is closed */
	PEV_EFORKED,         /* a base in a forked child, before reinit() */
	PEV_ETHREAD,         /* another thread is running the loop */
	PEV_ERUNNING,        /* the loop is running already */
	PEV_EINPASS,         /* not from a callback that C waits for */
	PEV_EPEEKED,         /* memoryviews of the buffer still exist */
	PEV_EFROZEN,         /* that end of the buffer can't be changed */
	PEV_ETIME,           /* not a time that can be used */
	PEV_EPENDING,        /* only possible while the event isn't pending or active */
	PEV_EFAILED,         /* libevent said no and didn't say why */
	PEV_EEDGE,           /* edge- and level-triggered events on one descriptor */
	PEV_ETLS,            /* OpenSSL said no: see the queue */
	PEV_EFORKEDLOOP,     /* forked while another thread was running the loop */
	PEV_EKIND,           /* this kind of bufferevent can't do that */
	PEV_EFDS,            /* too few descriptors left for a base */
	PEV_EVALUE,          /* an argument that Python should have refused */
	PEV_ESIGNALS,        /* another base is receiving the process's signals */
	PEV_ERELAYED,        /* it is a part of a relay */
	PEV_ECARRIES,        /* another bufferevent stands on this one */
	PEV_ENOLIMIT,        /* it has no rate limit of its own */
	PEV_EDEEP,           /* PEV_MOST_LAYERS stand on each other */
	PEV_ESELF,           /* a buffer can't be moved onto itself */
	PEV_ELISTENS         /* a socket that listens, where one is wanted that carries bytes */
};

/* Calls go down through a stack of bufferevents, in C and in Python, and each layer takes some of both stacks. */
#define PEV_MOST_LAYERS 100

int pev_init(void);
unsigned pev_compiled_libevent(void);
unsigned pev_loaded_libevent(void);
const char *pev_loaded_libevent_name(void);
const char *pev_compiled_libevent_name(void);
int pev_event_abi_ok(void);
int pev_has_max_read(void);
int pev_method_name(int i, char *out, int size);
int pev_log_next(int *severity, char *out, int size);
void pev_log_debug(int enable);
void pev_free(void *p);
long pev_live_handles(void);
