"""Both forms of TLS do the same: over a bufferevent, and straight on a socket, where libevent stalls."""

from __future__ import annotations

import contextlib
import gc
import random
import socket
import ssl
from typing import Any

import pytest
from failed_handshakes import bytes_in_use
from support import run_until
from tls_ends import End, both_fail, close_all, meet, settle, shake_hands

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = [V12, V13]
FORMS = [False, True]
READ = ev.EventFlag.READ

pytestmark = [pytest.mark.parametrize("direct", FORMS, ids=["over", "direct"])]


@pytest.fixture
def server(certificates: Any) -> ev.TLSContext:
    return ev.TLSContext.server(certificates.cert, certificates.key)


@pytest.fixture
def client(certificates: Any) -> ev.TLSContext:
    return ev.TLSContext.client(certificates.ca)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 5000, 2_000_000])
def test_both_ways(
    base: ev.EventBase,
    server: ev.TLSContext,
    client: ev.TLSContext,
    rng: random.Random,
    direct: bool,
    size: int,
    version: ssl.TLSVersion,
) -> None:
    client.minimum_version = client.maximum_version = version
    data = rng.randbytes(size)
    ends = meet(base, server, client, direct=direct)
    for end in ends:
        end.bev.write(data)
    run_until(base, lambda: all(len(end.got) == size for end in ends))
    assert all(end.got == data and end.connected and len(end.events) == 1 for end in ends)
    assert all(end.bev.direct is direct and (end.bev.underlying is None) is direct and end.bev.fd >= 0 for end in ends)
    close_all(base, *ends)


@pytest.mark.parametrize("options", [ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE], ids=["deferred", "locked"])
def test_options(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool, options: ev.Option) -> None:
    one, other = socket.socketpair()
    options |= ev.Option.CLOSE_ON_FREE
    below = [ev.SocketBufferEvent(base, sock, options) for sock in (one, other)]
    ends = [
        End(ev.TLSBufferEvent.wrap(below[0], server, True, options=options, direct=direct)),
        End(ev.TLSBufferEvent.wrap(below[1], client, False, "server.test", options=options, direct=direct)),
    ]
    ends[0].bev.write(b"x" * 100_000)
    run_until(base, lambda: len(ends[1].got) == 100_000)
    close_all(base, *ends)


