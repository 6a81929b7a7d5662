"""TLSBufferEvent: TLS over another bufferevent, or straight on a socket.

The filter form stands on its underlying: a plain socket bufferevent, by default one of its own, carries the ciphertext and has
the descriptor, the limits and the connecting. The socket form (``direct=True``) has the descriptor itself. What libevent gets
wrong is mended in csrc/ssl.c and csrc/direct.c.

Here is how one is made, and what it is under. A room each for the rest: who the peer is (peer.py), answers that come later
(asking.py), sessions (connection_sessions.py), the socket form (direct.py), and why and how it ends (ending.py).
"""

from __future__ import annotations

import errno
import socket
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from .._handle import next_id
from .._libevent import ffi, lib
from ..addresses import Address
from ..bufferevent import BufferEvent, SocketBufferEvent
from ..bufferevent.common import check_options
from ..bufferevent.socket import SystemSocket, check_stream, type_of
from ..errors import check, check_base, check_descriptor, check_pointer, failure, tls_error
from ..flags import Option
from .answers import connections, current_context
from .arguments import (
    check_bare,
    check_context,
    check_over,
    check_server_hostname,
    check_session,
    handshake_limit,
    host_of,
    is_numeric,
    place_of,
)
from .context import TLSContext
from .ending import Ending
from .session import TLSSession

if TYPE_CHECKING:
    from ..bufferevent.socket import Resolver
    from ..event import EventBase

_CLOSE_ON_FREE = int(Option.CLOSE_ON_FREE)
_STREAM = int(socket.SOCK_STREAM)
_whole = object.__new__


class TLSBufferEvent(Ending):
    """A bufferevent that speaks TLS (``bufferevent_openssl_filter_new``, ``bufferevent_openssl_socket_new``). Made by
    ``connect()``, ``accept()``, ``wrap()`` or ``BufferEvent.start_tls()``.

    The event callback gets CONNECTED once, when the handshake is done. EOF is a clean end, said inside TLS; a stream that ends
    without is an ERROR, and ``error`` a TLSEOFError, unless ``allow_dirty_shutdown``. Under TLS 1.3 a client is CONNECTED
    before the server has looked at its certificate: that it was refused is an ERROR later.
    """

    __slots__ = ("_below", "_chosen")

    _below: int
    """The number of the one below that there is no object for yet; 0: none."""
    _chosen: TLSContext | None

    def __init__(self, *_args: object, **_keywords: object) -> None:
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
        host, port = host_of(address)
        if server_hostname is None and host is not None:
            server_hostname = host.partition("%")[0]
        options = Option(check_options(options))
        socket_bev = SocketBufferEvent(base, None, options)
        self = None
        try:
            place = place_of(address)
            self = cls._begin_over(
                socket_bev, ctx, False, server_hostname, session, options, handshake_timeout, direct=direct, place=place
            )
            if host is not None and not is_numeric(host):
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
            ValueError: The context is for clients; or as for SocketBufferEvent.
            TLSError: OpenSSL refused.
        """
        check_context(ctx, server_side=True)
        limit = handshake_limit(handshake_timeout, ctx)
        bits = check_options(options)
        if not direct and isinstance(sock, SystemSocket) and bits & _CLOSE_ON_FREE:
            return cls._accept_at_once(base, sock, ctx, bits, limit)
        options = Option(bits)
        socket_bev = SocketBufferEvent(base, sock, options)
        try:
            return cls.wrap(socket_bev, ctx, server_side=True, options=options, handshake_timeout=limit or None, direct=direct)
        except BaseException:
            socket_bev.abort()
            raise

    @classmethod
    def _accept_at_once(cls, base: EventBase, sock: SystemSocket, ctx: TLSContext, bits: int, limit: float) -> Self:
        """What servers do for each connection, in one step; the object for the one below is made when somebody asks for it."""
        check_base(base)
        if type_of(sock) != _STREAM:  # a call less
            check_stream(sock)
        fd = sock.fileno() if type(sock) is socket.socket else -1
        if fd < 0:
            fd = check_descriptor(sock, "sock")
        if ctx._ticket_keys is not None:
            ctx._before_connection()
        below, number = next_id(), next_id()
        self = _whole(cls) if cls is TLSBufferEvent else cls.__new__(cls)
        handle = lib.pev_ssl_accept(base._h, ctx._h, fd, sock.gettimeout() == 0, bits, limit, below, number)
        if not handle:
            raise failure(ffi.errno, base, f"descriptor {fd}")
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

    def _disown(self, disown: Callable[[BufferEvent], None] = BufferEvent._disown) -> None:
        connections.pop(self._id, None)
        disown(self)

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
        check_context(ctx, server_side=server_side)
        bits = check_over(underlying, check_options(options))
        host, is_address = check_server_hostname(server_hostname, ctx)
        limit = handshake_limit(handshake_timeout, ctx)
        if direct:
            check_bare(underlying)
        key = None
        if place is not None and ctx.client_sessions is not None:
            name = None if host == ffi.NULL else host
            key = ctx._key_for(*place, name, is_address=is_address, check_host=ctx.check_hostname)
        session = check_session(session, ctx, key)
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
        self._check_open(lib.pev_ssl_renegotiate(self._h))


BufferEvent._wrap = TLSBufferEvent.wrap

__all__ = ["TLSBufferEvent"]
