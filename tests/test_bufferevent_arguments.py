"""Every member of a bufferevent with what it doesn't take, and on one that is closed; what is not changed by it."""

from __future__ import annotations

import gc
import os
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from support import named, run_until, socket_pair

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE


@pytest.fixture
def bev(base: ev.EventBase) -> Iterator[ev.SocketBufferEvent]:
    one, other = socket.socketpair()
    with other, ev.SocketBufferEvent(base, one) as bev:
        yield bev
        bev.abort()


def state(bev: ev.SocketBufferEvent) -> Any:
    return (
        bev.fd,
        bev.enabled,
        bev.callbacks,
        bev.watermark(READ),
        bev.watermark(WRITE),
        bev.priority,
        bev.max_single_read,
        bev.max_single_write,
        len(bev.input),
        len(bev.output),
        bev.options,
        repr(bev),
    )


def refused(bev: ev.SocketBufferEvent, call: Any, *errors: type[Exception]) -> None:
    before = state(bev)
    with pytest.raises(errors or (TypeError, ValueError)):
        call()
    assert state(bev) == before


@pytest.mark.parametrize("data", [None, 1, "text", object(), [b"x"], (1, 2), 1.5, True])
def test_what_is_not_bytes_is_not_written(bev: ev.SocketBufferEvent, data: Any) -> None:
    refused(bev, lambda: bev.write(data), TypeError)


@pytest.mark.parametrize("buffer", [None, b"x", 1, "x", bytearray(b"x"), ev.Buffer])
def test_what_is_no_buffer_is_not_moved(bev: ev.SocketBufferEvent, buffer: Any) -> None:
    refused(bev, lambda: bev.write_buffer(buffer), TypeError)
    refused(bev, lambda: bev.read_buffer(buffer), TypeError)


@pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b""), ev.Buffer()], ids=lambda data: type(data).__name__)
def test_nothing_may_be_written(base: ev.EventBase, bev: ev.SocketBufferEvent, data: Any) -> None:
    called: list[object] = []
    bev.set_callbacks(write=called.append)
    if isinstance(data, ev.Buffer):
        bev.write_buffer(data)
    else:
        bev.write(data)
    for _ in range(3):
        base.loop(ev.LoopFlag.NONBLOCK)
    assert not called


@pytest.mark.parametrize(
    "data",
    [b"bytes", bytearray(b"bytearray"), memoryview(b"view"), memoryview(b"a cast view!").cast("I"), (b"x" * 5)[1:]],
    ids=lambda data: type(data).__name__,
)
def test_all_that_is_like_bytes_is_written(base: ev.EventBase, data: Any) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
        bev.write(data)
        run_until(base, lambda: not bev.output)
        assert other.recv(100) == bytes(data)


def test_views_with_gaps_are_refused_or_written_whole(base: ev.EventBase) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
        view = memoryview(b"abcdef")[::2]
        try:
            bev.write(view)
        except (TypeError, ValueError, BufferError):
            assert not bev.output
        else:
            run_until(base, lambda: not bev.output)
            assert other.recv(100) == b"ace"


@pytest.mark.parametrize("size", [-2, 2**63, 2**64, "1", 1.0, True, b""])
def test_sizes_that_are_none(bev: ev.SocketBufferEvent, size: Any) -> None:
    refused(bev, lambda: bev.read(size))


def test_a_read_of_nothing(bev: ev.SocketBufferEvent) -> None:
    for size in (0, 1, 2**40, -1, None):
        assert bev.read(size) == b""
    assert bev.read_into(bytearray()) == bev.read_into(bytearray(10)) == 0


@pytest.mark.parametrize(
    "target", [None, b"read only", "x", 1, memoryview(b"read only"), memoryview(bytearray(10))[::2]], ids=named
)
def test_targets_that_are_none(bev: ev.SocketBufferEvent, target: Any) -> None:
    refused(bev, lambda: bev.read_into(target), TypeError, ValueError, BufferError)


