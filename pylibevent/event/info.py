"""The part of an EventBase that tells what it is, and what is on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, NamedTuple

from .._libevent import ffi, lib
from ..errors import check, check_flags, check_function, check_int
from ..flags import CountFlag, EventFlag, Feature
from .event import Event
from .loop import LoopingBase

_ALL_COUNTS = CountFlag.ACTIVE | CountFlag.ADDED | CountFlag.VIRTUAL


class LoopStatistics(NamedTuple):
    """What a base's loop has done so far."""

    passes: int
    """How often it crossed into C."""
    polls: int
    """How often libevent polled; C stays in for passes in which there is nothing to call."""
    noted: int
    """How many things were handed to Python."""
    cut_short: int
    """How many passes ended because enough was gathered: many entries, or many bytes."""


class EventInfo(NamedTuple):
    """An event as ``EventBase.events()`` sees it."""

    event: Event | None
    """The Event, or None for one that a bufferevent or a listener, or libevent itself, made."""
    fd: int
    flags: EventFlag
    pending: EventFlag
    priority: int
    timeout: float | None
    """Seconds until it times out, or None."""
    internal: bool
    """Made by libevent or by the base for its own ends."""


class InspectedBase(LoopingBase):
    """See EventBase."""

    __slots__ = ()

    @property
    def method(self) -> str:
        """How it waits: ``"epoll"``, ``"poll"``, ``"select"`` (``event_base_get_method``)."""
        check(lib.pev_loop_check(self._h), self)
        return str(ffi.string(lib.pev_loop_method(self._h)).decode())

    @property
    def features(self) -> Feature:
        """What that can do (``event_base_get_features``)."""
        return Feature(check(lib.pev_loop_features(self._h), self))

    @property
    def priorities(self) -> int:
        """How many priorities there are, 0 the most urgent (``event_base_get_npriorities``, ``event_base_priority_init``).

        It can be set, from 1 to 255, while nothing was made on the base.
        """
        return check(lib.pev_loop_priorities(self._h), self)

    @priorities.setter
    def priorities(self, n: int) -> None:
        check(lib.pev_loop_set_priorities(self._h, check_int(n, "priorities", 1, 255)), self)
        self._priorities = n

    @property
    def num_events(self) -> int:
        """How many events are added or active: 0 means that the loop would end (``event_base_get_num_events``)."""
        return self.count_events(CountFlag.ADDED)

    def count_events(self, kinds: CountFlag = _ALL_COUNTS) -> int:
        """How many events there are, as libevent counts (``event_base_get_num_events``).

        Args:
            kinds: ``ADDED``: one for each queue an event is in. ``ACTIVE``: fired and not called in C yet. ``VIRTUAL``.
        """
        bits = check_flags(kinds, CountFlag, _ALL_COUNTS, "kinds")
        number = check(lib.pev_loop_count(self._h, bits), self)
        return number + self._timers.pending if bits & CountFlag.ADDED else number

    def max_events(self, kinds: CountFlag = _ALL_COUNTS, *, clear: bool = False) -> int:
        """The most there have been, as libevent counts (``event_base_get_max_events``).

        Args:
            kinds: As for count_events().
            clear: Start counting anew.
        """
        bits = check_flags(kinds, CountFlag, _ALL_COUNTS, "kinds")
        return check(lib.pev_loop_max(self._h, bits, bool(clear)), self)

    @property
    def running_event(self) -> Event | None:
        """The event whose callback is running (``event_base_get_running_event``)."""
        return self._running

    @property
    def statistics(self) -> LoopStatistics:
        """What the loop has done so far."""
        out = ffi.new("struct pev_statistics *")
        lib.pev_loop_statistics(self._h, out)
        return LoopStatistics(out.passes, out.polls, out.noted, out.cut_short)

    def events(self) -> list[EventInfo]:
        """All events that are added or active (``event_base_foreach_event``)."""
        room = 16
        while True:
            out = ffi.new("struct pev_event_info[]", room)
            n = check(lib.pev_loop_events(self._h, out, room), self)
            if n <= room:
                return [self._info(out[i]) for i in range(n)]
            room = n + 16

    def _info(self, info: Any) -> EventInfo:
        owner = self._armed.get(info.id)
        return EventInfo(
            owner if isinstance(owner, Event) else None,
            info.fd,
            EventFlag(info.events),
            EventFlag(info.pending),
            info.priority,
            None if info.timeout < 0 else info.timeout,
            bool(info.internal),
        )

    def foreach(self, callback: Callable[[EventInfo], object]) -> object:
        """Call for each event, until a call returns something true (``event_base_foreach_event``).

        The callback may do anything to the base: it sees the events as they were when this was called.

        Returns:
            What the last call returned, or None if there was none.
        """
        check_function(callback, "callback")
        result: object = None
        for info in self.events():
            result = callback(info)
            if result:
                break
        return result

    def dump(self, file: IO[str] | None = None) -> str:
        """All events as text, for a person to read (``event_base_dump_events``).

        Args:
            file: Where to write it too.
        """
        if file is not None and not hasattr(file, "write"):
            raise TypeError(f"file must have write(), not {type(file).__name__}")
        out = ffi.new("char **")
        check(lib.pev_loop_dump(self._h, out), self)
        try:
            text = str(ffi.string(out[0]).decode(errors="replace"))
        finally:
            lib.pev_free(out[0])
        if file is not None:
            file.write(text)
        return text
