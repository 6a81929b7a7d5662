"""Any order of calls on both ends of a connection: the bytes arrive, all of them, in their order, and an end once."""

from __future__ import annotations

import contextlib
import gc
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest
from support import GIVE_UP, run_until

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
STEPS = 400
OPTIONS = [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE, ev.Option.THREADSAFE | ev.Option.DEFER_CALLBACKS]
OPTIONS.append(ev.Option.DEFER_CALLBACKS | ev.Option.UNLOCK_CALLBACKS)


class End:
    """One end: what it sent, what it got, and what can be done with it."""

    def __init__(self, base: ev.EventBase, sock: socket.socket, rng: random.Random) -> None:
        self.base = base
        self.rng = rng
        self.sent = bytearray()
        self.got = bytearray()
        self.heard: list[ev.What] = []
        self.high = 0
        self.bev = ev.SocketBufferEvent(base, sock, ev.Option.CLOSE_ON_FREE | rng.choice(OPTIONS))
        self.set_callbacks()
        self.actions: list[Callable[[], object]] = [
            self.write,
            self.write,
            self.write_buffer,
            self.add_reference,
            self.read,
            self.read,
            self.read_into,
            self.read_buffer,
            self.peek_and_drain,
            self.enable,
            self.enable,
            self.disable,
            self.marks,
            self.sizes,
            self.trigger,
            self.timeouts,
            self.set_callbacks,
            self.flush,
            self.look,
        ]

    # ---------------------------------------------------------------- callbacks

    def set_callbacks(self) -> None:
        read = self.rng.choice([None, self.on_read, self.on_read])
        write = self.rng.choice([None, self.on_write])
        self.bev.set_callbacks(read, write, self.on_event)

    def on_read(self, bev: ev.BufferEvent) -> None:
        if self.rng.random() < 0.8:
            self.rng.choice([self.read, self.read_into, self.read_buffer, self.peek_and_drain, self.disable])()

    def on_write(self, bev: ev.BufferEvent) -> None:
        if self.rng.random() < 0.1:
            self.write()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.heard.append(what)

    # ---------------------------------------------------------------- what may be done

    def data(self) -> bytes:
        data = self.rng.randbytes(self.rng.choice([0, 1, 10, 1000, 5000, 70_000]))
        self.sent += data
        return data

    def write(self) -> None:
        self.bev.write(self.data())

    def write_buffer(self) -> None:
        buffer = ev.Buffer(self.data())
        self.bev.write_buffer(buffer)
        assert not buffer

    def add_reference(self) -> None:
        self.bev.output.add_reference(self.data())

    def read(self) -> None:
        self.got += self.bev.read(self.rng.choice([-1, 0, 1, 100, 10_000]))

    def read_into(self) -> None:
        room = bytearray(self.rng.choice([0, 1, 100, 10_000]))
        n = self.bev.read_into(room)
        self.got += room[:n]

    def read_buffer(self) -> None:
        buffer = ev.Buffer()
        self.bev.read_buffer(buffer)
        self.got += bytes(buffer)

    def peek_and_drain(self) -> None:
        with self.bev.input.peek() as views:
            data = b"".join(views)
        n = self.rng.randint(0, len(data))
        self.bev.input.drain(n)
        self.got += data[:n]

    def enable(self) -> None:
        self.bev.enable(self.rng.choice([READ, WRITE, READ | WRITE]))

    def disable(self) -> None:
        self.bev.disable(self.rng.choice([READ, WRITE, READ | WRITE]))

    def marks(self) -> None:
        low = self.rng.choice([0, 0, 1, 1000])
        self.high = self.rng.choice([0, 1, 100, 5000]) if low == 0 else 0
        self.bev.set_watermark(READ, low, self.high)
        self.bev.set_watermark(WRITE, self.rng.choice([0, 1, 1000]), self.rng.choice([0, 100]))

    def sizes(self) -> None:
        self.bev.max_single_read = self.rng.choice([0, 1000, 100_000])
        self.bev.max_single_write = self.rng.choice([0, 1000, 100_000])

    def trigger(self) -> None:
        ignore, defer = self.rng.random() < 0.5, self.rng.random() < 0.5
        self.bev.trigger(self.rng.choice([READ, WRITE, READ | WRITE]), ignore_watermarks=ignore, defer=defer)

    def timeouts(self) -> None:
        self.bev.set_timeouts(self.rng.choice([None, 60]), self.rng.choice([None, 60]))

    def flush(self) -> None:
        self.bev.flush(READ | WRITE, self.rng.choice(list(ev.FlushMode)))

    def look(self) -> None:
        assert "open" in repr(self.bev)
        assert self.bev.error is None
        before = self.base.num_events
        assert before == self.base.num_events

    # ---------------------------------------------------------------- the end

    def let_flow(self) -> None:
        self.bev.set_watermark(READ | WRITE)
        self.bev.set_timeouts()
        self.bev.set_callbacks(lambda bev: self.got.extend(bev.read()), None, self.on_event)
        self.bev.enable()
        self.got += self.bev.read()


def sockets(kind: str) -> tuple[socket.socket, socket.socket]:
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname(), GIVE_UP)
        return one, server.accept()[0]


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("turn", range(8))
def test_the_stream_is_what_was_written(base: ev.EventBase, rng: random.Random, kind: str, turn: int) -> None:
    ends = [End(base, sock, rng) for sock in sockets(kind)]
    one, other = ends
    for _ in range(STEPS):
        end = rng.choice(ends)
        rng.choice(end.actions)()
        if rng.random() < 0.5:
            base.loop(ev.LoopFlag.NONBLOCK)
    for end in ends:
        end.let_flow()
    run_until(base, lambda: len(one.got) >= len(other.sent) and len(other.got) >= len(one.sent))
    assert one.got == other.sent
    assert other.got == one.sent
    assert one.heard == other.heard == []
    one.bev.close()
    run_until(base, lambda: other.heard)
    assert other.heard == [ev.What.READING | ev.What.EOF]
    other.bev.close()
    assert base.dispatch() is True


@pytest.mark.parametrize("turn", range(8))
def test_what_was_written_before_a_close_arrives(base: ev.EventBase, rng: random.Random, turn: int) -> None:
    """One end is closed at any time: the other's system has all of it, and it hears of one end. Its own bytes may be lost, and
    with them its reading: what it didn't get is still there to be received."""
    ends: list[Any] = [End(base, sock, rng) for sock in sockets("tcp")]
    one, other = ends
    for _ in range(rng.randint(0, STEPS)):
        rng.choice(rng.choice(ends).actions)()
        if rng.random() < 0.5:
            base.loop(ev.LoopFlag.NONBLOCK)
    one.bev.close(timeout=GIVE_UP)
    other.let_flow()
    run_until(base, lambda: other.heard)
    for _ in range(5):
        base.loop(ev.LoopFlag.NONBLOCK)
    other.got += other.bev.read()
    with socket.socket(fileno=other.bev.detach()) as sock, contextlib.suppress(ConnectionResetError):
        sock.setblocking(False)
        while data := sock.recv(1_000_000):
            other.got += data
    assert other.got == one.sent
    assert len(other.heard) == 1 or other.heard[0] == ev.What.READING | ev.What.EOF
    assert len(other.heard) <= 2
    other.bev.abort()
    assert base.dispatch() is True
    one = other = None
    ends.clear()
    gc.collect()
    base.loop(ev.LoopFlag.NONBLOCK)
