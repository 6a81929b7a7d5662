"""More than one pass may read at once: what a poll found beyond that is read by later passes, without another poll."""

from __future__ import annotations

import random
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

import pylibevent as ev

READ = ev.EventFlag.READ
MANY = 9
SIZE = 150_000
"""Two of them are more than a pass reads."""
CROWD = 400
"""More than a pass hands over."""


class Crowd:
    """Connections, all of which have something to read before the loop runs, and what each callback got."""

    def __init__(self, base: ev.EventBase, stack: ExitStack, rng: random.Random) -> None:
        self.base = base
        self.got: list[tuple[int, bytes]] = []
        self.sent: list[bytes] = []
        self.bevs: list[ev.SocketBufferEvent] = []
        self.peers: list[socket.socket] = []
        self.first: Callable[[int], object] = lambda number: None
        for number in range(MANY):
            here, there = socket.socketpair()
            stack.enter_context(there)
            there.setblocking(False)
            data = rng.randbytes(SIZE)
            self.sent.append(data[: there.send(data)])
            bev = stack.enter_context(ev.SocketBufferEvent(base, here))
            bev.set_callbacks(read=lambda bev, number=number: self.on_read(number))  # type: ignore[misc]
            bev.enable(READ)
            self.bevs.append(bev)
            self.peers.append(there)

    def on_read(self, number: int) -> None:
        self.got.append((number, self.bevs[number].read()))
        if len(self.got) == 1:
            self.first(number)
        if self.is_all(range(MANY)):
            self.base.loopexit()

    def is_all(self, numbers: object) -> bool:
        return all(self.of(number) == self.sent[number] for number in numbers)  # type: ignore[attr-defined]

    def of(self, number: int) -> bytes:
        return b"".join(data for who, data in self.got if who == number)


@pytest.fixture
def crowd(base: ev.EventBase, rng: random.Random) -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(base, stack, rng)


def test_all_get_all_of_it(crowd: Crowd) -> None:
    crowd.base.dispatch()
    assert crowd.is_all(range(MANY))


def test_one_poll_serves_several_passes(rng: random.Random) -> None:
    with ev.EventBase(fast_io=True) as base, ExitStack() as stack:
        crowd = Crowd(base, stack, rng)
        base.dispatch()
        assert crowd.is_all(range(MANY))
        assert len(crowd.got) == MANY
        assert base.statistics.passes > base.statistics.polls


def test_one_poll_serves_more_sockets_than_python_takes_at_a_time() -> None:
    """Or each pass would find all the others again, which makes a crowd's messages dearer the more there are."""
    with ev.EventBase(fast_io=True) as base, ExitStack() as stack:
        peers, left = [], [0]

        def on_read(bev: ev.BufferEvent) -> None:
            left[0] -= len(bev.read())
            if left[0] == 0:
                base.loopexit()

        for _ in range(CROWD):
            here, there = socket.socketpair()
            peers.append(stack.enter_context(there))
            bev = stack.enter_context(ev.SocketBufferEvent(base, here))
            bev.set_callbacks(read=on_read)
            bev.enable(READ)
        for _ in range(8):  # a poll finds more each time, up to 4096
            left[0] = CROWD
            for peer in peers:
                peer.send(b"x")
            before = base.statistics
            base.dispatch()
            after = base.statistics
        assert (after.polls - before.polls, after.passes - before.passes) in [(1, 2), (2, 3)]


def test_those_that_are_closed_meanwhile_get_nothing(crowd: Crowd) -> None:
    def close_the_others(number: int) -> None:
        for other, bev in enumerate(crowd.bevs):
            if other != number:
                bev.close()
        crowd.base.loopexit(0.05)

    crowd.first = close_the_others
    crowd.base.dispatch()
    assert {number for number, _ in crowd.got} == {crowd.got[0][0]}


@pytest.mark.parametrize("timers", [0, 1], ids=["nothing but reads", "beside a timer"])
def test_those_that_are_closed_when_an_earlier_one_is_collected_get_nothing(base: ev.EventBase, timers: int) -> None:
    """Between two calls the loop lets go of what it has called."""
    called: list[str] = []
    kept: list[ev.SocketBufferEvent] = []
    bevs = []
    for name in ("first", "second"):
        here, there = socket.socketpair()
        with there:
            there.send(b"x")
        bevs.append(ev.SocketBufferEvent(base, here))
        bevs[-1].enable(READ)

        def on_read(bev: ev.BufferEvent, name: str = name) -> None:
            called.append(name)
            bev.abort()
            kept.pop(0)

        bevs[-1].set_callbacks(read=on_read)
    for _ in range(timers):
        base.timer(0, lambda event, what: None)
    kept += bevs
    finalizer = weakref.finalize(bevs[0], bevs[1].abort)
    bevs.clear()
    base.loop(ev.LoopFlag.NONBLOCK)
    assert (called, finalizer.alive) == (["first"], False)


def test_those_that_are_disabled_meanwhile_get_it_later(crowd: Crowd) -> None:
    def disable_the_others(number: int) -> None:
        for other, bev in enumerate(crowd.bevs):
            if other != number:
                bev.disable(READ)
        crowd.base.timer(0.05, lambda event, what: [bev.enable(READ) for bev in crowd.bevs])
        seen.append(number)

    seen: list[int] = []
    crowd.first = disable_the_others
    crowd.base.loop(ev.LoopFlag.ONCE)
    assert {number for number, _ in crowd.got} == set(seen)
    crowd.base.dispatch()
    assert crowd.is_all(range(MANY))


@pytest.mark.parametrize("flags", [ev.LoopFlag(0), ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK])
def test_a_loop_that_is_left_meanwhile_goes_on(crowd: Crowd, flags: ev.LoopFlag) -> None:
    crowd.first = lambda number: crowd.base.loopbreak()
    crowd.base.dispatch()
    assert len(crowd.got) == 1
    for _ in range(1000):
        crowd.base.loop(flags)
        if crowd.is_all(range(MANY)):
            break
    assert crowd.is_all(range(MANY))


def test_ends_come_after_what_was_sent(crowd: Crowd) -> None:
    ended: list[int] = []
    for number, (bev, peer) in enumerate(zip(crowd.bevs, crowd.peers, strict=True)):
        bev.set_callbacks(
            read=lambda bev, number=number: crowd.got.append((number, bev.read())),  # type: ignore[misc]
            event=lambda bev, what, number=number: ended.append(number),  # type: ignore[misc]
        )
        peer.close()
    while len(ended) < MANY:
        crowd.base.loop(ev.LoopFlag.ONCE) if len(ended) % 2 else crowd.base.loop(ev.LoopFlag.NONBLOCK)
    assert crowd.is_all(range(MANY))
    assert sorted(ended) == list(range(MANY))


def test_a_relay_among_them_goes_on(crowd: Crowd) -> None:
    crowd.bevs[4].relay(crowd.bevs[4])
    back = bytearray()

    def look(event: ev.Event, what: ev.EventFlag) -> None:
        with suppress(BlockingIOError):
            back.extend(crowd.peers[4].recv(SIZE))
        if len(back) == len(crowd.sent[4]) and crowd.is_all(set(range(MANY)) - {4}):
            crowd.base.loopexit()

    with crowd.base.timer(0.001, look, persist=True):
        crowd.base.dispatch()
    assert back == crowd.sent[4]
