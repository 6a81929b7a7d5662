"""How a stream ends, why, and that it ends once; callbacks that raise."""

from __future__ import annotations

import contextlib
import errno
import gc
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import GIVE_UP, check_child, run_until, socket_pair

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
EOF, ERROR, TIMEOUT = ev.What.EOF, ev.What.ERROR, ev.What.TIMEOUT
READING, WRITING, CONNECTED = ev.What.READING, ev.What.WRITING, ev.What.CONNECTED
OPTIONS = [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE]
RESET = b"\1\0\0\0\0\0\0\0"
"""SO_LINGER with no time: closing resets."""


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname(), GIVE_UP)
        other, _ = server.accept()
    return one, other


def listen_to(bev: ev.BufferEvent) -> list[Any]:
    heard: list[Any] = []
    bev.set_callbacks(event=lambda bev, what: heard.append(what))
    return heard


def settle(base: ev.EventBase) -> None:
    """What was still to come comes now."""
    for _ in range(10):
        base.loop(ev.LoopFlag.NONBLOCK)


@pytest.fixture
def refusing() -> Iterator[tuple[str, int]]:
    """An address that is taken, and at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


# ---------------------------------------------------------------- ends


def test_the_end_of_what_is_read(base: ev.EventBase) -> None:
    """test-eof.c: the bytes come once, then the end, and the loop ends by itself."""
    text = b"test string\0"
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one) as bev:
        heard: list[Any] = []
        bev.set_callbacks(lambda bev: heard.append(bev.read(256)), None, lambda bev, what: heard.append(what))
        bev.set_timeouts(read=60)
        bev.enable(READ)
        other.send(text)
        other.shutdown(socket.SHUT_WR)
        assert base.dispatch() is True
        assert heard == [text, READING | EOF]
        assert bev.read() == b""


def test_writing_to_who_is_gone(base: ev.EventBase) -> None:
    """test-weof.c: the first string goes, the other end closes, the second fails: once, without a signal."""
    text = b"test string\0"
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one) as bev:
        heard: list[Any] = []

        def on_write(bev: ev.BufferEvent) -> None:
            heard.append("written")
            other.close()
            bev.write(text)

        bev.set_callbacks(None, on_write, lambda bev, what: heard.append((what, type(bev.error))))
        bev.write(text)
        assert base.dispatch() is True
        assert heard == ["written", (WRITING | ERROR, BrokenPipeError)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_reset_while_reading_and_writing_is_one_error(base: ev.EventBase, options: ev.Option) -> None:
    one, other = tcp()
    with ev.SocketBufferEvent(base, one, options | ev.Option.CLOSE_ON_FREE) as bev:
        heard: list[Any] = []
        bev.set_callbacks(None, lambda bev: heard.append("write"), lambda bev, what: heard.append(what))
        bev.enable()
        bev.write(b"x" * 20_000_000)
        run_until(base, lambda: len(bev.output) < 20_000_000)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        other.close()
        run_until(base, lambda: heard)
        settle(base)
        assert len(heard) == 1
        assert heard[0] & ERROR
        assert isinstance(bev.error, ConnectionResetError | BrokenPipeError)
        assert bev.enabled == ev.EventFlag(0)
        bev.enable()
        settle(base)
        assert len(heard) == 1


@pytest.mark.parametrize("has_write_callback", [False, True])
def test_an_error_after_the_end(base: ev.EventBase, has_write_callback: bool) -> None:
    """Who waits for output hears that it can't go; for others the end was enough."""
    one, other = tcp()
    with ev.SocketBufferEvent(base, one) as bev:
        heard: list[Any] = []
        bev.set_callbacks(
            None, (lambda bev: heard.append("write")) if has_write_callback else None, lambda bev, what: heard.append(what)
        )
        bev.enable()
        other.close()
        run_until(base, lambda: heard)
        assert heard == [READING | EOF]
        assert bev.error is None
        failed = False
        while not failed:
            try:
                bev.write(b"x" * 100_000)
            except BrokenPipeError:
                failed = True
            base.loop(ev.LoopFlag.NONBLOCK)
        settle(base)
        assert [what for what in heard if what != "write"] == [READING | EOF] + [WRITING | ERROR] * has_write_callback
        assert isinstance(bev.error, BrokenPipeError | ConnectionResetError)


