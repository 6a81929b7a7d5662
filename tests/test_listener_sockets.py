"""Listener: which sockets and arguments it takes, crowds larger than a batch, and who is called after what."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import GIVE_UP, check_child, named, run_until

import pylibevent as ev

LOCALHOST = ("127.0.0.1", 0)
BATCH = 64
"""So many are accepted in one go."""


def never(*arguments: object) -> None:
    raise AssertionError(arguments)


@contextlib.contextmanager
def crowd(address: Any, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, GIVE_UP)) for _ in range(count)]


def settle(base: ev.EventBase) -> None:
    for _ in range(10):
        base.loop(ev.LoopFlag.NONBLOCK)


# ---------------------------------------------------------------- from_socket


def test_an_unbound_socket_gets_a_port(base: ev.EventBase) -> None:
    """As listen() does it: the system chooses."""
    called: list[Any] = []

    def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        called.append((sock.getpeername(), address))
        sock.close()

    with socket.socket() as sock, ev.Listener.from_socket(base, sock, accepted) as listener:
        assert sock.fileno() == -1
        assert listener.address[1] > 0
        with crowd(("127.0.0.1", listener.address[1]), 1) as clients:
            run_until(base, lambda: called)
            assert called == [(clients[0].getsockname(),) * 2]


def test_a_bound_socket_starts_to_listen(base: ev.EventBase) -> None:
    called: list[socket.socket] = []
    with socket.socket() as sock:
        sock.bind(LOCALHOST)
        listener = ev.Listener.from_socket(base, sock, lambda listener, sock, address: called.append(sock), backlog=5)
        with listener, crowd(listener.address, 1):
            run_until(base, lambda: called)
            called[0].close()


def refused_sockets() -> dict[str, Any]:
    connected, other = socket.socketpair()
    reading, writing = os.pipe()
    return {
        "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix datagrams": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        "connected": connected,
        "the other end": other,
        "a file": tempfile.TemporaryFile(),
        "a pipe": os.fdopen(reading, "rb", 0),
        "its other end": os.fdopen(writing, "wb", 0),
        "an unbound unix socket": socket.socket(socket.AF_UNIX),
    }


@pytest.mark.parametrize("by_number", [False, True])
def test_descriptors_that_can_not_listen(base: ev.EventBase, by_number: bool) -> None:
    """Nothing is made, and they stay open and their owner's."""
    for name, thing in refused_sockets().items():
        with thing:
            fd = thing.fileno()
            with pytest.raises(OSError, match=r"."):
                ev.Listener.from_socket(base, fd if by_number else thing, never)
            assert thing.fileno() == fd, name
            os.fstat(fd)


@pytest.mark.parametrize("sock", [-1, 2**31, 2**64, None, "1", 1.5, True, object(), (), b""], ids=named)
def test_what_is_no_descriptor(base: ev.EventBase, sock: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="sock"):
        ev.Listener.from_socket(base, sock, never)


def test_a_descriptor_that_is_closed(base: ev.EventBase) -> None:
    with socket.socket() as sock:
        fd = sock.fileno()
    for thing in (fd, sock):
        with pytest.raises((OSError, ValueError)) as raised:
            ev.Listener.from_socket(base, thing, never)
        assert str(raised.value)


# ---------------------------------------------------------------- bind


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 0), ("2001:db8::1", 0), "/nonexistent/folder/socket", ("127.0.0.1", 1)], ids=str
)
def test_addresses_that_are_not_ours(base: ev.EventBase, address: Any) -> None:
    if address == ("127.0.0.1", 1) and os.geteuid() == 0:
        with ev.Listener.bind(base, address, never), pytest.raises(OSError, match=r"in use"):
            ev.Listener.bind(base, address, never)
    else:
        with pytest.raises(OSError, match=r"."):
            ev.Listener.bind(base, address, never)


