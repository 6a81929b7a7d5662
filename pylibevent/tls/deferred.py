"""Answers that come later, while a handshake waits.

What the user's callback, or store, gives may be the answer itself, something with ``add_done_callback`` (a DeferredAnswer, a
Future of ``concurrent.futures`` or of asyncio), or an awaitable. Of the last two a Wait makes an answer:

1. An awaitable is stepped in the thread that runs the base's loop, first of all within the very question. One that never has to
   wait is an answer like any other.
2. What it waits for may be done in any thread: that thread queues the next step on the base.
3. A Wait is cancelled when nobody wants its answer any more: the connection or its base was closed, or the connection ended.
   Then what it waits for is cancelled, a coroutine is closed, and what comes in spite of that is dropped.
4. Until then the base keeps it, and hears of nothing: who asked does, by ``tell``, and takes ``result()``.
"""

from __future__ import annotations

import contextlib
import contextvars
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future, InvalidStateError
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .. import failures
from .._handle import next_id
from .._libevent import lib
from ..errors import Error

if TYPE_CHECKING:
    from ..event import Event, EventBase

T = TypeVar("T")

Answer: TypeAlias = T | Awaitable[T] | Future[T]
"""An answer, or what it will come from."""


class DeferredAnswer(Future[T]):
    """An answer that is given later, from any thread, by ``set_result()`` or ``set_exception()``.

    It is a ``concurrent.futures.Future`` that can be awaited too, in a coroutine that a callback of TLS returned. One that
    nobody waits for any more is cancelled: ``cancelled()`` says so, and what is set then is dropped. ``result()`` makes the
    thread that calls it wait, in that of the loop perhaps for ever: ask ``done()`` before.
    """

    @classmethod
    def wrap(cls, future: Future[T]) -> DeferredAnswer[T]:
        """One that follows another future, such as an executor's, which can't be awaited itself.

        Args:
            future: Anything with ``add_done_callback()`` and ``result()``. It is cancelled when this is.
        """
        self = cls()

        def follow(done: Future[T]) -> None:
            result, error = outcome_of(done)
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)

        self.add_done_callback(lambda _: cancel(future) if self.cancelled() else None)
        when_done(future, follow)
        return self

    def set_result(self, result: T) -> None:
        """Give the answer. Does nothing once this is cancelled.

        Raises:
            concurrent.futures.InvalidStateError: It was given already.
        """
        try:
            super().set_result(result)
        except InvalidStateError:
            if not self.cancelled():
                raise

    def set_exception(self, exception: BaseException | None) -> None:
        """Say that there is no answer: it counts as the one that refuses, and the loop raises this. Does nothing once this is
        cancelled.

        Raises:
            concurrent.futures.InvalidStateError: It was given already.
        """
        try:
            super().set_exception(exception)
        except InvalidStateError:
            if not self.cancelled():
                raise

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for the answer, in a coroutine that a callback returned."""
        if not self.done():
            yield self
        return self.result()


# ---------------------------------------------------------------- futures of all kinds


def is_future(thing: object) -> bool:
    """Whether it will say that it is done."""
    return hasattr(thing, "add_done_callback")


def is_deferred(answer: object) -> bool:
    """Whether the answer is still to come."""
    return not isinstance(answer, type) and (is_future(answer) or isawaitable(answer))


def when_done(future: Any, callback: Callable[[Any], object]) -> None:
    """Have it called, in whatever thread. asyncio's must be asked in the thread of their loop."""
    get_loop = getattr(future, "get_loop", None)
    if get_loop is None:
        future.add_done_callback(callback)
    else:
        get_loop().call_soon_threadsafe(future.add_done_callback, callback)


def cancel(future: Any) -> None:
    """Say that nobody waits for it any more."""
    stop = getattr(future, "cancel", None)
    if stop is None:
        return
    if not hasattr(future, "get_loop"):
        stop()
    elif not future.get_loop().is_closed():
        future.get_loop().call_soon_threadsafe(stop)


def outcome_of(future: Any) -> tuple[Any, BaseException | None]:
    """What one that is done gave, or raised."""
    try:
        if future.cancelled():
            return None, CancelledError()
        return future.result(), None
    except BaseException as error:
        return None, error


@types.coroutine
def _arrival(future: Any) -> Generator[Any, Any, Any]:
    return (yield future)


async def arrived(answer: Any) -> Any:
    """The answer itself, in a coroutine that a Wait steps."""
    if is_future(answer):
        return await _arrival(answer)
    return await answer if isawaitable(answer) else answer


def forget(answer: object) -> None:
    """Nobody will wait for what may be still to come."""
    if is_future(answer):
        cancel(answer)
    elif isinstance(answer, Coroutine):
        answer.close()


def refuse_deferred(answer: object, what: str, why: str) -> None:
    """TypeError for an answer that is still to come, where OpenSSL can't wait."""
    if is_deferred(answer):
        forget(answer)
        raise TypeError(f"{what} can't be deferred: {why}; it returned a {type(answer).__name__}")


