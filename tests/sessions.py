"""What the tests of TLS sessions share: two ends that meet, and how it went."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from support import GIVE_UP, reserved_port, run_until

import pylibevent as ev

ENDS = ev.What.EOF | ev.What.ERROR | ev.What.TIMEOUT
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = [TLS12, TLS13]
GREETING = b"hello"

DIRECT = False
"""Which form of TLS is used. In modules with BOTH_FORMS each test that has a base runs with both."""


class Meeting(NamedTuple):
    """How two ends met."""

    client_reused: bool
    server_reused: bool
    session: ev.TLSSession | None
    """What the client has at the end."""
    server_session: ev.TLSSession | None
    sessions: list[ev.TLSSession]
    """All that the client was given."""
    version: str | None

    @property
    def reused(self) -> bool:
        assert self.client_reused == self.server_reused
        return self.client_reused


class End:
    """One end: the server greets, the client waits for the greeting, which comes after the tickets."""

    def __init__(self, bev: ev.TLSBufferEvent, greeting: bytes = b"") -> None:
        self.bev, self.greeting = bev, greeting
        self.got = b""
        self.events: list[ev.What] = []
        self.sessions: list[ev.TLSSession] = []
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.enable()

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.got += bev.read()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.events.append(what)
        if what & ev.What.CONNECTED and self.greeting:
            bev.write(self.greeting)

    @property
    def connected(self) -> bool:
        return bool(self.events and self.events[0] & ev.What.CONNECTED)

    @property
    def ended(self) -> bool:
        return bool(self.events and self.events[-1] & ENDS)


def ends(
    base: ev.EventBase,
    server: ev.TLSContext,
    client: ev.TLSContext,
    name: str | None = "server.test",
    session: ev.TLSSession | None = None,
    **options: Any,
) -> tuple[End, End]:
    """A server and a client over a socket pair."""
    one, other = socket.socketpair()
    below = ev.SocketBufferEvent(base, other, **options)
    bev = ev.TLSBufferEvent.wrap(below, client, server_hostname=name, session=session, direct=DIRECT, **options)
    client_end = End(bev)
    assert client_end.bev.direct is DIRECT
    return End(accept(base, one, server, **options), GREETING), client_end


def accept(base: ev.EventBase, sock: socket.socket, server: ev.TLSContext, **options: Any) -> ev.TLSBufferEvent:
    return ev.TLSBufferEvent.accept(base, sock, server, direct=DIRECT, **options)


def connect(base: ev.EventBase, address: Any, *arguments: Any, **options: Any) -> ev.TLSBufferEvent:
    return ev.TLSBufferEvent.connect(base, address, *arguments, direct=DIRECT, **options)


def meet(
    base: ev.EventBase,
    server: ev.TLSContext,
    client: ev.TLSContext,
    name: str | None = "server.test",
    session: ev.TLSSession | None = None,
    **options: Any,
) -> Meeting:
    """Shake hands, greet, close cleanly."""
    fresh: list[ev.TLSSession] = []
    before, client.on_new_session = client.on_new_session, lambda bev, session: fresh.append(session)
    server_end, client_end = ends(base, server, client, name, session, **options)
    try:
        run_until(base, lambda: client_end.got == GREETING or client_end.ended or server_end.ended)
        assert client_end.got == GREETING, (client_end.bev.error, server_end.bev.error)
        return Meeting(
            client_end.bev.session_reused,
            server_end.bev.session_reused,
            client_end.bev.session,
            server_end.bev.session,
            fresh,
            client_end.bev.version,
        )
    finally:
        close(base, client_end, server_end)
        client.on_new_session = before


def close(base: ev.EventBase, *which: End) -> None:
    for end in which:
        end.bev.close()
    run_until(base, lambda: all(is_gone(end.bev) for end in which))


def is_gone(bev: ev.TLSBufferEvent) -> bool:
    return bev.closed and (bev.underlying.closed if bev.underlying is not None else bev._id not in bev.base._armed)


@contextlib.contextmanager
def ticking(base: ev.EventBase) -> Iterator[None]:
    """Let the loop turn now and then: what is waited for isn't an event."""
    timer = base.timer(0.01, lambda event, what: None, persist=True)
    try:
        yield
    finally:
        timer.close()


def make_contexts(certificates: Any, version: ssl.TLSVersion = TLS13) -> tuple[ev.TLSContext, ev.TLSContext]:
    return make_server(certificates), make_client(certificates, version)


def make_server(certificates: Any, **options: Any) -> ev.TLSContext:
    return ev.TLSContext.server(certificates.cert, certificates.key, **options)


def make_client(certificates: Any, version: ssl.TLSVersion = TLS13, **options: Any) -> ev.TLSContext:
    client = ev.TLSContext.client(certificates.ca, **options)
    client.minimum_version = client.maximum_version = version
    return client


def issue(folder: Path, authority: trustme.CA, *names: str) -> tuple[str, str]:
    """Files of a certificate and its key."""
    issued = authority.issue_cert(*names)
    cert, key = folder / f"{names[0]}-cert.pem", folder / f"{names[0]}-key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return str(cert), str(key)


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """A Redis of its own on a free port; its URL."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server isn't installed (Debian: apt install redis-server)")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        with reserved_port() as port:
            options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
            process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            stack.callback(process.wait, GIVE_UP)
            stack.callback(process.terminate)
            deadline = time.monotonic() + GIVE_UP
            while not answers(port):
                assert time.monotonic() < deadline, "redis-server doesn't answer"
                assert process.poll() is None, "redis-server ended"
        yield f"redis://127.0.0.1:{port}/0"


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(100) == b"+PONG\r\n"
    except OSError:
        time.sleep(0.01)
        return False
