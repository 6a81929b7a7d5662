"""Listener: accepting, failing to accept, and what becomes of what was accepted."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support import GIVE_UP, check_child, run_until

import pylibevent as ev

LOCALHOST = ("127.0.0.1", 0)


def closing(listener: ev.Listener, sock: socket.socket, address: object) -> None:
    sock.close()


@contextlib.contextmanager
def connections(address: Any, count: int) -> Iterator[list[socket.socket]]:
    """Clients that are connected; the system holds them until they are accepted."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, GIVE_UP)) for _ in range(count)]


def accept_three_at_random_ports(base: ev.EventBase) -> None:
    left = {"one": 2, "other": 1}

    def counting(name: str) -> Any:
        def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
            sock.close()
            left[name] -= 1
            if not left[name]:
                listener.disable()

        return accepted

    with (
        ev.Listener.bind(base, LOCALHOST, counting("one")) as one,
        ev.Listener.bind(base, LOCALHOST, counting("other")) as other,
    ):
        assert one.base is other.base is base
        for listener in (one, other):
            with socket.socket(fileno=os.dup(listener.fd)) as sock:
                assert sock.family == socket.AF_INET
                assert sock.getsockname() == listener.address
            assert listener.address[0] == "127.0.0.1"
        assert one.address[1] != other.address[1]
        with connections(one.address, 2), connections(other.address, 1):
            assert base.dispatch() is True
    assert left == {"one": 0, "other": 0}


def test_random_ports(base: ev.EventBase) -> None:
    """regress_listener.c listener/randport: three connections to two listeners, which stop themselves."""
    accept_three_at_random_ports(base)


def test_random_ports_of_a_base_used_by_another_thread() -> None:
    """regress_listener.c listener/randport_ts: every listener has its lock; here it is the loop that runs elsewhere."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with ev.EventBase() as base:
                accept_three_at_random_ports(base)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(GIVE_UP)
    assert not thread.is_alive()
    assert not raised


def test_a_socket_that_does_not_listen_is_refused(base: ev.EventBase) -> None:
    """regress_listener.c listener/error, listener/error_ts: C hears of a bogus socket when accepting; here nothing is made."""
    one, other = socket.socketpair()
    with one, other:
        other.send(b"hello")
        with pytest.raises(OSError, match=r"\[Errno \d+\]"):
            ev.Listener.from_socket(base, one, closing)
        assert one.fileno() >= 0
        assert one.recv(5) == b"hello"


def test_an_error_callback_may_stop_it(base: ev.EventBase) -> None:
    """regress_listener.c listener/error, listener/error_ts: another socket in its place fails, once."""
    heard: list[OSError] = []

    def failed(listener: ev.Listener, error: OSError) -> None:
        heard.append(error)
        listener.disable()

    with ev.Listener.bind(base, LOCALHOST, closing) as listener:
        listener.set_error_callback(failed)
        one, other = socket.socketpair()
        with one, other:
            other.send(b"hello")
            os.dup2(one.fileno(), listener.fd, inheritable=False)
            listener.disable()  # the poll doesn't know yet that the descriptor is another socket
            listener.enable()
            base.dispatch()
    assert len(heard) == 1
    assert isinstance(heard[0].errno, int)
    assert heard[0].errno > 0


ERROR_UNLOCK = """
import resource, socket
import pylibevent as ev

heard = []
base = ev.EventBase()
listener = ev.Listener.bind(base, ("127.0.0.1", 0), lambda l, sock, a: print("accepted"),
                            error=lambda l, e: heard.append(type(e).__name__ + " " + str(e.errno)))
client = socket.create_connection(listener.address)
most = max(client.fileno(), listener.fd) + 1
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
base.loop(ev.LoopFlag.ONCE)
print(heard)
listener.close()
client.close()
base.close()
"""


def test_without_descriptors_once() -> None:
    """regress_listener.c listener/error_unlock: EMFILE is told, and closing afterwards is well."""
    assert check_child(ERROR_UNLOCK) == "['OSError 24']\n"


def test_closed_by_its_callback(base: ev.EventBase) -> None:
    """regress_listener.c listener/close_accepted_fd: the first connection closes the listener, and the loop ends."""
    called: list[bool] = []

    def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        sock.close()
        listener.close()
        called.append(listener.closed)

    listener = ev.Listener.bind(base, LOCALHOST, accepted)
    with connections(listener.address, 1):
        assert base.dispatch() is True
    assert called == [True]


def test_disabled_by_its_callback(base: ev.EventBase) -> None:
    """regress_listener.c listener/immediate_close: two connections; the first ends it, and the second isn't seen."""
    called: list[object] = []

    def accepted(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        called.append(address)
        sock.close()
        listener.disable()

    with ev.Listener.bind(base, LOCALHOST, accepted) as listener, connections(listener.address, 2) as clients:
        with base.timer(GIVE_UP / 4, lambda timer, what: base.loopexit()) as late:
            while not called:
                base.loop(ev.LoopFlag.ONCE)
            late.close()
        assert base.loop(ev.LoopFlag.NONBLOCK) is True, "it goes on though nothing is to be done"
        assert called == [clients[0].getsockname()]
        assert not listener.enabled
        listener.enable()
        run_until(base, lambda: len(called) == 2)
        assert base.loop(ev.LoopFlag.NONBLOCK) is True
        assert called == [client.getsockname() for client in clients]


FDLEAK = """
import resource
import pylibevent as ev

resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
REQUESTS = 4000
base = ev.EventBase()
done = ended = 0

def echo(bev):
    while bev.input:
        bev.write(bev.read(1))

def server_event(bev, what):
    global ended
    if what & ev.What.ERROR:
        raise bev.error
    if what & ev.What.EOF:
        ended += 1
        bev.close()
        if done == REQUESTS:
            base.loopbreak()

def accepted(listener, sock, address):
    bev = ev.SocketBufferEvent(base, sock)
    bev.set_callbacks(read=echo, event=server_event)
    bev.enable()

def client_read(bev):
    global done
    assert bev.read(1) == b"A"
    bev.close()
    done += 1
    if done < REQUESTS:
        start()

def client_event(bev, what):
    if what & ev.What.CONNECTED:
        bev.write(b"A")
    elif what & ev.What.ERROR:
        raise bev.error
    bev.enable(ev.EventFlag.READ)

def start():
    bev = ev.SocketBufferEvent(base)
    bev.set_callbacks(read=client_read, event=client_event)
    bev.connect(listener.address)

listener = ev.Listener.bind(base, ("127.0.0.1", 0), accepted)
start()
base.dispatch()
listener.close()
base.close()
print(done, ended)
"""


def test_4000_connections_with_20_descriptors() -> None:
    """test-fdleak.c: each of 4000 clients, one after the other, gets its byte back."""
    done, ended = check_child(FDLEAK).split()
    assert int(done) == 4000
    assert int(ended) >= 4000 - 5
