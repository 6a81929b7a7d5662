"""The echo servers in examples/, talked to by real clients."""

from __future__ import annotations

import asyncio
import random
import re
import resource
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from programs import Program, read_all, running
from support import GIVE_UP

KINDS = ["plain", "tls"]
MODES = ["copy", "move", "relay"]
MANY = 1000
AT_ONCE = 262144
both_kinds = pytest.mark.parametrize("kind", KINDS)
both_modes = pytest.mark.parametrize("mode", MODES)


class Echo:
    """An echo server that runs, and how to talk to it."""

    def __init__(self, program: Program, kind: str, host: str, port: int, ca: str) -> None:
        self.program = program
        self.kind = kind
        self.host, self.port = host, port
        self.ca = ca
        self.context = ssl.create_default_context(cafile=ca) if kind == "tls" else None

    @contextmanager
    def connect(self) -> Iterator[socket.socket]:
        with socket.create_connection((self.host, self.port), GIVE_UP) as plain:
            if self.context is None:
                yield plain
            else:
                with self.context.wrap_socket(plain, server_hostname="localhost") as tls:
                    yield tls

    def says_back(self, data: bytes) -> None:
        """A new connection gets back what it sends, and a clean end."""
        with self.connect() as sock:
            assert exchange(sock, data) == data
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap().close()


