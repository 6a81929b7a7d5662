"""loop() with ONCE or NONBLOCK ends, though the next bytes are there as soon as the last were taken."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kinds import passes
from support import run_until
from test_ratelimit_bufferevent import Taker
from test_tls_wrap import tls_pair

import pylibevent as ev

ONCE, NONBLOCK = ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK
READ = ev.EventFlag.READ
CLOSE = ev.Option.CLOSE_ON_FREE
MANY = 20
PIECE = 60_000  # of so many connections: more than one pass gathers

Made = tuple[Any, Callable[[], object]]
"""A reader, and what gives it its next bytes."""


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def base(request: pytest.FixtureRequest) -> Iterator[ev.EventBase]:
    with ev.EventBase(fast_io=request.param) as base:
        yield base


class Flood:
    """Readers whose read callbacks see to it that there is more to read."""

    def __init__(self, base: ev.EventBase) -> None:
        self.base = base
        self.calls = 0
        self.opened: list[Any] = []

    def add(self, reader: Any, refill: Callable[[], object]) -> None:
        def on_read(bev: ev.BufferEvent) -> None:
            self.calls += 1
            bev.read()
            refill()

        reader.set_callbacks(read=on_read)
        reader.enable()
        refill()
        self.opened.append(reader)

    def close(self) -> None:
        for thing in reversed(self.opened):
            (thing.abort if hasattr(thing, "abort") else thing.close)()


def sockets(base: ev.EventBase, flood: Flood) -> tuple[Any, socket.socket]:
    one, other = socket.socketpair()
    other.setblocking(False)
    flood.opened.append(other)
    return one, other


def refilling(sock: socket.socket, data: bytes = b"x" * PIECE) -> Callable[[], object]:
    def refill() -> None:
        with contextlib.suppress(BlockingIOError):
            sock.send(data)

    return refill


def plain(base: ev.EventBase, flood: Flood, contexts: Any) -> Made:
    one, other = sockets(base, flood)
    return ev.SocketBufferEvent(base, one), refilling(other)


def deferred(base: ev.EventBase, flood: Flood, contexts: Any) -> Made:
    one, other = sockets(base, flood)
    return ev.SocketBufferEvent(base, one, CLOSE | ev.Option.DEFER_CALLBACKS), refilling(other)


def locked(base: ev.EventBase, flood: Flood, contexts: Any) -> Made:
    one, other = sockets(base, flood)
    return ev.SocketBufferEvent(base, one, CLOSE | ev.Option.THREADSAFE), refilling(other)


def filtered(base: ev.EventBase, flood: Flood, contexts: Any) -> Made:
    one, other = sockets(base, flood)
    return ev.FilterBufferEvent(ev.SocketBufferEvent(base, one), passes, passes, options=CLOSE), refilling(other)


def pair(base: ev.EventBase, flood: Flood, contexts: Any) -> Made:
    one, other = ev.PairBufferEvent.new(base)
    flood.opened.append(other)
    return one, lambda: other.write(b"x" * PIECE)


def both_ends(base: ev.EventBase, flood: Flood, contexts: Any) -> Made:
    """The sender is a bufferevent too."""
    one, other = socket.socketpair()
    sender = ev.SocketBufferEvent(base, other)
    flood.opened.append(sender)
    return ev.SocketBufferEvent(base, one), lambda: sender.output.write(b"x" * PIECE)


def tls(base: ev.EventBase, flood: Flood, contexts: Any) -> Made:
    server, client = tls_pair(base, contexts)
    flood.opened.append(client)
    return server, lambda: client.write(b"x" * PIECE)


KINDS = [plain, deferred, locked, filtered, pair, both_ends, tls]


@pytest.fixture
def contexts(certificates: Any) -> tuple[ev.TLSContext, ev.TLSContext]:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


@pytest.mark.parametrize("flags", [ONCE, NONBLOCK, ONCE | NONBLOCK])
@pytest.mark.parametrize("kind", KINDS)
def test_fast_senders(base: ev.EventBase, contexts: Any, kind: Any, flags: ev.LoopFlag) -> None:
    flood = Flood(base)
    for _ in range(MANY):
        flood.add(*kind(base, flood, contexts))
    run_until(base, lambda: flood.calls > MANY)
    for _ in range(10):
        before = flood.calls
        base.loop(flags)
        assert flood.calls - before <= 4 * MANY
    for _ in range(100):
        base.loop(ONCE)
    assert flood.calls - before > 2 * MANY
    flood.close()


def test_each_gets_its_turn(base: ev.EventBase, contexts: Any) -> None:
    """All that the poll found, though that takes several passes, and nobody twice."""
    calls = [0] * 300
    flood = Flood(base)
    for n in range(300):
        reader, refill = plain(base, flood, contexts)

        def on_read(bev: ev.BufferEvent, n: int = n, refill: Callable[[], object] = refill) -> None:
            calls[n] += 1
            bev.read()
            refill()

        flood.opened.append(reader)
        reader.set_callbacks(read=on_read)
        reader.enable(READ)
        refill()
    run_until(base, lambda: all(calls))  # epoll shows more at a time when there were many
    for _ in range(20):
        base.loop(ONCE)
    for _ in range(3):
        before = calls.copy()
        base.loop(ONCE)
        assert calls == [n + 1 for n in before]
    assert base.statistics.cut_short > 0
    flood.close()


@pytest.mark.parametrize("priorities", [2, 3])
def test_with_priorities(priorities: int, contexts: Any) -> None:
    with ev.EventBase(priorities=priorities) as base:
        for level in range(priorities):
            flood = Flood(base)
            for _ in range(MANY):
                reader, refill = plain(base, flood, contexts)
                reader.priority = level
                flood.add(reader, refill)
            for _ in range(10):
                before = flood.calls
                base.loop(ONCE)
                assert MANY <= flood.calls - before <= 2 * MANY
            flood.close()


@pytest.mark.parametrize("kind", [plain, deferred, locked, filtered, tls])
def test_a_relay_that_is_never_idle(base: ev.EventBase, contexts: Any, kind: Any) -> None:
    """Python is not called, and loop(ONCE) returns all the same."""
    flood = Flood(base)
    one, other = socket.socketpair()
    left, right = kind(base, flood, contexts)[0], ev.SocketBufferEvent(base, one)
    if kind is tls:
        peer = flood.opened[-1]
        taker = Taker().watch(peer)
        received = lambda: len(taker.data)  # noqa: E731
    else:
        sock = flood.opened[-1]
        total = 0

        def received() -> int:
            nonlocal total
            with contextlib.suppress(BlockingIOError):
                while True:
                    total += len(sock.recv(1 << 20))

            return total

    relay = right.relay(left)
    refill = refilling(other)
    other.setblocking(False)
    for _ in range(300):
        refill()
        base.loop(ONCE)
        received()
    assert relay.sent > 300_000
    run_until(base, lambda: received() >= PIECE)
    relay.close()
    base.dispatch() if kind is not tls else base.loop(ONCE)
    other.close()
    flood.close()


def test_relays_in_a_ring(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    one.write(b"x" * 1000)
    relay = one.relay(other)
    for flags in (ONCE, NONBLOCK, ONCE | NONBLOCK):
        for _ in range(20):
            base.loop(flags)
    called: list[int] = []
    base.call_soon(called.append, 1)
    base.timer(0.01, lambda event, what: called.append(2))
    run_until(base, lambda: called == [1, 2])
    relay.close()
    base.dispatch()


def test_more_deferred_callbacks_than_libevent_takes_at_once(base: ev.EventBase, contexts: Any) -> None:
    flood = Flood(base)
    called: list[Any] = []
    refills = []
    for _ in range(100):
        reader, refill = deferred(base, flood, contexts)
        flood.opened.append(reader)
        refills.append(refill)
        reader.set_callbacks(read=lambda bev: called.append(bev.read()))
        reader.enable()
    for _ in range(5):
        called.clear()
        for refill in refills:
            refill()
        base.loop(ONCE)
    assert len(called) >= 100
    flood.close()


def test_what_callbacks_make_active_is_called(base: ev.EventBase) -> None:
    """As in C; and what is left, where that never ends, is the first thing in the next loop."""
    called: list[int] = []

    def on_event(event: ev.Event, what: ev.EventFlag) -> None:
        called.append(events.index(event))
        if called[-1]:
            events[called[-1] - 1].active()

    events = [base.event(-1, ev.EventFlag(0), on_event) for _ in range(3)]
    events[1].active()
    base.loop(ONCE)
    base.loop(NONBLOCK)
    assert called == [1, 0]
    again = base.event(-1, ev.EventFlag(0), lambda event, what: (called.append(9), event.active()))
    again.active()
    base.loop(ONCE)
    assert 9 in called
    before = len(called)
    base.loop(ONCE)
    assert len(called) > before
    for event in (*events, again):
        event.close()
