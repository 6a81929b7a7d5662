"""call_later and call_at: in order, never early, once; cancelling; arguments."""

from __future__ import annotations

import copy
import math
import pickle
import random
import time
from typing import Any

import pytest
from support import GIVE_UP, socket_pair

import pylibevent as ev

LONG_AGO = 1.0


class Held:
    """Something that a timer keeps."""

    def __call__(self, *args: object) -> None:
        pass


# ---------------------------------------------------------------- order and time


def test_random_delays_come_in_order_and_never_early(any_base: ev.EventBase, rng: random.Random) -> None:
    base = any_base
    called: list[tuple[float, float]] = []
    timers: list[ev.Timer] = []

    def call(number: int) -> None:
        called.append((timers[number].when(), time.monotonic()))

    for number in range(300):
        delay = rng.random() * 0.05
        before = time.monotonic() + delay
        timers.append(base.call_later(delay, call, number))
        assert before <= timers[-1].when() <= time.monotonic() + delay
    assert base.dispatch() is True
    assert [due for due, _ in called] == sorted(due for due, _ in called)
    assert len(called) == 300
    assert all(due <= at for due, at in called)
    assert not any(timer.pending() or timer.cancelled() for timer in timers)


def test_the_same_deadline_in_the_order_of_adding(base: ev.EventBase, rng: random.Random) -> None:
    order: list[tuple[int, int]] = []
    when = [time.monotonic() + 0.01 * n for n in range(3)]
    expected: list[tuple[int, int]] = []
    for n in range(3000):
        which = rng.randrange(3)
        expected.append((which, n))
        base.call_at(when[which], lambda *entry: order.append(entry), which, n)
        if n % 500 == 0:
            base.loop(ev.LoopFlag.NONBLOCK)  # some are on the heap already
    base.dispatch()
    assert sorted(order) == sorted(expected)
    assert [n for which, n in order if which == 2] == [n for which, n in expected if which == 2]
    for which in range(3):
        assert [n for w, n in order if w == which] == [n for w, n in expected if w == which]


