"""The ready-made filters over bufferevents: sockets, pairs, TLS, and each other."""

from __future__ import annotations

import random
import socket
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import run_until

import pylibevent as ev
from pylibevent.filters import LengthPrefix, gzip_filter, length_prefix_filter, line_filter, zlib_filter, zstd_filter

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
FINISHED, FLUSH = ev.FlushMode.FINISHED, ev.FlushMode.FLUSH
CLOSE = ev.Option.CLOSE_ON_FREE

every_format = pytest.mark.parametrize("make", [zlib_filter, gzip_filter, zstd_filter], ids=["zlib", "gzip", "zstd"])
every_carrier = pytest.mark.parametrize("carrier", ["socket", "pair", "tls", "filter"])


class End:
    """Records what a bufferevent says."""

    def __init__(self, bev: ev.BufferEvent) -> None:
        self.bev = bev
        self.got = bytearray()
        self.seen: list[bytes] = []
        self.what = ev.What(0)
        self.error: BaseException | None = None
        bev.set_callbacks(read=self.on_read, event=self.on_event)

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.seen.append(bytes(bev.input))
        self.got += bev.read()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ~ev.What.CONNECTED:
            self.what |= what
            self.error = bev.error


class Stand:
    """Makes what is closed after the test."""

    def __init__(self, base: ev.EventBase, certificates: Any) -> None:
        self.base = base
        self.certificates = certificates
        self.made: list[ev.BufferEvent] = []

    def carriers(self, kind: str) -> tuple[ev.BufferEvent, ev.BufferEvent]:
        """Two connected bufferevents to put filters on."""
        one, other = self._carriers(kind)
        self.made += [one, other]
        return one, other

    def _carriers(self, kind: str) -> tuple[ev.BufferEvent, ev.BufferEvent]:
        if kind == "pair":
            return ev.PairBufferEvent.new(self.base)
        one, other = (ev.SocketBufferEvent(self.base, sock, CLOSE) for sock in socket.socketpair())
        if kind == "filter":
            return ev.FilterBufferEvent(one), ev.FilterBufferEvent(other)
        if kind == "tls":
            server = ev.TLSContext.server(self.certificates.cert, self.certificates.key)
            client = ev.TLSContext.client(self.certificates.ca)
            return (
                ev.TLSBufferEvent.wrap(one, server, server_side=True),
                ev.TLSBufferEvent.wrap(other, client, server_hostname="localhost"),
            )
        return one, other

    def filtered(self, bev: ev.BufferEvent, *makes: Callable[[], Any]) -> ev.BufferEvent:
        for make in makes:
            bev = ev.FilterBufferEvent(bev, *make())
            self.made.append(bev)
        return bev


@pytest.fixture
def stand(base: ev.EventBase, certificates: Any) -> Iterator[Stand]:
    stand = Stand(base, certificates)
    yield stand
    for bev in reversed(stand.made):
        bev.close(timeout=0)


