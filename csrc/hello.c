/* What a client's first message asks for: a name, and protocols.
 *
 * A context for the name is chosen in the client-hello callback. OpenSSL's own callback for names comes too late: the
 * session was taken up by then, under the first context's policy (facts of TLS 1.5), and not all of a context is carried
 * over by SSL_set_SSL_CTX: how the peer is verified, versions, options and groups are a connection's own.
 */
#include "tls.h"

#include <ctype.h>

#define MOST_NAME 255

struct entry {
	char *name; /* in small letters; "*.b.test" for one label more than b.test */
	struct pev_tls_context *context;
};

struct pev_hello {
	int n;
	int strict; /* a name that isn't there is refused */
	struct entry entries[];
};

/* ------------------------------------------------------------------ the table */

struct pev_hello *
pev_hello_new(int room)
{
	struct pev_hello *hello = calloc(1, sizeof *hello + (size_t)room * sizeof hello->entries[0]);
	if (hello == NULL)
		errno = ENOMEM;
	return hello;
}

/* In the order of strcmp, within the room that there is. */
int
pev_hello_add(struct pev_hello *hello, const char *name, struct pev_tls_context *context)
{
	struct entry *entry = &hello->entries[hello->n];
	entry->name = strdup(name);
	if (entry->name == NULL)
		return -ENOMEM;
	entry->context = pev_tls_context_hold(context);
	hello->n++;
	return 0;
}

static void
free_hello(struct pev_hello *hello)
{
	int i;
	for (i = 0; hello != NULL && i < hello->n; i++) {
		free(hello->entries[i].name);
		pev_tls_context_free(hello->entries[i].context);
	}
	free(hello);
}

/* Takes the table; NULL: none. */
void
pev_hello_set(struct pev_tls_context *context, struct pev_hello *hello, int strict)
{
	struct pev_hello *before;
	if (hello != NULL)
		hello->strict = strict;
	pthread_mutex_lock(&context->lock);
	before = context->hello;
	context->hello = hello;
	pthread_mutex_unlock(&context->lock);
	free_hello(before);
}

static int
compare(const void *key, const void *entry)
{
	return strcmp(key, ((const struct entry *)entry)->name);
}

static struct entry *
find(struct pev_hello *hello, const char *name)
{
	char wildcard[MOST_NAME + 2];
	const char *dot = strchr(name, '.');
	struct entry *entry = bsearch(name, hello->entries, (size_t)hello->n, sizeof *entry, compare);
	if (entry != NULL || dot == NULL)
		return entry;
	snprintf(wildcard, sizeof wildcard, "*%s", dot);
	return bsearch(wildcard, hello->entries, (size_t)hello->n, sizeof *entry, compare);
}

/* The context for a name, held; NULL: none. refused: there shall be one. */
static struct pev_tls_context *
context_for(struct pev_tls_context *context, const char *name, int *refused)
{
	struct pev_tls_context *found = NULL;
	pthread_mutex_lock(&context->lock);
	if (context->hello != NULL) {
		struct entry *entry = find(context->hello, name);
		if (entry != NULL)
			found = pev_tls_context_hold(entry->context);
		*refused = entry == NULL && context->hello->strict;
	}
	pthread_mutex_unlock(&context->lock);
	return found;
}

/* ------------------------------------------------------------------ going over to another context */

/* Takes what it is given. */
static int
go_over(struct pev_ssl *s, struct pev_tls_context *to)
{
	SSL *ssl = s->ssl;
	int ok;
	if (to == s->context) {
		pev_tls_context_free(to);
		return 1;
	}
	pthread_mutex_lock(&to->lock);
	/* The session id context comes along: sessions of other policies aren't resumed under this one. */
	ok = pev_policy_refresh(to) == 0 && SSL_set_SSL_CTX(ssl, to->ctx) != NULL &&
	    SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(to->ctx)) &&
	    SSL_set_max_proto_version(ssl, (int)SSL_CTX_get_max_proto_version(to->ctx)) &&
	    (to->groups == NULL || SSL_set1_groups_list(ssl, to->groups));
	if (ok) {
		SSL_clear_options(ssl, SSL_get_options(ssl));
		SSL_set_options(ssl, SSL_CTX_get_options(to->ctx));
		SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(to->ctx));
		pev_verify_switch(ssl, to);
		pev_psk_switch(ssl, to);
	}
	pthread_mutex_unlock(&to->lock);
	if (!ok) {
		pev_tls_context_free(to);
		return 0;
	}
	pev_tls_context_free(s->context);
	s->context = to;
	return 1;
}

/* Python's answer to pev_ask_name, while that is being asked. */
int
pev_ssl_switch(struct pev_bev *h, struct pev_tls_context *context)
{
	PEV_VISIT(pev_visit_bev(h));
	if (!h->busy || h->open)
		return -PEV_EINPASS;
	ERR_clear_error();
	return go_over(pev_ssl_of(h), pev_tls_context_hold(context)) ? 0 : pev_tls_failed();
}

/* ------------------------------------------------------------------ the first message */

/* The name as it is compared: 1; 0: there is none; -1: it can't be one. */
static int
read_name(SSL *ssl, char *out)
{
	const unsigned char *data;
	size_t n, i;
	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &n))
		return 0;
	/* a list with one entry: its length, the kind, the length of the name */
	if (n < 5 || (size_t)(data[0] << 8 | data[1]) != n - 2 || data[2] != TLSEXT_NAMETYPE_host_name ||
	    (size_t)(data[3] << 8 | data[4]) != n - 5)
		return -1;
	data += 5;
	n -= 5;
	if (n > 0 && data[n - 1] == '.')
		n--;
	if (n == 0 || n > MOST_NAME)
		return -1;
	for (i = 0; i < n; i++) {
		if (data[i] <= ' ' || data[i] > '~')
			return -1;
		out[i] = (char)tolower(data[i]);
	}
	out[n] = '\0';
	return 1;
}

