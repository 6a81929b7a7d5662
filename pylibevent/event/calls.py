"""The part of an EventBase that calls what is due: the callbacks of what a pass found, and what was queued for after it.

Each is called once, also where a signal's handler raises in between: Python runs those between any two of its instructions.

* ``_armed`` holds, by number, whom C may have something to say to: the base keeps them alive. A number that isn't there any
  more is passed over.
* ``_readers`` is a short cut to the read callbacks: who stands in it is in ``_armed`` too, has a read callback, and has
  nothing else to look at.
* ``_due`` is what is left of the last pass. An exception, or loopbreak, leaves it; the next ``loop`` starts with it. A pass
  that found nothing but bytes to read has only numbers there: ``_entries`` makes entries of them.
* ``_left`` is what is called after that: what was interrupted before it had begun, and what a callback's exception cut off.
* ``_turn`` says that the loop shall turn: break, exit, continue, or that the base was closed. Callbacks set it.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from .._libevent import lib
from ..errors import ClosedError
from ..failures import reraise
from .interrupt import JUMPS_BACK, came_before, has_begun
from .limits import Entry, Limits
from .timer_queue import TimerQueue
from .timers import TimedBase
from .turns import AT_ONCE as _AT_ONCE
from .turns import CONTINUE as _CONTINUE

if TYPE_CHECKING:
    from .config import EventConfig
    from .event import Event

_READ = lib.PEV_NOTE_READ
_ALL_READ, _NO_DETAIL = itertools.repeat(_READ), itertools.repeat(0)
_NUMBERS = type(iter(()))


class Hearer(Protocol):
    """An event, a bufferevent, a listener ...: what the loop calls when something was noted for it."""

    def _ready(self, what: int, detail: int, /) -> None: ...


class CallingBase(TimedBase):
    """See EventBase."""

    __slots__ = (
        "_armed",
        "_current",
        "_doubt",
        "_doubtful",
        "_due",
        "_failures",
        "_left",
        "_limits",
        "_on_exception",
        "_priorities",
        "_readers",
        "_running",
        "_soon",
        "_turn",
    )

    def _begin_calls(self, config: EventConfig) -> None:
        self._armed: dict[int, Hearer] = {}
        self._readers: dict[int, Any] = {}
        self._soon: collections.deque[tuple[Callable[..., object], tuple[Any, ...]]] = collections.deque()
        self._timers = TimerQueue()
        self._failures: list[BaseException] = []
        self._due: Iterator[Any] | None = None
        self._left: list[Entry] = []
        self._turn = 0
        self._running: Event | None = None
        self._current: int | None = None
        self._doubt: tuple[tuple[Callable[..., object], tuple[Any, ...]], TracebackType | None] | None = None  # had it begun?
        self._doubtful: tuple[Entry, BaseException, TracebackType | None] | None = None  # had this?
        self._on_exception: Callable[[BaseException], object] | None = None
        self._priorities = 1
        self._limits = Limits(config)

    def _is_careful(self) -> bool:
        """Whether calling takes a look at priorities and limits, and errors are given to on_exception."""
        return self._on_exception is not None or self._priorities > 1 or self._limits.given

    def _call_due(self) -> bool:
        """Call what is due, until there is a reason to turn. Returns whether anything was."""
        self._entries()
        return self._call_due_carefully() if self._is_careful() else self._call_plainly()

    def _entries(self) -> Iterator[Entry] | None:
        """What is due, as entries."""
        if type(self._due) is _NUMBERS:
            self._due = zip(self._due, _ALL_READ, _NO_DETAIL)  # noqa: B905 - the others never end
        return self._due

    def _call_plainly(self) -> bool:
        """The same where nothing else is to be looked at: once around for each callback, so there is nothing to spare here.

        An interrupt may come wherever Python looks for signals: after a call, at the first instruction of a callback, and
        where the loop jumps back. What was to be called by then is called later; what was called isn't called again.
        """
        number = 0
        called = False
        armed, readers = self._armed, self._readers
        due = self._due
        assert due is not None
        try:
            for number, what, detail in due:
                if what == _READ and number in readers:
                    bev = readers[number]
                    callback = bev._on_read
                    callback(bev)
                    callback = bev = None  # collecting it may close the next one: not between the two lines before
                elif number in armed:
                    armed[number]._ready(what, detail)
                called = True  # or gone meanwhile, which is news too
                if self._turn and self._turn & _AT_ONCE:
                    return True
        except BaseException as error:  # no call before it is kept: the next interrupt may come at once
            at = error.__traceback__
            done = at is not None and at.tb_frame.f_code.co_code[at.tb_lasti] in JUMPS_BACK
            if number and not done and not (self._left and self._left[-1][0] == number):
                self._doubtful = (number, what, detail), error, at
                self._judge()
            del at  # or this frame and those it leads to would hold each other
            raise
        self._due = None
        return called

    def _call_readers(self, numbers: Iterator[int]) -> None:
        """The same where all that is due is to read: these numbers, which are ``_due``."""
        number = 0
        readers = self._readers
        try:
            for number in numbers:
                try:
                    bev = readers[number]
                    callback = bev._on_read
                except KeyError:
                    callback, bev = self._tell_to_read, number
                callback(bev)
                callback = bev = None
                if self._turn and self._turn & _AT_ONCE:
                    return
        except BaseException as error:
            at = error.__traceback__
            done = at is not None and at.tb_frame.f_code.co_code[at.tb_lasti] in JUMPS_BACK
            if number and not done and not (self._left and self._left[-1][0] == number):
                self._doubtful = (number, _READ, 0), error, at
                self._judge()
            del at  # or this frame and those it leads to would hold each other
            raise
        self._due = None

    def _tell_to_read(self, number: int) -> None:
        if number in self._armed:
            self._armed[number]._ready(_READ, 0)

    def _ready(self, what: int, count: int) -> None:
        """It stands in ``_armed`` itself, for the timers of call_later(): some are due."""
        self._running = None
        self._timers.call(self)

    def _judge(self) -> None:
        """What raised comes again if a signal's handler had raised before it began. An interrupt in here leaves that to the
        next call.
        """
        if self._doubtful is not None:
            entry, error, traceback = self._doubtful
            again = came_before(error, traceback)
            self._doubtful = None
            if again:
                self._left.append(entry)  # no signal is looked for since the line before the last

    def _call_due_carefully(self) -> bool:
        """The same, with a look at priorities and limits, and errors given to on_exception."""
        due = self._due
        assert due is not None
        self._limits.start()
        called = False
        begun = True  # what was taken last; an interrupt may come before its call
        try:
            for number, what, detail in due:
                begun = False
                hearer = self._armed.get(number)
                if hearer is None:
                    continue
                called = True
                self._current = self._priority_of(hearer)
                begun = True  # no signal is looked for from here to the call
                try:
                    hearer._ready(what, detail)
                except BaseException as error:
                    if not (self._left and self._left[-1][0] == number):
                        self._doubtful = (number, what, detail), error, error.__traceback__
                        self._judge()
                    if error is self._timers.raised:
                        self._timers.raised = None
                        raise
                    self._raised(error)
                current, self._current = self._current, None
                if self._limits.reached(current):
                    self._turn |= _CONTINUE
                if self._turn & _AT_ONCE:
                    return True
        except BaseException:
            if not begun:
                self._left.append((number, what, detail))
            self._current = None
            raise
        self._due = None
        return called

    def _call_soon(self) -> None:
        """What is queued now; what these callbacks queue waits for the next round."""
        soon = self._soon
        for _ in range(len(soon)):
            if not soon:
                return  # the base was closed
            self._running = None
            callback, arguments = soon[0]
            del soon[0]  # no bytecode from here to the call looks for signals
            try:
                callback(*arguments)
            except BaseException as error:
                self._doubt = (callback, arguments), error.__traceback__  # no signal is looked for up to here
                self._resolve_doubt()
                self._raised(error)
            if self._turn & _AT_ONCE:
                return

    def _resolve_doubt(self) -> None:
        """A queued callback that hadn't begun when a signal's handler raised is queued again. An interrupt in here leaves that
        to the next call.
        """
        if self._doubt is not None:
            entry, traceback = self._doubt
            begun = has_begun(traceback)
            self._doubt = None
            if not begun:
                self._soon.appendleft(entry)  # no signal is looked for since the line before

    def _raised(self, error: BaseException) -> None:
        """A callback raised: give it to on_exception, or let it out."""
        handler = self._on_exception
        if handler is None or isinstance(error, KeyboardInterrupt | SystemExit):
            try:
                raise error
            finally:
                del error  # or it and this frame would hold each other
        handler(error)

    def _raise_failures(self) -> None:
        """What callbacks raised that C waited for: all of it at once, or one by one to on_exception."""
        errors, self._failures = self._failures, []
        if self._on_exception is None:
            reraise(errors, "callbacks that libevent waited for")
        while errors:
            try:
                self._raised(errors.pop(0))
            except BaseException:
                self._failures = errors
                raise

    def _priority_of(self, hearer: Hearer | None) -> int:
        if self._priorities == 1:
            return 0
        if hearer is self:
            return int(self._priorities // 2)  # timers
        try:
            return int(getattr(hearer, "priority", 0))
        except ClosedError:
            return self._priorities // 2  # what a bufferevent says when its close has sent all

    def _urgent(self, priority: int) -> None:
        """An event was made active: if it is more urgent than what runs, it is next, as in C."""
        if self._current is not None and 0 <= priority < self._current:
            self._turn |= _CONTINUE
