"""Listeners without descriptors, with many idle connections, closed with sockets in hand; families and sharing."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from support import GIVE_UP, check_child, descriptors, run_until

import pylibevent as ev

LOCALHOST = ("127.0.0.1", 0)

EMFILE = """
import errno, os, resource, socket, time
import pylibevent as ev

accepted, heard = [], []
base = ev.EventBase()
with base.timer(0, lambda timer, what: None):  # the loop has what it needs itself from now on
    base.dispatch()
listener = ev.Listener.bind(base, ("127.0.0.1", 0), lambda l, sock, a: accepted.append(sock),
                            error=lambda l, e: heard.append(e.errno))
listener.pause = 0.05
clients = [socket.create_connection(listener.address) for _ in range(5)]
most = clients[-1].fileno() + 3          # room for two more
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

start, polls, used = time.monotonic(), base.statistics.polls, time.process_time()
base.loopexit(1)
base.dispatch()
assert time.monotonic() - start >= 0.9
assert time.process_time() - used < 0.3, "it spins"
assert base.statistics.polls - polls < 200, base.statistics
assert len(accepted) == 2, accepted
assert set(heard) == {errno.EMFILE}, heard
assert 5 <= len(heard) <= 30, heard       # a try every 50 ms
assert listener.enabled

for sock in accepted:                     # now there is room again, little by little
    sock.close()
count = len(accepted)
accepted.clear()
late = base.timer(10, lambda t, w: base.loopbreak())
while count < 5:
    base.loop(ev.LoopFlag.ONCE)
    count += len(accepted)
    for sock in accepted:
        sock.close()
    accepted.clear()
    assert not base.got_break, count
errors = len(heard)
late.close()
base.loopexit(0.2)
base.dispatch()
assert len(heard) == errors, "nobody waits any more"
listener.close()
base.close()
for client in clients:
    client.close()
print("done")
"""


def test_without_descriptors_it_pauses_and_resumes() -> None:
    assert check_child(EMFILE) == "done\n"


NO_CALLBACK = """
import resource, socket
import pylibevent as ev

base = ev.EventBase()
listener = ev.Listener.bind(base, ("127.0.0.1", 0), lambda l, sock, a: sock.close())
client = socket.create_connection(listener.address)
most = max(client.fileno(), listener.fd) + 1
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
base.loopexit(0.3)
base.dispatch()
assert base.statistics.polls < 50
listener.close()
client.close()
base.close()
"""


def test_without_descriptors_and_without_an_error_callback() -> None:
    assert check_child(NO_CALLBACK) == ""


IDLE = """
import resource, socket, time
import pylibevent as ev

COUNT = 1000
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
need = 2 * COUNT + 100
assert hard == resource.RLIM_INFINITY or hard >= need, hard
if soft < need:
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))

base = ev.EventBase()
bevs = []

def no_call(*_):
    raise AssertionError("idle")

def accepted(listener, sock, address):
    bev = ev.SocketBufferEvent(base, sock)
    bev.set_callbacks(no_call, no_call, no_call)
    bev.enable(ev.EventFlag.READ)
    bevs.append(bev)

listener = ev.Listener.bind(base, ("127.0.0.1", 0), accepted, backlog=128)
clients = []
late = base.timer(20, lambda t, w: base.loopbreak())
while len(bevs) < COUNT:
    while len(clients) < min(COUNT, len(bevs) + 100):
        clients.append(socket.create_connection(listener.address))
    base.loop(ev.LoopFlag.ONCE)
    assert not base.got_break, len(bevs)
late.close()
base.loop(ev.LoopFlag.NONBLOCK)

polls = base.statistics.polls
begin, used = time.monotonic(), time.process_time()
base.timer(1, lambda timer, what: base.loopexit()).add(1)
base.dispatch()
used, took = time.process_time() - used, time.monotonic() - begin
assert took >= 0.95, took
assert used < 0.1, used
assert base.statistics.polls - polls <= 5, base.statistics.polls - polls
base.close()
for client in clients:
    client.close()
