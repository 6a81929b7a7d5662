"""Priorities in the loop: who is called first, who waits, and when a loop that shall end does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support import GIVE_UP, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)


@pytest.mark.parametrize(("priorities", "calls"), [(1, (3, 3)), (2, (3, 1)), (3, (3, 0))])
def test_two_that_add_themselves_again(priorities: int, calls: tuple[int, int]) -> None:
    """regress.c main/priorities: the most and the least urgent, three times each, then loopexit.

    The exit is queued at the middle priority, so of two priorities the less urgent is called once, and of three never.
    """
    with ev.EventBase(priorities=priorities) as base:
        counts = {}

        def fire(event: ev.Event, what: ev.EventFlag) -> None:
            if counts[event] == 3:
                base.loopexit()
                return
            counts[event] += 1
            event.add(0)

        one = base.event(-1, NOTHING, fire, priority=0)
        two = base.event(-1, NOTHING, fire, priority=priorities - 1)
        counts = {one: 0, two: 0}
        one.add(0)
        two.add(0)
        assert base.dispatch() is False
        assert (counts[one], counts[two]) == calls
        one.close()
        two.close()


def test_the_middle_is_the_default() -> None:
    for count, middle in ((1, 0), (2, 1), (3, 1), (4, 2), (255, 127)):
        with ev.EventBase(priorities=count) as base:
            assert base.event(-1, NOTHING, print).priority == middle


def test_the_urgent_one_starves_the_other() -> None:
    """As long as something more urgent is active in every pass, what is less urgent isn't called."""
    with ev.EventBase(priorities=2) as base:
        order: list[int] = []

        def urgent(event: ev.Event, what: ev.EventFlag) -> None:
            order.append(0)
            if len(order) < 5:
                event.active()

        base.event(-1, NOTHING, lambda event, what: order.append(1), priority=1).active()
        base.event(-1, NOTHING, urgent, priority=0).active()
        base.dispatch()
        assert order == [0, 0, 0, 0, 0, 1]


def test_one_made_active_at_the_same_priority_waits_for_its_turn() -> None:
    with ev.EventBase(priorities=2) as base:
        order: list[str] = []
        late = base.event(-1, NOTHING, lambda event, what: order.append("late"), priority=1)

        def first(event: ev.Event, what: ev.EventFlag) -> None:
            order.append("first")
            late.active()

        base.event(-1, NOTHING, first, priority=1).active()
        base.event(-1, NOTHING, lambda event, what: order.append("second"), priority=1).active()
        base.dispatch()
        assert order == ["first", "second", "late"]


def test_a_less_urgent_one_made_active_comes_later() -> None:
    with ev.EventBase(priorities=3) as base:
        order: list[int] = []
        events: list[ev.Event] = []

        def call(event: ev.Event, what: ev.EventFlag) -> None:
            order.append(event.priority)
            if len(order) == 1:
                events[2].active()

        events += [base.event(-1, NOTHING, call, priority=level) for level in range(3)]
        events[1].active()
        events[0].active()
        base.dispatch()
        assert order == [0, 1, 2]


def test_descriptors_and_timers_by_their_priority() -> None:
    with ev.EventBase(priorities=3) as base, socket_pair() as (one, other):
        order: list[int] = []

        def call(event: ev.Event, what: ev.EventFlag) -> None:
            order.append(event.priority)

        base.event(one, ev.EventFlag.WRITE, call, priority=2).add()
        base.event(other, ev.EventFlag.READ, call, priority=0).add()
        base.event(-1, NOTHING, call, priority=1).add(0)
        one.send(b"x")
        base.dispatch()
        assert order == [0, 1, 2]


def test_the_priority_of_an_active_one_is_fixed() -> None:
    with ev.EventBase(priorities=3) as base:
        event = base.event(-1, NOTHING, lambda event, what: None, priority=0)
        event.priority = 2
        assert event.priority == 2
        event.active()
        with pytest.raises(RuntimeError, match="pending or active"):
            event.priority = 1
        assert event.priority == 2
        base.dispatch()
        event.priority = 1
        assert event.priority == 1


def test_priorities_can_be_set_while_nothing_is_made(base: ev.EventBase) -> None:
    assert base.priorities == 1
    base.priorities = 8
    assert base.priorities == 8
    with pytest.raises(ValueError, match="priority must be from 0 to 7"):
        base.event(-1, NOTHING, print, priority=8)
    event = base.event(-1, NOTHING, lambda event, what: None, priority=7)
    event.active()
    with pytest.raises(RuntimeError):
        base.priorities = 3
    assert base.priorities == 8
    base.dispatch()


@pytest.mark.parametrize("number", [0, -1, 256, 2**40, "1", None, 1.0, True])
def test_numbers_of_priorities_that_are_none(base: ev.EventBase, number: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="priorities must be"):
        base.priorities = number
    with pytest.raises((TypeError, ValueError), match="priorities must be"):
        ev.EventBase(priorities=number)


@pytest.mark.parametrize("number", [-1, 3, 255, "1", 1.0, True])
def test_numbers_that_are_no_priority(number: Any) -> None:
    with ev.EventBase(priorities=3) as base:
        with pytest.raises((TypeError, ValueError), match="priority must be"):
            base.event(-1, NOTHING, print, priority=number)
        event = base.event(-1, NOTHING, print, priority=0)
        with pytest.raises((TypeError, ValueError), match="priority must be"):
            event.priority = number
        assert event.priority == 0


@pytest.mark.parametrize("priorities", [1, 2, 3, 255])
def test_a_loopexit_does_not_wait_for_what_keeps_coming(priorities: int) -> None:
    """One of middle priority that activates itself in each pass can't keep the loop from ending."""
    with ev.EventBase(priorities=priorities) as base:
        calls = 0

        def again(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal calls
            calls += 1
            event.active()
            if calls == 10:
                base.loopexit()
            assert calls < 1000

        event = base.event(-1, NOTHING, again)
        event.active()
        assert base.dispatch() is False
        assert base.got_exit
        event.close()


@pytest.mark.parametrize("priorities", [2, 3, 255])
@pytest.mark.parametrize("how", ["loopexit", "loopbreak"])
def test_ended_from_another_thread(priorities: int, how: str) -> None:
    """A loop that sleeps is woken, whatever its priorities."""
    with ev.EventBase(priorities=priorities) as base:
        late: list[bool] = []
        base.timer(GIVE_UP, lambda event, what: (late.append(True), base.loopbreak()))
        running = threading.Event()
        base.call_soon(running.set)

        def end() -> None:
            running.wait(GIVE_UP)
            getattr(base, how)()

        thread = threading.Thread(target=end)
        thread.start()
        assert base.dispatch() is False
        thread.join(GIVE_UP)
        assert not late
        assert base.got_exit is (how == "loopexit")


def test_an_exit_before_the_loop_counts_with_priorities_too() -> None:
    with ev.EventBase(priorities=2) as base:
        base.timer(60, pytest.fail)
        base.loopexit()
        base.loopexit()
        assert base.dispatch() is False
        assert base.got_exit
