"""PairBufferEvent: what upstream tests of pairs: bytes, flushes, marks, timeouts, triggers."""

from __future__ import annotations

import time

import pytest
from support import TICK

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
DATA = bytes(i % 256 for i in range(8333))
BYTES_UPSTREAM = 65_000
EOF = ev.What.EOF | ev.What.READING
WRITING_TIMEOUT = ev.What.TIMEOUT | ev.What.WRITING
READING_TIMEOUT = ev.What.TIMEOUT | ev.What.READING

Pair = tuple[ev.PairBufferEvent, ev.PairBufferEvent]


@pytest.fixture
def pair(base: ev.EventBase) -> Pair:
    return ev.PairBufferEvent.new(base)


def not_expected(bev: ev.BufferEvent, what: ev.What) -> None:
    raise AssertionError(f"{bev}: {what!r}")


def send_8333_bytes(base: ev.EventBase, pair: Pair, flush: ev.FlushMode | None) -> list[ev.What]:
    one, other = pair
    got: list[bytes] = []
    written: list[ev.BufferEvent] = []
    events: list[ev.What] = []

    def on_read(bev: ev.BufferEvent) -> None:
        if len(bev.input) == len(DATA):
            taken = ev.Buffer()
            bev.read_buffer(taken)
            bev.disable(READ)
            got.append(bytes(taken))

    def on_write(bev: ev.BufferEvent) -> None:
        if not bev.output:
            written.append(bev)

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        assert bev is other
        events.append(what)

    one.set_callbacks(on_read, on_write, on_event)
    other.set_callbacks(on_read, on_write, on_event)
    assert one.fd == other.fd == -1
    assert one.underlying is None
    assert one.partner is other
    assert other.partner is one
    assert one.callbacks == (on_read, on_write, on_event)
    one.disable(READ)
    other.enable(READ)
    assert one.enabled == WRITE
    assert other.enabled == READ | WRITE
    one.write(DATA)
    if flush is not None:
        assert one.flush(WRITE, flush) is False, "all is across already"
    assert base.dispatch() is True
    other.close()
    assert one.partner is None
    one.close()
    assert got == [DATA]
    assert written == [one]
    return events


