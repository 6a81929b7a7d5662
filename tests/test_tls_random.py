"""Any sequence of steps on every layer of any stack that has TLS in it: each byte comes once, in order, and then the end."""

from __future__ import annotations

import time
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from test_layers_random import FLUSH, GIVE_UP, READ, WRITE, Stack, layer, step
from tls_stacks import Contexts

import pylibevent as ev

quietly = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
stacks = st.lists(st.one_of(layer, st.just("tls")), min_size=1, max_size=3).filter(lambda layers: "tls" in layers)
bottoms = st.sampled_from(["socket", "pair"])


@pytest.fixture(scope="module")
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


class SecureStack(Stack):
    """Some of its layers are TLS."""

    def __init__(self, contexts: Contexts, direct: bool, *rest: Any) -> None:
        self.contexts, self.direct = contexts, direct
        super().__init__(*rest)

    def put(self, levels: list[list[ev.BufferEvent]], kind: Any) -> None:
        if kind != "tls":
            super().put(levels, kind)
            return
        direct = self.direct and isinstance(levels[0][-1], ev.SocketBufferEvent)
        server = levels[0][-1].start_tls(self.contexts[0], True, direct=direct)
        client = levels[1][-1].start_tls(self.contexts[1], False, "server.test", direct=direct)
        if direct:
            levels[0].clear()
            levels[1].clear()
        levels[0].append(server)
        levels[1].append(client)

    def push(self) -> None:
        """What filters below TLS hold back comes out."""
        for levels in self.levels:
            for bev in reversed(levels):
                bev.flush(READ | WRITE, FLUSH)

    def finish(self) -> None:
        for levels in self.levels:
            for bev in levels:
                bev.set_watermark(READ | WRITE)
                bev.enable()
        until = time.monotonic() + GIVE_UP
        while [len(got) for got in self.got] != self.written[::-1]:
            assert time.monotonic() < until, ([len(got) for got in self.got], self.written[::-1], self.levels)
            self.push()
            for number in (0, 1):
                self.do("read", number, -1)
            self.base.loop(ev.LoopFlag.NONBLOCK)


@quietly
@given(bottom=bottoms, layers=stacks, steps=st.lists(step, max_size=40), taking=st.booleans(), direct=st.booleans())
def test_every_byte_arrives_once_and_in_order(
    contexts: Contexts, bottom: str, layers: list[Any], steps: list[tuple[Any, ...]], taking: bool, direct: bool
) -> None:
    with ev.EventBase() as base:
        stack = SecureStack(contexts, direct, base, bottom, layers, taking)
        for name, *arguments in steps:
            stack.do(name, *arguments)
        stack.finish()
        assert {what for _, what in stack.events} <= {ev.What.CONNECTED}
        for number in (0, 1):
            assert stack.got[number] == stack.expected(number)


@quietly
@given(
    bottom=bottoms,
    layers=stacks,
    steps=st.lists(step.filter(lambda step: step[0] not in ("enable", "disable")), max_size=30),
    direct=st.booleans(),
)
def test_a_close_loses_nothing(
    contexts: Contexts, bottom: str, layers: list[Any], steps: list[tuple[Any, ...]], direct: bool
) -> None:
    with ev.EventBase() as base:
        stack = SecureStack(contexts, direct, base, bottom, layers, True)
        for levels in stack.levels:
            for bev in levels:
                bev.enable()
        until = time.monotonic() + GIVE_UP
        secure = [bev for levels in stack.levels for bev in levels if isinstance(bev, ev.TLSBufferEvent)]
        while any(bev.handshake_time is None for bev in secure):
            assert time.monotonic() < until, "the handshake"
            stack.push()
            base.loop(ev.LoopFlag.NONBLOCK)
        for name, number, *arguments in steps:
            if number == 0 or name in ("read", "read_buffer", "loop"):
                stack.do(name, number, *arguments)
        for levels in stack.levels:
            for bev in levels:
                bev.set_watermark(READ | WRITE)
        stack.tops[0].close(timeout=60)
        while not any(what & ev.What.EOF for number, what in stack.events if number == 1):
            assert time.monotonic() < until, (len(stack.got[1]), stack.written, stack.levels)
            for bev in reversed(stack.levels[1]):
                bev.flush(READ, FLUSH)
            base.loop(ev.LoopFlag.NONBLOCK)
        stack.do("read", 1, -1)
        assert stack.got[1] == stack.expected(1)
        ends = [what for number, what in stack.events if number == 1 and what != ev.What.CONNECTED]
        assert ends == [ev.What.EOF | ev.What.READING]
