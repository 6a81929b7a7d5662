"""Events that are started, moved, removed and activated again, by themselves and by each other."""

from __future__ import annotations

import random
import time

import pytest
from support import GIVE_UP, TICK, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
READ, WRITE, TIMEOUT, PERSIST = ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.TIMEOUT, ev.EventFlag.PERSIST


def test_a_period_until_the_loop_is_ended(base: ev.EventBase) -> None:
    """regress.c main/persistent_timeout: 10 ms; at the sixth time it ends the loop, and is still added."""
    count = 0

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal count
        count += 1
        if count == 6:
            base.loopexit()

    event = base.timer(0.01, fire, persist=True)
    start = time.monotonic()
    assert base.dispatch() is False
    assert time.monotonic() - start >= 0.06 - TICK
    assert count == 6
    assert event.pending() == TIMEOUT
    event.delete()
    assert base.dispatch() is True
    assert count == 6


def test_timeouts_removed_before_they_are_over(base: ev.EventBase) -> None:
    """regress.c main/event_remove_timeout: half a second (upstream 75 ms), removed after 25; bytes after 40 ms and after that
    time start none anew.
    """
    with socket_pair() as (one, other):
        seen: list[ev.EventFlag] = []
        fired: list[ev.EventFlag] = []

        def on_read(event: ev.Event, what: ev.EventFlag) -> None:
            seen.append(what)
            assert one.recv(1) == b"x"
            if len(seen) == 2:
                event.delete()

        def remove(event: ev.Event, what: ev.EventFlag) -> None:
            for either in (reader, timer):
                either.remove_timer()
                assert either.expires is None

        reader = base.event(one, READ | PERSIST, on_read)
        timer = base.event(-1, NOTHING, lambda event, what: fired.append(what))
        base.timer(0.025, remove)
        base.timer(0.04, lambda event, what: other.send(b"x"))
        reader.add(0.5)
        timer.add(0.5)
        base.timer(0.55, lambda event, what: other.send(b"x"))
        assert base.dispatch() is True
        assert fired == []
        assert seen == [READ, READ]
        assert not timer.pending()


