"""TLSBufferEvent: TLS over another bufferevent.

It stands on its underlying as a filter: a plain socket bufferevent, by default one of its own, carries the ciphertext and has
the descriptor, the limits and the connecting. What libevent gets wrong here is mended in csrc/ssl.c; what is left for Python
is to say why it ended.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from .._handle import next_id
from .._libevent import ffi, lib
from ..addresses import Address
from ..bufferevent import BufferEvent, SocketBufferEvent
from ..bufferevent.common import CLOSE_TIMEOUT, check_options
from ..errors import TLSEOFError, TLSError, check, check_pointer, tls_certificate_error, tls_error
from ..flags import Option, What
from .client_sessions import SessionKey
from .context import TLSContext
from .resumption import connections
from .session import TLSSession

if TYPE_CHECKING:
    from ..bufferevent.socket import Resolver
    from ..event import EventBase

_MOST_NAME = 253
_SESSION, _EVENTS = lib.PEV_NOTE_SESSION, lib.PEV_NOTE_EVENTS
_DATA = lib.PEV_NOTE_READ | lib.PEV_NOTE_WRITE


class Cipher(NamedTuple):
    """A cipher suite in use."""

    name: str
    protocol: str
    bits: int


class TLSBufferEvent(BufferEvent):
    """A bufferevent that speaks TLS (``bufferevent_openssl_filter_new``). Made by ``connect()``, ``accept()`` or ``wrap()``.

    The event callback gets CONNECTED once, when the handshake is done. EOF is a clean end, said inside TLS; a stream that ends
    without is an ERROR, and ``error`` a TLSEOFError, unless ``allow_dirty_shutdown``.
    """

    __slots__ = ("_ctx", "_server_hostname", "_server_side", "_session_key", "_underlying")

    _ctx: TLSContext
    _server_hostname: str | None
    _server_side: bool
    _session_key: SessionKey | None
    _underlying: BufferEvent

    def __init__(self) -> None:
        raise TypeError("a TLSBufferEvent isn't made itself: use TLSBufferEvent.connect(), .accept() or .wrap()")

    @classmethod
    def connect(
        cls,
        base: EventBase,
        address: Address,
        ctx: TLSContext,
        server_hostname: str | None = None,
        *,
        session: TLSSession | None = None,
        options: Option = Option.CLOSE_ON_FREE,
        dns: Resolver | None = None,
    ) -> Self:
        """Connect to a TLS server. CONNECTED or ERROR follows, in the event callback. An earlier session with that server is
        resumed where ``ctx.client_sessions`` has one.

        Args:
            base: The base.
            address: ``(host, port)``; a host that isn't numeric is resolved, and all its addresses are tried. Or a path for
                AF_UNIX.
            ctx: A context for clients.
            server_hostname: The name, or numeric address, that the server's certificate must be for, and that it is told.
                None: the host.
            session: The session to resume. None: one of ``ctx.client_sessions``. One that was made under another policy, for
                another host, or is too old, isn't offered to the server: the handshake is a full one.
            options: How it works.
            dns: Who resolves the host. None: a DNSBase that the base keeps.

        Raises:
            ValueError: A host name that can't be one, or none where ``ctx.check_hostname`` wants it.
            OSError: Connecting failed at once.
        """
        host, port = _host_of(address)
        if server_hostname is None and host is not None:
            server_hostname = host.partition("%")[0]
        options = Option(check_options(options))
        socket_bev = SocketBufferEvent(base, None, options)
        self = None
        try:
            place = _place_of(address)
            self = cls._wrap(socket_bev, ctx, False, server_hostname, session, options, place)
            if host is not None and not _is_numeric(host):
                socket_bev.connect_hostname(host, port, dns)
            else:
                socket_bev.connect(address)
        except BaseException:
            (self or socket_bev).abort()
            raise
        return self

    @classmethod
    def accept(cls, base: EventBase, sock: object, ctx: TLSContext, *, options: Option = Option.CLOSE_ON_FREE) -> Self:
        """Be the server on a connected socket.

        Args:
            base: The base.
            sock: A connected socket, or a descriptor. With CLOSE_ON_FREE it is taken over: a socket object is detached.
            ctx: A context for servers.
            options: How it works.

        Raises:
            ValueError: The context is for clients.
            TLSError: OpenSSL refused.
        """
        _check_context(ctx, server_side=True)
        options = Option(check_options(options))
        socket_bev = SocketBufferEvent(base, sock, options)
        try:
            return cls.wrap(socket_bev, ctx, server_side=True, options=options)
        except BaseException:
            socket_bev.abort()
            raise

    @classmethod
    def wrap(
        cls,
        underlying: BufferEvent,
        ctx: TLSContext,
        server_side: bool = False,
        server_hostname: str | None = None,
        *,
        session: TLSSession | None = None,
        options: Option = Option.CLOSE_ON_FREE,
    ) -> Self:
        """Speak TLS over a bufferevent that is there (``bufferevent_openssl_filter_new``), as STARTTLS does.

        What stands in its input is taken for the peer's first message; its callbacks aren't called any more, and its read marks
        are taken off.

        Args:
            underlying: What carries the ciphertext. With CLOSE_ON_FREE it is closed together with this.
            ctx: A context of the same side.
            server_side: Be the server.
            server_hostname: For a client: as for connect().
            session: For a client: the session to resume, as for connect(). None: none.
            options: How it works.

        Raises:
            ValueError: A host name that can't be one, or the wrong side.
            RuntimeError: Another bufferevent stands on it already.
            TLSError: OpenSSL refused.
        """
        return cls._wrap(underlying, ctx, server_side, server_hostname, session, options, None)

    @classmethod
    def _wrap(
        cls,
        underlying: BufferEvent,
        ctx: TLSContext,
        server_side: bool,
        server_hostname: str | None,
        session: TLSSession | None,
        options: Option,
        place: tuple[str, int] | None,
    ) -> Self:
        if not isinstance(underlying, BufferEvent):
            raise TypeError(f"underlying must be a BufferEvent, not {type(underlying).__name__}")
        _check_context(ctx, server_side=server_side)
        bits = _check_over(underlying, check_options(options))
        host, is_address = _check_host(server_hostname, ctx)
        key = None
        if place is not None and ctx.client_sessions is not None:
            name = None if host == ffi.NULL else host
            key = ctx._key_for(*place, name, is_address=is_address, check_host=ctx.check_hostname)
        session = _check_session(session, ctx, key)
        offered = ffi.NULL if session is None else session._h
        ctx._before_connection()
        number = next_id()
        handle = lib.pev_ssl_filter_new(
            underlying._h, ctx._h, server_side, host, is_address, ctx.check_hostname, offered, bits, number
        )
        check_pointer(handle, underlying)
        self = cls.__new__(cls)
        self._ctx = ctx
        self._session_key = key
        if server_side:
            connections[number] = self
        self._underlying = underlying
        self._server_side = bool(server_side)
        self._server_hostname = None if host == ffi.NULL else host.decode()
        underlying._carry()
        self._start(underlying.base, handle, number, bits)
        check(lib.pev_ssl_start(handle), self)
        return self

    # ------------------------------------------------------------ what it is

    @property
    def underlying(self) -> BufferEvent:
        """What carries the ciphertext (``bufferevent_get_underlying``)."""
        return self._underlying

    @property
    def fd(self) -> int:
        """The descriptor of the underlying."""
        return self._underlying.fd if not self.closed else super().fd

    @property
    def server_side(self) -> bool:
        """Whether this is the server."""
        return self._server_side

    @property
    def server_hostname(self) -> str | None:
        """The name that a client asked for."""
        return self._server_hostname

    @property
    def version(self) -> str | None:
        """The version spoken, such as ``"TLSv1.3"`` (``SSL_get_version``). None before the handshake is done."""
        name = lib.pev_ssl_version(self._h)
        if not name:
            if ffi.errno:
                check(-ffi.errno, self)
            return None
        return str(ffi.string(name).decode())

    @property
    def cipher(self) -> Cipher | None:
        """The cipher in use (``SSL_get_current_cipher``). None before the handshake is done."""
        name, protocol, bits = ffi.new("const char **"), ffi.new("const char **"), ffi.new("int *")
        if not check(lib.pev_ssl_cipher(self._h, name, protocol, bits), self):
            return None
        return Cipher(ffi.string(name[0]).decode(), ffi.string(protocol[0]).decode(), bits[0])

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate, as DER (``SSL_get1_peer_certificate``). None: it showed none, or not yet."""
        out = ffi.new("unsigned char **")
        n = check(lib.pev_ssl_peer_certificate(self._h, out), self)
        if not out[0]:
            return None
        try:
            return bytes(ffi.buffer(out[0], n))
        finally:
            lib.pev_free(out[0])

    @property
    def session_reused(self) -> bool:
        """Whether the handshake resumed an earlier session (``SSL_session_reused``)."""
        return bool(check(lib.pev_ssl_session_reused(self._h), self))

    @property
    def session(self) -> TLSSession | None:
        """The session of this connection (``SSL_get1_session``). None before the handshake is done. A TLS 1.3 client's is
        ``resumable`` once the server's ticket has come, and then the newest.
        """
        handle = lib.pev_ssl_session(self._h)
        if not handle:
            if ffi.errno:
                check(-ffi.errno, self)
            return None
        return TLSSession._of(handle)

    @property
    def context(self) -> TLSContext:
        """The context it was made with."""
        return self._ctx

    @property
    def allow_dirty_shutdown(self) -> bool:
        """Take the end of the stream below for a clean one; may be set. Whoever is between the peers can then cut the data
        short (``bufferevent_openssl_set_allow_dirty_shutdown``, ``bufferevent_openssl_get_allow_dirty_shutdown``).
        """
        return bool(check(lib.pev_ssl_get_allow_dirty(self._h), self))

    @allow_dirty_shutdown.setter
    def allow_dirty_shutdown(self, allow: bool) -> None:
        if not isinstance(allow, bool):
            raise TypeError(f"allow_dirty_shutdown must be a bool, not {type(allow).__name__}")
        check(lib.pev_ssl_set_allow_dirty(self._h, allow), self)

    @property
    def errors(self) -> list[TLSError]:
        """What OpenSSL said when it failed, oldest first (``bufferevent_get_openssl_error``)."""
        return [tls_error([code]) for code in self._codes()]

    def _codes(self) -> list[int]:
        out = ffi.new("unsigned long[]", lib.PEV_TLS_ERRORS)
        return [out[i] for i in range(lib.pev_ssl_errors(self._h, out, lib.PEV_TLS_ERRORS))]

    # ------------------------------------------------------------ why it ended

    def _explain(self, events: int, detail: int) -> BaseException:
        failed: BaseException | None = getattr(self._underlying, "_failure", None)
        if failed is not None:
            return failed
        if events & What.TIMEOUT:
            return super()._explain(events, detail)
        codes = self._codes()
        verify = lib.pev_ssl_verify_result(self._h)
        if verify and codes and not lib.pev_ssl_is_open(self._h):
            return tls_certificate_error(verify, codes, name=self._server_hostname or "")
        if codes:
            return tls_error(codes, doing="" if lib.pev_ssl_is_open(self._h) else "the handshake failed")
        if lib.pev_ssl_truncated(self._h):
            return self._truncated()
        return super()._explain(events, detail)

    def _truncated(self) -> TLSEOFError:
        if lib.pev_ssl_is_open(self._h):
            text = "the stream ended without a close_notify: it may have been cut short"
        else:
            text = "the peer closed the connection during the handshake"
        error = TLSEOFError(ssl.SSL_ERROR_EOF, text)
        error.library, error.reason = "SSL", "UNEXPECTED_EOF_WHILE_READING"
        return error

    def _going(self) -> str:
        if lib.pev_ssl_is_open(self._h):
            return self.version or "open"
        return "connecting" if self._underlying._going() == "connecting" else "handshake"

    # ------------------------------------------------------------ the end

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close it: what was written goes out, then close_notify; the loop goes on sending, for so long at most. Idempotent;
        allowed in every callback. No callback comes after it.

        Args:
            timeout: Seconds from 0 to 1e9. 0: drop what is left, and say nothing to the peer.
        """
        self._take_sessions()
        looking_up = getattr(self._underlying, "_lookup", None) is not None
        super().close(timeout=0 if looking_up else timeout)
        self._let_go()

    def _let_go(self) -> None:
        if self._underlying.closed:
            self._underlying._carried_away()

    def _take_sessions(self) -> None:
        while handle := lib.pev_ssl_take_session(self._h):
            self._ctx._made_session(self, TLSSession._of(handle))

    def _spoil_session(self) -> None:
        """TLS failed: nobody shall resume what this connection used."""
        if self._codes():
            session = self.session if not self.closed else None
            self._ctx._broken_session(self, session.id if session is not None else b"")

    def _look_after_sessions(self, what: int, detail: int) -> int:
        """Before what else there is to tell is told: that is what is left."""
        try:
            if what & _SESSION:
                self._take_sessions()
            if what >> _EVENTS & What.ERROR:
                self._spoil_session()
            self._ctx._tell_removed()
        except BaseException:
            self._base._again(self._id, what, detail)
            raise
        return what & ~int(_SESSION)

    def _ready(self, what: int, detail: int) -> None:
        if what & ~_DATA:
            what = self._look_after_sessions(what, detail)
            if not what:
                return
        super()._ready(what, detail)
        if what & lib.PEV_NOTE_GONE:
            self._let_go()


def _host_of(address: Address) -> tuple[str | None, int]:
    """Host and port of an address that has them; what is wrong with others is told where they are used."""
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str):
        return address[0], address[1]
    return None, 0


def _place_of(address: Address) -> tuple[str, int]:
    """What sessions are kept by."""
    host, port = _host_of(address)
    return (host, port) if host is not None else (repr(address), 0)


def _check_session(session: TLSSession | None, ctx: TLSContext, key: SessionKey | None) -> TLSSession | None:
    """The session to offer."""
    if session is not None and not isinstance(session, TLSSession):
        raise TypeError(f"session must be a TLSSession or None, not {type(session).__name__}")
    if session is not None and ctx.server_side:
        raise ValueError("session is for clients")
    if session is None and key is not None and ctx.client_sessions is not None:
        return ctx.client_sessions.take(key)
    return session if session is not None and not session.expired else None


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0] or "0.0.0.0")
    except ValueError:
        return False
    return True


def _check_context(ctx: object, *, server_side: bool) -> None:
    if not isinstance(ctx, TLSContext):
        raise TypeError(f"ctx must be a TLSContext, not {type(ctx).__name__}")
    if ctx.server_side != bool(server_side):
        raise ValueError(f"ctx must be of TLSContext.{'server' if server_side else 'client'}() here, not {ctx!r}")


def _check_over(underlying: BufferEvent, bits: int) -> int:
    """The options for standing on this underlying."""
    if bits & Option.THREADSAFE and not underlying.options & Option.THREADSAFE:
        raise ValueError("options must have THREADSAFE only where the underlying has it")
    if underlying.options & Option.THREADSAFE:
        bits |= Option.THREADSAFE
    if underlying.underlying is not None:
        bits |= Option.DEFER_CALLBACKS  # TLS over TLS calls itself without end otherwise
    return bits


def _check_host(name: str | None, ctx: TLSContext) -> tuple[Any, bool]:
    """The name as OpenSSL takes it, and whether it is a numeric address."""
    if name is None or ctx.server_side:
        if name is not None:
            raise ValueError("server_hostname is for clients")
        if ctx.check_hostname:
            raise ValueError("server_hostname must be given where ctx.check_hostname is on")
        return ffi.NULL, False
    if not isinstance(name, str):
        raise TypeError(f"server_hostname must be a str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError(f"server_hostname must not contain a zero character: {name!r}")
    try:
        return str(ipaddress.ip_address(name)).encode(), True
    except ValueError:
        pass
    plain = name.removesuffix(".")
    try:
        raw = plain.encode("ascii") if plain.isascii() else plain.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"server_hostname isn't a host name: {name!r}: {error}") from None
    if not 0 < len(raw) <= _MOST_NAME or raw.startswith(b"."):
        raise ValueError(f"server_hostname must be a host name of 1 to {_MOST_NAME} bytes, not {name!r}")
    return raw, False


__all__ = ["Cipher", "TLSBufferEvent"]