print(len(bevs))
"""


def test_1000_idle_connections_use_no_time() -> None:
    assert check_child(IDLE) == "1000\n"


# ---------------------------------------------------------------- sockets in hand


def test_closed_with_accepted_sockets_in_hand(base: ev.EventBase) -> None:
    """The callback takes one of five that were accepted in one go; the others are closed with the listener."""
    taken: list[socket.socket] = []
    with base.timer(0, lambda timer, what: None):  # the loop has what it needs itself from now on
        base.dispatch()

    def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        taken.append(sock)
        listener.close()

    listener = ev.Listener.bind(base, LOCALHOST, accepted)
    clients = [socket.create_connection(listener.address, GIVE_UP) for _ in range(5)]
    before = len(descriptors())
    assert base.dispatch() is True
    assert len(taken) == 1
    assert len(descriptors()) == before  # one more, and the listener's less
    for client in clients[1:]:
        with client, contextlib.suppress(ConnectionResetError):  # which wasn't accepted yet
            assert client.recv(1) == b""
    with clients[0], taken[0]:
        taken[0].sendall(b"hello")
        assert clients[0].recv(10) == b"hello"


def test_a_raising_callback_loses_no_socket(base: ev.EventBase) -> None:
    taken: list[socket.socket] = []

    def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        taken.append(sock)
        if len(taken) == 1:
            raise ZeroDivisionError

    with ev.Listener.bind(base, LOCALHOST, accepted) as listener:
        clients = [socket.create_connection(listener.address, GIVE_UP) for _ in range(3)]
        with pytest.raises(ZeroDivisionError):
            base.dispatch()
        run_until(base, lambda: len(taken) == 3)
        assert [sock.getpeername() for sock in taken] == [client.getsockname() for client in clients]
    for sock in clients + taken:
        sock.close()


def test_the_base_is_closed_with_sockets_in_hand() -> None:
    base = ev.EventBase()
    listener = ev.Listener.bind(base, LOCALHOST, lambda listener, sock, address: (sock.close(), base.close()))
    clients = [socket.create_connection(listener.address, GIVE_UP) for _ in range(3)]
    base.dispatch()
    assert listener.closed
    for client in clients:
        client.close()


def test_without_a_callback_connections_wait(base: ev.EventBase) -> None:
    with ev.Listener.bind(base, LOCALHOST, None) as listener:
        assert not listener.enabled
        with socket.create_connection(listener.address, GIVE_UP) as client:
            base.loop(ev.LoopFlag.NONBLOCK)
            taken: list[socket.socket] = []
            listener.set_callback(lambda listener, sock, address: taken.append(sock))
            assert listener.enabled
            run_until(base, lambda: taken)
            assert taken[0].getpeername() == client.getsockname()
            taken[0].close()


def test_another_callback_from_the_next_connection_on(base: ev.EventBase) -> None:
    taken: list[tuple[str, Any]] = []

    def second(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        sock.close()
        taken.append(("second", address))

    def first(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        sock.close()
        taken.append(("first", address))
        listener.set_callback(second)

    with ev.Listener.bind(base, LOCALHOST, first) as listener:
        clients = [socket.create_connection(listener.address, GIVE_UP) for _ in range(3)]
        run_until(base, lambda: len(taken) == 3)
        assert taken == [(name, c.getsockname()) for name, c in zip(("first", "second", "second"), clients, strict=True)]
    for client in clients:
        client.close()


def test_kept_by_its_base(base: ev.EventBase) -> None:
    """Nobody holds it: it accepts, until the base is closed."""
    taken: list[socket.socket] = []
    address = ev.Listener.bind(base, LOCALHOST, lambda _, sock, address: taken.append(sock)).address
    gc.collect()
    with socket.create_connection(address, GIVE_UP):
        run_until(base, lambda: taken)
    taken[0].close()
    base.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, GIVE_UP)


# ---------------------------------------------------------------- families and options


def test_accepted_sockets(base: ev.EventBase) -> None:
    """They don't block, nobody inherits them, and they know their family."""
    taken: list[socket.socket] = []
    with (
        ev.Listener.bind(base, ("::1", 0), lambda listener, sock, address: taken.append(sock)) as listener,
        socket.create_connection(listener.address[:2], GIVE_UP) as client,
    ):
        run_until(base, lambda: taken)
        with taken[0] as sock:
            assert sock.family == socket.AF_INET6
            assert not os.get_blocking(sock.fileno())
            assert not os.get_inheritable(sock.fileno())
            assert sock.getpeername() == client.getsockname()
            assert sock.gettimeout() == 0