@contextmanager
def echo_server(kind: str, mode: str, certificates: Any, *, host: str = "127.0.0.1") -> Iterator[Echo]:
    """An echo server on a port of the system's choice; it must end well on SIGTERM, and have said nothing on stderr."""
    name = "tls_echo_server.py" if kind == "tls" else "echo_server.py"
    files = ("--cert", certificates.cert, "--key", certificates.key) if kind == "tls" else ()
    with running(name, "--port", "0", "--host", host, "--mode", mode, *files) as program:
        said = re.fullmatch(r"listening on (\S+):(\d+)", program.line())
        assert said is not None
        yield Echo(program, kind, said[1].strip("[]"), int(said[2]), certificates.ca)
        if not program.over:
            assert program.end(signal.SIGTERM) == ""


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send all of it while what comes back is read; returns that, as many bytes."""
    sock.setblocking(False)
    view, got = memoryview(data), bytearray()
    deadline = time.monotonic() + GIVE_UP
    while len(got) < len(data):
        assert time.monotonic() < deadline, f"{len(got)} of {len(data)} bytes came back"
        select.select([sock], [sock] if view else [], [], GIVE_UP)
        view = view[attempt(sock.send, view[:AT_ONCE]) or 0 :] if view else view
        while (more := attempt(sock.recv, AT_ONCE)) is not None:
            assert more, "it hung up"
            got += more
    sock.settimeout(GIVE_UP)
    return bytes(got)


def attempt(call: Callable[..., Any], *arguments: object) -> Any:
    """What a call on a non-blocking socket returns, or None where it would block."""
    try:
        return call(*arguments)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


# ---------------------------------------------------------------- echo servers


@both_kinds
@both_modes
@pytest.mark.parametrize("size", [1, 4096, 100_000, 20_000_000])
def test_echo_servers_give_back_what_they_got(kind: str, mode: str, size: int, certificates: Any, rng: random.Random) -> None:
    with echo_server(kind, mode, certificates) as server:
        server.says_back(rng.randbytes(size))


@both_kinds
@both_modes
def test_echo_servers_keep_their_connections_apart(kind: str, mode: str, certificates: Any, rng: random.Random) -> None:
    with echo_server(kind, mode, certificates) as server, server.connect() as one, server.connect() as other:
        for _ in range(50):
            for sock in (one, other):
                data = rng.randbytes(rng.randrange(1, 70_000))
                assert exchange(sock, data) == data


@both_modes
def test_the_echo_server_sends_the_rest_after_the_clients_end(mode: str, certificates: Any, rng: random.Random) -> None:
    """A client may say that it is done before it has read anything."""
    sent = rng.randbytes(1_000_000)
    with echo_server("plain", mode, certificates) as server, server.connect() as sock:
        assert send_then_read(sock, sent) == sent


@both_modes
def test_the_tls_echo_server_sends_the_rest_after_close_notify(mode: str, certificates: Any, rng: random.Random) -> None:
    sent = rng.randbytes(1_000_000)
    with echo_server("tls", mode, certificates) as server, socket.create_connection((server.host, server.port)) as sock:
        assert server.context is not None
        to_us, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server.context.wrap_bio(to_us, to_server, server_hostname="localhost")
        while tls.version() is None:
            attempt(tls.do_handshake)
            sock.sendall(to_server.read())
            if tls.version() is None:
                to_us.write(sock.recv(65536))
        tls.write(sent)
        assert attempt(tls.unwrap) is None  # close_notify goes out; the server's hasn't come
        to_us.write(send_then_read(sock, to_server.read()))
        got = bytearray()
        while len(got) < len(sent):
            got += tls.read(65536)
        assert got == sent
        with pytest.raises(ssl.SSLZeroReturnError):  # the server's close_notify
            tls.read()


def send_then_read(sock: socket.socket, data: bytes) -> bytes:
    """Send and end this direction; returns all that comes back."""

    def send() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    sock.settimeout(GIVE_UP)
    writer = threading.Thread(target=send)
    writer.start()
    try:
        return read_all(sock)
    finally:
        writer.join(GIVE_UP)


@both_kinds
@both_modes
def test_echo_servers_serve_1000_connections_at_once(kind: str, mode: str, certificates: Any) -> None:
    with echo_server(kind, mode, certificates) as server, many_descriptors():
        answers = asyncio.run(talk_over_many(server))
    assert answers == MANY


@contextmanager
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 200), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def talk_over_many(server: Echo) -> int:
    """All connect; when all are there each sends its own bytes, and reads them back. Returns how many got theirs."""
    everybody = asyncio.Barrier(MANY)

    async def one(number: int) -> bool:
        hostname = "localhost" if server.context else None
        reader, writer = await asyncio.open_connection(server.host, server.port, ssl=server.context, server_hostname=hostname)
        await everybody.wait()
        sent = struct.pack("!I", number) * 1000
        writer.write(sent)
        got = await reader.readexactly(len(sent))
        await everybody.wait()
        writer.close()
        await writer.wait_closed()
        return got == sent

    async with asyncio.timeout(60):
        return sum(await asyncio.gather(*map(one, range(MANY))))


@both_kinds
@both_modes
def test_echo_servers_survive_clients_that_reset(kind: str, mode: str, certificates: Any) -> None:
    with echo_server(kind, mode, certificates) as server:
        for _ in range(100):
            with server.connect() as sock:
                sock.sendall(b"x" * 10_000)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.says_back(b"still there")


@both_modes
def test_the_tls_echo_server_survives_clients_that_speak_no_tls(mode: str, certificates: Any) -> None:
    with echo_server("tls", mode, certificates) as server:
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000), bytes(100)):
            with socket.create_connection((server.host, server.port), GIVE_UP) as sock:
                until_it_hangs_up(sock, garbage)
        server.says_back(b"still there")


def until_it_hangs_up(sock: socket.socket, data: bytes) -> None:
    """Send, end, and read; it may hang up at any point, politely or not."""
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)
    except TimeoutError:
        raise  # it doesn't hang up
    except OSError:
        return


@both_kinds
def test_echo_servers_listen_on_ipv6(kind: str, certificates: Any) -> None:
    with echo_server(kind, "copy", certificates, host="::1") as server:
        assert server.host == "::1"
        server.says_back(b"over IPv6")


# ---------------------------------------------------------------- other people's clients


def talk_through(command: list[str], lines: list[bytes]) -> list[bytes]:
    """Give a client's standard input lines, one when the one before has come back. Returns what came back."""
    answers = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        watchdog = threading.Timer(GIVE_UP, client.kill)
        watchdog.start()
        try:
            for line in lines:
                client.stdin.write(line)
                client.stdin.flush()
                while (answer := client.stdout.readline()) not in (line, b""):
                    pass
                answers.append(answer)
            client.stdin.close()
            client.stdin = None
            client.communicate()
        finally:
            watchdog.cancel()
            watchdog.join()
    assert client.returncode == 0
    return answers


LINES = [b"first line\n", b"second line\n", b"x" * 10_000 + b"\n"]


