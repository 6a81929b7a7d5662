"""How a loop runs and ends: breaks, exits, priorities, exceptions, and what is left for the next time."""

from __future__ import annotations

import gc
import time

import pytest
from support import GIVE_UP, TICK, socket_pair

import pylibevent as ev


def active(base: ev.EventBase, callback: ev.event.event.EventCallback, priority: int | None = None) -> ev.Event:
    event = base.event(-1, ev.EventFlag(0), callback, priority=priority)
    event.active()
    return event


def test_loopbreak(base: ev.EventBase) -> None:
    """regress.c main/loopbreak: the loop ends, and the rest of the batch is left for the next one."""
    called: list[str] = []

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        called.append("first")
        base.loopbreak()

    active(base, first)
    active(base, lambda event, what: called.append("second"))
    assert base.dispatch() is False
    assert called == ["first"]
    assert base.got_break
    assert not base.got_exit
    base.dispatch()
    assert called == ["first", "second"]
    assert not base.got_break


def test_loopexit(base: ev.EventBase) -> None:
    """regress.c main/loopexit: after a time, though a timer of a day is waiting."""
    day = base.timer(86_400, print)
    base.loopexit(0.3)
    start = time.monotonic()
    assert base.dispatch() is False
    assert 0.3 - TICK <= time.monotonic() - start < GIVE_UP
    assert base.got_exit
    assert not base.got_break
    day.close()


def test_loopexit_several_times(base: ev.EventBase) -> None:
    """regress.c main/loopexit_multiple: exits before a loop count once."""
    base.loopexit()
    base.loopexit()
    assert base.dispatch() is False
    assert base.got_exit


def test_loopexit_finishes_the_batch(base: ev.EventBase) -> None:
    called: list[str] = []

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        called.append("first")
        base.loopexit()

    active(base, first)
    active(base, lambda event, what: called.append("second"))
    later = base.timer(60, print)
    assert base.dispatch() is False
    assert called == ["first", "second"]
    later.close()


def test_priorities() -> None:
    """regress.c main/priorities: with 1, 2 and 3 priorities, those of a pass are called in their order."""
    for count in (1, 2, 3):
        with ev.EventBase(priorities=count) as base:
            order: list[int] = []
            assert base.priorities == count
            for priority in reversed(range(count)):
                for _ in range(3):
                    active(base, lambda event, what, order=order: order.append(event.priority), priority)
            base.dispatch()
            assert order == sorted(order)
            assert len(order) == 3 * count


def test_a_more_urgent_one_comes_first() -> None:
    """regress.c main/priority_active_inversion: activated by a callback, it is called before the others of the batch."""
    with ev.EventBase(priorities=8) as base:
        order: list[int] = []
        events: list[ev.Event] = []

        def call(number: int) -> ev.event.event.EventCallback:
            def callback(event: ev.Event, what: ev.EventFlag) -> None:
                order.append(number)
                if number == 0:
                    events[1].active(ev.EventFlag.WRITE)
                    events[2].active(ev.EventFlag.WRITE)

            return callback

        events += [base.event(-1, ev.EventFlag(0), call(i), priority=p) for i, p in enumerate((4, 4, 0))]
        events[0].active(ev.EventFlag.WRITE)
        base.dispatch()
        assert order == [0, 2, 1]


def test_loopcontinue_looks_for_more_urgent_ones() -> None:
    with ev.EventBase(priorities=2) as base, socket_pair() as (one, other):
        order: list[str] = []
        urgent = base.event(one, ev.EventFlag.READ, lambda event, what: order.append("urgent"), priority=0)
        urgent.add()

        def first(event: ev.Event, what: ev.EventFlag) -> None:
            order.append("first")
            other.send(b"x")
            base.loopcontinue()

        active(base, first, 1)
        active(base, lambda event, what: order.append("second"), 1)
        base.dispatch()
        assert order == ["first", "urgent", "second"]


