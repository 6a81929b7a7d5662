"""Limits where no descriptor is: pairs, filters and TLS over pairs; and filters over sockets."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from support import run_until
from test_ratelimit_bufferevent import CHANGES, OUT_OF_STEP, Taker, pair, run_for, ticks_between
from test_tls_wrap import Contexts

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
Ends = tuple[ev.PairBufferEvent, ev.PairBufferEvent]


@pytest.fixture
def ends(base: ev.EventBase) -> Iterator[Ends]:
    one, other = ev.PairBufferEvent.new(base)
    yield one, other
    one.abort()
    other.abort()


@pytest.fixture
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


@pytest.mark.parametrize("how", ["reader", "writer", "reader's group", "writer's group"])
def test_so_much_a_tick(base: ev.EventBase, ends: Ends, how: str) -> None:
    one, other = ends
    limit = ev.RateLimit(1000, 1000, tick=0.05)
    with ev.RateLimitGroup(base, limit) as group:
        end = other if how.startswith("reader") else one
        if how.endswith("group"):
            group.add(end)
        else:
            end.set_rate_limit(limit)
        taker = Taker().watch(other)
        started = time.time()
        one.write(b"x" * 10_000)
        run_until(base, lambda: len(taker.data) == 10_000)
        assert ticks_between(started, time.time(), 0.05) >= 8 - OUT_OF_STEP, "its clock and this one are out of step"
        moved = 0
        for when, size in taker.pieces:
            moved += size
            assert moved <= 1000 * (ticks_between(started, when, 0.05) + 2)
        if how.endswith("group"):
            assert sum(group.totals) == 10_000


def test_both_ends_pay(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    limit = ev.RateLimit(1000, 1000, tick=2e6)
    one.set_rate_limit(limit)
    other.set_rate_limit(limit)
    taker, back = Taker().watch(other), Taker().watch(one)
    one.write(b"x" * 300)
    other.write(b"y" * 500)
    run_until(base, lambda: taker.data and back.data)
    assert (one.write_limit, one.read_limit, other.write_limit, other.read_limit) == (700, 500, 500, 700)
    assert (one.max_to_write, one.max_to_read) == (700, 500)
    one.write(b"x" * 10_000)
    run_until(base, lambda: len(taker.data) == 1000)
    assert one.write_limit == one.max_to_write == other.max_to_read == 0
    run_for(base, 0.03)
    assert len(taker.data) == 1000
    assert one.rate_limit is limit
    one.set_rate_limit(None)
    run_for(base, 0.03)
    assert len(taker.data) == 1000, "the reader's holds still"
    other.set_rate_limit(None)
    run_until(base, lambda: len(taker.data) == 10_300)
    assert one.read_limit is None


def test_one_way_only(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(None, 1000, tick=2e6))
    taker, back = Taker().watch(other), Taker().watch(one)
    other.write(b"y" * 1_000_000)
    one.write(b"x" * 2000)
    run_until(base, lambda: len(back.data) == 1_000_000 and len(taker.data) == 1000)
    assert one.read_limit is None


def test_decrement_and_credit(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    with pytest.raises(RuntimeError, match="has no rate limit of its own"):
        one.decrement_write_limit(1)
    one.set_rate_limit(ev.RateLimit(100, 100, 1000, 1000, tick=2e6))
    one.decrement_write_limit(300)
    assert one.write_limit == -200
    taker = Taker().watch(other)
    one.write(b"x" * 5000)
    run_for(base, 0.02)
    assert not taker.data
    one.decrement_write_limit(-500)
    run_until(base, lambda: len(taker.data) == 300)
    for _ in range(3):
        one.decrement_read_limit(-(2**62))
    assert one.read_limit == 1000
    for _ in range(3):
        one.decrement_read_limit(2**62)
    assert one.read_limit == -(2**62)


def test_bursts_gather(base: ev.EventBase, ends: Ends) -> None:
    ends[0].set_rate_limit(ev.RateLimit(100, 200, 350, 450, tick=0.02))
    run_for(base, 0.2)
    assert (ends[0].read_limit, ends[0].write_limit) == (350, 450)


def test_another_tick(base: ev.EventBase) -> None:
    streams = []
    for n, (old, new) in enumerate(CHANGES * 2):
        one, other = ev.PairBufferEvent.new(base)
        (one, other)[n % 2].set_rate_limit(ev.RateLimit(100, 100, 1000, 1000, tick=old))
        taker = Taker().watch(other)
        one.write(b"x" * 1_000_000)
        streams.append((one, other, (one, other)[n % 2], taker, new))
    run_for(base, 0.05)
    for _, _, limited, _, new in streams:
        before = limited.write_limit
        limited.set_rate_limit(ev.RateLimit(50, 50, 1000, 1000, tick=new))
        assert before is not None
        assert limited.write_limit in range(before, before + 101)
    starts = [len(stream[3].data) for stream in streams]
    run_until(base, lambda: all(len(s[3].data) >= start + 100 for s, start in zip(streams, starts, strict=True)), 10)
    for one, other, *_ in streams:
        one.abort()
        other.abort()


def test_a_group_of_pairs_and_sockets(base: ev.EventBase) -> None:
    limit = ev.RateLimit(3000, 3000, tick=0.05)
    streams = [pair(base), ev.PairBufferEvent.new(base), ev.PairBufferEvent.new(base), pair(base)]
    with ev.RateLimitGroup(base, limit) as group:
        takers = []
        for one, other in streams:
            group.add(one)
            takers.append(Taker().watch(other))
            one.write(b"x" * 4500)
        assert len(group) == 4
        started = time.time()
        run_until(base, lambda: all(len(taker.data) == 4500 for taker in takers))
        assert ticks_between(started, time.time(), 0.05) >= 4 - OUT_OF_STEP
        assert group.totals == (0, 18_000)
        group.limit = ev.RateLimit(3000, 3000, tick=0.01)
        assert group.totals == (0, 18_000)
        for one, _ in streams:
            one.write(b"x" * 4500)
        run_until(base, lambda: all(len(taker.data) == 9000 for taker in takers))
        assert group.totals == (0, 36_000)
        group.decrement_write(2**40)
        for one, _ in streams:
            one.write(b"x" * 100)
        run_for(base, 0.05)
        assert sum(len(taker.data) for taker in takers) == 36_000
        group.close()
        run_until(base, lambda: all(len(taker.data) == 9100 for taker in takers), 5)
    for one, other in streams:
        one.abort()
        other.abort()


def test_from_group_to_group(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    slow, fast = ev.RateLimit(100, 100, tick=2e6), ev.RateLimit(100_000, 100_000)
    with ev.RateLimitGroup(base, slow) as first, ev.RateLimitGroup(base, fast) as second:
        first.add(one)
        assert one in first
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


def test_the_loop_goes_on_while_bytes_wait_and_ends_else(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(10, 10, tick=0.02))
    base.dispatch()
    one.write(b"x" * 50)
    base.dispatch()
    assert len(one.output) == 50, "nobody reads"
    assert base.num_events == 0
    other.enable(READ)
    base.dispatch()
    assert not one.output
    assert other.read() == b"x" * 50
    one.write(b"x" * 50)
    base.timer(0.01, lambda event, what: other.disable(READ))
    base.dispatch()
    assert one.output


def test_marks_hold(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(700, 700, tick=0.005))
    other.set_watermark(READ, 10, 1000)
    sizes: list[int] = []
    got = bytearray()

    def on_read(bev: ev.BufferEvent) -> None:
        sizes.append(len(bev.input))
        got.extend(bev.read(900))
        if len(bev.input) >= 10:
            bev.trigger(READ)

    other.set_callbacks(read=on_read)
    other.enable()
    data = random.Random(3).randbytes(10_000)
    one.write(data)
    run_until(base, lambda: len(got) + len(other.input) == len(data))
    assert got + other.read() == data
    assert max(sizes) <= 1000
    assert other.watermark(READ) == (10, 1000)


def test_written_in_time(base: ev.EventBase, ends: Ends) -> None:
    """Write callbacks come when all was taken, and not before."""
    one, other = ends
    left: list[int] = []
    one.set_callbacks(write=lambda bev: left.append(len(bev.output)))
    one.set_rate_limit(ev.RateLimit(100, 100, tick=0.01))
    other.enable(READ)
    run_for(base, 0.05)
    assert not left
    one.write(b"x" * 550)
    run_until(base, lambda: left)
    assert left == [0]


def test_a_flush_goes_into_debt(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(100, 100, tick=2e6))
    other.enable(READ)
    one.write(b"x" * 1000)
    one.flush(WRITE, ev.FlushMode.FLUSH)
    assert len(other.input) == 1000
    assert one.write_limit == -900


@pytest.mark.parametrize("limited", ["reader", "writer"])
def test_closed_with_something_left(base: ev.EventBase, ends: Ends, limited: str) -> None:
    """The reader's limit holds to the end; the writer's ends with it."""
    one, other = ends
    (other if limited == "reader" else one).set_rate_limit(ev.RateLimit(1000, 1000, tick=0.02))
    taker = Taker().watch(other)
    one.write(b"x" * 5500)
    started = time.time()
    one.close()
    run_until(base, lambda: taker.events & ev.What.EOF)
    assert len(taker.data) == 5500
    assert ticks_between(started, time.time(), 0.02) >= (3 if limited == "reader" else 0) - OUT_OF_STEP


def test_closed_by_the_reader(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    for end in ends:
        end.set_rate_limit(ev.RateLimit(1000, 1000, tick=0.02))
    taker = Taker().watch(one)
    other.enable()
    one.write(b"x" * 5500)
    other.close()
    run_until(base, lambda: taker.events & ev.What.EOF)
    with pytest.raises(BrokenPipeError):
        one.write(b"x")
    one.set_rate_limit(None)


def test_dropped_where_nothing_shall_be_kept(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(100, 100, tick=2e6))
    taker = Taker().watch(other)
    one.write(b"x" * 1000)
    run_until(base, lambda: taker.data)
    one.close(timeout=0)
    run_until(base, lambda: taker.events & ev.What.EOF)
    assert len(taker.data) == 100


def test_the_base_is_closed_while_bytes_wait() -> None:
    with ev.EventBase() as base, ev.RateLimitGroup(base, ev.RateLimit(10, 10, tick=0.01)) as group:
        ends = [ev.PairBufferEvent.new(base) for _ in range(3)]
        for one, other in ends:
            one.set_rate_limit(ev.RateLimit(10, 10, tick=0.01))
            group.add(other)
            other.enable()
            one.write(b"x" * 1000)
        ends[0][0].close()
        ends[1][1].close()
        base.loop(ev.LoopFlag.ONCE)


def test_memory_that_is_shown_stays(base: ev.EventBase, ends: Ends) -> None:
    one, other = ends
    one.set_rate_limit(ev.RateLimit(10, 10, tick=0.01))
    other.enable(READ)
    one.write(b"x" * 30)
    run_until(base, lambda: other.input)
    with other.input.peek() as views:
        before = [bytes(view) for view in views]
        with pytest.raises(BufferError):
            one.write(b"y")
        assert [bytes(view) for view in views] == before
    run_until(base, lambda: len(other.input) == 30)


# ---------------------------------------------------------------- what stands on them


def flip(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    data = source.read(limit)
    destination.write(bytes(byte ^ 0xFF for byte in data))
    return ev.FilterResult.OK if data else ev.FilterResult.NEED_MORE


def plain(base: ev.EventBase, kind: str) -> tuple[ev.BufferEvent, ev.BufferEvent]:
    one, other = pair(base) if kind == "socket" else ev.PairBufferEvent.new(base)
    return one, other


def filters(bev: ev.BufferEvent, depth: int) -> ev.BufferEvent:
    for _ in range(depth):
        bev = ev.FilterBufferEvent(bev, flip, flip, options=ev.Option.CLOSE_ON_FREE)
    return bev


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("kind", ["socket", "pair"])
@pytest.mark.parametrize("limited", ["reader", "writer"])
def test_filters(base: ev.EventBase, kind: str, depth: int, limited: str) -> None:
    bottoms = plain(base, kind)
    one, other = (filters(bev, depth) for bev in bottoms)
    limit = ev.RateLimit(1000, 1000, tick=0.02)
    top, bottom = (one, bottoms[0]) if limited == "writer" else (other, bottoms[1])
    top.set_rate_limit(limit)
    assert bottom.rate_limit is top.rate_limit is limit
    assert top.max_to_read == top.max_to_write == 1000
    taker = Taker().watch(other)
    data = random.Random(9).randbytes(6000)
    started = time.time()
    one.write(data)
    run_until(base, lambda: len(taker.data) == len(data), 5)
    assert taker.data == data
    assert ticks_between(started, time.time(), 0.02) >= 4 - OUT_OF_STEP, "its clock and this one are out of step"
    one.abort()
    other.abort()


@pytest.mark.parametrize("limited", ["reader", "writer"])
def test_tls_over_a_pair(base: ev.EventBase, contexts: Contexts, limited: str) -> None:
    below, peer = ev.PairBufferEvent.new(base)
    (below if limited == "reader" else peer).set_rate_limit(ev.RateLimit(700, 700, tick=0.005))
    server = ev.TLSBufferEvent.wrap(below, contexts[0], server_side=True)
    client = ev.TLSBufferEvent.wrap(peer, contexts[1], server_hostname="server.test")
    taker = Taker().watch(server)
    data = random.Random(9).randbytes(30_000)
    client.enable()
    client.write(data)
    run_until(base, lambda: len(taker.data) == len(data), 5)
    assert taker.data == data
    client.close()
    run_until(base, lambda: taker.events & ev.What.EOF)
    server.close()
    base.dispatch()


LIMITS = [
    None,
    ev.RateLimit(300, 300, tick=0.001),
    ev.RateLimit(1000, None, 5000, tick=0.003),
    ev.RateLimit(None, 2000, None, 2000, tick=0.002),
    ev.RateLimit(100, 100, tick=0.001),
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "read", "mark", "limit", "group", "leave", "regroup", "flush", "switch", "run"]),
        st.integers(0, 1),
        st.integers(0, 4),
        st.integers(0, 3000),
    ),
    max_size=40,
)
KINDS = ["socket", "pair"]


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(0, 4), STEPS)
def test_each_byte_comes_once_and_in_order(kind: str, depth: int, steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever is written, read, flushed and limited, in any order."""
    rng = random.Random(1)
    sent, got = (bytearray(), bytearray()), (bytearray(), bytearray())
    with ev.EventBase() as base, ev.RateLimitGroup(base, ev.RateLimit(500, 500, tick=0.001)) as group:
        bevs = tuple(filters(bev, depth) for bev in plain(base, kind))

        def take(which: int) -> Callable[[ev.BufferEvent], None]:
            return lambda bev: got[which].extend(bev.read())

        for bev in bevs:
            bev.enable()
        for deed, which, choice, size in steps:
            bev = bevs[which]
            if deed == "write":
                data = rng.randbytes(size)
                bev.write(data)
                sent[which].extend(data)
            elif deed == "read":
                got[which].extend(bev.read(size))
            elif deed == "mark":
                bev.set_watermark(READ, 0, size)
            elif deed == "limit":
                bev.set_rate_limit(LIMITS[choice])
            elif deed == "group":
                group.add(bev)
            elif deed == "leave" and bev in group:
                group.remove(bev)
            elif deed == "regroup":
                group.limit = LIMITS[choice] or ev.RateLimit(None, None, tick=0.01)
            elif deed == "flush":
                bev.flush(mode=ev.FlushMode.FLUSH)
            elif deed == "switch":
                (bev.enable if choice % 2 else bev.disable)(READ if choice < 2 else WRITE)
            elif deed == "run":
                base.loop(ev.LoopFlag.NONBLOCK)
        for which, bev in enumerate(bevs):
            bev.set_watermark(READ | WRITE, 0, 0)
            bev.set_callbacks(read=take(which))
            bev.enable()
            bev.trigger(READ, ignore_watermarks=True)
        run_until(base, lambda: len(got[0]) == len(sent[1]) and len(got[1]) == len(sent[0]), 5)
        assert got[0] == sent[1]
        assert got[1] == sent[0]
        for bev in bevs:
            bev.abort()
