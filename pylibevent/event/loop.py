"""The part of an EventBase that runs: the loop, its passes, and what ends it.

One pass (design): C polls, does libevent's I/O and notes what is ready; Python calls the callbacks of what was noted, while
libevent is not on the stack (calls.py). ``loop`` is nothing but that, again and again. What makes it safe:

* ``_taken`` says that Python has what the last pass noted. Where it doesn't, the next pass hands it over again.
* ``_serial`` numbers the passes, so that an event deleted since the pass noted it is known.
* ``_view`` and ``_reads`` are what a pass has noted, where C keeps it: entries, or nothing but numbers of what can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from .._libevent import ffi, lib
from .._library import drain_log
from ..buffer.news import _released, _unraised, has_news, lent, settle, watched
from ..errors import check, check_callable, check_flags, check_seconds, failure
from ..failures import strays, take
from ..flags import EventFlag, LoopFlag
from .calls import CallingBase
from .event import Event
from .interrupt import Interrupt, in_main_thread
from .limits import Entry, merge
from .turns import AT_ONCE as _AT_ONCE
from .turns import BREAK as _BREAK
from .turns import CONTINUE as _CONTINUE
from .turns import EXIT as _EXIT

if TYPE_CHECKING:
    from .base import EventBase

_ENTRY = struct.Struct("=QIi")  # struct pev_ready
_COUNT = 0xFFFF
_READS = lib.PEV_PASS_READS
_MOST_READS = _READS + _COUNT
_NUMBERS_OF = [struct.Struct(f"{n}Q").unpack_from for n in range(lib.PEV_READY_MAX + 1)]
_ENTRY_SIZE = _ENTRY.size
_loop_pass = lib.pev_loop_pass
_SETTLED = 1 << 24  # beside the bits of pev_loop_pass: callbacks of buffers were called


class LoopingBase(CallingBase):
    """See EventBase."""

    __slots__ = ("_got", "_interrupt", "_reads", "_serial", "_taken", "_unraised", "_view")

    def _begin_loop(self) -> None:
        self._unraised: list[BaseException] = []  # what came since the last pass
        self._got = self._serial = 0
        self._taken = True
        self._interrupt: Interrupt | None = None

    def _share(self, handle: Any) -> None:
        """Where C notes what a pass found."""
        # Slices of it are bytes. Over a memoryview, an iterator that is garbage together with it crashes CPython's collector.
        self._view = ffi.buffer(lib.pev_loop_ready(handle), lib.PEV_READY_MAX * _ENTRY.size)
        self._reads = ffi.buffer(lib.pev_loop_reads(handle), lib.PEV_READY_MAX * 8)

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
        self._judge()
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
        asked = flags_taken if self._taken else flags
        timers = self._timers
        while True:
            if timers.new or timers.touched:
                timers.arm(self)
            self._taken = False  # no signal is looked for from here to the call
            found: int = _loop_pass(handle, asked | timers.flags)
            asked = flags_taken
            if _READS < found <= _MOST_READS and not (unraised or strays or watched or lent or _released or _unraised):
                self._serial += 1
                numbers = iter(_NUMBERS_OF[found & _COUNT](reads))
                self._due = numbers
                self._taken = True
                self._call_readers(numbers)
                if soon or self._turn or self._left or self._on_exception is not None:
                    return found
                continue
            if not 0 < found <= _COUNT or unraised or strays or watched or lent or _released or _unraised:
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
        if timers.new or timers.touched:
            timers.arm(self)
        asked = int(flags) | timers.flags | (lib.PEV_PASS_TAKEN if self._taken else 0)
        self._taken = False  # no signal is looked for from here to the call
        return self._look_at(_loop_pass(self._h, asked))

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

    def _rescan(self) -> None:
        """What loopcontinue does in C: poll again, and start with the most urgent of what is due.

        All of it is in ``_left`` or ``_due`` whenever Python looks for signals.
        """
        self._turn &= ~_CONTINUE
        self._put_by()
        self._left[:] = [entry for entry in map(self._left_of, self._left) if entry[1]]
        self._pass(LoopFlag.NONBLOCK | LoopFlag.NO_EXIT_ON_EMPTY)
        self._put_by()
        self._left[:] = sorted(merge(self._left), key=self._urgency)

    def _put_by(self) -> None:
        """What is due is called after what is left."""
        entries = self._entries()
        if entries is not None:
            self._left += entries  # no signal is looked for from here on
            self._due = None

    def _left_of(self, entry: Entry) -> Entry:
        """Without what an earlier callback of the same pass has put an end to."""
        number, what, detail = entry
        still_due = getattr(self._armed.get(number), "_still_due", None)
        return entry if still_due is None else (number, still_due(what), detail)

    def _urgency(self, entry: Entry) -> int:
        return self._priority_of(self._armed.get(entry[0]))

    # ------------------------------------------------------------ what ends it

    def loopexit(self, after: float | None = None) -> None:
        """End the loop when the pass that is under way is done (``event_base_loopexit``). From any thread.

        Args:
            after: Seconds from 0 to 1e9 after which to do so. None: at once. Before the loop is started it counts too.
        """
        if after is None and self._priorities > 1:  # as in C: behind what is due and as urgent as the middle priority
            Event(cast("EventBase", self), -1, EventFlag(0), lambda event, what: self._request_exit()).active()
        elif after is None:
            self._request_exit()
        else:
            cast("EventBase", self).timer(check_seconds(after, "after"), lambda event, what: self._request_exit())

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
