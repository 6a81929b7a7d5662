"""libevent's flag words and enums, under Python names."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any, TypeVar

from ._libevent import lib

_Flag = TypeVar("_Flag", bound=IntFlag)


def _quick(kind: type[_Flag]) -> type[_Flag]:
    """``&`` and ``|`` are asked in most event callbacks, and enum's take a microsecond: find what was made once here too."""
    made = kind._value2member_map_
    slow_and, slow_or = kind.__and__, kind.__or__
    int_and, int_or = int.__and__, int.__or__

    def quick_and(self: Any, other: Any) -> Any:
        found = made.get(int_and(self, other))
        return slow_and(self, other) if found is None else found

    def quick_or(self: Any, other: Any) -> Any:
        found = made.get(int_or(self, other))
        return slow_or(self, other) if found is None else found

    for name, method in (("__and__", quick_and), ("__rand__", quick_and), ("__or__", quick_or), ("__ror__", quick_or)):
        setattr(kind, name, method)
    return kind


class NamedFlag(IntFlag):
    """Flags that print their names: ``READING|EOF``."""

    def __str__(self) -> str:
        return self.name or str(int(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@_quick
class EventFlag(NamedFlag):
    """What an event waits for, and what happened (``EV_*``)."""

    TIMEOUT = lib.EV_TIMEOUT
    READ = lib.EV_READ
    WRITE = lib.EV_WRITE
    SIGNAL = lib.EV_SIGNAL
    PERSIST = lib.EV_PERSIST
    ET = lib.EV_ET
    CLOSED = lib.EV_CLOSED


class LoopFlag(NamedFlag):
    """How EventBase.loop() runs (``EVLOOP_*``)."""

    ONCE = lib.EVLOOP_ONCE
    NONBLOCK = lib.EVLOOP_NONBLOCK
    NO_EXIT_ON_EMPTY = lib.EVLOOP_NO_EXIT_ON_EMPTY


class Feature(NamedFlag):
    """What a way of waiting can do (``EV_FEATURE_*``)."""

    ET = lib.EV_FEATURE_ET
    O1 = lib.EV_FEATURE_O1
    FDS = lib.EV_FEATURE_FDS
    EARLY_CLOSE = lib.EV_FEATURE_EARLY_CLOSE


class BaseFlag(NamedFlag):
    """How an EventBase works (``EVENT_BASE_FLAG_*``)."""

    IGNORE_ENV = lib.EVENT_BASE_FLAG_IGNORE_ENV
    NO_CACHE_TIME = lib.EVENT_BASE_FLAG_NO_CACHE_TIME
    EPOLL_USE_CHANGELIST = lib.EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST
    PRECISE_TIMER = lib.EVENT_BASE_FLAG_PRECISE_TIMER


class CountFlag(NamedFlag):
    """Which events EventBase.count_events() counts (``EVENT_BASE_COUNT_*``)."""

    ACTIVE = lib.EVENT_BASE_COUNT_ACTIVE
    VIRTUAL = lib.EVENT_BASE_COUNT_VIRTUAL
    ADDED = lib.EVENT_BASE_COUNT_ADDED


@_quick
class What(NamedFlag):
    """What happened to a bufferevent (``BEV_EVENT_*``)."""

    READING = lib.BEV_EVENT_READING
    WRITING = lib.BEV_EVENT_WRITING
    EOF = lib.BEV_EVENT_EOF
    ERROR = lib.BEV_EVENT_ERROR
    TIMEOUT = lib.BEV_EVENT_TIMEOUT
    CONNECTED = lib.BEV_EVENT_CONNECTED


@_quick
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
