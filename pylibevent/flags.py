"""libevent's flag words and enums, under Python names."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any, TypeVar

from ._libevent import lib

_Flag = TypeVar("_Flag", bound="NamedFlag")
_Enum = TypeVar("_Enum", bound=IntEnum)


class NamedFlag(IntFlag):
    """Flags that print their names: ``READING|EOF``."""

    def __str__(self) -> str:
        return self.name or str(int(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def own_operators(kind: type[_Flag]) -> type[_Flag]:
    """The operators of a class of flags: they refuse flags of another one, since equal numbers mean different things there.

    ``&`` and ``|`` are asked in most event callbacks, and enum's take a microsecond: what was made once is found here too.
    """
    made = kind._value2member_map_
    slow_and, slow_or, slow_xor, slow_contains = kind.__and__, kind.__or__, kind.__xor__, kind.__contains__

    def refuse_others(self: Any, other: Any) -> None:
        if isinstance(other, NamedFlag) and not isinstance(other, kind):
            raise TypeError(f"{kind.__name__} and {type(other).__name__} don't mix: {self!r} and {other!r}")

    def quick_and(self: Any, other: Any) -> Any:
        try:
            if type(other) is kind:
                return made[self._value_ & other._value_]
            if type(other) is int:
                return made[self._value_ & other]
        except KeyError:
            pass
        refuse_others(self, other)
        return slow_and(self, other)

    def quick_or(self: Any, other: Any) -> Any:
        try:
            if type(other) is kind:
                return made[self._value_ | other._value_]
            if type(other) is int:
                return made[self._value_ | other]
        except KeyError:
            pass
        refuse_others(self, other)
        return slow_or(self, other)

    def own_xor(self: Any, other: Any) -> Any:
        refuse_others(self, other)
        return slow_xor(self, other)

    def own_contains(self: Any, other: Any) -> bool:
        refuse_others(self, other)
        return slow_contains(self, other)

    for name, method in (("and", quick_and), ("or", quick_or), ("xor", own_xor)):
        setattr(kind, f"__{name}__", method)
        setattr(kind, f"__r{name}__", method)
    setattr(kind, "__contains__", own_contains)  # noqa: B010  (mypy takes no assignment to a method)
    return kind


@own_operators
class EventFlag(NamedFlag):
    """What an event waits for, and what happened (``EV_*``)."""

    TIMEOUT = lib.EV_TIMEOUT
    READ = lib.EV_READ
    WRITE = lib.EV_WRITE
    SIGNAL = lib.EV_SIGNAL
    PERSIST = lib.EV_PERSIST
    ET = lib.EV_ET
    CLOSED = lib.EV_CLOSED


@own_operators
class LoopFlag(NamedFlag):
    """How EventBase.loop() runs (``EVLOOP_*``)."""

    ONCE = lib.EVLOOP_ONCE
    NONBLOCK = lib.EVLOOP_NONBLOCK
    NO_EXIT_ON_EMPTY = lib.EVLOOP_NO_EXIT_ON_EMPTY


@own_operators
class Feature(NamedFlag):
    """What a way of waiting can do (``EV_FEATURE_*``)."""

    ET = lib.EV_FEATURE_ET
    O1 = lib.EV_FEATURE_O1
    FDS = lib.EV_FEATURE_FDS
    EARLY_CLOSE = lib.EV_FEATURE_EARLY_CLOSE


@own_operators
class BaseFlag(NamedFlag):
    """How an EventBase works (``EVENT_BASE_FLAG_*``)."""

    IGNORE_ENV = lib.EVENT_BASE_FLAG_IGNORE_ENV
    NO_CACHE_TIME = lib.EVENT_BASE_FLAG_NO_CACHE_TIME
    EPOLL_USE_CHANGELIST = lib.EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST
    PRECISE_TIMER = lib.EVENT_BASE_FLAG_PRECISE_TIMER


@own_operators
class CountFlag(NamedFlag):
    """Which events EventBase.count_events() counts (``EVENT_BASE_COUNT_*``)."""

    ACTIVE = lib.EVENT_BASE_COUNT_ACTIVE
    VIRTUAL = lib.EVENT_BASE_COUNT_VIRTUAL
    ADDED = lib.EVENT_BASE_COUNT_ADDED


@own_operators
class What(NamedFlag):
    """What happened to a bufferevent (``BEV_EVENT_*``)."""

    READING = lib.BEV_EVENT_READING
    WRITING = lib.BEV_EVENT_WRITING
    EOF = lib.BEV_EVENT_EOF
    ERROR = lib.BEV_EVENT_ERROR
    TIMEOUT = lib.BEV_EVENT_TIMEOUT
    CONNECTED = lib.BEV_EVENT_CONNECTED


@own_operators
class Option(NamedFlag):
    """How a bufferevent works (``BEV_OPT_*``).

    CLOSE_ON_FREE: closing the bufferevent closes its descriptor, or the bufferevent below. THREADSAFE: it has a lock, and
    other threads may use it while the loop runs. DEFER_CALLBACKS: libevent's own callbacks run in a later step of the
    pass; Python's run after the pass in any case. UNLOCK_CALLBACKS: accepted beside DEFER_CALLBACKS; Python's callbacks
    never run under a lock.
    """

    CLOSE_ON_FREE = lib.BEV_OPT_CLOSE_ON_FREE
    THREADSAFE = lib.BEV_OPT_THREADSAFE
    DEFER_CALLBACKS = lib.BEV_OPT_DEFER_CALLBACKS
    UNLOCK_CALLBACKS = lib.BEV_OPT_UNLOCK_CALLBACKS


class FlushMode(IntEnum):
    """How BufferEvent.flush() flushes (``enum bufferevent_flush_mode``)."""

    NORMAL = lib.BEV_NORMAL
    FLUSH = lib.BEV_FLUSH
    FINISHED = lib.BEV_FINISHED


class FilterResult(IntEnum):
    """What a filter answers (``enum bufferevent_filter_result``)."""

    OK = lib.BEV_OK
    NEED_MORE = lib.BEV_NEED_MORE
    ERROR = lib.BEV_ERROR


class EOLStyle(IntEnum):
    """What ends a line (``enum evbuffer_eol_style``).

    ANY: any run of CR and LF, blank lines with it. CRLF: LF, with a CR before it or not. CRLF_STRICT: CR LF. LF: LF.
    NUL: a zero byte.
    """

    ANY = lib.EVBUFFER_EOL_ANY
    CRLF = lib.EVBUFFER_EOL_CRLF
    CRLF_STRICT = lib.EVBUFFER_EOL_CRLF_STRICT
    LF = lib.EVBUFFER_EOL_LF
    NUL = lib.EVBUFFER_EOL_NUL
