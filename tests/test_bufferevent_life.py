"""Threads, closing, collecting and changing sockets of a SocketBufferEvent."""

from __future__ import annotations

import gc
import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support import GIVE_UP, run_until, socket_pair

import pylibevent as ev

READ = ev.EventFlag.READ


def in_thread(function: Callable[[], Any]) -> Any:
    """What a function returns or raises in another thread."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(GIVE_UP)
    assert result, "it hangs"
    return result[0]


def while_it_runs(base: ev.EventBase, function: Callable[[], Any]) -> Any:
    """What a function returns or raises in another thread while the loop sleeps."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)
        base.call_soon_threadsafe(base.loopexit)

    thread = threading.Thread(target=run)
    with base.timer(GIVE_UP, lambda timer, what: base.loopexit()):
        base.call_soon(thread.start)
        base.dispatch()
    thread.join(GIVE_UP)
    assert result, "it hangs"
    return result[0]


def test_a_thread_writes_and_the_sleeping_loop_sends(base: ev.EventBase) -> None:
    with socket_pair() as (ours, theirs), ev.SocketBufferEvent(base, ours, ev.Option.THREADSAFE) as bev:
        theirs.settimeout(GIVE_UP)

        def talk() -> bytes:
            for i in range(100):
                bev.write(b"%02d" % i)
            got = b""
            while len(got) < 200:
                got += theirs.recv(1000)
            return got

        assert while_it_runs(base, talk) == b"".join(b"%02d" % i for i in range(100))


def test_many_threads_write(base: ev.EventBase) -> None:
    count, times, block = 8, 50, 1000
    with socket_pair() as (ours, theirs), ev.SocketBufferEvent(base, ours, ev.Option.THREADSAFE) as bev:
        theirs.settimeout(GIVE_UP)

        def talk() -> bytes:
            threads = [
                threading.Thread(target=lambda i=i: [bev.write(bytes([65 + i]) * block) for _ in range(times)])
                for i in range(count)
            ]
            for thread in threads:
                thread.start()
            got = bytearray()
            while len(got) < count * times * block:
                got += theirs.recv(65536)
            for thread in threads:
                thread.join(GIVE_UP)
            return bytes(got)

        got = while_it_runs(base, talk)
        blocks = [got[i : i + block] for i in range(0, len(got), block)]
        assert all(len(set(one)) == 1 for one in blocks), "a write is torn"
        assert sorted(one[0] for one in blocks) == sorted([65 + i for i in range(count)] * times)


def test_a_thread_reads_what_the_loop_received(base: ev.EventBase) -> None:
    with socket_pair() as (ours, theirs), ev.SocketBufferEvent(base, ours, ev.Option.THREADSAFE) as bev:
        arrived = threading.Event()
        bev.set_callbacks(read=lambda bev: arrived.set())
        bev.enable(READ)
        theirs.send(b"hello")

        def take() -> bytes:
            assert arrived.wait(GIVE_UP)
            return bev.read()

        assert while_it_runs(base, take) == b"hello"


@pytest.mark.parametrize(
    "call",
    [
        lambda bev: bev.write(b"x"),
        lambda bev: bev.read(),
        lambda bev: bev.enable(),
        lambda bev: bev.disable(),
        lambda bev: bev.set_timeouts(1, 1),
        lambda bev: bev.set_watermark(READ, 1, 2),
        lambda bev: bev.trigger(READ),
        lambda bev: bev.set_callbacks(),
        lambda bev: bev.close(),
        lambda bev: bev.abort(),
        lambda bev: bev.detach(),
        lambda bev: bev.connect(("127.0.0.1", 9)),
    ],
)
def test_another_thread_is_refused_without_a_lock(base: ev.EventBase, call: Callable[[ev.SocketBufferEvent], Any]) -> None:
    with socket_pair() as (ours, theirs), ev.SocketBufferEvent(base, ours) as bev:
        assert isinstance(while_it_runs(base, lambda: call(bev)), RuntimeError)
        assert not bev.closed
        assert "open" in repr(bev)
        bev.write(b"well")
        run_until(base, lambda: not bev.output)
        assert theirs.recv(10) == b"well"


def test_without_a_running_loop_any_thread_may(base: ev.EventBase) -> None:
    with socket_pair() as (ours, theirs), ev.SocketBufferEvent(base, ours) as bev:
        assert in_thread(lambda: bev.write(b"x")) is None
        run_until(base, lambda: not bev.output)
        assert theirs.recv(10) == b"x"


# ---------------------------------------------------------------- closing


def test_closed_in_its_read_callback(base: ev.EventBase) -> None:
    called: list[str] = []
    with socket_pair() as (ours, theirs):
        bev = ev.SocketBufferEvent(base, ours)

        def on_read(bev: ev.BufferEvent) -> None:
            called.append("read")
            bev.close()
            bev.close()

        bev.set_callbacks(on_read, lambda bev: called.append("write"), lambda bev, what: called.append("event"))
        bev.enable()
        theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        assert base.dispatch() is True
        assert called == ["read"]
        assert bev.closed
        with pytest.raises(ev.ClosedError):
            bev.write(b"x")
        with pytest.raises(ev.ClosedError):
            bev.set_callbacks()
        assert theirs.recv(10) == b""


def test_one_closes_the_other_in_the_same_pass(base: ev.EventBase) -> None:
    with socket_pair() as (a, b), socket_pair() as (c, d):
        bevs = [ev.SocketBufferEvent(base, a), ev.SocketBufferEvent(base, c)]
        called: list[ev.BufferEvent] = []

        def on_read(bev: ev.BufferEvent) -> None:
            called.append(bev)
            for one in bevs:
                one.abort()

        for bev in bevs:
            bev.set_callbacks(read=on_read)
            bev.enable(READ)
        b.send(b"x")
        d.send(b"x")
        assert base.dispatch() is True
        assert len(called) == 1


