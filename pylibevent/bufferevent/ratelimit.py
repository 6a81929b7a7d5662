"""RateLimit, and the part of a bufferevent that has limits. ratelimit_group.py has what several share.

The rules, which csrc/ratelimit.c keeps:

A limit is on the bufferevent at the bottom, whatever it is set on: what counts are the bytes that leave and enter there. For
TLS over a socket those are the bytes on the wire, handshake and record headers included.

A bucket begins with one tick's worth, is given as much each tick up to the burst, and pays for each byte. It may go below
zero; nothing moves until it is above. Of a bufferevent's limit and its group's the lower one holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from .._handle import Handle
from .._libevent import ffi, lib
from ..errors import MAX_INT, check, check_int

if TYPE_CHECKING:
    from .common import BufferEvent
    from .ratelimit_group import RateLimitGroup

MAX_TICK = 2_000_000.0
"""Seconds. libevent counts a tick's milliseconds in 32 bits."""

_TICKS = (100, 200, 250, 500, 1000)
"""Milliseconds that per_second() chooses from. Upstream measures its limits with the first."""

_MOST = 2**62
_READ, _WRITE = 0, 1


def _check_rate(rate: int | None, burst: int | None, name: str) -> tuple[int | None, int | None]:
    """Rate and burst of one direction; TypeError, ValueError if they can't be."""
    if rate is None:
        if burst is not None:
            raise ValueError(f"{name}_burst must be None where {name} is, not {burst!r}")
        return None, None
    rate = check_int(rate, name, 1, MAX_INT)
    return rate, rate if burst is None else check_int(burst, f"{name}_burst", rate, MAX_INT)