def test_accepted_sockets_that_block(base: ev.EventBase) -> None:
    taken: list[socket.socket] = []
    with (
        ev.Listener.bind(base, LOCALHOST, lambda _, sock, address: taken.append(sock), blocking_sockets=True) as listener,
        socket.create_connection(listener.address, GIVE_UP),
    ):
        run_until(base, lambda: taken)
        with taken[0] as sock:
            assert os.get_blocking(sock.fileno())
            assert sock.gettimeout() is None


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_unix(base: ev.EventBase, tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "socket") if kind == "path" else f"\0pylibevent-listener-{os.getpid()}"
    taken: list[tuple[socket.socket, Any]] = []
    with (
        ev.Listener.bind(base, name, lambda listener, sock, address: taken.append((sock, address))) as listener,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(listener.address)
        run_until(base, lambda: taken)
        sock, address = taken[0]
        with sock:
            assert sock.family == socket.AF_UNIX
            assert address == ""
            client.send(b"x")
            assert sock.recv(1) == b"x"


def test_two_share_a_port(base: ev.EventBase) -> None:
    taken: list[ev.Listener] = []

    def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        sock.close()
        taken.append(listener)

    with ev.Listener.bind(base, LOCALHOST, accepted, reuse_port=True) as one:
        with ev.Listener.bind(base, one.address, accepted, reuse_port=True) as other:
            assert one.address == other.address
            clients = [socket.create_connection(one.address, GIVE_UP) for _ in range(64)]
            run_until(base, lambda: len(taken) == 64)
            assert set(taken) == {one, other}
        for client in clients:
            client.close()
        taken.clear()
        with socket.create_connection(one.address, GIVE_UP):
            run_until(base, lambda: taken)
        assert taken == [one]


def test_a_port_that_is_taken(base: ev.EventBase) -> None:
    with ev.Listener.bind(base, LOCALHOST, print) as listener, pytest.raises(OSError, match=os.strerror(98)):
        ev.Listener.bind(base, listener.address, print)


def test_only_ipv6(base: ev.EventBase) -> None:
    taken: list[socket.socket] = []
    with ev.Listener.bind(base, ("::", 0), lambda _, sock, address: taken.append(sock), ipv6_only=True) as listener:
        port = listener.address[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), GIVE_UP)
        with socket.create_connection(("::1", port), GIVE_UP):
            run_until(base, lambda: taken)
        taken[0].close()


def test_deferred_accept(base: ev.EventBase) -> None:
    """Nobody is accepted before the first byte."""
    taken: list[socket.socket] = []
    with (
        ev.Listener.bind(base, LOCALHOST, lambda _, sock, address: taken.append(sock), deferred_accept=True) as listener,
        socket.create_connection(listener.address, GIVE_UP) as client,
    ):
        with base.timer(0.05, lambda timer, what: base.loopexit()):
            base.dispatch()
        assert taken == []
        client.send(b"first")
        run_until(base, lambda: taken)
        assert taken[0].recv(10) == b"first"
        taken[0].close()


def test_a_listening_socket_that_stays_ours(base: ev.EventBase) -> None:
    taken: list[socket.socket] = []
    with socket.create_server(LOCALHOST) as sock:
        with ev.Listener.from_socket(base, sock, lambda _, sock, address: taken.append(sock), close=False) as listener:
            assert listener.fd == sock.fileno()
            assert listener.address == sock.getsockname()
            with socket.create_connection(listener.address, GIVE_UP):
                run_until(base, lambda: taken)
            taken[0].close()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_a_client_that_is_gone_already(base: ev.EventBase) -> None:
    """It was reset before it was accepted: the next one is served all the same."""
    taken: list[socket.socket] = []
    with ev.Listener.bind(base, LOCALHOST, lambda _, sock, address: taken.append(sock)) as listener:
        gone = socket.create_connection(listener.address, GIVE_UP)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        name = gone.getsockname()
        gone.close()
        with socket.create_connection(listener.address, GIVE_UP) as client:
            seen: list[Any] = []
            listener.set_callback(lambda _, sock, address: (taken.append(sock), seen.append(address)))
            run_until(base, lambda: client.getsockname() in seen)
            assert set(seen) <= {name, client.getsockname()}
    for sock in taken:
        sock.close()
