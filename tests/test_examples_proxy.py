"""The proxy in examples/, between real clients and an echo server."""

from __future__ import annotations

import random
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from programs import Program, read_all, running
from support import GIVE_UP


def port_of(program: Program) -> int:
    return int(program.line().rpartition(":")[2])


@contextmanager
def proxy(to: int, certificates: Any, *, tls: bool) -> Iterator[tuple[Program, int]]:
    """One that says how connections end, and its port; it must end well on SIGTERM."""
    files = ("--cert", certificates.cert, "--key", certificates.key) if tls else ()
    with running("le_proxy.py", "--port", "0", "--to", f"127.0.0.1:{to}", "--verbose", *files) as program:
        yield program, port_of(program)
        program.end(signal.SIGTERM)


@contextmanager
def client(port: int, certificates: Any, *, tls: bool) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), GIVE_UP) as plain:
        if not tls:
            yield plain
            return
        context = ssl.create_default_context(cafile=certificates.ca)
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            yield sock


@pytest.mark.parametrize("tls", [False, True])
def test_the_proxy_passes_on_both_ways_and_counts(tls: bool, certificates: Any, rng: random.Random) -> None:
    with running("echo_server.py", "--port", "0") as echo, proxy(port_of(echo), certificates, tls=tls) as (program, port):
        data = rng.randbytes(60_000)  # as much as fits into the sockets, whoever is slow
        with client(port, certificates, tls=tls) as sock:
            sock.sendall(data)
            got = bytearray()
            while len(got) < len(data):
                got += sock.recv(65536)
            assert got == data
        assert ": 60000 bytes there, 60000 back" in program.line()
        echo.end(signal.SIGTERM)


def test_the_clients_end_is_passed_on(certificates: Any) -> None:
    with running("echo_server.py", "--port", "0") as echo, proxy(port_of(echo), certificates, tls=False) as (program, port):
        with client(port, certificates, tls=False) as sock:
            sock.sendall(b"last words")
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b"last words"
        assert program.line().endswith(": 10 bytes there, 10 back")
        echo.end(signal.SIGTERM)


def test_nobody_there_ends_the_connection(certificates: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with proxy(unused.getsockname()[1], certificates, tls=False) as (program, port):
            with client(port, certificates, tls=False) as sock:
                assert read_all(sock) == b""
            assert "Connection refused" in program.line()


@pytest.mark.parametrize("wrong", [["--to", "nowhere"], ["--to", "127.0.0.1:http"], ["--to", ":80"], ["--cert", "cert.pem"]])
def test_the_proxy_says_what_is_wrong(wrong: list[str]) -> None:
    with running("le_proxy.py", "--port", "0", *([] if "--to" in wrong else ["--to", "127.0.0.1:80"]), *wrong) as program:
        status, out, err = program.rest()
        assert (status, out) == (2, "")
        assert "usage:" in err
        program.over = True
