"""The part of a TLSContext that has certificates: its own, and those it trusts."""

from __future__ import annotations

import ssl
from typing import Any

from .._handle import Handle
from .._libevent import ffi, lib
from ..errors import check, no_key_error
from .decoding import decoded
from .material import Material, Password, Path, certificates, directory, is_path, key, readable, secret


def taken(out: Any, length: int) -> bytes | None:
    """The bytes that C has made, which are freed here; None: there are none."""
    if not out:
        return None
    try:
        return bytes(ffi.buffer(out, length))
    finally:
        lib.pev_free(out)


class Certificates(Handle):
    """See TLSContext. Its parts stand on one another, since only one line of classes may have slots."""

    __slots__ = ("_server_side",)

    _server_side: bool

    def load_cert_chain(self, certfile: Material, keyfile: Material | None = None, password: Password = None) -> None:
        """The certificate to show, and its key (``SSL_CTX_use_cert_and_key``).

        It may be called again: connections made later show the new certificate, those that are there keep theirs, and where
        this fails all stays as it was. A certificate with another kind of key (RSA, EC) stands beside the one before, and
        each peer is shown the one that it can verify.

        Args:
            certfile: The certificate, then those between it and the authority: the path of a PEM or DER file; PEM or DER as
                bytes; a certificate of ``cryptography``'s, or a list of them.
            keyfile: Its key: the same kinds. None: in certfile too.
            password: What the key is encrypted with: text, or what returns it. Nobody is ever asked on the terminal.

        Raises:
            OSError: A file can't be read.
            TLSError: It is neither PEM nor DER, the password is wrong, the key is too weak, or isn't the certificate's.
        """
        chain = certificates(certfile, "certfile")
        private = chain if keyfile is None else key(keyfile, "keyfile")
        if _lacks_key(private, is_chain=keyfile is None):
            raise no_key_error(_shown(certfile) if keyfile is None else _shown(keyfile, "the key given"))
        word = secret(password)
        text = ffi.NULL if word is None else word
        doing = f"loading {_shown(certfile)}" + (
            " with the key in it" if keyfile is None else f" with {_shown(keyfile, 'the key given')}"
        )
        check(lib.pev_tls_use(self._h, chain, len(chain), private, len(private), text, len(word or b"")), doing)

    def load_pkcs12(self, file: Material, password: Password = None) -> None:
        """The certificate to show, its key, and those between it and the authority, from PKCS#12 (``PKCS12_parse``).

        Args:
            file: A path, or the bytes.
            password: What it is encrypted with. None: nothing, or an empty one.

        Raises:
            OSError: The file can't be read.
            TLSError: It isn't PKCS#12, the password is wrong, or something is missing in it.
        """
        if not is_path(file) and not isinstance(file, bytes | bytearray):
            raise TypeError(f"file must be a path or bytes, not {type(file).__name__}")
        data = certificates(file, "file")
        word = secret(password) or b""
        if b"\0" in word:
            raise ValueError("password must not contain a zero byte")
        check(lib.pev_tls_use_pkcs12(self._h, data, len(data), word), f"loading {_shown(file)}")

    @property
    def certificate(self) -> bytes | None:
        """The certificate that is shown, as DER (``SSL_CTX_get0_certificate``); the last one loaded. None: there is none."""
        out = ffi.new("unsigned char **")
        n = check(lib.pev_tls_certificate(self._h, out), self)
        return taken(out[0], n)

    # ------------------------------------------------------------ authorities

    def load_verify_locations(
        self, cafile: Path | None = None, capath: Path | None = None, cadata: Material | None = None
    ) -> None:
        """Trust these authorities too (``SSL_CTX_load_verify_locations``).

        Args:
            cafile: A PEM file.
            capath: A directory of PEM files, named by hash as OpenSSL wants it.
            cadata: PEM text, PEM or DER bytes, a certificate of ``cryptography``'s, or a list of them.

        Raises:
            OSError: The file can't be read.
            TLSError: It holds no certificate.
            TypeError: None of the three is given.
        """
        if cafile is None and capath is None and cadata is None:
            raise TypeError("cafile, capath and cadata must not all be None")
        file = ffi.NULL if cafile is None else readable(cafile)
        folder = ffi.NULL if capath is None else directory(capath)
        if cafile is not None or capath is not None:
            code = lib.pev_tls_load_verify_locations(self._h, file, folder)
            check(code, f"loading {cafile if cafile is not None else capath!r}")
        if cadata is not None:
            data = cadata.encode("ascii", "replace") if isinstance(cadata, str) else certificates(cadata, "cadata")
            check(lib.pev_tls_trust(self._h, data, len(data)), "loading cadata")

    def load_client_ca(self, client_ca: Material) -> None:
        """Trust these authorities, and name them to clients, so that those can choose their certificate
        (``SSL_CTX_add_client_CA``). It asks nobody for a certificate: that is verify_mode.

        Args:
            client_ca: A path, PEM or DER bytes, a certificate of ``cryptography``'s, or a list of them.
        """
        data = certificates(client_ca, "client_ca")
        check(lib.pev_tls_trust(self._h, data, len(data)), f"loading {_shown(client_ca)}")
        check(lib.pev_tls_add_client_ca(self._h, data, len(data)), f"loading {_shown(client_ca)}")

    def load_default_certs(self, purpose: ssl.Purpose | None = None) -> None:
        """Trust the authorities that the system trusts (``SSL_CTX_set_default_verify_paths``).

        Args:
            purpose: As in stdlib's ssl; OpenSSL makes no difference between them.
        """
        if purpose is not None and not isinstance(purpose, ssl.Purpose):
            raise TypeError(f"purpose must be an ssl.Purpose or None, not {type(purpose).__name__}")
        check(lib.pev_tls_load_default_certs(self._h), "loading the system's certificates")

    def set_default_verify_paths(self) -> None:
        """The same as load_default_certs()."""
        self.load_default_certs()

    def _trusted(self) -> list[tuple[bool, bool, bytes]]:
        """For all that the context has: whether it is a list of the revoked, an authority, and its bytes."""
        found: list[tuple[bool, bool, bytes]] = []
        out = ffi.new("struct pev_trusted *")
        while lib.pev_tls_trusted(self._h, len(found), out):
            found.append((bool(out.is_crl), bool(out.is_ca), taken(out.der, out.length) or b""))
        return found

    def cert_store_stats(self) -> dict[str, int]:
        """How many certificates (``x509``), of them authorities (``x509_ca``), and lists of revoked ones (``crl``) were
        loaded. What is in directories is counted once it was needed.
        """
        all_of_them = self._trusted()
        return {
            "x509": sum(not crl for crl, _, _ in all_of_them),
            "crl": sum(crl for crl, _, _ in all_of_them),
            "x509_ca": sum(ca for _, ca, _ in all_of_them),
        }

    def get_ca_certs(self, binary_form: bool = False) -> list[Any]:
        """The authorities that were loaded. What is in directories is there once it was needed.

        Args:
            binary_form: As DER; otherwise as ``TLSBufferEvent.getpeercert()`` gives certificates.
        """
        return [der if binary_form else decoded(der) for _, ca, der in self._trusted() if ca]


def _shown(given: object, otherwise: str = "the certificate given") -> str:
    return repr(given) if is_path(given) else otherwise


def _lacks_key(data: bytes, *, is_chain: bool) -> bool:
    """Whether one can see that there is no private key in it: PEM without one, or a certificate as DER."""
    if data.startswith(b"\x30"):
        return is_chain
    return b"-----BEGIN" in data and b"PRIVATE KEY-----" not in data