@pytest.mark.parametrize("high", [1, 100, 4096, 10_000, 20_000])
def test_a_high_mark_below_a_record(
    base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool, high: int
) -> None:
    """Whoever takes a little at a time gets all of it, though the rest of a record is seen by no poll."""
    size = 500 if high == 1 else 60_000
    ends = meet(base, server, client, direct=direct)
    ends[1].bev.set_watermark(READ, 0, high)
    shake_hands(base, *ends)
    ends[0].bev.write(b"x" * size)
    got = bytearray()

    def take(bev: ev.BufferEvent) -> None:
        got.extend(bev.read(max(1, high // 2)))
        if bev.input:
            bev.trigger(READ, ignore_watermarks=True)

    ends[1].bev.set_callbacks(read=take, event=ends[1].on_event)
    run_until(base, lambda: len(got) == size)
    close_all(base, *ends)


def test_reading_that_pauses_within_a_record(
    base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool
) -> None:
    ends = meet(base, server, client, direct=direct)
    shake_hands(base, *ends)
    bev = ends[1].bev
    bev.set_watermark(READ, 0, 1000)
    ends[0].bev.write(b"x" * 16_000)
    seen: list[int] = []
    bev.set_callbacks(read=lambda bev: seen.append(len(bev.input)))
    run_until(base, lambda: seen)
    bev.disable(READ)
    settle(base)
    before = len(bev.input)
    bev.set_watermark(READ, 0, 0)
    settle(base)
    assert len(bev.input) == before
    bev.enable(READ)
    run_until(base, lambda: len(bev.input) == 16_000)
    close_all(base, *ends)


def test_taken_outside_of_callbacks(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool) -> None:
    ends = meet(base, server, client, direct=direct)
    shake_hands(base, *ends)
    bev = ends[1].bev
    bev.set_callbacks(event=ends[1].on_event)
    bev.set_watermark(READ, 0, 500)
    ends[0].bev.write(b"x" * 15_000)
    got = bytearray()
    run_until_polled(base, lambda: got.extend(bev.read(300)) or len(got) == 15_000)
    close_all(base, *ends)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("sent", [b"", b"all there is"])
@pytest.mark.parametrize("allowed", [False, True])
def test_an_end_without_a_word(
    base: ev.EventBase,
    server: ev.TLSContext,
    certificates: Any,
    direct: bool,
    allowed: bool,
    sent: bytes,
    version: ssl.TLSVersion,
) -> None:
    peer = Bytes(base, certificates, server, version, direct=direct)
    end = peer.end
    end.bev.allow_dirty_shutdown = allowed
    assert end.bev.allow_dirty_shutdown is allowed
    if sent:
        peer.send(sent)
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(base, lambda: end.ended)
    settle(base)
    assert end.got == sent
    assert end.events == [ev.What.CONNECTED, ev.What.READING | (ev.What.EOF if allowed else ev.What.ERROR)]
    if not allowed:
        assert isinstance(end.error, ev.TLSEOFError)
        assert isinstance(end.error, ssl.SSLEOFError)
    peer.close()


@pytest.mark.parametrize("allowed", [False, True])
def test_an_end_within_a_record(
    base: ev.EventBase, server: ev.TLSContext, certificates: Any, direct: bool, allowed: bool
) -> None:
    """Half a record is never delivered; whether the end is allowed or not."""
    peer = Bytes(base, certificates, server, V13, direct=direct)
    peer.end.bev.allow_dirty_shutdown = allowed
    peer.tls.write(b"secret")
    peer.sock.sendall(peer.outgoing.read()[:-3])
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(base, lambda: peer.end.ended)
    assert peer.end.got == b""
    peer.close()


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_an_end_within_the_handshake(
    base: ev.EventBase, server: ev.TLSContext, direct: bool, allowed: bool, sent: bytes
) -> None:
    one, other = socket.socketpair()
    end = End(ev.TLSBufferEvent.accept(base, one, server, direct=direct))
    with other:
        other.sendall(sent)
    run_until(base, lambda: end.ended)
    settle(base)
    assert end.events == [ev.What.READING | ev.What.ERROR]
    assert isinstance(end.error, ev.TLSEOFError)
    assert "during the handshake" in str(end.error)
    close_all(base, end)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_reset(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool, allowed: bool) -> None:
    """It is an error, whatever is allowed."""
    accepted: list[End] = []
    with ev.Listener.bind(
        base,
        ("127.0.0.1", 0),
        lambda listener, sock, _: accepted.append(End(ev.TLSBufferEvent.accept(base, sock, server, direct=direct))),
    ) as listener:
        ctx = ssl._create_unverified_context()
        sock = socket.create_connection(listener.address)
        sock.setblocking(False)
        peer = ctx.wrap_socket(sock, do_handshake_on_connect=False)

        def shaken() -> bool:
            try:
                peer.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            return True

        run_until_polled(base, shaken)
        run_until(base, lambda: accepted[0].connected)
        accepted[0].bev.allow_dirty_shutdown = allowed
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        run_until(base, lambda: accepted[0].ended)
        settle(base)
    assert isinstance(accepted[0].error, ConnectionResetError)
    assert len(accepted[0].events) == 2
    assert accepted[0].events[1] & ev.What.ERROR
    close_all(base, *accepted)


def test_idle_ones_hold_no_buffers(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool) -> None:
    """With OpenSSL's buffers for a record each way, 34 kB, each of them would have over 50 kB."""

    def exchange() -> list[End]:
        ends = [end for _ in range(20) for end in meet(base, server, client, direct=direct)]
        for end in ends:
            end.bev.write(b"x" * 20_000)
        run_until(base, lambda: all(len(end.got) == 20_000 for end in ends))
        for end in ends:
            end.got.clear()
        settle(base)
        gc.collect()
        return ends

    close_all(base, *exchange())
    settle(base)
    gc.collect()
    before = bytes_in_use()
    ends = exchange()
    each = (bytes_in_use() - before) / len(ends)
    assert each < 40_000
    close_all(base, *ends)


def test_garbage(base: ev.EventBase, server: ev.TLSContext, direct: bool) -> None:
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, server, direct=direct))
        other.sendall(b"GET / HTTP/1.0\r\n\r\n")
        run_until(base, lambda: end.ended)
        settle(base)
        assert end.events == [ev.What.READING | ev.What.ERROR]
        assert end.error.reason == "HTTP_REQUEST"
        assert [error.reason for error in end.bev.errors] == ["HTTP_REQUEST"]
        close_all(base, end)


def test_a_refusal(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool) -> None:
    ends = meet(base, server, client, "b.test", direct=direct)
    both_fail(base, *ends)
    settle(base)
    assert [end.events for end in ends] == [[ev.What.READING | ev.What.ERROR]] * 2
    assert "certificate is not valid for 'b.test'" in str(ends[1].error)
    assert ends[0].error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_BAD_CERTIFICATE
    close_all(base, *ends)


def test_a_silent_peer(base: ev.EventBase, server: ev.TLSContext, direct: bool) -> None:
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, server, direct=direct, handshake_timeout=0.05))
        run_until(base, lambda: end.ended)
        assert isinstance(end.error, ev.HandshakeTimeout)
        close_all(base, end)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connecting(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool, host: str) -> None:
    accepted: list[End] = []
    with ev.Listener.bind(
        base,
        ("127.0.0.1", 0),
        lambda listener, sock, _: accepted.append(End(ev.TLSBufferEvent.accept(base, sock, server, direct=direct))),
    ) as listener:
        end = End(ev.TLSBufferEvent.connect(base, (host, listener.address[1]), client, direct=direct))
        assert "connecting" in repr(end.bev)
        end.bev.write(b"before it stands")
        run_until(base, lambda: accepted and accepted[0].got == b"before it stands")
        assert end.events == [ev.What.CONNECTED]
        assert end.bev.handshake_time is not None
    close_all(base, end, *accepted)


