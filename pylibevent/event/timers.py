"""What a program sees of Python's own timers: call_later(), call_at(), and the Timer that they return. See timer_queue.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from .._handle import Handle, NoCopy
from .._libevent import lib
from ..errors import MAX_SECONDS, check, check_function

if TYPE_CHECKING:
    from .timer_queue import TimerQueue

_LEAST = -MAX_SECONDS
_FARTHEST = 1e300  # seconds; any but infinity
_process = object()  # another one in each forked child


def _has_forked() -> None:
    global _process
    _process = object()


os.register_at_fork(after_in_child=_has_forked)


class Timer(NoCopy):
    """A call at a time, made by ``EventBase.call_later()`` and ``call_at()``. It is called once."""

    __slots__ = ("_args", "_callback", "_queue", "_when")

    _args: tuple[Any, ...] | None  # None: cancelled
    _callback: Callable[..., object] | None  # None: cancelled or called
    _queue: TimerQueue
    _when: float

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise TypeError("a Timer isn't made itself: use EventBase.call_later() or call_at()")

    def cancel(self) -> None:
        """Don't call it any more, and drop the callback and its arguments. Idempotent; when it was called, it does nothing."""
        if self._callback is not None:
            self._callback = self._args = None
            queue = self._queue
            queue.pending -= 1
            queue.touched = True

    def cancelled(self) -> bool:
        """Whether it was cancelled, or its base closed, before it was called."""
        return self._args is None

    def pending(self) -> bool:
        """Whether it is still to be called."""
        return self._callback is not None

    def when(self) -> float:
        """When it is due, or was, as ``time.monotonic()`` counts."""
        return self._when

    def __repr__(self) -> str:
        callback = self._callback
        state = "cancelled" if self._args is None else "called"
        if callback is not None:
            state = f"pending {getattr(callback, '__qualname__', type(callback).__name__)}"
        return f"<Timer {state}, at {self._when:.6f}>"


class MadeTimer(Timer):
    """What they all are: made by the fastest call that there is, and filled in by the caller."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __init__ = object.__init__


class TimedBase(Handle):
    """The part of an EventBase that is about Python's own timers."""

    __slots__ = ("_timers",)

    _timers: TimerQueue

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call when so many seconds have gone by from now, in the loop's thread: the cheapest kind of timer.

        Timers are called in the order of their deadlines, those with the same one in the order of the calls, and never
        early; late by up to a tick of the system's clock, some milliseconds, unless the base was made with PRECISE_TIMER. They
        are as urgent as an event of the middle priority. For persistent timers see ``timer()``.

        As with ``call_soon()``, this is for the loop's own thread: from others, ``call_soon_threadsafe(base.call_later, ...)``.

        Args:
            delay: Seconds, up to 1e9. 0 and less: in the next pass, after those that are due before.
            callback: What to call.
            args: With what.

        Returns:
            What can cancel it. It needn't be kept.

        Raises:
            TypeError: The delay isn't a number, or the callback can't be called.
            ValueError: The delay is more than 1e9, infinite or not a number (NaN).
            ClosedError, ForkedError: The base is closed, or the parent process's.
            RuntimeError: Another thread is running the loop.
        """
        if type(delay) is not float or not _LEAST <= delay <= MAX_SECONDS:
            delay = _check_time(delay, "delay", MAX_SECONDS)
        queue = self._timers
        if queue.process is not _process or not callable(callback) or (queue.thread and queue.thread != get_ident()):
            self._check_usable(callback)
        timer: Timer = MadeTimer()  # as queue.add(), whose call would cost a tenth
        timer._when = monotonic() + delay
        timer._callback = callback
        timer._args = args
        timer._queue = queue
        queue.pending += 1
        queue.new.append(timer)
        if len(queue.new) > queue.most:
            queue.add_up()
        return timer

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        """The same at a time of ``time.monotonic()``.

        Args:
            when: Seconds on that clock. One that has gone by: in the next pass.
            callback: What to call.
            args: With what.

        Raises:
            TypeError, ValueError, ClosedError, ForkedError, RuntimeError: As call_later().
        """
        when = _check_time(when, "when", _FARTHEST)
        queue = self._timers
        if queue.process is not _process or not callable(callback) or (queue.thread and queue.thread != get_ident()):
            self._check_usable(callback)
        return queue.add(when, callback, args)

    def _check_usable(self, callback: object) -> None:
        check_function(callback, "callback")
        check(lib.pev_loop_check_thread(self._h), self)
        self._timers.process = _process


def _check_time(value: object, name: str, most: float) -> float:
    """A number of seconds, above and below 0; TypeError, ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not -most <= value <= most:
        raise ValueError(f"{name} must be a number of seconds up to {most:g}, not {value!r}")
    return float(value)
