/* What stands in a certificate, for those who read it as a dict.
 *
 * Names and values may hold any character, zero too, so each goes to Python with its length.
 */
#include "tls.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static void
put(BIO *out, const char *name, const void *value, int length)
{
	BIO_printf(out, "%d:%s%d:", (int)strlen(name), name, length);
	BIO_write(out, value, length);
}

static void
put_string(BIO *out, const char *name, const ASN1_STRING *string)
{
	unsigned char *utf8 = NULL;
	int n = ASN1_STRING_to_UTF8(&utf8, string);
	put(out, name, utf8, n > 0 ? n : 0);
	OPENSSL_free(utf8);
}

static void
put_name(BIO *out, char kind, X509_NAME *name)
{
	int i;
	for (i = 0; i < X509_NAME_entry_count(name); i++) {
		X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		char text[128];
		const ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(entry);
		int nid = OBJ_obj2nid(object);
		if (nid == NID_undef)
			OBJ_obj2txt(text, sizeof text, object, 1);
		else
			snprintf(text, sizeof text, "%s", OBJ_nid2ln(nid));
		BIO_printf(out, "%c%d,", kind, X509_NAME_ENTRY_set(entry));
		put_string(out, text, X509_NAME_ENTRY_get_data(entry));
	}
}

static void
put_time(BIO *out, const char *name, const ASN1_TIME *time)
{
	BIO *text = BIO_new(BIO_s_mem());
	char *data;
	long n;
	if (text == NULL)
		return;
	if (ASN1_TIME_print(text, time)) {
		n = BIO_get_mem_data(text, &data);
		BIO_write(out, "F0,", 3);
		put(out, name, data, (int)n);
	}
	BIO_free(text);
}

static void
put_serial(BIO *out, const X509 *certificate)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
	char *hex = number != NULL ? BN_bn2hex(number) : NULL;
	if (hex != NULL) {
		BIO_write(out, "F0,", 3);
		put(out, "serialNumber", hex, (int)strlen(hex));
	}
	OPENSSL_free(hex);
	BN_free(number);
}

static void
put_general(BIO *out, const GENERAL_NAME *name)
{
	const ASN1_OCTET_STRING *address;
	BIO_write(out, "A0,", 3);
	switch (name->type) {
	case GEN_DNS:
		put(out, "DNS", ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName));
		break;
	case GEN_EMAIL:
		put(out, "email", ASN1_STRING_get0_data(name->d.rfc822Name), ASN1_STRING_length(name->d.rfc822Name));
		break;
	case GEN_URI:
		put(out, "URI", ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
		    ASN1_STRING_length(name->d.uniformResourceIdentifier));
		break;
	case GEN_IPADD:
		address = name->d.iPAddress;
		put(out, "IP Address", ASN1_STRING_get0_data(address), ASN1_STRING_length(address));
		break;
	default:
		put(out, "other", "", 0);
	}
}

static void
put_alternatives(BIO *out, X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	int i;
	for (i = 0; i < sk_GENERAL_NAME_num(names); i++)
		put_general(out, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
}

static void
put_access(BIO *out, X509 *certificate)
{
	AUTHORITY_INFO_ACCESS *all = X509_get_ext_d2i(certificate, NID_info_access, NULL, NULL);
	int i;
	for (i = 0; i < sk_ACCESS_DESCRIPTION_num(all); i++) {
		ACCESS_DESCRIPTION *one = sk_ACCESS_DESCRIPTION_value(all, i);
		int nid = OBJ_obj2nid(one->method);
		const ASN1_IA5STRING *uri = one->location->type == GEN_URI ? one->location->d.uniformResourceIdentifier : NULL;
		if (uri == NULL || (nid != NID_ad_OCSP && nid != NID_ad_ca_issuers))
			continue;
		BIO_write(out, "L0,", 3);
		put(out, nid == NID_ad_OCSP ? "OCSP" : "caIssuers", ASN1_STRING_get0_data(uri), ASN1_STRING_length(uri));
	}
	AUTHORITY_INFO_ACCESS_free(all);
}

static void
put_all(BIO *out, X509 *certificate)
{
	char version[12];
	int n = snprintf(version, sizeof version, "%ld", X509_get_version(certificate) + 1);
	put_name(out, 'S', X509_get_subject_name(certificate));
	put_name(out, 'I', X509_get_issuer_name(certificate));
	BIO_write(out, "F0,", 3);
	put(out, "version", version, n);
	put_serial(out, certificate);
	put_time(out, "notBefore", X509_get0_notBefore(certificate));
	put_time(out, "notAfter", X509_get0_notAfter(certificate));
	put_alternatives(out, certificate);
	put_access(out, certificate);
}

char *
pev_certificate_fields(const unsigned char *der, long length, int *n)
{
	const unsigned char *at = der;
	X509 *certificate;
	BIO *out;
	char *data, *copy = NULL;
	ERR_set_mark();
	certificate = d2i_X509(NULL, &at, length);
	out = certificate != NULL ? BIO_new(BIO_s_mem()) : NULL;
	if (out != NULL) {
		put_all(out, certificate);
		*n = (int)BIO_get_mem_data(out, &data);
		copy = malloc((size_t)*n + 1);
		if (copy != NULL)
			memcpy(copy, data, (size_t)*n);
	}
	BIO_free(out);
	X509_free(certificate);
	ERR_pop_to_mark();
	return copy;
}