def test_bytes_arrive(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_pair: 8333 bytes one way arrive whole."""
    assert send_8333_bytes(base, pair, None) == []


def test_flush_normal(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_pair_flush_normal"""
    assert send_8333_bytes(base, pair, ev.FlushMode.NORMAL) == []


def test_flush_flush(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_pair_flush_flush"""
    assert send_8333_bytes(base, pair, ev.FlushMode.FLUSH) == []


def test_flush_finished(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_pair_flush_finished: the other end gets EOF."""
    assert send_8333_bytes(base, pair, ev.FlushMode.FINISHED) == [EOF]


def test_finished_alone(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_pair_flush: FINISHED on one end is READING|EOF at the other."""
    one, other = pair
    events: list[ev.What] = []
    one.enable(WRITE)
    other.enable(READ)
    other.set_callbacks(event=lambda bev, what: events.append(what))
    one.flush(WRITE, ev.FlushMode.FINISHED)
    base.loop(ev.LoopFlag.ONCE)
    assert events == [EOF]


@pytest.mark.parametrize("first", [0, 1])
def test_a_lock_is_freed_once(base: ev.EventBase, first: int) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_pair_release_lock: both share a lock, which goes with the last of them.
    Here each of them in turn goes first, and the other one is still used.
    """
    pair = ev.PairBufferEvent.new(base, ev.Option.THREADSAFE)
    last = pair[1 - first]
    last.enable()
    pair[first].write(b"words")
    pair[first].close()
    del pair
    for _ in range(3):
        base.loop(ev.LoopFlag.NONBLOCK)
    assert last.read() == b"words"
    last.close()
    base.loop(ev.LoopFlag.NONBLOCK)


def test_watermarks(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_pair_watermarks: 65000 bytes in portions of 10 to 20."""
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
            bev.disable(READ)

    one.set_callbacks(write=lambda bev: left.append(len(bev.output)), event=not_expected)
    other.set_callbacks(read=on_read, event=not_expected)
    one.disable(READ)
    other.enable(READ)
    assert one.watermark(READ) == other.watermark(WRITE) == (0, 0)
    other.set_watermark(READ, 10, 20)
    one.set_watermark(WRITE, 100, 2000)
    assert other.watermark(READ) == (10, 20)
    assert one.watermark(WRITE) == (100, 2000)
    with pytest.raises(ValueError, match="READ or WRITE"):
        one.watermark(READ | WRITE)
    one.write(data)
    base.dispatch()
    assert got == data
    assert left[-1] == 0
    assert max(left) <= 100


def test_timeouts(base: ev.EventBase, pair: Pair) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_timeout_pair: reading after 150 ms, writing after 100 ms, each once;
    nothing for the other end, which has nothing to say and doesn't listen.
    """
    one, other = pair
    calls: list[tuple[ev.BufferEvent, ev.What, float]] = []
    start = time.monotonic()

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        calls.append((bev, what, time.monotonic() - start))
        assert isinstance(bev.error, TimeoutError)

    def on_data(bev: ev.BufferEvent) -> None:
        raise AssertionError("nothing is read or written")

    other.disable(READ)
    one.set_callbacks(on_data, on_data, on_event)
    one.set_timeouts(0.15, 0.1)
    one.write(b"ABCDEFG")
    one.enable()
    other.set_callbacks(on_data, on_data, on_event)
    other.set_timeouts(0.1, 0.2)
    other.enable(WRITE)
    base.loopexit(0.35)
    base.dispatch()
    assert [call[:2] for call in calls] == [(one, WRITING_TIMEOUT), (one, READING_TIMEOUT)]
    assert calls[0][2] >= 0.1 - TICK
    assert calls[1][2] >= 0.15 - TICK
    assert one.enabled == ev.EventFlag(0)


@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.DEFER_CALLBACKS])
@pytest.mark.parametrize("defer", [False, True])
def test_trigger(base: ev.EventBase, options: ev.Option, defer: bool) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_trigger{,_defer,_postpone,_defer_postpone}: over a pair, marks hold it
    back, unless they are to be ignored; all bits of an event arrive.
    """
    one, other = ev.PairBufferEvent.new(base, options)
    reads: list[str] = []
    events: list[ev.What] = []
    everything = sum(ev.What, ev.What(0))

    def on_read(bev: ev.BufferEvent) -> None:
        reads.append("by bytes")
        marks = bev.watermark(READ)
        bev.set_callbacks(on_triggered, None, lambda bev, what: events.append(what))
        bev.set_watermark(READ, len(bev.input) + 1, 0)
        bev.trigger(READ, defer=defer)
        bev.set_watermark(READ, *marks)
        bev.trigger(READ, ignore_watermarks=True, defer=defer)

    def on_triggered(bev: ev.BufferEvent) -> None:
        reads.append("triggered")
        bev.trigger_event(everything)

    other.set_callbacks(on_read)
    other.enable(READ)
    one.write(b"Now is the time for all good events to signal for the good of their protocol")
    base.dispatch()
    assert reads == ["by bytes", "triggered"]
    assert ev.What(sum(set(events))) & everything == everything


def test_a_long_chain_neither_recurses_nor_starves(base: ev.EventBase, pair: Pair) -> None:
    """Seed S0.2: two ends that answer each other for ever leave the others their turn."""
    one, other = pair
    turns: list[int] = []

    def answer(bev: ev.BufferEvent) -> None:
        bev.write(bev.read())

    one.set_callbacks(answer)
    other.set_callbacks(answer)
    one.enable()
    other.enable()
    one.write(b"ball")
    base.timer(0.001, lambda event, what: turns.append(len(turns)) or (len(turns) == 20 and base.loopexit()), persist=True)
    base.dispatch()
    assert turns == list(range(20))
