"""RateLimitGroup: bufferevents that share a limit. ratelimit.py says what a limit is."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from .._handle import Handle, next_id
from .._libevent import ffi, lib
from ..errors import MAX_INT, check, check_base, check_int, check_pointer
from .ratelimit import _READ, _WRITE, RateLimit, RateLimited, check_amount, check_limit

if TYPE_CHECKING:
    from ..event import EventBase
    from .common import BufferEvent


class Totals(NamedTuple):
    """What the members of a group have moved, in bytes."""

    read: int
    written: int


class RateLimitGroup(Handle):
    """Bufferevents that share one limit (``bufferevent_rate_limit_group_new``).

    A bufferevent keeps the group it is in alive; the group doesn't keep its members. It doesn't keep the loop running either,
    unless a member waits for the next tick.

    Args:
        base: The base of all its members.
        limit: What they may move together.

    Raises:
        ClosedError: The base is closed.
        RuntimeError: Another thread is running the loop.
    """

    __slots__ = ("_base", "_limit", "_members")

    def __init__(self, base: EventBase, limit: RateLimit) -> None:
        self._begin()
        check_base(base)
        check_limit(limit)
        self._base = base
        self._limit = limit
        self._members: weakref.WeakSet[BufferEvent] = weakref.WeakSet()
        self._own(check_pointer(lib.pev_group_new(base._h, limit._to_c(), next_id()), base))

    @property
    def base(self) -> EventBase:
        """The base."""
        return self._base

    def add(self, bev: BufferEvent) -> None:
        """Let a bufferevent share the limit (``bufferevent_add_to_rate_limit_group``). It leaves the group it was in.

        Args:
            bev: One of the same base. What shares the limit is the bufferevent at its bottom.

        Raises:
            ValueError: It is of another base.
            ClosedError: The group or the bufferevent is closed.
            RuntimeError: Another thread is running the loop.
        """
        _check_member(bev)
        if bev.base is not self._base:
            raise ValueError(f"bev must be of the group's base: {bev!r}")
        check(lib.pev_group_check(self._h), self)
        check(lib.pev_group_add(self._h, bev._h), bev)
        low = bev._bottom()
        if low._rate_limit_group is not None and low._rate_limit_group is not self:
            low._rate_limit_group._members.discard(low)
        low._rate_limit_group = self
        self._members.add(low)

    def remove(self, bev: BufferEvent) -> None:
        """Let a bufferevent go (``bufferevent_remove_from_rate_limit_group``).

        Raises:
            ValueError: It isn't a member.
        """
        _check_member(bev)
        if not check(lib.pev_group_remove(self._h, bev._h), self):
            raise ValueError(f"{bev!r} isn't a member of {self!r}")
        low = bev._bottom()
        low._rate_limit_group = None
        self._members.discard(low)

    def __contains__(self, bev: object) -> bool:
        return isinstance(bev, RateLimited) and bool(check(lib.pev_group_has(self._h, bev._h), self))

    def __len__(self) -> int:
        return check(lib.pev_group_count(self._h), self)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[BufferEvent]:
        """The members that are open, in no order: of a stack, what is at its bottom."""
        check(lib.pev_group_check(self._h), self)
        return iter([bev for bev in self._members if not bev.closed])

    @property
    def limit(self) -> RateLimit:
        """The limit; may be set (``bufferevent_rate_limit_group_set_cfg``). Buckets keep what they have, up to the burst."""
        return self._limit

    @limit.setter
    def limit(self, limit: RateLimit) -> None:
        check_limit(limit)
        check(lib.pev_group_set_rate(self._h, limit._to_c()), self)
        self._limit = limit

    @property
    def min_share(self) -> int:
        """The least bytes that a member may move at a time, 64 at first; may be set, from 1 to 2**31 - 1
        (``bufferevent_rate_limit_group_set_min_share``).

        A member may move its share: what is left, divided by the number of members; or this, if that is less, so that small
        shares don't become many small packets. More than one tick's worth counts as one tick's worth.
        """
        return check(lib.pev_group_get_min_share(self._h), self)

    @min_share.setter
    def min_share(self, size: int) -> None:
        check(lib.pev_group_set_min_share(self._h, check_int(size, "min_share", 1, MAX_INT)), self)

    @property
    def read_limit(self) -> int | None:
        """How many bytes were left for reading after the last tick and what was read since; None: no limit
        (``bufferevent_rate_limit_group_get_read_limit``).
        """
        return self._level(_READ)

    @property
    def write_limit(self) -> int | None:
        """The same for writing (``bufferevent_rate_limit_group_get_write_limit``)."""
        return self._level(_WRITE)

    def _level(self, is_write: int) -> int | None:
        out = ffi.new("long long *")
        return int(out[0]) if check(lib.pev_group_get_level(self._h, is_write, out), self) else None

    def decrement_read(self, n: int) -> None:
        """Count bytes as read that were not (``bufferevent_rate_limit_group_decrement_read``). It may go below zero.

        Args:
            n: Bytes, from -2**62 to 2**62. Negative: give some back, up to the burst.
        """
        check(lib.pev_group_decrement(self._h, _READ, check_amount(n)), self)

    def decrement_write(self, n: int) -> None:
        """Count bytes as written that were not (``bufferevent_rate_limit_group_decrement_write``). As decrement_read()."""
        check(lib.pev_group_decrement(self._h, _WRITE, check_amount(n)), self)

    @property
    def totals(self) -> Totals:
        """What its members have moved since they were in it, or since reset_totals()
        (``bufferevent_rate_limit_group_get_totals``).
        """
        out = ffi.new("uint64_t[2]")
        check(lib.pev_group_totals(self._h, out), self)
        return Totals(out[0], out[1])

    def reset_totals(self) -> None:
        """Count from zero (``bufferevent_rate_limit_group_reset_totals``)."""
        check(lib.pev_group_reset_totals(self._h), self)

    def close(self) -> None:
        """Close it (``bufferevent_rate_limit_group_free``). Its members go on without it. Idempotent; allowed in every
        callback.
        """
        check(lib.pev_group_close(self._h), self)
        for bev in list(self._members):
            bev._rate_limit_group = None
        self._members.clear()

    @property
    def closed(self) -> bool:
        """Whether it, or its base, is closed."""
        return bool(lib.pev_group_check(self._h) == -lib.PEV_ECLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _describe(self) -> str:
        count = lib.pev_group_count(self._h)
        if count < 0:
            return "<RateLimitGroup closed>" if self.closed else "<RateLimitGroup in another thread or process>"
        return f"<RateLimitGroup of {count}, {self._limit!r}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing, _warn: Callable[..., None] = warnings.warn) -> None:
        try:
            handle = object.__getattribute__(self, "_h")
        except AttributeError:
            return
        if _exiting():
            return
        try:
            if lib.pev_group_check(handle) in (0, -lib.PEV_ETHREAD):
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:  # the warning may be an error
            lib.pev_group_drop(handle)


def _check_member(bev: object) -> None:
    if not isinstance(bev, RateLimited):
        raise TypeError(f"bev must be a BufferEvent, not {type(bev).__name__}")


__all__ = ["RateLimitGroup", "Totals"]
