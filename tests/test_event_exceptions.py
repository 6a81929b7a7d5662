"""What callbacks raise: it comes out of the loop at once, whole, and costs nobody else a call."""

from __future__ import annotations

import asyncio
import gc
import random
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from support import socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
KINDS: list[type[BaseException]] = [
    LookupError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    StopIteration,
    asyncio.CancelledError,
    MemoryError,
    RecursionError,
]


def active(base: ev.EventBase, callback: Callable[[], object], priority: int | None = None) -> ev.Event:
    event = base.event(-1, NOTHING, lambda event, what: callback(), priority=priority)
    event.active()
    return event


def raiser(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_with_its_traceback(base: ev.EventBase, kind: type[BaseException]) -> None:
    error = kind("a word")
    active(base, raiser(error))
    with pytest.raises(kind) as caught:
        base.dispatch()
    assert caught.value is error
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "fail"
    assert error.__context__ is None
    assert base.dispatch() is True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [ev.LoopFlag(0), *ev.LoopFlag])
def test_the_rest_of_the_batch_is_kept(base: ev.EventBase, kind: type[BaseException], flags: ev.LoopFlag) -> None:
    order: list[int] = []
    active(base, raiser(kind()))
    for n in range(3):
        active(base, lambda n=n: order.append(n))  # type: ignore[misc]
    with pytest.raises(kind):
        base.loop(flags)
    assert order == []
    if flags & ev.LoopFlag.NO_EXIT_ON_EMPTY:
        base.loopexit(0.001)
    base.loop(flags)
    assert order == [0, 1, 2]


def test_the_rest_stays_in_the_order_of_priorities() -> None:
    with ev.EventBase(priorities=3) as base:
        order: list[int] = []

        def call(level: int) -> None:
            order.append(level)
            raise LookupError

        for level in (2, 0, 1, 2, 0, 1):
            active(base, lambda level=level: call(level), level)  # type: ignore[misc]
        for _ in range(6):
            with pytest.raises(LookupError):
                base.dispatch()
        assert order == [0, 0, 1, 1, 2, 2]
        assert base.dispatch() is True


def test_what_is_left_is_deleted_as_ever(base: ev.EventBase) -> None:
    order: list[str] = []
    active(base, raiser(LookupError()))
    rest = [active(base, lambda name=name: order.append(name)) for name in "abcd"]  # type: ignore[misc]
    with pytest.raises(LookupError):
        base.dispatch()
    rest[0].delete()
    rest[1].close()
    rest[2].delete()
    rest[2].active()
    assert base.dispatch() is True
    assert sorted(order) == ["c", "d"]


def test_an_exit_before_an_error_still_counts(base: ev.EventBase) -> None:
    """The loop that goes on finishes the pass, and ends."""
    order: list[str] = []

    def exit_and_fail() -> None:
        base.loopexit()
        raise LookupError

    active(base, exit_and_fail)
    active(base, lambda: order.append("rest"))
    timer = base.timer(60, pytest.fail)
    with pytest.raises(LookupError):
        base.dispatch()
    assert base.dispatch() is False
    assert order == ["rest"]
    assert base.got_exit
    timer.close()


def test_one_that_raises_can_wait_again(base: ev.EventBase) -> None:
    """A persistent reader that raises stays added; one that isn't is idle, and may add itself before it raises."""
    with socket_pair() as (one, other):
        count = 0

        def fail(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal count
            count += 1
            one.recv(1)
            if event is single and count == 3:
                event.add()
            raise LookupError(count)

        persistent = base.event(one, ev.EventFlag.READ | ev.EventFlag.PERSIST, fail)
        single = base.event(one, ev.EventFlag.READ, fail)
        persistent.add()
        other.send(b"abcd")
        for expected in (1, 2):
            with pytest.raises(LookupError, match=str(expected)):
                base.dispatch()
        assert persistent.pending() == ev.EventFlag.READ
        persistent.delete()
        single.add()
        for expected, pending in ((3, ev.EventFlag.READ), (4, NOTHING)):
            with pytest.raises(LookupError, match=str(expected)):
                base.dispatch()
            assert single.pending() == pending


def test_a_call_that_raises_keeps_those_after_it(base: ev.EventBase) -> None:
    order: list[str] = []
    base.call_soon(raiser(LookupError()))
    base.call_soon(order.append, "soon")
    active(base, lambda: order.append("event"))
    with pytest.raises(LookupError):
        base.dispatch()
    assert order == []
    assert base.dispatch() is True
    assert order == ["soon", "event"]


def test_arguments_that_do_not_fit_come_out(base: ev.EventBase) -> None:
    """A callback that can't be called with what it gets is an error like any other."""
    base.timer(0, lambda: None)  # type: ignore[arg-type, misc]
    with pytest.raises(TypeError, match="positional argument"):
        base.dispatch()
    base.call_soon(lambda: None, 1)
    with pytest.raises(TypeError, match="positional argument"):
        base.dispatch()
    assert base.dispatch() is True


def test_errors_keep_nothing_alive(base: ev.EventBase) -> None:
    """Once the error is dropped, so is what its callback held."""

    class Held:
        """Something that a callback's frame holds."""

    def fail() -> None:
        held = Held()
        raise LookupError(id(held))

    active(base, fail)
    with pytest.raises(LookupError) as caught:
        base.dispatch()
    caught.value.__traceback__ = None
    del caught
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Held]