@both_modes
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_tls_echo_server_serves_openssl_s_client(version: str, mode: str, certificates: Any) -> None:
    with echo_server("tls", mode, certificates) as server:
        command = ["openssl", "s_client", "-quiet", "-no_ign_eof", version, "-connect", f"{server.host}:{server.port}"]
        command += ["-CAfile", server.ca, "-verify_return_error", "-verify_hostname", "localhost"]
        assert talk_through(command, LINES) == LINES


@both_modes
@pytest.mark.parametrize("version", ["VERS-TLS1.2", "VERS-TLS1.3"])
def test_the_tls_echo_server_serves_gnutls_cli(version: str, mode: str, certificates: Any) -> None:
    with echo_server("tls", mode, certificates) as server:
        command = ["gnutls-cli", "--logfile=/dev/null", "--x509cafile", server.ca, "--sni-hostname=localhost"]
        command += ["--verify-hostname=localhost", "--priority", f"NORMAL:-VERS-ALL:+{version}"]
        assert talk_through([*command, "-p", str(server.port), server.host], LINES) == LINES


@both_modes
def test_the_tls_echo_server_serves_curl(mode: str, certificates: Any) -> None:
    """curl takes the echo of its request, which is no HTTP, for an answer of HTTP/0.9."""
    with echo_server("tls", mode, certificates) as server:
        command = ["curl", "--silent", "--show-error", "--no-buffer", "--http0.9", "--cacert", server.ca, "--noproxy", "*"]
        command += ["--max-time", str(GIVE_UP), "--output", "-", f"https://localhost:{server.port}/echo-me"]
        command += ["--resolve", f"localhost:{server.port}:{server.host}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"GET /echo-me HTTP/1.1\r\n"
            assert client.stdout.readline() == f"Host: localhost:{server.port}\r\n".encode()
            client.kill()  # it waits for more


# ---------------------------------------------------------------- the end of echo servers


@both_kinds
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM, signal.SIGINT]],
    ids=["SIGINT", "SIGTERM", "several"],
)
def test_echo_servers_end_well_on_signals(kind: str, signals: list[int], certificates: Any) -> None:
    """With connections open, idle and busy."""
    with echo_server(kind, "copy", certificates) as server, server.connect() as idle, server.connect() as busy:
        assert exchange(idle, b"hello") == b"hello"
        busy.settimeout(0)
        for _ in range(200):
            attempt(busy.send, b"x" * 65536)  # what comes back isn't read
        assert server.program.end(*signals) == ""


@both_kinds
def test_echo_servers_refuse_bad_arguments(kind: str, certificates: Any) -> None:
    name = "tls_echo_server.py" if kind == "tls" else "echo_server.py"
    files = ["--cert", certificates.cert, "--key", certificates.key] if kind == "tls" else []
    for bad in (["--port", "x"], ["--port", "65536"], ["--port", "-1"], ["--mode", "fly"], ["--colour"]):
        with running(name, *files, *bad) as program:
            status, out, err = program.rest()
            assert (status, out) == (2, "")
            assert err.startswith(f"usage: {name}")
            assert bad[0] in err
    for bad in (["--host", "not.an.address"], ["--host", "192.0.2.1"]):
        with running(name, *files, "--port", "0", *bad) as program:
            status, out, err = program.rest()
            assert (status, out) == (1, "")
            assert re.fullmatch(rf"can't listen on {re.escape(bad[1])}, port 0: .*\n", err)


def test_the_tls_echo_server_refuses_bad_certificates(certificates: Any, tmp_path: Path) -> None:
    missing, garbage = str(tmp_path / "none.pem"), tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for cert, key in (
        (missing, certificates.key),
        (certificates.cert, missing),
        (str(garbage), certificates.key),
        (certificates.ca, certificates.key),
    ):
        with running("tls_echo_server.py", "--port", "0", "--cert", cert, "--key", key) as program:
            status, out, err = program.rest()
            assert (status, out) == (1, "")
            assert re.fullmatch(rf"can't use the certificate {re.escape(cert)} with the key {re.escape(key)}: .*\n", err)
    with running("tls_echo_server.py", "--port", "0") as program:
        status, out, err = program.rest()
        assert (status, out) == (2, "")
        assert "--cert, --key" in err
