"""What a bufferevent is made on: streams of any kind, and neither datagrams, nor a socket that listens or is gone."""

from __future__ import annotations

import errno
import os
import pty
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Certificates
from support import run_until, socket_pair

import pylibevent as ev

READ = ev.EventFlag.READ


class Own(socket.socket):
    """A class of somebody's, as monkey patches have them."""


def udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def tcp() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


NO_STREAMS: dict[str, Callable[[], socket.socket]] = {
    "udp": udp,
    "udp, non-blocking": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC),
    "udp, IPv6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "unix datagrams": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    "own class": lambda: Own(socket.AF_INET, socket.SOCK_DGRAM),
}


@pytest.fixture
def server(certificates: Certificates) -> ev.TLSContext:
    return ev.TLSContext.server(certificates.cert, certificates.key)


@pytest.mark.parametrize("options", [ev.Option.CLOSE_ON_FREE, ev.Option(0)], ids=["owned", "lent"])
@pytest.mark.parametrize("name", NO_STREAMS)
def test_datagrams_are_no_stream(base: ev.EventBase, server: ev.TLSContext, name: str, options: ev.Option) -> None:
    with NO_STREAMS[name]() as sock:
        blocking = sock.getblocking()
        calls: list[Callable[[], object]] = [
            lambda: ev.SocketBufferEvent(base, sock, options),
            lambda: ev.TLSBufferEvent.accept(base, sock, server, options=options),
            lambda: ev.TLSBufferEvent.accept(base, sock, server, options=options, direct=True),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="sock must be a stream socket, not one of SOCK_DGRAM"):
                call()
        with ev.SocketBufferEvent(base, None, options) as bev, pytest.raises(ValueError, match="must be a stream socket"):
            bev.set_fd(sock)
        assert sock.fileno() >= 0
        assert sock.getblocking() == blocking


@pytest.mark.parametrize("how", ["socket", "descriptor"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_one_that_listens_carries_no_bytes(
    base: ev.EventBase, server: ev.TLSContext, family: int, how: str, tmp_path: Any
) -> None:
    with socket.socket(family) as sock:
        sock.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s"))
        sock.listen()
        given: Any = sock if how == "socket" else sock.fileno()
        calls: list[Callable[[], object]] = [
            lambda: ev.SocketBufferEvent(base, given),
            lambda: ev.TLSBufferEvent.accept(base, given, server),
            lambda: ev.TLSBufferEvent.accept(base, given, server, direct=True),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=r"listens.*Listener.from_socket"):
                call()
        with ev.SocketBufferEvent(base) as bev, pytest.raises(ValueError, match="listens"):
            bev.set_fd(given)
        with ev.Listener.from_socket(base, sock, None):
            pass


def streams() -> Iterator[tuple[Any, Any]]:
    yield socket.socketpair()
    yield socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one, other = socket.socketpair()
    yield Own(fileno=one.detach()), other


@pytest.mark.parametrize("n", range(3), ids=["stream", "seqpacket", "own class"])
def test_streams_are(base: ev.EventBase, n: int) -> None:
    for i, (one, other) in enumerate(streams()):
        with one, other:
            if i != n:
                continue
            with ev.SocketBufferEvent(base, one) as bev:
                bev.enable(READ)
                other.send(b"abc")
                run_until(base, lambda: len(bev.input) == 3)
                bev.write(b"def")
                run_until(base, lambda: not bev.output)
                assert other.recv(3) == b"def"
            assert one.fileno() == -1


def test_pipes_and_terminals_are(base: ev.EventBase) -> None:
    for make in (os.pipe, pty.openpty):
        one, other = make()
        try:
            with ev.SocketBufferEvent(base, one) as bev:
                bev.enable(READ)
                os.write(other, b"abc\n")
                run_until(base, lambda: len(bev.input) >= 4)
        finally:
            os.close(other)


def test_a_socket_not_connected_yet_is(base: ev.EventBase) -> None:
    with tcp() as listening:
        listening.listen()
        with ev.SocketBufferEvent(base, socket.socket()) as bev:
            happened: list[ev.What] = []
            bev.set_callbacks(event=lambda bev, what: happened.append(what))
            bev.connect(listening.getsockname())
            run_until(base, lambda: happened)
        assert happened == [ev.What.CONNECTED]


def test_one_that_was_taken_over_says_so(base: ev.EventBase, server: ev.TLSContext) -> None:
    with socket_pair() as (one, _other), ev.SocketBufferEvent(base, one):
        calls: list[Callable[[], object]] = [
            lambda: ev.SocketBufferEvent(base, one),
            lambda: ev.TLSBufferEvent.accept(base, one, server),
            lambda: base.event(one, READ, print),
            lambda: ev.Listener.from_socket(base, one, None),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="is closed, or was taken over"):
                call()


# ---------------------------------------------------------------- what the system refuses


def closed_descriptor() -> int:
    with socket.socket() as sock:
        return sock.fileno()


def test_a_bad_descriptor_is_named(base: ev.EventBase, server: ev.TLSContext) -> None:
    fd = closed_descriptor()
    calls: list[Callable[[], object]] = [
        lambda: ev.SocketBufferEvent(base, fd),
        lambda: ev.TLSBufferEvent.accept(base, fd, server),
        lambda: base.event(fd, READ, print).add(),
        lambda: base.once(fd, READ, print),
        lambda: ev.Listener.from_socket(base, fd, None),
        lambda: ev.Buffer(b"x").write_to(fd),
        lambda: ev.Buffer().read_from(fd),
    ]
    for call in calls:
        with pytest.raises(OSError, match=rf"(fd|descriptor) {fd}\b") as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_a_regular_file_is_named(base: ev.EventBase) -> None:
    if base.method != "epoll":
        pytest.skip("only epoll refuses files")
    with tempfile.TemporaryFile() as file, ev.SocketBufferEvent(base, file, ev.Option(0)) as bev:
        for call in (lambda: base.event(file, READ, print).add(), lambda: bev.enable(READ)):
            with pytest.raises(PermissionError, match=rf"fd {file.fileno()}\b"):
                call()
        bev.abort()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_signal_that_nobody_may_watch_is_named(base: ev.EventBase, number: signal.Signals) -> None:
    with pytest.raises(OSError, match=rf"signal {int(number)}\b") as caught:
        base.signal(number, print)
    assert caught.value.errno == errno.EINVAL
