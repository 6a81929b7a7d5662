"""When a server's reading is switched on, and off: libevent isn't asked to read while the handshake waits for the client."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from support import run_until
from tls_ends import End, settle

import pylibevent as ev

READ = ev.EventFlag.READ
FIRST = b"said together with the last message of the handshake"


class Server(End):
    """One end that reads only when it is told to."""

    def __init__(self, bev: ev.TLSBufferEvent, *, when_connected: bool = False) -> None:
        self.bev = bev
        self.events: list[ev.What] = []
        self.got = bytearray()
        self.when_connected = when_connected
        bev.set_callbacks(read=self.on_read, event=self.on_event)

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        super().on_event(bev, what)
        if self.when_connected and what & ev.What.CONNECTED:
            bev.enable(READ)


class Client:
    """OpenSSL by itself, which is given what came, and sends when it is told to."""

    def __init__(self, ctx: ssl.SSLContext, sock: socket.socket, session: ssl.SSLSession | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.incoming, self.outgoing, server_hostname="server.test", session=session)
        self.sock = sock
        sock.setblocking(False)

    def send(self) -> None:
        data = self.outgoing.read()
        if data:
            self.sock.sendall(data)

    def hear(self) -> bool:
        """Whether anything has come."""
        try:
            self.incoming.write(self.sock.recv(65536))
        except BlockingIOError:
            return False
        return True

    def step(self) -> bool:
        """Whether the handshake is done, with all that has come by now."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def hello(self, base: ev.EventBase) -> None:
        """The first message, and its answer."""
        assert not self.step()
        self.send()
        run_until(base, self.hear)

    def finish(self, base: ev.EventBase, data: bytes) -> None:
        """The rest, and data in the same packet as the last message where that is the client's."""
        while not self.step():
            self.send()
            run_until(base, self.hear)
        self.tls.write(data)
        self.send()

    def read(self, base: ev.EventBase) -> bytes:
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                run_until(base, self.hear)


@pytest.fixture
def server(certificates: Any) -> ev.TLSContext:
    return ev.TLSContext.server(certificates.cert, certificates.key)


def client_context(certificates: Any, version: ssl.TLSVersion) -> ssl.SSLContext:
    ctx = ssl.create_default_context(cafile=certificates.ca)
    ctx.minimum_version = ctx.maximum_version = version
    return ctx


def make(base: ev.EventBase, sock: socket.socket, ctx: ev.TLSContext, form: str) -> ev.TLSBufferEvent:
    if form == "accepted":
        return ev.TLSBufferEvent.accept(base, sock, ctx)
    return ev.SocketBufferEvent(base, sock).start_tls(ctx, server_side=True)


def talk(base: ev.EventBase, end: Server, client: Client) -> None:
    """What the client said arrives, and so does the answer."""
    run_until(base, lambda: end.got == FIRST)
    end.bev.write(b"heard")
    assert client.read(base) == b"heard"
    assert end.events == [ev.What.CONNECTED]


def get_session(base: ev.EventBase, server: ev.TLSContext, ctx: ssl.SSLContext) -> ssl.SSLSession:
    one, other = socket.socketpair()
    with other, ev.TLSBufferEvent.accept(base, one, server) as bev:
        end, client = Server(bev, when_connected=True), Client(ctx, other)
        client.hello(base)
        client.finish(base, FIRST)
        talk(base, end, client)
        session: ssl.SSLSession | None = client.tls.session
        assert session is not None
        return session


@pytest.mark.parametrize("form", ["accepted", "start_tls"])
@pytest.mark.parametrize("when", ["before", "meanwhile", "connected", "late"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_reading_is_switched_on(
    base: ev.EventBase, certificates: Any, server: ev.TLSContext, version: ssl.TLSVersion, when: str, form: str
) -> None:
    """The client speaks last, and what it says then comes with its data: TLS 1.2 resumes a session for that."""
    ctx = client_context(certificates, version)
    session = get_session(base, server, ctx) if version == ssl.TLSVersion.TLSv1_2 else None
    one, other = socket.socketpair()
    with other, make(base, one, server, form) as bev:
        end, client = Server(bev, when_connected=when == "connected"), Client(ctx, other, session)
        if when == "before":
            bev.enable(READ)
        client.hello(base)
        if when == "meanwhile":
            bev.enable(READ)
        client.finish(base, FIRST)
        if when == "late":
            run_until(base, lambda: end.connected)
            settle(base)
            assert not end.got
            bev.enable(READ)
        talk(base, end, client)
        assert client.tls.session_reused == (session is not None)


@pytest.mark.parametrize("again", ["at once", "meanwhile", "late"])
@pytest.mark.parametrize("form", ["accepted", "start_tls"])
def test_reading_is_switched_off_and_on(
    base: ev.EventBase, certificates: Any, server: ev.TLSContext, form: str, again: str
) -> None:
    one, other = socket.socketpair()
    with other, make(base, one, server, form) as bev:
        end, client = Server(bev), Client(client_context(certificates, ssl.TLSVersion.TLSv1_3), other)
        bev.enable(READ)
        bev.disable(READ)
        assert not bev.enabled & READ
        if again == "at once":
            bev.enable(READ)
        assert not client.step()
        client.send()
        settle(base)
        if again == "meanwhile":
            bev.enable(READ)
        elif again == "late":
            bev.enable(READ)
            run_until(base, client.hear)
            bev.disable(READ)
            settle(base)
            bev.enable(READ)
        client.finish(base, FIRST)
        talk(base, end, client)


def test_what_came_before_tls_is_its_first_message(base: ev.EventBase, certificates: Any, server: ev.TLSContext) -> None:
    one, other = socket.socketpair()
    with other:
        client = Client(client_context(certificates, ssl.TLSVersion.TLSv1_3), other)
        assert not client.step()
        client.send()
        plain = ev.SocketBufferEvent(base, one)
        plain.set_callbacks(read=lambda bev: None)
        plain.enable(READ)
        run_until(base, lambda: len(plain.input) > 0)
        with plain.start_tls(server, server_side=True, allow_pipelined=True) as bev:
            end = Server(bev)
            bev.enable(READ)
            client.finish(base, FIRST)
            talk(base, end, client)


@pytest.mark.parametrize("first", ["timeout", "enable"])
def test_a_timeout_runs_during_the_handshake_too(base: ev.EventBase, server: ev.TLSContext, first: str) -> None:
    one, other = socket.socketpair()
    with other, ev.TLSBufferEvent.accept(base, one, server) as bev:
        end = Server(bev)
        if first == "enable":
            bev.enable(READ)
        bev.set_timeouts(read=0.05)
        bev.enable(READ)
        run_until(base, lambda: end.events)
        assert end.events == [ev.What.TIMEOUT | ev.What.READING]


def test_what_was_written_before_goes_out_after_the_handshake(
    base: ev.EventBase, certificates: Any, server: ev.TLSContext
) -> None:
    one, other = socket.socketpair()
    with other, ev.TLSBufferEvent.accept(base, one, server) as bev:
        end, client = Server(bev), Client(client_context(certificates, ssl.TLSVersion.TLSv1_3), other)
        bev.disable(ev.EventFlag.WRITE)
        bev.write(b"written before")
        bev.enable()
        client.hello(base)
        client.finish(base, FIRST)
        assert client.read(base) == b"written before"
        talk(base, end, client)
