"""Any sequence of writes, reads, flushes, switches, marks, on every layer of any stack: each byte comes once, in order."""

from __future__ import annotations

import socket
import time
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from support import GIVE_UP

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
OK, NEED_MORE = ev.FilterResult.OK, ev.FilterResult.NEED_MORE
NORMAL, FLUSH = ev.FlushMode.NORMAL, ev.FlushMode.FLUSH

_FLIP = bytes(byte ^ 0x55 for byte in range(256))


class Flip:
    """Changes each byte, as many at a time as it is said to take and the limit lets it."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def __repr__(self) -> str:
        return f"Flip({self.at_once})"

    def feed(self, source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        data = source.read(self.at_once if limit is None else min(self.at_once, limit))
        destination.write(data.translate(_FLIP))
        return OK if data else NEED_MORE


class Hold(Flip):
    """Takes whole groups only, and keeps what is beyond the limit to itself; a flush gets everything out."""

    def __init__(self, at_once: int) -> None:
        super().__init__(at_once)
        self.kept = bytearray()

    def __repr__(self) -> str:
        return f"Hold({self.at_once})"

    def feed(self, source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        n = len(source)
        taken = source.read(n if mode != NORMAL else n - n % self.at_once)
        self.kept += taken.translate(_FLIP)
        given = self.kept[:limit]
        del self.kept[: len(given)]
        destination.write(given)
        return OK if taken or given else NEED_MORE


class Pass:
    """Stands for no filter."""

    def __init__(self, at_once: int) -> None:
        pass

    def __repr__(self) -> str:
        return "Pass"


KINDS = [Flip, Hold, Pass]
layer = st.tuples(st.sampled_from([(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]), st.integers(1, 2000))
size = st.one_of(st.integers(0, 20), st.integers(0, 20_000))
flags = st.sampled_from([READ, WRITE, READ | WRITE])
end = st.integers(0, 1)
level = st.integers(0, 3)
step = st.one_of(
    st.tuples(st.just("write"), end, size),
    st.tuples(st.just("write_buffer"), end, size),
    st.tuples(st.just("read"), end, size),
    st.tuples(st.just("read_buffer"), end),
    st.tuples(st.just("flush"), end, flags, st.sampled_from([NORMAL, FLUSH])),
    st.tuples(st.just("marks"), end, level, flags, st.integers(0, 50), st.sampled_from([0, 1, 7, 64, 1000])).filter(
        lambda marks: marks[5] == 0 or marks[4] <= marks[5]
    ),
    st.tuples(st.just("enable"), end, level, flags),
    st.tuples(st.just("disable"), end, level, flags),
    st.tuples(st.just("loop"), end),
)


class Stack:
    """Two ends with as many layers each, and what went into and came out of them."""

    def __init__(self, base: ev.EventBase, bottom: str, layers: list[tuple[tuple[int, int], int]], taking: bool) -> None:
        self.base = base
        ends: Any
        if bottom == "pair":
            ends = ev.PairBufferEvent.new(base)
        else:
            ends = tuple(ev.SocketBufferEvent(base, sock) for sock in socket.socketpair())
        self.levels: list[list[ev.BufferEvent]] = [[ends[0]], [ends[1]]]
        for kind in layers:
            self.put(self.levels, kind)
        self.tops = [levels[-1] for levels in self.levels]
        self.written = [0, 0]
        self.got = [bytearray(), bytearray()]
        self.events: list[tuple[int, ev.What]] = []
        for number, top in enumerate(self.tops):
            top.set_callbacks(
                read=(lambda bev, number=number: self.take(number, bev.read())) if taking else None,
                event=lambda bev, what, number=number: self.events.append((number, what)),
            )

    def put(self, levels: list[list[ev.BufferEvent]], kind: Any) -> None:
        """One more layer on both ends."""
        (out_kind, in_kind), at_once = kind
        if 2 in (out_kind, in_kind):
            there = back = (None, None)
        else:
            there = KINDS[out_kind](at_once), KINDS[in_kind](at_once)
            back = KINDS[out_kind](at_once), KINDS[in_kind](at_once)
        for end, (out, into) in ((levels[0], (there[0], back[1])), (levels[1], (back[0], there[1]))):
            end.append(ev.FilterBufferEvent(end[-1], into, out))

    def data(self, number: int, n: int) -> bytes:
        """The next bytes of an end's stream."""
        start = self.written[number]
        self.written[number] += n
        return bytes((at * 7 + at // 251) % 256 for at in range(start, start + n))

    def take(self, number: int, data: bytes) -> None:
        self.got[number] += data

    def do(self, name: str, number: int, *arguments: Any) -> None:
        top, levels = self.tops[number], self.levels[number]
        if name == "write":
            top.write(self.data(number, *arguments))
        elif name == "write_buffer":
            top.write_buffer(ev.Buffer(self.data(number, *arguments)))
        elif name == "read":
            self.take(number, top.read(*arguments))
        elif name == "read_buffer":
            buffer = ev.Buffer()
            top.read_buffer(buffer)
            self.take(number, bytes(buffer))
        elif name == "flush":
            top.flush(*arguments)
        elif name == "loop":
            self.base.loop(ev.LoopFlag.NONBLOCK)
        else:
            bev = levels[min(arguments[0], len(levels) - 1)]
            {"marks": bev.set_watermark, "enable": bev.enable, "disable": bev.disable}[name](*arguments[1:])

    def expected(self, number: int) -> bytes:
        """All that the other end has written."""
        other = 1 - number
        n, self.written[other] = self.written[other], 0
        return self.data(other, n)

    def finish(self) -> None:
        """Every switch on, no marks, everything flushed: then all must come."""
        for levels in self.levels:
            for bev in levels:
                bev.set_watermark(READ | WRITE)
                bev.enable()
        until = time.monotonic() + GIVE_UP
        while [len(got) for got in self.got] != self.written[::-1]:
            assert time.monotonic() < until, ([len(got) for got in self.got], self.written[::-1], self.levels)
            for number in (0, 1):
                self.tops[number].flush(READ | WRITE, FLUSH)
                self.do("read", number, -1)
            self.base.loop(ev.LoopFlag.NONBLOCK)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    bottom=st.sampled_from(["socket", "pair"]),
    layers=st.lists(layer, max_size=3),
    steps=st.lists(step, max_size=40),
    taking=st.booleans(),
)
def test_every_byte_arrives_once_and_in_order(
    bottom: str, layers: list[Any], steps: list[tuple[Any, ...]], taking: bool
) -> None:
    with ev.EventBase() as base:
        stack = Stack(base, bottom, layers, taking)
        for name, *arguments in steps:
            stack.do(name, *arguments)
        stack.finish()
        assert stack.events == []
        for number in (0, 1):
            assert stack.got[number] == stack.expected(number)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    bottom=st.sampled_from(["socket", "pair"]),
    layers=st.lists(layer, max_size=3),
    steps=st.lists(step.filter(lambda step: step[0] not in ("enable", "disable")), max_size=30),
)
def test_a_close_loses_nothing(bottom: str, layers: list[Any], steps: list[tuple[Any, ...]]) -> None:
    """Whatever is on its way when one end closes: the other gets it all, then EOF, and nothing after that. That one writes
    nothing itself: a socket that is closed with bytes unread resets the connection.
    """
    with ev.EventBase() as base:
        stack = Stack(base, bottom, layers, True)
        stack.tops[1].enable()
        for name, number, *arguments in steps:
            if number == 0 or name in ("read", "read_buffer", "loop"):
                stack.do(name, number, *arguments)
        for bev in stack.levels[0]:
            bev.set_watermark(READ | WRITE)
        stack.tops[0].close(timeout=60)
        until = time.monotonic() + GIVE_UP
        while not any(what & ev.What.EOF for number, what in stack.events if number == 1):
            assert time.monotonic() < until, (len(stack.got[1]), stack.written, stack.levels)
            base.loop(ev.LoopFlag.NONBLOCK)
        stack.do("read", 1, -1)
        assert stack.got[1] == stack.expected(1)
        ends = [what for number, what in stack.events if number == 1]
        assert ends[0] == ev.What.EOF | ev.What.READING
        assert not any(what & ev.What.EOF for what in ends[1:])
