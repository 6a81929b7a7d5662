/* Sources: what Python can be told about. */
#ifndef PEV_SOURCE_H
#define PEV_SOURCE_H

/* One thing that Python can be told about. It is the first member of each handle that has something to tell. */
struct pev_source {
	struct pev_loop *loop; /* NULL once the loop is closed */
	uint64_t id;           /* Python's name for it; never used twice in a process */
	unsigned noted;        /* what happened and was not yet handed to Python */
	int detail;            /* an errno or a count, by kind */
	unsigned due;          /* what was handed over, in that pass */
	uint64_t due_pass;
	unsigned char in_loop; /* a member of loop->children */
	unsigned char layer;   /* pev_loop_close shuts smaller ones first */
	/* Frees the object when the loop closes; the handle itself stays. */
	void (*shut)(struct pev_source *);
	/* Frees object and handle: Python has dropped it. */
	void (*drop)(struct pev_source *);
	TAILQ_ENTRY(pev_source) next_noted;
	TAILQ_ENTRY(pev_source) next_child;
	struct pev_source *next_grave;
};

enum {
	PEV_LAYER_RELAY,
	PEV_LAYER_BUFFEREVENT,
	PEV_LAYER_FAREWELL,
	PEV_LAYER_GROUP,
	PEV_LAYER_LISTENER,
	PEV_LAYER_DNS,
	PEV_LAYER_EVENT,
	PEV_LAYER_DEADLINE,
	PEV_LAYERS
};

TAILQ_HEAD(pev_sources, pev_source);

/* ---- source.c ---- */

void pev_source_init(struct pev_source *source, struct pev_loop *loop, uint64_t id, int layer,
    void (*shut)(struct pev_source *), void (*drop)(struct pev_source *));
void pev_source_forget(struct pev_source *source);
void pev_source_forget_safely(struct pev_source *source);
void pev_source_leave(struct pev_source *source);
void pev_source_discard(struct pev_source *source);
void pev_note(struct pev_source *source, unsigned what, int priority);
void pev_note_fresh(struct pev_source *source, size_t n, int priority);
void pev_end_pass(struct pev_loop *loop);
void pev_end_poll(struct pev_loop *loop, int priority);
int pev_default_priority(const struct pev_loop *loop);
void pev_empty_graves(struct pev_loop *loop);

#endif
