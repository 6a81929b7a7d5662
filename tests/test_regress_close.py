"""What is heard of an end that closes or shuts down, step by step as upstream does it."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from support import TICK, each_back_end, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
READ, WRITE, CLOSED = ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.CLOSED
PERSIST, ET, TIMEOUT = ev.EventFlag.PERSIST, ev.EventFlag.ET, ev.EventFlag.TIMEOUT
NONBLOCK = ev.LoopFlag.NONBLOCK
TEST = b"test string\0"
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket_pair() as both:
        yield both


def closed_far_away(config: ev.EventConfig) -> None:
    """Two pairs, one of them full; the far ends are closed after 100 ms, and the loop ends after 200."""
    with ev.EventBase(config) as base, socket_pair() as (to_reader, reading), socket_pair() as (to_writer, writing):
        with suppress(BlockingIOError):
            while True:
                writing.send(b"c" * 1024)
        closed = False
        seen: list[tuple[str, ev.EventFlag, bool]] = []

        def close(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal closed
            closed = True
            to_reader.close()
            to_writer.close()
            base.loopexit(0.1)

        start = time.monotonic()
        base.timer(0.1, close)
        base.event(reading, READ, lambda event, what: seen.append(("reader", what, closed))).add()
        base.event(writing, WRITE, lambda event, what: seen.append(("writer", what, closed))).add()
        base.loop()
        assert time.monotonic() - start >= 0.2 - 2 * TICK
        assert sorted(seen) == [("reader", READ, True), ("writer", WRITE, True)]


def test_closes_seen_by_a_reader_and_by_a_writer() -> None:
    """regress.c main/simpleclose_rw: a close is READ for one end, and for another, that was full, WRITE; neither comes before.

    All back ends wait side by side.
    """
    with ThreadPoolExecutor() as pool:
        list(pool.map(closed_far_away, each_back_end()))


@pytest.mark.parametrize("flags", [NOTHING, PERSIST, ET, PERSIST | ET], ids=["plain", "persist", "et", "persist_et"])
@pytest.mark.parametrize("how", ["close", "shutdown"])
@pytest.mark.parametrize("changelist", [ev.BaseFlag(0), ev.BaseFlag.EPOLL_USE_CHANGELIST], ids=["", "changelist"])
def test_an_early_close(pair: Pair, how: str, flags: ev.EventFlag, changelist: ev.BaseFlag) -> None:
    """regress.c main/simpleclose_close, main/simpleclose_shutdown, main/simpleclose_close_persist,
    main/simpleclose_shutdown_persist, main/simpleclose_close_et, main/simpleclose_shutdown_et,
    main/simpleclose_close_persist_et, main/simpleclose_shutdown_persist_et: the callback is told CLOSED, and ET if it is,
    nothing else; an event that persists keeps the loop from being done.
    """
    config = ev.EventConfig(features=ev.Feature.EARLY_CLOSE, flags=changelist)
    with ev.EventBase(config) as base:
        seen: list[ev.EventFlag] = []
        event = base.event(pair[0], CLOSED | flags, lambda event, what: seen.append(what))
        event.add()
        if how == "close":
            pair[1].close()
        else:
            pair[1].shutdown(socket.SHUT_WR)
        base.loop(NONBLOCK)
        assert seen == [CLOSED | (flags & ET)]
        # C's NONBLOCK goes on as long as something is active; here it is one pass, so this is what the second finds
        assert base.loop(NONBLOCK) is not bool(flags & PERSIST)
        assert len(seen) == (2 if flags == PERSIST else 1)  # only edges, and events that are gone, are told once
        event.close()


def test_a_persistent_event_is_told_of_a_close_again_and_again(base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/simpleclose_close_persist, main/simpleclose_shutdown_persist: until 10 ms are over."""
    seen: list[ev.EventFlag] = []
    event = base.event(pair[0], CLOSED | PERSIST, lambda event, what: seen.append(what))
    event.add()
    pair[1].close()
    base.loopexit(0.01)
    assert base.dispatch() is False
    assert base.got_exit
    assert set(seen) == {CLOSED}
    event.close()


def test_a_read_event_at_the_end(any_base: ev.EventBase, pair: Pair) -> None:
    """test-eof.c: 12 bytes and the end, with a time of 60 s: it reads 12 bytes, and then nothing; it isn't timed out."""
    got: list[bytes] = []

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        assert what == READ
        got.append(pair[1].recv(256))
        if len(got) == 1:
            event.add(60)

    assert pair[0].send(TEST) == 12
    pair[0].shutdown(socket.SHUT_WR)
    any_base.event(pair[1], READ | TIMEOUT, on_read).add(60)
    start = time.monotonic()
    assert any_base.dispatch() is True
    assert time.monotonic() - start < 30
    assert got == [TEST, b""]


def test_a_write_event_after_the_reader_closed(any_base: ev.EventBase, pair: Pair) -> None:
    """test-weof.c: 12 bytes are written, the reader closes, the second write fails; the loop ends with it."""
    outcomes: list[int] = []

    def on_write(event: ev.Event, what: ev.EventFlag) -> None:
        assert what == WRITE
        try:
            outcomes.append(pair[1].send(TEST))
        except OSError as error:
            outcomes.append(-(error.errno or 0))
            return
        if len(outcomes) == 1:
            event.add()
        pair[0].close()

    any_base.event(pair[1], WRITE, on_write).add()
    assert any_base.dispatch() is True
    assert outcomes == [12, -errno.EPIPE]


def test_a_close_with_12_bytes_unread() -> None:
    """test-closed.c: 12 bytes and the end, with a time of 3 s: CLOSED, before anything is read, and no timeout."""
    config = ev.EventConfig(features=ev.Feature.EARLY_CLOSE)
    with ev.EventBase(config) as base, socket_pair() as (one, other):
        seen: list[ev.EventFlag] = []
        assert one.send(TEST) == 12
        one.shutdown(socket.SHUT_WR)
        base.event(other, CLOSED | TIMEOUT, lambda event, what: seen.append(what)).add(3)
        assert base.dispatch() is True
        assert seen == [CLOSED]
        assert os.read(other.fileno(), 256) == TEST
