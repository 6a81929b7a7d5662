"""TLS whose layers are freed in any callback, at any moment of the handshake and after it, in any order."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
from typing import Any

import pytest
from support import run_until

import pylibevent as ev

ENOUGH, MOST = 5, 200
"""How often something is freed, and how many attempts there are at most: some moments come seldom."""

FLIP = bytes(byte ^ 0x55 for byte in range(256))
BELOW = ["socket", "pair", "filter", "tls", "direct", "tls filter"]
TIMES = ["sni", "verify", "session", "read", "write", "event", "between passes"]


def flip(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    data = source.read(-1 if limit is None else limit)
    destination.write(data.translate(FLIP))
    return ev.FilterResult.OK if data else ev.FilterResult.NEED_MORE


class Stack:
    """Layers of both ends, and somebody who frees some of them, in random order, at the n-th call of one kind."""

    def __init__(self, base: ev.EventBase, certificates: Any, rng: random.Random, below: str, when: str) -> None:
        self.base, self.rng, self.when = base, rng, when
        self.left = 0 if when == "sni" else rng.randrange(4)  # a connection is asked for its name once
        self.freed = False
        self.options = rng.choice([ev.Option(0), ev.Option.CLOSE_ON_FREE, ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE])
        self.server = ev.TLSContext.server(certificates.cert, certificates.key)
        self.client = ev.TLSContext.client(certificates.ca)
        self.client.maximum_version = rng.choice([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
        self.server.sni_callback = lambda bev, name, ctx: self.called("sni")
        self.client.verify_callback = self.on_verify
        for ctx in (self.server, self.client):
            ctx.on_new_session = lambda bev, session: self.called("session")
        self.socks: list[socket.socket] = []
        self.layers = self.bottom(below)
        for kind in below.split():
            self.put(kind)
        self.put("direct" if below == "direct" else "tls")
        for levels in self.layers:
            levels[-1].set_callbacks(self.on_read, self.on_write, self.on_event)
            levels[-1].enable()
            levels[-1].write(b"x" * rng.choice([1, 1000, 100_000]))

    def bottom(self, below: str) -> tuple[list[ev.BufferEvent], list[ev.BufferEvent]]:
        if below == "pair":
            pair = ev.PairBufferEvent.new(self.base, options=self.options)
            return [pair[0]], [pair[1]]
        self.socks = list(socket.socketpair())
        one, other = (ev.SocketBufferEvent(self.base, sock, self.options) for sock in self.socks)
        return [one], [other]

    def put(self, kind: str) -> None:
        if kind in ("socket", "pair") or (kind == "direct" and isinstance(self.layers[0][-1], ev.TLSBufferEvent)):
            return
        for levels, ctx in zip(self.layers, (self.server, self.client), strict=True):
            below = levels[-1]
            if kind == "filter":
                levels.append(ev.FilterBufferEvent(below, flip, flip, options=self.options))
                continue
            name = "server.test" if ctx is self.client else None
            bev = ev.TLSBufferEvent.wrap(below, ctx, ctx is self.server, name, options=self.options, direct=kind == "direct")
            levels.append(bev)

    def on_verify(self, bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> bool:
        self.called("verify")
        return step.ok

    def on_read(self, bev: ev.BufferEvent) -> None:
        if not bev.closed:
            bev.read()
        self.called("read")

    def on_write(self, bev: ev.BufferEvent) -> None:
        self.called("write")

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.called("event")

    def called(self, kind: str) -> None:
        if kind != self.when:
            return
        if self.left == 0:
            self.free()
        self.left -= 1

    def free(self) -> None:
        """Some of the layers, or all; those that carry another refuse."""
        self.freed = True
        every = [bev for levels in self.layers for bev in levels]
        for bev in self.rng.sample(every, self.rng.randint(1, len(every))):
            how = self.rng.choice(["close", "abort", "drop"])
            with contextlib.suppress(RuntimeError):
                if how != "drop":
                    getattr(bev, how)()

    def end(self) -> None:
        for levels in self.layers:
            for bev in reversed(levels):
                with contextlib.suppress(RuntimeError):
                    bev.abort()
        for _ in range(5):
            self.base.loop(ev.LoopFlag.NONBLOCK)
        open_ones = [bev for levels in self.layers for bev in levels if not bev.closed]
        assert not open_ones, (open_ones, self.layers, self.options)
        for sock in self.socks:
            sock.close()


@pytest.mark.parametrize("below", BELOW)
@pytest.mark.parametrize("when", TIMES)
def test_freed(certificates: Any, rng: random.Random, below: str, when: str) -> None:
    freed = attempts = 0
    while freed < ENOUGH:
        attempts += 1
        assert attempts <= MOST
        with ev.EventBase() as base:
            stack = Stack(base, certificates, rng, below, when)
            for turn in range(rng.randrange(3, 40)):
                base.loop(ev.LoopFlag.NONBLOCK)
                if when == "between passes" and turn == stack.left * 2:
                    stack.free()
            stack.end()
            freed += stack.freed


def test_those_that_stay_go_on(base: ev.EventBase, certificates: Any) -> None:
    """In the callbacks of one connection others are freed; those that aren't have their handshake, and all their bytes."""
    server, client = ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)
    ends: list[ev.TLSBufferEvent] = []
    got = [0] * 20

    def on_read(n: int, bev: ev.BufferEvent) -> None:
        got[n] += len(bev.read())
        if n + 1 < len(ends) and not n % 4:
            ends[n + 1].abort()  # a client

    for n in range(10):
        one, other = socket.socketpair()
        ends.append(ev.TLSBufferEvent.accept(base, one, server, direct=bool(n % 2)))
        below = ev.SocketBufferEvent(base, other)
        ends.append(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", direct=bool(n % 3)))
    for n, bev in enumerate(ends):
        bev.set_callbacks(lambda bev, n=n: on_read(n, bev))
        bev.enable()
        bev.write(b"x" * 50_000)
    kept = [n for n in range(20) if n % 4 > 1]
    run_until(base, lambda: all(got[n] == 50_000 for n in kept))
    for bev in ends:
        bev.abort()
