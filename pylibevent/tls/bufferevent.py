"""TLSBufferEvent: TLS over another bufferevent, or straight on a socket.

The filter form stands on its underlying: a plain socket bufferevent, by default one of its own, carries the ciphertext and has
the descriptor, the limits and the connecting. The socket form (``direct=True``) has the descriptor itself; while it connects, a
socket bufferevent does that for it. What libevent gets wrong is mended in csrc/ssl.c and csrc/direct.c; what is left for
Python is to say why it ended.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from .._handle import next_id
from .._libevent import ffi, lib
from ..addresses import Address
from ..bufferevent import BufferEvent, SocketBufferEvent
from ..bufferevent.common import CLOSE_TIMEOUT, check_options
from ..errors import (
    BufferedDataError,
    TLSEOFError,
    TLSError,
    alert_of,
    check,
    check_base,
    check_descriptor,
    check_function,
    check_pointer,
    check_seconds,
    late_error,
    tls_certificate_error,
    tls_error,
)
from ..failures import keep
from ..flags import EventFlag, Option, What
from .answers import connections, current_context
from .asking import Asking
from .client_sessions import SessionKey
from .context import TLSContext
from .session import TLSSession

if TYPE_CHECKING:
    from ..bufferevent.socket import Resolver
    from ..event import EventBase

_MOST_NAME = 253
_THREADSAFE, _DEFER = int(Option.THREADSAFE), int(Option.DEFER_CALLBACKS)
_PLAIN, _SESSION, _GONE = int(lib.PEV_NOTE_PLAIN), int(lib.PEV_NOTE_SESSION), int(lib.PEV_NOTE_GONE)
_ERROR = int(What.ERROR) << lib.PEV_NOTE_EVENTS
_SESSION_PLAIN_ERROR = _SESSION | _PLAIN | _ERROR
_DATA = int(lib.PEV_NOTE_READ | lib.PEV_NOTE_WRITE)
_CLOSE_ON_FREE = int(Option.CLOSE_ON_FREE)


class TLSBufferEvent(Asking):
    """A bufferevent that speaks TLS (``bufferevent_openssl_filter_new``, ``bufferevent_openssl_socket_new``). Made by
    ``connect()``, ``accept()``, ``wrap()`` or ``BufferEvent.start_tls()``.

    The event callback gets CONNECTED once, when the handshake is done. EOF is a clean end, said inside TLS; a stream that ends
    without is an ERROR, and ``error`` a TLSEOFError, unless ``allow_dirty_shutdown``. Under TLS 1.3 a client is CONNECTED
    before the server has looked at its certificate: that it was refused is an ERROR later.
    """

    __slots__ = (
        "_below",
        "_chosen",
        "_connector",
        "_ctx",
        "_direct",
        "_failure",
        "_limit",
        "_owner",
        "_session_key",
        "_underlying",
        "_when_plain",
    )

    _below: int
    """The number of the one below that there is no object for yet; 0: none."""
    _chosen: TLSContext | None
    _connector: SocketBufferEvent | None
    _ctx: TLSContext
    _direct: bool
    _failure: BaseException | None
    _limit: float
    _owner: object
    _session_key: SessionKey | None
    _underlying: BufferEvent | None
    _when_plain: Callable[[BufferEvent], object] | None

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
        handshake_timeout: float | None = None,
        direct: bool = False,
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
            handshake_timeout: Seconds, above 0, that the whole handshake may take once the stream below is open; then ERROR
                comes, and ``error`` is a HandshakeTimeout. None: what the context says.
            direct: The socket form: see wrap().

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
            self = cls._begin_over(
                socket_bev, ctx, False, server_hostname, session, options, handshake_timeout, direct=direct, place=place
            )
            if host is not None and not _is_numeric(host):
                socket_bev.connect_hostname(host, port, dns)
            else:
                socket_bev.connect(address)
        except BaseException:
            (self or socket_bev).abort()
            raise
        return self

    @classmethod
    def accept(
        cls,
        base: EventBase,
        sock: object,
        ctx: TLSContext,
        *,
        options: Option = Option.CLOSE_ON_FREE,
        handshake_timeout: float | None = None,
        direct: bool = False,
    ) -> Self:
        """Be the server on a connected socket.

        Args:
            base: The base.
            sock: A connected socket, or a descriptor. With CLOSE_ON_FREE it is taken over: a socket object is detached.
            ctx: A context for servers.
            options: How it works.
            handshake_timeout: As for connect().
            direct: The socket form: see wrap().

        Raises:
            ValueError: The context is for clients.
            TLSError: OpenSSL refused.
        """
        _check_context(ctx, server_side=True)
        limit = _limit(handshake_timeout, ctx)
        bits = check_options(options)
        if not direct and isinstance(sock, socket.socket) and bits & _CLOSE_ON_FREE:
            return cls._accept_at_once(base, sock, ctx, bits, limit)
        options = Option(bits)
        socket_bev = SocketBufferEvent(base, sock, options)
        try:
            return cls.wrap(socket_bev, ctx, server_side=True, options=options, handshake_timeout=limit or None, direct=direct)
        except BaseException:
            socket_bev.abort()
            raise

    @classmethod
    def _accept_at_once(cls, base: EventBase, sock: socket.socket, ctx: TLSContext, bits: int, limit: float) -> Self:
        """What servers do for each connection, in one step; the object for the one below is made when somebody asks for it."""
        check_base(base)
        fd = sock.fileno() if type(sock) is socket.socket else -1
        if fd < 0:
            fd = check_descriptor(sock, "sock")
        if ctx._ticket_keys is not None:
            ctx._before_connection()
        below, number = next_id(), next_id()
        self = _whole(cls) if cls is TLSBufferEvent else cls.__new__(cls)
        handle = lib.pev_ssl_accept(base._h, ctx._h, fd, sock.gettimeout() == 0, bits, limit, below, number)
        check_pointer(handle, base)
        self._begin_with(ctx, limit, handle, base, number, bits)
        self._below = below
        self._server_side = True
        sock.detach()
        return self

    def _begin_with(self, ctx: TLSContext, limit: float, handle: Any, base: EventBase, number: int, bits: int) -> None:
        """What all ways of making one do with the handle."""
        self._ctx, self._chosen, self._limit = ctx, None, limit
        self._session_key = self._failure = self._when_plain = None
        self._begin_asking()
        self._underlying = self._connector = self._owner = self._server_hostname = None
        self._direct = False
        self._below = 0
        self._start(base, handle, number, bits)
        connections[number] = weakref.ref(self)

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
        handshake_timeout: float | None = None,
        direct: bool = False,
    ) -> Self:
        """Speak TLS over a bufferevent that is there (``bufferevent_openssl_filter_new``).

        What stands in its input is taken for the peer's first message; its callbacks aren't called any more, and its read marks
        are taken off.

        Args:
            underlying: What carries the ciphertext. With CLOSE_ON_FREE it is closed together with this.
            ctx: A context of the same side.
            server_side: Be the server.
            server_hostname: For a client: as for connect().
            session: For a client: the session to resume, as for connect(). None: none.
            options: How it works.
            handshake_timeout: As for connect().
            direct: Take the descriptor over from a SocketBufferEvent, which is closed, or closed as soon as it is connected
                (``bufferevent_openssl_socket_new``). Large transfers cost less that way; limits and marks are less exact.

        Raises:
            ValueError: A host name that can't be one, or the wrong side.
            RuntimeError: Another bufferevent stands on it already.
            BufferedDataError: With ``direct``: there are bytes in its buffers.
            TLSError: OpenSSL refused.
        """
        return cls._begin_over(
            underlying, ctx, server_side, server_hostname, session, options, handshake_timeout, direct=direct, place=None
        )

    @classmethod
    def _begin_over(
        cls,
        underlying: BufferEvent,
        ctx: TLSContext,
        server_side: bool,
        server_hostname: str | None,
        session: TLSSession | None,
        options: Option,
        handshake_timeout: float | None,
        *,
        direct: bool,
        place: tuple[str, int] | None,
    ) -> Self:
        if not isinstance(underlying, BufferEvent):
            raise TypeError(f"underlying must be a BufferEvent, not {type(underlying).__name__}")
        _check_context(ctx, server_side=server_side)
        bits = _check_over(underlying, check_options(options))
        host, is_address = _check_host(server_hostname, ctx)
        limit = _limit(handshake_timeout, ctx)
        if direct:
            _check_bare(underlying)
        key = None
        if place is not None and ctx.client_sessions is not None:
            name = None if host == ffi.NULL else host
            key = ctx._key_for(*place, name, is_address=is_address, check_host=ctx.check_hostname)
        session = _check_session(session, ctx, key)
        offered = ffi.NULL if session is None else session._h
        ctx._before_connection()
        number = next_id()
        check_host = ctx.check_hostname
        if direct:
            handle = lib.pev_ssl_socket_new(underlying.base._h, ctx._h, -1, host, is_address, check_host, offered, bits, number)
        else:
            handle = lib.pev_ssl_filter_new(
                underlying._h, ctx._h, server_side, host, is_address, check_host, offered, bits, number
            )
        check_pointer(handle, underlying)
        self = cls.__new__(cls)
        self._begin_with(ctx, limit, handle, underlying.base, number, bits)
        self._session_key, self._direct = key, direct
        self._underlying = None if direct else underlying
        self._server_side = bool(server_side)
        self._server_hostname = None if host == ffi.NULL else host.decode()
        if isinstance(underlying, SocketBufferEvent) and direct:
            self._take_over(underlying)
        else:
            underlying._carry()
            check(lib.pev_ssl_start(handle, limit), self)
        return self

    # ------------------------------------------------------------ the socket form

    def _take_over(self, below: SocketBufferEvent) -> None:
        """Have its descriptor, now or when it is connected."""
        if below.fd >= 0 and not lib.pev_bev_connecting(below._h):
            self._attach(below)
            return
        self._connector = below
        below.set_callbacks(event=lambda bev, what: self._connected(below, what))

    def _attach(self, below: SocketBufferEvent) -> None:
        owner, fd = below._owner, below.detach()
        below.abort()
        code = lib.pev_ssl_attach(self._h, fd, self._limit)
        if code < 0:
            if self._options & Option.CLOSE_ON_FREE:
                os.close(fd)
            if not self._closed:
                check(code, self)
        self._owner = owner

    def _connected(self, below: SocketBufferEvent, what: What) -> None:
        """The connector is done."""
        self._connector = None
        if what & What.CONNECTED:
            self._attach(below)
            return
        self._failure = below.error
        below.abort()
        if self._closed:
            lib.pev_bev_close(self._h, 0)
        else:
            check(lib.pev_bev_fail(self._h, What.ERROR, 0), self)

    @property
    def direct(self) -> bool:
        """Whether this is the socket form."""
        return self._direct

    # ------------------------------------------------------------ what it is

    @property
    def underlying(self) -> BufferEvent | None:
        """What carries the ciphertext (``bufferevent_get_underlying``). None: the socket form has none."""
        if self._underlying is None and self._below:
            handle = lib.pev_ssl_own_below(self._h, 0)
            made = SocketBufferEvent._of(self._base, handle, self._below, self._options)
            lib.pev_ssl_own_below(self._h, 1)
            self._underlying, self._below = made, 0
        return self._underlying

    @property
    def fd(self) -> int:
        """The descriptor, or that of the underlying."""
        if self.closed or self._direct:
            return super().fd
        if self._below:
            fd = lib.pev_bev_get_fd(lib.pev_ssl_own_below(self._h, 0))
            return -1 if fd == -errno.EBADF else check(fd, self)
        return self._underlying.fd if self._underlying is not None else super().fd

    @property
    def context(self) -> TLSContext:
        """The context it is under: the one it was made with, or the one that the name a client asked for led to."""
        return current_context(self)

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

    def renegotiate(self) -> None:
        """Shake hands once more (``bufferevent_ssl_renegotiate``). TLS 1.2 only, and only where ``ssl.OP_NO_RENEGOTIATION`` was
        taken out of the context's options; servers of OpenSSL 3 take it from clients only with
        ``SSL_OP_ALLOW_CLIENT_RENEGOTIATION`` too. No second CONNECTED comes; ``renegotiations`` counts.

        Neither side should write much while it lasts: libevent 2.1 may wait for ever where both have data under way.

        Raises:
            OSError: ENOTCONN: the handshake isn't done.
            TLSError: TLS 1.3, which has key_update() instead; or it isn't allowed.
        """
        if lib.pev_ssl_protocol(self._h) >= lib.TLS1_3_VERSION:
            check(lib.pev_bev_check(self._h), self)
            error = tls_error([], doing="TLS 1.3 has no renegotiation, but key_update()")
            error.library, error.reason = "SSL", "NO_RENEGOTIATION"
            raise error
        check(lib.pev_ssl_renegotiate(self._h), self)

    # ------------------------------------------------------------ why it ended

    @property
    def errors(self) -> list[TLSError]:
        """What OpenSSL said when it failed, oldest first (``bufferevent_get_openssl_error``)."""
        return [tls_error([code]) for code in self._codes()]

    def _explain(self, events: int, detail: int) -> BaseException:
        failed: BaseException | None = self._failure or getattr(self._underlying, "_failure", None)
        if failed is not None:
            return failed
        if events & What.TIMEOUT:
            return super()._explain(events, detail)
        error = self._explain_tls()
        if error is None and self._underlying is not None:
            return self._underlying._explain(events, detail)
        if error is None:
            return super()._explain(events, detail)
        error.alert = alert_of(lib.pev_ssl_alert(self._h, 0))
        error.alert_sent = alert_of(lib.pev_ssl_alert(self._h, 1))
        return error

    def _explain_tls(self) -> TLSError | None:
        """What TLS has to say about an ERROR."""
        if lib.pev_ssl_is_late(self._h):
            return late_error(self._limit)
        codes, is_open = self._codes(), lib.pev_ssl_is_open(self._h)
        verify = lib.pev_ssl_verify_result(self._h)
        refused_by_us = lib.pev_ssl_alert(self._h, 0) < 0
        if verify and codes and not is_open and refused_by_us:
            return tls_certificate_error(verify, codes, name=self._server_hostname or "")
        if codes:
            doing = "" if is_open else "the handshake failed" if refused_by_us else "the peer refused the handshake"
            return tls_error(codes, doing=doing)
        if lib.pev_ssl_truncated(self._h):
            return self._truncated()
        return None

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
        below = self._connector or self._underlying
        return "connecting" if below is not None and below._going() == "connecting" else "handshake"

    # ------------------------------------------------------------ the end

    def close(self, *, timeout: float = CLOSE_TIMEOUT, bidirectional: bool = False) -> None:
        """Close it: what was written goes out, then close_notify; the loop goes on sending, for so long at most. Idempotent;
        allowed in every callback. No callback comes after it.

        Args:
            timeout: Seconds from 0 to 1e9. 0: drop what is left, and say nothing to the peer.
            bidirectional: Wait for the peer's close_notify too, within the same time; what else it sends is thrown away.
        """
        if self._ctx._wants_sessions:
            self._take_sessions()
        below = self._connector or self._underlying
        if below is not None and getattr(below, "_lookup", None) is not None:
            timeout = 0
        if bidirectional and not self._closed:
            self._close_both_ways(timeout)
        else:
            _close(self, timeout=timeout)
        self._let_go()

    def _close_both_ways(self, timeout: float) -> None:
        try:
            lib.pev_ssl_set_bidirectional(self._h, True)
            _close(self, timeout=timeout)
        except BaseException:
            lib.pev_ssl_set_bidirectional(self._h, False)
            raise

    def lazy_shutdown(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close it as the libevent book's lazy shutdown does: say close_notify without waiting for the peer's, and keep the
        session good for both sides. Here all that was written goes out before. It is what close() does.
        """
        self.close(timeout=timeout)

    def shutdown_write(self) -> None:
        """Write nothing more: close_notify goes out after all that was written (``SSL_shutdown``). Reading goes on; the peer
        gets EOF, and may still send.

        Raises:
            OSError: EPIPE: it has ended with an ERROR.
        """
        check(lib.pev_ssl_finish(self._h), self)

    def unwrap(self, callback: Callable[[BufferEvent], object]) -> None:
        """Go back to plain bytes below: as shutdown_write(), and when the peer has said close_notify too, this is closed.

        Args:
            callback: Called as ``callback(bev)`` then, with the underlying, or in the socket form with a SocketBufferEvent made
                for the descriptor. What the peer sent after its close_notify is, or will be, in its input. If an ERROR comes
                before, it isn't called.

        Raises:
            OSError: EPIPE: it has ended with an ERROR.
        """
        check_function(callback, "callback")
        self._when_plain = callback
        try:
            check(lib.pev_ssl_unwrap(self._h), self)
        except BaseException:
            self._when_plain = None
            raise
        if not self.enabled & EventFlag.READ:
            self.enable(EventFlag.READ)
        self._hold()

    def _is_under_way(self) -> bool:
        return self._when_plain is not None or super()._is_under_way()

    def _uncover(self) -> None:
        """Both have said close_notify."""
        if self.closed:
            return
        if self._on_read is not None and self.input:
            self._on_read(self)  # what is below its low mark
        callback, self._when_plain = self._when_plain, None
        if callback is None or self.closed:
            return
        plain = self.underlying
        if plain is not None:
            check(lib.pev_ssl_uncover(self._h), self)
        else:
            fd = check(lib.pev_ssl_give_up_fd(self._h), self)
            plain = SocketBufferEvent(self._base, fd, Option(self._options))
        super().close(timeout=0)
        callback(plain)
        if not plain.closed and lib.pev_bev_usable_alone(plain._h) == 0 and plain.input:
            plain.trigger(EventFlag.READ)  # it came before anybody listened

    def _let_go(self) -> None:
        below, connector = self._underlying, self._connector
        if below is not None and below.closed:
            below._carried_away()
        if not self._closed or self._lingers():
            return
        if connector is not None:
            self._connector = None
            connector.abort()
        self._owner = None
        self._wait_no_more()

    def _carried_away(self) -> None:
        super()._carried_away()
        self._wait_no_more()
        self._let_go()

    def _lingers(self) -> bool:
        return self._id in self._base._armed

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
            if what & _ERROR:
                self._wait_no_more()
                self._spoil_session()
            if self._ctx._on_remove_session is not None:
                self._ctx._tell_removed()
        except BaseException:
            self._base._left.append((self._id, what, detail))
            raise
        return what & ~_SESSION

    def _failed(self, events: int, detail: int) -> BaseException:
        if events & What.ERROR:
            try:
                self._spoil_session()
                self._ctx._tell_removed()
            except BaseException as error:
                keep(self._base, error)  # the relay's end is told all the same
        return super()._failed(events, detail)

    def _ready(self, what: int, detail: int, tell: Callable[[BufferEvent, int, int], None] = BufferEvent._ready) -> None:
        if what & _SESSION_PLAIN_ERROR or (self._ctx._on_remove_session is not None and what & ~_DATA):
            what = self._look_after_sessions(what, detail)
            if what & _PLAIN:
                what &= ~_PLAIN
                self._base.call_soon(self._uncover)
            if not what:
                return
        tell(self, what, detail)
        if what & _GONE:
            self._let_go()

    def _disown(self, disown: Callable[[BufferEvent], None] = BufferEvent._disown) -> None:
        connections.pop(self._id, None)
        disown(self)


