"""SocketBufferEvent.connect(): upstream's clients and servers, every address family, and every way to fail."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import GIVE_UP, check_child, run_until

import pylibevent as ev

TEST_STR = b"Now is the time for all good events to signal for the good of their protocol\0"
READ = ev.EventFlag.READ


@contextlib.contextmanager
def greeter(
    base: ev.EventBase, options: ev.Option, address: Any = ("127.0.0.1", 0), *, stays: bool = False
) -> Iterator[ev.Listener]:
    """A listener that sends TEST_STR to everybody, and closes when it is sent unless it stays."""
    greeting: list[ev.SocketBufferEvent] = []

    def sent(bev: ev.BufferEvent) -> None:
        if not bev.output and not stays:
            bev.disable()
            bev.close()

    def failed(bev: ev.BufferEvent, what: ev.What) -> None:
        raise AssertionError(what)

    def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        bev = ev.SocketBufferEvent(base, sock, options)
        greeting.append(bev)
        bev.set_callbacks(write=sent, event=failed)
        bev.write(TEST_STR)

    with ev.Listener.bind(base, address, accepted, backlog=16) as listener:
        yield listener
    for bev in greeting:
        bev.abort()


def connect_two_clients(base: ev.EventBase, options: ev.Option) -> None:
    strings: list[bytes] = []
    reads: list[ev.BufferEvent] = []
    connected: list[ev.BufferEvent] = []

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        assert not what & ev.What.ERROR, bev.error
        if what & ev.What.CONNECTED:
            connected.append(bev)
            bev.enable(READ)
        if what & ev.What.EOF:
            strings.append(bev.read(511))
            if len(strings) == 2:
                base.loopexit()

    options |= ev.Option.CLOSE_ON_FREE
    with greeter(base, options) as listener:
        clients = [ev.SocketBufferEvent(base, None, options) for _ in range(2)]
        for client in clients:
            client.set_callbacks(read=reads.append, event=on_event)
            client.enable(READ)
        for client in clients:
            client.connect(listener.address)
        base.dispatch()
        for client in clients:
            client.abort()
    assert strings == [TEST_STR, TEST_STR]
    assert len(reads) >= 2
    assert len(connected) == 2


def test_connect(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect: two clients get a greeting and its end."""
    connect_two_clients(base, ev.Option(0))


