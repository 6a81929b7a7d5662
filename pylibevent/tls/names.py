"""The part of a TLSContext that follows what clients ask for: a server's name, and a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .._libevent import ffi, lib
from ..errors import check, check_callable, check_pointer
from .verification import Verification

if TYPE_CHECKING:
    from .bufferevent import TLSBufferEvent
    from .context import TLSContext
    from .deferred import Answer

    NameCallback: TypeAlias = Callable[[TLSBufferEvent, str | None, TLSContext], Answer[TLSContext | int | None]]
    CertificateCallback: TypeAlias = Callable[[TLSBufferEvent, str | None, TLSContext], Answer[TLSContext | None]]

_MOST_NAME = 253
_MOST_PROTOCOLS = 0xFFFF


class Names(Verification):
    """See TLSContext."""

    __slots__ = ("_alpn", "_certificate_callback", "_sni", "_sni_callback", "_sni_strict")

    _alpn: tuple[str, ...]
    _certificate_callback: CertificateCallback | None
    _sni: dict[str, TLSContext]
    _sni_callback: NameCallback | None
    _sni_strict: bool

    def _start_names(self) -> None:
        self._alpn = ()
        self._sni = {}
        self._certificate_callback = self._sni_callback = None
        self._sni_strict = False

    # ------------------------------------------------------------ server names

    @property
    def sni(self) -> Mapping[str, TLSContext]:
        """A server's contexts by name; may be set, to a mapping of which a copy is taken.

        The context for the name that a client asks for takes the place of this one, with its certificate, whom it trusts, how
        it verifies, versions, ciphers and protocols: before anything of the handshake is decided, a session's resumption
        too. ``"*.b.test"`` stands for all names with one label more than ``b.test``. Any other name, and none, stays with this
        context, but see ``sni_strict``.
        """
        return MappingProxyType(self._sni)

    @sni.setter
    def sni(self, contexts: Mapping[str, TLSContext]) -> None:
        self._check_server("sni")
        if not isinstance(contexts, Mapping):
            raise TypeError(f"sni must be a mapping of names to contexts, not {type(contexts).__name__}")
        taken = {_name(name): self._check_context(context) for name, context in contexts.items()}
        self._set_names(taken, self._sni_strict)
        self._sni = taken

    @property
    def sni_strict(self) -> bool:
        """Whether a name that isn't in ``sni`` ends the handshake (alert unrecognized_name); may be set."""
        return self._sni_strict

    @sni_strict.setter
    def sni_strict(self, strict: bool) -> None:
        self._check_server("sni_strict")
        if not isinstance(strict, bool):
            raise TypeError(f"sni_strict must be a bool, not {type(strict).__name__}")
        self._set_names(self._sni, strict)
        self._sni_strict = strict

    def _set_names(self, contexts: Mapping[str, TLSContext], strict: bool) -> None:
        if not contexts and not strict:
            lib.pev_hello_set(self._h, ffi.NULL, 0)
            return
        table = check_pointer(lib.pev_hello_new(len(contexts)), self)
        code = 0
        for name in sorted(contexts):
            code = code or lib.pev_hello_add(table, name.encode(), contexts[name]._h)
        lib.pev_hello_set(self._h, table, strict)
        check(code, self)

    @property
    def sni_callback(self) -> NameCallback | None:
        """Chooses a server's context; may be set.

        It is called as ``callback(bev, name, ctx)`` after ``sni`` was looked through, with the name, or None if the client asks
        for none, while the handshake waits. It returns the context to go on with, None to stay, or the number of an alert
        (``ssl.AlertDescription``) to end the handshake; what it raises ends it too, and comes out of the loop. It must neither
        use nor close anything. It may be a coroutine function, or return a DeferredAnswer or a future: the handshake waits for
        that, and the loop goes on.
        """
        return self._sni_callback

    @sni_callback.setter
    def sni_callback(self, callback: NameCallback | None) -> None:
        self._check_server("sni_callback")
        check_callable(callback, "sni_callback")
        self._sni_callback = callback
        lib.pev_tls_ask(self._h, lib.PEV_ASK_NAME, callback is not None)

    def set_servername_callback(self, callback: NameCallback | None) -> None:
        """The same as setting sni_callback."""
        self.sni_callback = callback

    def _name_answer(self, connection: TLSBufferEvent, answer: object) -> int:
        """What the callback returned, as C takes it."""
        if answer is None:
            return int(lib.PEV_NAME_FINE)
        if isinstance(answer, int) and not isinstance(answer, bool):
            if not 0 <= answer <= 255:
                raise ValueError(f"sni_callback must return an alert from 0 to 255, not {answer}")
            return answer
        context = self._check_context(answer)
        check(lib.pev_ssl_switch(connection._h, context._h), context)
        connection._chosen = context
        return int(lib.PEV_NAME_FINE)

    @property
    def certificate_callback(self) -> CertificateCallback | None:
        """Chooses a server's certificate where one must be shown, so not where a session is resumed; may be set
        (``SSL_CTX_set_cert_cb``).

        It is called as ``callback(bev, name, ctx)``, as sni_callback is, and after it. It returns a context whose certificates
        and keys are used, and nothing else of it, or None to use those that there are. What it raises ends the handshake, and
        comes out of the loop. It must neither use nor close anything, and may answer later, as sni_callback may.
        """
        return self._certificate_callback

    @certificate_callback.setter
    def certificate_callback(self, callback: CertificateCallback | None) -> None:
        self._check_server("certificate_callback")
        check_callable(callback, "certificate_callback")
        self._certificate_callback = callback
        lib.pev_tls_ask_certificate(self._h, callback is not None)

    def _certificate_answer(self, connection: TLSBufferEvent, answer: object) -> int:
        """What the callback returned, as C takes it."""
        if answer is None:
            return int(lib.PEV_CERTIFICATE_FINE)
        if not isinstance(answer, Names):
            raise TypeError(f"certificate_callback must return a TLSContext or None, not {type(answer).__name__}")
        check(lib.pev_ssl_use_certificates(connection._h, answer._h), answer)
        return int(lib.PEV_CERTIFICATE_FINE)

    def _check_server(self, name: str) -> None:
        if not self._server_side:
            raise ValueError(f"{name} is for servers; clients ask by server_hostname")

    def _check_context(self, context: Any) -> TLSContext:
        if not isinstance(context, Names):
            raise TypeError(f"a name leads to a TLSContext, not to {type(context).__name__}")
        if not context._server_side:
            raise ValueError(f"a name leads to a context of TLSContext.server(), not to {context!r}")
        return cast("TLSContext", context)

    # ------------------------------------------------------------ protocols

    def set_alpn_protocols(self, protocols: Iterable[str | bytes]) -> None:
        """The protocols that may be spoken inside, best first (``SSL_CTX_set_alpn_protos``,
        ``SSL_CTX_set_alpn_select_cb``). A client offers them; a server takes its first one that the client offers too, and ends
        the handshake if there is none (alert no_application_protocol), but not if the client offers none at all.

        Args:
            protocols: Such as ``["h2", "http/1.1"]``, of 1 to 255 bytes each. None of them: ALPN isn't spoken.
        """
        if isinstance(protocols, str | bytes):
            raise TypeError("protocols must be a list of str, not one of them")
        raw = [protocol.encode() if isinstance(protocol, str) else protocol for protocol in protocols]
        for protocol in raw:
            if not isinstance(protocol, bytes):
                raise TypeError(f"protocols must be a list of str or bytes, not of {type(protocol).__name__}")
            if not 0 < len(protocol) <= 255:
                raise ValueError(f"a protocol must be of 1 to 255 bytes, not {protocol!r}")
        wire = b"".join(bytes([len(protocol)]) + protocol for protocol in raw)
        if len(wire) > _MOST_PROTOCOLS:
            raise ValueError(f"protocols must be at most {_MOST_PROTOCOLS} bytes together, not {len(wire)}")
        check(lib.pev_tls_set_alpn(self._h, wire, len(wire)), "setting the protocols")
        self._alpn = tuple(protocol.decode("utf-8", "backslashreplace") for protocol in raw)

    @property
    def alpn_protocols(self) -> tuple[str, ...]:
        """What set_alpn_protocols() was given."""
        return self._alpn


def host_name(name: str, complaint: str) -> str:
    """The name as ASCII and without its last dot; ValueError with this complaint for what can't be a host's.

    What resolvers take is more than RFC 1123 has: underscores are fine.
    """
    plain = name.removesuffix(".")
    try:
        plain = plain if plain.isascii() else plain.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError(f"{complaint}: {error}") from None
    if len(plain) > _MOST_NAME or not all(plain.split(".")) or any(not "!" <= c <= "~" or c == "*" for c in plain):
        raise ValueError(f"{complaint}: 1 to {_MOST_NAME} printable characters, with one dot between labels")
    return plain


def _name(name: object) -> str:
    """A name as it is compared with what clients ask for."""
    if not isinstance(name, str):
        raise TypeError(f"sni must have names of str, not {type(name).__name__}")
    star, dot, rest = name.partition(".")
    plain = host_name(rest if star == "*" and dot else name, f"sni has a name that isn't one: {name!r}").lower()
    return f"*.{plain}" if star == "*" and dot else plain
