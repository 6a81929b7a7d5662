"""Large messages stay in the socket until Python takes them: whoever looks finds them, and nothing is lost."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import signal
import socket
import termios
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from support import check_child

import pylibevent as ev
from pylibevent._libevent import lib
from pylibevent.bufferevent import transfer

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
        lib.pev_loop_set_much(base._h, 1000)
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


@pytest.mark.parametrize("meanwhile", ["nothing", "a look"])
def test_what_comes_later_is_told_of(base: ev.EventBase, connect: Callable[[], Ends], meanwhile: str) -> None:
    """Though the callback takes nothing, or looks after more has come than it was told of."""
    bev, peer, _ = connect()
    calls = []

    def read(bev: ev.BufferEvent) -> None:
        calls.append(bev)
        if meanwhile == "a look" and len(calls) == 1:
            peer.sendall(b"more")
            bev.set_timeouts(100)

    bev.set_callbacks(read=read)
    peer.sendall(MESSAGE)
    run(base)
    if meanwhile == "nothing":
        peer.sendall(b"more")
    run(base)
    assert len(calls) == 2
    assert bev.read() == MESSAGE + b"more"


@pytest.fixture
def after_taking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Have a signal's handler run when a read() has been told where its bytes are, and hasn't them yet."""
    take = transfer._take_fresh

    def arrange(handler: Callable[[], object]) -> None:
        def on_signal(number: int, frame: object) -> None:
            monkeypatch.setattr(transfer, "_take_fresh", take)
            handler()

        def timed(handle: Any) -> int:
            where: int = take(handle)
            signal.raise_signal(signal.SIGUSR1)
            return where

        before = signal.signal(signal.SIGUSR1, on_signal)
        restore.append(before)
        monkeypatch.setattr(transfer, "_take_fresh", timed)

    restore: list[Any] = []
    yield arrange
    for before in restore:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("size", [10, 999, 3000, len(MESSAGE)])
def test_a_handler_that_reads_another_one_meanwhile(
    base: ev.EventBase, connect: Callable[[], Ends], after_taking: Callable[[Callable[[], object]], None], size: int
) -> None:
    ends = [connect(), connect()]
    taken: dict[ev.BufferEvent, bytes] = {}

    def read(bev: ev.BufferEvent) -> None:
        (other,) = [end.bev for end in ends if end.bev is not bev]
        if other not in taken:
            after_taking(lambda: taken.update({other: other.read()}))
        taken[bev] = taken.get(bev, b"") + bev.read()

    for number, end in enumerate(ends):
        end.bev.set_callbacks(read=read)
        end.peer.sendall(b"%d" % number * size)
    run(base)
    assert [taken[end.bev] for end in ends] == [b"0" * size, b"1" * size]


def test_a_handler_that_closes_it_meanwhile(
    base: ev.EventBase, connect: Callable[[], Ends], after_taking: Callable[[Callable[[], object]], None]
) -> None:
    """The descriptor becomes another socket's, whose bytes are nobody else's."""
    bev, peer, _ = connect()
    fd = bev.fd
    others: list[socket.socket] = []

    def read(bev: ev.BufferEvent) -> None:
        after_taking(handler)
        with pytest.raises(ev.ClosedError):
            bev.read()

    def handler() -> None:
        bev.abort()
        others.extend(socket.socketpair())
        assert fd in [other.fileno() for other in others]
        for other in others:
            other.send(b"not yours")

    bev.set_callbacks(read=read)
    peer.sendall(MESSAGE)
    run(base)
    for other in others:
        assert other.recv(100) == b"not yours"
        other.close()


def test_sockets_of_others_are_read_at_once(base: ev.EventBase) -> None:
    """Whoever keeps the socket may read from it too, or have it block."""
    ours, peer = socket.socketpair()
    seen = []
    with ours, peer, ev.SocketBufferEvent(base, ours, ev.Option(0)) as bev:
        bev.set_callbacks(read=lambda bev: seen.append((left_in(bev.fd), bev.read())))
        bev.enable(READ)
        for _ in range(2):
            peer.sendall(MESSAGE)
            run(base)
        bev.abort()
    assert seen == [(0, MESSAGE)] * 2


def test_a_pass_has_its_fill_of_them_where_there_are_priorities() -> None:
    """The more urgent come first from the next pass on."""
    size = 100_000
    with ev.EventBase(priorities=2) as base, contextlib.ExitStack() as stack:
        read: list[int] = []
        peers = []
        for _ in range(8):
            ours, peer = socket.socketpair()
            peers.append(stack.enter_context(peer))
            bev = ev.SocketBufferEvent(base, ours)
            stack.callback(bev.abort)
            bev.set_callbacks(read=lambda bev: read.append(len(bev.read())))
            bev.enable(READ)
            peer.sendall(bytes(size))
            run(base)
        read.clear()
        for peer in peers:
            peer.sendall(bytes(size))
        before = base.statistics.cut_short
        run(base)
        assert read == [size] * 8
        assert base.statistics.cut_short - before == 2  # each time that it was more than 256 KiB


FORK = """
import os, socket, sys
import pylibevent as ev
from pylibevent._libevent import lib

size = 50_000
with ev.EventBase() as base:
    lib.pev_loop_set_much(base._h, 1000)
    peers, bevs, got = [], [], {}
    children = []

    def read(bev):
        if not children:
            children.append(os.fork())
            if children == [0]:
                base.reinit()
                for other in bevs:
                    LOOK
                os._exit(0)
            os.waitpid(children[0], 0)
        got[bev] = got.get(bev, 0) + len(bev.read())

    for _ in range(2):
        ours, peer = socket.socketpair()
        peers.append(peer)
        bevs.append(ev.SocketBufferEvent(base, ours))
    for bev, peer in zip(bevs, peers):
        bev.set_callbacks(read=lambda bev: bev.read())
        bev.enable(ev.EventFlag.READ)
        peer.sendall(bytes(2000))
        base.loop(ev.LoopFlag.NONBLOCK)
        bev.set_callbacks(read=read)
        peer.sendall(bytes(size))
    for _ in range(5):
        base.loop(ev.LoopFlag.NONBLOCK)
    assert list(got.values()) == [size, size], got
    for bev, peer in zip(bevs, peers):
        bev.abort()
        peer.close()
"""


@pytest.mark.parametrize("look", ["repr(other)", "other.disable()", "other.set_callbacks()", "os.close(other.detach())"])
def test_a_child_takes_nothing_of_its_parent(look: str) -> None:
    check_child(FORK.replace("LOOK", look))
