"""Any chain of relays over sockets, pairs and filters, with limits that come and go: each byte once, in order, then the end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from support import GIVE_UP
from test_layers_random import Flip

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
CLOSE = ev.Option.CLOSE_ON_FREE

hop = st.tuples(
    st.sampled_from(["socket", "pair"]),
    st.sampled_from([ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE]),
    st.lists(st.one_of(st.none(), st.integers(1, 5000)), max_size=2),
)
end = st.integers(0, 1)
size = st.one_of(st.integers(0, 20), st.integers(0, 300_000))
which = st.integers(0, 20)
step = st.one_of(
    st.tuples(st.just("write"), end, size),
    st.tuples(st.just("mark"), end, st.sampled_from([0, 1, 1000])),
    st.tuples(st.just("turn"), st.integers(1, 5)),
    st.tuples(st.just("limit"), which, st.sampled_from([100, 5000, 100_000])),
    st.tuples(st.just("join"), which),
    st.tuples(st.just("lift"), which),
    st.tuples(st.just("stop"), end),
    st.tuples(st.just("go"), end),
)


class Chain:
    """Hops, each between two ends, and relays in between."""

    def __init__(self, base: ev.EventBase, hops: list[Any]) -> None:
        self.base = base
        self.group = ev.RateLimitGroup(base, ev.RateLimit(20_000, 20_000, tick=0.002))
        ends = [self.make(*hop) for hop in hops]
        self.all = [bev for two in ends for bev in two]
        self.outer: tuple[Any, Any] = ends[0][0], ends[-1][1]
        self.written = [0, 0]
        self.got = [bytearray(), bytearray()]
        self.events = [ev.What(0), ev.What(0)]
        self.ended: list[ev.RelayEnd] = []
        for number, bev in enumerate(self.outer):
            bev.set_callbacks(
                read=lambda bev, number=number: self.got[number].extend(bev.read()),
                event=lambda bev, what, number=number: self.hear(number, what),
            )
            bev.enable()
        self.relays = [a[1].relay(b[0], on_close=self.ended.append) for a, b in itertools.pairwise(ends)]

    def make(self, kind: str, options: ev.Option, layers: list[int | None]) -> list[Any]:
        if kind == "pair":
            ends: list[Any] = list(ev.PairBufferEvent.new(self.base, options))
        else:
            ends = [ev.SocketBufferEvent(self.base, sock, options | CLOSE) for sock in socket.socketpair()]
        for at_once in layers:
            for number in (0, 1):
                filters: tuple[Any, Any] = (None, None) if at_once is None else (Flip(at_once), Flip(at_once))
                ends[number] = ev.FilterBufferEvent(ends[number], *filters, options=options | CLOSE)
        return ends

    def hear(self, number: int, what: ev.What) -> None:
        self.events[number] |= what

    def data(self, number: int, n: int) -> bytes:
        start = self.written[number]
        self.written[number] += n
        pattern = bytes((at * 7 + at // 251) % 256 for at in range(251 * 256))
        at = start % len(pattern)
        return (pattern[at:] + pattern * (n // len(pattern) + 1))[:n]

    def do(self, name: str, *arguments: Any) -> None:
        if name == "write":
            self.outer[arguments[0]].write(self.data(*arguments))
        elif name == "mark":
            self.outer[arguments[0]].set_watermark(READ, 0, arguments[1])
        elif name == "turn":
            for _ in range(arguments[0]):
                self.base.loop(ev.LoopFlag.NONBLOCK)
        elif name in ("stop", "go"):
            bev = self.outer[arguments[0]]
            (bev.disable if name == "stop" else bev.enable)(READ)
        else:
            bev = self.all[arguments[0] % len(self.all)]
            if name == "limit":
                bev.set_rate_limit(ev.RateLimit(arguments[1], arguments[1], tick=0.002))
            elif name == "join":
                self.group.add(bev)
            else:
                self.lift(bev)

    def lift(self, bev: ev.BufferEvent) -> None:
        bev.set_rate_limit(None)
        if bev in self.group:
            self.group.remove(bev)

    def wait(self, done: Any) -> None:
        until = time.monotonic() + GIVE_UP
        while not done():
            assert time.monotonic() < until, (self.got_sizes(), self.written, self.relays, self.all, self.events)
            self.base.loop(ev.LoopFlag.NONBLOCK)

    def got_sizes(self) -> list[int]:
        return [len(got) for got in self.got]

    def arrived(self, number: int) -> None:
        other = 1 - number
        self.wait(lambda: len(self.got[number]) >= self.written[other])
        n, self.written[other] = self.written[other], 0
        assert self.got[number] == self.data(other, n)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    hops=st.lists(hop, min_size=2, max_size=4),
    steps=st.lists(step, max_size=30),
    fast=st.booleans(),
    lifted=st.booleans(),
    first=end,
)
def test_every_byte_and_every_end(hops: list[Any], steps: list[Any], fast: bool, lifted: bool, first: int) -> None:
    with ev.EventBase(fast_io=fast) as base:
        chain = Chain(base, hops)
        for name, *arguments in steps:
            chain.do(name, *arguments)
        for bev in chain.outer:
            bev.set_watermark(READ)
            bev.enable()
        if lifted:
            for bev in chain.all:
                chain.lift(bev)
        else:
            for bev in chain.all:  # what is too slow for a test
                if bev.rate_limit is not None and bev.rate_limit.read == 100:
                    bev.set_rate_limit(None)
        for number in (0, 1):
            chain.arrived(number)
        chain.outer[first].close()
        chain.wait(lambda: chain.events[1 - first] & ev.What.EOF)
        assert not chain.events[1 - first] & ev.What.ERROR
        chain.outer[1 - first].close()
        chain.wait(lambda: len(chain.ended) == len(chain.relays))
        assert [end.reason for end in chain.ended] == [None] * len(chain.relays)
        totals = [len(chain.got[1]), len(chain.got[0])]
        assert all([end.sent, end.received] == totals for end in chain.ended)
        chain.group.close()
        base.dispatch()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    hops=st.lists(hop, min_size=2, max_size=4),
    steps=st.lists(step, max_size=30),
    fast=st.booleans(),
    at=st.integers(0, 30),
    closed=which,
    how=st.sampled_from(["close", "abort", "relay", "end"]),
)
def test_a_close_in_the_middle_ends_it(hops: list[Any], steps: list[Any], fast: bool, at: int, closed: int, how: str) -> None:
    """Of any part, at any time: nothing breaks, and each relay ends once both outer ends are closed."""
    with ev.EventBase(fast_io=fast) as base:
        chain = Chain(base, hops)
        for number, (name, *arguments) in enumerate(steps):
            if number == at % (len(steps) or 1):
                if how == "relay":
                    chain.relays[closed % len(chain.relays)].close()
                elif how == "end":
                    chain.outer[closed % 2].close()
                else:
                    getattr(chain.all[closed % len(chain.all)], how)()
            with contextlib.suppress(ev.ClosedError, BrokenPipeError):
                chain.do(name, *arguments)
        for bev in chain.outer:
            bev.abort()
        for bev in chain.all:
            if not bev.closed:
                chain.lift(bev)
        chain.wait(lambda: len(chain.ended) == len(chain.relays))
        chain.group.close()
        base.dispatch()
