/* What stands in a certificate, for those who read it as a dict. */

/* Text that Python frees with pev_free: fields of the form KIND LENGTH:NAME LENGTH:VALUE. NULL: it isn't a certificate. */
char *pev_certificate_fields(const unsigned char *der, long length, int *n);
