"""Timers, common timeouts, and the clock: upstream's tests of them with their values, and what is ours."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from support import TICK, run_until, socket_pair

import pylibevent as ev

SLACK = 1.0
"""Seconds that a timer may be late. Upstream allows 50 ms, but a machine may be busy with something else."""


def near(seconds: float, expected: float) -> bool:
    return expected - TICK <= seconds <= expected + SLACK


def test_one_shot(base: ev.EventBase) -> None:
    """regress.c main/simpletimeout: a timer of 200 ms fires once, then."""
    fired: list[float] = []
    start = time.monotonic()
    base.timer(0.2, lambda event, what: fired.append(time.monotonic() - start))
    assert base.dispatch() is True
    assert len(fired) == 1
    assert near(fired[0], 0.2)


def test_persistent(base: ev.EventBase) -> None:
    """regress.c main/persistent_timeout: 10 ms, persistent, deletes itself at the fifth time."""
    count = 0

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal count
        count += 1
        if count == 5:
            event.delete()

    base.timer(0.01, fire, persist=True)
    base.dispatch()
    assert count == 5


def test_persistent_over_a_gap(base: ev.EventBase) -> None:
    """regress.c main/persistent_timeout_jump: what was missed isn't made up for."""
    count: list[ev.EventFlag] = []
    event = base.timer(0.1, lambda event, what: count.append(what), persist=True)
    time.sleep(0.3)
    base.loopexit(0.05)
    base.dispatch()
    assert len(count) == 1
    event.close()


def test_persistent_starts_anew_when_activated(base: ev.EventBase) -> None:
    """regress.c main/persistent_active_timeout: 200 ms, activated at 100: at 100 by READ, at 300 and 500 by TIMEOUT."""
    seen: list[tuple[ev.EventFlag, float]] = []
    event = base.event(-1, ev.EventFlag.PERSIST, lambda event, what: seen.append((what, time.monotonic() - start)))
    event.add(0.2)
    base.once(-1, ev.EventFlag(0), lambda _, what: event.active(ev.EventFlag.READ), 0.1)
    start = time.monotonic()
    run_until(base, lambda: len(seen) == 3)
    assert [what for what, _ in seen] == [ev.EventFlag.READ, ev.EventFlag.TIMEOUT, ev.EventFlag.TIMEOUT]
    assert all(near(at, expected) for (_, at), expected in zip(seen, (0.1, 0.3, 0.5), strict=True))
    event.close()


def test_common_timeouts(base: ev.EventBase) -> None:
    """regress.c main/common_timeout: 100 persistent timers of 100 and 200 ms, four times each, moved between queue and heap."""
    short, long = base.common_timeout(0.1), base.common_timeout(0.2)
    base.common_timeout(5)
    base.common_timeout(0.2)
    counts = [0] * 100
    at = [0.0] * 100

    def fire(i: int) -> Any:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            counts[i] += 1
            at[i] = time.monotonic() - start
            if counts[i] == 4:
                event.delete()

        return callback

    events = [base.event(-1, ev.EventFlag.PERSIST, fire(i)) for i in range(100)]
    start = time.monotonic()
    for i, event in enumerate(events):
        if i % 2 == 0:
            event.add(long)
        elif i % 20 == 1:
            event.add(long)
            event.add(0.1)
        elif i % 20 == 3:
            event.add(0.2)
            event.add(short)
        elif i % 20 == 5:
            event.add(long)
            event.add(short)
        else:
            event.add(short)
    base.dispatch()
    assert counts == [4] * 100
    assert all(near(at[i], 0.4 if i % 2 else 0.8) for i in range(100))
    for i, event in enumerate(events):
        event.add(short if i % 2 else long)  # a base is closed with them


def test_a_common_timeout_of_another_base_is_refused(base: ev.EventBase) -> None:
    with ev.EventBase() as other:
        event = base.event(-1, ev.EventFlag(0), print)
        with pytest.raises(ValueError, match="another base"):
            event.add(other.common_timeout(1))
        assert not event.pending()


