"""Ctrl-C while the loop sleeps in C.

Python's handlers of signals run in the main thread, between two of its instructions; asleep in C it has none. So while a
loop runs in the main thread, the interpreter writes the number of each signal to a descriptor (signal.set_wakeup_fd) that
the pass watches: the pass returns, and the handlers run.

An owner of that descriptor before us is left alone. If it is another of our loops, further out on the stack, its descriptor
wakes this one too; if it is somebody else's, this loop comes back to Python every tenth of a second instead.
"""

from __future__ import annotations

import contextlib
import dis
import os
import signal
import threading
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any

from .._libevent import lib
from ..errors import check

BEAT = 0.1

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_RESUME = dis.opmap.get("RESUME")  # what a function begins with, and where signals are looked at

JUMPS_BACK = frozenset(number for name, number in dis.opmap.items() if "JUMP_BACKWARD" in name or name == "JUMP_ABSOLUTE")
"""What loops end with, and the last thing in a turn of theirs where signals are looked at."""

_stack: list[Interrupt] = []  # the loops that run in the main thread, the innermost last


class Interrupt:
    """The wake-up descriptor of one base."""

    __slots__ = ("_closed", "_read", "_write")

    def __init__(self) -> None:
        self._closed = False
        self._read = self._write = -1

    def _open(self) -> bool:
        """Have both ends; False when there are no descriptors left."""
        if self._write < 0:
            try:  # bare descriptors: an interpreter that exits says nothing about them
                self._read, self._write = _pipe()
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Close both ends: now, or when the loop that they wake is left."""
        self._closed = True
        if self in _stack:
            return
        if self._write < 0:
            return
        if in_main_thread():
            self._give_back()
        os.close(self._read)
        os.close(self._write)
        self._read = self._write = -1

    @contextlib.contextmanager
    def watching(self, handle: Any) -> Iterator[None]:
        """Signals end the passes of this loop, as long as the block runs."""
        before = -2
        if self._open():
            before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        owned = before in (-1, self._write)  # ours still: an interrupt between two lines
        if not owned and before >= 0:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        outer = next((i for i in reversed(_stack) if i._write == before), None)
        watched = self if owned else outer
        _stack.append(self)
        try:
            if watched is not None:
                check(lib.pev_loop_watch(handle, watched._read), "the wake-up descriptor")
            else:
                check(lib.pev_loop_beat(handle, BEAT), "the loop")
            yield
        finally:
            _stack.remove(self)
            lib.pev_loop_watch(handle, -1)
            lib.pev_loop_beat(handle, 0)
            if owned:
                self._give_back()
            if self._closed:
                self.close()

    def _give_back(self) -> None:
        """No owner again, unless somebody else has taken it meanwhile."""
        now = signal.set_wakeup_fd(-1)
        if now not in (-1, self._write):
            signal.set_wakeup_fd(now)


def in_main_thread() -> bool:
    """Whether this thread is the one that runs Python's signal handlers."""
    return threading.current_thread() is threading.main_thread()


def _pipe() -> tuple[int, int]:
    """Two ends that don't block, from the first moment: an interrupt may come at any."""
    if hasattr(os, "pipe2"):
        return os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def came_before(error: BaseException, traceback: TracebackType | None) -> bool:
    """Whether this came out of a signal's handler before the callback that was to be called had begun, by its traceback as it
    was where it was caught first.

    Python runs handlers between any two of its instructions, also those between the loop's and the callback's first.
    """
    handlers = _codes_of_handlers()
    while traceback is not None and traceback.tb_frame.f_code not in handlers:
        if not traceback.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            inner = traceback.tb_next
            return (inner is None or inner.tb_frame.f_code in handlers) and _has_not_begun(traceback)
        traceback = traceback.tb_next
    return traceback is not None or isinstance(error, KeyboardInterrupt)


def _codes_of_handlers() -> set[CodeType]:
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = (getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers)
    return {code for code in codes if code is not None}


def _has_not_begun(traceback: TracebackType) -> bool:
    code, at = traceback.tb_frame.f_code.co_code, traceback.tb_lasti
    return 0 <= at < len(code) - 1 and code[at] == _RESUME and code[at + 1] == 0


def has_begun(traceback: TracebackType | None) -> bool:
    """Whether the call out of which an exception came had begun. False: it came out of a signal's handler just before.

    For a caller that has nothing but the call in its try block: the traceback as it is there. Functions of C's look for
    signals when they are done.
    """
    called = traceback.tb_next if traceback is not None else None
    if called is None:
        return True
    handlers = _codes_of_handlers()
    inner = called.tb_next
    if called.tb_frame.f_code in handlers or not (inner is None or inner.tb_frame.f_code in handlers):
        return True
    return not _has_not_begun(called)
