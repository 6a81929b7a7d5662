"""FilterBufferEvent: a bufferevent that changes what goes through it.

A filter's life in one call: C needs it (csrc/filter.c says when), calls ``pev_call_filter``, which finds the object by its
number, lends it the two buffers and calls the filter. What that raises is kept for the loop, and C hears ERROR. When the call
is over C takes the buffers back.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from .. import failures
from .._handle import next_id
from .._libevent import ffi, lib
from ..buffer import Buffer
from ..errors import Error, check, check_callable, check_pointer
from ..flags import FilterResult, FlushMode, Option, What
from .callbacks import Callbacks
from .common import CLOSE_TIMEOUT, BufferEvent, check_options, refuse_kind

if TYPE_CHECKING:
    Filter: TypeAlias = Callable[[Buffer, Buffer, int | None, FlushMode], FilterResult]


class Feeder(Protocol):
    """A filter that is an object."""

    def feed(self, source: Buffer, destination: Buffer, limit: int | None, mode: FlushMode) -> FilterResult:
        """Move bytes from source to destination, changed."""


_MODES = (FlushMode.NORMAL, FlushMode.FLUSH, FlushMode.FINISHED)
_RESULTS = frozenset(int(result) for result in FilterResult)
_ERROR = int(FilterResult.ERROR)
_END_OF_WRITING = What.EOF | What.WRITING

_filters: dict[int, weakref.ref[FilterBufferEvent]] = {}


class _Way:
    """One direction: what is called, and the buffers that it gets."""

    __slots__ = ("call", "destination", "source")

    def __init__(self, call: Filter) -> None:
        self.call = call
        self.source, self.destination = Buffer._for_filters(), Buffer._for_filters()


class FilterBufferEvent(BufferEvent):
    """A bufferevent that stands on another and changes what comes in and goes out (``bufferevent_filter_new``).

    A filter is called as ``filter(source, destination, limit, mode)``, or is an object whose ``feed`` is called so. It takes
    bytes from the one Buffer, adds bytes to the other, and returns a FilterResult:

    * ``OK``: it did something. It is called again while there is something left to take, and room.
    * ``NEED_MORE``: it can do nothing more with what there is. What it has added counts.
    * ``ERROR``: the stream is broken. The event callback gets ERROR, and nothing comes after that; ``error`` says why: the
      exception in the filter's own ``error``, if it has one. What this call has added stands in the input, but no read
      callback comes for it: a filter that wants one says OK first. The same happens when a filter raises; its exception
      then also comes out of the loop, after the callbacks of the pass.

    ``limit`` is how many bytes it should add at most, so that the destination stays at its high mark; None: no limit. A filter
    that stopped there is called again, perhaps with an empty source, when there is room. ``mode`` is NORMAL; FLUSH, where
    ``flush()`` wants everything out; or FINISHED: nothing follows. The input filter gets FINISHED when the underlying has
    ended, the output filter when the bufferevent is closed after something was written. Both buffers are closed when it
    returns.

    While the filter stands, the callbacks of the underlying aren't called; a filter that is closed without CLOSE_ON_FREE
    gives them back. Where a high mark of the underlying's input is too low for the input filter to do anything, it is raised.
    ``max_single_read`` and ``max_single_write`` have no effect here: set those of the socket below.

    Args:
        underlying: What carries the filtered bytes: a bufferevent of any kind. What waits in its input is filtered as soon as
            reading is enabled.
        input_filter: For what comes in. None: it passes unchanged.
        output_filter: For what goes out. None: it passes unchanged.
        options: How it works. With CLOSE_ON_FREE the underlying is closed together with this. THREADSAFE comes from the
            underlying; the filters run in the loop's thread.
        on_close: Called once, without arguments, when it is closed, by whatever way.

    Raises:
        RuntimeError: Another bufferevent stands on the underlying already, or a hundred would stand on each other.
        OSError: EPIPE: the underlying has ended with an ERROR.
        ValueError: Options that exclude each other, or a filter of ``pylibevent.filters`` that another bufferevent has, or had.
    """

    __slots__ = ("_failure", "_filters", "_given_back", "_on_close", "_underlying", "_ways")

    _underlying: BufferEvent

    def __init__(
        self,
        underlying: BufferEvent,
        input_filter: Filter | Feeder | None = None,
        output_filter: Filter | Feeder | None = None,
        options: Option = Option.CLOSE_ON_FREE,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        self._begin()
        if not isinstance(underlying, BufferEvent):
            raise TypeError(f"underlying must be a BufferEvent, not {type(underlying).__name__}")
        calls = _callable_of(input_filter, "input_filter"), _callable_of(output_filter, "output_filter")
        _check_new(input_filter, output_filter)
        check_callable(on_close, "on_close")
        bits = _check_over(underlying, check_options(options))
        self._filters = input_filter, output_filter
        self._ways = tuple(_Way(call) if call is not None else None for call in calls)
        self._failure: BaseException | None = None
        self._given_back: Callbacks | None = None
        self._on_close: Callable[[], object] | None = None
        self._underlying = underlying
        callbacks, number = underlying.callbacks, next_id()
        handle = lib.pev_filter_new(underlying._h, calls[0] is not None, calls[1] is not None, bits, number)
        check_pointer(handle, underlying)
        for given in (input_filter, output_filter):
            if given is not None and hasattr(given, "_is_taken"):
                given._is_taken = True
        _filters[number] = weakref.ref(self)
        underlying._carry()
        self._start(underlying.base, handle, number, bits)
        self._given_back = None if bits & Option.CLOSE_ON_FREE else callbacks
        self._on_close = on_close
        self._base._closing[number] = weakref.WeakMethod(self._base_closed)

    # ------------------------------------------------------------ what it is

    @property
    def underlying(self) -> BufferEvent:
        """What carries the filtered bytes (``bufferevent_get_underlying``)."""
        return self._underlying

    @property
    def input_filter(self) -> Filter | Feeder | None:
        """For what comes in."""
        return self._filters[0]

    @property
    def output_filter(self) -> Filter | Feeder | None:
        """For what goes out."""
        return self._filters[1]

    @property
    def priority(self) -> int:
        """That of all that has no descriptor; it can't be set (``bufferevent_get_priority``)."""
        return check(lib.pev_bev_get_priority(self._h), self)

    @priority.setter
    def priority(self, priority: int) -> NoReturn:
        refuse_kind(self, "have a priority of its own: set that of the socket below")

    def _going(self) -> str:
        return self._underlying._going()

    # ------------------------------------------------------------ filtering

    def _filter(self, is_output: int, lending: Any, limit: int, mode: int) -> int:
        """C: let the filter work. What goes wrong ends the stream."""
        try:
            way = self._ways[is_output]
            assert way is not None
            lib.pev_lend(lending, way.source._h, way.destination._h)
            result = way.call(way.source, way.destination, None if limit < 0 else limit, _MODES[mode])
            if lib.pev_lent_is_kept(lending):
                raise BufferError(f"{self._name(is_output)} left memoryviews of its buffers behind")
            if not isinstance(result, int) or isinstance(result, bool) or result not in _RESULTS:
                raise TypeError(f"{self._name(is_output)} must return a FilterResult, not {result!r}")
            if result == _ERROR:
                said = getattr(self._filters[is_output], "error", None)
                self._failure = said if isinstance(said, Exception) else Error(f"{self._name(is_output)} said ERROR")
            return int(result)
        except BaseException as error:
            self._failure = error
            failures.keep(self._base, error)
            return _ERROR

    def _name(self, is_output: int) -> str:
        return f"the {'output' if is_output else 'input'} filter {self._filters[is_output]!r}"

    def _explain(self, events: int, detail: int) -> BaseException:
        if self._failure is not None:
            return self._failure
        return self._underlying._explain(events, detail)

    def _ended(self, events: int, detail: int) -> None:
        if events == _END_OF_WRITING:
            self._call_event(events)
        else:
            super()._ended(events, detail)

    # ------------------------------------------------------------ the end

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close it (``bufferevent_free``): what was written goes out first, and the output filter finishes; the loop goes on
        sending while the peer takes anything. Idempotent; allowed in every callback, filters too. No callback comes after it.

        Args:
            timeout: Seconds from 0 to 1e9 without any headway, after which what is left is dropped. 0: drop it at once.
        """
        if self._closed:
            return
        super().close(timeout=0 if _looking_up(self._underlying) else timeout)
        if self._id not in self._base._armed:
            self._gone()

    def _ready(self, what: int, detail: int) -> None:
        BufferEvent._ready(self, what, detail)
        if what & lib.PEV_NOTE_GONE:
            self._gone()

    def _carried_away(self) -> None:
        self._closed = True
        super()._carried_away()
        self._gone()

    def _gone(self) -> None:
        """It is closed, for good."""
        _filters.pop(self._id, None)
        self._base._closing.pop(self._id, None)
        callbacks, self._given_back = self._given_back, None
        try:
            if self._underlying.closed:
                self._underlying._carried_away()
            elif callbacks is not None:
                self._underlying.set_callbacks(*callbacks)
        finally:
            self._finish()

    def _base_closed(self) -> None:
        _filters.pop(self._id, None)
        self._finish()

    def _finish(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing, _warn: Callable[..., None] = warnings.warn) -> None:
        if _exiting():
            return
        try:
            super().__del__(_exiting, _warn)
        finally:
            try:
                number = object.__getattribute__(self, "_id")
            except AttributeError:
                number = 0  # it was not made
            if number:
                _filters.pop(number, None)
                self._base._closing.pop(number, None)
                self._finish()


@ffi.def_extern(error=_ERROR, onerror=failures.keep_stray)  # type: ignore[untyped-decorator]
def pev_call_filter(number: int, is_output: int, lending: Any, limit: int, mode: int) -> int:
    """C: a filter is needed at once."""
    reference = _filters.get(number)
    bev = reference() if reference is not None else None
    return _ERROR if bev is None else bev._filter(is_output, lending, limit, mode)


def _callable_of(value: object, name: str) -> Filter | None:
    """What is called for this filter; TypeError for what isn't one."""
    feed: Filter | None = getattr(value, "feed", None)
    if callable(feed):
        return feed
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, have feed(), or be None, not {type(value).__name__}")
    return value


def _check_new(input_filter: object, output_filter: object) -> None:
    """ValueError for one of ours that has seen bytes of another stream, or would: both would be damaged."""
    for given, name in ((input_filter, "input_filter"), (output_filter, "output_filter")):
        is_twice = given is input_filter is output_filter and name == "output_filter"
        if hasattr(given, "_is_taken") and (given._is_taken or is_twice):
            raise ValueError(
                f"{name} {given!r} is for one bufferevent, since it keeps what it has seen, and it has one: make another"
            )


def _check_over(underlying: BufferEvent, bits: int) -> int:
    """The options for standing on this underlying."""
    if bits & Option.THREADSAFE and not underlying.options & Option.THREADSAFE:
        raise ValueError("options must have THREADSAFE only where the underlying has it")
    return bits | (underlying.options & Option.THREADSAFE)


def _looking_up(bev: BufferEvent | None) -> bool:
    """Whether the socket at the bottom has no address to connect to yet: nothing can be sent."""
    while bev is not None and bev.underlying is not None:
        bev = bev.underlying
    return getattr(bev, "_lookup", None) is not None


__all__ = ["FilterBufferEvent"]
