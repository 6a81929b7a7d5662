"""Attempts to connect: that take too long, that follow each other, that are given up in between; closing while connecting."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import socket
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from dns_table import SILENT, NameServer
from support import GIVE_UP, reserved_port, run_until, socket_pair

import pylibevent as ev

CONNECTED, ERROR = ev.What.CONNECTED, ev.What.ERROR
READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE


@pytest.fixture
def server(base: ev.EventBase) -> Iterator[NameServer]:
    with NameServer(base) as server:
        yield server


@pytest.fixture
def dns(base: ev.EventBase, server: NameServer) -> Iterator[ev.DNSBase]:
    with server.resolver(base) as dns:
        yield dns


@pytest.fixture
def refusing() -> Iterator[tuple[str, int]]:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        yield ("127.0.0.1", sock.getsockname()[1])


@contextlib.contextmanager
def deaf(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    """A listener whose queue is full: who connects to it waits."""
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        sock.bind((host, port))
        sock.listen(0)
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.1)
            try:
                client.connect(sock.getsockname())
            except TimeoutError:
                break
        yield sock


def settle(base: ev.EventBase) -> None:
    for _ in range(10):
        base.loop(ev.LoopFlag.NONBLOCK)


def listen_to(bev: ev.BufferEvent) -> list[Any]:
    heard: list[Any] = []
    bev.set_callbacks(event=lambda bev, what: heard.append((what, type(bev.error))))
    return heard


# ---------------------------------------------------------------- too long


@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.THREADSAFE], ids=str)
def test_the_write_timeout_is_that_of_connecting(base: ev.EventBase, options: ev.Option) -> None:
    with deaf() as sock, ev.SocketBufferEvent(base, None, options | ev.Option.CLOSE_ON_FREE) as bev:
        heard = listen_to(bev)
        bev.set_timeouts(write=0.1)
        bev.enable()
        bev.connect(sock.getsockname())
        run_until(base, lambda: heard)
        settle(base)
        assert heard == [(ev.What.TIMEOUT | ev.What.WRITING, TimeoutError)]
        assert isinstance(bev.error, OSError)
        assert bev.error.errno == errno.ETIMEDOUT
        assert bev.fd == -1
        assert "connecting" not in repr(bev)


def test_without_a_timeout_it_waits(base: ev.EventBase) -> None:
    with deaf() as sock, ev.SocketBufferEvent(base) as bev:
        heard = listen_to(bev)
        bev.connect(sock.getsockname())
        base.loopexit(0.2)
        polls = base.statistics.polls
        base.dispatch()
        assert heard == []
        assert "connecting" in repr(bev)
        assert base.statistics.polls - polls < 20
        assert base.num_events > 0


def test_after_a_timeout_the_next_address(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    server.table["two.test", "A"] = ["127.0.0.1", "127.0.0.2"]
    with deaf() as first, socket.socket() as second, ev.SocketBufferEvent(base) as bev:
        second.bind(("127.0.0.2", first.getsockname()[1]))
        second.listen()
        heard = listen_to(bev)
        bev.set_timeouts(write=0.1)
        bev.connect_hostname("two.test", first.getsockname()[1], dns, family=socket.AF_INET)
        run_until(base, lambda: heard)
        settle(base)
        assert heard == [(CONNECTED, type(None))]
        assert bev.getpeername()[0] == "127.0.0.2"


# ---------------------------------------------------------------- one after the other


def test_many_addresses_that_refuse(base: ev.EventBase, dns: ev.DNSBase, server: NameServer, refusing: tuple[str, int]) -> None:
    """There is one error, that of the last."""
    server.table["many.test", "A"] = [f"127.0.1.{n}" for n in range(1, 25)]
    with ev.SocketBufferEvent(base) as bev:
        heard = listen_to(bev)
        bev.connect_hostname("many.test", refusing[1], dns, family=socket.AF_INET)
        run_until(base, lambda: heard)
        settle(base)
        assert heard == [(ERROR, ConnectionRefusedError)]


def test_what_was_written_meanwhile_goes_to_who_answers(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    server.table["two.test", "A"] = ["127.0.0.1", "127.0.0.3"]
    with (
        reserved_port() as port,  # of 127.0.0.1, which refuses
        ev.Listener.bind(base, ("127.0.0.3", port), None) as listener,
        ev.SocketBufferEvent(base) as bev,
    ):
        got = bytearray()
        accepted: list[ev.SocketBufferEvent] = []

        def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
            one = ev.SocketBufferEvent(base, sock)
            one.set_callbacks(read=lambda bev: got.extend(bev.read()))
            one.enable()
            accepted.append(one)

        listener.set_callback(on_accept)
        data = bytes(range(256)) * 4000
        bev.write(data[:1000])
        bev.connect_hostname("two.test", listener.address[1], dns, family=socket.AF_INET)
        bev.write(data[1000:])
        run_until(base, lambda: len(got) == len(data))
        assert got == data
        accepted[0].close()


def test_connecting_again_in_the_event_callback(base: ev.EventBase, refusing: tuple[str, int]) -> None:
    """The way to try again: from the callback that hears of the failure, on the same bufferevent."""
    with socket.create_server(("127.0.0.1", 0)) as server, ev.SocketBufferEvent(base) as bev:
        heard: list[ev.What] = []

        def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
            assert isinstance(bev, ev.SocketBufferEvent)
            heard.append(what)
            if what & ERROR:
                bev.connect(refusing if len(heard) < 5 else server.getsockname())

        bev.set_callbacks(event=on_event)
        bev.connect(refusing)
        run_until(base, lambda: heard and heard[-1] == CONNECTED)
        assert heard == [ERROR] * 5 + [CONNECTED]
        bev.write(b"works")
        bev.enable()
        with server.accept()[0] as theirs:
            run_until(base, lambda: not bev.output)
            assert theirs.recv(10) == b"works"
            theirs.close()
            run_until(base, lambda: len(heard) == 7)
        assert heard[-1] == ev.What.READING | ev.What.EOF


@pytest.mark.parametrize("end", ["eof", "reset"])
def test_after_an_end_to_a_new_peer_with_set_fd(base: ev.EventBase, end: str) -> None:
    """The bufferevent outlives its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server, ev.SocketBufferEvent(base) as bev:
        heard: list[Any] = []
        bev.set_callbacks(read=lambda bev: heard.append(bev.read()), event=lambda bev, what: heard.append(what))
        for n in range(3):
            bev.connect(server.getsockname())
            run_until(base, lambda: heard and heard[-1] == CONNECTED)
            bev.enable()
            theirs, _ = server.accept()
            theirs.sendall(b"%d" % n)
            run_until(base, lambda n=n: heard[-1] == b"%d" % n)
            if end == "reset":
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            theirs.close()
            run_until(
                base, lambda: heard[-1] & ~ev.What.READING in (ev.What.EOF, ERROR) if isinstance(heard[-1], ev.What) else 0
            )
            bev.set_fd(None)
            assert bev.error is None
        assert len(heard) == 9


