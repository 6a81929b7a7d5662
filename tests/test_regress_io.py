"""Reading and writing over every back end, step by step as upstream does it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import TICK, each_back_end, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
READ, WRITE, TIMEOUT, PERSIST = ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.TIMEOUT, ev.EventFlag.PERSIST
ONCE, NONBLOCK = ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK
TEST1 = b"this is a test\0"
Pair = tuple[socket.socket, socket.socket]
Callback = Callable[[ev.Event, ev.EventFlag], object]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket_pair() as both:
        yield both


def test_read_and_then_the_end(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/simpleread: 15 bytes and the end; the reader adds itself again, and then reads the end."""
    got: list[bytes] = []

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        assert what == READ
        got.append(pair[1].recv(256))
        if len(got) == 1:
            event.add()

    assert pair[0].send(TEST1) == 15
    pair[0].shutdown(socket.SHUT_WR)
    any_base.event(pair[1], READ, on_read).add()
    assert any_base.dispatch() is True
    assert got == [TEST1, b""]


def pour(base: ev.EventBase, pair: Pair, flags: ev.EventFlag) -> list[int]:
    """4096 bytes in writes of 128, and an end, both of which the other end must read. Returns the sizes written."""
    data = bytes(i & 0xFF for i in range(4096))
    written: list[int] = []
    got: list[bytes] = []

    def on_write(event: ev.Event, what: ev.EventFlag) -> None:
        assert what == WRITE
        start = sum(written)
        written.append(pair[0].send(data[start : start + 128]))
        if sum(written) >= len(data):
            pair[0].shutdown(socket.SHUT_WR)
            if flags & PERSIST:
                event.delete()
        elif not flags & PERSIST:
            event.add()

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        assert what == READ
        chunk = pair[1].recv(4096)
        got.append(chunk)
        if not chunk:
            if flags & PERSIST:
                event.delete()
        elif not flags & PERSIST:
            event.add()

    base.event(pair[0], WRITE | flags, on_write).add()
    base.event(pair[1], READ | flags, on_read).add()
    assert base.dispatch() is True
    assert b"".join(got) == data
    assert got[-1] == b""
    return written