def test_the_end_while_connecting_again(base: ev.EventBase, refusing: tuple[str, int]) -> None:
    """Each attempt has its own end."""
    with ev.SocketBufferEvent(base) as bev:
        heard = listen_to(bev)
        for n in range(1, 4):
            bev.connect(refusing)
            run_until(base, lambda n=n: len(heard) == n)
        assert heard == [ERROR] * 3
        assert isinstance(bev.error, ConnectionRefusedError)
        assert bev.fd == -1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("enabled", [False, True])
def test_refused_is_one_error(base: ev.EventBase, refusing: tuple[str, int], options: ev.Option, enabled: bool) -> None:
    with ev.SocketBufferEvent(base, None, options | ev.Option.CLOSE_ON_FREE) as bev:
        heard: list[Any] = []
        bev.set_callbacks(
            lambda bev: heard.append("read"), lambda bev: heard.append("write"), lambda bev, what: heard.append(what)
        )
        if enabled:
            bev.enable()
        bev.write(b"never sent")
        bev.connect(refusing)
        assert heard == []
        run_until(base, lambda: heard)
        settle(base)
        assert heard == [ERROR]
        assert isinstance(bev.error, ConnectionRefusedError)
        assert bev.error.errno == errno.ECONNREFUSED


def test_a_write_that_fails_does_not_hide_what_came_before(base: ev.EventBase) -> None:
    """A server that answers and closes while the client is still sending: the answer is there, and must be read."""
    one, other = tcp()
    answer = b"too large" * 1000
    with other, ev.SocketBufferEvent(base, one) as bev:
        got = bytearray()
        heard: list[ev.What] = []
        bev.set_callbacks(lambda bev: got.extend(bev.read()), None, lambda bev, what: heard.append(what))
        bev.write(b"x" * 20_000_000)
        run_until(base, lambda: len(bev.output) < 20_000_000)
        other.sendall(answer)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        other.close()
        bev.enable()
        run_until(base, lambda: heard)
        settle(base)
        assert bytes(got) + bev.read() == answer
        assert heard[-1] & ERROR


# ---------------------------------------------------------------- at once


@pytest.mark.parametrize("address", [("255.255.255.255", 80), "/nonexistent/path", "/etc/passwd", ("224.0.0.1", 80)], ids=str)
def test_failing_at_once(base: ev.EventBase, address: Any) -> None:
    """What the system says in connect() itself is raised, or told, but not both."""
    with ev.SocketBufferEvent(base) as bev:
        heard = listen_to(bev)
        try:
            bev.connect(address)
        except OSError as error:
            raised: OSError | None = error
        else:
            raised = None
            run_until(base, lambda: heard)
        settle(base)
        if raised is None:
            assert heard == [ERROR]
            assert isinstance(bev.error, OSError)
        else:
            assert heard == []
            assert raised.errno in (
                errno.ENETUNREACH,
                errno.EACCES,
                errno.ENOENT,
                errno.ECONNREFUSED,
                errno.EINVAL,
                errno.EHOSTUNREACH,
            )
        assert bev.fd == -1
        assert "open" in repr(bev) or "failed" in repr(bev)


def test_failed_at_once_then_connected(base: ev.EventBase, tmp_path: Path) -> None:
    with ev.SocketBufferEvent(base) as bev, socket.socket(socket.AF_UNIX) as server:
        heard = listen_to(bev)
        path = str(tmp_path / "socket")
        with pytest.raises(FileNotFoundError):
            bev.connect(path)
        server.bind(path)
        bev.connect(path)  # refused at once, which libevent tells later
        run_until(base, lambda: heard)
        assert isinstance(bev.error, ConnectionRefusedError)
        server.listen()
        bev.connect(path)
        run_until(base, lambda: len(heard) == 2)
        assert heard == [ERROR, CONNECTED]
        assert bev.getpeername() == path


