"""BufferEvent: what all kinds of bufferevents share.

How an event gets here: libevent's callback notes it in C (csrc/bufferevent.c says by which rules); the base's loop takes the
entry and calls ``_ready`` with it; that calls the user's callbacks in libevent's own order for deferred ones: CONNECTED,
read, write, all other events.

Who keeps a bufferevent alive: whoever holds it; and its base, while it has a callback, connects, or is still sending what was
written before it was closed. One that nobody can hear of any more is closed when it is collected, with a ResourceWarning.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, Protocol, Self, TypeAlias

from .._libevent import ffi, lib
from ..buffer import Buffer
from ..buffer.news import _released, has_news, lent, settle, settle_quietly, watched
from ..errors import (
    MAX_INT,
    BufferedDataError,
    Error,
    as_bytes,
    check,
    check_callable,
    check_flags,
    check_int,
    check_seconds,
    check_size,
    check_two,
)
from ..flags import EventFlag, FlushMode, Option, What
from .ratelimit import RateLimited
from .relay import Relay, RelayCallback

if TYPE_CHECKING:
    from typing_extensions import Buffer as BytesLike

    from ..event import EventBase

    DataCallback: TypeAlias = Callable[["BufferEvent"], object]
    EventsCallback: TypeAlias = Callable[["BufferEvent", What], object]

CLOSE_TIMEOUT = 5.0
"""Seconds that a close waits for what was written to be sent. What nginx calls lingering_timeout is as long."""

_READ, _WRITE = lib.PEV_NOTE_READ, lib.PEV_NOTE_WRITE
_GONE, _EVENTS = lib.PEV_NOTE_GONE, lib.PEV_NOTE_EVENTS
# Plain ints: operators of flags are functions of Python's, with signals looked at inside.
_CONNECTED, _EOF = int(What.CONNECTED), int(What.EOF)
_NOTE_CONNECTED = _CONNECTED << _EVENTS
_ERROR = int(What.ERROR)
_TROUBLE, _TIMEOUT = int(What.ERROR | What.TIMEOUT), int(What.TIMEOUT)
_READ_WRITE = EventFlag.READ | EventFlag.WRITE
_EV_READ, _EV_WRITE = int(EventFlag.READ), int(EventFlag.WRITE)
_BOTH = _EV_READ | _EV_WRITE
_UNLOCK, _DEFER = int(Option.UNLOCK_CALLBACKS), int(Option.DEFER_CALLBACKS)
_ALL_WHAT = sum(What)
_ALL_OPTIONS = sum(Option)
_write, _write_short, _write_buffer = lib.pev_bev_write, lib.pev_bev_write_short, lib.pev_bev_write_buffer
_take_fresh = lib.pev_bev_take_fresh
_LONG = lib.PEV_LONG
_DESK = lib.PEV_DESK_SIZE
_FRESH_BITS = lib.PEV_FRESH_BITS
_FRESH_END = (1 << _FRESH_BITS) - 1
_MADE_SECONDS = 5.0
"""Longer than a thread needs to keep the Buffer that it has made, on any machine; it may have ended in between."""


class Arena(Protocol):
    """Where a pass puts what it has read: a ``ffi.buffer``, whose slices are bytes."""

    def __getitem__(self, where: slice, /) -> bytes: ...


class Watermark(NamedTuple):
    """The marks of one direction, in bytes."""

    low: int
    high: int


class Callbacks(NamedTuple):
    """The callbacks of a bufferevent."""

    read: DataCallback | None
    write: DataCallback | None
    event: EventsCallback | None


def check_options(options: object) -> int:
    """The bits of the options; ValueError for those that exclude each other."""
    bits = check_flags(options, Option, _ALL_OPTIONS, "options")
    if bits & _UNLOCK and not bits & _DEFER:
        raise ValueError("options must have DEFER_CALLBACKS where they have UNLOCK_CALLBACKS")
    return bits


class BufferEvent(RateLimited):
    """A stream of bytes both ways, with a buffer each: what all kinds share (``struct bufferevent``).

    It isn't made itself; SocketBufferEvent, TLSBufferEvent and the others are.
    """

    __slots__ = (
        "_arena",
        "_base",
        "_closed",
        "_eof",
        "_error",
        "_held",
        "_id",
        "_input",
        "_muted",
        "_on_event",
        "_on_read",
        "_on_write",
        "_options",
        "_output",
        "_relay",
    )

    _is_bufferevent = True

    _arena: Arena
    _base: EventBase
    _id: int
    _options: int
    _wrap: ClassVar[Callable[..., Any] | None] = None
    """What start_tls() calls; set by the room that has it."""

    def __new__(cls, *_args: Any, **_keywords: Any) -> Self:
        """Only kinds have instances."""
        if cls is BufferEvent:
            raise TypeError("a BufferEvent isn't made itself: make a SocketBufferEvent or another kind")
        return super().__new__(cls)

    def _start(self, base: EventBase, handle: Any, number: int, options: int) -> None:
        """What every kind's __init__ does with the handle it has made."""
        self._base = base
        self._arena = base._arena
        self._id = number
        self._options = options
        self._closed = self._eof = self._held = False
        self._error: BaseException | None = None
        self._input: Buffer | None = None
        self._output: Buffer | None = None
        self._on_read: DataCallback | None = None
        self._on_write: DataCallback | None = None
        self._on_event: EventsCallback | None = None
        self._muted = -1
        self._rate_limit = self._rate_limit_group = None
        self._relay: Relay | None = None
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

    # ------------------------------------------------------------ bytes

    def write(self, data: BytesLike) -> None:
        """Append bytes to the output, copied; the loop sends them (``bufferevent_write``).

        Args:
            data: Bytes-like.

        Raises:
            ClosedError: The bufferevent is closed.
            OSError: EPIPE: it has ended with an ERROR. While that is known here, and the event callback is still to hear of it,
                what is written goes nowhere.
            RuntimeError: Another thread is running the loop.
        """
        if type(data) is bytes:
            if not (code := _write_short(self._h, data, len(data))):
                return  # PEV_SENT
            if code == _LONG:
                code = _write(self._h, data, len(data))
        else:
            code = _write(self._h, *as_bytes(data))
        if code < 0 and not self._is_about_to_fail(code):
            check(code, self)
        if watched or lent or _released:
            settle()

    def write_buffer(self, buffer: Buffer) -> None:
        """Move all of a buffer to the output, without copying (``bufferevent_write_buffer``). Errors as write()."""
        if not isinstance(buffer, Buffer):
            raise TypeError(f"buffer must be a Buffer, not {type(buffer).__name__}")
        if not (code := _write_buffer(self._h, buffer._h)):
            return  # PEV_SENT
        if code < 0 and self._is_about_to_fail(code):
            buffer.drain()
        elif code < 0:
            check_two(code, self, buffer)
        if watched or lent or _released:
            settle()

    def _is_about_to_fail(self, code: int) -> bool:
        """Whether a write was refused for an ERROR that the event callback is still to hear of."""
        return code == -errno.EPIPE and self._error is None and bool(lib.pev_bev_ended(self._h) & _ERROR)

    def read(self, size: int | None = -1) -> bytes:
        """Take bytes that have come in (``bufferevent_read``).

        Args:
            size: How many at most. -1 or None: all.

        Returns:
            The bytes; none if nothing is there.
        """
        if size == -1:
            if (fresh := _take_fresh(self._h)) > 0:
                return self._arena[:fresh] if fresh <= _DESK else self._arena[fresh >> _FRESH_BITS : fresh & _FRESH_END]
            if fresh:
                return self._read_left(-fresh)
            if there := lib.pev_bev_take(self._h):
                return self._taken_from_input(there)
        wanted = check_size(size)
        n = check(lib.pev_bev_input_length(self._h), self)
        n = n if wanted < 0 else min(wanted, n)
        out = ffi.new("char[]", n)
        n = check(lib.pev_bev_read(self._h, out, n), self)
        if has_news():
            settle()
        return bytes(ffi.buffer(out, n))

    def _read_left(self, where: int) -> bytes:
        """What the pass has left in the socket."""
        try:
            return os.read(where >> _FRESH_BITS, where & _FRESH_END)
        except OSError as error:
            lib.pev_bev_keep_error(self._h, error.errno)
            return b""

    def _taken_from_input(self, where: int) -> bytes:
        """Other bytes than fresh ones: that they are gone may be news to somebody."""
        taken = self._arena[where >> _FRESH_BITS : where & _FRESH_END]
        if has_news():
            settle()
        return taken

    def read_into(self, target: BytesLike) -> int:
        """Take bytes that have come in into a writable object (``bufferevent_read``).

        Returns:
            How many, at most the size of the target.
        """
        out = ffi.from_buffer("char[]", target, require_writable=True)
        n = check(lib.pev_bev_read(self._h, out, len(out)), self)
        if has_news():
            settle()
        return n

    def read_buffer(self, buffer: Buffer) -> None:
        """Move all that has come in to the end of a buffer, without copying (``bufferevent_read_buffer``)."""
        if not isinstance(buffer, Buffer):
            raise TypeError(f"buffer must be a Buffer, not {type(buffer).__name__}")
        check_two(lib.pev_bev_read_buffer(self._h, buffer._h), buffer, self)
        if has_news():
            settle()

    @property
    def input(self) -> Buffer:
        """What has come in: can be taken from, not added to (``bufferevent_get_input``)."""
        if (there := self._input) is None:
            there = self._input = self._shown(output=False)
        return there

    @property
    def output(self) -> Buffer:
        """What is still to be sent: can be added to, not taken from (``bufferevent_get_output``)."""
        if (there := self._output) is None:
            there = self._output = self._shown(output=True)
        return there

    def _shown(self, *, output: bool) -> Buffer:
        """The input or output that nobody has asked for yet. Where threads do at the same time, one of them makes it."""
        deadline = time.monotonic() + _MADE_SECONDS
        while True:
            try:
                return Buffer._view(self, output=output)
            except FileExistsError:  # made, and not yet kept
                time.sleep(0)
                there = self._output if output else self._input
                if there is not None:
                    return there
                if time.monotonic() > deadline:
                    raise

    # ------------------------------------------------------------ callbacks

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
        self._on_read = self._on_write = self._on_event = None
        self._hold()

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
        self._on_read = self._on_write = self._on_event = None
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

    def _drop_buffers(self) -> None:
        """Input and output are closed with this."""
        if self._input is not None:
            self._input._forget_callbacks()
        if self._output is not None:
            self._output._forget_callbacks()
        self._input = self._output = None

    def _hold(self) -> None:
        """Have the base keep this while it must."""
        if self._is_busy():
            self._base._armed[self._id] = self._ready
        else:
            self._base._armed.pop(self._id, None)
        self._short_cut()

    def _short_cut(self) -> None:
        """Let the loop call the read callback without asking, unless an earlier callback of the pass disabled reading."""
        if self._on_read is not None and self._muted < 0:
            self._base._readers[self._id] = (self._on_read, self)
        else:
            self._base._readers.pop(self._id, None)

    def _ready(self, what: int, detail: int) -> None:
        """The base's loop: this happened in the pass."""
        if what == _READ:
            self._call_read()
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

    # ------------------------------------------------------------ switches

    def enable(self, events: EventFlag = _READ_WRITE) -> None:
        """Read, or write, from now on (``bufferevent_enable``). Writing is enabled from the start, reading isn't.

        Args:
            events: READ, WRITE or both.

        Raises:
            OSError: The descriptor can't be watched.
        """
        bits = check_flags(events, EventFlag, _BOTH, "events")
        check(lib.pev_bev_enable(self._h, bits), self)
        if bits & _EV_READ:
            if self._muted >= 0:
                self._muted = -1
                self._short_cut()
            if self._held:
                self._held = False
                self.trigger(EventFlag.READ, ignore_watermarks=True)

    def disable(self, events: EventFlag = _READ_WRITE) -> None:
        """Don't read, or write, any more (``bufferevent_disable``).

        No read callback comes while reading is disabled, but for trigger(). The end of the stream isn't noticed either.

        Args:
            events: READ, WRITE or both.
        """
        bits = check_flags(events, EventFlag, _BOTH, "events")
        check(lib.pev_bev_disable(self._h, bits), self)
        if bits & _EV_READ:
            self._muted = self._base._serial
            self._short_cut()

    @property
    def enabled(self) -> EventFlag:
        """What is enabled (``bufferevent_get_enabled``)."""
        return EventFlag(check(lib.pev_bev_enabled(self._h), self))

    def set_timeouts(self, read: float | None = None, write: float | None = None) -> None:
        """Set both timeouts (``bufferevent_set_timeouts``).

        Args:
            read: Seconds without a byte coming in while reading is enabled, above 0. None: none.
            write: Seconds without a byte going out while there is something to send, above 0. None: none.
        """
        read_seconds = -1.0 if read is None else check_seconds(read, "read", positive=True)
        write_seconds = -1.0 if write is None else check_seconds(write, "write", positive=True)
        check(lib.pev_bev_set_timeouts(self._h, read_seconds, write_seconds), self)

    def set_watermark(self, flag: EventFlag, low: int = 0, high: int = 0) -> None:
        """Set the marks of one direction, or both (``bufferevent_setwatermark``).

        Args:
            flag: READ, WRITE or both.
            low: READ: the read callback comes from so many bytes on. WRITE: the write callback comes when no more are left.
            high: READ: no more than so many bytes are read before some are taken; 0: no limit. WRITE: so many bytes at most a
                filter above puts into this output; 0: no limit.
        """
        bits = check_flags(flag, EventFlag, _BOTH, "flag")
        low, high = check_int(low, "low", 0, sys.maxsize), check_int(high, "high", 0, sys.maxsize)
        if bits & EventFlag.READ and 0 < high < low:
            raise ValueError(f"low must be at most high, {high}, not {low}: reading would stop before the callback comes")
        check(lib.pev_bev_set_watermark(self._h, bits, low, high), self)

    def watermark(self, flag: EventFlag) -> Watermark:
        """The marks of one direction, READ or WRITE (``bufferevent_getwatermark``)."""
        bits = check_flags(flag, EventFlag, _BOTH, "flag")
        if bits not in (EventFlag.READ, EventFlag.WRITE):
            raise ValueError(f"flag must be READ or WRITE, not {flag!r}")
        low, high = ffi.new("size_t *"), ffi.new("size_t *")
        check(lib.pev_bev_get_watermark(self._h, bits, low, high), self)
        return Watermark(low[0], high[0])

    @property
    def priority(self) -> int:
        """From 0, the most urgent; may be set (``bufferevent_get_priority``, ``bufferevent_priority_set``)."""
        return check(lib.pev_bev_get_priority(self._h), self)

    @priority.setter
    def priority(self, priority: int) -> None:
        level = check_int(priority, "priority", 0, self._base.priorities - 1)
        check(lib.pev_bev_set_priority(self._h, level), self)

    def flush(self, flag: EventFlag = _READ_WRITE, mode: FlushMode = FlushMode.NORMAL) -> bool:
        """Move as many bytes as possible, regardless of marks (``bufferevent_flush``). Sockets and TLS have nothing to move.

        Args:
            flag: READ, WRITE or both.
            mode: NORMAL, FLUSH, or FINISHED: nothing will follow.

        Returns:
            Whether anything was moved.
        """
        bits = check_flags(flag, EventFlag, _BOTH, "flag")
        moved = bool(check(lib.pev_bev_flush(self._h, bits, FlushMode(mode)), self))
        if has_news():
            settle()
        return moved

    def trigger(self, flag: EventFlag, *, ignore_watermarks: bool = False, defer: bool = False) -> None:
        """Have the read or write callback called in the next pass, if the marks allow it (``bufferevent_trigger``).

        Args:
            flag: READ, WRITE or both.
            ignore_watermarks: Whatever the marks say.
            defer: After what is already on its way in C (``BEV_TRIG_DEFER_CALLBACKS``).
        """
        bits = check_flags(flag, EventFlag, _BOTH, "flag")
        how = (lib.BEV_TRIG_IGNORE_WATERMARKS if ignore_watermarks else 0) | (lib.BEV_TRIG_DEFER_CALLBACKS if defer else 0)
        check(lib.pev_bev_trigger(self._h, bits, how), self)

    def trigger_event(self, what: What) -> None:
        """Have the event callback called in the next pass, as if this had happened (``bufferevent_trigger_event``)."""
        check(lib.pev_bev_trigger_event(self._h, check_flags(what, What, _ALL_WHAT, "what")), self)

    @property
    def max_single_read(self) -> int:
        """The most bytes of one read, 16384 at first; may be set, up to 2**31 - 1, and 0 sets the default
        (``bufferevent_set_max_single_read``, ``bufferevent_get_max_single_read``).

        A socket: of one look at it; libevent 2.1 reads at most 4096, whatever this says. While it has a rate limit, that says
        how much instead. TLS: of one step of decrypting, and the next follows at once: what is read from the wire, the
        underlying says. Pairs and filters move all there is.
        """
        return check(lib.pev_bev_get_max_single(self._h, 0), self)

    @max_single_read.setter
    def max_single_read(self, size: int) -> None:
        check(lib.pev_bev_set_max_single(self._h, 0, check_int(size, "max_single_read", 0, MAX_INT)), self)

    @property
    def max_single_write(self) -> int:
        """The most bytes of one write, 16384 at first; may be set, up to 2**31 - 1, and 0 sets the default
        (``bufferevent_set_max_single_write``, ``bufferevent_get_max_single_write``).

        A socket: of one time that it can be written to. While it has a rate limit, that says how much instead. TLS: nothing,
        since it encrypts what was written in one piece in one piece: what is written to the wire, the underlying says. Pairs
        and filters move all there is.
        """
        return check(lib.pev_bev_get_max_single(self._h, 1), self)

    @max_single_write.setter
    def max_single_write(self, size: int) -> None:
        check(lib.pev_bev_set_max_single(self._h, 1, check_int(size, "max_single_write", 0, MAX_INT)), self)

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

        What was written goes out first: the loop goes on sending, for so long at most, and over TCP waits until the peer has
        it, and ends too: whoever closes a socket that still gets bytes resets the connection. With nothing left to send the
        descriptor is closed when this returns.

        Args:
            timeout: Seconds from 0 to 1e9. 0: drop what is left, as bufferevent_free does.

        Raises:
            BufferError: Memoryviews of its buffers still exist.
            RuntimeError: Another thread is running the loop.
        """
        if self._closed:
            return
        armed = self._base._armed
        armed[self._id] = self._ready  # another thread's loop may say that it is gone before this call returns
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
