"""No busy waiting: what has nothing to do costs nothing."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator

import pytest
from support import run_until

import pylibevent as ev

MANY = 1000
MOST_CPU = 0.1
"""Seconds of CPU in a second of doing nothing; measured: about 0.001."""
MOST_POLLS = 20


@contextlib.contextmanager
def descriptors(n: int) -> Iterator[None]:
    """Room for so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(n, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def costs_nothing(base: ev.EventBase, seconds: float = 1.0) -> None:
    """The loop sleeps through this time."""
    base.loop(ev.LoopFlag.NONBLOCK)
    before, cpu, start = base.statistics, time.process_time(), time.monotonic()
    base.loopexit(seconds)
    assert base.dispatch() is False
    cpu, after = time.process_time() - cpu, base.statistics
    assert time.monotonic() - start >= seconds * 0.9
    assert cpu < MOST_CPU * max(1.0, seconds)
    assert after.polls - before.polls < MOST_POLLS
    assert after.passes - before.passes < MOST_POLLS
    assert after.noted - before.noted < MOST_POLLS


def failed(bev: ev.BufferEvent, what: ev.What) -> None:
    raise AssertionError(f"{bev}: {what}: {bev.error}")


def test_1000_idle_connections_and_an_idle_listener(base: ev.EventBase) -> None:
    """Both ends of the connections are bufferevents of this base, with callbacks, reading."""
    servers: list[ev.SocketBufferEvent] = []

    def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        bev = ev.SocketBufferEvent(base, sock)
        bev.set_callbacks(read=print, write=print, event=failed)
        bev.enable()
        servers.append(bev)

    connected: list[ev.BufferEvent] = []

    def client_event(bev: ev.BufferEvent, what: ev.What) -> None:
        assert what == ev.What.CONNECTED
        connected.append(bev)

    with descriptors(3 * MANY), contextlib.ExitStack() as stack:
        listener = stack.enter_context(ev.Listener.bind(base, ("127.0.0.1", 0), accepted, backlog=MANY))
        for _ in range(MANY):
            client = ev.SocketBufferEvent(base)
            stack.callback(client.abort)
            client.set_callbacks(read=print, event=client_event)
            client.enable()
            client.connect(listener.address)
        stack.callback(lambda: [server.abort() for server in servers])
        run_until(base, lambda: len(servers) == len(connected) == MANY)
        costs_nothing(base)
        # and they still work
        got: list[bytes] = []
        servers[-1].set_callbacks(read=lambda bev: got.append(bev.read()), event=failed)
        for client in connected:
            client.write(b"x")
        for server in servers[:-1]:
            server.set_callbacks(read=lambda bev: got.append(bev.read()), event=failed)
        run_until(base, lambda: len(got) == MANY)


@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE])
def test_a_reader_at_its_high_mark(base: ev.EventBase, options: ev.Option) -> None:
    """Bytes wait in the system, and the callback takes none: it is called once, and no more until something is taken."""
    one, other = socket.socketpair()
    calls: list[int] = []
    with other, ev.SocketBufferEvent(base, one, options | ev.Option.CLOSE_ON_FREE) as bev:
        bev.set_watermark(ev.EventFlag.READ, 0, 1000)
        bev.set_callbacks(read=lambda bev: calls.append(len(bev.input)), event=failed)
        bev.enable()
        other.send(b"x" * 50_000)
        run_until(base, lambda: calls)
        costs_nothing(base, 0.3)
        assert calls == [1000]
        assert bev.read(1) == b"x"
        run_until(base, lambda: len(calls) == 2)
        costs_nothing(base, 0.1)
        assert calls == [1000, 1000]


def test_a_reader_below_its_low_mark(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    calls: list[int] = []
    with other, ev.SocketBufferEvent(base, one) as bev:
        bev.set_watermark(ev.EventFlag.READ, 1000)
        bev.set_callbacks(read=lambda bev: calls.append(len(bev.input)), event=failed)
        bev.enable()
        other.send(b"x" * 999)
        run_until(base, lambda: len(bev.input) == 999)
        costs_nothing(base, 0.2)
        assert calls == []
        other.send(b"x")
        run_until(base, lambda: calls)
        assert calls == [1000]


def test_one_that_does_not_read_while_bytes_wait(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    with other, ev.SocketBufferEvent(base, one) as bev:
        bev.set_callbacks(read=print, event=failed)
        bev.enable()
        bev.disable(ev.EventFlag.READ)
        other.send(b"x" * 1000)
        costs_nothing(base, 0.2)
        assert len(bev.input) == 0


def test_one_that_can_not_send(base: ev.EventBase) -> None:
    """The peer doesn't read: the loop waits."""
    one, other = socket.socketpair()
    with other, ev.SocketBufferEvent(base, one) as bev:
        bev.set_callbacks(write=print, event=failed)
        bev.write(b"x" * 5_000_000)
        run_until(base, lambda: len(bev.output) < 5_000_000)
        costs_nothing(base, 0.3)
        assert bev.output
        bev.abort()


def test_one_that_has_ended(base: ev.EventBase) -> None:
    """The end of the stream is readable for ever; it is told once."""
    one, other = socket.socketpair()
    ends: list[ev.What] = []
    with ev.SocketBufferEvent(base, one) as bev:
        bev.set_callbacks(read=print, event=lambda bev, what: ends.append(what))
        bev.enable()
        other.close()
        run_until(base, lambda: ends)
        bev.enable()
        costs_nothing(base, 0.3)
        assert ends == [ev.What.READING | ev.What.EOF]


def test_one_that_was_reset(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    ends: list[ev.What] = []
    with ev.SocketBufferEvent(base, one) as bev:
        bev.set_callbacks(read=print, event=lambda bev, what: ends.append(what))
        bev.enable()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        other.close()
        run_until(base, lambda: ends)
        assert isinstance(bev.error, ConnectionResetError)
        bev.enable()
        costs_nothing(base, 0.3)
        assert ends == [ev.What.READING | ev.What.ERROR]


def test_a_listener_that_is_disabled_while_somebody_knocks(base: ev.EventBase) -> None:
    with (
        ev.Listener.bind(base, ("127.0.0.1", 0), print, enabled=False) as listener,
        socket.create_connection(listener.address),
    ):
        costs_nothing(base, 0.2)


def test_one_that_lingers(base: ev.EventBase) -> None:
    """A close waits for a peer that doesn't read, asleep."""
    one, other = socket.socketpair()
    with other:
        bev = ev.SocketBufferEvent(base, one)
        bev.write(b"x" * 5_000_000)
        bev.close()
        costs_nothing(base, 0.3)
        assert base.num_events > 0
        bev.abort()
    assert base.dispatch() is True