def test_dispatch_limits_of_a_config() -> None:
    """After so many callbacks the loop looks for more urgent ones."""
    config = ev.EventConfig(max_callbacks=2, min_priority=1)
    with ev.EventBase(config, priorities=2) as base, socket_pair() as (one, other):
        order: list[str] = []
        base.event(one, ev.EventFlag.READ, lambda event, what: order.append("urgent"), priority=0).add()

        def call(event: ev.Event, what: ev.EventFlag) -> None:
            order.append("low")
            if len(order) == 1:
                other.send(b"x")

        for _ in range(6):
            active(base, call, 1)
        base.dispatch()
        assert order.index("urgent") == 2


def test_a_loop_in_its_loop_is_refused(base: ev.EventBase) -> None:
    """regress.c main/bad_reentrant: the outer one goes on."""
    called: list[bool] = []

    def reenter(event: ev.Event, what: ev.EventFlag) -> None:
        with pytest.raises(RuntimeError, match="running already"):
            base.loop(ev.LoopFlag.NONBLOCK)
        called.append(True)

    active(base, reenter)
    assert base.dispatch() is True
    assert called == [True]


def test_activating_each_other(base: ev.EventBase) -> None:
    """regress.c main/active_later: two that activate each other for 100 ms don't keep readers and writers waiting."""
    with socket_pair() as (one, other):
        counts = {"written": 0, "read": 0, "activated": 0}

        def on_read(event: ev.Event, what: ev.EventFlag) -> None:
            counts["read"] += 1
            one.recv(10)

        def on_write(event: ev.Event, what: ev.EventFlag) -> None:
            counts["written"] += 1
            other.send(b"x")

        def toggle(event: ev.Event, what: ev.EventFlag) -> None:
            counts["activated"] += 1
            (third if event is fourth else fourth).active(ev.EventFlag.READ)

        reader = base.event(one, ev.EventFlag.READ | ev.EventFlag.PERSIST, on_read)
        writer = base.event(other, ev.EventFlag.WRITE | ev.EventFlag.PERSIST, on_write)
        third, fourth = (base.event(-1, ev.EventFlag(0), toggle) for _ in range(2))
        reader.add()
        writer.add()
        third.active(ev.EventFlag.READ)
        deadline = time.monotonic() + GIVE_UP
        while min(counts.values()) <= 100:
            assert time.monotonic() < deadline, counts
            base.loopexit(0.1)
            base.loop()
        for event in (reader, writer, third, fourth):
            event.close()


def test_once(base: ev.EventBase) -> None:
    """regress.c main/event_once: a timer, at once, a reader, and nothing is left."""
    with socket_pair() as (one, other):
        called: list[ev.EventFlag] = []
        base.once(-1, ev.EventFlag(0), lambda event, what: called.append(what), 0.06)
        base.once(-1, ev.EventFlag(0), lambda event, what: called.append(what))
        base.once(one, ev.EventFlag.READ, lambda event, what: called.append(what))
        other.send(b"x")
        base.dispatch()
        timeout, read = ev.EventFlag.TIMEOUT, ev.EventFlag.READ
        assert sorted(called) == [timeout, timeout, read]


def test_once_that_never_comes_leaks_nothing() -> None:
    """regress.c main/event_once_never: a base is closed with them."""
    with ev.EventBase() as base, socket_pair() as (one, _other):
        base.once(one, ev.EventFlag.READ, print)
        base.once(-1, ev.EventFlag(0), print, 3600)


def test_nothing_to_wait_for_ends_the_loop(base: ev.EventBase) -> None:
    assert base.dispatch() is True
    base.loopexit(0.05)
    start = time.monotonic()
    assert base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY) is False
    assert time.monotonic() - start >= 0.05 - TICK


def test_nonblock_does_not_wait(base: ev.EventBase) -> None:
    event = base.timer(60, print)
    assert base.loop(ev.LoopFlag.NONBLOCK) is False
    assert event.pending() == ev.EventFlag.TIMEOUT
    event.close()


def test_an_exception_comes_out_at_once_and_the_rest_is_kept(base: ev.EventBase) -> None:
    called: list[int] = []

    def call(number: int) -> ev.event.event.EventCallback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            called.append(number)
            if number % 2:
                raise LookupError(number)

        return callback

    for number in range(5):
        active(base, call(number))
    for expected in ([0, 1], [0, 1, 2, 3]):
        with pytest.raises(LookupError):
            base.dispatch()
        assert called == expected
    assert base.dispatch() is True
    assert called == [0, 1, 2, 3, 4]


