"""SocketBufferEvent between two sockets: bytes, marks, timeouts, triggers."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator

import pytest
from support import TICK, socket_pair

import pylibevent as ev

DATA = bytes(i % 256 for i in range(8333))
BYTES_UPSTREAM = 65_000


@pytest.fixture
def pair(base: ev.EventBase) -> Iterator[tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]]:
    """Two bufferevents on the ends of a socket pair that stay the pair's."""
    with socket_pair() as (one, other):
        first = ev.SocketBufferEvent(base, one, ev.Option(0))
        second = ev.SocketBufferEvent(base, other, ev.Option(0))
        yield first, second
        first.abort()
        second.abort()


Pair = tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]


def not_expected(bev: ev.BufferEvent, what: ev.What) -> None:
    raise AssertionError(f"{bev}: {what!r}")


def send_8333_bytes(base: ev.EventBase, pair: Pair, flush: ev.FlushMode | None) -> None:
    one, other = pair
    got: list[bytes] = []
    written: list[ev.BufferEvent] = []

    def on_read(bev: ev.BufferEvent) -> None:
        if len(bev.input) == len(DATA):
            taken = ev.Buffer()
            bev.read_buffer(taken)
            bev.disable(ev.EventFlag.READ)
            got.append(bytes(taken))

    def on_write(bev: ev.BufferEvent) -> None:
        if not bev.output:
            written.append(bev)

    one.set_callbacks(on_read, on_write, not_expected)
    other.set_callbacks(on_read, on_write, not_expected)
    assert one.underlying is None
    assert one.callbacks == (on_read, on_write, not_expected)
    one.disable(ev.EventFlag.READ)
    other.enable(ev.EventFlag.READ)
    assert one.enabled == ev.EventFlag.WRITE
    assert other.enabled == ev.EventFlag.READ | ev.EventFlag.WRITE
    one.write(DATA)
    if flush is not None:
        assert one.flush(ev.EventFlag.WRITE, flush) is False
    assert base.dispatch() is True
    assert got == [DATA]
    assert written == [one]


def test_bytes_arrive(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent: the loop ends by itself when all is sent and reading disabled."""
    send_8333_bytes(base, pair, None)


def test_flush_normal(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_flush_normal: a socket has nothing to flush."""
    send_8333_bytes(base, pair, ev.FlushMode.NORMAL)


def test_flush_flush(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_flush_flush"""
    send_8333_bytes(base, pair, ev.FlushMode.FLUSH)


def test_flush_finished(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_flush_finished: no end of the stream for sockets."""
    send_8333_bytes(base, pair, ev.FlushMode.FINISHED)


def test_watermarks(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_watermarks: 65000 bytes in portions of 10 to 20."""
    one, other = pair
    data = bytes(i % 256 for i in range(BYTES_UPSTREAM))
    got = bytearray()
    left: list[int] = []

    def on_read(bev: ev.BufferEvent) -> None:
        assert 10 <= len(bev.input) <= 20
        taken = ev.Buffer()
        bev.read_buffer(taken)
        got.extend(bytes(taken))
        if len(got) == len(data):
            bev.disable(ev.EventFlag.READ)

    one.set_callbacks(write=lambda bev: left.append(len(bev.output)), event=not_expected)
    other.set_callbacks(read=on_read, event=not_expected)
    one.disable(ev.EventFlag.READ)
    other.enable(ev.EventFlag.READ)
    assert one.watermark(ev.EventFlag.WRITE) == (0, 0)
    assert one.watermark(ev.EventFlag.READ) == (0, 0)
    assert other.watermark(ev.EventFlag.READ) == (0, 0)
    one.set_watermark(ev.EventFlag.WRITE, 100, 2000)
    other.set_watermark(ev.EventFlag.READ, 10, 20)
    assert one.watermark(ev.EventFlag.WRITE) == (100, 2000)
    assert other.watermark(ev.EventFlag.READ) == (10, 20)
    with pytest.raises(ValueError, match="READ or WRITE"):
        one.watermark(ev.EventFlag.READ | ev.EventFlag.WRITE)
    one.write(data)
    base.dispatch()
    assert got == data
    assert left.count(0) == 1
    assert max(left) <= 100


Call = tuple[ev.BufferEvent, ev.What, float]


def until_0_35(base: ev.EventBase, one: ev.SocketBufferEvent, other: ev.SocketBufferEvent) -> list[Call]:
    """One end would write and read and can't, the other has nothing to say and doesn't listen; what timed out, and when."""
    calls: list[Call] = []
    start = time.monotonic()

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        calls.append((bev, what, time.monotonic() - start))
        assert isinstance(bev.error, TimeoutError)

    def on_data(bev: ev.BufferEvent) -> None:
        assert bev is other, "nothing is read or written"

    other.disable(ev.EventFlag.READ)
    one.set_callbacks(on_data, on_data, on_event)
    one.set_timeouts(0.15, 0.1)
    one.write(b"ABCDEFG")
    one.enable()
    other.set_callbacks(None, on_data, on_event)
    other.set_timeouts(0.1, 0.2)
    other.enable(ev.EventFlag.WRITE)
    base.loopexit(0.35)
    base.dispatch()
    return calls


WRITING_TIMEOUT = ev.What.TIMEOUT | ev.What.WRITING
READING_TIMEOUT = ev.What.TIMEOUT | ev.What.READING


def test_timeouts_of_sockets(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_timeout: whoever has nothing to write has no timeout of writing.
    Upstream has no descriptor there; here such a bufferevent waits for nothing.
    """
    one, other = pair
    with socket.socket(fileno=os.dup(one.fd)) as full, contextlib.suppress(BlockingIOError):
        while True:
            full.send(bytes(65536))
    calls = until_0_35(base, one, other)
    assert [call[:2] for call in calls] == [(one, WRITING_TIMEOUT), (one, READING_TIMEOUT)]
    assert calls[0][2] >= 0.1 - TICK
    assert calls[1][2] >= 0.15 - TICK
    assert one.enabled == ev.EventFlag(0)


def test_a_low_mark_above_the_high_one(base: ev.EventBase) -> None:
    with ev.SocketBufferEvent(base) as bev:
        bev.set_watermark(ev.EventFlag.READ, low=5, high=10)
        with pytest.raises(ValueError, match="low must be at most high, 5, not 10"):
            bev.set_watermark(ev.EventFlag.READ, low=10, high=5)
        assert bev.watermark(ev.EventFlag.READ) == (5, 10)
        bev.set_watermark(ev.EventFlag.READ, low=10)


def test_a_file_that_would_close_the_descriptor_too(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    with other, os.fdopen(one.detach(), "rb") as file:
        with pytest.raises(TypeError, match="not BufferedReader"):
            ev.SocketBufferEvent(base, file)
        with ev.SocketBufferEvent(base, file, ev.Option(0)) as bev:
            assert bev.fd == file.fileno()
        os.fstat(file.fileno())
