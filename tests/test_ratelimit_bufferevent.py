"""The limit of one bufferevent: what moves in a tick, what is left, and what changes it."""

from __future__ import annotations

import gc
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import run_child, run_until

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
MOST = 2**31 - 1
Pair = tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]


class Taker:
    """Takes what comes and knows when."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.pieces: list[tuple[float, int]] = []
        self.events = ev.What(0)

    def __call__(self, bev: ev.BufferEvent) -> None:
        data = bev.read()
        self.data += data
        self.pieces.append((time.time(), len(data)))

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.events |= what

    def watch(self, bev: ev.BufferEvent) -> Taker:
        bev.set_callbacks(read=self, event=self.on_event)
        bev.enable()
        return self


def pair(base: ev.EventBase, options: ev.Option = ev.Option.CLOSE_ON_FREE) -> Pair:
    one, other = socket.socketpair()
    return ev.SocketBufferEvent(base, one, options), ev.SocketBufferEvent(base, other, options)


@pytest.fixture
def ends(base: ev.EventBase) -> Iterator[Pair]:
    one, other = pair(base)
    yield one, other
    one.abort()
    other.abort()


def run_for(base: ev.EventBase, seconds: float) -> None:
    base.loopexit(seconds)
    base.dispatch()


def next_tick(base: ev.EventBase, tick: float) -> None:
    """Go on to just after a tick has begun."""
    run_for(base, tick - time.time() % tick + 0.002)


OUT_OF_STEP = 1
"""Ticks: libevent's clock goes on by steps, and a start is noted late on a busy machine."""


def ticks_between(start: float, end: float, tick: float) -> int:
    return int(end / tick) - int(start / tick)


@pytest.mark.parametrize("limited", ["reader", "writer"])
def test_so_much_a_tick(base: ev.EventBase, ends: Pair, limited: str) -> None:
    one, other = ends
    (other if limited == "reader" else one).set_rate_limit(ev.RateLimit(1000, 1000, tick=0.05))
    taker = Taker().watch(other)
    one.write(b"x" * 10_000)
    started = time.time()
    run_until(base, lambda: len(taker.data) == 10_000)
    ticks = ticks_between(started, time.time(), 0.05)
    assert ticks >= 9, "the first tick's worth was there at once"
    assert all(size <= 1000 for _, size in taker.pieces)
    moved = 0
    for when, size in taker.pieces:
        moved += size
        assert moved <= 1000 * (ticks_between(started, when, 0.05) + 2)


def test_without_a_limit(ends: Pair) -> None:
    one, _ = ends
    assert one.rate_limit is one.read_limit is one.write_limit is one.rate_limit_group is None
    assert one.max_to_read == one.max_single_read
    assert one.max_to_write == one.max_single_write
    one.set_rate_limit(None)
    for decrement in (one.decrement_read_limit, one.decrement_write_limit):
        for n in (0, 1, -1):
            with pytest.raises(RuntimeError, match="has no rate limit of its own"):
                decrement(n)