def test_removing_a_timeout_keeps_the_event(base: ev.EventBase) -> None:
    """regress.c main/event_remove_timeout: 25 ms, 40 ms, 75 ms, 125 ms: read, and never timed out."""
    with socket_pair() as (one, other):
        read: list[ev.EventFlag] = []
        fired: list[ev.EventFlag] = []
        started: list[ev.Event] = []

        def on_read(event: ev.Event, what: ev.EventFlag) -> None:
            read.append(what)
            one.recv(1)
            if what & ev.EventFlag.READ:
                event.delete()

        reader = base.event(one, ev.EventFlag.READ | ev.EventFlag.PERSIST, on_read)
        timer = base.event(-1, ev.EventFlag(0), lambda event, what: fired.append(what))

        def remove(event: ev.Event, what: ev.EventFlag) -> None:
            reader.remove_timer()
            timer.remove_timer()

        base.timer(0.025, remove)
        started.append(base.timer(0.04, lambda event, what: fired.clear()))
        reader.add(0.075)
        timer.add(0.075)
        base.timer(0.125, lambda event, what: other.send(b"x"))
        base.dispatch()
        assert not fired
        assert read == [ev.EventFlag.READ]
        assert not timer.pending()


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("sleep", [True, False])
def test_the_cached_time(cached: bool, reset: bool, sleep: bool) -> None:
    """regress.c main/gettimeofday_cached, main/gettimeofday_cached_sleep, main/gettimeofday_cached_reset,
    main/gettimeofday_cached_disabled, main/gettimeofday_cached_disabled_nosleep: the same in all callbacks of a pass, unless
    it is taken anew or the base has no cache.
    """
    config = ev.EventConfig(flags=ev.BaseFlag(0) if cached else ev.BaseFlag.NO_CACHE_TIME)
    with ev.EventBase(config) as base:
        assert abs(base.now() - time.time()) < SLACK
        times: list[float] = []

        def fire(event: ev.Event, what: ev.EventFlag) -> None:
            if reset:
                base.update_now()
            times.append(base.now())
            if sleep:
                time.sleep(0.03)

        for _ in range(3):
            base.event(-1, ev.EventFlag(0), fire).active()
        base.dispatch()
        first, second, third = times
        if sleep and (reset or not cached):
            assert second - first > 0.01
            assert third - second > 0.01
        elif cached and not reset:
            assert first == second == third


def test_random_timers(base: ev.EventBase, rng: random.Random) -> None:
    """test-time.c: timers of up to 50 ms, started and deleted at random by each other; dispatch returns with nothing left."""
    count = 2000
    calls = 0

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal calls
        calls += 1
        if calls < 10 * count:
            other = rng.randrange(count)
            if rng.random() < 0.5:
                events[other].delete()
            else:
                events[other].add(rng.random() * 0.05)
            event.add(rng.random() * 0.05)

    events = [base.event(-1, ev.EventFlag(0), fire) for _ in range(count)]
    for event in events:
        event.add(rng.random() * 0.05)
    assert base.dispatch() is True
    assert calls > count


def test_a_timer_is_never_early(base: ev.EventBase, rng: random.Random) -> None:
    early: list[float] = []

    def start(seconds: float) -> None:
        due = base.monotonic() + seconds
        base.timer(seconds, lambda event, what: early.append(due - base.monotonic()))

    for _ in range(100):
        start(rng.random() * 0.05)
    base.dispatch()
    assert max(early) <= 0.001  # libevent's clock is as coarse as a tick


def test_add_starts_a_timer_with_its_own_seconds(base: ev.EventBase) -> None:
    fired: list[float] = []

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        fired.append(time.monotonic())
        if len(fired) < 3:
            event.add()

    start = time.monotonic()
    base.timer(0.02, fire)
    base.dispatch()
    assert len(fired) == 3
    assert fired[-1] - start >= 0.06 - TICK


def test_when_it_expires(base: ev.EventBase) -> None:
    event = base.timer(60, print)
    assert event.expires is not None
    assert abs(event.expires - time.time() - 60) < 1
    event.remove_timer()
    assert event.expires is None
    assert base.num_events == 0


@pytest.mark.parametrize("seconds", ["1", None, True, object(), [1]])
def test_times_of_wrong_types(base: ev.EventBase, seconds: Any) -> None:
    with pytest.raises(TypeError, match="seconds"):
        base.timer(seconds, print)
    assert base.num_events == 0


@pytest.mark.parametrize("seconds", [-1, -0.0001, float("nan"), float("inf"), 1e10])
def test_times_out_of_range(base: ev.EventBase, seconds: float) -> None:
    with pytest.raises(ValueError, match="1000000000"):
        base.timer(seconds, print)
    event = base.event(-1, ev.EventFlag(0), print)
    with pytest.raises(ValueError, match="timeout"):
        event.add(seconds)
    assert not event.pending()
    assert base.num_events == 0