def test_on_exception_takes_them_all(base: ev.EventBase) -> None:
    caught: list[BaseException] = []
    base.on_exception = caught.append

    def fail(event: ev.Event, what: ev.EventFlag) -> None:
        raise LookupError

    for _ in range(3):
        active(base, fail)
    base.call_soon(lambda: 1 / 0)
    assert base.dispatch() is True
    assert [type(error) for error in caught] == [ZeroDivisionError, LookupError, LookupError, LookupError]

    def interrupt(event: ev.Event, what: ev.EventFlag) -> None:
        raise KeyboardInterrupt

    active(base, interrupt)
    with pytest.raises(KeyboardInterrupt):
        base.dispatch()
    with pytest.raises(TypeError, match="on_exception"):
        base.on_exception = 1  # type: ignore[assignment]


def test_call_soon_keeps_its_order_and_runs_after_the_batch(base: ev.EventBase) -> None:
    order: list[str] = []

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        base.call_soon(order.append, "soon")
        order.append("first")

    active(base, first)
    active(base, lambda event, what: order.append("second"))
    base.call_soon(order.append, "before")
    base.dispatch()
    assert order == ["before", "first", "second", "soon"]


def test_what_call_soon_queues_in_a_call_waits_for_the_next_round(base: ev.EventBase) -> None:
    with socket_pair() as (one, _other):
        seen: list[str] = []
        base.event(one, ev.EventFlag.WRITE, lambda event, what: seen.append("event")).add()

        def again() -> None:
            seen.append("soon")
            if "event" not in seen:
                base.call_soon(again)

        base.call_soon(again)
        base.dispatch()
        assert "event" in seen


def test_one_deleted_by_an_earlier_callback_is_not_called(base: ev.EventBase) -> None:
    called: list[str] = []
    events: list[ev.Event] = []
    for number in range(4):

        def callback(event: ev.Event, what: ev.EventFlag, number: int = number) -> None:
            called.append(str(number))
            (events[1].delete if number == 0 else events[3].close)()

        events.append(active(base, callback))
    base.dispatch()
    assert called == ["0", "2"]


def test_one_deleted_and_activated_again_is_called_once(base: ev.EventBase) -> None:
    called: list[ev.EventFlag] = []

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        second.delete()
        second.active(ev.EventFlag.WRITE)

    active(base, first)
    second = active(base, lambda event, what: called.append(what))
    base.dispatch()
    assert called == [ev.EventFlag.WRITE]


def test_the_running_event(base: ev.EventBase) -> None:
    seen: list[ev.Event | None] = []
    event = active(base, lambda event, what: seen.append(base.running_event))
    assert base.running_event is None
    base.dispatch()
    assert seen == [event]
    assert base.running_event is None


def test_what_is_due_may_be_garbage() -> None:
    """An exception that was kept holds the frame that holds the rest of the batch, and all of it the base."""
    base = ev.EventBase()
    caught: list[BaseException] = []
    base.on_exception = caught.append

    def fail(event: ev.Event, what: ev.EventFlag) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        active(base, fail)
    for _ in range(2):
        try:
            base.dispatch()
        except KeyboardInterrupt as error:
            caught.append(error)
    base.close()
    del base, caught
    gc.collect()


@pytest.mark.parametrize("flag", [ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK])
def test_once_ends_though_there_is_always_more(base: ev.EventBase, flag: ev.LoopFlag) -> None:
    """What callbacks make active is for the next call: two ends that answer each other don't keep this one."""
    called = 0

    def answer(bev: ev.BufferEvent) -> None:
        nonlocal called
        called += 1
        bev.write(bev.read())

    one, other = ev.PairBufferEvent.new(base)
    for bev in (one, other):
        bev.set_callbacks(answer)
        bev.enable()
    one.write(b"ping")
    for _ in range(10):
        before = called
        assert base.loop(flag) is False
        assert before < called <= before + 5
    one.close()
    other.close()
