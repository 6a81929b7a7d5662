"""TLSBufferEvent where all goes well: against itself, and against Python's own ssl."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import GIVE_UP, run_until

import pylibevent as ev

ENDS = ev.What.EOF | ev.What.ERROR | ev.What.TIMEOUT


def echo_listener(base: ev.EventBase, ctx: ev.TLSContext, accepted: list[ev.TLSBufferEvent], **options: Any) -> ev.Listener:
    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ENDS:
            bev.close()

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        bev = ev.TLSBufferEvent.accept(base, sock, ctx, **options)
        bev.set_callbacks(read=lambda bev: bev.write_buffer(bev.input), event=on_event)
        bev.enable()
        accepted.append(bev)

    return ev.Listener.bind(base, ("127.0.0.1", 0), on_accept)


class Client:
    """Sends what it is given once it is connected, and gathers the answer."""

    def __init__(self, bev: ev.TLSBufferEvent, data: bytes) -> None:
        self.bev, self.data = bev, data
        self.got = bytearray()
        self.events: list[ev.What] = []
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.enable()

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.got += bev.read()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.events.append(what)
        if what & ev.What.CONNECTED:
            bev.write(self.data)

    @property
    def done(self) -> bool:
        return len(self.got) >= len(self.data) or bool(self.events and self.events[-1] & ENDS)


def contexts(certificates: Any, version: ssl.TLSVersion) -> tuple[ev.TLSContext, ev.TLSContext]:
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    client = ev.TLSContext.client(certificates.ca)
    client.minimum_version = client.maximum_version = version
    return server, client


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
OPTIONS = [
    ev.Option.CLOSE_ON_FREE,
    ev.Option.CLOSE_ON_FREE | ev.Option.DEFER_CALLBACKS,
    ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE,
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [1, 5000, 1_000_000])
@pytest.mark.parametrize("version", VERSIONS)
def test_echo(
    base: ev.EventBase, certificates: Any, rng: random.Random, version: ssl.TLSVersion, size: int, options: ev.Option
) -> None:
    server, client_ctx = contexts(certificates, version)
    accepted: list[ev.TLSBufferEvent] = []
    data = rng.randbytes(size)
    with echo_listener(base, server, accepted, options=options) as listener:
        bev = ev.TLSBufferEvent.connect(base, listener.address, client_ctx, options=options)
        client = Client(bev, data)
        run_until(base, lambda: client.done)
        assert client.got == data
        assert client.events == [ev.What.CONNECTED]
        assert bev.version == accepted[0].version == ("TLSv1.2" if version == ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
        assert bev.cipher == accepted[0].cipher
        assert bev.cipher is not None
        assert bev.cipher.bits >= 128
        assert bev.session_reused is False
        assert bev.peer_certificate == ssl.PEM_cert_to_DER_cert(open_text(certificates.cert))
        assert accepted[0].peer_certificate is None
        assert bev.server_hostname == "127.0.0.1"
        bev.close()
        run_until(base, lambda: accepted[0].closed)


def open_text(path: str) -> str:
    with open(path) as file:
        text = file.read()
    return text[: text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_by_address_and_by_name(base: ev.EventBase, certificates: Any, host: str) -> None:
    server, ctx = contexts(certificates, ssl.TLSVersion.TLSv1_3)
    with echo_listener(base, server, []) as listener:
        with ev.TLSBufferEvent.connect(base, (host, listener.address[1]), ctx) as bev:
            client = Client(bev, b"hello")
            run_until(base, lambda: client.done)
        assert client.got == b"hello"


def test_over_a_path_with_the_name_said(base: ev.EventBase, certificates: Any, tmp_path: Any) -> None:
    server, ctx = contexts(certificates, ssl.TLSVersion.TLSv1_3)
    path = str(tmp_path / "tls.sock")

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        bev = ev.TLSBufferEvent.accept(base, sock, server)
        bev.set_callbacks(read=lambda bev: bev.write_buffer(bev.input), event=lambda bev, what: what & ENDS and bev.close())
        bev.enable()

    with ev.Listener.bind(base, path, on_accept):
        with pytest.raises(ValueError, match="server_hostname"):
            ev.TLSBufferEvent.connect(base, path, ctx)
        with ev.TLSBufferEvent.connect(base, path, ctx, "server.test") as bev:
            client = Client(bev, b"hello")
            run_until(base, lambda: client.done)
        assert client.got == b"hello"


def test_mutual_verification(base: ev.EventBase, certificates: Any) -> None:
    server = ev.TLSContext.server(certificates.cert, certificates.key, client_ca=certificates.ca)
    ctx = ev.TLSContext.client(certificates.ca, certfile=certificates.cert, keyfile=certificates.key)
    accepted: list[ev.TLSBufferEvent] = []
    with echo_listener(base, server, accepted) as listener:
        with ev.TLSBufferEvent.connect(base, listener.address, ctx) as bev:
            client = Client(bev, b"hello")
            run_until(base, lambda: client.done)
            assert accepted[0].peer_certificate == bev.peer_certificate is not None
        assert client.got == b"hello"


def in_thread(base: ev.EventBase, work: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Run a blocking peer beside the loop; its result, or its exception, comes in the list, and wakes the loop."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)
        base.call_soon_threadsafe(lambda: None)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


@pytest.mark.parametrize("version", VERSIONS)
def test_pythons_ssl_as_the_client(base: ev.EventBase, certificates: Any, rng: random.Random, version: ssl.TLSVersion) -> None:
    server, _ = contexts(certificates, version)
    data = rng.randbytes(300_000)
    ctx = ssl.create_default_context(cafile=certificates.ca)
    ctx.minimum_version = ctx.maximum_version = version

    def talk() -> bytes:
        with (
            socket.create_connection(listener.address, GIVE_UP) as plain,
            ctx.wrap_socket(plain, server_hostname="server.test") as sock,
        ):
            sock.sendall(data)  # in this thread: OpenSSL's connections aren't for two at a time
            got = bytearray()
            while len(got) < len(data):
                got += sock.recv(65536)
            sock.unwrap()
            return bytes(got)

    with echo_listener(base, server, []) as listener:
        thread, result = in_thread(base, talk)
        run_until(base, lambda: result)
        thread.join(GIVE_UP)
    assert result == [data]


@pytest.mark.parametrize("version", VERSIONS)
def test_pythons_ssl_as_the_server(base: ev.EventBase, certificates: Any, rng: random.Random, version: ssl.TLSVersion) -> None:
    """It sees a clean end: all that was written, then close_notify."""
    _, ctx = contexts(certificates, version)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificates.cert, certificates.key)
    data = rng.randbytes(300_000)

    def serve() -> bytes:
        plain, _ = listening.accept()
        plain.settimeout(GIVE_UP)
        with plain, theirs.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as sock:
            got = bytearray()
            while chunk := sock.recv(65536):  # an end without close_notify would raise
                got += chunk
            return bytes(got)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(GIVE_UP)
        thread, result = in_thread(base, serve)
        bev = ev.TLSBufferEvent.connect(base, listening.getsockname(), ctx)
        bev.write(data)  # before the connection stands
        bev.close()
        run_until(base, lambda: result)
        thread.join(GIVE_UP)
    assert result == [data]


def test_many_connections_and_sizes(base: ev.EventBase, certificates: Any, rng: random.Random) -> None:
    server, ctx = contexts(certificates, ssl.TLSVersion.TLSv1_3)
    with echo_listener(base, server, []) as listener:
        clients = [
            Client(ev.TLSBufferEvent.connect(base, listener.address, ctx), rng.randbytes(rng.choice([1, 100, 16_384, 200_000])))
            for _ in range(40)
        ]
        run_until(base, lambda: all(client.done for client in clients))
        assert all(client.got == client.data for client in clients)
        for client in clients:
            client.bev.close()


def test_beside_plain_ones(base: ev.EventBase, certificates: Any) -> None:
    """A plain server and one over TLS, two clients of each, on one loop."""
    server, client = ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)

    def echo(bev: ev.BufferEvent) -> None:
        bev.set_callbacks(lambda bev: bev.write_buffer(bev.input), event=lambda bev, what: what & ENDS and bev.close())
        bev.enable()

    with (
        ev.Listener.bind(base, ("127.0.0.1", 0), lambda _, sock, __: echo(ev.SocketBufferEvent(base, sock))) as plain,
        ev.Listener.bind(base, ("127.0.0.1", 0), lambda _, sock, __: echo(ev.TLSBufferEvent.accept(base, sock, server))) as tls,
    ):
        bevs: list[ev.BufferEvent] = []
        for _ in range(2):
            bev = ev.SocketBufferEvent(base)
            bev.connect(plain.address)
            bevs += [bev, ev.TLSBufferEvent.connect(base, tls.address, client)]
        for n, bev in enumerate(bevs):
            bev.enable()
            bev.write(b"%d " % n * 1000)
        run_until(base, lambda: all(len(bev.input) == 2000 for bev in bevs))
        for n, bev in enumerate(bevs):
            assert bev.read() == b"%d " % n * 1000
            bev.close()
    base.dispatch()


def test_a_slow_reader_holds_the_sender(base: ev.EventBase, certificates: Any) -> None:
    """What waits below is bounded, however much is written above."""
    server, ctx = contexts(certificates, ssl.TLSVersion.TLSv1_3)
    accepted: list[ev.TLSBufferEvent] = []

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        accepted.append(ev.TLSBufferEvent.accept(base, sock, server))  # never enabled: reads no data

    with ev.Listener.bind(base, ("127.0.0.1", 0), on_accept) as listener:
        with ev.TLSBufferEvent.connect(base, listener.address, ctx) as bev:
            client = Client(bev, b"x" * 20_000_000)
            run_until(base, lambda: client.events)
            for _ in range(50):
                base.loop(ev.LoopFlag.NONBLOCK)
            assert len(bev.output) > 1_000_000
            assert len(bev.underlying.output) <= 512 * 1024
            assert len(accepted[0].underlying.input) <= 512 * 1024
            assert len(accepted[0].input) <= 512 * 1024
            bev.abort()
        accepted[0].abort()


def test_read_high_mark(base: ev.EventBase, certificates: Any, rng: random.Random) -> None:
    """regress_ssl.c ssl/bufferevent_wm_filter: a high mark of 5 KiB, drained in parts; all comes through."""
    server, ctx = contexts(certificates, ssl.TLSVersion.TLSv1_3)
    data = rng.randbytes(200_000)
    got = bytearray()
    most = [0]
    with echo_listener(base, server, []) as listener:
        bev = ev.TLSBufferEvent.connect(base, listener.address, ctx)

        def on_read(bev: ev.BufferEvent) -> None:
            most[0] = max(most[0], len(bev.input))
            got.extend(bev.read(3000 if len(bev.input) >= 5120 else -1))

        def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
            assert what == ev.What.CONNECTED
            bev.write(data)

        bev.set_callbacks(read=on_read, event=on_event)
        bev.set_watermark(ev.EventFlag.READ, 0, 5120)
        bev.enable()
        run_until(base, lambda: len(got) == len(data))
        assert got == data
        assert most[0] < 5120 + 16_384 + 4096
        bev.close()