static int
refuse(int *alert, int which)
{
	*alert = which;
	return SSL_CLIENT_HELLO_ERROR;
}

static int
ask_name(struct pev_ssl *s, const char *name, int *alert)
{
	int answer;
	if (!pev_ask_begin(s))
		return refuse(alert, SSL_AD_INTERNAL_ERROR);
	answer = pev_ask_name(s->b.source.id, name);
	pev_ask_end(s);
	return answer == PEV_NAME_FINE ? SSL_CLIENT_HELLO_SUCCESS : refuse(alert, answer & 0xff);
}

static int
on_client_hello(SSL *ssl, int *alert, void *arg)
{
	struct pev_ssl *s = pev_ssl_of_ssl(ssl);
	struct pev_tls_context *found;
	char name[MOST_NAME + 1];
	int given, refused = 0;
	PEV_UNUSED(arg);
	if (s == NULL)
		return refuse(alert, SSL_AD_INTERNAL_ERROR);
	if (s->b.open)
		return SSL_CLIENT_HELLO_SUCCESS; /* a renegotiation stays where it is */
	given = read_name(ssl, name);
	if (given < 0)
		return refuse(alert, SSL_AD_DECODE_ERROR);
	found = given ? context_for(s->context, name, &refused) : NULL;
	if (refused)
		return refuse(alert, SSL_AD_UNRECOGNIZED_NAME);
	if (found != NULL && !go_over(s, found))
		return refuse(alert, SSL_AD_INTERNAL_ERROR);
	if (s->context->asks & PEV_ASK_NAME)
		return ask_name(s, given ? name : NULL, alert);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* Says that the name was looked at; what it led to was chosen before. */
static int
on_name(SSL *ssl, int *alert, void *arg)
{
	PEV_UNUSED(ssl);
	PEV_UNUSED(alert);
	PEV_UNUSED(arg);
	return SSL_TLSEXT_ERR_OK;
}

void
pev_hello_install(SSL_CTX *ctx)
{
	SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
}

/* ------------------------------------------------------------------ protocols */

/* The server's first choice that the client has too. What is given out is the client's: ours may be changed meanwhile. */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *theirs, unsigned length, void *arg)
{
	struct pev_ssl *s = pev_ssl_of_ssl(ssl);
	struct pev_tls_context *context;
	unsigned i, j;
	int found = 0;
	PEV_UNUSED(arg);
	if (s == NULL)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	context = s->context;
	pthread_mutex_lock(&context->lock);
	for (i = 0; !found && i < context->n_alpn; i += context->alpn[i] + 1u) {
		for (j = 0; !found && j < length; j += theirs[j] + 1u) {
			if (theirs[j] != context->alpn[i] || memcmp(theirs + j + 1, context->alpn + i + 1, theirs[j]) != 0)
				continue;
			*out = theirs + j + 1;
			*n = theirs[j];
			found = 1;
		}
	}
	pthread_mutex_unlock(&context->lock);
	return found ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* In the form of the wire: each with its length in front. */
int
pev_tls_set_alpn(struct pev_tls_context *context, const unsigned char *wire, unsigned n)
{
	unsigned char *copy;
	ERR_clear_error();
	if (!context->is_server) {
		int failed = SSL_CTX_set_alpn_protos(context->ctx, n ? wire : NULL, n); /* 0 is success here */
		return failed ? pev_tls_failed() : pev_tls_well();
	}
	copy = malloc(n ? n : 1);
	if (copy == NULL)
		return -ENOMEM;
	memcpy(copy, wire, n);
	pthread_mutex_lock(&context->lock);
	free(context->alpn);
	context->alpn = copy;
	context->n_alpn = n;
	SSL_CTX_set_alpn_select_cb(context->ctx, n ? on_alpn : NULL, NULL);
	pthread_mutex_unlock(&context->lock);
	return 0;
}

/* ------------------------------------------------------------------ what Python asks */

/* What the context's Python object answers from now on. */
void
pev_tls_ask(struct pev_tls_context *context, unsigned what, int on)
{
	pthread_mutex_lock(&context->lock);
	context->asks = on ? context->asks | what : context->asks & ~what;
	pthread_mutex_unlock(&context->lock);
}

/* The protocol that was agreed on, at most 255 bytes; its length, 0: none. */
int
pev_ssl_alpn(struct pev_bev *h, char *out)
{
	PEV_VISIT(pev_visit_bev(h));
	const unsigned char *data;
	unsigned n;
	int code = pev_ssl_look(h);
	if (code < 0)
		return code;
	SSL_get0_alpn_selected(pev_ssl_of(h)->ssl, &data, &n);
	memcpy(out, data, n);
	pev_ssl_looked(h);
	return (int)n;
}

/* The name that the client asked for: its length, 0: none, or not yet. */
int
pev_ssl_asked_name(struct pev_bev *h, char *out, int size)
{
	PEV_VISIT(pev_visit_bev(h));
	const char *name;
	int n = 0, code = pev_ssl_look(h);
	if (code < 0)
		return code;
	name = SSL_get_servername(pev_ssl_of(h)->ssl, TLSEXT_NAMETYPE_host_name);
	if (name != NULL)
		n = snprintf(out, (size_t)size, "%s", name);
	pev_ssl_looked(h);
	return n < size ? n : size - 1;
}