def test_written_and_closed_before_it_stands(
    base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool
) -> None:
    accepted: list[End] = []
    with ev.Listener.bind(
        base,
        ("127.0.0.1", 0),
        lambda listener, sock, _: accepted.append(End(ev.TLSBufferEvent.accept(base, sock, server, direct=direct))),
    ) as listener:
        bev = ev.TLSBufferEvent.connect(base, listener.address, client, direct=direct)
        bev.write(b"x" * 100_000)
        bev.close()
        assert bev.closed
        run_until(base, lambda: accepted and accepted[0].ended)
    assert len(accepted[0].got) == 100_000
    assert accepted[0].events == [ev.What.CONNECTED, ev.What.READING | ev.What.EOF]
    close_all(base, *accepted)


def test_a_connection_that_is_refused(base: ev.EventBase, client: ev.TLSContext, direct: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
    end = End(ev.TLSBufferEvent.connect(base, address, client, direct=direct))
    run_until(base, lambda: end.ended)
    settle(base)
    assert len(end.events) == 1
    assert isinstance(end.error, ConnectionRefusedError)
    close_all(base, end)
    late = ev.TLSBufferEvent.connect(base, address, client, direct=direct)
    late.write(b"to nobody")
    late.close()
    base.dispatch()


def test_aborted_while_it_connects(base: ev.EventBase, client: ev.TLSContext, direct: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        bev = ev.TLSBufferEvent.connect(base, sock.getsockname(), client, direct=direct)
        bev.set_callbacks(event=lambda bev, what: pytest.fail("it was closed"))
        bev.abort()
        settle(base)
    bev = ev.TLSBufferEvent.connect(base, ("localhost", 1), client, direct=direct)
    bev.abort()
    base.dispatch()


def test_a_descriptor_that_is_only_lent(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, direct: bool) -> None:
    one, other = socket.socketpair()
    with one:
        end = End(ev.TLSBufferEvent.accept(base, one, server, options=ev.Option(0), direct=direct))
        peer = ev.TLSBufferEvent.wrap(ev.SocketBufferEvent(base, other), client, server_hostname="server.test")
        shake_hands(base, end, End(peer))
        below = end.bev.underlying
        end.bev.close()
        settle(base)
        if below is not None:
            below.close()
        assert one.fileno() >= 0
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        peer.abort()


def test_closing_the_base_closes_it(server: ev.TLSContext, client: ev.TLSContext, direct: bool) -> None:
    base = ev.EventBase()
    ends = meet(base, server, client, direct=direct)
    shake_hands(base, *ends)
    ends[0].bev.write(b"x" * 1_000_000)
    base.close()
    assert all(end.bev.closed for end in ends)
    for end in ends:
        end.bev.close()


class Bytes:
    """Python's ssl as a client whose every byte is in our hands."""

    def __init__(
        self, base: ev.EventBase, certificates: Any, server: ev.TLSContext, version: ssl.TLSVersion, **options: Any
    ) -> None:
        ctx = ssl.create_default_context(cafile=certificates.ca)
        ctx.minimum_version = ctx.maximum_version = version
        self.base = base
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.incoming, self.outgoing, server_hostname="server.test")
        one, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.end = End(ev.TLSBufferEvent.accept(base, one, server, **options))
        run_until_polled(base, self._shaken)
        run_until(base, lambda: self.end.connected)

    def _shaken(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self.incoming.write(self.sock.recv(65536))
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.sock.sendall(self.outgoing.read())
        return True

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.sock.sendall(self.outgoing.read())

    def close(self) -> None:
        self.sock.close()
        close_all(self.base, self.end)


def run_until_polled(base: ev.EventBase, done: Any) -> None:
    """The same for what no event of the base tells of."""
    run_until(base, lambda: base.loop(ev.LoopFlag.NONBLOCK) is None or done() or base.call_soon(lambda: None))
