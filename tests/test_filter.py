"""FilterBufferEvent: what upstream tests of filters: bytes that are changed, timeouts, triggers, marks."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from support import TICK, run_until

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
OK, NEED_MORE = ev.FilterResult.OK, ev.FilterResult.NEED_MORE
DATA = bytes(i % 256 for i in range(8333))
WRITING_TIMEOUT = ev.What.TIMEOUT | ev.What.WRITING
READING_TIMEOUT = ev.What.TIMEOUT | ev.What.READING

Make = Callable[..., tuple[ev.BufferEvent, ev.BufferEvent]]


@pytest.fixture(params=["socket", "pair"])
def make(request: pytest.FixtureRequest, base: ev.EventBase) -> Iterator[Make]:
    """Makes two bufferevents that are connected."""
    made: list[ev.BufferEvent] = []

    def make(options: ev.Option = ev.Option.CLOSE_ON_FREE) -> tuple[ev.BufferEvent, ev.BufferEvent]:
        if request.param == "pair":
            ends: tuple[ev.BufferEvent, ev.BufferEvent] = ev.PairBufferEvent.new(base, options)
        else:
            one, other = socket.socketpair()
            ends = ev.SocketBufferEvent(base, one, options), ev.SocketBufferEvent(base, other, options)
        made.extend(ends)
        return ends

    yield make
    for bev in made:
        if not bev.closed:
            bev.abort()


def not_expected(bev: ev.BufferEvent, what: ev.What) -> None:
    raise AssertionError(f"{bev}: {what!r}: {bev.error}")


def strip_x(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    """Upstream's: an 'x' goes before each byte, but before a '-'."""
    data = source.read(len(source) & ~1)
    marks = set(data[::2])
    assert marks <= {ord("x"), ord("-")}
    destination.write(bytes(byte for mark, byte in zip(data[::2], data[1::2], strict=True) if mark == ord("x")))
    return OK if data else NEED_MORE


