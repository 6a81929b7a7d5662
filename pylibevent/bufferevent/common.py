"""BufferEvent: what all kinds of bufferevents share.

A room each for what it can do: its limits (ratelimit.py), its callbacks (callbacks.py), what is set on it (settings.py), and
the bytes (transfer.py). Here is how one begins, what it can be made into, and how it ends.

Who keeps a bufferevent alive: whoever holds it; and its base, while it has a callback, connects, or is still sending what was
written before it was closed. One that nobody can hear of any more is closed when it is collected, with a ResourceWarning.
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from .._handle import Handle
from .._libevent import lib
from ..buffer.news import settle_quietly
from ..errors import BufferedDataError, Error, check, check_flags, check_seconds
from ..flags import Option, What
from .relay import Relay, RelayCallback
from .transfer import Transfer

if TYPE_CHECKING:
    from ..event import EventBase

CLOSE_TIMEOUT = 5.0
"""Seconds that a close waits for the peer to take more of what was written. What nginx calls lingering_timeout is as long."""

_UNLOCK, _DEFER = int(Option.UNLOCK_CALLBACKS), int(Option.DEFER_CALLBACKS)
_ALL_OPTIONS = sum(Option)


def check_options(options: object) -> int:
    """The bits of the options; ValueError for those that exclude each other."""
    bits = check_flags(options, Option, _ALL_OPTIONS, "options")
    if bits & _UNLOCK and not bits & _DEFER:
        raise ValueError("options must have DEFER_CALLBACKS where they have UNLOCK_CALLBACKS")
    return bits


class BufferEvent(Transfer):
    """A stream of bytes both ways, with a buffer each: what all kinds share (``struct bufferevent``).

    It isn't made itself; SocketBufferEvent, TLSBufferEvent and the others are.
    """

    __slots__ = ("_options",)

    _is_bufferevent = True

    _options: int
    _wrap: ClassVar[Callable[..., Any] | None] = None
    """What start_tls() calls; set by the room that has it."""

    def __new__(cls, *_args: Any, **_keywords: Any) -> Self:
        """Only kinds have instances."""
        if cls is BufferEvent:
            raise TypeError("a BufferEvent isn't made itself: make a SocketBufferEvent or another kind")
        return Handle.__new__(cls)

    def _start(self, base: EventBase, handle: Any, number: int, options: int) -> None:
        """What every kind's __init__ does with the handle it has made."""
        self._base = base
        self._arena = base._arena
        self._id = number
        self._options = options
        self._closed = self._eof = self._held = False
        self._error = None
        self._input = None
        self._output = None
        self._on_read = None
        self._on_write = None
        self._on_event = None
        self._muted = -1
        self._rate_limit = self._rate_limit_group = None
        self._relay = None
        self._own(handle)

    def start_tls(
        self,
        ctx: Any,
        server_side: bool = False,
        server_hostname: str | None = None,
        *,
        allow_pipelined: bool = False,
        **options: Any,
    ) -> Any:
        """Go on in TLS, as STARTTLS does: ``TLSBufferEvent.wrap()`` over this.

        What was written before goes out plainly, before the first message of TLS. This can't be used itself any more; the
        TLSBufferEvent is closed in its place, or unwrapped.

        Args:
            ctx: A TLSContext of the same side.
            server_side: Be the server.
            server_hostname: For a client: as for ``TLSBufferEvent.connect()``.
            allow_pipelined: Take what is in the input already for the peer's first message of TLS. A server that allows it must
                have read all that was plain: whoever is between the peers could have put bytes there to be read as if they had
                come in secret.
            options: What else ``TLSBufferEvent.wrap()`` takes.

        Returns:
            The TLSBufferEvent.

        Raises:
            BufferedDataError: There are bytes in the input.
        """
        if self._wrap is None:
            raise RuntimeError("there is no TLS")
        if not allow_pipelined and self.input:
            raise BufferedDataError(f"{len(self.input)} plain bytes came in before TLS was started")
        return self._wrap(self, ctx, server_side, server_hostname, **options)

    # ------------------------------------------------------------ relaying

    def relay(self, other: BufferEvent, *, on_close: RelayCallback | None = None) -> Relay:
        """Pass on everything: what comes in here goes out at the other, and back, until both directions have ended or one of
        the two fails. All of it is done in C; Python is called once.

        Both may be of any kind, connected or not yet, and have limits and timeouts. Reading stops where the other end can't
        send fast enough. The end of one direction is passed on: with shutdown() or, over TLS, close_notify. Callbacks set
        before aren't called any more, and marks are taken off. Both are closed when it ends; with the base it ends without a
        call. Until then they can't be read from or written to, and have no callbacks; one that is disabled stands still.

        Args:
            other: On the same base. The bufferevent itself: an echo.
            on_close: Called as ``on_close(end)`` with a RelayEnd when it ended.

        Returns:
            A Relay, which says how many bytes have been passed on.

        Raises:
            ValueError: The other is on another base.
            RuntimeError: Another bufferevent stands on one of them, or one is relayed already.
            ClosedError: One is closed.
            OSError: EPIPE: one has failed.
        """
        return Relay._start(self, other, on_close)

    def _join(self, relay: Relay) -> None:
        self._forget_callbacks()
        self._relay = relay
        self._hold()

    def _leave(self) -> None:
        self._relay = None
        if not self._closed:
            self._hold()

    def _failed(self, events: int, detail: int) -> BaseException:
        """The exception for an event that a relay had."""
        if self._error is None:
            self._error = self._explain(events, detail)
        return self._error

    def _carried_away(self) -> None:
        """What stood on this one was closed, and this one with it."""
        self._base._armed.pop(self._id, None)
        self._drop_buffers()

    # ------------------------------------------------------------ what it is

    @property
    def base(self) -> EventBase:
        """The base (``bufferevent_get_base``)."""
        return self._base

    @property
    def underlying(self) -> BufferEvent | None:
        """The bufferevent below, for filters and TLS (``bufferevent_get_underlying``)."""
        return None

    @property
    def fd(self) -> int:
        """The descriptor, -1 if there is none (``bufferevent_getfd``)."""
        fd = lib.pev_bev_get_fd(self._h)
        return -1 if fd == -errno.EBADF else check(fd, self)

    @property
    def options(self) -> Option:
        """What it was made with."""
        return Option(self._options)

    # ------------------------------------------------------------ the end

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close it (``bufferevent_free``). Idempotent; allowed in every callback. No callback comes after it.

        What was written goes out first: the loop goes on sending while the peer takes anything, however slowly, and over TCP
        waits until the peer has it, and ends too: whoever closes a socket that still gets bytes resets the connection. With
        nothing left to send the descriptor is closed when this returns.

        Args:
            timeout: Seconds from 0 to 1e9 without any headway, after which what is left is dropped: over TCP the peer finds a
                reset, and doesn't take what it has for all. 0: drop it at once, as bufferevent_free does.

        Raises:
            BufferError: Memoryviews of its buffers still exist.
            RuntimeError: Another thread is running the loop.
        """
        if self._closed:
            return
        armed = self._base._armed
        armed[self._id] = self  # another thread's loop may say that it is gone before this call returns
        try:
            seconds = timeout if timeout is CLOSE_TIMEOUT else check_seconds(timeout, "timeout")
            lingers = check(lib.pev_bev_close(self._h, seconds), self)
        except BaseException:
            self._hold()
            raise
        self._closed = True
        self._on_read = self._on_write = self._on_event = None
        self._base._readers.pop(self._id, None)
        self._drop_buffers()
        if not lingers:
            armed.pop(self._id, None)

    def abort(self) -> None:
        """Close it at once and drop what is left to send."""
        self.close(timeout=0)
        lib.pev_bev_close(self._h, 0)  # a callback, or somebody before, has closed it, and it is still sending

    @property
    def closed(self) -> bool:
        """Whether it, or its base, is closed."""
        return self._closed or bool(lib.pev_bev_check(self._h) == -lib.PEV_ECLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _state(self) -> str:
        code = lib.pev_bev_check(self._h)
        if code == -lib.PEV_EFORKED:
            return "of the parent process"
        if code == -lib.PEV_ETHREAD:
            return "in another thread"
        if self.closed:
            return "closed"
        ended = lib.pev_bev_ended(self._h)
        return "failed" if ended & What.ERROR else "at EOF" if ended & What.EOF else self._going()

    def _going(self) -> str:
        return "connecting" if lib.pev_bev_connecting(self._h) else "open"

    def _describe(self) -> str:
        state = self._state()
        if lib.pev_bev_check(self._h) < 0:
            return f"<{type(self).__name__} {state}>"
        fd = lib.pev_bev_get_fd(self._h)
        number = f" fd {fd}," if fd >= 0 else ""
        waiting = f"{lib.pev_bev_input_length(self._h)} in, {lib.pev_bev_output_length(self._h)} out"
        return f"<{type(self).__name__}{number} {state}, {waiting}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing, _warn: Callable[..., None] = warnings.warn) -> None:
        if _exiting():
            return
        try:
            handle = self._h
        except (AttributeError, Error):  # it has none
            return
        try:
            if not self._closed:
                self._input = self._output = None
                if lib.pev_bev_check(handle) in (0, -lib.PEV_ETHREAD):
                    _warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:  # the warning may be an error
            self._disown()  # whoever the warning gave it to has an object without a handle
            lib.pev_bev_drop(handle)
            settle_quietly()


def refuse_kind(bev: BufferEvent, what: str) -> NoReturn:
    """Say that this kind can't do it."""
    raise TypeError(f"a {type(bev).__name__} can't {what}")
