"""Rate limits hold with the fast path on: set before it is used, in the middle, on one or on a group, over TCP and TLS."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from support import run_until
from test_ratelimit_bufferevent import Taker, pair, run_for, ticks_between
from test_tls_wrap import tls_pair

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
TICK = 0.05
LIMIT = ev.RateLimit(3000, 3000, tick=TICK)
HUGE = ev.RateLimit(10**9, 10**9, tick=TICK)
FOREVER = 2e6
Ends = tuple[Any, Any]


def tcp(base: ev.EventBase, certificates: Any) -> Ends:
    return pair(base)


def tls(base: ev.EventBase, certificates: Any) -> Ends:
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    return tls_pair(base, (server, ev.TLSContext.client(certificates.ca)))


def write(bev: ev.BufferEvent, data: bytes) -> None:
    bev.write(data)


def write_in_pieces(bev: ev.BufferEvent, data: bytes) -> None:
    for start in range(0, len(data), 1000):
        bev.write(data[start : start + 1000])


def write_buffer(bev: ev.BufferEvent, data: bytes) -> None:
    bev.write_buffer(ev.Buffer(data))


def to_output(bev: ev.BufferEvent, data: bytes) -> None:
    bev.output.write(data)


HOW = [write, write_in_pieces, write_buffer, to_output]


def most_on_the_wire(base: ev.EventBase, taker: Taker, seconds: float) -> tuple[int, float]:
    """What came, and what might have."""
    before, started = len(taker.data), time.time()
    run_for(base, seconds)
    ticks = ticks_between(started, time.time(), TICK)
    return len(taker.data) - before, LIMIT.write * (ticks + 2)  # type: ignore[operator]


@pytest.fixture(params=[tcp, tls])
def ends(request: pytest.FixtureRequest, base: ev.EventBase, certificates: Any) -> Any:
    one, other = request.param(base, certificates)
    yield one, other
    one.abort()
    other.abort()


def set_limit(where: str, group: ev.RateLimitGroup, bev: ev.BufferEvent) -> None:
    if where == "own":
        bev.set_rate_limit(LIMIT)
    else:
        group.add(bev)
    if where == "group, and a high one":
        bev.set_rate_limit(HUGE)


def lift(group: ev.RateLimitGroup, bev: ev.BufferEvent) -> None:
    bev.set_rate_limit(None)
    if bev in group:
        group.remove(bev)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("where", ["own", "group", "group, and a high one"])
@pytest.mark.parametrize("limited", ["reader", "writer"])
def test_before_in_the_middle_and_after(
    base: ev.EventBase, ends: Ends, how: Callable[[ev.BufferEvent, bytes], None], where: str, limited: str
) -> None:
    one, other = ends
    taker = Taker().watch(other)
    how(one, b"a" * 200_000)
    run_until(base, lambda: len(taker.data) == 200_000)
    bev = one if limited == "writer" else other
    with ev.RateLimitGroup(base, LIMIT) as group:
        set_limit(where, group, bev)
        how(one, b"b" * 300_000)
        moved, most = most_on_the_wire(base, taker, 0.25)
        assert moved <= most
        lift(group, bev)
        run_until(base, lambda: len(taker.data) == 500_000)
        how(one, b"c" * 200_000)
        run_until(base, lambda: len(taker.data) == 700_000)
        set_limit(where, group, bev)
        how(one, b"d" * 50_000)
        moved, most = most_on_the_wire(base, taker, 0.15)
        assert moved <= most
        lift(group, bev)
        run_until(base, lambda: len(taker.data) == 750_000)
    assert taker.data == b"a" * 200_000 + b"b" * 300_000 + b"c" * 200_000 + b"d" * 50_000


@pytest.mark.parametrize("limit", [ev.RateLimit(100, None, tick=FOREVER), ev.RateLimit(None, 100, tick=FOREVER)])
def test_one_direction(base: ev.EventBase, limit: ev.RateLimit) -> None:
    """Set in a callback, between what is read and what is written."""
    one, other = pair(base)

    def echo(bev: ev.BufferEvent) -> None:
        bev.set_rate_limit(limit)
        bev.write(bev.read())

    taker = Taker().watch(one)
    other.set_callbacks(read=echo)
    other.enable()
    one.write(b"x" * 1000)
    run_until(base, lambda: taker.data)
    run_for(base, 0.05)
    assert len(taker.data) == (100 if limit.write else 1000)
    one.write(b"y" * 1000)
    run_for(base, 0.05)
    if limit.read:
        assert len(taker.data) == 1100
        assert other.read_limit == 0
    else:
        assert len(taker.data) == 100
        assert other.write_limit == 0
    one.abort()
    other.abort()


def test_credit_is_what_is_left(base: ev.EventBase) -> None:
    """Bytes that the fast path moved before count for nothing; those after it all count."""
    one, other = pair(base)
    taker = Taker().watch(other)
    with ev.RateLimitGroup(base, ev.RateLimit(5000, 5000, tick=FOREVER)) as group:
        one.write(b"x" * 10_000)
        run_until(base, lambda: len(taker.data) == 10_000)
        group.add(one)
        one.set_rate_limit(ev.RateLimit(2000, 2000, tick=FOREVER))
        one.write(b"y" * 500)
        run_until(base, lambda: len(taker.data) == 10_500)
        assert one.write_limit == 1500
        assert group.write_limit == 4500
        assert group.totals == (0, 500)
        one.set_rate_limit(None)
        one.write(b"z" * 500)
        run_until(base, lambda: len(taker.data) == 11_000)
        assert group.write_limit == 4000
        group.remove(one)
        one.write(b"z" * 500)
        run_until(base, lambda: len(taker.data) == 11_500)
        assert group.totals == (0, 1000)
    one.abort()
    other.abort()


def test_write_callbacks_come_once(base: ev.EventBase) -> None:
    """Whether a limit is set, or was, or never was."""
    one, other = pair(base)
    written: list[int] = []
    taker = Taker().watch(other)
    one.set_callbacks(write=lambda bev: written.append(len(taker.data)))
    for limit in (None, HUGE, None, HUGE):
        one.set_rate_limit(limit)
        before, calls = len(taker.data), len(written)
        one.write(b"x" * 1000)
        run_until(base, lambda before=before: len(taker.data) == before + 1000)  # type: ignore[misc]
        run_for(base, 0.12)
        assert len(written) == calls + 1
    one.abort()
    other.abort()