@pytest.mark.parametrize(
    "flag", [None, "READ", True, 1.0, ev.EventFlag.TIMEOUT, ev.EventFlag.SIGNAL, READ | ev.EventFlag.ET, -1, 2**20]
)
def test_flags_that_are_none(bev: ev.SocketBufferEvent, flag: Any) -> None:
    for call in (bev.enable, bev.disable, bev.set_watermark, bev.watermark, bev.trigger, bev.flush):
        refused(bev, lambda call=call: call(flag))


@pytest.mark.parametrize("what", [None, "EOF", True, 1.0, 4, 0x100, -1, 2**20])
def test_events_that_are_none(bev: ev.SocketBufferEvent, what: Any) -> None:
    refused(bev, lambda: bev.trigger_event(what))


@pytest.mark.parametrize("mark", [-1, 2**63, 2**64, None, "1", 1.0, True])
def test_marks_that_are_none(bev: ev.SocketBufferEvent, mark: Any) -> None:
    refused(bev, lambda: bev.set_watermark(READ, mark))
    refused(bev, lambda: bev.set_watermark(READ, 0, mark))


@pytest.mark.parametrize("mode", [None, "FLUSH", 3, -1, 1.5])
def test_modes_that_are_none(bev: ev.SocketBufferEvent, mode: Any) -> None:
    refused(bev, lambda: bev.flush(READ, mode))


@pytest.mark.parametrize("callback", [1, "f", b"", (), object()])
def test_callbacks_that_are_none(bev: ev.SocketBufferEvent, callback: Any) -> None:
    bev.set_callbacks(print, print, print)
    for name in ("read", "write", "event"):
        refused(bev, lambda name=name: bev.set_callbacks(**{name: callback}), TypeError)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e10, None, "1", True])
def test_closing_within_no_time(bev: ev.SocketBufferEvent, timeout: Any) -> None:
    refused(bev, lambda: bev.close(timeout=timeout))
    bev.write(b"x")
    refused(bev, lambda: bev.close(timeout=timeout))
    assert not bev.closed


@pytest.mark.parametrize("base", [None, 1, "base", object()])
def test_bases_that_are_none(base: Any) -> None:
    with socket_pair() as (one, _):
        with pytest.raises(TypeError, match="base"):
            ev.SocketBufferEvent(base, one)
        assert one.fileno() >= 0


def test_a_base_that_is_closed() -> None:
    with socket_pair() as (one, _), ev.EventBase() as base:
        base.close()
        with pytest.raises(ev.ClosedError):
            ev.SocketBufferEvent(base, one)
        assert one.fileno() >= 0


@pytest.mark.parametrize("sock", [-2, 2**31, 2**64, "1", 1.5, True, object(), (), b"", 99_999])
def test_sockets_that_are_none(base: ev.EventBase, bev: ev.SocketBufferEvent, sock: Any) -> None:
    errors = (OSError,) if sock == 99_999 else (TypeError, ValueError)
    with pytest.raises(errors):
        ev.SocketBufferEvent(base, sock)
    refused(bev, lambda: bev.set_fd(sock), *errors)


class Lying:
    """Has a fileno() that isn't one."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        return self.number


@pytest.mark.parametrize("number", [None, "1", -1, 2**40, 1.0])
def test_filenos_that_lie(base: ev.EventBase, number: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ev.SocketBufferEvent(base, Lying(number))


@pytest.mark.parametrize("options", [None, "x", True, 16, -1, 2**20, ev.Option.UNLOCK_CALLBACKS])
def test_options_that_are_none(base: ev.EventBase, options: Any) -> None:
    with socket_pair() as (one, _):
        with pytest.raises((TypeError, ValueError), match="options"):
            ev.SocketBufferEvent(base, one, options)
        assert one.fileno() >= 0


def test_a_regular_file_can_not_be_watched(base: ev.EventBase) -> None:
    """epoll refuses files: enable() says so, and the loop isn't kept by it."""
    with tempfile.TemporaryFile() as file, ev.SocketBufferEvent(base, file, ev.Option(0)) as bev:
        with pytest.raises(OSError, match=os.strerror(1)):
            bev.enable(READ)
        assert not bev.enabled & READ
        bev.abort()
    assert base.dispatch() is True


