"""Big transfers, floods, and how much is read and written at a time."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support import GIVE_UP, run_until, socket_pair

import pylibevent as ev

TEN_MB = 10_000_000
READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
Pair = tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]


def failed(bev: ev.BufferEvent, what: ev.What) -> None:
    raise AssertionError(f"{bev}: {what}: {bev.error}")


@contextlib.contextmanager
def connected(base: ev.EventBase, family: str, options: ev.Option = ev.Option.CLOSE_ON_FREE) -> Iterator[Pair]:
    if family == "unix":
        one, other = socket.socketpair()
    else:
        kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        with socket.create_server(("127.0.0.1" if family == "ipv4" else "::1", 0), family=kind) as server:
            one = socket.create_connection(server.getsockname()[:2], GIVE_UP)
            other, _ = server.accept()
    with ev.SocketBufferEvent(base, one, options) as first, ev.SocketBufferEvent(base, other, options) as second:
        yield first, second
        first.abort()
        second.abort()


class Taker:
    """Takes what comes, in one of the ways there are."""

    def __init__(self, rng: random.Random, way: str) -> None:
        self.rng = rng
        self.way = way
        self.size = 0
        self.hash = hashlib.sha256()

    def __call__(self, bev: ev.BufferEvent) -> None:
        if self.way == "read all":
            self.take(bev.read())
        elif self.way == "read some":
            while bev.input:
                self.take(bev.read(self.rng.randint(1, 20_000)))
        elif self.way == "read_into":
            room = bytearray(self.rng.randint(1, 100_000))
            while n := bev.read_into(room):
                self.take(bytes(room[:n]))
        elif self.way == "read_buffer":
            taken = ev.Buffer()
            bev.read_buffer(taken)
            self.take(bytes(taken))
        else:
            with bev.input.peek() as views:
                data = b"".join(views)
            bev.input.drain(len(data))
            self.take(data)

    def take(self, data: bytes) -> None:
        self.size += len(data)
        self.hash.update(data)


def send(rng: random.Random, bev: ev.BufferEvent, data: bytes, way: str) -> None:
    view = memoryview(data)
    while view:
        part = view[: rng.randint(1, 400_000)]
        if way == "write":
            bev.write(part)
        elif way == "write_buffer":
            bev.write_buffer(ev.Buffer(part))
        else:
            bev.output.add_reference(bytes(part))
        view = view[len(part) :]


@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE], ids=str)
@pytest.mark.parametrize("family", ["unix", "ipv4", "ipv6"])
def test_10_mb_both_ways_at_once(base: ev.EventBase, rng: random.Random, family: str, options: ev.Option) -> None:
    with connected(base, family, options | ev.Option.CLOSE_ON_FREE) as (one, other):
        data = {bev: rng.randbytes(TEN_MB) for bev in (one, other)}
        takers = {
            bev: Taker(rng, rng.choice(["read all", "read some", "read_into", "read_buffer", "peek"])) for bev in (one, other)
        }
        for bev in (one, other):
            bev.set_callbacks(read=takers[bev], event=failed)
            bev.enable()
            send(rng, bev, data[bev], rng.choice(["write", "write_buffer", "reference"]))
        run_until(base, lambda: all(taker.size >= TEN_MB for taker in takers.values()))
        for bev, peer in ((one, other), (other, one)):
            assert takers[bev].size == TEN_MB
            assert takers[bev].hash.digest() == hashlib.sha256(data[peer]).digest()
            assert not bev.output
            assert not bev.input


@pytest.mark.parametrize("way", ["read all", "read some", "read_into", "read_buffer", "peek"])
def test_each_way_to_take(base: ev.EventBase, rng: random.Random, way: str) -> None:
    with connected(base, "ipv4") as (one, other):
        taker, data = Taker(rng, way), rng.randbytes(1_000_000)
        other.set_callbacks(read=taker, event=failed)
        other.enable()
        send(rng, one, data, "write")
        run_until(base, lambda: taker.size >= len(data))
        assert taker.hash.digest() == hashlib.sha256(data).digest()


def test_an_echo_of_10_mb(base: ev.EventBase, rng: random.Random) -> None:
    """Moved from the input to the output without a copy, by a server that never reads more than it may."""
    with connected(base, "ipv4") as (one, other):
        taker, data = Taker(rng, "read all"), rng.randbytes(TEN_MB)
        one.set_callbacks(read=taker, event=failed)
        other.set_callbacks(read=lambda bev: bev.write_buffer(bev.input), event=failed)
        other.set_watermark(READ, 0, 100_000)
        one.enable()
        other.enable()
        one.write(data)
        run_until(base, lambda: taker.size >= TEN_MB)
        assert taker.hash.digest() == hashlib.sha256(data).digest()


def test_a_slow_reader_gets_all_through_a_small_mark(base: ev.EventBase, rng: random.Random) -> None:
    """The reader takes a little at a time, not in its callback; the input stays within its mark."""
    with connected(base, "unix") as (one, other):
        data, got, most = rng.randbytes(300_000), bytearray(), 0
        other.set_watermark(READ, 0, 5000)
        other.set_callbacks(read=lambda bev: None, event=failed)
        other.enable()
        one.write(data)
        while len(got) < len(data):
            base.loop(ev.LoopFlag.ONCE | ev.LoopFlag.NONBLOCK)
            most = max(most, len(other.input))
            got += other.read(rng.randint(1, 6000))
        assert got == data
        assert most <= 5000


# ---------------------------------------------------------------- a pass ends


@pytest.mark.parametrize("takes", [True, False], ids=["taking", "leaving it"])
@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE], ids=str)
def test_a_flood_does_not_keep_the_pass_from_ending(base: ev.EventBase, options: ev.Option, takes: bool) -> None:
    """A thread sends as fast as it can; each pass comes back, a timer beside it is called, and little is gathered."""
    with socket_pair() as (one, other):
        stop = threading.Event()
        other.setblocking(True)
        other.settimeout(0.1)

        def flood() -> None:
            chunk, left = b"x" * 1_000_000, 50_000_000
            while left > 0 and not stop.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    left -= other.send(chunk)

        reads: list[int] = []
        ticks: list[float] = []

        def on_read(bev: ev.BufferEvent) -> None:
            reads.append(len(bev.read()) if takes else 1)

        thread = threading.Thread(target=flood)
        with ev.SocketBufferEvent(base, one, options) as bev:
            bev.set_callbacks(read=on_read, event=failed)
            bev.enable()
            thread.start()
            try:
                base.timer(0.01, lambda event, what: ticks.append(base.now()), persist=True)
                run_until(base, lambda: len(ticks) >= 10 and (not takes or sum(reads) > 5_000_000))
            finally:
                stop.set()
                thread.join(GIVE_UP)
            assert max(reads) <= 2_000_000
            assert base.statistics.noted >= len(reads)
            bev.abort()
    base.close()


def test_many_fast_senders_take_turns(base: ev.EventBase) -> None:
    """Each of them is read in every round, though all have more to say."""
    with contextlib.ExitStack() as stack:
        order: list[int] = []

        def reader(number: int, sender: socket.socket) -> Any:
            def on_read(bev: ev.BufferEvent) -> None:
                order.append(number)
                bev.input.drain(len(bev.input))
                with contextlib.suppress(BlockingIOError):
                    sender.send(b"x" * 65536)

            return on_read

        for number in range(50):
            one, other = stack.enter_context(socket_pair())
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.send(b"x" * 65536)
            bev = stack.enter_context(ev.SocketBufferEvent(base, one, ev.Option(0)))
            bev.set_callbacks(read=reader(number, other), event=failed)
            bev.enable()
        run_until(base, lambda: len(order) >= 100)
        assert set(order[:50]) == set(range(50))


# ---------------------------------------------------------------- at a time


def test_max_single_read(base: ev.EventBase) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
        assert bev.max_single_read == 16384
        bev.max_single_read = 100
        assert bev.max_single_read == 100
        sizes: list[int] = []
        bev.set_callbacks(read=lambda bev: sizes.append(len(bev.read())), event=failed)
        bev.enable()
        other.send(b"x" * 1000)
        run_until(base, lambda: sum(sizes) == 1000)
        assert sizes == [100] * 10
        bev.max_single_read = 0
        assert bev.max_single_read == 16384


def test_max_single_write(base: ev.EventBase) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
        assert bev.max_single_write == 16384
        bev.max_single_write = 100
        assert bev.max_single_write == 100
        left: list[int] = []
        bev.set_watermark(WRITE, 1_000_000)  # called after each write
        bev.set_callbacks(write=lambda bev: left.append(len(bev.output)), event=failed)
        bev.write(b"x" * 1000)
        run_until(base, lambda: left and left[-1] == 0)
        assert left == list(range(900, -1, -100))
        assert len(other.recv(2000)) == 1000
        bev.max_single_write = 0
        assert bev.max_single_write == 16384


def test_max_to_read_and_write(base: ev.EventBase) -> None:
    """Without rate limits what is read or written at a time is all that bounds them."""
    with socket_pair() as (one, _other), ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
        assert bev.max_to_read == bev.max_single_read
        bev.max_single_read, bev.max_single_write = 123, 456
        assert (bev.max_to_read, bev.max_to_write) == (123, 456)


@pytest.mark.parametrize("name", ["max_single_read", "max_single_write"])
@pytest.mark.parametrize("value", [-1, 2**31, 2**64, None, "1", 1.0, True])
def test_sizes_that_are_none(base: ev.EventBase, name: str, value: Any) -> None:
    with ev.SocketBufferEvent(base) as bev, pytest.raises((TypeError, ValueError), match=name):
        setattr(bev, name, value)