def test_a_path_that_is_taken(base: ev.EventBase, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ev.Listener.bind(base, path, never) as listener:
        assert listener.address == str(path)
        with pytest.raises(OSError, match=r"in use"):
            ev.Listener.bind(base, path, never)
    assert path.exists()  # as in C: whoever made the path removes it


@pytest.mark.parametrize(
    "address", [None, 80, ("localhost", 80), ("127.0.0.1", 65536), (), ("::1", 1, 2), "", "x" * 200], ids=str
)
def test_addresses_that_are_none(base: ev.EventBase, address: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="address"):
        ev.Listener.bind(base, address, never)


@pytest.mark.parametrize("backlog", [0, -1, 2**31, None, "5", 5.0, True])
def test_backlogs_that_are_none(base: ev.EventBase, backlog: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="backlog"):
        ev.Listener.bind(base, LOCALHOST, never, backlog=backlog)


@pytest.mark.parametrize("callback", [1, "f", b"", object(), ()])
def test_callbacks_that_are_none(base: ev.EventBase, callback: Any) -> None:
    with socket.create_server(LOCALHOST) as sock:
        with pytest.raises(TypeError, match="callback"):
            ev.Listener.bind(base, LOCALHOST, callback)
        with pytest.raises(TypeError, match="error"):
            ev.Listener.bind(base, LOCALHOST, never, error=callback)
        with pytest.raises(TypeError, match="callback"):
            ev.Listener.from_socket(base, sock, callback)
        assert sock.fileno() >= 0
    with ev.Listener.bind(base, LOCALHOST, never) as listener:
        with pytest.raises(TypeError, match="callback"):
            listener.set_callback(callback)
        with pytest.raises(TypeError, match="error"):
            listener.set_error_callback(callback)
        assert listener.callback is never


@pytest.mark.parametrize("pause", [0, -1, float("nan"), float("inf"), 1e7, None, "1", True])
def test_pauses_that_are_none(base: ev.EventBase, pause: Any) -> None:
    with ev.Listener.bind(base, LOCALHOST, never) as listener:
        with pytest.raises((TypeError, ValueError), match="pause"):
            listener.pause = pause
        assert listener.pause == 0.1


@pytest.mark.parametrize("base", [None, 1, object(), "base"])
def test_bases_that_are_none(base: Any) -> None:
    with pytest.raises(TypeError, match="base"):
        ev.Listener.bind(base, LOCALHOST, never)
    with socket.create_server(LOCALHOST) as sock:
        with pytest.raises(TypeError, match="base"):
            ev.Listener.from_socket(base, sock, never)
        assert sock.fileno() >= 0


# ---------------------------------------------------------------- crowds


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, BATCH + 1, 5 * BATCH + 3])
def test_all_of_a_crowd_are_served(base: ev.EventBase, count: int) -> None:
    peers: set[Any] = set()

    def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        assert address not in peers
        peers.add(address)
        sock.close()

    with ev.Listener.bind(base, LOCALHOST, accepted, backlog=1000) as listener, crowd(listener.address, count) as clients:
        run_until(base, lambda: len(peers) == count)
        assert peers == {client.getsockname() for client in clients}


@pytest.mark.parametrize("after", [1, BATCH, BATCH + 5])
def test_disabled_in_the_middle_of_a_crowd(base: ev.EventBase, after: int) -> None:
    """No more come until it is enabled; then all the others do."""
    called = 0

    def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        nonlocal called
        called += 1
        sock.close()
        if called == after:
            listener.disable()
            assert not listener.enabled

    with ev.Listener.bind(base, LOCALHOST, accepted, backlog=1000) as listener, crowd(listener.address, 3 * BATCH):
        run_until(base, lambda: called)
        before = base.statistics
        settle(base)
        assert called == after
        assert base.statistics.noted - before.noted <= 3 * BATCH
        listener.enable()
        run_until(base, lambda: called == 3 * BATCH)


def test_each_that_raises_comes_out_and_the_next_is_served(base: ev.EventBase) -> None:
    called = 0

    def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        nonlocal called
        called += 1
        sock.close()
        raise LookupError(called)

    with ev.Listener.bind(base, LOCALHOST, accepted, backlog=1000) as listener, crowd(listener.address, 100):
        for n in range(1, 101):
            with pytest.raises(LookupError, match=f"^{n}$"):
                run_until(base, lambda: False)
        settle(base)
        assert called == 100


def test_loopbreak_leaves_the_others_for_later(base: ev.EventBase) -> None:
    called = 0

    def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        nonlocal called
        called += 1
        sock.close()
        base.loopbreak()

    with ev.Listener.bind(base, LOCALHOST, accepted, backlog=1000) as listener, crowd(listener.address, 10):
        for n in range(1, 11):
            base.loop(ev.LoopFlag.ONCE)
            assert called == n