def test_a_hundred_thousand(base: ev.EventBase, rng: random.Random) -> None:
    """Of timers added, deleted and fired; many at once take other ways than few."""
    number = 100_000
    called: list[float] = []
    timers = [base.call_at(LONG_AGO + rng.random(), lambda: None) for _ in range(number)]
    for timer in timers:
        timer._callback = lambda timer=timer: called.append(timer.when())
    for timer in rng.sample(timers, number // 3):
        timer.cancel()
    assert base.num_events == number - number // 3
    assert base.dispatch() is True
    assert called == sorted(timer.when() for timer in timers if not timer.cancelled())
    assert base.num_events == 0


@pytest.mark.parametrize("delay", [0, 0.0, -0.0, -1, -1e9, -1e-300, 1e-300])
def test_no_delay(base: ev.EventBase, delay: float) -> None:
    called: list[int] = []
    base.call_later(delay, called.append, 1)
    assert called == []
    assert base.loop(ev.LoopFlag.ONCE) is False
    assert called == [1]


def test_what_is_longest_overdue_comes_first(base: ev.EventBase) -> None:
    order: list[float] = []
    for delay in (0, -2, -1, -3):
        base.call_later(delay, order.append, delay)
    base.call_at(0, order.append, "0")
    base.call_at(-math.pi, order.append, "-pi")
    base.dispatch()
    assert order == ["-pi", "0", -3, -2, -1, 0]


def test_times_are_of_the_monotonic_clock(base: ev.EventBase) -> None:
    timer = base.call_at(12345.5, print)
    assert timer.when() == 12345.5
    assert isinstance(base.call_at(7, print).when(), float)
    assert abs(base.monotonic() - time.monotonic()) < 0.1
    now = time.monotonic()
    assert now + 5 <= base.call_later(5, print).when() <= time.monotonic() + 5


def test_a_delay_counts_from_the_call(base: ev.EventBase) -> None:
    """Not from the time at which the pass began."""
    seen: list[float] = []

    def work() -> None:
        time.sleep(0.03)
        start = time.monotonic()
        base.call_later(0.02, lambda: seen.append(time.monotonic() - start))

    base.call_soon(work)
    base.dispatch()
    assert seen[0] >= 0.02


def test_an_earlier_one_wakes_earlier(base: ev.EventBase) -> None:
    order: list[str] = []
    far = base.call_later(60, pytest.fail)
    base.timer(0.01, lambda event, what: base.call_later(0.01, lambda: (order.append("near"), far.cancel())))
    assert base.dispatch() is True
    assert order == ["near"]


def test_beside_events(base: ev.EventBase) -> None:
    order: list[str] = []
    base.timer(0.02, lambda event, what: order.append("event"))
    base.call_later(0.05, order.append, "later")
    base.call_later(0, order.append, "soon")
    with socket_pair() as (one, other):
        event = base.event(one, ev.EventFlag.READ, lambda event, what: order.append("read"))
        event.add()
        base.call_later(0.08, other.send, b"x")
        assert base.dispatch() is True
    assert order == ["soon", "event", "later", "read"]


def test_no_event_runs_in_a_call(base: ev.EventBase) -> None:
    running: list[ev.Event | None] = []
    base.timer(0, lambda event, what: running.append(base.running_event))
    base.call_later(0, lambda: running.append(base.running_event))
    base.dispatch()
    assert running.count(None) == 1


# ---------------------------------------------------------------- adding and cancelling in callbacks


@pytest.mark.parametrize("when", [-math.pi, 0.0, LONG_AGO])
def test_what_a_call_adds_waits_for_the_next_pass(base: ev.EventBase, when: float) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        base.call_at(when, order.append, "third")

    base.call_at(LONG_AGO, first)
    base.call_at(LONG_AGO, order.append, "second")
    base.loop(ev.LoopFlag.NONBLOCK)
    assert order == ["first", "second"]
    base.loop(ev.LoopFlag.NONBLOCK)
    assert order == ["first", "second", "third"]


def test_one_that_adds_itself_again_and_again_lets_others_in(base: ev.EventBase) -> None:
    count = 0
    with socket_pair() as (one, other):
        read: list[bytes] = []

        def again() -> None:
            nonlocal count
            count += 1
            assert count < 1000
            if count == 3:
                other.send(b"x")
            if not read:
                base.call_later(-1, again)

        base.event(one, ev.EventFlag.READ, lambda event, what: read.append(one.recv(1))).add()
        base.call_later(0, again)
        assert base.dispatch() is True
        assert count < 10


def test_cancelling(base: ev.EventBase) -> None:
    called: list[str] = []
    one, two, three = (base.call_later(n / 100, called.append, str(n)) for n in range(3))
    assert one.pending()
    assert not one.cancelled()
    assert base.num_events == 3
    two.cancel()
    assert two.cancelled()
    assert not two.pending()
    assert base.num_events == 2
    two.cancel()
    assert base.num_events == 2
    assert base.dispatch() is True
    assert called == ["0", "2"]
    one.cancel()  # too late
    assert not one.cancelled()
    assert not one.pending()
    assert two.cancelled()
    assert base.num_events == 0
    assert three.when() > two.when() > one.when()


def test_cancelling_in_callbacks(base: ev.EventBase) -> None:
    """One due in the same pass, the one that runs, and one that is not due yet."""
    called: list[str] = []
    timers: dict[str, ev.Timer] = {}

    def first() -> None:
        called.append("first")
        for timer in timers.values():
            timer.cancel()

    timers["first"] = base.call_at(LONG_AGO, first)
    timers["same deadline"] = base.call_at(LONG_AGO, pytest.fail)
    timers["same pass"] = base.call_at(LONG_AGO + 1, pytest.fail)
    timers["far"] = base.call_later(60, pytest.fail)
    assert base.dispatch() is True
    assert called == ["first"]
    assert [timer.cancelled() for timer in timers.values()] == [False, True, True, True]


def test_a_loop_ends_when_the_last_is_cancelled(base: ev.EventBase) -> None:
    """By an event while C waits for it, and before C ever heard of it."""
    timer = base.call_later(60, pytest.fail)
    base.timer(0.01, lambda event, what: timer.cancel())
    start = time.monotonic()
    assert base.dispatch() is True
    base.call_later(60, pytest.fail).cancel()
    assert base.dispatch() is True
    assert time.monotonic() - start < GIVE_UP


def test_a_cancelled_one_wakes_nobody(base: ev.EventBase) -> None:
    called: list[str] = []
    base.call_later(0.05, called.append, "called")
    soon = base.call_later(0.01, pytest.fail)
    base.loop(ev.LoopFlag.NONBLOCK)  # C waits for it
    soon.cancel()
    passes = base.statistics.passes
    assert base.loop(ev.LoopFlag.ONCE) is False
    assert called == ["called"]
    assert base.statistics.passes == passes + 1


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("call", ["call_later", "call_at"])
@pytest.mark.parametrize("time", ["1", None, True, False, object(), [1], 1j, b"1"])
def test_times_of_wrong_types(base: ev.EventBase, call: str, time: Any) -> None:
    with pytest.raises(TypeError, match=r"(delay|when) must be a number of seconds, not "):
        getattr(base, call)(time, print)
    assert base.num_events == 0


@pytest.mark.parametrize("call", ["call_later", "call_at"])
@pytest.mark.parametrize("time", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_times_that_are_none(base: ev.EventBase, call: str, time: float) -> None:
    with pytest.raises(ValueError, match=r"(delay|when) must be a number of seconds up to 1e\+"):
        getattr(base, call)(time, print)
    assert base.num_events == 0
    assert base.dispatch() is True


def test_times_at_the_limits(base: ev.EventBase) -> None:
    with pytest.raises(ValueError, match=r"delay .* 1e\+09"):
        base.call_later(1.1e9, print)
    timers = [base.call_later(1e9, pytest.fail), base.call_at(1e300, pytest.fail), base.call_later(10**9, pytest.fail)]
    past = base.call_at(-1e300, lambda: None)
    base.loop(ev.LoopFlag.NONBLOCK)
    assert not past.pending()
    base.loop(ev.LoopFlag.NONBLOCK)
    for timer in timers:
        assert timer.pending()
        timer.cancel()
    assert base.dispatch() is True


@pytest.mark.parametrize("call", ["call_later", "call_at"])
@pytest.mark.parametrize("callback", [None, 1, "print", b"", [], object()])
def test_what_can_not_be_called(base: ev.EventBase, call: str, callback: Any) -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        getattr(base, call)(0, callback)
    assert base.num_events == 0


def test_a_number_of_another_class(base: ev.EventBase) -> None:
    class Seconds(float):
        """Like numpy's."""

    assert base.call_at(Seconds(5), print).when() == 5
    assert type(base.call_at(Seconds(5), print).when()) is float
    base.call_later(Seconds(0), lambda: None)
    base._timers.close()


def test_a_timer_is_made_by_a_base_only(base: ev.EventBase) -> None:
    with pytest.raises(TypeError, match="isn't made itself"):
        ev.Timer()
    timer = base.call_later(60, Held())
    assert isinstance(timer, ev.Timer)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot copy or pickle"):
            attempt(timer)
    with pytest.raises(AttributeError):
        timer.other = 1  # type: ignore[attr-defined]
    assert repr(timer).startswith("<Timer pending Held, at ")
    assert len({timer, timer, base.call_at(timer.when(), print)}) == 2
    timer.cancel()
    assert repr(timer).startswith("<Timer cancelled, at ")


def test_priorities_can_be_set_before_the_first_pass(base: ev.EventBase) -> None:
    called: list[int] = []
    base.call_later(0, called.append, 1)
    base.priorities = 5
    base.dispatch()
    assert called == [1]