# ---------------------------------------------------------------- given up


@pytest.mark.parametrize("how", ["close", "abort", "base"])
@pytest.mark.parametrize("when", ["resolving", "trying", "refused"])
def test_given_up_while(how: str, when: str) -> None:
    with ev.EventBase() as base, contextlib.ExitStack() as stack:
        server = stack.enter_context(NameServer(base, {("silent.test", "A"): SILENT, ("some.test", "A"): ["127.0.0.1"] * 3}))
        dns = stack.enter_context(server.resolver(base))
        bev = ev.SocketBufferEvent(base)
        heard = listen_to(bev)
        port = 9
        if when == "trying":
            port = stack.enter_context(deaf()).getsockname()[1]
        elif when == "refused":
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        bev.connect_hostname("silent.test" if when == "resolving" else "some.test", port, dns, family=socket.AF_INET)
        run_until(base, lambda: server.asked)
        if when == "trying":
            run_until(base, lambda bev=bev: bev.fd >= 0)
        elif when == "refused":
            base.loop(ev.LoopFlag.NONBLOCK)
        if how == "base":
            base.close()
        else:
            getattr(bev, how)()
            settle(base)
        assert len(heard) <= (1 if when == "refused" else 0)
        assert bev.closed
        alive = weakref.ref(bev)
        del bev
        gc.collect()
        assert alive() is None