def test_two_that_activate_each_other_take_turns_with_the_rest(base: ev.EventBase) -> None:
    """regress.c main/active_later: for 100 ms, one activation for each byte written."""
    with socket_pair() as (one, other):
        read = written = activated = 0

        def on_read(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal read
            read += 1
            one.recv(128)

        def on_write(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal written
            written += other.send(b"x")

        def activate(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal activated
            activated += 1
            assert what == READ
            (second if event is first else first).active(READ)

        reader = base.event(one, READ | PERSIST, on_read)
        writer = base.event(other, WRITE | PERSIST, on_write)
        first, second = (base.event(-1, NOTHING, activate) for _ in range(2))
        reader.add()
        writer.add()
        first.active(READ)
        deadline = time.monotonic() + GIVE_UP
        while min(read, written, activated) <= 100:
            assert time.monotonic() < deadline
            base.loopexit(0.1)
            assert base.loop() is False
        assert abs(written - activated) <= 1
        assert bool(first.pending()) != bool(second.pending())
        for event in (reader, writer, first, second):
            event.close()


def test_once_each(base: ev.EventBase) -> None:
    """regress.c main/event_once: a reader, 50 ms, at once without and with a time of 0; nothing to call is refused."""
    with socket_pair() as (one, other):
        called = 0

        def add(number: int, expected: ev.EventFlag) -> ev.event.event.EventCallback:
            def callback(event: ev.Event, what: ev.EventFlag) -> None:
                nonlocal called
                assert what == expected
                called += number

            return callback

        base.once(one, READ, add(1, READ))
        base.once(-1, TIMEOUT, add(100, TIMEOUT), 0.05)
        with pytest.raises(TypeError, match="callback"):
            base.once(-1, NOTHING, None)  # type: ignore[arg-type]
        base.once(-1, TIMEOUT, add(1000, TIMEOUT))
        base.once(-1, TIMEOUT, add(1000, TIMEOUT), 0)
        other.send(b"this is a test\0")
        assert base.dispatch() is True
        assert called == 2101


def test_once_but_not_before_the_end() -> None:
    """regress.c main/event_once_never: after 10 s; the loop ends after 75 ms, and the base is closed."""
    called: list[ev.EventFlag] = []
    with ev.EventBase() as base:
        base.once(-1, TIMEOUT, lambda event, what: called.append(what), 10)
        base.loopexit(0.075)
        start = time.monotonic()
        assert base.dispatch() is False
        assert 0.075 - TICK <= time.monotonic() - start < 9
        assert base.num_events == 1
    assert called == []


def test_once_with_a_time_is_called_once(base: ev.EventBase) -> None:
    """What comes first: the descriptor, or the time."""
    with socket_pair() as (one, other):
        seen: list[ev.EventFlag] = []
        base.once(one, READ, lambda event, what: seen.append(what), 0.01)
        base.dispatch()
        assert seen == [TIMEOUT]
        other.send(b"x")
        base.once(one, READ, lambda event, what: seen.append(what), 10)
        base.dispatch()
        assert seen == [TIMEOUT, READ]


def test_twenty_thousand_timers(base: ev.EventBase, rng: random.Random) -> None:
    """test-time.c: each that fires moves ten others, from the 20000th call on removes half of them; nothing is left."""
    count = 20_000
    calls = 0

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal calls
        calls += 1
        if calls < 2 * count:  # upstream's goes on to 10, five times as long
            for _ in range(10):
                other = events[rng.randrange(count)]
                microseconds = rng.randrange(50_000)
                if microseconds % 2 or calls < count:
                    other.add(microseconds / 1e6)
                else:
                    other.delete()

    events = [base.event(-1, NOTHING, fire) for _ in range(count)]
    for event in events:
        event.add(rng.randrange(50_000) / 1e6)
    assert base.dispatch() is True
    assert calls >= count
    assert base.num_events == 0


def test_moved_before_it_is_called(base: ev.EventBase) -> None:
    """Two are due together, and the first puts the second off."""
    order: list[str] = []

    def put_off(event: ev.Event, what: ev.EventFlag) -> None:
        order.append("first")
        second.delete()
        second.add(0.02)
        moved.append(time.monotonic())

    moved: list[float] = []
    at: list[float] = []
    base.timer(0, put_off)
    second = base.timer(0, lambda event, what: at.append(time.monotonic()))
    base.dispatch()
    assert order == ["first"]
    assert len(at) == 1
    assert at[0] - moved[0] >= 0.02 - TICK


def test_a_persistent_one_starts_over_in_its_callback(base: ev.EventBase) -> None:
    """add() with another time counts from now on."""
    at: list[float] = []

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        at.append(time.monotonic())
        if len(at) == 1:
            event.add(0.03)
        if len(at) == 3:
            event.delete()

    base.timer(0.001, fire, persist=True)
    base.dispatch()
    assert len(at) == 3
    assert at[1] - at[0] >= 0.03 - TICK
    assert at[2] - at[0] >= 0.06 - TICK


def test_the_callback_may_be_changed_while_it_waits(base: ev.EventBase) -> None:
    seen: list[str] = []
    event = base.timer(0, lambda event, what: seen.append("old"))
    event.callback = lambda event, what: seen.append("new")
    base.dispatch()
    assert seen == ["new"]


def test_what_is_due_is_pending_until_it_is_called(base: ev.EventBase) -> None:
    """As in C, where it is active until then."""
    seen: list[ev.EventFlag] = []

    def look(event: ev.Event, what: ev.EventFlag) -> None:
        seen.append(second.pending())
        base.loopbreak()

    first = base.event(-1, NOTHING, look)
    second = base.event(-1, NOTHING, lambda event, what: seen.append(event.pending()))
    first.active()
    second.active(READ)
    assert second.pending() == READ
    base.dispatch()
    assert seen == [READ]
    assert second.pending() == READ
    base.dispatch()
    assert seen == [READ, NOTHING]


@pytest.mark.parametrize("flags", [READ, READ | PERSIST])
def test_removing_the_timeout_of_one_that_is_due_leaves_its_call(base: ev.EventBase, flags: ev.EventFlag) -> None:
    """As in C: a reader that fired goes without its timeout, not without its call."""
    with socket_pair() as (one, _other):
        seen: list[ev.EventFlag] = []

        def on_read(event: ev.Event, what: ev.EventFlag) -> None:
            seen.append(what)
            event.delete()

        reader = base.event(one, flags, on_read)
        base.event(-1, NOTHING, lambda event, what: reader.remove_timer()).active()
        reader.add(60)
        reader.active(READ)
        assert base.dispatch() is True
        assert seen == [READ]


def test_removing_the_timeout_of_a_timer_that_is_due_comes_too_late(base: ev.EventBase) -> None:
    seen: list[ev.EventFlag] = []
    timer = base.event(-1, NOTHING, lambda event, what: seen.append(what))
    base.event(-1, NOTHING, lambda event, what: timer.remove_timer()).active()
    timer.add(60)
    timer.active()
    base.dispatch()
    assert seen == [TIMEOUT]
    assert not timer.pending()