def test_a_pipe_is_a_stream_too(base: ev.EventBase) -> None:
    """Not a socket: reading works as in C, and whatever fails is told."""
    reading, writing = os.pipe()
    got: list[Any] = []
    with os.fdopen(writing, "wb", 0) as sender, ev.SocketBufferEvent(base, reading) as bev:
        bev.set_callbacks(read=lambda bev: got.append(bev.read()), event=lambda bev, what: got.append(what))
        bev.enable(READ)
        sender.write(b"hello")
        sender.close()
        run_until(base, lambda: len(got) == 2)
    assert got == [b"hello", ev.What.READING | ev.What.EOF]


# ---------------------------------------------------------------- connecting


@pytest.mark.parametrize(
    ("host", "port", "keywords"),
    [
        (None, 80, {}),
        (b"localhost", 80, {}),
        ("", 80, {}),
        ("a\0b", 80, {}),
        ("x" * 300, 80, {}),
        ("localhost", 0, {}),
        ("localhost", 65536, {}),
        ("localhost", "80", {}),
        ("localhost", None, {}),
        ("localhost", True, {}),
        ("localhost", 80, {"dns": 1}),
        ("localhost", 80, {"dns": object()}),
        ("localhost", 80, {"family": socket.AF_UNIX}),
        ("localhost", 80, {"family": None}),
        ("localhost", 80, {"family": "inet"}),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_hosts_that_are_none(base: ev.EventBase, host: Any, port: Any, keywords: Any) -> None:
    with ev.SocketBufferEvent(base) as bev:
        bev.set_callbacks(event=print)
        with pytest.raises((TypeError, ValueError)):
            bev.connect_hostname(host, port, **keywords)
        assert "open" in repr(bev) or "failed" in repr(bev)
        assert base.dispatch() is True


def test_a_resolver_of_another_base(base: ev.EventBase) -> None:
    """Its answers would come in another loop."""
    with ev.EventBase() as other, ev.DNSBase(other) as dns, ev.SocketBufferEvent(base) as bev:
        with pytest.raises(ValueError, match="base"):
            bev.connect_hostname("localhost", 80, dns)
        assert "connecting" not in repr(bev)


# ---------------------------------------------------------------- closed, or without a descriptor


def test_closed_ones_refuse_everything(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    bev = ev.SocketBufferEvent(base, one)
    other.close()
    bev.close()
    buffer = ev.Buffer(b"kept")
    for use in (
        lambda: bev.write(b"x"),
        lambda: bev.write_buffer(buffer),
        bev.read,
        lambda: bev.read_into(bytearray(1)),
        lambda: bev.read_buffer(buffer),
        lambda: len(bev.input),
        lambda: bev.output.write(b"x"),
        bev.set_callbacks,
        bev.enable,
        bev.disable,
        lambda: bev.enabled,
        bev.set_timeouts,
        lambda: bev.set_watermark(READ),
        lambda: bev.watermark(READ),
        lambda: bev.priority,
        lambda: setattr(bev, "priority", 0),
        bev.flush,
        lambda: bev.trigger(READ),
        lambda: bev.trigger_event(ev.What.EOF),
        lambda: bev.max_single_read,
        lambda: setattr(bev, "max_single_read", 1),
        lambda: bev.max_single_write,
        lambda: setattr(bev, "max_single_write", 1),
        lambda: bev.max_to_read,
        lambda: bev.max_to_write,
        lambda: bev.fd,
        lambda: bev.set_fd(None),
        bev.detach,
        bev.getpeername,
        bev.getsockname,
        lambda: bev.connect(("127.0.0.1", 80)),
        lambda: bev.connect_hostname("localhost", 80),
    ):
        with pytest.raises(ev.ClosedError, match="closed"):
            use()
    assert bytes(buffer) == b"kept"
    assert bev.closed
    assert bev.base is base
    assert bev.error is None
    assert bev.underlying is None
    assert bev.callbacks == (None, None, None)
    assert bev.options == ev.Option.CLOSE_ON_FREE
    assert repr(bev) == "<SocketBufferEvent closed>"


def test_one_without_a_descriptor(base: ev.EventBase) -> None:
    with ev.SocketBufferEvent(base) as bev:
        assert bev.fd == -1
        assert bev.detach() == -1
        for name in (bev.getpeername, bev.getsockname):
            with pytest.raises(OSError, match=os.strerror(9)):
                name()
        bev.enable()
        assert bev.enabled == READ | WRITE
        bev.write(b"for later")
        assert base.dispatch() is True
        assert len(bev.output) == 9
        assert repr(bev) == "<SocketBufferEvent open, 0 in, 9 out>"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_names_of_both_ends(base: ev.EventBase, family: socket.AddressFamily) -> None:
    """As the socket module writes them."""
    address: Any = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0), socket.AF_UNIX: "\0pylibevent-test"}[family]
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        with socket.socket(family) as client:
            client.connect(server.getsockname())
            accepted, _ = server.accept()
            names = client.getsockname(), client.getpeername(), accepted.getpeername()
            with ev.SocketBufferEvent(base, client, ev.Option(0)) as one, ev.SocketBufferEvent(base, accepted) as other:
                assert (one.getsockname(), one.getpeername(), other.getpeername()) == names


# ---------------------------------------------------------------- the socket itself


@pytest.mark.parametrize("nodelay", [True, False])
def test_small_writes_go_at_once(base: ev.EventBase, nodelay: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for connects in (False, True):
            sock = None if connects else socket.create_connection(server.getsockname())
            with ev.SocketBufferEvent(base, sock, nodelay=nodelay) as bev:
                if connects:
                    bev.connect(server.getsockname())
                with socket.socket(fileno=os.dup(bev.fd)) as same:
                    assert bool(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is nodelay
                    assert os.get_blocking(bev.fd) is False
                    assert os.get_inheritable(bev.fd) is False
                bev.abort()


def test_whose_the_socket_is(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    with one, other:
        with ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
            assert one.fileno() == bev.fd  # still its owner's
        other.send(b"x")
        assert one.recv(1) == b"x"
        bev = ev.SocketBufferEvent(base, one.fileno(), ev.Option(0))
        bev.close()
        other.send(b"y")
        assert one.recv(1) == b"y"
        bev = ev.SocketBufferEvent(base, one)
        assert one.fileno() == -1  # handed over
        bev.close()
        assert other.recv(1) == b""


class Owner:
    """Has a descriptor, and closes it when it is collected."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number

    def __del__(self) -> None:
        os.close(self.number)


def test_a_borrowed_socket_lives_as_long_as_it_is_used(base: ev.EventBase) -> None:
    """Nobody else holds the object: it must not close its descriptor under the bufferevent."""
    one, other = socket.socketpair()
    with other, ev.SocketBufferEvent(base, Owner(one.detach()), ev.Option(0)) as bev:
        gc.collect()
        bev.write(b"alive")
        run_until(base, lambda: not bev.output)
        assert other.recv(10) == b"alive"
        bev.close()
        gc.collect()
        assert other.recv(10) == b""


def test_a_borrowed_descriptor_given_away_is_open(base: ev.EventBase) -> None:
    """Also where only the bufferevent held its owner."""
    one, other = socket.socketpair()
    with other, ev.SocketBufferEvent(base, Owner(one.detach()), ev.Option(0)) as bev:
        fd = bev.detach()
        gc.collect()
        os.fstat(fd)
