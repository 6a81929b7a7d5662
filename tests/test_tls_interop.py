"""TLS with others: OpenSSL's, GnuTLS's and curl's programs, and Python's ssl, as clients and as servers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import tls_authority as make
from support import reserved_port, run_until
from tls_authority import CLIENT
from tls_ends import End

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
both_forms = pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])
both_versions = pytest.mark.parametrize("version", ["1.2", "1.3"])


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program}: .ci/system-packages installs it")
    return found


class Files:
    """Certificates as the programs want them."""

    def __init__(self, folder: Path) -> None:
        self.root = make.authority()
        self.leaf = self.root.issue("server.test", "localhost", "127.0.0.1")
        self.own = self.root.issue("client", uses=[CLIENT])
        self.ca = self._put(folder / "ca.pem", self.root.pem)
        self.cert = self._put(folder / "cert.pem", self.leaf.chain_pem)
        self.key = self._put(folder / "key.pem", self.leaf.key_pem)
        self.own_cert = self._put(folder / "own.pem", self.own.pem)
        self.own_key = self._put(folder / "own-key.pem", self.own.key_pem)

    @staticmethod
    def _put(path: Path, data: bytes) -> str:
        path.write_bytes(data)
        return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: Any) -> Files:
    return Files(tmp_path_factory.mktemp("interop"))


@contextmanager
def child(base: ev.EventBase, *command: str) -> Iterator[Child]:
    process = Child(base, *command)
    try:
        yield process
    finally:
        process.end()


class Child:
    """A program, its input and output on the base's loop."""

    def __init__(self, base: ev.EventBase, *command: str) -> None:
        self.base = base
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        self.out = bytearray()
        self.over = False
        os.set_blocking(self.process.stdout.fileno(), False)
        self.event = base.event(self.process.stdout, ev.EventFlag.READ | ev.EventFlag.PERSIST, self._on_output)
        self.event.add()

    def _on_output(self, event: ev.Event, what: ev.EventFlag) -> None:
        assert self.process.stdout is not None
        data = self.process.stdout.read()
        if data == b"":
            self.over = True
            event.delete()
        self.out += data or b""

    def say(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self) -> None:
        self.event.close()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                stream.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class EchoServer:
    def __init__(self, base: ev.EventBase, ctx: ev.TLSContext, *, direct: bool, answer: bytes | None = None) -> None:
        self.base, self.ctx, self.direct, self.answer = base, ctx, direct, answer
        self.ends: list[ev.TLSBufferEvent] = []
        self.events: list[ev.What] = []
        self.listener = ev.Listener.bind(base, ("127.0.0.1", 0), self._accepted)
        self.port = self.listener.address[1]

    def _accepted(self, listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        bev = ev.TLSBufferEvent.accept(self.base, sock, self.ctx, direct=self.direct)
        bev.set_callbacks(read=self._read, event=self._event)
        bev.enable()
        self.ends.append(bev)

    def _read(self, bev: ev.BufferEvent) -> None:
        if self.answer is None:
            bev.write_buffer(bev.input)
        elif b"\r\n\r\n" in bytes(bev.input):
            bev.write(self.answer)
            bev.close()

    def _event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.events.append(what)
        if what & ev.What.EOF:
            bev.close()

    def close(self) -> None:
        self.listener.close()
        for bev in self.ends:
            bev.abort()


@contextmanager
def echo_server(base: ev.EventBase, ctx: ev.TLSContext, **options: Any) -> Iterator[EchoServer]:
    server = EchoServer(base, ctx, **options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def port() -> Iterator[int]:
    """The port that a program is to listen on."""
    with reserved_port() as number:
        yield number


# ---------------------------------------------------------------- they are the client


@both_forms
@both_versions
def test_openssl_s_client(base: ev.EventBase, files: Files, direct: bool, version: str) -> None:
    other = ev.TLSContext.server(files.leaf.chain, files.leaf.key, client_ca=files.root.certificate)
    other.set_alpn_protocols(["b", "a"])
    ctx = ev.TLSContext.server(files.cert, files.key)
    ctx.sni = {"server.test": other}
    with echo_server(base, ctx, direct=direct) as server:
        command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", files.ca, "-brief"]
        command += ["-servername", "server.test", "-verify_return_error", "-verify_hostname", "server.test"]
        command += ["-alpn", "a,c", "-cert", files.own_cert, "-key", files.own_key, "-tls" + version.replace(".", "_")]
        with child(base, *command) as client:
            run_until(base, lambda: server.events)
            assert server.events == [ev.What.CONNECTED]
            assert server.ends[0].version == "TLSv" + version
            assert server.ends[0].alpn_protocol == "a"
            assert server.ends[0].context is other
            assert server.ends[0].verified
            client.say(b"hello there\n")
            run_until(base, lambda: b"hello there\n" in client.out)
            client.say(b"Q\n")
            run_until(base, lambda: client.over)
            assert b"Verification: OK" in client.out
            run_until(base, lambda: len(server.events) == 2)
            assert server.events[1] == ev.What.READING | ev.What.EOF


def test_openssl_s_client_renegotiates(base: ev.EventBase, files: Files) -> None:
    """It asks for it with "R", and new keys with "K"; our server takes the second and refuses the first."""
    with echo_server(base, ev.TLSContext.server(files.cert, files.key), direct=False) as server:
        for version, letter in (("1_3", b"K\n"), ("1_2", b"R\n")):
            command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls" + version]
            with child(base, *command) as client:
                before = len(server.events)
                run_until(base, lambda before=before: len(server.events) > before)
                client.say(letter)
                if letter == b"K\n":
                    run_until(base, lambda client=client: b"KEYUPDATE" in client.out)
                    client.say(b"after it\n")
                    run_until(base, lambda client=client: client.out.count(b"after it") >= 1)
                else:
                    run_until(base, lambda client=client: client.over or b"no renegotiation" in client.out)


@both_forms
@both_versions
def test_gnutls_cli(base: ev.EventBase, files: Files, direct: bool, version: str) -> None:
    with echo_server(base, ev.TLSContext.server(files.cert, files.key), direct=direct) as server:
        command = [need("gnutls-cli"), "--x509cafile", files.ca, "--port", str(server.port), "--no-ocsp"]
        command += ["--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "localhost"]
        with child(base, *command) as client:
            run_until(base, lambda: b"Handshake was completed" in client.out or client.over)
            client.say(b"hello there\n")
            run_until(base, lambda: b"hello there" in client.out or client.over)
            assert b"hello there" in client.out
            assert server.ends[0].version == "TLSv" + version
            assert client.process.stdin is not None
            client.process.stdin.close()
            run_until(base, lambda: len(server.events) == 2)
            assert server.events[1] & ev.What.EOF


def test_gnutls_cli_resumes(base: ev.EventBase, files: Files) -> None:
    with echo_server(base, ev.TLSContext.server(files.cert, files.key), direct=False) as server:
        command = [need("gnutls-cli"), "--x509cafile", files.ca, "--port", str(server.port), "--no-ocsp", "-r", "localhost"]
        with child(base, *command) as client:
            run_until(base, lambda: server.events.count(ev.What.CONNECTED) == 2 or client.over)
            assert server.events.count(ev.What.CONNECTED) == 2, client.out


@both_forms
@both_versions
def test_curl(base: ev.EventBase, files: Files, direct: bool, version: str) -> None:
    body = b"x" * 300_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    ctx = ev.TLSContext.server(files.cert, files.key)
    ctx.set_alpn_protocols(["http/1.1"])
    with echo_server(base, ctx, direct=direct, answer=answer) as server:
        command = [need("curl"), "--silent", "--show-error", "--cacert", files.ca, "--http1.1", f"--tlsv{version}"]
        command += ["--tls-max", version, "--noproxy", "*", f"https://localhost:{server.port}/"]
        with child(base, *command) as client:
            run_until(base, lambda: client.over)
            assert bytes(client.out) == body
            assert client.process.wait() == 0
            assert server.events[0] == ev.What.CONNECTED


def test_curl_refuses_us(base: ev.EventBase, files: Files) -> None:
    with echo_server(base, ev.TLSContext.server(files.cert, files.key), direct=False) as server:
        command = [need("curl"), "--silent", "--show-error", "--noproxy", "*", f"https://localhost:{server.port}/"]
        with child(base, *command) as client:
            run_until(base, lambda: client.over and server.events)
            assert client.process.wait() == 60
            assert server.events == [ev.What.READING | ev.What.ERROR]
            error = server.ends[0].error
            assert isinstance(error, ev.TLSError)
            assert error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_UNKNOWN_CA


# ---------------------------------------------------------------- they are the server


def connected(base: ev.EventBase, port: int, ctx: ev.TLSContext, name: str = "localhost", **options: Any) -> End:
    """Try until the program listens."""
    while True:
        end = End(ev.TLSBufferEvent.connect(base, ("127.0.0.1", port), ctx, name, **options))
        run_until(base, lambda end=end: end.events)
        if not isinstance(end.error, ConnectionRefusedError):
            return end
        end.bev.close()
        waited: list[bool] = []
        base.timer(0.05, lambda event, what, waited=waited: waited.append(True))
        run_until(base, lambda waited=waited: waited)


@both_forms
@both_versions
def test_openssl_s_server(base: ev.EventBase, files: Files, port: int, direct: bool, version: str) -> None:
    command = [need("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", files.cert, "-key", files.key]
    command += ["-CAfile", files.ca, "-Verify", "1", "-verify_return_error", "-alpn", "b,a", "-rev"]
    command += ["-tls" + version.replace(".", "_")]
    ctx = ev.TLSContext.client(files.ca, certfile=files.own_cert, keyfile=files.own_key)
    ctx.set_alpn_protocols(["a"])
    with child(base, *command) as server:
        end = connected(base, port, ctx, direct=direct)
        assert end.events == [ev.What.CONNECTED], (end.error, server.out)
        assert (end.bev.version, end.bev.alpn_protocol) == ("TLSv" + version, "a")
        end.bev.write(b"hello\n")
        run_until(base, lambda: end.got == b"olleh\n")
        end.bev.close()
        run_until(base, lambda: b"CONNECTION CLOSED" in server.out or b"CONNECTION" in server.out)


@both_forms
def test_openssl_s_server_answers_http(base: ev.EventBase, files: Files, port: int, direct: bool) -> None:
    command = [need("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", files.cert, "-key", files.key, "-www"]
    with child(base, *command):
        end = connected(base, port, ev.TLSContext.client(files.ca), direct=direct)
        end.bev.allow_dirty_shutdown = True
        end.bev.write(b"GET / HTTP/1.0\r\n\r\n")
        run_until(base, lambda: end.ended)
        assert end.got.startswith(b"HTTP/1.0 200 ok")
        assert re.search(rb"Cipher *: TLS_AES_256_GCM_SHA384", end.got)
        end.bev.close()


@both_forms
@both_versions
def test_gnutls_serv(base: ev.EventBase, files: Files, port: int, direct: bool, version: str) -> None:
    command = [need("gnutls-serv"), "--port", str(port), "--x509certfile", files.cert, "--x509keyfile", files.key, "--echo"]
    command += ["--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "--quiet"]
    with child(base, *command):
        end = connected(base, port, ev.TLSContext.client(files.ca), direct=direct)
        assert end.events == [ev.What.CONNECTED], end.error
        assert end.bev.version == "TLSv" + version
        end.bev.write(b"hello there\n")
        run_until(base, lambda: end.got == b"hello there\n")
        end.bev.close()
        base.loop(ev.LoopFlag.NONBLOCK)


def test_servers_that_we_refuse(base: ev.EventBase, files: Files, port: int) -> None:
    command = [need("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", files.cert, "-key", files.key]
    with child(base, *command) as server:
        end = connected(base, port, ev.TLSContext.client(files.ca), "another.test")
        assert isinstance(end.error, ev.TLSCertificateError)
        assert "certificate is not valid for 'another.test'" in str(end.error)
        run_until(base, lambda: b"alert bad certificate" in server.out)
        end.bev.close()


PYTHON_SERVER = """
import socket, ssl, sys
ctx = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
ctx.load_cert_chain(sys.argv[1], sys.argv[2])
ctx.set_alpn_protocols(["b", "a"])
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    sock, _ = listener.accept()
    with ctx.wrap_socket(sock, server_side=True) as tls:
        while data := tls.recv(65536):
            tls.sendall(data)
        tls.unwrap()
        print("clean", flush=True)
"""


@both_forms
@both_versions
def test_pythons_ssl(base: ev.EventBase, files: Files, direct: bool, version: str) -> None:
    ctx = ev.TLSContext.client(files.ca)
    ctx.set_alpn_protocols(["a"])
    ctx.maximum_version = V12 if version == "1.2" else V13
    with child(base, sys.executable, "-c", PYTHON_SERVER, files.cert, files.key) as server:
        run_until(base, lambda: b"\n" in server.out)
        end = connected(base, int(server.out), ctx, direct=direct)
        assert (end.bev.version, end.bev.alpn_protocol) == ("TLSv" + version, "a")
        data = bytes(range(256)) * 3000
        end.bev.write(data)
        run_until(base, lambda: len(end.got) == len(data))
        assert end.got == data
        end.bev.close(bidirectional=True)
        run_until(base, lambda: server.over)
        assert server.out.endswith(b"clean\n")


def test_sessions_of_openssl(base: ev.EventBase, files: Files, tmp_path: Path) -> None:
    """-sess_out, -sess_in, and -reconnect: five times more with the same session."""
    saved = str(tmp_path / "session.pem")
    with echo_server(base, ev.TLSContext.server(files.cert, files.key), direct=False) as server:
        base_command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2"]
        for options, reused in ((["-sess_out", saved], False), (["-sess_in", saved], True)):
            with child(base, *base_command, *options) as client:
                run_until(base, lambda client=client: b"Verify return code" in client.out)
                client.say(b"Q\n")
                run_until(base, lambda client=client: client.over)
                assert (b"Reused" in client.out) is reused
        with child(base, *base_command, "-reconnect") as client:
            run_until(base, lambda: client.out.count(b"Reused") == 5 or client.over)
            assert client.out.count(b"Reused") == 5