def test_closed_by_an_earlier_callback_of_the_pass_in_which_it_failed(base: ev.EventBase, refusing: tuple[str, int]) -> None:
    bevs = [ev.SocketBufferEvent(base) for _ in range(2)]
    called: list[ev.BufferEvent] = []

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        called.append(bev)
        for other in bevs:
            other.close()

    for bev in bevs:
        bev.set_callbacks(event=on_event)
        bev.connect(refusing)
    settle(base)
    assert len(called) == 1
    assert base.dispatch() is True


def test_closed_while_connecting_sends_what_was_written(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bev = ev.SocketBufferEvent(base)
        bev.set_callbacks(event=lambda bev, what: pytest.fail("closed"))
        bev.connect(server.getsockname())
        bev.write(b"last words")
        bev.close()
        theirs, _ = server.accept()
        with theirs:
            run_until(base, lambda: readable(theirs))
            assert theirs.recv(100) == b"last words"
            theirs.close()
        assert base.dispatch() is True


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def test_closed_while_connecting_in_vain(base: ev.EventBase, refusing: tuple[str, int]) -> None:
    bev = ev.SocketBufferEvent(base)
    bev.connect(refusing)
    bev.write(b"never sent")
    bev.close()
    assert base.dispatch() is True


def test_closed_while_connecting_to_who_never_answers(base: ev.EventBase) -> None:
    with deaf() as sock:
        bev = ev.SocketBufferEvent(base)
        bev.connect(sock.getsockname())
        bev.write(b"never sent")
        bev.close(timeout=0.1)
        assert base.dispatch() is True


# ---------------------------------------------------------------- closing what is connected


def test_the_deadline_of_a_close(base: ev.EventBase) -> None:
    """A peer over AF_UNIX that never reads."""
    with socket_pair() as (one, other), base.timer(GIVE_UP, lambda event, what: pytest.fail("it waits for ever")) as late:
        bev = ev.SocketBufferEvent(base, one)
        bev.write(b"x" * 5_000_000)
        bev.close(timeout=0.1)
        run_until(base, lambda: base.num_events == 2)  # the two timers of the test
        late.close()
        got = 0
        while chunk := other.recv(1_000_000):
            got += len(chunk)
        assert 0 < got < 5_000_000


def test_no_time_to_close(base: ev.EventBase) -> None:
    with socket_pair() as (one, other):
        bev = ev.SocketBufferEvent(base, one)
        fd = bev.fd
        bev.disable(ev.EventFlag.WRITE)
        bev.write(b"dropped")
        bev.close(timeout=0)
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(fd)
        assert other.recv(10) == b""
        assert base.dispatch() is True


@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE], ids=str)
def test_all_that_was_written_arrives_through_every_obstacle(base: ev.EventBase, options: ev.Option) -> None:
    """Writing disabled, marks set, little at a time: a close sends it all the same."""
    with socket_pair() as (one, other):
        bev = ev.SocketBufferEvent(base, one, options | ev.Option.CLOSE_ON_FREE)
        bev.set_callbacks(*[lambda *arguments: pytest.fail("closed")] * 3)
        bev.set_watermark(READ | WRITE, 10, 20)
        bev.max_single_write = 1000
        bev.disable()
        data = bytes(range(256)) * 2000
        bev.write(data)
        bev.close()
        bev.close()
        got = bytearray()
        while len(got) < len(data):
            base.loop(ev.LoopFlag.NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                got += other.recv(100_000)
        assert got == data
        run_until(base, lambda: readable(other))
        assert other.recv(1) == b""
        assert base.dispatch() is True


def test_a_peer_that_resets_ends_the_wait(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    bev = ev.SocketBufferEvent(base, ours)
    bev.write(b"x" * 20_000_000)
    bev.close(timeout=1e9)
    settle(base)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    assert base.dispatch() is True
