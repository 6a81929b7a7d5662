"""EventBase: the loop, and what stands on it.

A room each for what it can do: call_later() and its timers (timers.py), calling what is due (calls.py), the loop and its passes
(loop.py), and telling what is on it (info.py). Here is how it is made, what is made on it, and how it ends.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from .._libevent import ffi, lib
from .._library import drain_log, supported_methods
from ..buffer.news import has_news, settle
from ..errors import Error, check, check_descriptor, check_flags, check_function, check_int, check_pointer, check_seconds
from ..failures import reraise, take
from ..flags import EventFlag
from .config import EventConfig
from .event import CommonTimeout, Event, EventCallback
from .info import InspectedBase
from .turns import CLOSED as _CLOSED

_NO_FLAGS = EventFlag(0)


class EventBase(InspectedBase):
    """A loop, and the events, bufferevents and listeners on it (``event_base_new``, ``event_base_new_with_config``).

    A base keeps what is armed on it alive: an event that is added, a listener, a bufferevent with a callback. Closing it
    closes them all. A base is used by one thread at a time, the one that runs its loop. From any thread may be called
    ``call_soon_threadsafe``, ``loopexit``, ``loopbreak``, ``loopcontinue``, ``event``, ``timer``, ``signal``, ``once``,
    ``common_timeout``, ``active_by_fd``, ``active_by_signal``, what tells of it (``now``, ``num_events``, ...), and all methods
    of events.

    Args:
        config: What it shall be like. None: the best method that there is.
        priorities: How many priorities its events have, from 1 to 255.
        fast_io: Whether plain sockets read all there is and write at once. Without it libevent reads at most 4096 bytes at a
            time and waits until a socket can be written to.

    Raises:
        Error: No method of libevent's fits the config.
        OSError: EMFILE: too few descriptors are left.
    """

    __slots__ = ("_arena", "_closing", "_resolver", "_uncached")

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
        self._begin_calls(config)
        self._begin_loop()
        self._closing: dict[int, Callable[[], Callable[[], object] | None]] = {}  # who wants to hear of close(), weakly
        self._resolver: Any = None  # the dns room keeps one here
        self._uncached = bool(c_config.flags & lib.EVENT_BASE_FLAG_NO_CACHE_TIME)
        handle = lib.pev_loop_new(c_config)
        drain_log()
        if not handle and ffi.errno == lib.PEV_EFAILED:
            raise Error(f"no method is left for {config!r}: there are {', '.join(supported_methods())}")
        self._own(check_pointer(handle, f"an EventBase of {config!r}"))
        self._share(handle)
        self._arena = ffi.buffer(lib.pev_loop_arena(handle), lib.PEV_ARENA_SIZE)
        if priorities > 1:
            self.priorities = priorities

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