# ---------------------------------------------------------------- closing in callbacks


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("how", ["close", "abort", "base", "both"])
@pytest.mark.parametrize("where", ["read", "write", "eof", "connected", "refused", "timeout", "input", "output"])
def test_closed_in_every_callback(where: str, how: str, options: ev.Option) -> None:
    with ev.EventBase() as base, contextlib.ExitStack() as stack:
        calls: list[Any] = []
        one, other = stack.enter_context(socket_pair())
        peer = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        if where == "refused":
            stack.enter_context(taken := socket.socket()).bind(("127.0.0.1", 0))
        connects = where in ("connected", "refused")
        bev = ev.SocketBufferEvent(base, None if connects else one, options | ev.Option.CLOSE_ON_FREE)

        def hit(*arguments: object) -> None:
            calls.append(arguments)
            if how in ("close", "both"):
                bev.close()
            if how in ("abort", "both"):
                bev.abort()
            if how == "base":
                base.close()

        bev.set_callbacks(
            hit if where == "read" else None,
            hit if where == "write" else None,
            hit if where in ("eof", "connected", "refused", "timeout") else None,
        )
        if where == "input":
            bev.input.add_callback(hit)
        if where == "output":
            bev.output.add_callback(hit)
        if where == "timeout":
            bev.set_timeouts(read=0.01)
        bev.enable()
        if connects:
            bev.connect(taken.getsockname() if where == "refused" else peer.getsockname())
        if where in ("read", "eof", "input"):
            other.send(b"x" * 100)
        if where == "eof":
            other.close()
        if where in ("write", "output"):
            bev.write(b"x" * 100)
        stop = base.timer(GIVE_UP, lambda event, what: base.loopbreak()) if not base.closed else None
        while not calls:
            base.loop(ev.LoopFlag.ONCE)
        if stop is not None and not base.closed:
            stop.close()
            settle(base)
        assert len(calls) == 1
        assert bev.closed
        with pytest.raises(ev.ClosedError):
            bev.read()
        bev.close()
        bev.abort()


# ---------------------------------------------------------------- callbacks


def test_an_exception_keeps_the_other_callbacks_of_the_pass(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        called: list[int] = []

        def reader(n: int) -> Any:
            def on_read(bev: ev.BufferEvent) -> None:
                called.append(n)
                bev.read()
                raise LookupError(n)

            return on_read

        for n in range(5):
            one, other = stack.enter_context(socket_pair())
            bev = stack.enter_context(ev.SocketBufferEvent(base, one, ev.Option(0)))
            bev.set_callbacks(read=reader(n))
            bev.enable()
            other.send(b"x")
        for n in range(5):
            with pytest.raises(LookupError):
                run_until(base, lambda: False)
            assert len(called) == n + 1
        assert sorted(called) == list(range(5))


def test_one_that_raised_is_called_again(base: ev.EventBase) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
        called: list[bytes] = []

        def on_read(bev: ev.BufferEvent) -> None:
            called.append(bev.read())
            raise LookupError

        bev.set_callbacks(read=on_read)
        bev.enable()
        for text in (b"one", b"two"):
            other.send(text)
            with pytest.raises(LookupError):
                run_until(base, lambda: False)
        assert called == [b"one", b"two"]


def test_an_exception_loses_the_rest_of_its_own_only_in_order(base: ev.EventBase) -> None:
    """read raises, and the end that came in the same pass, or later, is told after it."""
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one) as bev:
        heard: list[Any] = []

        def on_read(bev: ev.BufferEvent) -> None:
            heard.append(bev.read())
            raise LookupError

        bev.set_callbacks(on_read, None, lambda bev, what: heard.append(what))
        bev.enable()
        other.send(b"x")
        other.shutdown(socket.SHUT_WR)
        with pytest.raises(LookupError):
            run_until(base, lambda: False)
        run_until(base, lambda: len(heard) == 2)
        assert heard == [b"x", READING | EOF]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_callback_that_raises_keeps_the_others_of_the_same(base: ev.EventBase, options: ev.Option) -> None:
    """Noted together: read raises; write and the timeout are still due."""
    with socket_pair() as (one, _), ev.SocketBufferEvent(base, one, options) as bev:
        heard: list[Any] = []

        def on_read(bev: ev.BufferEvent) -> None:
            heard.append("read")
            raise LookupError

        bev.set_callbacks(on_read, lambda bev: heard.append("write"), lambda bev, what: heard.append(what))
        bev.trigger(READ | WRITE)
        bev.trigger_event(TIMEOUT)
        with pytest.raises(LookupError):
            run_until(base, lambda: len(heard) == 3)
        settle(base)
        assert heard == ["read", "write", TIMEOUT]


