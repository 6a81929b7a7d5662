"""Large messages stay in the socket until Python takes them: whoever looks finds them, and nothing is lost."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import termios
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import pylibevent as ev
from pylibevent._libevent import lib

READ = ev.EventFlag.READ
NONBLOCK = ev.LoopFlag.NONBLOCK
MESSAGE = bytes(range(256)) * 16


class Ends(NamedTuple):
    bev: ev.SocketBufferEvent
    peer: socket.socket
    record: list[Any]


@pytest.fixture
def base() -> Iterator[ev.EventBase]:
    with ev.EventBase() as base:
        assert lib.pev_loop_set_much(base._h, 1000) == 0
        yield base


@pytest.fixture
def connect(base: ev.EventBase) -> Iterator[Callable[[], Ends]]:
    """Pairs whose last message was a large one, so that the next stays where it is."""
    made: list[Ends] = []

    def connect() -> Ends:
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = socket.create_connection(server.getsockname())
            sock, _ = server.accept()
        record: list[Any] = []
        bev = ev.SocketBufferEvent(base, sock)
        bev.set_callbacks(read=lambda bev: record.append(bev.read()), event=lambda bev, what: record.append(what))
        bev.enable(READ)
        peer.sendall(MESSAGE)
        while len(b"".join(record)) < len(MESSAGE):
            base.loop(ev.LoopFlag.ONCE)
        record.clear()
        made.append(Ends(bev, peer, record))
        return made[-1]

    yield connect
    for ends in made:
        ends.bev.abort()
        ends.peer.close()


def left_in(sock: int) -> int:
    """How many bytes wait in a socket."""
    room = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, room)
    return room[0]


def run(base: ev.EventBase) -> None:
    base.loop(NONBLOCK)


def test_they_wait_in_the_socket(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    bev, peer, _ = connect()
    seen = []

    def read(bev: ev.BufferEvent) -> None:
        seen.append(left_in(fd))
        seen.append(bev.read())
        seen.append(left_in(fd))

    fd = bev.fd
    bev.set_callbacks(read=read)
    peer.sendall(MESSAGE)
    run(base)
    assert seen == [len(MESSAGE), MESSAGE, 0]


LOOKS: dict[str, Callable[[ev.BufferEvent], Any]] = {
    "read": lambda bev: bev.read(),
    "read some": lambda bev: bev.read(10) + bev.read(),
    "read into": lambda bev: (room := bytearray(len(MESSAGE)), bev.read_into(room)) and bytes(room),
    "length": lambda bev: len(bev.input) == len(MESSAGE) and bev.read(),
    "search": lambda bev: bev.input.search(b"\xff") == 255 and bev.read(),
    "freeze": lambda bev: bev.input.freeze(start=True) or bev.input.unfreeze(start=True) or bev.read(),
    "disable": lambda bev: bev.disable(READ) or bev.read(),
    "marks": lambda bev: bev.set_watermark(READ, 0, 5) or bev.read(),
    "limit": lambda bev: bev.set_rate_limit(ev.RateLimit(10, 10)) or bev.read(),
    "priority": lambda bev: setattr(bev, "priority", 0) or bev.read(),
}


@pytest.mark.parametrize("how", LOOKS)
def test_whoever_looks_finds_them(base: ev.EventBase, connect: Callable[[], Ends], how: str) -> None:
    bev, peer, _ = connect()
    found = []
    bev.set_callbacks(read=lambda bev: found.append(LOOKS[how](bev)))
    peer.sendall(MESSAGE)
    run(base)
    assert found == [MESSAGE]


def test_who_does_not_take_them_finds_them_in_the_input(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    bev, peer, _ = connect()
    lengths = []
    bev.set_callbacks(read=lambda bev: lengths.append(True))
    peer.sendall(MESSAGE)
    run(base)
    assert lengths
    assert left_in(bev.fd) == 0
    assert bev.read() == MESSAGE


def test_they_are_passed_on(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    (one, peer, _), (other, far, _) = connect(), connect()
    one.set_callbacks(read=lambda bev: other.write_buffer(bev.input))
    for _ in range(3):
        peer.sendall(MESSAGE)
        run(base)
        assert far.recv(2 * len(MESSAGE), socket.MSG_WAITALL | socket.MSG_DONTWAIT) == MESSAGE


def test_the_end_comes_after_them(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    _, peer, record = connect()
    peer.sendall(MESSAGE)
    peer.shutdown(socket.SHUT_WR)
    run(base)
    run(base)
    assert record == [MESSAGE, ev.What.READING | ev.What.EOF]


def test_an_end_alone_is_not_read(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    _, peer, record = connect()
    peer.shutdown(socket.SHUT_WR)
    run(base)
    assert record == [ev.What.READING | ev.What.EOF]


def test_a_reset_alone_is_not_read(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    bev, peer, record = connect()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    run(base)
    assert record == [ev.What.READING | ev.What.ERROR]
    assert isinstance(bev.error, ConnectionResetError)


def test_what_fails_in_between_is_told(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    """The callback that comes first takes the other's descriptor away."""
    ends = [connect(), connect()]
    null = os.open(os.devnull, os.O_WRONLY)
    fds = [end.bev.fd for end in ends]
    kept = [os.dup(fd) for fd in fds]
    order: list[int] = []

    def read(number: int) -> Callable[[ev.BufferEvent], None]:
        def on_read(bev: ev.BufferEvent) -> None:
            ends[number].record.append(bev.read())
            if not order:
                os.dup2(null, fds[1 - number])
            order.append(number)

        return on_read

    for number, end in enumerate(ends):
        end.bev.set_callbacks(read=read(number), event=end.bev.callbacks.event)
        end.peer.sendall(MESSAGE)
    run(base)
    first, second = order
    assert ends[first].record == [MESSAGE]
    assert ends[second].record == [b""]
    os.dup2(kept[second], fds[second])
    run(base)
    assert ends[second].record == [b"", ev.What.READING | ev.What.ERROR]
    error = ends[second].bev.error
    assert isinstance(error, OSError)
    assert error.errno == errno.EBADF
    for fd in (null, *kept):
        os.close(fd)


def test_a_close_leaves_nothing_unread(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    """The system would reset the connection."""
    bev, peer, _ = connect()
    bev.set_callbacks(read=lambda bev: bev.close())
    peer.sendall(MESSAGE)
    run(base)
    assert peer.recv(1) == b""


def test_what_an_exception_left_is_kept(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    (one, peer, _), (_, far, record) = connect(), connect()
    one.set_callbacks(read=lambda bev: 1 / 0)
    for sender in (peer, far):
        sender.sendall(MESSAGE)
    with pytest.raises(ZeroDivisionError):
        run(base)
    assert one.read() == MESSAGE
    run(base)
    assert record == [MESSAGE]


def test_small_ones_again(base: ev.EventBase, connect: Callable[[], Ends]) -> None:
    bev, peer, record = connect()
    for size in (10, 4096, 4096, 999, 5000, 1, 1):
        peer.sendall(MESSAGE[:size] if size <= len(MESSAGE) else b"x" * size)
        run(base)
    assert [len(data) for data in record] == [10, 4096, 4096, 999, 5000, 1, 1]
    assert not bev.read()
