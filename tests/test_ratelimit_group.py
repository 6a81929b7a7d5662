"""Groups: what members share, who is a member, and when the loop ends."""

from __future__ import annotations

import gc
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import run_until
from test_ratelimit_bufferevent import CHANGES, OUT_OF_STEP, Pair, Taker, next_tick, pair, run_for, ticks_between

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE


@pytest.fixture
def ends(base: ev.EventBase) -> Iterator[Pair]:
    one, other = pair(base)
    yield one, other
    one.abort()
    other.abort()


@pytest.fixture
def pairs(base: ev.EventBase) -> Iterator[list[Pair]]:
    made = [pair(base) for _ in range(4)]
    yield made
    for ends in made:
        for bev in ends:
            bev.abort()


def test_members_share(base: ev.EventBase, pairs: list[Pair]) -> None:
    with ev.RateLimitGroup(base, ev.RateLimit(4000, 4000, tick=0.05)) as group:
        takers = []
        for one, other in pairs:
            group.add(one)
            takers.append(Taker().watch(other))
            one.write(b"x" * 5000)
        started = time.time()
        run_until(base, lambda: sum(len(taker.data) for taker in takers) == 20_000)
        assert ticks_between(started, time.time(), 0.05) >= 4 - OUT_OF_STEP
        assert group.totals == (0, 20_000)
        pieces = sorted((when, n, size) for n, taker in enumerate(takers) for when, size in taker.pieces)
        sums = list(itertools.accumulate(size for _, _, size in pieces))
        early = {n for (_, n, _), before in zip(pieces, [0, *sums], strict=False) if before < 12_000}
        assert len(early) == len(pairs), "each of them got some from the beginning"


def test_of_reading(base: ev.EventBase, pairs: list[Pair]) -> None:
    with ev.RateLimitGroup(base, ev.RateLimit(4000, None, tick=0.05)) as group:
        assert group.write_limit is None
        group.decrement_write(2**60)
        takers = []
        for one, other in pairs:
            group.add(other)
            takers.append(Taker().watch(other))
            one.write(b"x" * 5000)
        started = time.time()
        run_until(base, lambda: sum(len(taker.data) for taker in takers) == 20_000)
        assert ticks_between(started, time.time(), 0.05) >= 4 - OUT_OF_STEP
        assert group.totals == (20_000, 0)
        group.reset_totals()
        assert group.totals == ev.Totals(read=0, written=0)


@pytest.mark.parametrize("lower", ["own", "group"])
def test_both_limits_hold(base: ev.EventBase, ends: Pair, lower: str) -> None:
    one, other = ends
    low, high = ev.RateLimit(1000, 1000, tick=0.05), ev.RateLimit(100_000, 100_000, tick=0.05)
    one.set_rate_limit(low if lower == "own" else high)
    with ev.RateLimitGroup(base, high if lower == "own" else low) as group:
        group.add(one)
        taker = Taker().watch(other)
        one.write(b"x" * 5000)
        assert one.max_to_write == 1000
        started = time.time()
        run_until(base, lambda: len(taker.data) == 5000)
        assert ticks_between(started, time.time(), 0.05) >= 4 - OUT_OF_STEP


def test_who_is_a_member(base: ev.EventBase, pairs: list[Pair]) -> None:
    (one, other), (third, _), *_ = pairs
    limit = ev.RateLimit(1000, 1000)
    with ev.RateLimitGroup(base, limit) as group, ev.RateLimitGroup(base, limit) as second:
        assert (len(group), list(group), one in group, one.rate_limit_group) == (0, [], False, None)
        assert group
        group.add(one)
        group.add(one)
        group.add(other)
        assert (len(group), set(group)) == (2, {one, other})
        assert one in group
        assert third not in group
        assert "one" not in group
        assert one.rate_limit_group is group
        assert group.base is base
        second.add(one)
        assert (len(group), len(second), list(group), list(second)) == (1, 1, [other], [one])
        assert one.rate_limit_group is second
        with pytest.raises(ValueError, match="isn't a member of"):
            group.remove(one)
        second.remove(one)
        assert one.rate_limit_group is None
        with pytest.raises(ValueError, match="isn't a member of"):
            second.remove(one)
        other.abort()
        assert (len(group), list(group)) == (0, [])
        with pytest.raises(ev.ClosedError):
            group.add(other)


