"""EventBase: the loop, and what stands on it.

One pass (design): C polls, does libevent's I/O and notes what is ready; Python calls the callbacks of what was noted, while
libevent is not on the stack. ``loop`` is nothing but that, again and again. What makes it safe:

* ``_armed`` holds, by number, what C may note: the base keeps it alive. A number that isn't there any more is passed over.
* ``_readers`` is a short cut to the read callbacks: who stands in it is in ``_armed`` too, and has nothing else to look at.
* ``_due`` is what is left of the last pass. An exception, or loopbreak, leaves it; the next ``loop`` starts with it.
* ``_turn`` says that the loop shall turn: break, exit, continue, or that the base was closed. Callbacks set it.
* ``_serial`` numbers the passes, so that an event deleted since the pass noted it is known.
"""

from __future__ import annotations

import collections
import itertools
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from threading import get_ident
from types import TracebackType
from typing import IO, Any, Self

from .._libevent import ffi, lib
from .._library import drain_log
from ..buffer.news import has_news, settle
from ..errors import (
    ClosedError,
    check,
    check_callable,
    check_descriptor,
    check_flags,
    check_function,
    check_int,
    check_pointer,
    check_seconds,
    failure,
)
from ..failures import reraise, strays, take
from ..flags import CountFlag, EventFlag, Feature, LoopFlag
from .config import EventConfig
from .event import CommonTimeout, Event, EventCallback
from .info import EventInfo, LoopStatistics
from .interrupt import JUMPS_BACK, Interrupt, came_before, has_begun, in_main_thread
from .limits import Entry, Limits, merge
from .timer_queue import TimerQueue
from .timers import TimedBase
from .turns import AT_ONCE as _AT_ONCE
from .turns import BREAK as _BREAK
from .turns import CLOSED as _CLOSED
from .turns import CONTINUE as _CONTINUE
from .turns import EXIT as _EXIT

_ENTRY = struct.Struct("=QIi")  # struct pev_ready
_READ = lib.PEV_NOTE_READ
_COUNT = 0xFFFF
_READS = lib.PEV_PASS_READS
_MOST_READS = _READS + _COUNT
_unpack = ffi.unpack
_ALL_READ, _NO_DETAIL = itertools.repeat(_READ), itertools.repeat(0)
_ENTRY_SIZE = _ENTRY.size
_loop_pass = lib.pev_loop_pass
_SETTLED = 1 << 24  # beside the bits of pev_loop_pass: callbacks of buffers were called
_NO_FLAGS = EventFlag(0)
_ALL_COUNTS = CountFlag.ACTIVE | CountFlag.ADDED | CountFlag.VIRTUAL


