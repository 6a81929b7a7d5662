"""Timers of call_later, and what ends or turns a loop: flags, breaks, priorities, exceptions."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
from support import run_until, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
LONG_AGO = 1.0


class Held:
    """Something that a timer keeps."""

    def __call__(self, *args: object) -> None:
        pass


# ---------------------------------------------------------------- what the loop makes of them


def test_they_keep_a_loop_and_are_counted(base: ev.EventBase) -> None:
    assert base.num_events == 0
    base.call_later(0.01, lambda: None)
    timer = base.call_later(0.02, lambda: None)
    assert base.num_events == 2
    assert base.count_events(ev.CountFlag.ADDED) == 2
    assert base.count_events(ev.CountFlag.ACTIVE) == 0
    assert base.loop(ev.LoopFlag.ONCE) is False
    assert base.num_events == 1
    assert timer.pending()
    assert base.loop(ev.LoopFlag.NONBLOCK) is False
    assert base.dispatch() is True
    assert base.num_events == 0
    assert base.loop(ev.LoopFlag.NONBLOCK) is True


def test_once_waits_for_one_pass(base: ev.EventBase) -> None:
    order: list[int] = []
    for n in range(3):
        base.call_later(0.02 * n, order.append, n)
    base.loop(ev.LoopFlag.NONBLOCK)
    assert order == [0]
    base.loop(ev.LoopFlag.ONCE)
    assert order == [0, 1]
    base.loop(ev.LoopFlag.NONBLOCK)
    assert order == [0, 1]
    base.dispatch()
    assert order == [0, 1, 2]


def test_no_exit_on_empty_goes_on(base: ev.EventBase) -> None:
    base.call_later(0, base.call_later, 0.01, base.loopexit)
    assert base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY) is False
    assert base.got_exit


def test_a_break_leaves_the_rest_for_the_next_loop(base: ev.EventBase) -> None:
    order: list[int] = []
    base.call_at(LONG_AGO, base.loopbreak)
    for n in range(3):
        base.call_at(LONG_AGO + n % 2, order.append, n)
    assert base.dispatch() is False
    assert base.got_break
    assert order == []
    assert base.num_events == 3
    assert base.loop(ev.LoopFlag.NONBLOCK) is False
    assert order == [0, 2, 1]


def test_what_a_break_left_is_called_in_one_turn(base: ev.EventBase) -> None:
    """The timers as well as the events of that pass."""
    order: list[str] = []
    for n in range(2):
        base.event(-1, NOTHING, lambda event, what, n=n: order.append(f"event {n}")).active()
    base.call_at(LONG_AGO, base.loopbreak)
    base.call_at(LONG_AGO, order.append, "timer")
    while "event 1" not in order:
        base.loop(ev.LoopFlag.NONBLOCK)
    base.loop(ev.LoopFlag.NONBLOCK)
    assert sorted(order) == ["event 0", "event 1", "timer"]


def test_what_a_break_left_can_be_cancelled(base: ev.EventBase) -> None:
    base.call_at(LONG_AGO, base.loopbreak)
    timer = base.call_at(LONG_AGO, pytest.fail)
    later = base.call_later(0.01, lambda: None)
    base.dispatch()
    timer.cancel()
    assert base.loop(ev.LoopFlag.ONCE) is False
    assert not later.pending()


def test_an_exit_finishes_the_pass(base: ev.EventBase) -> None:
    order: list[str] = []
    base.call_at(LONG_AGO, base.loopexit)
    base.call_at(LONG_AGO, order.append, "same pass")
    base.call_later(60, pytest.fail)
    assert base.dispatch() is False
    assert base.got_exit
    assert order == ["same pass"]


def test_loopcontinue_looks_again(base: ev.EventBase) -> None:
    order: list[str] = []
    base.call_at(LONG_AGO, base.loopcontinue)
    base.call_at(LONG_AGO, order.append, "rest")
    assert base.dispatch() is True
    assert order == ["rest"]


def test_as_urgent_as_the_middle_priority() -> None:
    order: list[str] = []
    with ev.EventBase(priorities=3) as base:
        base.call_at(LONG_AGO, order.append, "timer")
        base.loop(ev.LoopFlag.NONBLOCK)
        base.call_at(LONG_AGO, order.append, "timer")
        for level in (2, 0):
            event = base.event(-1, NOTHING, lambda event, what: order.append(str(event.priority)), priority=level)
            event.add(0)
        time.sleep(0.005)
        assert base.dispatch() is True
    assert order == ["timer", "0", "timer", "2"]


def test_an_event_that_is_more_urgent_comes_between() -> None:
    order: list[str] = []
    with ev.EventBase(priorities=3) as base:
        event = base.event(-1, NOTHING, lambda event, what: order.append("urgent"), priority=0)
        base.call_at(LONG_AGO, lambda: (order.append("first"), event.active()))
        base.call_at(LONG_AGO, order.append, "second")
        assert base.dispatch() is True
    assert order == ["first", "urgent", "second"]


def test_dispatch_limits_count_each() -> None:
    order: list[str] = []
    config = ev.EventConfig(max_callbacks=2, min_priority=1)
    with ev.EventBase(config, priorities=2) as base, socket_pair() as (one, other):
        event = base.event(one, ev.EventFlag.READ, lambda event, what: order.append("urgent"), priority=0)
        event.add()
        for n in range(5):
            base.call_at(LONG_AGO, lambda n=n: (order.append(str(n)), n or other.send(b"x")))
        assert base.dispatch() is True
    assert order == ["0", "1", "urgent", "2", "3", "4"]


def test_run_until_works_with_them(base: ev.EventBase) -> None:
    called: list[int] = []
    base.call_later(0.02, called.append, 1)
    run_until(base, lambda: called)


# ---------------------------------------------------------------- exceptions


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("flags", [ev.LoopFlag(0), ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK])
def test_what_is_raised_comes_out_and_the_rest_is_kept(
    base: ev.EventBase, kind: type[BaseException], flags: ev.LoopFlag
) -> None:
    order: list[int] = []
    error = kind("here")

    def fail() -> None:
        raise error

    base.call_at(LONG_AGO, order.append, 0)
    timer = base.call_at(LONG_AGO, fail)
    for n in range(1, 4):
        base.call_at(LONG_AGO, order.append, n)
    with pytest.raises(kind) as raised:
        base.loop(flags)
    assert raised.value is error
    assert raised.traceback[-1].name == "fail"
    assert order == [0]
    assert base.num_events == 3
    assert not timer.pending()
    assert not timer.cancelled()
    base.loop(flags)
    assert order == [0, 1, 2, 3]


def test_many_that_raise(base: ev.EventBase) -> None:
    """One at a time, in order, without the stack growing."""
    number = 5000
    for n in range(number):
        base.call_at(LONG_AGO + n % 7, int, f"no number {n}")
    seen = 0
    while base.num_events:
        with pytest.raises(ValueError, match="no number"):
            base.dispatch()
        seen += 1
    assert seen == number


def test_a_handler_takes_what_is_raised(base: ev.EventBase) -> None:
    seen: list[object] = []
    base.on_exception = seen.append
    for n in range(3):
        base.call_at(LONG_AGO, int, f"x{n}")
        base.call_at(LONG_AGO, seen.append, n)
    assert base.loop(ev.LoopFlag.NONBLOCK) is False
    assert [str(value)[-3:-1] if isinstance(value, ValueError) else value for value in seen] == ["x0", 0, "x1", 1, "x2", 2]


def test_many_that_a_break_left_are_cancelled(base: ev.EventBase) -> None:
    base.call_at(0, base.loopbreak)
    timers = [base.call_at(LONG_AGO, pytest.fail) for _ in range(50_000)]
    assert base.dispatch() is False
    for timer in timers[:-1]:
        timer.cancel()
    assert base.num_events == 1
    timers[-1].cancel()
    base.call_later(0.01, lambda: None)
    assert base.dispatch() is True


def test_a_handler_that_raises_or_breaks(base: ev.EventBase) -> None:
    order: list[str] = []

    def handle(error: BaseException) -> None:
        base.loopbreak()
        if "'raise'" in str(error):
            raise RuntimeError("of the handler")

    base.on_exception = handle
    base.call_at(LONG_AGO, int, "break")
    base.call_at(LONG_AGO, int, "raise")
    base.call_at(LONG_AGO, order.append, "rest")
    assert base.dispatch() is False
    with pytest.raises(RuntimeError, match="of the handler"):
        base.dispatch()
    assert order == []
    assert base.dispatch() is True
    assert order == ["rest"]


def test_arguments_that_do_not_fit_come_out(base: ev.EventBase) -> None:
    base.call_later(0, lambda: None, "too many")
    with pytest.raises(TypeError, match="positional argument"):
        base.dispatch()
    assert base.num_events == 0


def test_errors_keep_nothing_alive(base: ev.EventBase) -> None:
    held = Held()
    reference = weakref.ref(held)
    base.call_later(0, int, held)
    del held
    with pytest.raises(TypeError):
        base.dispatch()
    gc.collect()
    assert reference() is None


def test_a_second_look_while_they_are_due(base: ev.EventBase) -> None:
    called: list[str] = []

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        called.append("event")
        base.loopcontinue()

    base.event(-1, ev.EventFlag(0), first).active()
    base.call_later(-1, called.append, "timer")
    base.loop(ev.LoopFlag.ONCE)
    base.loop()
    assert called == ["event", "timer"]
