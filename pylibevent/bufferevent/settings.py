"""The part of a bufferevent that is set: what is enabled, timeouts, marks, priority, sizes of steps; and what has it move."""

from __future__ import annotations

import sys
from typing import NamedTuple

from .._libevent import ffi, lib
from ..buffer.news import has_news, settle
from ..errors import MAX_INT, check, check_choice, check_flags, check_int, check_seconds
from ..flags import EventFlag, FlushMode, What
from .callbacks import Calling

_READ_WRITE = EventFlag.READ | EventFlag.WRITE
_EV_READ, _BOTH = int(EventFlag.READ), int(_READ_WRITE)
_ALL_WHAT = sum(What)


class Watermark(NamedTuple):
    """The marks of one direction, in bytes."""

    low: int
    high: int


class Settings(Calling):
    """See BufferEvent."""

    __slots__ = ()

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
        moved = bool(check(lib.pev_bev_flush(self._h, bits, check_choice(mode, FlushMode, "mode")), self))
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