def test_no_call_is_lost_or_made_twice(base: ev.EventBase, rng: random.Random) -> None:
    """Random errors, breaks, exits and continues: each of 500 activations and 200 calls is called once, in the end."""
    calls: list[int] = []

    def call(n: int) -> None:
        calls.append(n)
        match rng.randrange(8):
            case 0:
                raise LookupError(n)
            case 1:
                base.loopbreak()
            case 2:
                base.loopexit()
            case 3:
                base.loopcontinue()

    for n in range(500):
        active(base, lambda n=n: call(n))  # type: ignore[misc]
    for n in range(500, 700):
        base.call_soon(call, n)
    for _ in range(2000):
        try:
            if base.dispatch() and len(calls) >= 700:
                break
        except LookupError:
            pass
    assert sorted(calls) == list(range(700))
    assert [n for n in calls if n < 500] == list(range(500))
    assert [n for n in calls if n >= 500] == list(range(500, 700))


# ---------------------------------------------------------------- on_exception


def test_a_handler_takes_what_is_raised(base: ev.EventBase) -> None:
    caught: list[BaseException] = []
    base.on_exception = caught.append
    assert base.on_exception is not None
    errors = [kind() for kind in KINDS if not issubclass(kind, KeyboardInterrupt | SystemExit)]
    for error in errors:
        active(base, raiser(error))
    soon = ZeroDivisionError()
    base.call_soon(raiser(soon))
    assert base.dispatch() is True
    assert sorted(map(id, caught)) == sorted(map(id, [*errors, soon]))
    assert all(error.__traceback__ is not None for error in caught)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_those_that_end_programs_come_out_in_any_case(base: ev.EventBase, kind: type[BaseException]) -> None:
    order: list[str] = []
    base.on_exception = lambda error: pytest.fail("it isn't for the handler")
    active(base, raiser(kind()))
    active(base, lambda: order.append("rest"))
    with pytest.raises(kind):
        base.dispatch()
    base.call_soon(raiser(kind()))
    base.call_soon(order.append, "soon")
    with pytest.raises(kind):
        base.dispatch()
    assert base.dispatch() is True
    assert sorted(order) == ["rest", "soon"]


def test_what_the_handler_raises_comes_out(base: ev.EventBase) -> None:
    order: list[str] = []

    def handle(error: BaseException) -> None:
        raise RuntimeError("refused") from error

    base.on_exception = handle
    error = LookupError()
    active(base, raiser(error))
    active(base, lambda: order.append("rest"))
    with pytest.raises(RuntimeError, match="refused") as caught:
        base.dispatch()
    assert caught.value.__cause__ is error
    assert base.dispatch() is True
    assert order == ["rest"]


@pytest.mark.parametrize("end", ["loopbreak", "loopexit", "close"])
def test_the_handler_may_end_the_loop(end: str) -> None:
    with ev.EventBase() as base:
        order: list[str] = []
        base.on_exception = lambda error: getattr(base, end)()
        active(base, raiser(LookupError()))
        active(base, lambda: order.append("rest"))
        base.timer(60, pytest.fail)
        assert base.dispatch() is False
        assert order == (["rest"] if end == "loopexit" else [])


def test_the_handler_may_be_taken_away_by_itself(base: ev.EventBase) -> None:
    def handle(error: BaseException) -> None:
        base.on_exception = None

    base.on_exception = handle
    active(base, raiser(LookupError(1)))
    active(base, raiser(LookupError(2)))
    with pytest.raises(LookupError, match="2"):
        base.dispatch()
    assert base.on_exception is None


@pytest.mark.parametrize("handler", [1, "handle", [], object()])
def test_handlers_that_are_none(base: ev.EventBase, handler: Any) -> None:
    with pytest.raises(TypeError, match="on_exception must be callable or None"):
        base.on_exception = handler
    assert base.on_exception is None


@pytest.mark.parametrize("handled", [False, True])
def test_what_is_left_of_an_entry_does_not_wait_for_anything_else(base: ev.EventBase, handled: bool) -> None:
    """Reading and the end come as one; the read callback raises, and nothing else will ever happen."""
    with socket_pair() as (one, _):
        events: list[ev.What] = []
        raised: list[BaseException] = []

        def on_read(bev: ev.BufferEvent) -> None:
            bev.read()
            raise LookupError

        with ev.SocketBufferEvent(base, one) as bev:
            bev.set_callbacks(read=on_read, event=lambda bev, what: events.append(what))
            bev.enable()
            bev.trigger_event(ev.What.EOF | ev.What.READING)
            bev.trigger(ev.EventFlag.READ, ignore_watermarks=True)
            if handled:
                base.on_exception = raised.append
            give_up = base.timer(5, lambda event, what: pytest.fail("it waited"))
            while not events:
                try:
                    base.loop(ev.LoopFlag.ONCE)
                except LookupError as error:
                    raised.append(error)
            give_up.close()
        assert len(raised) == 1
        assert events == [ev.What.EOF | ev.What.READING]