_whole = object.__new__
_close = BufferEvent.close


def _check_bare(underlying: BufferEvent) -> None:
    """Its descriptor can be taken over without losing a byte."""
    if not isinstance(underlying, SocketBufferEvent):
        raise TypeError(f"direct takes a SocketBufferEvent, not a {type(underlying).__name__}")
    check(lib.pev_bev_usable_alone(underlying._h), underlying)
    if underlying.input or underlying.output:
        raise BufferedDataError(f"direct takes a SocketBufferEvent with empty buffers, not {underlying!r}")


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
    if ctx._server_side != bool(server_side):
        raise ValueError(f"ctx must be of TLSContext.{'server' if server_side else 'client'}() here, not {ctx!r}")


def _limit(seconds: float | None, ctx: TLSContext) -> float:
    """How long a handshake may take; 0: as long as it likes."""
    if seconds is None:
        return ctx._handshake_timeout or 0.0
    return check_seconds(seconds, "handshake_timeout", positive=True)


def _check_over(underlying: BufferEvent, bits: int) -> int:
    """The options for standing on this underlying."""
    below = underlying._options
    if bits & _THREADSAFE and not below & _THREADSAFE:
        raise ValueError("options must have THREADSAFE only where the underlying has it")
    if below & _THREADSAFE:
        bits |= _THREADSAFE
    if underlying.underlying is not None:
        bits |= _DEFER  # TLS over TLS calls itself without end otherwise
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


BufferEvent._wrap = TLSBufferEvent.wrap

__all__ = ["TLSBufferEvent"]