@pytest.mark.parametrize("disable", [False, True])
def test_bytes_are_changed(base: ev.EventBase, make: Make, disable: bool) -> None:
    """regress_bufferevent.c bufferevent/bufferevent{,_pair}_filters{,_disable}: 8333 bytes get an 'x' each on their way out,
    and lose it on their way in; a write from within the output filter doesn't call it inside of itself.
    """
    one, other = make()
    depth: list[int] = []
    calls: list[int] = []
    got: list[bytes] = []
    written: list[ev.BufferEvent] = []

    def add_x(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        assert not depth
        depth.append(1)
        calls.append(len(source))
        data = source.read()
        destination.write(b"--" if data == b"-" else b"".join(b"x%c" % byte for byte in data))
        if disable and len(calls) == 1:
            first.write(b"-")
            assert len(calls) == 1
        depth.clear()
        return OK

    def on_read(bev: ev.BufferEvent) -> None:
        if len(bev.input) == len(DATA):
            got.append(bev.read())
            bev.disable(READ)

    first = ev.FilterBufferEvent(one, None, add_x)
    second = ev.FilterBufferEvent(other, strip_x, None)
    first.set_callbacks(write=written.append, event=not_expected)
    second.set_callbacks(read=on_read, event=not_expected)
    assert first.underlying is one
    assert second.underlying is other
    assert first.fd == one.fd
    assert second.fd == other.fd
    first.disable(READ)
    second.enable(READ)
    first.write(DATA)
    base.dispatch()
    assert got == [DATA]
    assert calls == [8333, 1] if disable else [8333]
    assert set(written) == {first}
    first.abort()
    second.abort()


def test_timeouts(base: ev.EventBase, make: Make) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_timeout_filter{,_pair}: reading after 150 ms, writing after 100 ms, once
    each. As in all kinds here, whoever has nothing to write has no timeout of writing; upstream's filters have.
    """
    one, other = make()
    first, second = ev.FilterBufferEvent(one), ev.FilterBufferEvent(other)
    calls: list[tuple[ev.BufferEvent, ev.What, float]] = []
    start = time.monotonic()

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        calls.append((bev, what, time.monotonic() - start))
        assert isinstance(bev.error, TimeoutError)

    second.disable(READ)
    first.set_callbacks(event=on_event)
    first.set_timeouts(0.15, 0.1)
    one.disable(WRITE)
    one.set_watermark(WRITE, 0, 1)
    first.write(b"ABCDEFG")
    first.enable()
    second.set_callbacks(event=on_event)
    second.set_timeouts(0.1, 0.2)
    second.enable(WRITE)
    base.loopexit(0.35)
    base.dispatch()
    assert [call[:2] for call in calls] == [(first, WRITING_TIMEOUT), (first, READING_TIMEOUT)]
    assert calls[0][2] >= 0.1 - TICK
    assert calls[1][2] >= 0.15 - TICK
    assert first.enabled == ev.EventFlag(0)
    first.abort()
    second.abort()


def test_no_timeout_of_writing_when_all_is_written(base: ev.EventBase, make: Make) -> None:
    one, other = make()
    first = ev.FilterBufferEvent(one)
    other.enable()
    first.set_callbacks(event=not_expected)
    first.set_timeouts(write=0.03)
    first.enable(WRITE)
    first.write(b"words")
    first.output.write(b"more")
    base.loopexit(0.1)
    base.dispatch()
    assert first.enabled == WRITE
    assert other.read() == b"wordsmore"
    first.abort()


@pytest.mark.parametrize("defer", [False, True])
def test_trigger(base: ev.EventBase, make: Make, defer: bool) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_trigger{,_postpone}: over a filter, marks hold it back, unless they are to
    be ignored; all bits of an event arrive.
    """
    one, other = make()
    bev = ev.FilterBufferEvent(other)
    reads: list[str] = []
    events: list[ev.What] = []
    everything = sum(ev.What, ev.What(0))

    def on_read(bev: ev.BufferEvent) -> None:
        reads.append("by bytes")
        bev.set_callbacks(on_triggered, None, lambda bev, what: events.append(what))
        bev.set_watermark(READ, len(bev.input) + 1, 0)
        bev.trigger(READ, defer=defer)
        bev.set_watermark(READ)
        bev.trigger(READ, ignore_watermarks=True, defer=defer)

    def on_triggered(bev: ev.BufferEvent) -> None:
        reads.append("triggered")
        bev.trigger_event(everything)
        bev.disable(READ)

    bev.set_callbacks(on_read)
    bev.enable(READ)
    one.write(b"Now is the time for all good events to signal for the good of their protocol")
    run_until(base, lambda: events)
    assert reads == ["by bytes", "triggered"]
    assert ev.What(sum(set(events))) & everything == everything
    bev.abort()


def test_over_a_socket_that_isn_t_connected(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_socket_filter_inactive: it can be freed, and keeps no loop running."""
    bev = ev.SocketBufferEvent(base, None, ev.Option(0))
    above = ev.FilterBufferEvent(bev, None, None, ev.Option(0))
    above.enable()
    assert base.dispatch() is True
    above.close()
    assert not bev.closed
    assert base.dispatch() is True
    bev.close()


def test_data_isn_t_stuck_behind_a_header(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_filter_data_stuck: a filter that adds 20 bytes, all marks are 4096."""
    header, payload = bytes(20), bytes(4096)
    options = ev.Option.DEFER_CALLBACKS
    one, other = ev.PairBufferEvent.new(base, options)
    one.set_watermark(READ, 0, 4096)
    other.set_watermark(READ, 0, 4096)
    inserted: list[bool] = []
    got: list[int] = []

    def prepend_once(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        assert limit is not None
        if not inserted:
            inserted.append(True)
            limit -= destination.write(header)
        source.remove_buffer(destination, limit)
        return OK

    bev = ev.FilterBufferEvent(other, prepend_once, None, options | ev.Option.CLOSE_ON_FREE)
    bev.set_callbacks(read=lambda bev: got.append(len(bev.read())))
    bev.enable()
    bev.set_watermark(READ, 0, 4096)
    one.write(payload)
    base.dispatch()
    assert sum(got) == len(header) + len(payload)
    assert max(got) <= 4096
    one.close(eof=False)
    bev.close()


def test_watermarks(base: ev.EventBase, make: Make) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_watermarks: over filters, 65000 bytes in portions of 10 to 20."""
    one, other = make()
    first, second = ev.FilterBufferEvent(one, None, through), ev.FilterBufferEvent(other, through, None)
    data = bytes(i % 256 for i in range(65_000))
    got = bytearray()
    left: list[int] = []

    def on_read(bev: ev.BufferEvent) -> None:
        assert 10 <= len(bev.input) <= 20
        got.extend(bev.read())
        if len(got) == len(data):
            bev.disable(READ)

    first.set_callbacks(write=lambda bev: left.append(len(bev.output)), event=not_expected)
    second.set_callbacks(read=on_read, event=not_expected)
    second.enable(READ)
    second.set_watermark(READ, 10, 20)
    first.set_watermark(WRITE, 100, 2000)
    one.set_watermark(WRITE, 0, 1000)
    first.write(data)
    base.dispatch()
    assert got == data
    assert left[-1] == 0
    assert max(left) <= 100
    first.abort()
    second.abort()


def through(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    """What None does, in Python."""
    moved = source.remove_buffer(destination, -1 if limit is None else limit)
    return OK if moved else NEED_MORE
