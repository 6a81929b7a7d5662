"""The part of a bufferevent that hears what happened, and calls its user's callbacks.

How an event gets here: libevent's callback notes it in C (csrc/bufferevent.c says by which rules); the base's loop takes the
entry and calls ``_ready`` with it; that calls the user's callbacks in libevent's own order for deferred ones: CONNECTED,
read, write, all other events.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .._libevent import lib
from ..errors import Error, check, check_callable
from ..flags import EventFlag, What
from .ratelimit import RateLimited

if TYPE_CHECKING:
    from ..event import EventBase
    from .common import BufferEvent
    from .relay import Relay

    DataCallback: TypeAlias = Callable[["BufferEvent"], object]
    EventsCallback: TypeAlias = Callable[["BufferEvent", What], object]

_READ, _WRITE = lib.PEV_NOTE_READ, lib.PEV_NOTE_WRITE
_GONE, _EVENTS = lib.PEV_NOTE_GONE, lib.PEV_NOTE_EVENTS
# Plain ints: operators of flags are functions of Python's, with signals looked at inside.
_CONNECTED, _EOF = int(What.CONNECTED), int(What.EOF)
_NOTE_CONNECTED = _CONNECTED << _EVENTS
_TROUBLE, _TIMEOUT = int(What.ERROR | What.TIMEOUT), int(What.TIMEOUT)
_EV_READ, _EV_WRITE = int(EventFlag.READ), int(EventFlag.WRITE)


class Callbacks(NamedTuple):
    """The callbacks of a bufferevent."""

    read: DataCallback | None
    write: DataCallback | None
    event: EventsCallback | None


class Calling(RateLimited):
    """See BufferEvent."""

    __slots__ = (
        "_base",
        "_closed",
        "_eof",
        "_error",
        "_held",
        "_id",
        "_muted",
        "_on_event",
        "_on_read",
        "_on_write",
        "_relay",
    )

    _base: EventBase
    _closed: bool
    _eof: bool
    _error: BaseException | None
    _held: bool
    """Whether a read callback is owed to whoever enables reading again."""
    _id: int
    _muted: int
    """In which pass reading was disabled; -1: it wasn't."""
    _on_event: Callable[[Any, What], object] | None
    _on_read: Callable[[Any], object] | None
    _on_write: Callable[[Any], object] | None
    _relay: Relay | None

    def set_callbacks(
        self,
        read: DataCallback | None = None,
        write: DataCallback | None = None,
        event: EventsCallback | None = None,
    ) -> None:
        """Set all three callbacks (``bufferevent_setcb``). They are called by the base's loop, after a pass.

        Args:
            read: Called as ``read(bev)`` when bytes have come in, as many as the low mark says.
            write: Called as ``write(bev)`` when the output is empty, or down to the low mark.
            event: Called as ``event(bev, what)``: CONNECTED; TIMEOUT, after which that direction is disabled; EOF, after which
                nothing comes in any more; ERROR, after which nothing comes at all. ``bev.error`` says why.
        """
        check_callable(read, "read")
        check_callable(write, "write")
        check_callable(event, "event")
        wants = (_EV_READ if read is not None else 0) | (_EV_WRITE if write is not None else 0)
        check(lib.pev_bev_want(self._h, wants), self)
        self._on_read, self._on_write, self._on_event = read, write, event
        if read is None:
            self._base._readers.pop(self._id, None)  # before another thread runs, or a signal's handler
        self._hold()

    @property
    def callbacks(self) -> Callbacks:
        """The three callbacks (``bufferevent_getcb``)."""
        return Callbacks(self._on_read, self._on_write, self._on_event)

    def _is_busy(self) -> bool:
        """Whether C may have something to say that somebody waits for."""
        return (
            self._on_read is not None
            or self._on_write is not None
            or self._on_event is not None
            or self._relay is not None
            or self._is_under_way()
        )

    def _is_under_way(self) -> bool:
        """Whether something was begun that goes on without callbacks."""
        return False

    def _carry(self) -> None:
        """Another bufferevent stands on this one from now on, and has its callbacks."""
        self._forget_callbacks()
        self._hold()

    def _forget_callbacks(self) -> None:
        self._on_read = self._on_write = self._on_event = None
        self._base._readers.pop(self._id, None)  # before another thread runs, or a signal's handler

    def _hold(self) -> None:
        """Have the base keep this while it must."""
        if self._is_busy():
            self._base._armed[self._id] = self
        else:
            self._base._armed.pop(self._id, None)
        self._short_cut()

    def _short_cut(self) -> None:
        """Let the loop call the read callback without asking, unless an earlier callback of the pass disabled reading."""
        if self._on_read is not None and self._muted < 0:
            self._base._readers[self._id] = self
        else:
            self._base._readers.pop(self._id, None)

    def _ready(self, what: int, detail: int) -> None:
        """The base's loop: this happened in the pass."""
        if what == _READ:
            self._call_read()
            return
        if what == _NOTE_CONNECTED:
            self._call_event(_CONNECTED)
            return
        left = what
        try:
            if left & _NOTE_CONNECTED:
                left ^= _NOTE_CONNECTED
                self._call_event(_CONNECTED)
            if left & _READ and not self._closed:
                left ^= _READ
                self._call_read()
            if left & _WRITE and not self._closed and self._on_write is not None:
                left ^= _WRITE
                self._on_write(self)
            events, left = left >> _EVENTS, 0
            if events and not self._closed:
                self._ended(events, detail)
        finally:
            if left and not self._closed:
                self._base._left.append((self._id, left, detail))  # one of them raised: the rest comes after what is due
        if what & _GONE:
            self._base._armed.pop(self._id, None)

    def _still_due(self, what: int) -> int:
        """What is left of what the pass found: not reading, where an earlier callback disabled it. enable() brings it back."""
        if what & _READ and self._muted == self._base._serial:
            self._held = True
            what ^= _READ
        return what

    def _call_read(self) -> None:
        if self._muted == self._base._serial:
            self._held = True  # an earlier callback disabled reading: enable() brings it back
        elif self._on_read is not None:
            self._on_read(self)

    def _call_event(self, what: int, _known: dict[int, What] = What._value2member_map_) -> None:  # type: ignore[assignment]
        if self._on_event is not None:
            self._on_event(self, _known[what] if what in _known else What(what))

    def _ended(self, events: int, detail: int) -> None:
        after_eof, self._eof = self._eof, self._eof or bool(events & _EOF)
        if events & _TROUBLE:
            self._error = self._explain(events, detail)
        if after_eof and self._on_write is None:
            return  # one end is enough for those who don't wait for their output
        self._call_event(events)

    def _explain(self, events: int, detail: int) -> BaseException:
        """The exception for an ERROR or a TIMEOUT."""
        if events & _TIMEOUT:
            doing = "reading" if events & What.READING else "writing" if events & What.WRITING else "the handshake"
            return TimeoutError(errno.ETIMEDOUT, f"{doing} timed out")
        if detail > 0:
            return OSError(detail, os.strerror(detail))
        return Error("the stream failed, and nothing says why")

    @property
    def error(self) -> BaseException | None:
        """Why the last ERROR or TIMEOUT came: an OSError with its errno, TimeoutError, TLSError, DNSError
        (``bufferevent_socket_get_dns_error``). None: none came.
        """
        return self._error
