"""event2/listener.h: Listener."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ._handle import Handle, next_id
from ._libevent import ffi, lib
from .addresses import Address, from_c, is_local_name, to_c
from .errors import check, check_base, check_callable, check_descriptor, check_int, check_seconds, failure

if TYPE_CHECKING:
    from .event import EventBase

AcceptCallback: TypeAlias = "Callable[[Listener, socket.socket, Any], object]"
ErrorCallback: TypeAlias = "Callable[[Listener, OSError], object]"

_ACCEPTED, _FAILED = lib.PEV_NOTE_ACCEPTED, lib.PEV_NOTE_ACCEPT_FAILED
_DEFAULT_BACKLOG = 128
_MOST_PAUSE = 1e6
_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)  # told to Python's object it costs no look at the descriptor
_MOST_BACKLOG = 2**31 - 1
_NAMES = "'127.0.0.1' or '::1' is for this machine alone, '' for all its IPv4 addresses, '::' for all"


class Listener(Handle):
    """Accepts connections (``evconnlistener``). Made by ``bind()`` or ``from_socket()``.

    Where the process runs out of descriptors or memory, accepting pauses and is tried again after ``pause`` seconds; the error
    callback hears of it.
    """

    __slots__ = (
        "_address",
        "_base",
        "_blocking",
        "_callback",
        "_closed",
        "_family",
        "_id",
        "_on_error",
        "_owner",
        "_pause",
        "_peer",
        "_protocol",
        "_taken",
    )

    _address: Any
    _base: EventBase
    _blocking: bool
    _callback: AcceptCallback | None
    _closed: bool
    _family: int
    _id: int
    _on_error: ErrorCallback | None
    _owner: object
    _pause: float
    _peer: Any
    """Where C says who connected."""
    _protocol: int
    _taken: Any
    """Where C puts a descriptor."""

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise TypeError("a Listener isn't made itself: use Listener.bind() or Listener.from_socket()")

    @classmethod
    def bind(
        cls,
        base: EventBase,
        address: Address,
        callback: AcceptCallback | None,
        *,
        error: ErrorCallback | None = None,
        backlog: int = _DEFAULT_BACKLOG,
        reuse_address: bool = True,
        reuse_port: bool = False,
        ipv6_only: bool = False,
        deferred_accept: bool = False,
        close_on_exec: bool = True,
        blocking_sockets: bool = False,
        enabled: bool = True,
    ) -> Self:
        """Listen on an address (``evconnlistener_new_bind``).

        Args:
            base: The base.
            address: ``(host, port)`` with a numeric host, ``""`` for all; port 0 lets the system choose; for IPv6 also
                ``(host, port, flowinfo, scope_id)``; a path for AF_UNIX.
            callback: Called as ``callback(listener, sock, address)`` with a connected, non-blocking ``socket.socket``, which is
                the callback's to keep. None: nothing is accepted before there is one.
            error: Called as ``error(listener, exception)`` when accepting fails.
            backlog: How many connections wait in the system at most, from 1.
            reuse_address: SO_REUSEADDR: listen again at once after a restart.
            reuse_port: SO_REUSEPORT: several listeners, also of other processes, share the address.
            ipv6_only: An IPv6 listener takes no IPv4 connections. False: as the system is set, which is usually both.
            deferred_accept: TCP_DEFER_ACCEPT: accept only when the first bytes are there.
            close_on_exec: No program that is started inherits the sockets.
            blocking_sockets: Accepted sockets block.
            enabled: Accept from now on.

        Raises:
            OSError: The address can't be listened on: EADDRINUSE, EACCES, EADDRNOTAVAIL.
            ValueError: The address isn't one.
        """
        check_base(base)
        c_address = to_c(address, _NAMES)
        options = lib.LEV_OPT_CLOSE_ON_FREE | _options(close_on_exec, blocking_sockets, enabled and callback is not None)
        local = is_local_name(address)
        for given, flag in (
            (reuse_address and not local, lib.LEV_OPT_REUSEABLE),
            (reuse_port and not local, lib.LEV_OPT_REUSEABLE_PORT),
            (ipv6_only, lib.LEV_OPT_BIND_IPV6ONLY),
            (deferred_accept and not local, lib.LEV_OPT_DEFERRED_ACCEPT),
        ):
            options |= flag if given else 0
        backlog = check_int(backlog, "backlog", 1, _MOST_BACKLOG)
        _check_callbacks(callback, error)
        number = next_id()
        handle = lib.pev_listener_bind(base._h, c_address, options, backlog, number)
        if not handle:
            raise failure(ffi.errno, base, f"listening on {address!r}")
        self = cls._made(base, handle, number, c_address.family, callback, error)
        self._blocking = bool(blocking_sockets)
        return self

    @classmethod
    def from_socket(
        cls,
        base: EventBase,
        sock: object,
        callback: AcceptCallback | None,
        *,
        error: ErrorCallback | None = None,
        backlog: int | None = None,
        close: bool = True,
        close_on_exec: bool = True,
        blocking_sockets: bool = False,
        enabled: bool = True,
    ) -> Self:
        """Listen on a socket that is bound (``evconnlistener_new``). It is made non-blocking.

        Args:
            base: The base.
            sock: A bound stream socket, or its descriptor.
            callback: As for bind().
            error: As for bind().
            backlog: Start listening, with so many connections waiting at most. None: it listens already, or 128.
            close: The listener takes the socket over and closes it; a socket object is detached.
            close_on_exec: As for bind().
            blocking_sockets: As for bind().
            enabled: As for bind().

        Raises:
            OSError: The descriptor isn't a socket that can listen.
        """
        check_base(base)
        fd = check_descriptor(sock, "sock")
        _check_callbacks(callback, error)
        family, listens = _look_at(fd)
        if close and not isinstance(sock, int | socket.socket):
            raise TypeError(f"sock must be a socket or a descriptor where close is true, not {type(sock).__name__}")
        if backlog is not None or not listens:
            queue = check_int(_DEFAULT_BACKLOG if backlog is None else backlog, "backlog", 1, _MOST_BACKLOG)
        else:
            queue = 0
        options = _options(close_on_exec, blocking_sockets, enabled and callback is not None)
        options |= lib.LEV_OPT_CLOSE_ON_FREE if close else 0
        number = next_id()
        handle = lib.pev_listener_new(base._h, fd, options, queue, number)
        if not handle:
            raise failure(ffi.errno, base, f"listening on descriptor {fd}")
        self = cls._made(base, handle, number, family, callback, error)
        self._owner = sock
        self._blocking = bool(blocking_sockets)
        if close:
            if isinstance(sock, socket.socket):
                sock.detach()
            self._owner = None
        return self

    @classmethod
    def _made(
        cls,
        base: EventBase,
        handle: Any,
        number: int,
        family: int,
        callback: AcceptCallback | None,
        error: ErrorCallback | None,
    ) -> Self:
        self = cls.__new__(cls)
        self._own(handle)
        self._base = base
        self._id = number
        self._family = family
        self._callback = callback
        self._on_error = error
        self._owner = None
        self._closed = False
        self._pause = 0.1
        self._blocking = False
        self._peer, self._taken = ffi.new("struct pev_address *"), ffi.new("int *")
        self._protocol = socket.IPPROTO_TCP if family in (socket.AF_INET, socket.AF_INET6) else 0
        with _borrowed(self.fd, family) as sock:
            self._address = sock.getsockname()
        base._armed[number] = self
        return self

    # ------------------------------------------------------------ accepting

    def _ready(self, what: int, code: int) -> None:
        is_empty = False
        try:
            is_empty = bool(what & _ACCEPTED) and self._take_all()
        finally:
            if not is_empty and not self._closed:
                lib.pev_listener_renote(self._h)
        if what & _FAILED and self._on_error is not None and not self._closed:
            self._on_error(self, OSError(code, os.strerror(code)))

    def _take_all(self) -> bool:
        """Call the callback with all that was accepted, while it may be. Returns whether nothing is left."""
        peer, taken = self._peer, self._taken
        left = 1
        while left and self._callback is not None and not self._closed:
            callback = None
            taken[0] = -1
            sock = socket.socket.__new__(socket.socket)  # before there is a descriptor that an interrupt could lose
            try:
                left = lib.pev_listener_next(self._h, peer, taken)
                if left < 0:
                    return True
                _adopt(sock, self._family, self._protocol, taken[0], self._blocking)
                address = from_c(peer) if peer.family else ""
                callback = self._callback
            finally:
                if callback is None and taken[0] >= 0:
                    sock.detach()
                    lib.pev_listener_put_back(self._h)
            callback(self, sock, address)
            if self._base._turn:
                break
        return not left

    def enable(self) -> None:
        """Accept from now on (``evconnlistener_enable``)."""
        check(lib.pev_listener_enable(self._h), self)
        check(lib.pev_listener_renote(self._h), self)

    def disable(self) -> None:
        """Accept nothing from now on; connections wait in the system (``evconnlistener_disable``)."""
        check(lib.pev_listener_disable(self._h), self)

    @property
    def enabled(self) -> bool:
        """Whether it accepts."""
        return bool(check(lib.pev_listener_enabled(self._h), self))

    @property
    def callback(self) -> AcceptCallback | None:
        """What is called with each connection."""
        return self._callback

    def set_callback(self, callback: AcceptCallback | None) -> None:
        """Set what is called with each connection, as for bind() (``evconnlistener_set_cb``). None stops accepting."""
        check_callable(callback, "callback")
        before, self._callback = self._callback, callback
        try:
            if callback is None:
                self.disable()
            else:
                self.enable()
        except BaseException:
            self._callback = before
            raise

    def set_error_callback(self, error: ErrorCallback | None) -> None:
        """Set what is called when accepting fails, as for bind() (``evconnlistener_set_error_cb``)."""
        check_callable(error, "error")
        self._on_error = error

    @property
    def pause(self) -> float:
        """After how many seconds accepting is tried again when it failed; above 0, up to 1e6; may be set."""
        return self._pause

    @pause.setter
    def pause(self, seconds: float) -> None:
        seconds = check_seconds(seconds, "pause", positive=True, most=_MOST_PAUSE)
        check(lib.pev_listener_set_pause(self._h, seconds), self)
        self._pause = seconds

    # ------------------------------------------------------------ what it is

    @property
    def base(self) -> EventBase:
        """The base (``evconnlistener_get_base``)."""
        return self._base

    @property
    def fd(self) -> int:
        """The descriptor (``evconnlistener_get_fd``)."""
        return check(lib.pev_listener_get_fd(self._h), self)

    @property
    def address(self) -> Any:
        """Where it listens, as ``socket.getsockname()`` gives it. In any thread, and after close() too."""
        return self._address

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Stop listening and close the socket (``evconnlistener_free``). Idempotent; allowed in its own callbacks.

        What was accepted and not given to the callback yet is closed.
        """
        check(lib.pev_listener_close(self._h), self)
        self._closed = True
        self._base._armed.pop(self._id, None)
        self._owner = None

    @property
    def closed(self) -> bool:
        """Whether it, or its base, is closed."""
        return self._closed or bool(lib.pev_listener_check(self._h) == -lib.PEV_ECLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _describe(self) -> str:
        code = lib.pev_listener_check(self._h)
        if code < 0:
            state = "closed" if code == -lib.PEV_ECLOSED else "not usable here"
            return f"<Listener {state}>"
        return f"<Listener fd {self.fd}, {self.address!r}, {'enabled' if self.enabled else 'disabled'}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing, _warn: Callable[..., None] = warnings.warn) -> None:
        if _exiting():
            return
        with contextlib.suppress(AttributeError):
            handle = object.__getattribute__(self, "_h")
            try:
                if lib.pev_listener_check(handle) in (0, -lib.PEV_ETHREAD):
                    _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            finally:  # the warning may be an error
                self._disown()  # whoever the warning gave it to has an object without a handle
                lib.pev_listener_drop(handle)


def _adopt(sock: socket.socket, family: int, protocol: int, fd: int, blocking: bool) -> None:
    """Make this the object of a stream socket, which knows whether it blocks."""
    if blocking:
        socket.socket.__init__(sock, family, socket.SOCK_STREAM, protocol, fd)
    else:
        socket.socket.__init__(sock, family, socket.SOCK_STREAM | _NONBLOCK, protocol, fd)
        if not _NONBLOCK:
            sock.setblocking(False)


def _options(close_on_exec: bool, blocking: bool, enabled: bool) -> int:
    options = lib.LEV_OPT_CLOSE_ON_EXEC if close_on_exec else 0
    options |= lib.LEV_OPT_LEAVE_SOCKETS_BLOCKING if blocking else 0
    return int(options | (0 if enabled else lib.LEV_OPT_DISABLED))


def _check_callbacks(callback: object, error: object) -> None:
    check_callable(callback, "callback")
    check_callable(error, "error")


@contextlib.contextmanager
def _borrowed(fd: int, family: int = -1) -> Any:
    """A socket object on somebody else's descriptor."""
    try:
        sock = socket.socket(family, fileno=fd) if family >= 0 else socket.socket(fileno=fd)
    except OSError as error:
        raise failure(error.errno or errno.EBADF, f"descriptor {fd}") from None
    try:
        yield sock
    finally:
        sock.detach()


def _look_at(fd: int) -> tuple[int, bool]:
    """The family of a stream socket, and whether it listens."""
    with _borrowed(fd) as sock:
        if sock.type != socket.SOCK_STREAM:
            raise OSError(errno.EOPNOTSUPP, f"descriptor {fd} isn't a stream socket")
        return sock.family, bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


__all__ = ["Listener"]