@pytest.mark.parametrize("end", ["listener.close()", "base.close()"])
def test_closed_in_the_middle_of_a_crowd(end: str) -> None:
    """Those that were accepted and not delivered see an end, and no descriptor is left."""
    called: list[object] = []
    with ev.EventBase() as base:

        def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
            called.append(address)
            sock.close()
            if len(called) == 3:
                (listener if end == "listener.close()" else base).close()

        listener = ev.Listener.bind(base, LOCALHOST, accepted, backlog=1000)
        with crowd(listener.address, 20) as clients:
            base.dispatch()
            assert len(called) == 3
            assert listener.closed
            for client in clients:
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""


def test_one_listener_closes_another_of_the_same_pass(base: ev.EventBase) -> None:
    called: list[ev.Listener] = []
    listeners: list[ev.Listener] = []

    def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        called.append(listener)
        sock.close()
        for other in listeners:
            if other is not listener:
                other.close()

    listeners += [ev.Listener.bind(base, LOCALHOST, accepted) for _ in range(2)]
    with crowd(listeners[0].address, 1), crowd(listeners[1].address, 1):
        settle(base)
        assert len(called) == 1
        for listener in listeners:
            listener.close()


def test_more_urgent_listeners_do_not_exist_but_have_the_middle_priority() -> None:
    """As in C: a listener's event has the base's default priority."""
    with ev.EventBase(priorities=3) as base:
        order: list[str] = []

        def accepted(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
            order.append("accepted")
            sock.close()

        with ev.Listener.bind(base, LOCALHOST, accepted) as listener, crowd(listener.address, 1):
            for priority in (2, 0):
                base.event(
                    -1, ev.EventFlag(0), lambda event, what: order.append(str(event.priority)), priority=priority
                ).active()
            run_until(base, lambda: len(order) == 3)
            assert order == ["0", "accepted", "2"]


# ---------------------------------------------------------------- threads and ends


def test_another_thread_is_refused_while_the_loop_runs(base: ev.EventBase) -> None:
    raised: list[type[BaseException]] = []
    with ev.Listener.bind(base, LOCALHOST, never) as listener:
        address = listener.address

        def use() -> None:
            for call in (
                listener.disable,
                listener.enable,
                listener.close,
                lambda: listener.fd,
                lambda: listener.set_callback(None),
            ):
                try:
                    call()
                except RuntimeError as error:
                    raised.append(type(error))
            assert listener.address == address
            assert "Listener" in repr(listener)
            base.loopexit()

        thread = threading.Thread(target=use)
        base.call_soon(thread.start)
        base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
        thread.join(GIVE_UP)
        assert raised == [RuntimeError] * 5
        assert listener.callback is never
        assert not listener.closed


def test_closed_ones_refuse(base: ev.EventBase) -> None:
    listener = ev.Listener.bind(base, LOCALHOST, never)
    address = listener.address
    listener.close()
    listener.close()
    assert listener.closed
    assert listener.address == address
    assert listener.base is base
    for use in (
        listener.enable,
        listener.disable,
        lambda: listener.enabled,
        lambda: listener.fd,
        lambda: setattr(listener, "pause", 1),
        lambda: listener.set_callback(never),
    ):
        with pytest.raises(ev.ClosedError):
            use()
    assert base.dispatch() is True


def test_closed_and_forgotten_ones_are_let_go(base: ev.EventBase) -> None:
    listener = ev.Listener.bind(base, LOCALHOST, never)
    alive = weakref.ref(listener)
    listener.close()
    del listener
    gc.collect()
    assert alive() is None


UNCLOSED = """
import pylibevent as ev
base = ev.EventBase()
ev.Listener.bind(base, ("127.0.0.1", 0), print)
base.loop(ev.LoopFlag.NONBLOCK)
"""


def test_a_base_collected_with_a_listener_warns_once_and_closes_it() -> None:
    code = "import gc, os, warnings\nwarnings.simplefilter('always')\nbefore = len(os.listdir('/proc/self/fd'))\n" + UNCLOSED
    code += "import sys; sys.stderr = sys.stdout\ndel base\ngc.collect()\nprint(len(os.listdir('/proc/self/fd')) - before)\n"
    out = check_child(code)
    assert "ResourceWarning: unclosed <EventBase" in out
    assert out.splitlines()[-1] == "0"
