"""SocketBufferEvent: a bufferevent on a socket, and how it connects.

Connecting tries addresses in turn. Until one of them stands, the events of the bufferevent are C's own (csrc/bufferevent.c),
and each failure comes here as CONNECT_FAILED; only when the last address has failed, the ERROR goes to whoever has the
callbacks: the user, or the TLS layer above.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from .._handle import next_id
from .._libevent import ffi, lib
from ..addresses import Address, from_c, to_c
from ..errors import check, check_base, check_descriptor, check_int, check_pointer, failure
from ..flags import Option, What
from .common import CLOSE_TIMEOUT, BufferEvent, check_options

if TYPE_CHECKING:
    from ..event import EventBase

_CONNECT_FAILED, _EVENTS = lib.PEV_NOTE_CONNECT_FAILED, lib.PEV_NOTE_EVENTS
_CONNECTED = int(What.CONNECTED) << _EVENTS
_CLOSE_ON_FREE = int(Option.CLOSE_ON_FREE)
_STREAM, _SEQUENCE = int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET)
SystemSocket = _socket.socket
"""What Python's class stands on; one that has taken its place may not."""
type_of: Callable[[_socket.socket], int] = SystemSocket.type.__get__  # socket.socket.type makes an enum's member of it
_FAMILIES = (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6)


class Lookup(Protocol):
    """A question to a resolver that is under way, or answered."""

    @property
    def error(self) -> BaseException | None:
        """Why there is no answer."""

    @property
    def addresses(self) -> list[Any]:
        """The answer."""

    def cancel(self) -> None:
        """Don't answer any more."""


class Resolver(Protocol):
    """What connect_hostname() asks: a DNSBase."""

    def getaddrinfo(self, host: str, port: int, callback: Callable[[Any], object], *, family: int = ...) -> Lookup:
        """Ask, and be called back."""


