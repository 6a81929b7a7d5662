/* Relays: everything that comes in at one bufferevent goes out at another. */

enum { PEV_NOTE_RELAYED = 2 };

struct pev_relay;

/* How a relay stands, or ended. */
struct pev_relay_record {
	uint64_t sent;     /* bytes from the first to the second */
	uint64_t received; /* and back */
	int culprit;       /* 0 or 1: which of them failed, or was closed; -1: none did */
	int what;          /* its event; 0: it was closed */
	int error;         /* and errno */
	int ended;
};

struct pev_relay *pev_relay_new(struct pev_bev *one, struct pev_bev *other, uint64_t id);
void pev_relay_drop(struct pev_relay *r);
int pev_relay_stop(struct pev_relay *r);
void pev_relay_look(struct pev_relay *r, struct pev_relay_record *out);
