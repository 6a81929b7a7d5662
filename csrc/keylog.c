/* A file of secrets, for those who debug (SSLKEYLOGFILE of browsers). Whoever can read it can read the connections: only
 * its owner can. Each line is written at once, so that several processes may share the file. */
#include "tls.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MOST_LINE 1024

static void
on_line(const SSL *ssl, const char *line)
{
	struct pev_tls_context *context = pev_tls_context_of(SSL_get_SSL_CTX(ssl));
	char out[MOST_LINE];
	int n = snprintf(out, sizeof out, "%s\n", line);
	ssize_t written;
	if (context == NULL || n <= 0 || n >= MOST_LINE)
		return;
	pthread_mutex_lock(&context->lock);
	if (context->keylog >= 0) {
		written = write(context->keylog, out, (size_t)n);
		PEV_UNUSED(written);
	}
	pthread_mutex_unlock(&context->lock);
}

static int
open_private(const char *path)
{
	int code, fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0) {
		code = -errno;
		close(fd);
		return code;
	}
	return fd;
}

/* NULL: none any more */
int
pev_tls_set_keylog(struct pev_tls_context *context, const char *path)
{
	int before, fd = path != NULL ? open_private(path) : -1;
	if (path != NULL && fd < 0)
		return fd;
	pthread_mutex_lock(&context->lock);
	before = context->keylog;
	context->keylog = fd;
	SSL_CTX_set_keylog_callback(context->ctx, fd >= 0 ? on_line : NULL);
	pthread_mutex_unlock(&context->lock);
	if (before >= 0)
		close(before);
	return 0;
}