def test_upstreams_zlib(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_zlib: 8333 bytes in two pieces, FINISHED, over a socket pair."""
    one, other = socket.socketpair()
    _, outgoing = zlib_filter()
    incoming, _ = zlib_filter()
    first = ev.FilterBufferEvent(ev.SocketBufferEvent(base, one, CLOSE), None, outgoing)
    second = ev.FilterBufferEvent(ev.SocketBufferEvent(base, other, CLOSE), incoming, None)
    data = bytes(i % 256 for i in range(8333))
    read, written, events = [], [], []

    def on_read(bev: ev.BufferEvent) -> None:
        if len(bev.input) == 8333:
            taken = ev.Buffer()
            bev.read_buffer(taken)
            bev.disable(READ)
            read.append(bytes(taken))

    def on_write(bev: ev.BufferEvent) -> None:
        if not bev.output:
            written.append(bev)

    with first, second:
        for bev in (first, second):
            bev.set_callbacks(read=on_read, write=on_write, event=lambda bev, what: events.append(what))
        first.disable(READ)
        first.enable(WRITE)
        second.enable(READ)
        first.write(data[:1800])
        first.write(data[1800:])
        first.flush(WRITE, FINISHED)
        run_until(base, lambda: read and written)
        assert read == [data]
        assert events == []


@every_format
@every_carrier
def test_a_conversation(base: ev.EventBase, rng: random.Random, make: Any, carrier: str, stand: Stand) -> None:
    """Every flush is heard, both ways, and each end after all of it."""
    bevs = stand.carriers(carrier)
    ends = [End(stand.filtered(bev, make)) for bev in bevs]
    for end in ends:
        end.bev.enable()
    said = [bytearray(), bytearray()]
    for _ in range(10):
        for i in (0, 1):
            message = rng.randbytes(rng.choice([1, 100, 50_000])) + b"again " * rng.choice([0, 1, 10_000])
            ends[i].bev.write(message)
            ends[i].bev.flush(WRITE, FLUSH)
            said[i] += message
            run_until(base, lambda i=i: ends[1 - i].got == said[i])
    ends[0].bev.flush(WRITE, FINISHED)
    ends[0].bev.close()
    run_until(base, lambda: ends[1].what)
    assert ends[1].what == ev.What.READING | ev.What.EOF, ends[1].error
    assert ends[1].got == said[0]


@every_format
@every_carrier
@pytest.mark.parametrize("high", [1, 1000, 100_000])
def test_a_megabyte_below_marks(
    base: ev.EventBase, rng: random.Random, make: Any, carrier: str, high: int, stand: Stand
) -> None:
    """Small buffers on both sides, and nothing is lost in them: 1000 to 1 at the end."""
    size = 1_000_000 if high >= 1000 else 1000
    data = rng.randbytes(size) + bytes(size)
    bevs = stand.carriers(carrier)
    bevs[0].set_watermark(WRITE, 0, max(high, 1000))
    bevs[1].set_watermark(READ, 0, max(high, 1000))
    first, second = (End(stand.filtered(bev, make)) for bev in bevs)
    second.bev.set_watermark(READ, 0, high)
    second.bev.enable(READ)
    first.bev.write(data)
    first.bev.flush(WRITE, FINISHED)
    run_until(base, lambda: len(second.got) >= len(data))
    assert second.got == data
    assert max(map(len, second.seen)) <= high


@every_format
@every_carrier
def test_a_stream_cut_short_is_an_error_after_what_came(base: ev.EventBase, make: Any, carrier: str, stand: Stand) -> None:
    bevs = stand.carriers(carrier)
    first, second = (End(stand.filtered(bev, make)) for bev in bevs)
    second.bev.enable(READ)
    first.bev.write(b"so far")
    first.bev.flush(WRITE, FLUSH)
    run_until(base, lambda: second.got == b"so far")
    first.bev.abort()
    run_until(base, lambda: second.what)
    assert second.what & ev.What.ERROR
    assert isinstance(second.error, ev.TLSEOFError if carrier == "tls" else ev.FilterError)
    assert "cut short" in str(second.error)


@every_format
def test_a_bomb_ends_the_connection_and_not_the_loop(base: ev.EventBase, make: Any) -> None:
    one, other = socket.socketpair()
    end = End(ev.FilterBufferEvent(ev.SocketBufferEvent(base, one, CLOSE), *make()))
    with other, end.bev:
        wire = ev.Buffer()
        make()[1].feed(ev.Buffer(bytes(100 << 20)), wire, None, FINISHED)
        end.bev.enable(READ)
        other.setblocking(False)
        sent = memoryview(bytes(wire))

        def push(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal sent
            if sent:
                sent = sent[other.send(sent) :]
            else:
                event.delete()

        pusher = base.event(other.fileno(), WRITE | ev.EventFlag.PERSIST, push)
        pusher.add()
        run_until(base, lambda: end.what)
        pusher.close()
        assert end.what & ev.What.ERROR
        assert isinstance(end.error, ev.ExpansionError)
        assert len(end.got) < 12 << 20
        assert not any(end.got)


def test_garbage_from_outside(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    end = End(ev.FilterBufferEvent(ev.SocketBufferEvent(base, one, CLOSE), *zlib_filter()))
    with other, end.bev:
        end.bev.enable(READ)
        other.send(zlib.compress(b"good") + b"bad")
        run_until(base, lambda: end.what)
        assert end.what & ev.What.ERROR
        assert "after the end" in str(end.error)
        assert end.got == b"good"


@every_carrier
def test_lines_are_whole_in_every_callback(base: ev.EventBase, rng: random.Random, carrier: str, stand: Stand) -> None:
    lines = [bytes(rng.choices(b"abc", k=rng.choice([0, 1, 100, 5000]))) + b"\r\n" for _ in range(300)]
    data = memoryview(b"".join(lines))
    bevs = stand.carriers(carrier)
    end = End(stand.filtered(bevs[1], line_filter))
    end.bev.enable(READ)
    bevs[1].set_watermark(READ, 0, 100)
    end.bev.set_watermark(READ, 0, 6000)
    while data:
        n = rng.choice([1, 1000, 20_000])
        bevs[0].write(data[:n])
        data = data[n:]
        base.loop(ev.LoopFlag.NONBLOCK)
    run_until(base, lambda: len(end.got) == sum(map(len, lines)))
    assert end.got == b"".join(lines)
    assert all(seen.endswith(b"\r\n") for seen in end.seen if seen)


@every_carrier
@pytest.mark.parametrize("makes", [[], [zlib_filter], [gzip_filter, zstd_filter]], ids=["alone", "zlib", "gzip-zstd"])
def test_messages_over_anything(base: ev.EventBase, rng: random.Random, carrier: str, makes: list[Any], stand: Stand) -> None:
    format = LengthPrefix(2)
    messages = [rng.randbytes(rng.choice([0, 1, 100, 5000])) for _ in range(300)]
    got = []

    def on_read(bev: ev.BufferEvent) -> None:
        while (message := format.read(bev.input)) is not None:
            got.append(message)
        assert not bev.input

    bevs = stand.carriers(carrier)
    first, second = (stand.filtered(bev, *makes, lambda: length_prefix_filter(format)) for bev in bevs)
    second.set_callbacks(read=on_read)
    second.enable(READ)
    second.set_watermark(READ, 0, 6000)
    for message in messages:
        first.write(format.pack(message))
    first.flush(WRITE, FLUSH)
    run_until(base, lambda: len(got) == len(messages))
    assert got == messages


def test_a_message_waits_for_room_and_comes_when_it_is_made(base: ev.EventBase) -> None:
    """The input was never full, and nothing more arrives: draining it is what brings the message on."""
    format = LengthPrefix(1)
    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, *length_prefix_filter(format))
    with bev, other:
        bev.set_watermark(READ, 0, 15)
        bev.enable(READ)
        other.write(format.pack(b"x" * 9) + format.pack(b"y" * 9))
        run_until(base, lambda: len(bev.input) == 10)
        base.loop(ev.LoopFlag.NONBLOCK)
        assert format.read(bev.input) == b"x" * 9
        run_until(base, lambda: bev.input)
        assert format.read(bev.input) == b"y" * 9