# ---------------------------------------------------------------- waiting


class Wait:
    """One answer that is still to come.

    Args:
        base: Whose loop steps it.
        answer: What is_deferred() says yes to.
        tell: Called in the loop's thread when there is a result, unless ``start()`` found one.
        limit: Seconds; after them it is cancelled, and the result is a LateError. None: as long as it takes.
    """

    __slots__ = (
        "_base",
        "_context",
        "_coroutine",
        "_ended",
        "_error",
        "_number",
        "_on",
        "_result",
        "_runs",
        "_tell",
        "_timer",
        "_turn",
    )

    def __init__(self, base: EventBase, answer: Any, tell: Callable[[], object], limit: float | None = None) -> None:
        self._base = base
        self._tell = tell
        self._coroutine: Coroutine[Any, Any, Any] = answer if isinstance(answer, Coroutine) else arrived(answer)
        self._context = contextvars.copy_context()
        self._ended = self._runs = False
        self._turn = 0  # counts what it has waited for: what comes late is known by it
        self._on: Any = None
        self._result: Any = None
        self._error: BaseException | None = None
        self._number = next_id()
        self._timer: Event | None = None
        self._step(None, None)
        if base.closed:
            self.cancel()
        elif not self._ended:
            base._closing[self._number] = lambda: self._base_closed
            if limit is not None:
                self._timer = base.timer(limit, lambda event, what: self._late(limit))

    @property
    def done(self) -> bool:
        """Whether there is a result."""
        return self._ended

    def result(self) -> Any:
        """What came of it; raises what it raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._result

    def cancel(self) -> None:
        """Nobody wants it any more. What closing a coroutine raises comes out of the loop."""
        if self._ended:
            return
        self._end()
        self._tell = _nobody
        on, self._on = self._on, None
        if on is not None:
            cancel(on)
        if not self._runs:
            self._close()

    # ------------------------------------------------------------ steps

    def _step(self, value: Any, error: BaseException | None) -> None:
        """Go on until it has to wait, or ends."""
        while True:
            self._runs = True
            try:
                if error is None:
                    wanted = self._context.run(self._coroutine.send, value)
                else:
                    wanted = self._context.run(self._coroutine.throw, error)
            except StopIteration as stop:
                self._finish(stop.value, None)
                return
            except BaseException as raised:
                self._finish(None, raised)
                return
            finally:
                self._runs = False
            if self._ended:  # it was cancelled from within
                forget(wanted)
                self._close()
                return
            value = error = None
            if wanted is None:
                self._queue(self._turn, None)
                return
            if not is_future(wanted):
                error = TypeError(
                    "a coroutine that TLS waits for can await DeferredAnswers, futures and coroutines, "
                    f"not what yields a {type(wanted).__name__}"
                )
                continue
            try:
                if not wanted.done():
                    self._wait_for(wanted)
                    return
                value, error = outcome_of(wanted)
            except Exception as raised:
                self._on, error = None, raised

    def _wait_for(self, future: Any) -> None:
        self._on = future
        turn = self._turn
        when_done(future, lambda done: self._queue(turn, done))

    def _queue(self, turn: int, future: Any) -> None:
        """In any thread: it is time for the next step."""
        if self._ended:
            return
        with contextlib.suppress(Error):  # the base was closed meanwhile, or is the parent process's
            self._base.call_soon_threadsafe(self._go_on, turn, future)

    def _go_on(self, turn: int, future: Any) -> None:
        if self._ended or turn != self._turn:
            return
        self._turn += 1
        self._on = None
        self._step(*(outcome_of(future) if future is not None else (None, None)))
        if self._ended:
            tell, self._tell = self._tell, _nobody
            tell()

    # ------------------------------------------------------------ the end

    def _finish(self, result: Any, error: BaseException | None) -> None:
        if self._ended:
            return  # cancelled from within: nobody wants to know
        self._result, self._error = result, error
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._base._closing.pop(self._number, None)
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()

    def _close(self) -> None:
        try:
            self._context.run(self._coroutine.close)
        except BaseException as error:
            failures.keep(self._base, error)
            lib.pev_loop_wake(self._base._h)

    def _late(self, limit: float) -> None:
        tell = self._tell
        if not self._ended:
            self.cancel()
            self._error = LateError(f"no answer within {limit:g} s")
            tell()

    def _base_closed(self) -> None:
        self.cancel()
        failures.reraise(failures.take(self._base), "coroutines that were waited for")


def _nobody() -> None:
    """Who hears of an answer that nobody wants any more."""


class LateError(TimeoutError):
    """A Wait took longer than its limit."""


__all__ = ["Answer", "DeferredAnswer", "Wait", "arrived", "forget", "is_deferred", "refuse_deferred"]