def test_only_one_direction(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    limit = ev.RateLimit(None, 1000, tick=1000)
    one.set_rate_limit(limit)
    assert one.rate_limit is limit
    assert one.read_limit is None
    assert one.write_limit == one.max_to_write == 1000
    one.decrement_read_limit(10**18)
    taker, back = Taker().watch(other), Taker().watch(one)
    other.write(b"y" * 1_000_000)
    one.write(b"x" * 2000)
    run_until(base, lambda: len(back.data) == 1_000_000 and taker.data)
    base.loop(ev.LoopFlag.NONBLOCK)
    assert len(taker.data) == 1000
    assert one.write_limit == one.max_to_write == 0


def test_bursts_gather(base: ev.EventBase, ends: Pair) -> None:
    one, _ = ends
    one.set_rate_limit(ev.RateLimit(100, 200, 350, 450, tick=0.02))
    assert (one.read_limit, one.write_limit) in {(100, 200), (200, 400)}
    run_for(base, 0.2)
    assert (one.read_limit, one.write_limit) == (350, 450)


def test_it_takes_the_place_of_the_most_of_one_write(base: ev.EventBase, ends: Pair) -> None:
    """As in C: with a limit max_single_write says nothing, and without one it does."""
    one, other = ends
    one.max_single_write = one.max_single_read = 10
    taker = Taker().watch(other)
    one.write(b"x" * 1000)
    run_until(base, lambda: len(taker.data) == 1000)
    assert max(size for _, size in taker.pieces) <= 50, "a few writes are read together"
    assert one.max_to_write == one.max_to_read == 10
    one.set_rate_limit(ev.RateLimit(500, 500, tick=1000))
    assert one.max_to_write == one.max_to_read == 500
    taker.pieces.clear()
    one.write(b"x" * 1000)
    run_until(base, lambda: len(taker.data) == 1500)
    assert [size for _, size in taker.pieces] == [500]
    assert one.max_single_write == 10


@pytest.mark.parametrize("kind", ["write", "read"])
def test_taken_away_it_flows_at_once(base: ev.EventBase, ends: Pair, kind: str) -> None:
    one, other = ends
    limited = one if kind == "write" else other
    limited.set_rate_limit(ev.RateLimit(100, 100, tick=2e6))
    taker = Taker().watch(other)
    one.write(b"x" * 10_000)
    run_until(base, lambda: len(taker.data) == 100)
    limited.set_rate_limit(None)
    assert limited.rate_limit is None
    assert limited.read_limit is None
    run_until(base, lambda: len(taker.data) == 10_000, 5)


CHANGES = [
    (1.0, 0.1),
    (0.1, 0.2),
    (0.05, 0.1),
    (0.1, 0.02),
    (0.1, 0.01),
    (0.5, 1.0),
    (2e6, 0.001),
    (0.001, 0.5),
    (0.001, 0.003),
]


def test_another_tick(base: ev.EventBase) -> None:
    """In C some of these buckets would not be refilled for years, others at once to the brim (facts of libevent 4.3)."""
    streams = []
    for n, (old, new) in enumerate(CHANGES * 2):
        one, other = pair(base)
        limited = (one, other)[n % 2]
        limited.set_rate_limit(ev.RateLimit(100, 100, 1000, 1000, tick=old))
        taker = Taker().watch(other)
        one.write(b"x" * 1_000_000)
        streams.append((one, other, limited, taker, new))
    run_for(base, 0.05)
    starts = []
    for one, _, limited, taker, new in streams:
        before = limited.write_limit if limited is one else limited.read_limit
        limited.set_rate_limit(ev.RateLimit(50, 50, 1000, 1000, tick=new))
        assert before is not None
        after = limited.write_limit if limited is one else limited.read_limit
        assert after in range(before, before + 101), "what was left is left"
        starts.append(len(taker.data))
    started = time.time()
    run_until(base, lambda: all(len(s[3].data) >= start + 100 for s, start in zip(streams, starts, strict=True)), 10)
    for (one, other, _, taker, new), start in zip(streams, starts, strict=True):
        ticks = ticks_between(started, time.time(), new) + 2
        assert len(taker.data) - start <= 1000 + 50 * ticks
        one.abort()
        other.abort()


def test_changing_it_gives_nothing(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    taker = Taker().watch(other)
    limits = [ev.RateLimit(1000, 1000, tick=t) for t in (1000.0, 500.0, 2000.0)]
    one.set_rate_limit(limits[0])
    one.write(b"x" * 100_000)
    for n in range(50):
        one.set_rate_limit(limits[n % 3])
        base.loop(ev.LoopFlag.NONBLOCK)
    assert len(taker.data) <= 3000


def test_decrementing_stops_it(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(1000, 1000, tick=0.05))
    next_tick(base, 0.05)
    one.decrement_write_limit(3500)
    one.decrement_read_limit(1500)
    assert one.write_limit is not None
    assert one.write_limit <= -1500
    assert one.max_to_write == 0
    assert one.read_limit in (-500, 500)
    taker, started = Taker().watch(other), time.time()
    one.write(b"x" * 1000)
    run_until(base, lambda: taker.data)
    assert ticks_between(started, time.time(), 0.05) >= 2 - OUT_OF_STEP


def test_credit_ends_at_the_burst(base: ev.EventBase, ends: Pair) -> None:
    """In C a bucket above its burst grows without end (facts of libevent 4.1)."""
    one, _other = ends
    one.set_rate_limit(ev.RateLimit(100, 100, 1000, 1000, tick=0.01))
    for _ in range(3):
        one.decrement_write_limit(-(2**62))
        one.decrement_read_limit(-500)
    assert one.write_limit == 1000
    run_for(base, 0.1)
    assert (one.read_limit, one.write_limit) == (1000, 1000)


def test_credit_starts_what_was_suspended(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(100, 100, 1000, 1000, tick=2e6))
    taker = Taker().watch(other)
    one.write(b"x" * 1000)
    run_until(base, lambda: len(taker.data) == 100)
    one.decrement_write_limit(-500)
    run_until(base, lambda: len(taker.data) == 600)
    assert one.write_limit == 0


def test_the_largest_decrements(base: ev.EventBase, ends: Pair) -> None:
    one, _ = ends
    one.set_rate_limit(ev.RateLimit(MOST, 1, tick=0.001))
    for _ in range(5):
        one.decrement_read_limit(2**62)
        one.decrement_write_limit(2**62)
    assert one.write_limit is not None
    assert -(2**62) <= one.write_limit <= -(2**62) + 10**6
    run_for(base, 0.02)
    one.decrement_read_limit(-(2**62))
    one.decrement_read_limit(-(2**62))
    assert one.read_limit == MOST


@pytest.mark.parametrize("n", [2**62 + 1, -(2**62) - 1, 2**64])
def test_decrements_that_are_too_large(ends: Pair, n: int) -> None:
    one, _ = ends
    one.set_rate_limit(ev.RateLimit(1, 1))
    with pytest.raises(ValueError, match="n must be from"):
        one.decrement_read_limit(n)
    with pytest.raises(ValueError, match="n must be from"):
        one.decrement_write_limit(n)


@pytest.mark.parametrize("value", [1000, "1000", (1, 1), ev.RateLimit, True])
def test_what_is_no_limit(base: ev.EventBase, ends: Pair, value: Any) -> None:
    with pytest.raises(TypeError, match="limit must be a RateLimit or None"):
        ends[0].set_rate_limit(value)
    with pytest.raises(TypeError, match="limit must be a RateLimit, not"):
        ev.RateLimitGroup(base, value)


def test_no_write_callback_out_of_nothing(base: ev.EventBase, ends: Pair) -> None:
    """Refilling enables, and that alone would call it (facts of libevent 3.8)."""
    one, other = ends
    called: list[int] = []
    one.set_callbacks(write=lambda bev: called.append(1))
    Taker().watch(other)
    one.enable()
    run_for(base, 0.01)
    called.clear()
    one.set_rate_limit(ev.RateLimit(10, 10, tick=0.01))
    other.write(b"y" * 30)
    one.decrement_write_limit(30)
    with ev.RateLimitGroup(base, ev.RateLimit(5, 5, tick=0.01)) as group:
        group.add(one)
        run_for(base, 0.1)
        group.limit = ev.RateLimit(5, 5, tick=0.02)
        group.decrement_write(100)
        group.decrement_write(-100)
        run_for(base, 0.05)
    one.set_rate_limit(None)
    run_for(base, 0.02)
    assert not called
    one.set_rate_limit(ev.RateLimit(10, 10, tick=0.01))
    one.write(b"x" * 15)
    run_until(base, lambda: called)
    run_for(base, 0.05)
    assert called == [1]
    one.trigger(WRITE)
    run_until(base, lambda: len(called) == 2)


def test_callbacks_at_the_low_mark(base: ev.EventBase, ends: Pair) -> None:
    one, _other = ends
    left: list[int] = []
    one.set_callbacks(write=lambda bev: left.append(len(bev.output)))
    one.set_watermark(WRITE, 25)
    one.set_rate_limit(ev.RateLimit(10, 10, tick=0.01))
    one.write(b"x" * 50)
    run_until(base, lambda: left and left[-1] == 0)
    assert left == sorted(left, reverse=True)
    assert 0 < left[0] <= 25


def test_a_limit_does_not_keep_the_loop(base: ev.EventBase) -> None:
    with ev.SocketBufferEvent(base) as idle:
        idle.enable()
        idle.set_rate_limit(ev.RateLimit(10, 10, tick=0.01))
        base.dispatch()
        idle.decrement_read_limit(25)
        idle.decrement_write_limit(25)
        base.dispatch()
        idle.decrement_read_limit(-25)
        idle.set_rate_limit(None)
        base.dispatch()


def test_the_loop_goes_on_while_something_waits(base: ev.EventBase, ends: Pair) -> None:
    one, _other = ends
    one.set_rate_limit(ev.RateLimit(10, 10, tick=0.02))
    one.write(b"x" * 50)
    base.dispatch()
    assert not one.output


def test_set_before_connecting(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = ev.SocketBufferEvent(base)
        client.set_rate_limit(ev.RateLimit(500, 500, tick=2e6))
        client.decrement_write_limit(100)
        client.connect(server.getsockname())
        client.write(b"x" * 1000)
        run_until(base, lambda: len(client.output) == 600)
        run_for(base, 0.05)
        assert client.write_limit == 0
        assert len(client.output) == 600
        client.abort()


def test_connecting_while_nothing_is_left(base: ev.EventBase) -> None:
    """A connection is made though not a byte may be sent."""
    taker = Taker()
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = ev.SocketBufferEvent(base)
        client.set_rate_limit(ev.RateLimit(500, 500, tick=2e6))
        client.decrement_write_limit(500)
        client.decrement_read_limit(500)
        client.set_callbacks(event=taker.on_event)
        client.connect(server.getsockname())
        run_until(base, lambda: taker.events & ev.What.CONNECTED)
        client.abort()


def test_the_end_comes_after_the_last_byte(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    other.set_rate_limit(ev.RateLimit(1000, 1000, tick=0.02))
    taker = Taker().watch(other)
    one.write(b"x" * 5500)
    one.close()
    run_until(base, lambda: taker.events & ev.What.EOF)
    assert len(taker.data) == 5500


def test_closed_with_something_left(base: ev.EventBase, ends: Pair) -> None:
    """The limit holds while the rest is sent."""
    one, other = ends
    one.set_rate_limit(ev.RateLimit(1000, 1000, tick=0.02))
    taker = Taker().watch(other)
    one.write(b"x" * 5500)
    one.close()
    run_until(base, lambda: taker.events & ev.What.EOF)
    assert len(taker.data) == 5500
    assert max(size for _, size in taker.pieces) <= 1000


def test_no_timeout_while_it_waits_for_a_tick(base: ev.EventBase, ends: Pair) -> None:
    one, other = ends
    other.set_rate_limit(ev.RateLimit(10, 10, tick=0.25))
    taker = Taker().watch(other)
    other.set_timeouts(read=0.1)
    one.write(b"x" * 20)
    run_until(base, lambda: len(taker.data) == 20)
    assert not taker.events & ev.What.TIMEOUT or taker.pieces[1][0] - taker.pieces[0][0] > 0.3
    run_until(base, lambda: taker.events & ev.What.TIMEOUT)


def test_one_limit_for_many(base: ev.EventBase) -> None:
    limit = ev.RateLimit(100, 100, tick=0.01)
    pairs = [pair(base) for _ in range(20)]
    takers = []
    for one, other in pairs:
        one.set_rate_limit(limit)
        takers.append(Taker().watch(other))
        one.write(b"x" * 300)
    del limit
    gc.collect()
    run_until(base, lambda: all(len(taker.data) == 300 for taker in takers))
    for one, other in pairs:
        one.abort()
        other.abort()


def test_used_after_close(base: ev.EventBase, ends: Pair) -> None:
    one, _other = ends
    one.set_rate_limit(ev.RateLimit(1, 1))
    one.abort()
    uses: list[Callable[[], object]] = [
        lambda: one.set_rate_limit(None),
        lambda: one.set_rate_limit(ev.RateLimit(1, 1)),
        lambda: one.rate_limit,
        lambda: one.rate_limit_group,
        lambda: one.read_limit,
        lambda: one.write_limit,
        lambda: one.decrement_read_limit(1),
        lambda: one.decrement_write_limit(1),
        lambda: one.max_to_read,
        lambda: one.max_to_write,
    ]
    for use in uses:
        with pytest.raises(ev.ClosedError):
            use()


def test_in_every_callback(base: ev.EventBase) -> None:
    """Set, changed and taken away where the bufferevent calls."""
    one, other = pair(base)
    limits = [ev.RateLimit(5000, 5000, tick=0.01), None, ev.RateLimit(3000, None, tick=0.02), ev.RateLimit(None, 3000)]
    rng = random.Random(5)
    got = bytearray()

    def change(bev: ev.BufferEvent, *_: object) -> None:
        got.extend(other.read())
        rng.choice([one, other]).set_rate_limit(rng.choice(limits))

    one.set_callbacks(change, change, change)
    other.set_callbacks(change, change, change)
    one.enable()
    other.enable()
    data = rng.randbytes(100_000)
    one.write(data)
    run_until(base, lambda: len(got) == len(data))
    assert got == data
    one.abort()
    other.abort()


def test_from_other_threads(base: ev.EventBase) -> None:
    """One with a lock may be limited by any thread while the loop runs."""
    one, other = pair(base, ev.Option.THREADSAFE | ev.Option.CLOSE_ON_FREE)
    taker = Taker().watch(other)
    data = random.Random(7).randbytes(300_000)
    one.write(data)
    stop = threading.Event()
    errors: list[BaseException] = []
    limits = [None, ev.RateLimit(20_000, 20_000, tick=0.001), ev.RateLimit(50_000, 50_000, tick=0.002)]

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while not stop.is_set():
                bev = rng.choice([one, other])
                bev.set_rate_limit(rng.choice(limits))
                _ = bev.read_limit, bev.write_limit, bev.max_to_read
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        run_until(base, lambda: len(taker.data) == len(data))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert bytes(taker.data) == data
    one.abort()
    other.abort()


def test_without_a_lock_other_threads_are_refused(base: ev.EventBase, ends: Pair) -> None:
    one, _ = ends
    one.set_rate_limit(ev.RateLimit(1, 1))
    errors: list[BaseException] = []

    def work() -> None:
        for use in (lambda: one.set_rate_limit(None), lambda: one.read_limit, lambda: one.decrement_read_limit(1)):
            try:
                use()
            except RuntimeError as error:
                errors.append(error)
        base.call_soon_threadsafe(base.loopbreak)

    thread = threading.Thread(target=work)
    base.call_soon(thread.start)
    base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    thread.join()
    assert len(errors) == 3


def test_in_a_forked_child() -> None:
    done = run_child(
        """
import os, socket, sys
import pylibevent as ev
base = ev.EventBase()
one, other = (ev.SocketBufferEvent(base, sock) for sock in socket.socketpair())
group = ev.RateLimitGroup(base, ev.RateLimit(100, 100, tick=0.01))
group.add(one)
one.set_rate_limit(ev.RateLimit(100, 100, tick=0.01))
if os.fork() == 0:
    refused = 0
    for use in (lambda: one.set_rate_limit(None), lambda: one.read_limit, lambda: group.add(other), lambda: len(group),
                lambda: group.totals, group.close):
        try:
            use()
        except ev.ForkedError:
            refused += 1
    assert refused == 6, refused
    base.reinit()
    got = []
    other.set_callbacks(read=lambda bev: got.append(bev.read()))
    other.enable()
    one.write(b"x" * 500)
    while sum(map(len, got)) < 500:
        base.loop(ev.LoopFlag.ONCE)
    assert group.totals.written == 500
    group.close()
    base.close()
    os._exit(0)
_, status = os.wait()
assert status == 0, status
base.close()
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