def test_abort_drops_what_is_left(base: ev.EventBase) -> None:
    with socket_pair() as (ours, theirs):
        bev = ev.SocketBufferEvent(base, ours)
        fd = bev.fd
        bev.write(bytes(4_000_000))
        bev.abort()
        with pytest.raises(OSError, match=os.strerror(9)):
            os.fstat(fd)
        got = 0
        while chunk := theirs.recv(65536):
            got += len(chunk)
        assert got < 4_000_000
        assert base.dispatch() is True


def test_abort_after_close_ends_the_sending(base: ev.EventBase) -> None:
    with socket_pair() as (ours, theirs):
        bev = ev.SocketBufferEvent(base, ours)
        bev.write(bytes(4_000_000))
        bev.close()
        bev.abort()
        assert base.dispatch() is True
        while theirs.recv(65536):
            pass


def test_collected_while_open(base: ev.EventBase) -> None:
    with socket_pair() as (ours, theirs):
        held = [ev.SocketBufferEvent(base, ours)]
        alive = weakref.ref(held[0])
        with pytest.warns(ResourceWarning, match=r"unclosed <SocketBufferEvent"):
            held.clear()
        assert alive() is None
        assert theirs.recv(10) == b""


def test_kept_by_its_base_while_it_has_a_callback(base: ev.EventBase) -> None:
    with socket_pair() as (ours, theirs):
        got: list[bytes] = []

        def on_read(bev: ev.BufferEvent) -> None:
            got.append(bev.read())
            bev.close()

        bev = ev.SocketBufferEvent(base, ours)
        bev.set_callbacks(read=on_read)
        bev.enable(READ)
        del bev
        gc.collect()
        theirs.send(b"x")
        base.dispatch()
        assert got == [b"x"]


def test_in_a_cycle(base: ev.EventBase) -> None:
    """Its callback refers to it: closing lets go of both."""
    with socket_pair() as (ours, _):
        bev = ev.SocketBufferEvent(base, ours)
        bev.set_callbacks(read=lambda _, bev=bev: None)
        alive = weakref.ref(bev)
        bev.close()
        del bev
        gc.collect()
        assert alive() is None


def test_the_base_is_closed_first() -> None:
    base = ev.EventBase()
    with socket_pair() as (ours, theirs):
        bev = ev.SocketBufferEvent(base, ours)
        bev.set_callbacks(read=print)
        bev.enable()
        base.close()
        assert bev.closed
        with pytest.raises(ev.ClosedError):
            bev.write(b"x")
        assert theirs.recv(10) == b""
        bev.close()


# ---------------------------------------------------------------- the descriptor


def test_detach(base: ev.EventBase) -> None:
    with (
        socket_pair() as (ours, theirs),
        ev.SocketBufferEvent(base, ours) as bev,
        socket.socket(fileno=bev.detach()) as again,
    ):
        assert bev.fd == -1
        assert bev.detach() == -1
        bev.close()
        theirs.send(b"mine")
        assert again.recv(10) == b"mine"


def test_set_fd(base: ev.EventBase) -> None:
    """Another socket takes its place, and the first one is closed."""
    ended: list[ev.What] = []
    with socket_pair() as (a, b), socket_pair() as (c, d), ev.SocketBufferEvent(base, a) as bev:
        bev.set_callbacks(event=lambda bev, what: ended.append(what))
        bev.enable(READ)
        b.shutdown(socket.SHUT_WR)
        run_until(base, lambda: ended)
        assert ended == [ev.What.READING | ev.What.EOF]
        bev.set_fd(c)
        assert c.fileno() == -1
        assert b.recv(10) == b""
        got: list[bytes] = []
        bev.set_callbacks(read=lambda bev: got.append(bev.read()), event=lambda bev, what: ended.append(what))
        bev.enable(READ)
        d.send(b"hello")
        run_until(base, lambda: got)
        assert got == [b"hello"]
        d.close()
        run_until(base, lambda: len(ended) == 2)
        assert ended[1] == ev.What.READING | ev.What.EOF


def test_set_fd_of_a_borrowed_socket_closes_nothing(base: ev.EventBase) -> None:
    with socket_pair() as (a, b), socket_pair() as (c, d), ev.SocketBufferEvent(base, a, ev.Option(0)) as bev:
        bev.set_fd(c)
        bev.write(b"to the second")
        run_until(base, lambda: not bev.output)
        assert d.recv(100) == b"to the second"
        bev.close()
        a.send(b"still open")
        assert b.recv(100) == b"still open"
        c.send(b"this too")
        assert d.recv(100) == b"this too"


def test_set_fd_to_its_own_or_a_closed_one(base: ev.EventBase) -> None:
    with socket_pair() as (a, b), ev.SocketBufferEvent(base, a) as bev:
        with pytest.raises(ValueError, match="another descriptor"):
            bev.set_fd(bev.fd)
        with pytest.raises(OSError, match=os.strerror(9)):
            bev.set_fd(99_999)
        bev.write(b"works")
        run_until(base, lambda: not bev.output)
        assert b.recv(10) == b"works"


def test_set_fd_none_then_connect(base: ev.EventBase) -> None:
    heard: list[ev.What] = []
    with socket.create_server(("127.0.0.1", 0)) as server, socket_pair() as (a, b), ev.SocketBufferEvent(base, a) as bev:
        bev.set_callbacks(event=lambda bev, what: heard.append(what))
        bev.set_fd(None)
        assert bev.fd == -1
        assert b.recv(10) == b""
        bev.connect(server.getsockname())
        run_until(base, lambda: heard)
        assert heard == [ev.What.CONNECTED]