class SocketBufferEvent(BufferEvent):
    """A bufferevent on a stream socket: TCP over IPv4 or IPv6, or AF_UNIX (``bufferevent_socket_new``).

    Args:
        base: The base.
        sock: A connected socket, or a descriptor, which is made non-blocking; None or -1: none yet. With CLOSE_ON_FREE the
            bufferevent takes it over: a socket object is detached.
        options: How it works. Without CLOSE_ON_FREE the descriptor stays the caller's.
        nodelay: Send small writes at once (TCP_NODELAY), for TCP.

    Raises:
        TypeError: An object other than a socket, with CLOSE_ON_FREE: both would close the descriptor.
        OSError: The descriptor isn't open.
        ValueError: Options that exclude each other; a socket of datagrams, one that is closed or was taken over, or a blocking
            one that listens.
    """

    __slots__ = ("_addresses", "_failure", "_lookup", "_nodelay", "_owner")

    _resolver_of: ClassVar[Callable[[EventBase], Resolver] | None] = None
    """Where connect_hostname() finds a resolver when it is given none; set by the room that has one."""

    def __init__(
        self,
        base: EventBase,
        sock: object = None,
        options: Option = Option.CLOSE_ON_FREE,
        *,
        nodelay: bool = True,
    ) -> None:
        self._begin()
        check_base(base)
        bits = check_options(options)
        _check_owner(sock, bits)
        fd = _take(sock, nodelay)
        number = next_id()
        handle = check_pointer(lib.pev_bev_socket_new(base._h, fd, bits, number), base)
        self._addresses: list[Address] = []
        self._failure: BaseException | None = None
        self._lookup: Lookup | None = None
        self._nodelay = nodelay
        self._owner = _hand_over(sock, bits)
        self._start(base, handle, number, bits)

    @classmethod
    def _of(cls, base: EventBase, handle: Any, number: int, options: int) -> Self:
        """The object for one that C has made on a connected socket, and that another stands on."""
        self = cls.__new__(cls)
        self._addresses = []
        self._failure = self._lookup = self._owner = None
        self._nodelay = True
        self._start(base, handle, number, options)
        return self

    # ------------------------------------------------------------ connecting

    def connect(self, address: Address) -> None:
        """Connect (``bufferevent_socket_connect``). CONNECTED or ERROR follows, in the event callback.

        Args:
            address: ``(host, port)`` with a numeric host, for IPv6 also ``(host, port, flowinfo, scope_id)``; a path for
                AF_UNIX.

        Raises:
            ValueError: The address isn't one; a name instead of a number takes connect_hostname().
            OSError: It failed at once: no route, no such path, EISCONN, EALREADY.
        """
        self._check_idle()
        c_address = to_c(address)
        code = self._attempt(c_address)
        if code < 0:
            lib.pev_bev_fail(self._h, 0, 0)
            self._hold()
            check(code, f"{self!r} to {address!r}")

    def connect_hostname(self, host: str, port: int, dns: Resolver | None = None, *, family: int = socket.AF_UNSPEC) -> None:
        """Resolve a name and connect to its addresses, one after the other until one takes the connection
        (``bufferevent_socket_connect_hostname``, which tries only the first). Nothing blocks. CONNECTED or ERROR follows, in
        the event callback; ``error`` is a DNSError if the name could not be resolved, else that of the last address.

        Args:
            host: A name or a numeric address.
            port: From 1 to 65535.
            dns: A DNSBase of the same base. None: one that the base keeps, set up as the system is.
            family: ``socket.AF_INET``, ``AF_INET6``, or ``AF_UNSPEC`` for both.
        """
        if family not in _FAMILIES:
            raise ValueError(f"family must be AF_UNSPEC, AF_INET or AF_INET6, not {family!r}")
        check_int(port, "port", 1, 65535)
        if dns is not None and not hasattr(dns, "getaddrinfo"):
            raise TypeError(f"dns must be a DNSBase or None, not {type(dns).__name__}")
        if getattr(dns, "base", self._base) is not self._base:
            raise ValueError(f"dns must be of the same base, and {dns!r} is of another")
        if dns is None:
            resolver_of = type(self)._resolver_of
            if resolver_of is None:
                raise RuntimeError("there is no resolver: give dns=")
            dns = resolver_of(self._base)
        self._check_idle()
        check(lib.pev_bev_expect_connect(self._h), self)
        try:
            self._lookup = dns.getaddrinfo(host, port, self._resolved, family=family)
        except BaseException:
            lib.pev_bev_fail(self._h, 0, 0)
            raise
        self._hold()

    def _check_idle(self) -> None:
        check(lib.pev_bev_check(self._h), self)
        if lib.pev_bev_connecting(self._h):
            raise OSError(errno.EALREADY, os.strerror(errno.EALREADY))
        if lib.pev_bev_get_name(self._h, 1, ffi.new("struct pev_address *")) == 0:
            raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))

    def _attempt(self, c_address: Any) -> int:
        code = int(lib.pev_bev_connect(self._h, c_address))
        if code == 0:
            self._failure = None
            self._hold()
            if self._nodelay:
                lib.pev_set_nodelay(lib.pev_bev_get_fd(self._h))
        return code

    def _resolved(self, lookup: Lookup) -> None:
        if self._closed or lookup is not self._lookup:
            return
        self._lookup = None
        if lookup.error is not None:
            self._give_up(lookup.error, What.ERROR, 0)
        else:
            self._addresses = list(lookup.addresses)
            self._try_next(None, What.ERROR, 0)

    def _try_next(self, failure_so_far: BaseException | None, events: int, code: int) -> None:
        """The next address, or the end."""
        while self._addresses:
            result = self._attempt(to_c(self._addresses.pop(0)))
            if result == 0:
                return
            failure_so_far, events, code = failure(-result, self), What.ERROR, -result
        self._give_up(failure_so_far, events, code)

    def _give_up(self, error: BaseException | None, events: int, code: int) -> None:
        self._failure = error
        lib.pev_bev_fail(self._h, events, code)
        self._hold()

    def _is_under_way(self) -> bool:
        return self._lookup is not None or bool(lib.pev_bev_connecting(self._h))

    def _ready(self, what: int, detail: int) -> None:
        if what & _CONNECT_FAILED:
            if self._closed:
                lib.pev_bev_close(self._h, 0)
                self._base._armed.pop(self._id, None)
                return
            events = what >> _EVENTS
            self._try_next(BufferEvent._explain(self, events, detail), events, detail)
            return
        BufferEvent._ready(self, what, detail)
        if what & _CONNECTED and not self._closed:
            self._addresses.clear()
            self._hold()

    def _explain(self, events: int, detail: int) -> BaseException:
        if self._failure is not None:
            return self._failure
        return super()._explain(events, detail)

    # ------------------------------------------------------------ the descriptor

    def set_fd(self, sock: object) -> None:
        """Go on with another socket (``bufferevent_setfd``, ``bufferevent_replacefd``). The one before is closed if the
        bufferevent owns it.

        Args:
            sock: As for the constructor.
        """
        _check_owner(sock, self._options)
        fd = _take(sock, self._nodelay)
        old = self.fd
        if fd >= 0 and fd == old:
            raise ValueError(f"sock must be another descriptor than {fd}, which it has")
        check(lib.pev_bev_set_fd(self._h, fd), self)
        if old >= 0 and self._options & Option.CLOSE_ON_FREE:
            os.close(old)
        self._owner = _hand_over(sock, self._options)
        self._eof = False
        self._error = self._failure = None

    def detach(self) -> int:
        """Give the descriptor away, open; what is in the buffers stays there.

        Returns:
            The descriptor. With CLOSE_ON_FREE it is the caller's to close from now on; else it is still its owner's, an
            object that is kept until this is closed. -1: there was none.
        """
        fd = self.fd
        if fd >= 0:
            check(lib.pev_bev_set_fd(self._h, -1), self)
        return fd

    def getpeername(self) -> Any:
        """The peer's address, as ``socket.getpeername()`` gives it.

        Raises:
            OSError: EBADF, ENOTCONN.
        """
        return self._name(1)

    def getsockname(self) -> Any:
        """This end's address, as ``socket.getsockname()`` gives it."""
        return self._name(0)

    def _name(self, of_peer: int) -> Any:
        out = ffi.new("struct pev_address *")
        check(lib.pev_bev_get_name(self._h, of_peer, out), self)
        return from_c(out)

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """See BufferEvent.close(). Looking up a name ends."""
        super().close(timeout=0 if self._lookup is not None else timeout)
        self._forget()

    def _carried_away(self) -> None:
        super()._carried_away()
        self._forget()

    def _forget(self) -> None:
        """Nothing is asked, and nobody's socket kept, any more."""
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.cancel()
        self._owner = None


