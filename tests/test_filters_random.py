"""Stacks of ready-made filters over bufferevents, 1 to 4 deep: whatever is done, every byte arrives once and in order."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import run_until

import pylibevent as ev
from pylibevent.filters import LengthPrefix, gzip_filter, length_prefix_filter, zlib_filter, zstd_filter

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
FORMAT = LengthPrefix(2)
LONGEST = 3000


def framing() -> Any:
    return length_prefix_filter(FORMAT)


def nothing() -> Any:
    return None, None


def compressing(make: Any) -> Any:
    return lambda: make(max_ratio=None)


COMPRESSING = [compressing(make) for make in (zlib_filter, gzip_filter, zstd_filter)]


class Line:
    """Two stacks that are connected at the bottom; the one writes messages, the other takes what it likes when it likes."""

    def __init__(self, base: ev.EventBase, carrier: str, layers: list[Any], chance: random.Random) -> None:
        self.base = base
        self.chance = chance
        self.layers = layers
        if carrier == "pair":
            ends: Any = ev.PairBufferEvent.new(base)
        else:
            ends = [ev.SocketBufferEvent(base, sock) for sock in socket.socketpair()]
        self.stacks: list[list[ev.BufferEvent]] = [[end] for end in ends]
        for layer in layers:
            for stack in self.stacks:
                stack.append(ev.FilterBufferEvent(stack[-1], *layer()))
        self.sender, self.receiver = (stack[-1] for stack in self.stacks)
        self.receiver.set_callbacks(read=self.on_read, event=self.on_event)
        self.receiver.enable(READ)
        self.sent, self.got = bytearray(), bytearray()
        self.lazy = False
        self.what = ev.What(0)

    def on_read(self, bev: ev.BufferEvent) -> None:
        if not self.lazy:
            self.take(self.chance.choice([50, 1000, LONGEST, -1, -1]))

    def take(self, size: int) -> None:
        self.got += self.receiver.read(size)
        assert self.sent.startswith(self.got)

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        assert not what & ev.What.ERROR, bev.error
        self.what |= what

    # ------------------------------------------------------------ what may be done at any time

    def write(self) -> None:
        n = self.chance.choice([0, 1, 100, LONGEST])
        message = FORMAT.pack(self.chance.choice([self.chance.randbytes(n), bytes(n)]))
        for _ in range(self.chance.choice([1, 1, 30])):
            self.sent += message
            self.sender.write(message)

    def flush(self) -> None:
        self.sender.flush(WRITE, self.chance.choice([ev.FlushMode.NORMAL, ev.FlushMode.FLUSH]))

    def flush_the_receiver(self) -> None:
        self.receiver.flush(READ, self.chance.choice([ev.FlushMode.NORMAL, ev.FlushMode.FLUSH]))

    def mark(self) -> None:
        level = self.chance.randrange(len(self.layers) + 1)
        stack = self.chance.choice(self.stacks)
        least = 50
        if level and self.layers[level - 1] is framing:
            least = LONGEST + 2
        high = self.chance.choice([0, least, least + 99, 100_000])
        if stack is self.stacks[1]:
            stack[level].set_watermark(READ, 0, high)
        else:
            stack[level].set_watermark(WRITE, 0, high)

    def pause(self) -> None:
        self.receiver.disable(READ)

    def go_on(self) -> None:
        self.receiver.enable(READ)

    def hold(self) -> None:
        self.sender.disable(WRITE)

    def let_go(self) -> None:
        self.sender.enable(WRITE)

    def idle(self) -> None:
        self.lazy = not self.lazy

    def read(self) -> None:
        self.take(self.chance.choice([0, 1, 1000, -1]))

    def run(self) -> None:
        self.base.loop(ev.LoopFlag.NONBLOCK)

    def finish(self) -> None:
        """From now on only what the loop does by itself, and a reader who takes what is there."""
        self.lazy = False
        self.sender.enable(WRITE)
        self.receiver.enable(READ)
        self.sender.close()
        while not self.what:
            self.take(-1)
            run_until(self.base, lambda: self.receiver.input or self.what)
        self.take(-1)
        assert self.got == self.sent
        assert self.what == ev.What.READING | ev.What.EOF


STEPS = [
    "write",
    "write",
    "flush",
    "flush_the_receiver",
    "mark",
    "pause",
    "go_on",
    "hold",
    "let_go",
    "idle",
    "read",
    "run",
    "run",
]


@pytest.mark.parametrize("carrier", ["socket", "pair"])
@settings(max_examples=60)
@given(
    layers=st.tuples(
        st.lists(st.sampled_from([*COMPRESSING, nothing]), min_size=1, max_size=3), st.sampled_from([[], [framing]])
    ).map(lambda parts: [*parts[0], *parts[1]]),
    steps=st.lists(st.sampled_from(STEPS), max_size=40),
    seed=st.integers(0, 2**32),
)
def test_any_sequence_on_any_stack(carrier: str, layers: list[Any], steps: list[str], seed: int) -> None:
    with ev.EventBase() as base:
        line = Line(base, carrier, layers, random.Random(seed))
        try:
            for step in steps:
                getattr(line, step)()
            line.finish()
        finally:
            line.sender.close(timeout=0)
            line.receiver.close(timeout=0)