def test_128_bytes_at_a_time(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/multiple: 4096 bytes in 32 writes, each event added again by its callback."""
    assert pour(any_base, pair, NOTHING) == [128] * 32


def test_128_bytes_at_a_time_with_persistent_events(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/persistent: 4096 bytes in 32 writes, each event deleted by its callback at the end."""
    assert pour(any_base, pair, PERSIST) == [128] * 32


def test_readers_and_writers_of_both_ends(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/combined: 4096 bytes one way and 8192 the other, 128 at a time; the loop ends with the second end."""
    left, read = [4096, 8192], [0, 0]

    def reader(side: int) -> Callback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            assert what == READ
            chunk = pair[side].recv(128)
            assert chunk in (b"", b"q" * 128)
            read[side] += len(chunk)
            if chunk:
                event.add()

        return callback

    def writer(side: int) -> Callback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            assert what == WRITE
            size = min(128, left[side])
            if not size:
                pair[side].shutdown(socket.SHUT_WR)
                return
            assert pair[side].send(b"q" * size) == size
            left[side] -= size
            event.add()

        return callback

    for side in (0, 1):
        any_base.event(pair[side], READ, reader(side)).add()
        any_base.event(pair[side], WRITE, writer(side)).add()
    assert any_base.dispatch() is True
    assert (read, left) == ([8192, 4096], [0, 0])


def test_two_readers_that_add_each_other(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/nonpersist_readd: 5 bytes for each; both are called in one pass, and only the one called first is still
    added: the other had been called after it was added again.
    """
    called: list[ev.Event] = []

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        called.append(event)
        assert pair[event is second].recv(256) == b"Hello"
        (second if event is first else first).add()

    first, second = any_base.event(pair[0], READ, on_read), any_base.event(pair[1], READ, on_read)
    assert pair[0].send(b"Hello") == pair[1].send(b"Hello") == 5
    first.add()
    second.add()
    assert any_base.loop(ONCE) is False
    assert len(called) == 2
    assert set(called) == {first, second}
    assert called[0].pending(READ) == READ
    assert called[1].pending(READ) == NOTHING
    first.close()
    second.close()


def wanted_once(config: ev.EventConfig) -> None:
    """A reader that has 15 more bytes sent when it is called, for 300 ms."""
    with ev.EventBase(config) as base, socket_pair() as (one, other):
        got: list[bytes] = []

        def on_read(event: ev.Event, what: ev.EventFlag) -> None:
            got.append(other.recv(256))
            assert one.send(TEST1) == 15

        one.send(TEST1)
        start = time.monotonic()
        base.loopexit(0.3)
        base.event(other, READ, on_read).add()
        base.dispatch()
        assert time.monotonic() - start >= 0.3 - TICK
        assert got == [TEST1]
        assert other.recv(256) == TEST1


def test_wanted_once_though_there_is_more() -> None:
    """regress.c main/want_only_once: it is called once in 300 ms. All back ends wait side by side."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(wanted_once, each_back_end()))


def test_which_of_three_are_pending(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/event_pending: a reader that is added, a writer that isn't, and a timer of 500 ms."""
    reader = any_base.event(pair[0], READ, print)
    writer = any_base.event(pair[1], WRITE, print)
    timer = any_base.event(-1, NOTHING, print)
    before = time.time()
    reader.add()
    timer.add(0.5)
    after = time.time()
    assert reader.pending(READ) == READ
    assert writer.pending(WRITE) == NOTHING
    assert reader.pending(WRITE) == NOTHING
    assert reader.pending(READ | WRITE) == READ
    assert reader.pending(TIMEOUT) == NOTHING
    assert timer.pending(TIMEOUT) == TIMEOUT
    assert timer.expires is not None
    assert before + 0.45 <= timer.expires <= after + 0.55
    for event in (reader, writer, timer):
        event.delete()
        event.close()


def test_a_descriptor_closed_under_poll() -> None:
    """regress.c main/event_closed_fd_poll: a reader with 500 ms; its descriptor is closed: READ, and at once."""
    with ev.EventBase(ev.EventConfig(avoid=["epoll", "select"])) as base:
        assert base.method == "poll"
        base.call_soon(base.update_now)
        base.loop(ONCE)  # the first one in the main thread opens descriptors, which could get the number of the closed one
        one, other = socket.socketpair()
        seen: list[ev.EventFlag] = []
        event = base.event(one.fileno(), READ, lambda event, what: seen.append(what))
        event.add(0.5)
        assert event.pending(READ) == READ
        one.close()
        base.loop(ONCE)
        assert seen == [READ]
        event.close()
        other.close()


def test_a_duplicate_that_is_closed_and_comes_back(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/dup_fd: the duplicate is closed before its event is deleted; a new one of the same number is a writer, and
    epoll, which knows it still, says EEXIST.
    """
    seen: dict[str, ev.EventFlag] = {}

    def note(name: str) -> Callback:
        return lambda event, what: seen.update({name: what})

    assert pair[0].send(b"Hello world") == 11
    duplicate = os.dup(pair[1].fileno())
    first = any_base.event(pair[1], READ | PERSIST, note("first"))
    second = any_base.event(duplicate, READ | PERSIST, note("second"))
    first.add()
    second.add()
    any_base.loop(ONCE)
    assert seen == {"first": READ, "second": READ}

    os.close(duplicate)
    second.delete()
    seen.clear()
    any_base.loop(ONCE)
    assert seen == {"first": READ}

    assert os.dup2(pair[1].fileno(), duplicate) == duplicate
    try:
        second.close()
        second = any_base.event(duplicate, WRITE | PERSIST, note("second"))
        second.add()
        seen.clear()
        any_base.loop(ONCE)
        assert seen == {"first": READ, "second": WRITE}
        first.close()
        second.close()
    finally:
        os.close(duplicate)


@pytest.fixture
def writable() -> Iterator[list[socket.socket]]:
    """70 sockets that can be written to at once."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(70)]
    for sock in sockets:
        sock.setblocking(False)
    yield sockets
    for sock in sockets:
        sock.close()


def test_70_at_once(any_base: ev.EventBase, writable: list[socket.socket]) -> None:
    """regress.c main/many_events: 70 writers, added together and ready together: each is called once.

    C's loop(NONBLOCK) goes on as long as something is active; here it is one pass.
    """
    called = [0] * 70

    def count(i: int) -> Callback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            assert what == WRITE
            called[i] += 1

        return callback

    events = [any_base.event(sock, WRITE, count(i)) for i, sock in enumerate(writable)]
    for event in events:
        event.add()
    assert any_base.num_events == 70
    passes = 0
    while not any_base.loop(NONBLOCK):
        passes += 1
        assert passes <= 3  # epoll asks for 32 at first
    assert called == [1] * 70
    assert any_base.num_events == 0


def test_70_one_by_one(any_base: ev.EventBase, writable: list[socket.socket]) -> None:
    """regress.c main/many_events_slow_add: 70 persistent writers, and a pass after each is added: none is left out of any."""
    called = [0] * 70

    def count(i: int) -> Callback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            called[i] += 1

        return callback

    events = []
    for i, sock in enumerate(writable):
        events.append(any_base.event(sock, WRITE | PERSIST, count(i)))
        events[i].add()
        assert any_base.loop(NONBLOCK | ONCE) is False
    assert any_base.loop(NONBLOCK | ONCE) is False
    assert called == [70 - i + 1 for i in range(70)]
    for event in events:
        event.close()