def _take(sock: object, nodelay: bool) -> int:
    """The descriptor, ready to be used, or -1."""
    if isinstance(sock, SystemSocket):
        check_stream(sock)
    elif sock is None or (isinstance(sock, int) and sock == -1):
        return -1
    fd = check_descriptor(sock, "sock")
    code = lib.pev_ready_stream(fd, False, bool(nodelay))
    if code < 0:
        raise failure(-code, f"descriptor {fd}")
    return fd


def check_stream(sock: _socket.socket) -> None:
    """ValueError for a socket without connections: datagrams would be taken for a stream, each cut or joined anyhow."""
    if (kind := type_of(sock)) != _STREAM and kind != _SEQUENCE:
        raise ValueError(f"sock must be a stream socket, not one of {getattr(sock.type, 'name', sock.type)}")


def _check_owner(sock: object, options: int) -> None:
    """TypeError for an object that would close the descriptor too, where that is to be taken over."""
    if options & _CLOSE_ON_FREE and sock is not None and not isinstance(sock, (socket.socket, int)):
        kind = type(sock).__name__
        raise TypeError(f"sock must be a socket, a descriptor or None where options have CLOSE_ON_FREE, not {kind}")


def _hand_over(sock: object, options: int) -> object:
    """The bufferevent has the descriptor: what must be kept for it."""
    if not options & _CLOSE_ON_FREE:
        return sock
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            sock.detach()
    return None
