"""TLSContext: what connections have in common: certificates, who is trusted, which versions and ciphers.

The members have the names that stdlib's ssl.SSLContext gave them; ours begins safe: a client verifies the chain and the host
name, nobody speaks less than TLS 1.2, compresses, or lets the peer renegotiate.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from collections.abc import Callable
from typing import Any, Self, TypeAlias

from .._libevent import ffi, lib
from ..errors import check, check_pointer
from .context_sessions import ContextSessions

Path: TypeAlias = "str | bytes | os.PathLike[str]"
Password: TypeAlias = "str | bytes | bytearray | Callable[[], str | bytes | bytearray] | None"

_VERSIONS = {
    ssl.TLSVersion.TLSv1: lib.TLS1_VERSION,
    ssl.TLSVersion.TLSv1_1: lib.TLS1_1_VERSION,
    ssl.TLSVersion.TLSv1_2: lib.TLS1_2_VERSION,
    ssl.TLSVersion.TLSv1_3: lib.TLS1_3_VERSION,
}
_BACK = {number: version for version, number in _VERSIONS.items()}
_VERIFY = {
    ssl.CERT_NONE: lib.SSL_VERIFY_NONE,
    ssl.CERT_OPTIONAL: lib.SSL_VERIFY_PEER,
    ssl.CERT_REQUIRED: lib.SSL_VERIFY_PEER | lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
}
_MOST_PASSWORD = 1023  # OpenSSL's PEM_BUFSIZE


class TLSContext(ContextSessions):
    """What TLS connections have in common (``SSL_CTX``). Made by ``client()`` or ``server()``.

    Connections take it as it is when they are made; what changes later holds for later ones. Threads and bases may share it.
    """

    __slots__ = ("_check_hostname", "_server_side", "_verify_mode")

    _check_hostname: bool
    _server_side: bool
    _verify_mode: ssl.VerifyMode

    def __init__(self) -> None:
        raise TypeError("a TLSContext isn't made itself: use TLSContext.client() or TLSContext.server()")

    @classmethod
    def _made(cls, *, server_side: bool) -> Self:
        self = cls.__new__(cls)
        self._server_side = server_side
        self._check_hostname = not server_side
        self._verify_mode = ssl.CERT_NONE if server_side else ssl.CERT_REQUIRED
        self._h = check_pointer(lib.pev_tls_context_new(server_side), "making a TLSContext")
        self._begin_sessions()
        return self

    @classmethod
    def client(
        cls,
        cafile: Path | None = None,
        capath: Path | None = None,
        cadata: str | bytes | None = None,
        *,
        certfile: Path | None = None,
        keyfile: Path | None = None,
        password: Password = None,
    ) -> Self:
        """A context for clients, which verifies the server's certificate and host name.

        Args:
            cafile: A PEM file of the authorities that are trusted. With none of the three: those of the system.
            capath: A directory of such, named by hash as OpenSSL wants it.
            cadata: Such as PEM text, or as DER bytes.
            certfile: A PEM file of the client's own certificate, and those between it and the authority.
            keyfile: A PEM file of its key. None: in certfile too.
            password: What the key is encrypted with: text, or what returns it.

        Raises:
            OSError: A file can't be read.
            TLSError: It isn't what it should be.
        """
        self = cls._made(server_side=False)
        if cafile is None and capath is None and cadata is None:
            self.load_default_certs()
        else:
            self.load_verify_locations(cafile, capath, cadata)
        if certfile is not None:
            self.load_cert_chain(certfile, keyfile, password)
        elif keyfile is not None:
            raise ValueError("keyfile needs a certfile")
        return self

    @classmethod
    def server(
        cls,
        certfile: Path,
        keyfile: Path | None = None,
        password: Password = None,
        *,
        client_ca: Path | None = None,
    ) -> Self:
        """A context for servers.

        Args:
            certfile: A PEM file of the server's certificate, and those between it and the authority.
            keyfile: A PEM file of its key. None: in certfile too.
            password: What the key is encrypted with: text, or what returns it.
            client_ca: A PEM file of the authorities that clients' certificates must come from. None: clients aren't asked.

        Raises:
            OSError: A file can't be read.
            TLSError: It isn't what it should be, or the key isn't the certificate's.
        """
        self = cls._made(server_side=True)
        self.load_cert_chain(certfile, keyfile, password)
        if client_ca is not None:
            self.load_verify_locations(client_ca)
            check(lib.pev_tls_send_ca_names(self._h, _readable(client_ca)), f"reading {client_ca!r}")
            self.verify_mode = ssl.CERT_REQUIRED
        return self

    @property
    def server_side(self) -> bool:
        """Whether it is for servers."""
        return self._server_side

    # ------------------------------------------------------------ certificates

    def load_cert_chain(self, certfile: Path, keyfile: Path | None = None, password: Password = None) -> None:
        """The certificate to show (``SSL_CTX_use_certificate_chain_file``, ``SSL_CTX_use_PrivateKey_file``).

        Args:
            certfile: A PEM file: the certificate, then those between it and the authority.
            keyfile: A PEM file of its key. None: in certfile too.
            password: What the key is encrypted with: text, or what returns it. Nobody is ever asked on the terminal.

        Raises:
            OSError: A file can't be read.
            TLSError: It isn't PEM, the password is wrong, or the key isn't the certificate's.
        """
        cert = _readable(certfile)
        key = cert if keyfile is None else _readable(keyfile)
        secret = _secret(password)
        text = ffi.NULL if secret is None else secret
        code = lib.pev_tls_load_cert_chain(self._h, cert, key, text, len(secret or b""))
        check(code, f"loading {certfile!r}" if keyfile is None else f"loading {certfile!r} with {keyfile!r}")

    def load_verify_locations(
        self, cafile: Path | None = None, capath: Path | None = None, cadata: str | bytes | None = None
    ) -> None:
        """Trust these authorities too (``SSL_CTX_load_verify_locations``).

        Args:
            cafile: A PEM file.
            capath: A directory of PEM files, named by hash as OpenSSL wants it.
            cadata: PEM text, or DER bytes.

        Raises:
            OSError: The file can't be read.
            TLSError: It holds no certificate.
            TypeError: None of the three is given.
        """
        if cafile is None and capath is None and cadata is None:
            raise TypeError("cafile, capath and cadata must not all be None")
        file = ffi.NULL if cafile is None else _readable(cafile)
        directory = ffi.NULL if capath is None else _directory(capath)
        if cafile is not None or capath is not None:
            code = lib.pev_tls_load_verify_locations(self._h, file, directory)
            check(code, f"loading {cafile if cafile is not None else capath!r}")
        if isinstance(cadata, str):
            pem = cadata.encode("ascii", "replace")
            check(lib.pev_tls_load_verify_pem(self._h, pem, len(pem)), "loading cadata")
        elif cadata is not None:
            if not isinstance(cadata, bytes | bytearray):
                raise TypeError(f"cadata must be a str of PEM or bytes of DER, not {type(cadata).__name__}")
            if not cadata:
                raise ValueError("cadata must not be empty")
            check(lib.pev_tls_load_verify_der(self._h, bytes(cadata), len(cadata)), "loading cadata")

    def load_default_certs(self) -> None:
        """Trust the authorities that the system trusts (``SSL_CTX_set_default_verify_paths``)."""
        check(lib.pev_tls_load_default_certs(self._h), "loading the system's certificates")

    # ------------------------------------------------------------ policy

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        """Whether the peer's certificate is asked for and verified: ``ssl.CERT_NONE``, ``CERT_OPTIONAL``,
        ``CERT_REQUIRED``; may be set (``SSL_CTX_set_verify``).
        """
        return self._verify_mode

    @verify_mode.setter
    def verify_mode(self, mode: ssl.VerifyMode) -> None:
        try:
            mode = ssl.VerifyMode(mode)
        except ValueError:
            raise ValueError(f"verify_mode must be CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED, not {mode!r}") from None
        if mode == ssl.CERT_NONE and self._check_hostname:
            raise ValueError("verify_mode can't be CERT_NONE while check_hostname is on: set that to False before")
        check(lib.pev_tls_set_verify(self._h, _VERIFY[mode]), self)
        self._verify_mode = mode

    @property
    def check_hostname(self) -> bool:
        """Whether the certificate must be for ``server_hostname``; for clients; may be set.

        Setting it to True sets verify_mode to CERT_REQUIRED where that is CERT_NONE.
        """
        return self._check_hostname

    @check_hostname.setter
    def check_hostname(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"check_hostname must be a bool, not {type(value).__name__}")
        if value and self._server_side:
            raise ValueError("check_hostname can't be on for servers: clients' certificates aren't for hosts")
        if value and self._verify_mode == ssl.CERT_NONE:
            self.verify_mode = ssl.CERT_REQUIRED
        self._check_hostname = value

    @property
    def minimum_version(self) -> ssl.TLSVersion:
        """The lowest version spoken; may be set (``SSL_CTX_set_min_proto_version``)."""
        return _BACK.get(lib.pev_tls_get_version(self._h, 0), ssl.TLSVersion.MINIMUM_SUPPORTED)

    @minimum_version.setter
    def minimum_version(self, version: ssl.TLSVersion) -> None:
        self._set_versions(version, self.maximum_version, "minimum_version")

    @property
    def maximum_version(self) -> ssl.TLSVersion:
        """The highest version spoken; may be set (``SSL_CTX_set_max_proto_version``)."""
        return _BACK.get(lib.pev_tls_get_version(self._h, 1), ssl.TLSVersion.MAXIMUM_SUPPORTED)

    @maximum_version.setter
    def maximum_version(self, version: ssl.TLSVersion) -> None:
        self._set_versions(self.minimum_version, version, "maximum_version")

    def _set_versions(self, minimum: ssl.TLSVersion, maximum: ssl.TLSVersion, name: str) -> None:
        low = 0 if minimum == ssl.TLSVersion.MINIMUM_SUPPORTED else _version(minimum, name)
        high = 0 if maximum == ssl.TLSVersion.MAXIMUM_SUPPORTED else _version(maximum, name)
        if low and high and low > high:
            raise ValueError(f"{name}: from {minimum.name} to {maximum.name} there is no version")
        check(lib.pev_tls_set_versions(self._h, low, high), f"setting {name}")

    def set_ciphers(self, ciphers: str) -> None:
        """The ciphers for TLS 1.2 and below, as OpenSSL lists them (``SSL_CTX_set_cipher_list``).

        Raises:
            TLSError: No cipher of this OpenSSL is among them.
        """
        if not isinstance(ciphers, str):
            raise TypeError(f"ciphers must be a str, not {type(ciphers).__name__}")
        if not ciphers.isascii() or "\0" in ciphers:
            raise ValueError(f"ciphers must be ASCII without zero characters, not {ciphers!r}")
        check(lib.pev_tls_set_ciphers(self._h, ciphers.encode()), f"setting the ciphers {ciphers!r}")

    def __repr__(self) -> str:
        side = "server" if self._server_side else "client"
        names = ", host names checked" if self._check_hostname else ""
        return f"<TLSContext {side}, {self._verify_mode.name}{names}, from {self.minimum_version.name}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting():
            with contextlib.suppress(AttributeError):
                lib.pev_tls_context_free(object.__getattribute__(self, "_h"))


def _version(version: Any, name: str) -> int:
    try:
        return int(_VERSIONS[version])
    except (KeyError, TypeError):
        raise ValueError(f"{name} must be an ssl.TLSVersion from TLSv1 to TLSv1_3, not {version!r}") from None


def _encoded(path: Path) -> bytes:
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError(f"a path must not contain a zero byte: {path!r}")
    return raw


def _readable(path: Path) -> bytes:
    """The path; the system's own error where the file can't be read, since OpenSSL's is hard to read."""
    raw = _encoded(path)
    with open(raw, "rb"):
        return raw


def _directory(path: Path) -> bytes:
    raw = _encoded(path)
    os.scandir(raw).close()
    return raw


def _secret(password: Password) -> bytes | None:
    if callable(password):
        password = password()
    if password is None:
        return None
    if isinstance(password, str):
        password = password.encode()
    if not isinstance(password, bytes | bytearray):
        raise TypeError(f"password must be a str, bytes or a callable, not {type(password).__name__}")
    if len(password) > _MOST_PASSWORD:
        raise ValueError(f"password must be at most {_MOST_PASSWORD} bytes long, not {len(password)}")
    return bytes(password)