def test_connect_deferred(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect_defer"""
    connect_two_clients(base, ev.Option.DEFER_CALLBACKS)


def test_connect_with_a_lock(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect_lock"""
    connect_two_clients(base, ev.Option.THREADSAFE)


def test_connect_deferred_with_a_lock(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect_lock_defer"""
    connect_two_clients(base, ev.Option.THREADSAFE | ev.Option.DEFER_CALLBACKS)


def test_connect_with_unlocked_callbacks(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect_unlocked_cbs"""
    connect_two_clients(base, ev.Option.THREADSAFE | ev.Option.DEFER_CALLBACKS | ev.Option.UNLOCK_CALLBACKS)


@contextlib.contextmanager
def refusing() -> Iterator[socket.socket]:
    """A port that is taken, and that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_refused(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect_fail"""
    heard: list[tuple[ev.What, int | None]] = []

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        assert isinstance(bev.error, ConnectionRefusedError)
        heard.append((what, bev.error.errno))
        base.loopexit()

    with (
        refusing() as sock,
        ev.SocketBufferEvent(base, None, ev.Option.CLOSE_ON_FREE | ev.Option.DEFER_CALLBACKS) as bev,
        base.timer(0.3, lambda timer, what: sock.close()),
    ):
        bev.set_callbacks(event=on_event)
        bev.connect(sock.getsockname())
        base.dispatch()
    assert heard == [(ev.What.ERROR, errno.ECONNREFUSED)]


def refused_once(base: ev.EventBase, options: ev.Option) -> None:
    events: list[ev.What] = []
    data: list[ev.BufferEvent] = []
    with refusing() as sock, ev.SocketBufferEvent(base, None, options) as bev:
        bev.set_callbacks(data.append, data.append, lambda bev, what: events.append(what))
        bev.enable()
        assert (events, data) == ([], [])
        bev.connect(sock.getsockname())
        assert (events, data) == ([], [])
        with base.timer(0.3, lambda timer, what: sock.close()):
            base.dispatch()
    assert (events, data) == ([ev.What.ERROR], [])


def test_refused_calls_back_once(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect_fail_eventcb: one event, nothing else, after 0.3 s more too."""
    refused_once(base, ev.Option.CLOSE_ON_FREE)


def test_refused_calls_back_once_deferred(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_connect_fail_eventcb_defer"""
    refused_once(base, ev.Option.CLOSE_ON_FREE | ev.Option.DEFER_CALLBACKS)


def trigger(base: ev.EventBase, options: ev.Option, *, defer: bool) -> None:
    options |= ev.Option.CLOSE_ON_FREE
    reads: list[str] = []
    events: list[ev.What] = []
    everything = ev.What(sum(ev.What)) & ~ev.What.CONNECTED  # which would come by itself, before all others

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        events.append(what)
        if what == everything:
            base.loopexit()
        else:
            assert not what & ev.What.ERROR, bev.error

    def triggered(bev: ev.BufferEvent) -> None:
        reads.append("triggered")
        bev.trigger_event(everything)

    def on_read(bev: ev.BufferEvent) -> None:
        reads.append("read")
        bev.set_callbacks(read=triggered, event=on_event)
        low, high = bev.watermark(READ)
        bev.set_watermark(READ, len(bev.input) + 1, 0)
        bev.trigger(READ, defer=defer)
        assert reads == ["read"]
        bev.trigger(READ, ignore_watermarks=True, defer=defer)
        assert reads == ["read"]  # no callback runs inside of another
        bev.set_watermark(READ, low, high)

    with greeter(base, options, stays=True) as listener, ev.SocketBufferEvent(base, None, options) as bev:
        bev.set_callbacks(read=on_read, event=on_event)
        bev.enable(READ)
        bev.connect(listener.address)
        run_until(base, lambda: everything in events)
    assert reads == ["read", "triggered"]
    assert events.count(everything) == 1


def test_trigger(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_trigger: marks hold it back, unless they are to be ignored."""
    trigger(base, ev.Option(0), defer=False)


def test_trigger_deferred(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_trigger_defer"""
    trigger(base, ev.Option.DEFER_CALLBACKS, defer=False)


def test_trigger_postponed(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_trigger_postpone"""
    trigger(base, ev.Option(0), defer=True)


def test_trigger_deferred_and_postponed(base: ev.EventBase) -> None:
    """regress_bufferevent.c bufferevent/bufferevent_trigger_defer_postpone"""
    trigger(base, ev.Option.DEFER_CALLBACKS, defer=True)


def served(base: ev.EventBase, address: Any) -> None:
    """A greeting and its end come by this address."""
    ended: list[ev.What] = []
    with greeter(base, ev.Option.CLOSE_ON_FREE, address) as listener, ev.SocketBufferEvent(base) as bev:
        bev.set_callbacks(event=lambda bev, what: ended.append(what))
        bev.enable(READ)
        bev.connect(listener.address)
        run_until(base, lambda: len(ended) == 2)
        assert bev.read() == TEST_STR
        assert ended == [ev.What.CONNECTED, ev.What.READING | ev.What.EOF]
        assert bev.error is None
        assert bev.getpeername() == listener.address


def test_connect_over_ipv6(base: ev.EventBase) -> None:
    served(base, ("::1", 0))


def test_connect_to_a_path(base: ev.EventBase, tmp_path: Path) -> None:
    served(base, str(tmp_path / "socket"))


def test_connect_to_an_abstract_name(base: ev.EventBase) -> None:
    served(base, f"\0pylibevent-test-{os.getpid()}")


def test_no_such_path(base: ev.EventBase, tmp_path: Path) -> None:
    with ev.SocketBufferEvent(base) as bev:
        bev.set_callbacks(event=lambda bev, what: pytest.fail("it was told already"))
        with pytest.raises(FileNotFoundError):
            bev.connect(str(tmp_path / "nobody"))
        base.dispatch()


def test_refused_by_a_path_nobody_listens_at(base: ev.EventBase, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    heard: list[ev.What] = []
    with socket.socket(socket.AF_UNIX) as sock, ev.SocketBufferEvent(base) as bev:
        sock.bind(path)
        bev.set_callbacks(event=lambda bev, what: heard.append(what))
        raised: OSError | None = None
        try:
            bev.connect(path)
        except OSError as error:
            raised = error
        base.dispatch()
        said = raised if raised is not None else bev.error
        assert isinstance(said, ConnectionRefusedError)
        assert heard == ([] if raised is not None else [ev.What.ERROR])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_refused_then_connected(base: ev.EventBase, family: socket.AddressFamily) -> None:
    """One that failed may be used for another try."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    heard: list[ev.What] = []
    with (
        socket.socket(family) as taken,
        socket.create_server((host, 0), family=family) as server,
        ev.SocketBufferEvent(base) as bev,
    ):
        taken.bind((host, 0))
        bev.set_callbacks(event=lambda bev, what: heard.append(what))
        bev.connect(taken.getsockname())
        run_until(base, lambda: heard)
        assert heard == [ev.What.ERROR]
        bev.connect(server.getsockname())
        run_until(base, lambda: len(heard) == 2)
        assert heard[1] == ev.What.CONNECTED


def test_connecting_twice_is_refused(base: ev.EventBase) -> None:
    heard: list[ev.What] = []
    with socket.create_server(("127.0.0.1", 0)) as server, ev.SocketBufferEvent(base) as bev:
        bev.set_callbacks(event=lambda bev, what: heard.append(what))
        bev.connect(server.getsockname())
        with pytest.raises(OSError, match=os.strerror(errno.EALREADY)):
            bev.connect(server.getsockname())
        run_until(base, lambda: heard)
        with pytest.raises(OSError, match=os.strerror(errno.EISCONN)):
            bev.connect(server.getsockname())
        assert heard == [ev.What.CONNECTED]


def test_a_reset_is_the_only_end(base: ev.EventBase) -> None:
    heard: list[ev.What] = []
    reads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server, ev.SocketBufferEvent(base) as bev:
        bev.set_callbacks(lambda bev: reads.append(bev.read()), None, lambda bev, what: heard.append(what))
        bev.enable(READ)
        bev.connect(server.getsockname())
        theirs, _ = server.accept()
        run_until(base, lambda: heard)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        run_until(base, lambda: len(heard) == 2)
        assert heard == [ev.What.CONNECTED, ev.What.READING | ev.What.ERROR]
        assert isinstance(bev.error, ConnectionResetError)
        assert bev.error.errno == errno.ECONNRESET
        with pytest.raises(BrokenPipeError):
            bev.write(b"into nothing")
        bev.enable()
        with base.timer(0.05, lambda timer, what: base.loopexit()):
            base.dispatch()
        assert len(heard) == 2
        assert reads == []


def test_closed_while_connecting(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bev = ev.SocketBufferEvent(base)
        bev.set_callbacks(event=lambda bev, what: pytest.fail("closed"))
        bev.connect(server.getsockname())
        bev.close()
        theirs, _ = server.accept()
        with theirs:
            theirs.settimeout(GIVE_UP)
            assert base.dispatch() is True
            assert theirs.recv(1) == b""


def test_written_before_it_is_connected_and_closed(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bev = ev.SocketBufferEvent(base)
        bev.connect(server.getsockname())
        bev.write(TEST_STR)
        bev.close()
        theirs, _ = server.accept()
        theirs.settimeout(GIVE_UP)
        with theirs:
            run_until(base, lambda: base.statistics.polls > 1)
            assert theirs.recv(1000) == TEST_STR
            assert theirs.recv(1) == b""
        assert base.dispatch() is True


FAILED_AT_ONCE = """
import pylibevent as ev

with ev.EventBase() as base:
    for _ in range(10):
        bev = ev.SocketBufferEvent(base)
        bev.set_callbacks(event=lambda bev, what: None)
        try:
            bev.connect_hostname("a" * 300, 80)
        except ValueError:
            bev.close()
        del bev
        base.loop(ev.LoopFlag.NONBLOCK)
print("end")
"""


def test_dropped_after_it_could_not_even_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed at once is told by the call alone; nothing is left that the next pass would look at."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")  # freed memory is overwritten
    assert check_child(FAILED_AT_ONCE) == "end\n"
