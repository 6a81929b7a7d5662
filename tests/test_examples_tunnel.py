"""examples/pair_tunnel.py, run as two programs."""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from programs import Program, read_all, running
from support import GIVE_UP, reserved_port

SIZE = 1_000_000


def port_of(program: Program) -> int:
    return int(program.line().removeprefix("listening on 127.0.0.1:"))


@contextmanager
def tunnel(*exit_arguments: str) -> Iterator[tuple[Program, Program, int]]:
    with (
        running("pair_tunnel.py", "exit", *exit_arguments) as far,
        running("pair_tunnel.py", "entry", "--tunnel", f"127.0.0.1:{port_of(far)}", "--say", "hello through it") as near,
    ):
        yield far, near, port_of(near)


def exchange(port: int, data: bytes) -> bytes:
    """Send all, say that this is all, and read until the other end is done."""
    with socket.create_connection(("127.0.0.1", port), GIVE_UP) as sock:

        def send() -> None:
            with suppress(OSError):  # it may hang up before
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        answer = read_all(sock)
        sender.join()
    return answer


def test_its_own_connections_and_others_go_through(rng: random.Random) -> None:
    with tunnel() as (far, near, port):
        assert near.line() == "answered: hello through it"
        for size in (0, 1, 5000, SIZE):
            data = rng.randbytes(size)
            assert exchange(port, data) == data
        assert near.end(signal.SIGINT) == ""
        assert far.end(signal.SIGTERM) == ""


def test_many_at_once(rng: random.Random) -> None:
    with tunnel() as (far, near, port):
        wanted = [rng.randbytes(rng.randrange(200_000)) for _ in range(20)]
        got: list[bytes] = [b""] * len(wanted)

        def work(number: int) -> None:
            got[number] = exchange(port, wanted[number])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(wanted))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == wanted
        near.end(signal.SIGINT)
        far.end(signal.SIGINT)


def test_to_a_target(rng: random.Random) -> None:
    data = rng.randbytes(SIZE)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):  # the program's own connection, and ours
                sock, _address = server.accept()
                with sock:
                    sock.sendall(read_all(sock)[::-1])

        thread = threading.Thread(target=serve)
        thread.start()
        with tunnel("--target", f"127.0.0.1:{server.getsockname()[1]}") as (far, near, port):
            assert near.line() == "answered: " + "hello through it"[::-1]
            assert exchange(port, data) == data[::-1]
            near.end(signal.SIGINT)
            far.end(signal.SIGINT)
        thread.join()


def test_a_target_that_refuses() -> None:
    with reserved_port() as refused, tunnel("--target", f"127.0.0.1:{refused}") as (far, near, port):
        assert near.line() == "answered: "
        assert exchange(port, b"x") == b""
        near.end(signal.SIGINT)
        far.end(signal.SIGINT)


@pytest.mark.parametrize("frame", [b"\0\0\0\1\7\0\0\0\0", b"\0\0\0\1\1\xff\xff\xff\xff", b"\0\0\0\1\2\0\0\0\1x"])
def test_what_is_not_the_protocol(frame: bytes) -> None:
    with running("pair_tunnel.py", "exit") as far:
        port = port_of(far)
        with socket.create_connection(("127.0.0.1", port), GIVE_UP) as sock:
            sock.sendall(frame)
            assert read_all(sock) == b""
        assert far.line().startswith("the tunnel is broken: a frame of kind")
        far.end(signal.SIGINT)


def test_the_entry_ends_with_its_tunnel() -> None:
    with tunnel() as (far, near, _port):
        near.line()
        far.end(signal.SIGINT)
        near.end()
