"""Event: a descriptor, a timer or a signal that a base watches.

The life of an event: it is made, and holds nothing; ``add`` arms it, and from then on the base keeps it, whoever drops it;
it fires, and unless it is persistent it is as before ``add``. What fired is called after the pass, so between the two an
earlier callback may delete the event: ``_cut`` remembers in which batch that was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from .._handle import Handle, next_id
from .._libevent import ffi, lib
from ..errors import (
    check,
    check_base,
    check_callable,
    check_descriptor,
    check_flags,
    check_int,
    check_pointer,
    check_seconds,
    failure,
)
from ..flags import EventFlag, Feature

if TYPE_CHECKING:
    from .base import EventBase

EventCallback: TypeAlias = "Callable[[Event, EventFlag], object]"

_FLAGS = tuple(EventFlag(bits) for bits in range(256))
_KINDS = EventFlag.READ | EventFlag.WRITE | EventFlag.CLOSED | EventFlag.SIGNAL | EventFlag.TIMEOUT
_MOST_SIGNAL = 64

# As plain numbers: operators of flags are functions of Python's, and cost more than libevent's part of an event.
_IO = int(EventFlag.READ | EventFlag.WRITE | EventFlag.CLOSED)
_PERSIST, _ET, _SIGNAL = int(EventFlag.PERSIST), int(EventFlag.ET), int(EventFlag.SIGNAL)
_ALLOWED = int(_KINDS) | _PERSIST | _ET


class CommonTimeout:
    """A length of time that many events share; made by ``EventBase.common_timeout()``."""

    __slots__ = ("_pointer", "base", "seconds")

    def __init__(self, base: EventBase, seconds: float, pointer: Any) -> None:
        self.base = base
        self.seconds = seconds
        self._pointer = pointer

    def __repr__(self) -> str:
        return f"<CommonTimeout {self.seconds:g} s>"


class Event(Handle):
    """Something that a base watches: a descriptor, a timer, a signal, or nothing but ``active()`` (``event_new``,
    ``event_assign``).

    Usually made by ``EventBase.event()``, ``timer()`` and ``signal()``.

    Args:
        base: The base that shall watch.
        fd: A descriptor, or an object with ``fileno()``, which is kept; the number of a signal; -1 or None for neither.
        flags: ``READ``, ``WRITE``, ``CLOSED`` for a descriptor, ``SIGNAL`` for a signal, neither for a timer; with
            ``PERSIST`` it stays added when it fires, with ``ET`` it is edge-triggered.
        callback: Called as ``callback(event, what)`` with what happened.
        priority: From 0, the most urgent, to ``base.priorities - 1``. None: the middle one.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: Flags that exclude each other, a descriptor missing, a priority or signal out of range.
        ClosedError: The base is closed.
    """

    __slots__ = (
        "_added",
        "_base",
        "_callback",
        "_called",
        "_cut",
        "_flags",
        "_id",
        "_number",
        "_owner",
        "_persist",
        "_readded",
        "_seconds",
    )

    def __init__(
        self, base: EventBase, fd: object, flags: EventFlag, callback: EventCallback, *, priority: int | None = None
    ) -> None:
        self._begin()
        check_base(base)
        bits = check_flags(flags, EventFlag, _ALLOWED, "flags")
        check_callable(callback, "callback")
        if callback is None:
            raise TypeError("callback must be callable, not None")
        number = _check_combination(base, fd, bits)
        level = -1 if priority is None else check_int(priority, "priority", 0, base.priorities - 1)
        self._base = base
        self._number = number
        self._owner = fd  # a socket that is collected would close the descriptor under us
        self._flags = bits
        self._callback = callback
        self._persist = bool(bits & _PERSIST)
        self._cut = self._readded = self._added = self._called = -1
        self._seconds: float | None = None
        self._id = next_id()
        self._own(check_pointer(lib.pev_event_new(base._h, number, bits, level, self._id), base))

    # ------------------------------------------------------------ arming

    def add(self, timeout: float | CommonTimeout | None = None) -> None:
        """Watch from now on (``event_add``).

        Args:
            timeout: Seconds from 0 to 1e9, or a CommonTimeout, after which the event fires with ``TIMEOUT``, if nothing
                else made it fire before; each time it fires, the time starts again. None: no timeout, or the one it has;
                for a timer, its own seconds.

        Raises:
            OSError: The descriptor can't be watched: EBADF, EPERM for a regular file under epoll.
            ValueError: Not a time, or edge- and level-triggered events on one descriptor.
            RuntimeError: A signal, while another base that is running receives the signals of this process.
            ClosedError: The event or its base is closed.
        """
        if timeout is None:
            timeout = self._seconds
        elif not isinstance(timeout, CommonTimeout):
            timeout = check_seconds(timeout, "timeout")
        elif timeout.base is not self._base:
            raise ValueError(f"{timeout!r} belongs to another base")
        self._start(timeout)

    def _start(self, timeout: float | CommonTimeout | None) -> None:
        """Add it, with a timeout that was checked."""
        base, number = self._base, self._id
        armed = base._armed
        was_armed = number in armed
        armed[number] = self  # before C can call: it may do so in another thread, at once
        try:
            if timeout is None:
                code = lib.pev_event_add(self._h)
            elif isinstance(timeout, CommonTimeout):
                code = lib.pev_event_add_common(self._h, timeout._pointer)
            else:
                code = lib.pev_event_add_timeout(self._h, timeout)
            if code < 0:
                raise failure(-code, self)
        except BaseException:
            if not was_armed:
                armed.pop(number, None)
            raise
        self._readded = self._added = base._serial

    def delete(self) -> None:
        """Stop watching; what fired and was not called yet isn't called any more (``event_del``)."""
        code = lib.pev_event_delete(self._h)
        if code < 0:
            raise failure(-code, self)
        self._disarm()

    def _disarm(self) -> None:
        base = self._base
        self._cut = base._serial
        base._armed.pop(self._id, None)

    def remove_timer(self) -> None:
        """Drop the timeout and go on watching the rest (``event_remove_timer``)."""
        check(lib.pev_event_remove_timer(self._h), self)
        if not self.pending():
            self._disarm()

    def active(self, flags: EventFlag = EventFlag.TIMEOUT) -> None:
        """Let it fire, as if this had happened; it needn't be added (``event_active``).

        Args:
            flags: What the callback shall be told: ``TIMEOUT``, ``READ``, ``WRITE``, ``SIGNAL``, ``CLOSED``.
        """
        bits = check_flags(flags, EventFlag, _KINDS, "flags")
        base = self._base
        base._armed[self._id] = self
        code = lib.pev_event_active(self._h, bits)
        if code < 0:
            base._armed.pop(self._id, None)
            check(code, self)
        self._readded = base._serial
        base._urgent(lib.pev_event_get_priority(self._h))

    def pending(self, flags: EventFlag = _KINDS) -> EventFlag:
        """What it is waiting for, or has fired for, of these (``event_pending``)."""
        bits = check_flags(flags, EventFlag, _KINDS, "flags")
        return _FLAGS[check(lib.pev_event_pending(self._h, bits, ffi.NULL, self._was_called()), self)]

    def _was_called(self) -> bool:
        """Whether what the last pass found was called, or is cut, so that it isn't due any more."""
        serial = self._base._serial
        return serial in (self._called, self._cut)

    @property
    def expires(self) -> float | None:
        """When it will time out, as ``time.time()`` counts; None: never."""
        out = ffi.new("double *")
        check(lib.pev_event_pending(self._h, EventFlag.TIMEOUT, out, True), self)
        return None if out[0] < 0 else float(out[0])

    # ------------------------------------------------------------ what it is

    @property
    def base(self) -> EventBase:
        """The base that watches (``event_get_base``)."""
        return self._base

    @property
    def fd(self) -> int:
        """The descriptor or the number of the signal, -1 for neither (``event_get_fd``)."""
        return self._number

    @property
    def flags(self) -> EventFlag:
        """What it was made with (``event_get_events``)."""
        return _FLAGS[self._flags]

    @property
    def callback(self) -> EventCallback:
        """What is called; may be set (``event_get_callback``)."""
        return self._callback

    @callback.setter
    def callback(self, callback: EventCallback) -> None:
        check_callable(callback, "callback")
        if callback is None:
            raise TypeError("callback must be callable, not None")
        self._callback = callback

    @property
    def priority(self) -> int:
        """From 0, the most urgent; may be set while it isn't active (``event_get_priority``, ``event_priority_set``)."""
        return check(lib.pev_event_get_priority(self._h), self)

    @priority.setter
    def priority(self, priority: int) -> None:
        level = check_int(priority, "priority", 0, self._base.priorities - 1)
        check(lib.pev_event_set_priority(self._h, level, self._was_called()), self)

    # ------------------------------------------------------------ firing

    def _still_due(self, what: int) -> int:
        """What is left of what the pass found."""
        return 0 if self._cut == self._base._serial else what

    def _ready(self, what: int, count: int) -> None:
        """The base's loop: it fired in this pass."""
        base = self._base
        serial = base._serial
        if self._cut == serial:
            return  # deleted by an earlier callback
        self._called = serial
        if not self._persist:
            if self._added == serial:
                lib.pev_event_delete(self._h)  # as in C: added again while it was due, it is deleted before its call
            if (self._readded != serial or self._added == serial) and not (base._priorities > 1 and self._is_active_again()):
                base._armed.pop(self._id, None)
        base._running = self
        if count > 1 and self._flags & _SIGNAL:
            self._call_often(what, count)
        else:
            self._callback(self, _FLAGS[what])

    def _is_active_again(self) -> bool:
        """Whether it was made active once more while it was due, and a pass for what is more urgent came in between."""
        return bool(lib.pev_event_pending(self._h, _KINDS, ffi.NULL, True) > 0)

    def _call_often(self, what: int, count: int) -> None:
        """A signal that came several times is called as often, unless it is deleted meanwhile."""
        serial = self._base._serial
        for _ in range(count):
            if self._cut == serial or self._base._turn:
                return
            self._callback(self, _FLAGS[what])

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Delete it for good (``event_free``, ``event_free_finalize``). Idempotent; allowed in its own callback, and in any
        thread.
        """
        check(lib.pev_event_close(self._h), self)
        self._disarm()

    @property
    def closed(self) -> bool:
        """Whether it, or its base, is closed."""
        return bool(lib.pev_event_get_priority(self._h) == -lib.PEV_ECLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _describe(self) -> str:
        kind = "signal" if self._flags & _SIGNAL else "fd" if self._number >= 0 else "timer"
        number = "" if self._number < 0 else f" {self._number}"
        pending = lib.pev_event_pending(self._h, _KINDS, ffi.NULL, self._was_called())
        state = f"pending {_FLAGS[pending].name}" if pending > 0 else "idle"
        if pending < 0:
            state = "closed" if pending == -lib.PEV_ECLOSED else "of the parent process"
        return f"<Event {kind}{number} {_FLAGS[self._flags].name or 'no flags'}, {state}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting():
            try:
                handle = object.__getattribute__(self, "_h")
            except AttributeError:
                return
            lib.pev_event_drop(handle)


def _check_combination(base: EventBase, fd: object, bits: int) -> int:
    """The descriptor, signal or -1 that these flags go with."""
    if bits & _SIGNAL:
        if bits & (_IO | _ET):
            raise ValueError("flags must not have SIGNAL beside READ, WRITE, CLOSED or ET")
        return check_int(fd, "the number of the signal", 1, _MOST_SIGNAL)
    number = -1 if fd is None or fd == -1 else check_descriptor(fd, "fd")
    if bits & _IO and number < 0:
        raise ValueError("fd must be a descriptor where flags have READ, WRITE or CLOSED, not -1")
    if bits & _ET and not bits & _IO:
        raise ValueError("flags must have READ, WRITE or CLOSED where they have ET")
    if not bits & _IO:
        return number
    for flag, feature in ((EventFlag.ET, Feature.ET), (EventFlag.CLOSED, Feature.EARLY_CLOSE)):
        if bits & flag and not base.features & feature:
            raise ValueError(f"flags must not have {flag.name}: the method {base.method} can't do that")
    return number