def test_callbacks_set_in_callbacks(base: ev.EventBase) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one, ev.Option(0)) as bev:
        heard: list[str] = []

        def second(bev: ev.BufferEvent) -> None:
            heard.append("second")
            bev.read()
            bev.set_callbacks()

        def first(bev: ev.BufferEvent) -> None:
            heard.append("first")
            bev.read()
            bev.set_callbacks(read=second)

        bev.set_callbacks(read=first)
        bev.enable()
        for _ in range(3):
            other.send(b"x")
            settle(base)
        assert heard == ["first", "second"]
        assert bev.callbacks == (None, None, None)
        assert bev.read() == b"x"


# ---------------------------------------------------------------- collected


def test_dropped_while_connecting(base: ev.EventBase) -> None:
    """It is the base's until the connection stands; nobody can hear of it then, and it is closed with a warning."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        bev = ev.SocketBufferEvent(base)
        bev.connect(server.getsockname())
        del bev
        gc.collect()
        with pytest.warns(ResourceWarning, match="unclosed") as warned:
            run_until(base, lambda: warned)
        sock, _ = server.accept()
        with sock:
            sock.settimeout(GIVE_UP)
            assert sock.recv(1) == b""


def test_dropped_while_it_is_refused(base: ev.EventBase, refusing: tuple[str, int]) -> None:
    bev = ev.SocketBufferEvent(base)
    bev.connect(refusing)
    del bev
    gc.collect()
    with pytest.warns(ResourceWarning, match="unclosed") as warned:
        run_until(base, lambda: warned)


def test_closed_and_dropped_while_it_sends(base: ev.EventBase) -> None:
    one, other = tcp()
    bev = ev.SocketBufferEvent(base, one)
    data = b"x" * 3_000_000
    bev.write(data)
    bev.close()
    alive = weakref.ref(bev)
    del bev
    gc.collect()
    got = 0
    with other:
        other.setblocking(False)
        while alive() is not None:
            base.loop(ev.LoopFlag.NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                got += len(other.recv(1_000_000))
        other.settimeout(GIVE_UP)
        while chunk := other.recv(1_000_000):
            got += len(chunk)
    assert got == len(data)


RESURRECTED = """
import gc, socket, sys, warnings
import pylibevent as ev

base = ev.EventBase()
base.loop(ev.LoopFlag.NONBLOCK)
make = {
    "SocketBufferEvent": lambda: ev.SocketBufferEvent(base, socket.socketpair()[0]),
    "Listener": lambda: ev.Listener.bind(base, ("127.0.0.1", 0), None),
    "EventBase": ev.EventBase,
}[sys.argv[1]]
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    things = [make() for _ in range(20)]
    base._armed.clear()  # listeners are the base's
    del things
    gc.collect()
sources = [one.source for one in warned if type(one.source).__name__ == sys.argv[1]]
assert len(sources) == 20
for source in sources:
    for name in ("read", "fd", "enabled", "enable", "num_events", "closed", "close"):
        try:
            value = getattr(source, name)
            if callable(value):
                value()
        except (ev.Error, AttributeError):
            continue
    repr(source)
del source, sources, warned
gc.collect()
base.close()
print("end")
"""


@pytest.mark.parametrize("kind", ["SocketBufferEvent", "Listener", "EventBase"])
def test_what_a_warning_brings_back_is_closed(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Who records the ResourceWarning holds what was collected: it must not be memory that was freed."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")  # freed memory is overwritten
    assert check_child(RESURRECTED, kind) == "end\n"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("end", ["abort", "drop", "base"])
def test_what_was_lent_to_the_output_is_let_go(options: ev.Option, end: str) -> None:
    """Objects that were to be sent without a copy are free when the bufferevent, or the base, is closed."""

    class Lent(bytearray):
        def __repr__(self) -> str:
            return "<lent>"

    with ev.EventBase() as base, socket_pair() as (one, _):
        bev = ev.SocketBufferEvent(base, one, options | ev.Option.CLOSE_ON_FREE)
        lent = Lent(3_000_000)
        alive = weakref.ref(lent)
        bev.output.add_reference(lent)
        del lent
        base.loop(ev.LoopFlag.NONBLOCK)
        assert alive() is not None
        if end == "base":
            base.close()
        else:
            bev.abort()
            if end == "drop":
                del bev
            base.loop(ev.LoopFlag.NONBLOCK)
        gc.collect()
        assert alive() is None