@pytest.mark.parametrize("value", [None, 1, "bev", ev.SocketBufferEvent, object()])
def test_what_can_not_be_a_member(base: ev.EventBase, value: Any) -> None:
    with ev.RateLimitGroup(base, ev.RateLimit(1, 1)) as group:
        with pytest.raises(TypeError, match="bev must be a BufferEvent"):
            group.add(value)
        with pytest.raises(TypeError, match="bev must be a BufferEvent"):
            group.remove(value)
    with pytest.raises(TypeError, match="base must be an EventBase"):
        ev.RateLimitGroup(value, ev.RateLimit(1, 1))


def test_of_another_base(base: ev.EventBase, ends: Pair) -> None:
    with ev.EventBase() as second, ev.RateLimitGroup(second, ev.RateLimit(1, 1)) as group:
        with pytest.raises(ValueError, match="bev must be of the group's base"):
            group.add(ends[0])
        assert len(group) == 0


def test_moved_while_it_waits(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    slow, fast = ev.RateLimit(100, 100, tick=2e6), ev.RateLimit(100_000, 100_000)
    with ev.RateLimitGroup(base, slow) as first, ev.RateLimitGroup(base, fast) as second:
        first.add(one)
        taker = Taker().watch(other)
        one.write(b"x" * 1000)
        run_until(base, lambda: len(taker.data) == 100)
        second.add(one)
        run_until(base, lambda: len(taker.data) == 1000)
        first.add(one)
        one.write(b"x" * 1000)
        run_for(base, 0.02)
        assert len(taker.data) == 1000
        first.remove(one)
        run_until(base, lambda: len(taker.data) == 2000)


def test_closed_with_members(base: ev.EventBase, pairs: list[Pair]) -> None:
    """An abort in C (facts of libevent 4.3). They go on without it."""
    group = ev.RateLimitGroup(base, ev.RateLimit(10, 10, tick=2e6))
    takers = []
    for one, other in pairs:
        group.add(one)
        takers.append(Taker().watch(other))
        one.write(b"x" * 1000)
    run_for(base, 0.02)
    assert sum(len(taker.data) for taker in takers) < 200
    group.close()
    group.close()
    assert group.closed
    assert all(one.rate_limit_group is None for one, _ in pairs)
    run_until(base, lambda: all(len(taker.data) == 1000 for taker in takers), 5)


def test_used_after_close(base: ev.EventBase, ends: Pair) -> None:
    group = ev.RateLimitGroup(base, ev.RateLimit(1, 1))
    assert repr(group) == "<RateLimitGroup of 0, RateLimit(read=1, write=1, read_burst=1, write_burst=1, tick=1.0)>"
    group.close()
    uses: list[Callable[[], object]] = [
        lambda: group.add(ends[0]),
        lambda: group.remove(ends[0]),
        lambda: ends[0] in group,
        lambda: len(group),
        lambda: list(group),
        lambda: setattr(group, "limit", ev.RateLimit(1, 1)),
        lambda: group.min_share,
        lambda: setattr(group, "min_share", 1),
        lambda: group.read_limit,
        lambda: group.write_limit,
        lambda: group.decrement_read(1),
        lambda: group.decrement_write(1),
        lambda: group.totals,
        group.reset_totals,
    ]
    for use in uses:
        with pytest.raises(ev.ClosedError):
            use()
    assert repr(group) == "<RateLimitGroup closed>"
    assert group.limit == ev.RateLimit(1, 1)
    base.close()
    with pytest.raises(ev.ClosedError):
        ev.RateLimitGroup(base, ev.RateLimit(1, 1))


def test_the_base_closes_it() -> None:
    base = ev.EventBase()
    one, other = pair(base)
    group = ev.RateLimitGroup(base, ev.RateLimit(10, 10, tick=0.01))
    group.add(one)
    group.add(other)
    one.write(b"x" * 100)
    other.enable()
    base.loop(ev.LoopFlag.ONCE)
    base.close()
    assert group.closed
    assert one.closed
    group.close()


def test_members_keep_it_alive(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    ev.RateLimitGroup(base, ev.RateLimit(100, 100, tick=0.05)).add(one)
    gc.collect()
    assert one.rate_limit_group is not None
    taker, started = Taker().watch(other), time.time()
    one.write(b"x" * 400)
    run_until(base, lambda: len(taker.data) == 400)
    assert ticks_between(started, time.time(), 0.05) >= 2 - OUT_OF_STEP
    one.rate_limit_group.close()


def test_collected_while_open(base: ev.EventBase) -> None:
    left = [ev.RateLimitGroup(base, ev.RateLimit(1, 1))]
    with pytest.warns(ResourceWarning, match="unclosed <RateLimitGroup of 0"):
        left.clear()


def test_it_keeps_no_member_alive(base: ev.EventBase) -> None:
    with ev.RateLimitGroup(base, ev.RateLimit(1, 1)) as group:
        left = list(pair(base))
        for bev in left:
            group.add(bev)
        del bev
        with pytest.warns(ResourceWarning, match="unclosed <SocketBufferEvent"):
            left.clear()
        assert len(group) == 0


def test_it_does_not_keep_the_loop(base: ev.EventBase, ends: Pair) -> None:
    """In C a loop with a group never ends (facts of libevent 4.4)."""
    with ev.RateLimitGroup(base, ev.RateLimit(100, 100, tick=0.01)) as group, ev.SocketBufferEvent(base) as idle:
        assert base.num_events == 0
        base.dispatch()
        idle.enable()
        group.add(idle)
        group.add(ends[0])
        group.decrement_read(500)
        group.decrement_write(500)
        base.dispatch()
        run_for(base, 0.1)
        base.dispatch()
        assert base.num_events == 0


def test_members_that_wait_do(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    with ev.RateLimitGroup(base, ev.RateLimit(100, 100, tick=0.02)) as group:
        group.add(one)
        one.write(b"x" * 450)
        base.dispatch()
        assert not one.output
        other.write(b"y" * 450)
        got = bytearray()

        def on_read(bev: ev.BufferEvent) -> None:
            got.extend(bev.read())
            if len(got) == 450:
                bev.disable(READ)

        one.set_callbacks(read=on_read)
        one.enable(READ)
        base.dispatch()
        assert len(got) == 450
        group.decrement_write(500)
        one.write(b"x")
        assert base.loop(ev.LoopFlag.NONBLOCK) in (True, False)
        assert one.output
        base.dispatch()
        assert not one.output


def test_members_that_stop_waiting_let_it_end(base: ev.EventBase, pairs: list[Pair]) -> None:
    (one, _), (third, _), *_ = pairs
    with ev.RateLimitGroup(base, ev.RateLimit(100, 100, tick=2e6)) as group:
        group.add(one)
        group.add(third)
        one.write(b"x" * 1000)
        third.enable(READ)
        group.decrement_read(1000)
        called: list[float] = []
        base.timer(0.05, lambda event, what: (called.append(time.monotonic()), third.disable(READ), group.remove(one)))
        base.dispatch()
        assert called
        assert time.monotonic() - called[0] < 5
        assert not one.output


def test_min_share(base: ev.EventBase, pairs: list[Pair]) -> None:
    one, other = pairs[0]
    with ev.RateLimitGroup(base, ev.RateLimit(1000, 1000, tick=2e6)) as group:
        assert group.min_share == 64
        for ends in pairs:
            group.add(ends[0])
        assert one.max_to_write == 250
        group.min_share = 400
        assert group.min_share == 400
        assert one.max_to_write == one.max_to_read == 400
        group.min_share = 2**31 - 1
        assert one.max_to_write == 1000, "no more than one tick's worth"
        group.limit = ev.RateLimit(1000, 1000, 5000, 5000, tick=1000)
        assert group.min_share == 2**31 - 1
        assert one.max_to_write == 1000
        group.min_share = 1
        group.decrement_write(997)
        assert one.max_to_write == 1
        taker = Taker().watch(other)
        one.write(b"x" * 10)
        run_until(base, lambda: len(taker.data) == 3)
        run_for(base, 0.01)
        assert not taker.events
        assert len(taker.data) == 3


@pytest.mark.parametrize("value", [0, -1, 2**31, 2**63])
def test_min_shares_that_are_none(base: ev.EventBase, value: int) -> None:
    with ev.RateLimitGroup(base, ev.RateLimit(1, 1)) as group:
        with pytest.raises(ValueError, match="min_share must be from 1"):
            group.min_share = value
        assert group.min_share == 64


def test_decrement_and_credit(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    with ev.RateLimitGroup(base, ev.RateLimit(1000, 1000, 1500, 1500, tick=2e6)) as group:
        group.add(one)
        group.decrement_read(1200)
        group.decrement_write(1200)
        assert (group.read_limit, group.write_limit) == (-200, -200)
        assert one.max_to_read == one.max_to_write == 0
        taker = Taker().watch(other)
        one.write(b"x" * 2000)
        run_for(base, 0.02)
        assert not taker.data
        group.decrement_write(-500)
        assert group.write_limit == 300
        run_until(base, lambda: len(taker.data) == 300)
        for _ in range(3):
            group.decrement_write(-(2**62))
        run_until(base, lambda: len(taker.data) >= 1800)
        for _ in range(5):
            group.decrement_read(2**62)
        assert group.read_limit == -(2**62)
        group.decrement_read(-(2**62))
        group.decrement_read(-(2**62))
        assert group.read_limit == 1500
        for n in (2**62 + 1, -(2**62) - 1):
            with pytest.raises(ValueError, match="n must be from"):
                group.decrement_read(n)
            with pytest.raises(ValueError, match="n must be from"):
                group.decrement_write(n)


def test_bursts_gather(base: ev.EventBase) -> None:
    with ev.RateLimitGroup(base, ev.RateLimit(100, 200, 350, 450, tick=0.02)) as group:
        assert (group.read_limit, group.write_limit) == (100, 200)
        run_for(base, 0.2)
        assert (group.read_limit, group.write_limit) == (350, 450)


def test_another_limit(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    with ev.RateLimitGroup(base, ev.RateLimit(1000, 1000, 4000, 4000, tick=0.02)) as group:
        group.add(one)
        run_for(base, 0.15)
        assert group.write_limit == 4000
        group.limit = ev.RateLimit(10, 10, 50, 50, tick=0.02)
        assert (group.limit.write, group.write_limit) == (10, 50)
        group.limit = ev.RateLimit(10, None, 50, tick=0.02)
        assert group.write_limit is None
        group.limit = ev.RateLimit(10, 20, tick=0.02)
        assert group.write_limit == 20
        taker, started = Taker().watch(other), time.time()
        one.write(b"x" * 100)
        run_until(base, lambda: len(taker.data) == 100)
        assert ticks_between(started, time.time(), 0.02) >= 3 - OUT_OF_STEP


def test_another_tick(base: ev.EventBase) -> None:
    """In C some of these groups would not be refilled for years (facts of libevent 4.3)."""
    streams = []
    for n, (old, new) in enumerate(CHANGES * 2):
        one, other = pair(base)
        group = ev.RateLimitGroup(base, ev.RateLimit(100, 100, 1000, 1000, tick=old))
        group.add((one, other)[n % 2])
        group.min_share = 10
        taker = Taker().watch(other)
        one.write(b"x" * 1_000_000)
        streams.append((one, other, group, taker, new))
    run_for(base, 0.05)
    starts = []
    for _, _, group, taker, new in streams:
        before, totals = (group.read_limit, group.write_limit), group.totals
        group.limit = ev.RateLimit(50, 50, 1000, 1000, tick=new)
        assert (group.read_limit, group.write_limit) == before
        assert (group.totals, group.min_share, len(group)) == (totals, 10, 1)
        assert sum(totals) == len(taker.data)
        starts.append(len(taker.data))
    run_until(base, lambda: all(len(s[3].data) >= start + 100 for s, start in zip(streams, starts, strict=True)), 10)
    for one, other, group, taker, _ in streams:
        assert sum(group.totals) == len(taker.data)
        group.reset_totals()
        assert sum(group.totals) == 0
        group.close()
        one.abort()
        other.abort()


def test_changing_the_tick_gives_nothing(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    taker = Taker().watch(other)
    limits = [ev.RateLimit(1000, 1000, tick=t) for t in (1000.0, 500.0, 2000.0)]
    with ev.RateLimitGroup(base, limits[0]) as group:
        group.add(one)
        one.write(b"x" * 100_000)
        for n in range(50):
            group.limit = limits[n % 3]
            base.loop(ev.LoopFlag.NONBLOCK)
        assert len(taker.data) <= 3000


def test_it_changes_in_callbacks_of_its_members(base: ev.EventBase, pairs: list[Pair]) -> None:
    rng = random.Random(11)
    groups: list[ev.RateLimitGroup] = []
    got = [bytearray() for _ in pairs]
    data = rng.randbytes(30_000)

    def any_limit() -> ev.RateLimit:
        return ev.RateLimit(rng.randint(2000, 9000), rng.choice([None, 5000]), tick=rng.choice([0.001, 0.005, 0.02]))

    def meddle(bev: ev.BufferEvent, *_: object) -> None:
        deed = rng.randrange(6)
        if deed == 0 and len(groups) < 4:
            groups.append(ev.RateLimitGroup(base, any_limit()))
        elif deed == 1 and len(groups) > 1:
            groups.pop(rng.randrange(len(groups))).close()
        elif deed == 2 and groups:
            rng.choice(groups).limit = any_limit()
        elif deed == 3 and groups:
            rng.choice(groups).add(bev)
        elif deed == 4 and bev.rate_limit_group is not None:
            bev.rate_limit_group.remove(bev)
        elif deed == 5:
            bev.set_rate_limit(rng.choice([None, any_limit()]))

    for n, (one, other) in enumerate(pairs):

        def take(bev: ev.BufferEvent, into: bytearray = got[n]) -> None:
            into.extend(bev.read())
            meddle(bev)

        one.set_callbacks(write=meddle)
        other.set_callbacks(read=take)
        other.enable()
        one.write(data)
    run_until(base, lambda: all(len(into) == len(data) for into in got))
    assert all(into == data for into in got)
    for group in groups:
        group.close()


def test_another_thread_is_refused_while_the_loop_runs(base: ev.EventBase, ends: Pair) -> None:
    group = ev.RateLimitGroup(base, ev.RateLimit(1, 1))
    errors: list[BaseException] = []

    def work() -> None:
        for use in (lambda: group.add(ends[0]), lambda: len(group), group.close, lambda: ev.RateLimitGroup(base, group.limit)):
            try:
                use()
            except RuntimeError as error:
                errors.append(error)
        assert repr(group) == "<RateLimitGroup in another thread or process>"
        base.call_soon_threadsafe(base.loopbreak)

    thread = threading.Thread(target=work)
    base.call_soon(thread.start)
    base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    thread.join()
    assert len(errors) == 4
    group.close()


def test_collected_in_another_thread(base: ev.EventBase) -> None:
    group = [ev.RateLimitGroup(base, ev.RateLimit(1, 1))]

    def work() -> None:
        group.clear()
        gc.collect()
        base.call_soon_threadsafe(base.loopbreak)

    thread = threading.Thread(target=work)
    base.call_soon(thread.start)
    with pytest.warns(ResourceWarning, match="unclosed <RateLimitGroup"):
        base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    thread.join()
    base.loop(ev.LoopFlag.NONBLOCK)


def test_a_member_that_is_closed_with_something_left(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    with ev.RateLimitGroup(base, ev.RateLimit(1000, 1000, tick=0.02)) as group:
        group.add(one)
        taker = Taker().watch(other)
        one.write(b"x" * 4500)
        one.close()
        next_tick(base, 0.02)
        assert len(group) == 1, "what is left is sent at the group's speed"
        assert list(group) == []
        run_until(base, lambda: taker.events & ev.What.EOF)
        assert len(taker.data) == 4500
        assert len(group) == 0


def test_before_it_is_connected(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ev.RateLimitGroup(base, ev.RateLimit(500, 500, tick=2e6)) as group:
        client = ev.SocketBufferEvent(base)
        group.add(client)
        group.decrement_write(100)
        client.connect(server.getsockname())
        client.write(b"x" * 1000)
        run_until(base, lambda: len(client.output) == 600)
        run_for(base, 0.05)
        assert len(client.output) == 600
        client.abort()


def test_many_groups(base: ev.EventBase) -> None:
    groups = [ev.RateLimitGroup(base, ev.RateLimit(1, 1, tick=0.01)) for _ in range(200)]
    run_for(base, 0.05)
    for group in groups:
        group.close()
    assert not [info for info in base.events() if info.timeout is not None and not info.internal]