class EventBase(TimedBase):
    """A loop, and the events, bufferevents and listeners on it (``event_base_new``, ``event_base_new_with_config``).

    A base keeps what is armed on it alive: an event that is added, a listener, a bufferevent with a callback. Closing it
    closes them all. A base is used by one thread at a time, but for ``call_soon_threadsafe``, ``loopbreak``, ``loopexit``,
    ``loopcontinue`` and all methods of events.

    Args:
        config: What it shall be like. None: the best method that there is.
        priorities: How many priorities its events have, from 1 to 255.
        fast_io: Whether plain sockets read all there is and write at once. Without it libevent reads at most 4096 bytes at a
            time and waits until a socket can be written to.

    Raises:
        Error: No method of libevent's fits the config.
        OSError: EMFILE: too few descriptors are left.
    """

    __slots__ = (
        "_arena",
        "_armed",
        "_closing",
        "_current",
        "_doubt",
        "_due",
        "_failures",
        "_got",
        "_interrupt",
        "_left",
        "_limits",
        "_on_exception",
        "_passed",
        "_priorities",
        "_readers",
        "_reads",
        "_resolver",
        "_running",
        "_serial",
        "_soon",
        "_taken",
        "_turn",
        "_uncached",
        "_unraised",
        "_view",
    )

    _is_base = True

    def __init__(self, config: EventConfig | None = None, *, priorities: int = 1, fast_io: bool = True) -> None:
        self._begin()
        if config is None:
            config = EventConfig()
        elif not isinstance(config, EventConfig):
            raise TypeError(f"config must be an EventConfig or None, not {type(config).__name__}")
        check_int(priorities, "priorities", 1, 255)
        if not isinstance(fast_io, bool):
            raise TypeError(f"fast_io must be a bool, not {type(fast_io).__name__}")
        c_config, _avoid = config._to_c()
        c_config.fast_io = fast_io
        self._armed: dict[int, Callable[[int, int], None]] = {}
        self._readers: dict[int, tuple[Callable[[Any], object], Any]] = {}
        self._soon: collections.deque[tuple[Callable[..., object], tuple[Any, ...]]] = collections.deque()
        self._timers = TimerQueue()
        self._closing: dict[int, Callable[[], Callable[[], object] | None]] = {}  # who wants to hear of close(), weakly
        self._failures: list[BaseException] = []
        self._unraised: list[BaseException] = []  # what came since the last pass
        self._due: Iterator[Entry] | None = None
        self._left: list[Entry] = []
        self._turn = self._got = self._serial = 0
        self._taken = True
        self._running: Event | None = None
        self._current: int | None = None
        self._doubt: tuple[tuple[Callable[..., object], tuple[Any, ...]], TracebackType | None] | None = None  # had it begun?
        self._on_exception: Callable[[BaseException], object] | None = None
        self._interrupt: Interrupt | None = None
        self._priorities = 1
        self._resolver: Any = None  # the dns room keeps one here
        self._limits = Limits(config)
        self._uncached = bool(c_config.flags & lib.EVENT_BASE_FLAG_NO_CACHE_TIME)
        handle = lib.pev_loop_new(c_config)
        drain_log()
        self._own(check_pointer(handle, f"an EventBase of {config!r}"))
        # Slices of it are bytes. Over a memoryview, an iterator that is garbage together with it crashes CPython's collector.
        self._view = ffi.buffer(lib.pev_loop_ready(handle), lib.PEV_READY_MAX * _ENTRY.size)
        self._reads = lib.pev_loop_reads(handle)
        self._arena = ffi.buffer(lib.pev_loop_arena(handle), lib.PEV_ARENA_SIZE)
        if priorities > 1:
            self.priorities = priorities

    # ------------------------------------------------------------ the loop

    def dispatch(self) -> bool:
        """Run the loop until nothing is left to wait for, or something ends it (``event_base_dispatch``).

        Returns:
            True if nothing was left, False if loopexit or loopbreak ended it.

        Raises:
            BaseException: Whatever a callback raised; what it left uncalled, the next call goes on with.
            RuntimeError: The loop is running already, here or in another thread.
            ClosedError, ForkedError: The base is closed, or the parent process's.
        """
        return self.loop()

    def loop(self, flags: LoopFlag = LoopFlag(0)) -> bool:
        """Run the loop (``event_base_loop``).

        Args:
            flags: ``ONCE``: wait until something happens, call the callbacks, and return. ``NONBLOCK``: the same without
                waiting. ``NO_EXIT_ON_EMPTY``: go on when nothing is left to wait for.

        Returns:
            True if nothing was left to wait for, False otherwise.

        Raises:
            BaseException: As dispatch().
        """
        bits = check_flags(flags, LoopFlag, sum(LoopFlag), "flags")
        check(lib.pev_loop_may_enter(self._h), self)
        try:  # a KeyboardInterrupt may come after each call: whatever was entered is left
            check(lib.pev_loop_enter(self._h), self)
            self._timers.thread = get_ident()
            self._turn &= _EXIT  # as in C: a loopexit before the loop counts, a loopbreak doesn't
            self._got = 0
            if bits & LoopFlag.NONBLOCK or not in_main_thread():
                return self._run(bits)
            if self._interrupt is None:
                self._interrupt = Interrupt()
            with self._interrupt.watching(self._h):
                return self._run(bits)
        finally:
            lib.pev_loop_leave(self._h)  # first: a signal's handler may raise after any call
            self._running = None
            if self._timers.thread == get_ident():
                self._timers.thread = 0

    def _run(self, flags: int) -> bool:
        """Passes and their callbacks, until there is a reason to stop. Returns whether nothing was left."""
        soon = self._soon
        self._resolve_doubt()
        once = flags & (LoopFlag.ONCE | LoopFlag.NONBLOCK)
        called = passed = again = False
        while True:
            while (self._due is not None or self._left) and not self._turn & _AT_ONCE:
                if self._due is None:
                    self._due, self._left = iter(self._left), []
                if self._call_due():
                    called = True
            if self._failures:
                self._raise_failures()
            if soon and not self._turn & _AT_ONCE:
                called = True
                self._call_soon()
            if self._turn:
                if self._turn & _CONTINUE:
                    self._rescan()
                    continue
                if not self._turn & _EXIT or passed or called or self._due is not None:
                    self._got, self._turn = self._turn, 0
                    return False
            if once and called and not lib.pev_loop_goes_on(self._h, passed) and not self._timers.late:
                return False
            if not once and not soon and not self._turn and not self._is_careful():
                found = self._spin(flags)
            else:
                found = self._pass(flags | LoopFlag.NONBLOCK if soon or self._turn or (once and called) else flags)
            passed = True
            called = called or bool(found & _SETTLED)
            if not found & _COUNT and not soon and not self._turn and not self._failures:
                if found & lib.PEV_PASS_EMPTY:
                    return True
                if once and (again or not found & lib.PEV_PASS_INTERRUPTED):  # a wake-up that was left over is no event
                    return False
                again = called

    def _spin(self, flags: int) -> int:
        """Passes and their callbacks as long as there is nothing else to look at: most of a busy server's time is spent here.

        What the last pass found is left to the caller where it takes more than calling.
        """
        soon, view, handle, unraised = self._soon, self._view, self._h, self._unraised
        reads = self._reads
        flags_taken = flags | lib.PEV_PASS_TAKEN
        timers = self._timers
        while True:
            more = 0
            if timers.new or timers.timers or timers.late or timers.due or timers.waits_for is not None:
                more = timers.arm(self)
            taken, self._taken = self._taken, False
            found: int = _loop_pass(handle, (flags_taken if taken else flags) | more)
            if _READS < found <= _MOST_READS and not (unraised or strays or has_news()):
                self._serial += 1
                numbers = iter(_unpack(reads, found & _COUNT))
                due = zip(numbers, _ALL_READ, _NO_DETAIL, strict=False)  # entries of what is left, whenever that is
                self._due = due
                self._taken = True
                self._call_readers(numbers)
                if soon or self._turn or self._left or self._on_exception is not None:
                    return found
                continue
            if not 0 < found <= _COUNT or unraised or strays or has_news():
                return self._look_at(found)
            self._serial += 1
            self._due = _ENTRY.iter_unpack(view[: found * _ENTRY_SIZE])
            self._taken = True
            self._call_plainly()
            if soon or self._turn or self._left or self._on_exception is not None:
                return found

    def _pass(self, flags: int) -> int:
        """One crossing into C. Sets what is due."""
        timers = self._timers
        if timers.new or timers.timers or timers.late or timers.due or timers.waits_for is not None:
            flags |= timers.arm(self)
        taken, self._taken = self._taken, False
        return self._look_at(_loop_pass(self._h, flags | lib.PEV_PASS_TAKEN if taken else flags))

    def _look_at(self, found: int) -> int:
        """What a pass said: set what is due."""
        if found < 0:
            self._taken = True
            raise failure(-found, self)
        self._serial += 1
        n = found & _COUNT
        due = _ENTRY.iter_unpack(self._view[: n * _ENTRY.size]) if n else None
        # No bytecode between these two looks for signals: a batch is taken once, or handed over again.
        self._due = due
        self._taken = True
        self._failures += take(self)
        if found & lib.PEV_PASS_LOGGED:
            drain_log()
        if has_news() and self._settle():
            found |= _SETTLED
        return int(found)

    def _settle(self) -> bool:
        """Call the callbacks of the buffers that libevent changed in this pass: whether there were any."""
        try:
            return settle()
        except BaseException as error:
            self._raised(error)
            return True

    def _is_careful(self) -> bool:
        """Whether calling takes a look at priorities and limits, and errors are given to on_exception."""
        return self._on_exception is not None or self._priorities > 1 or self._limits.given

    def _call_due(self) -> bool:
        """Call what is due, until there is a reason to turn. Returns whether anything was."""
        return self._call_due_carefully() if self._is_careful() else self._call_plainly()

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
                    callback, bev = readers[number]
                    callback(bev)
                elif number in armed:
                    armed[number](what, detail)
                called = True  # or gone meanwhile, which is news too
                if self._turn and self._turn & _AT_ONCE:
                    return True
        except BaseException as error:  # no call before it is in _left: the next interrupt may come at once
            at = error.__traceback__
            done = at is not None and at.tb_frame.f_code.co_code[at.tb_lasti] in JUMPS_BACK
            if number and not done and not (self._left and self._left[-1][0] == number):
                self._left.append((number, what, detail))
                self._keep_or_drop(error)
            raise
        self._due = None
        return called

    def _call_readers(self, numbers: Iterator[int]) -> None:
        """The same where all that is due is to read: ``_due`` takes its entries from these numbers."""
        number = 0
        readers = self._readers
        try:
            for number in numbers:
                try:
                    callback, bev = readers[number]
                except KeyError:
                    callback, bev = self._tell_to_read, number
                callback(bev)
                if self._turn and self._turn & _AT_ONCE:
                    return
        except BaseException as error:
            at = error.__traceback__
            done = at is not None and at.tb_frame.f_code.co_code[at.tb_lasti] in JUMPS_BACK
            if number and not done and not (self._left and self._left[-1][0] == number):
                self._left.append((number, _READ, 0))
                self._keep_or_drop(error)
            raise
        self._due = None

    def _tell_to_read(self, number: int) -> None:
        if number in self._armed:
            self._armed[number](_READ, 0)

    def _call_timers(self, what: int, count: int) -> None:
        """What ``_armed`` holds for the timers of call_later(): some are due."""
        self._running = None
        self._timers.call(self)

    def _keep_or_drop(self, error: BaseException) -> None:
        """What is left last comes again if its callback had not begun when a signal's handler raised this."""
        if not came_before(error):
            self._left.pop()

    def _call_due_carefully(self) -> bool:
        """The same, with a look at priorities and limits, and errors given to on_exception."""
        due = self._due
        assert due is not None
        self._limits.start()
        called = False
        for number, what, detail in due:
            ready = self._armed.get(number)
            if ready is None:
                continue
            called = True
            self._current = self._priority_of(ready)
            try:
                ready(what, detail)
            except BaseException as error:
                if not (self._left and self._left[-1][0] == number):
                    self._left.append((number, what, detail))
                    self._keep_or_drop(error)
                if error is self._timers.raised:
                    self._timers.raised = None
                    raise
                self._raised(error)
            finally:
                current, self._current = self._current, None
            if self._limits.reached(current):
                self._turn |= _CONTINUE
            if self._turn & _AT_ONCE:
                return True
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
            raise error
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

    def _rescan(self) -> None:
        """What loopcontinue does in C: poll again, and start with the most urgent of what is due."""
        self._turn &= ~_CONTINUE
        rest = self._take_due()
        self._pass(LoopFlag.NONBLOCK | LoopFlag.NO_EXIT_ON_EMPTY)
        entries = rest + [entry for entry in self._take_due() if not merge(rest, entry)]
        entries.sort(key=self._urgency)
        self._due = iter(entries) if entries else None

    def _take_due(self) -> list[Entry]:
        due, self._due = self._due, None
        return list(due or ())

    def _urgency(self, entry: Entry) -> int:
        return self._priority_of(self._armed.get(entry[0]))

    def _priority_of(self, ready: Callable[[int, int], None] | None) -> int:
        owner = getattr(ready, "__self__", None)
        if self._priorities == 1:
            return 0
        if owner is self:
            return int(self._priorities // 2)  # timers
        try:
            return int(getattr(owner, "priority", 0))
        except ClosedError:
            return self._priorities // 2  # what a bufferevent says when its close has sent all

    def _urgent(self, priority: int) -> None:
        """An event was made active: if it is more urgent than what runs, it is next, as in C."""
        if self._current is not None and 0 <= priority < self._current:
            self._turn |= _CONTINUE

    def loopexit(self, after: float | None = None) -> None:
        """End the loop when the pass that is under way is done (``event_base_loopexit``). From any thread.

        Args:
            after: Seconds from 0 to 1e9 after which to do so. None: at once. Before the loop is started it counts too.
        """
        if after is None and self._priorities > 1:  # as in C: behind what is due and as urgent as the middle priority
            Event(self, -1, EventFlag(0), lambda event, what: self._request_exit()).active()
        elif after is None:
            self._request_exit()
        else:
            self.timer(check_seconds(after, "after"), lambda event, what: self._request_exit())

    def _request_exit(self) -> None:
        check(lib.pev_loop_check(self._h), self)
        self._turn |= _EXIT
        self._turn_round()

    def loopbreak(self) -> None:
        """End the loop when the callback that is running returns (``event_base_loopbreak``). From any thread.

        What the pass found and was not yet called, the next call of loop() begins with. Without a running loop it does
        nothing.
        """
        check(lib.pev_loop_check(self._h), self)
        self._turn |= _BREAK
        self._turn_round()

    def loopcontinue(self) -> None:
        """Look for new events when the callback that is running returns (``event_base_loopcontinue``). From any thread.

        What the pass found and was not yet called is called after what is more urgent.
        """
        check(lib.pev_loop_check(self._h), self)
        self._turn |= _CONTINUE
        self._turn_round()

    def _turn_round(self) -> None:
        """Have the loop see ``_turn``: in its own thread it is about to look."""
        if not lib.pev_loop_is_mine(self._h):
            check(lib.pev_loop_wake(self._h), self)

    @property
    def got_exit(self) -> bool:
        """Whether loopexit ended the last loop (``event_base_got_exit``)."""
        return bool(self._got & _EXIT)

    @property
    def got_break(self) -> bool:
        """Whether loopbreak ended the last loop (``event_base_got_break``)."""
        return bool(self._got & _BREAK)

    @property
    def on_exception(self) -> Callable[[BaseException], object] | None:
        """Called with what a callback raised, instead of letting it out of loop(). KeyboardInterrupt and SystemExit are
        let out in any case, and so is what this raises. None: all are let out.
        """
        return self._on_exception

    @on_exception.setter
    def on_exception(self, handler: Callable[[BaseException], object] | None) -> None:
        check_callable(handler, "on_exception")
        self._on_exception = handler

    # ------------------------------------------------------------ things to call

    def event(self, fd: object, flags: EventFlag, callback: EventCallback, *, priority: int | None = None) -> Event:
        """An event, not added yet (``event_new``). See Event for the arguments and errors."""
        return Event(self, fd, flags, callback, priority=priority)

    def timer(self, seconds: float, callback: EventCallback, *, persist: bool = False) -> Event:
        """A timer, running (``evtimer_new``, ``evtimer_add``).

        Args:
            seconds: From 0 to 1e9; above 0 if it persists.
            callback: Called as ``callback(event, what)``.
            persist: Start again each time, from when it was due.

        Returns:
            The event. ``add()`` starts it again with the same seconds.
        """
        seconds = check_seconds(seconds, "seconds", positive=persist)
        event = Event(self, -1, EventFlag.PERSIST if persist else _NO_FLAGS, callback)
        event._seconds = seconds
        event._start(seconds)
        return event

    def signal(self, signum: int, callback: EventCallback) -> Event:
        """A signal, watched (``evsignal_new``, ``evsignal_add``).

        While it is added, handlers of ``signal.signal`` for the same signal aren't called. It is persistent, and called
        once for each time the signal came.

        Args:
            signum: Such as ``signal.SIGTERM``.
            callback: Called as ``callback(event, what)``.

        Raises:
            OSError: The system lets nobody watch it (SIGKILL, SIGSTOP).
            RuntimeError: Another base that is running receives the signals of this process.
        """
        event = Event(self, signum, EventFlag.SIGNAL | EventFlag.PERSIST, callback)
        event.add()
        return event

    def once(self, fd: object, flags: EventFlag, callback: EventCallback, timeout: float | None = None) -> None:
        """Call once, when something happens or the time is over (``event_base_once``).

        Args:
            fd: A descriptor, an object with ``fileno()``, or -1.
            flags: ``READ``, ``WRITE``, ``CLOSED``, ``SIGNAL``, or none of them for a timer.
            callback: Called as ``callback(event, what)``.
            timeout: Seconds from 0 to 1e9. None: none; with fd -1: at once.
        """
        event = Event(self, fd, EventFlag(flags & ~EventFlag.PERSIST), callback)
        event.add(0 if timeout is None and event.fd < 0 else timeout)

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call in the loop's thread, after what this pass found; in the order of the calls.

        Args:
            callback: What to call.
            args: With what.

        Raises:
            RuntimeError: Another thread is running the loop.
        """
        check_function(callback, "callback")
        check(lib.pev_loop_check_thread(self._h), self)
        self._soon.append((callback, args))

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        """The same, from any thread: it wakes the loop."""
        check_function(callback, "callback")
        check(lib.pev_loop_check(self._h), self)
        self._soon.append((callback, args))
        check(lib.pev_loop_wake(self._h), self)

    def common_timeout(self, seconds: float) -> CommonTimeout:
        """A length of time for many events, kept in a queue instead of a heap (``event_base_init_common_timeout``).

        Args:
            seconds: From 0 to 1e9.

        Raises:
            OSError: ENOSPC: a base has at most 256 of them.
        """
        pointer = lib.pev_loop_common_timeout(self._h, check_seconds(seconds, "seconds"))
        return CommonTimeout(self, seconds, check_pointer(pointer, self))

    def active_by_fd(self, fd: object, flags: EventFlag) -> None:
        """Let all events of a descriptor fire that wait for any of these (``event_base_active_by_fd``)."""
        bits = check_flags(flags, EventFlag, EventFlag.READ | EventFlag.WRITE | EventFlag.CLOSED | EventFlag.TIMEOUT, "flags")
        check(lib.pev_loop_active_by_fd(self._h, check_descriptor(fd, "fd"), bits), self)

    def active_by_signal(self, signum: int) -> None:
        """Let all events of a signal fire (``event_base_active_by_signal``)."""
        check(lib.pev_loop_active_by_signal(self._h, check_int(signum, "signum", 1, 64)), self)

    # ------------------------------------------------------------ time

    def now(self) -> float:
        """The time, as ``time.time()`` counts (``event_base_gettimeofday_cached``).

        In callbacks of the loop it is the time at which the pass found something, the same for all of them, unless the
        base was made with NO_CACHE_TIME.
        """
        out = ffi.new("double *")
        cached = self._due is not None and not self._uncached
        check(lib.pev_loop_now(self._h, cached, out), self)
        return float(out[0])

    def update_now(self) -> None:
        """Take the time anew for now() (``event_base_update_cache_time``)."""
        check(lib.pev_loop_update_now(self._h), self)

    def monotonic(self) -> float:
        """The clock by which timers run, in seconds (``event_gettime_monotonic``)."""
        out = ffi.new("double *")
        check(lib.pev_loop_monotonic(self._h, out), self)
        return float(out[0])

    # ------------------------------------------------------------ what it is

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
        owner = getattr(self._armed.get(info.id), "__self__", None)
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

    # ------------------------------------------------------------ fork and the end

    def reinit(self) -> None:
        """Make the base usable in a forked child (``event_reinit``).

        Until then everything on it raises ForkedError there.

        Raises:
            ForkedError: Another thread was running the loop when the process forked.
            OSError: EMFILE: too few descriptors are left.
        """
        forked = lib.pev_loop_check(self._h) == -lib.PEV_EFORKED
        check(lib.pev_loop_reinit(self._h), self)
        if forked and self._interrupt is not None:
            self._interrupt.close()  # it is the parent's too
            self._interrupt = None

    def close(self) -> None:
        """Close what stands on the base, then the base (``event_base_free``). Idempotent; allowed in its own callbacks.

        What bufferevents had not sent yet is lost; what is due isn't called any more.

        Raises:
            BufferError: Memoryviews of a bufferevent's buffers still exist.
            RuntimeError: Another thread is running the loop, or libevent is waiting for the callback that calls this.
        """
        check(lib.pev_loop_close(self._h), self)
        self._turn |= _CLOSED
        self._due = None
        self._left.clear()
        self._soon.clear()
        self._armed.clear()
        self._readers.clear()
        self._timers.close()
        self._resolver = None
        if self._interrupt is not None:
            self._interrupt.close()
            self._interrupt = None
        self._tell_closed()
        if has_news():
            settle()

    def _tell_closed(self) -> None:
        """Those who wait for it; what they raise, and what the loop didn't come to raise, comes out of close()."""
        errors, self._failures = self._failures + take(self), []
        while self._closing:
            hear = self._closing.popitem()[1]()
            if hear is not None:
                try:
                    hear()
                except BaseException as error:
                    errors.append(error)
        reraise(errors, "closing a base")

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return bool(lib.pev_loop_check(self._h) == -lib.PEV_ECLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _describe(self) -> str:
        code = lib.pev_loop_check(self._h)
        if code < 0:
            return "<EventBase closed>" if code == -lib.PEV_ECLOSED else "<EventBase of the parent process>"
        return f"<EventBase {self.method}, {self.num_events} events, {len(self._armed)} armed>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing, _warn: Callable[..., None] = warnings.warn) -> None:
        try:
            handle = object.__getattribute__(self, "_h")
        except AttributeError:
            return
        if _exiting():
            return
        try:
            if lib.pev_loop_check(handle) == 0:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:  # the warning may be an error
            try:
                if lib.pev_loop_check(handle) == 0:
                    self.close()
            finally:  # it raises what the loop never came to raise
                self._disown()  # whoever the warning gave it to has an object without a handle
                lib.pev_loop_free(handle)


__all__ = ["EventBase"]
