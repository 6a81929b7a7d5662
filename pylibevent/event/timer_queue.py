"""Timers of Python's own: calls at a time, kept in a heap above one event of libevent's.

An Event costs an object in C, and calls into C to make, add and delete it. A Timer costs a number on a heap and an entry in a
dict, both at the next pass; cancelling one is two assignments. The rules:

* ``new`` holds what was added since the last pass; many are put onto the heap at once for less.
* ``timers`` holds what waits, by deadline: one Timer, or a list of those with the very same deadline, in the order of adding.
* ``heap`` holds at least these deadlines. It may hold others: whoever takes one looks into ``timers``.
* A Timer that was cancelled or called has no callback. It stays where it is until its turn comes, or until most of them are
  such and ``tidy`` drops them.
* ``pending`` counts those that have one. While it isn't 0 the loop goes on.
* Before a pass C is told when the next one is due, where there are new ones or something is ``touched``: most passes of a busy
  server have nothing to do here.
* What is due is taken over into ``late`` first and then called, so what callbacks add waits for the next pass. What an
  exception or loopbreak leaves there is called next.
* A KeyboardInterrupt may come between any two calls. So what belongs together is done by assignments without a call between
  them, or by one call of C's: in CPython only calls, the starts of functions and jumps back look for signals. And a signal's
  handler may add and cancel, there too: that changes ``new``, ``pending`` and ``touched`` and nothing else.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import repeat
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from .._handle import Handle, next_id
from .._libevent import lib
from ..errors import check, check_pointer
from ..flags import LoopFlag
from .interrupt import has_begun
from .timers import MadeTimer, Timer
from .turns import AT_ONCE, CONTINUE

if TYPE_CHECKING:
    from .calls import CallingBase

_PAST = 0.0  # a deadline that has gone by
_UNKNOWN = math.nan  # equal to nothing
_FEW = 100  # cancelled ones that nobody tidies up; asyncio's number
_MOST_NEW = 1000
_MANY = 16  # when one in so many is due, sorting the heap beats taking them off one by one
_NO_EXIT = int(LoopFlag.NO_EXIT_ON_EMPTY)

Entry: TypeAlias = "Timer | list[Timer]"


class Deadline(Handle):
    """The event below the timers of a base."""

    __slots__ = ("id",)

    def __init__(self, base: CallingBase) -> None:
        self._begin()
        self.id = next_id()
        self._own(check_pointer(lib.pev_deadline_new(base._h, self.id), base))

    def __del__(self) -> None:
        try:
            handle = object.__getattribute__(self, "_h")
        except AttributeError:
            return
        lib.pev_deadline_drop(handle)


class TimerQueue:
    """The timers of one base."""

    __slots__ = (
        "busy",
        "deadline",
        "doubt",
        "due",
        "flags",
        "flat",
        "heap",
        "late",
        "most",
        "new",
        "pending",
        "process",
        "raised",
        "thread",
        "timers",
        "touched",
        "waits_for",
        "whole",
    )

    def __init__(self) -> None:
        self.heap: list[float] = []
        self.timers: dict[float, Entry] = {}
        self.pending = 0
        self.new: list[Timer] = []  # not yet in the two
        self.most = _MOST_NEW  # so many may be
        self.whole = True  # the heap is one: nobody was interrupted
        self.busy = False  # these are being changed, but for new: a handler of a signal may come in between, and add
        self.due: list[float] = []  # taken from the heap
        self.late: list[Any] = []  # to be called
        self.flat = True  # there are only timers in it; else entries of the dict, and None
        self.doubt: tuple[Timer, TracebackType | None] | None = None  # has its callback begun?
        self.deadline: Deadline | None = None
        self.waits_for: float | None = None  # what C was told
        self.touched = False  # C must be told anew before the next pass
        self.flags = 0  # EVLOOP flags for the pass
        self.raised: BaseException | None = None  # by on_exception
        self.process: object = None  # where it may be used
        self.thread = 0  # that runs the loop

    # ------------------------------------------------------------ what waits

    def add(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> Timer:
        """A timer for then."""
        timer: Timer = MadeTimer()
        timer._when = when
        timer._callback = callback
        timer._args = args
        timer._queue = self
        self.pending += 1
        self.new.append(timer)
        if len(self.new) > self.most:
            self.add_up()
        return timer

    def add_up(self) -> None:
        """There are many new ones, and no pass comes."""
        if not self.busy:
            self.busy = self.touched = True
            try:
                self.settle()
            finally:
                self.busy = False

    def settle(self) -> None:
        """Drop those that were cancelled, if they are the most, and put the new ones onto the heap."""
        n = len(self.new)
        if not self.pending:
            del self.new[:n]
            self.clear()
        elif len(self.heap) > 2 * self.pending + _FEW:
            self.tidy()
        if self.new:
            self.merge()
        self.most = max(_MOST_NEW, 4 * len(self.heap))

    def tidy(self) -> None:
        """Drop those that were cancelled."""
        timers = self.timers
        for when, entry in [*timers.items()]:
            if isinstance(entry, list):
                left = [timer for timer in entry if timer._callback is not None]
                if left:
                    timers[when] = left
                else:
                    del timers[when]
            elif entry._callback is None:
                del timers[when]
        self.whole = False
        self.heap[:] = timers
        self.mend()

    def mend(self) -> None:
        """Have a heap again."""
        heapify(self.heap)
        self.whole = True

    def merge(self) -> None:
        """Put the new ones onto the heap. Whoever is interrupted does it all again, which leaves no more than duplicates."""
        n = len(self.new)
        new = [timer for timer in self.new[:n] if timer._callback is not None]
        deadlines = [timer._when for timer in new]
        timers, heap = self.timers, self.heap
        found = [*map(timers.setdefault, deadlines, new)]
        if found != new:
            for timer, entry in zip(new, found, strict=True):
                if entry is not timer:
                    self.share(timer)
        if len(new) > len(heap) // _MANY:
            self.whole = False
            heap += deadlines
        else:
            for when in deadlines:
                heappush(heap, when)
        if not self.whole:
            self.mend()
        del self.new[:n]

    def share(self, timer: Timer) -> None:
        """One more with the same deadline."""
        entry = self.timers[timer._when]
        if isinstance(entry, list):
            entry += (timer,)
        else:
            self.timers[timer._when] = [entry, timer]

    def clear(self) -> None:
        """Nothing of what is on the heap, or due, is pending."""
        self.heap.clear()
        self.timers.clear()
        self.due.clear()
        self.late.clear()

    def close(self) -> None:
        """The base is closed: drop them all."""
        self.process = None
        for entry in [*self.late, *self.timers.values(), *self.new]:
            for timer in entry if isinstance(entry, list) else [entry]:
                if timer is not None:
                    timer.cancel()
        self.new.clear()
        self.clear()
        self.deadline = self.waits_for = self.doubt = None

    # ------------------------------------------------------------ before a pass

    def arm(self, base: CallingBase) -> None:
        """Have C wake the loop for the next one."""
        self.touched = False  # a handler may touch it again
        try:
            self.resolve()
            self.busy = True
            try:
                self.settle()
                when = self.next()
            finally:
                self.busy = False
            if when != self.waits_for:
                self.tell(base, when)
            self.flags = _NO_EXIT if self.pending else 0
        except BaseException:
            self.touched = True
            raise

    def next(self) -> float | None:
        """When the next one is due; None: there is none."""
        dead = 0
        for entry in self.late:
            if _is_alive(entry):
                break
            dead += 1
        del self.late[:dead]
        if self.late or self.due:
            return _PAST
        if not self.whole:
            self.mend()
        heap, timers = self.heap, self.timers
        while heap and not _is_alive(timers.get(heap[0])):
            timers.pop(heap[0], None)
            heappop(heap)
        return heap[0] if heap else None

    def tell(self, base: CallingBase, when: float | None) -> None:
        """Tell C when the next one is due."""
        deadline = self.deadline
        self.waits_for = _UNKNOWN
        if when is not None:
            if deadline is None:
                deadline = self.deadline = Deadline(base)
            base._armed[deadline.id] = base
            check(lib.pev_deadline_set(deadline._h, when), base)
        elif deadline is not None:
            check(lib.pev_deadline_clear(deadline._h), base)
            base._armed.pop(deadline.id, None)
        self.waits_for = when

    # ------------------------------------------------------------ what is due

    def gather(self) -> None:
        """Take over what is due."""
        self.busy = True
        try:
            self.take(monotonic())
            self.flat = False
            self.late.extend(map(self.timers.pop, self.due, repeat(None)))
            self.due.clear()
        finally:
            self.busy = False

    def take(self, now: float) -> None:
        """Take from the heap what is due."""
        if not self.whole:
            self.mend()
        heap, due = self.heap, self.due
        few = len(heap) // _MANY
        while heap and heap[0] <= now:
            if len(due) >= few:
                heap.sort()
                n = bisect_right(heap, now)
                due += heap[:n]
                del heap[:n]
                break
            due += heap[:1]  # rather twice than not at all
            heappop(heap)

    def flatten(self) -> None:
        """Have nothing but timers in what is late."""
        late = self.late
        if {*map(type, late)} != {MadeTimer}:
            late[:] = [
                timer for entry in late if entry is not None for timer in (entry if isinstance(entry, list) else [entry])
            ]
        self.flat = True

    def tell_handler(self, base: CallingBase, error: BaseException) -> None:
        """Give on_exception what a callback raised. What it raises itself is for whoever runs the loop."""
        try:
            base._raised(error)
        except BaseException as raised:
            self.raised = raised
            raise

    def call(self, base: CallingBase) -> None:
        """Call what is due, until there is a reason to turn."""
        self.waits_for = _UNKNOWN
        self.touched = True
        self.raised = None
        self.resolve()
        if not self.late:
            self.gather()
        if not self.flat:
            self.flatten()
        late = self.late
        limits = base._limits if base._limits.given else None
        called = False
        n = 0  # so many are done with
        try:
            for timer in late:
                callback, args = timer._callback, timer._args
                if callback is None:
                    n += 1
                    continue
                if limits is not None and called and limits.reached(base._current):
                    base._turn |= CONTINUE
                    return
                called = True
                timer._callback, timer._args = None, ()
                self.pending -= 1  # no bytecode from here to the call looks for signals
                try:
                    callback(*args)
                except BaseException as error:
                    timer._callback, timer._args = callback, args
                    self.pending += 1
                    self.doubt = timer, error.__traceback__  # nor up to here
                    self.resolve()
                    if base._on_exception is None:
                        raise
                    self.tell_handler(base, error)
                    if timer._callback is not None:
                        return
                n += 1
                if base._turn & AT_ONCE:
                    return
        finally:
            del late[:n]

    def resolve(self) -> None:
        """What is called last stays if a signal's handler raised before it had begun."""
        doubt = self.doubt
        if doubt is None:
            return
        timer, traceback = doubt
        if has_begun(traceback) and timer._callback is not None:
            timer._callback, timer._args = None, ()
            self.pending -= 1
        self.doubt = None


def _is_alive(entry: Entry | None) -> bool:
    """Whether there is anything to call."""
    if isinstance(entry, list):
        return any(timer._callback is not None for timer in entry)
    return entry is not None and entry._callback is not None
