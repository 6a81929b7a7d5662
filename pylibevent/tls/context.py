"""TLSContext: what connections have in common: certificates, who is trusted, which versions and ciphers.

The members have the names that stdlib's ssl.SSLContext gave them; ours begins safe: a client verifies the chain and the host
name, nobody speaks less than TLS 1.2, compresses, or lets the peer renegotiate. Each part has a file: certificates,
verification, names, ciphers.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Callable
from typing import Self

from .._handle import next_id
from .._libevent import lib
from ..errors import check_pointer, check_seconds
from .answers import contexts
from .context_sessions import ContextSessions
from .material import Material, Password, Path

_SERVER_HANDSHAKE, _CLIENT_HANDSHAKE = 10.0, 30.0
"""Seconds. Go's net/http gives a handshake 10 (TLSHandshakeTimeout); a client knows whom it waits for."""


class TLSContext(ContextSessions):
    """What TLS connections have in common (``SSL_CTX``). Made by ``client()`` or ``server()``.

    Connections take it as it is when they are made; what changes later holds for later ones. Threads and bases may share it.
    """

    __slots__ = ("_handshake_timeout",)

    _handshake_timeout: float | None

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise TypeError("a TLSContext isn't made itself: use TLSContext.client() or TLSContext.server()")

    @classmethod
    def _made(cls, *, server_side: bool) -> Self:
        self = cls.__new__(cls)
        self._server_side = server_side
        self._handshake_timeout = _SERVER_HANDSHAKE if server_side else _CLIENT_HANDSHAKE
        self._start_verification(server_side=server_side)
        self._start_names()
        self._start_ciphers()
        number = next_id()
        self._own(check_pointer(lib.pev_tls_context_new(server_side, number), "making a TLSContext"))
        contexts[number] = self
        self._begin_sessions()
        return self

    @classmethod
    def client(
        cls,
        cafile: Path | None = None,
        capath: Path | None = None,
        cadata: Material | None = None,
        *,
        certfile: Material | None = None,
        keyfile: Material | None = None,
        password: Password = None,
    ) -> Self:
        """A context for clients, which verifies the server's certificate and host name.

        Args:
            cafile: A PEM file of the authorities that are trusted. With none of the three: those of the system.
            capath: A directory of such, named by hash as OpenSSL wants it.
            cadata: Such as PEM text, as PEM or DER bytes, or a certificate of ``cryptography``'s, or a list of them.
            certfile: The client's own certificate, and those between it and the authority: the path of a PEM or DER file, PEM
                or DER bytes, or certificates of ``cryptography``'s.
            keyfile: Its key: the same kinds. None: in certfile too.
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
        certfile: Material | None = None,
        keyfile: Material | None = None,
        password: Password = None,
        *,
        client_ca: Material | None = None,
        pkcs12: Material | None = None,
    ) -> Self:
        """A context for servers.

        Args:
            certfile: The server's certificate, and those between it and the authority: the path of a PEM or DER file, PEM or
                DER bytes, or certificates of ``cryptography``'s. None: one is loaded later, or keys in advance take its place.
            keyfile: Its key: the same kinds. None: in certfile too.
            password: What the key is encrypted with: text, or what returns it.
            client_ca: The authorities that clients' certificates must come from; clients must show one then. None: they aren't
                asked.
            pkcs12: In place of certfile and keyfile: the path or the bytes of a PKCS#12 store.

        Raises:
            OSError: A file can't be read.
            TLSError: It isn't what it should be, or the key isn't the certificate's.
        """
        self = cls._made(server_side=True)
        if pkcs12 is not None:
            if certfile is not None or keyfile is not None:
                raise ValueError("pkcs12 takes the place of certfile and keyfile")
            self.load_pkcs12(pkcs12, password)
        elif certfile is not None:
            self.load_cert_chain(certfile, keyfile, password)
        elif keyfile is not None:
            raise ValueError("keyfile needs a certfile")
        if client_ca is not None:
            self.load_client_ca(client_ca)
            self.verify_mode = ssl.CERT_REQUIRED
        return self

    @property
    def server_side(self) -> bool:
        """Whether it is for servers."""
        return self._server_side

    @property
    def handshake_timeout(self) -> float | None:
        """Seconds, above 0, that a whole handshake may take from when the stream below is open; None: as long as it likes.
        10 for servers, 30 for clients; may be set. It holds for connections made later that aren't given their own.
        """
        return self._handshake_timeout

    @handshake_timeout.setter
    def handshake_timeout(self, seconds: float | None) -> None:
        self._handshake_timeout = None if seconds is None else check_seconds(seconds, "handshake_timeout", positive=True)

    def _describe(self) -> str:
        side = "server" if self._server_side else "client"
        names = ", host names checked" if self._check_hostname else ""
        return f"<TLSContext {side}, {self._verify_mode.name}{names}, from {self.minimum_version.name}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting():
            with contextlib.suppress(AttributeError):
                lib.pev_tls_context_drop(object.__getattribute__(self, "_h"))