def _check_tick(tick: object) -> float:
    """A tick in seconds; TypeError, ValueError if it can't be one."""
    if isinstance(tick, bool) or not isinstance(tick, (int, float)):
        raise TypeError(f"tick must be a number of seconds, not {type(tick).__name__}")
    if not math.isfinite(tick) or not 0.001 <= tick <= MAX_TICK or abs(tick * 1000 - round(tick * 1000)) > 1e-5:
        raise ValueError(f"tick must be whole milliseconds, from 0.001 to {MAX_TICK:.0f} seconds, not {tick!r}")
    return round(tick * 1000) / 1000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many bytes may move in each tick (``ev_token_bucket_cfg_new``). One may be used in many places.

    Args:
        read: Bytes read per tick, from 1 to 2**31 - 1. None: no limit.
        write: Bytes written per tick, likewise.
        read_burst: Bytes that may gather while nothing is read, from ``read`` to 2**31 - 1. None: as ``read``.
        write_burst: The same for writing.
        tick: Seconds in whole milliseconds, from 0.001 to 2e6. Ticks begin at multiples of their length since 1970.

    Raises:
        ValueError: One of them is out of range.
    """

    read: int | None
    write: int | None
    read_burst: int | None = None
    write_burst: int | None = None
    tick: float = 1.0

    def __post_init__(self) -> None:
        read, read_burst = _check_rate(self.read, self.read_burst, "read")
        write, write_burst = _check_rate(self.write, self.write_burst, "write")
        values = {
            "read": read,
            "write": write,
            "read_burst": read_burst,
            "write_burst": write_burst,
            "tick": _check_tick(self.tick),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def per_second(cls, *, read: int | None = None, write: int | None = None, burst_seconds: float = 1.0) -> Self:
        """A limit in bytes per second, in ticks as short as makes it exact: of 0.1 to 1 second.

        Args:
            read: Bytes read per second, from 1 to 2**31 - 1. None: no limit.
            write: Bytes written per second, likewise.
            burst_seconds: For how many seconds bytes may gather while nothing moves, from 0 to 1e9; at least those of one
                tick do.

        Raises:
            ValueError: One of them is out of range, or the bytes of a burst are.
        """
        for rate, name in ((read, "read"), (write, "write")):
            _check_rate(rate, None, name)
        if isinstance(burst_seconds, bool) or not isinstance(burst_seconds, (int, float)):
            raise TypeError(f"burst_seconds must be a number of seconds, not {type(burst_seconds).__name__}")
        if not 0 <= burst_seconds <= 1e9:
            raise ValueError(f"burst_seconds must be from 0 to 1e9, not {burst_seconds!r}")
        rates = [rate for rate in (read, write) if rate is not None]
        ms = next(ms for ms in _TICKS if all(rate * ms % 1000 == 0 for rate in rates))

        def per_tick(rate: int | None) -> int | None:
            return None if rate is None else rate * ms // 1000

        def burst(rate: int | None) -> int | None:
            return None if rate is None else max(rate * ms // 1000, round(rate * burst_seconds))

        return cls(per_tick(read), per_tick(write), burst(read), burst(write), ms / 1000)

    def _to_c(self) -> Any:
        out = ffi.new("struct pev_rate *")
        out.rate = [self.read or 0, self.write or 0]
        out.burst = [self.read_burst or 0, self.write_burst or 0]
        out.tick = round(self.tick * 1000)
        return out


def check_limit(limit: object, *, or_none: bool = False) -> None:
    """A limit; TypeError otherwise."""
    if not isinstance(limit, RateLimit) and not (or_none and limit is None):
        raise TypeError(f"limit must be a RateLimit{' or None' if or_none else ''}, not {type(limit).__name__}")


def check_amount(n: object) -> int:
    """Bytes to count; TypeError, ValueError if they are no such number."""
    return check_int(n, "n", -_MOST, _MOST)


class RateLimited(Handle):
    """What every bufferevent can do about its speed."""

    __slots__ = ("_rate_limit", "_rate_limit_group")

    _rate_limit: RateLimit | None
    _rate_limit_group: RateLimitGroup | None

    if TYPE_CHECKING:

        @property
        def underlying(self) -> BufferEvent | None:
            """The bufferevent below."""

    def _bottom(self) -> BufferEvent:
        """The one that has the limits."""
        low = cast("BufferEvent", self)
        while low.underlying is not None:
            low = low.underlying
        return low

    def set_rate_limit(self, limit: RateLimit | None) -> None:
        """Limit what is read and written per tick (``bufferevent_set_rate_limit``).

        It is set on the bufferevent at the bottom, and stays there when this one is closed and that one isn't. Its buckets
        begin with one tick's worth; where there was a limit before, with what was left then.

        Args:
            limit: The limit, or None for none. Ones of a group hold as well.

        Raises:
            ClosedError: The bufferevent is closed.
            RuntimeError: Another thread is running the loop.
        """
        check_limit(limit, or_none=True)
        check(lib.pev_bev_set_rate_limit(self._h, ffi.NULL if limit is None else limit._to_c()), self)
        self._bottom()._rate_limit = limit

    @property
    def rate_limit(self) -> RateLimit | None:
        """What set_rate_limit() was given, None for none (``bufferevent_get_token_bucket_cfg``)."""
        check(lib.pev_bev_check(self._h), self)
        return self._bottom()._rate_limit

    @property
    def rate_limit_group(self) -> RateLimitGroup | None:
        """The group it is in."""
        check(lib.pev_bev_check(self._h), self)
        group = self._bottom()._rate_limit_group
        return None if group is None or group.closed else group

    @property
    def read_limit(self) -> int | None:
        """How many bytes are left of its own limit for reading; negative: as many too many were read. None: no limit
        (``bufferevent_get_read_limit``).
        """
        return self._level(_READ)

    @property
    def write_limit(self) -> int | None:
        """How many bytes are left of its own limit for writing, likewise (``bufferevent_get_write_limit``)."""
        return self._level(_WRITE)

    def _level(self, is_write: int) -> int | None:
        out = ffi.new("long long *")
        return int(out[0]) if check(lib.pev_bev_get_level(self._h, is_write, out), self) else None

    def decrement_read_limit(self, n: int) -> None:
        """Count bytes as read that were not (``bufferevent_decrement_read_limit``). It may go below zero.

        Args:
            n: Bytes, from -2**62 to 2**62. Negative: give some back, up to the burst.

        Raises:
            RuntimeError: It has no limit of its own.
        """
        check(lib.pev_bev_decrement(self._h, _READ, check_amount(n)), self)

    def decrement_write_limit(self, n: int) -> None:
        """Count bytes as written that were not (``bufferevent_decrement_write_limit``). As decrement_read_limit()."""
        check(lib.pev_bev_decrement(self._h, _WRITE, check_amount(n)), self)

    @property
    def max_to_read(self) -> int:
        """How many bytes it would read now, all limits together (``bufferevent_get_max_to_read``)."""
        return self._max_to(_READ)

    @property
    def max_to_write(self) -> int:
        """How many bytes it would write now, all limits together (``bufferevent_get_max_to_write``)."""
        return self._max_to(_WRITE)

    def _max_to(self, is_write: int) -> int:
        out = ffi.new("long long *")
        check(lib.pev_bev_get_max_to(self._h, is_write, out), self)
        return int(out[0])


__all__ = ["RateLimit", "RateLimited"]
