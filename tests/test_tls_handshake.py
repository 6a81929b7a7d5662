"""The handshake: how long it may take, how long it took, and that CONNECTED comes once."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import TICK, run_until
from tls_ends import End, close_all, meet, settle, shake_hands

import pylibevent as ev


@pytest.fixture
def server(certificates: Any) -> ev.TLSContext:
    return ev.TLSContext.server(certificates.cert, certificates.key)


@pytest.fixture
def client(certificates: Any) -> ev.TLSContext:
    return ev.TLSContext.client(certificates.ca)


@contextmanager
def talker(base: ev.EventBase, sock: socket.socket, message: bytes, every: float) -> Iterator[None]:
    """Sends one byte now and then."""
    rest = bytearray(message)

    def on_time(event: ev.Event, what: ev.EventFlag) -> None:
        if rest:
            sock.send(rest[:1])
            del rest[:1]

    timer = base.timer(every, on_time, persist=True)
    try:
        yield
    finally:
        timer.close()


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="server.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("speaks", [b"", client_hello()], ids=["a silent peer", "a byte now and then"])
@pytest.mark.parametrize("server_side", [True, False])
def test_a_handshake_that_takes_too_long(base: ev.EventBase, certificates: Any, server_side: bool, speaks: bytes) -> None:
    one, other = socket.socketpair()
    with other:
        ctx = (
            ev.TLSContext.server(certificates.cert, certificates.key) if server_side else ev.TLSContext.client(certificates.ca)
        )
        begun = time.monotonic()
        bev = ev.TLSBufferEvent.wrap(
            ev.SocketBufferEvent(base, one),
            ctx,
            server_side,
            None if server_side else "server.test",
            handshake_timeout=0.15,
        )
        end = End(bev)
        with talker(base, other, speaks if server_side else b"\x16\x03\x03\x0f\xff" + b"\x02" * 200, 0.01):
            run_until(base, lambda: end.ended)
            assert time.monotonic() - begun >= 0.15 - TICK
        settle(base)
        assert end.events == [ev.What.READING | ev.What.ERROR]
        assert isinstance(end.error, ev.HandshakeTimeout)
        assert isinstance(end.error, ev.TLSError)
        assert isinstance(end.error, TimeoutError)
        assert "0.15 seconds" in str(end.error)
        assert bev.handshake_time is None
        with pytest.raises(BrokenPipeError):
            bev.write(b"x")
        close_all(base, end)


def test_the_context_says_how_long(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext) -> None:
    assert (server.handshake_timeout, client.handshake_timeout) == (10.0, 30.0)
    server.handshake_timeout = 0.05
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, server))
        run_until(base, lambda: end.ended)
        assert isinstance(end.error, ev.HandshakeTimeout)
        close_all(base, end)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e10])
def test_times_that_are_none(base: ev.EventBase, server: ev.TLSContext, seconds: float) -> None:
    with pytest.raises(ValueError, match="handshake_timeout"):
        server.handshake_timeout = seconds
    one, other = socket.socketpair()
    with one, other, pytest.raises(ValueError, match="handshake_timeout"):
        ev.TLSBufferEvent.accept(base, one, server, handshake_timeout=seconds)


def test_no_limit(base: ev.EventBase, server: ev.TLSContext) -> None:
    server.handshake_timeout = None
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, server))
        settle(base)
        assert not end.events
        close_all(base, end)


def test_connecting_does_not_count(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext) -> None:
    """A descriptor comes long after the TLS: the time begins with it."""
    below = ev.SocketBufferEvent(base)
    end = End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", handshake_timeout=0.1))
    accepted: list[End] = []
    waited: list[bool] = []
    base.timer(0.2, lambda event, what: waited.append(True))
    run_until(base, lambda: waited)
    assert not end.events
    with ev.Listener.bind(
        base, ("127.0.0.1", 0), lambda listener, sock, _: accepted.append(End(ev.TLSBufferEvent.accept(base, sock, server)))
    ) as listener:
        below.connect(listener.address)
        run_until(base, lambda: end.connected)
    close_all(base, end, *accepted)


def test_a_peer_that_is_silent_for_a_while_is_served(base: ev.EventBase, server: ev.TLSContext, certificates: Any) -> None:
    one, other = socket.socketpair()
    end = End(ev.TLSBufferEvent.accept(base, one, server, handshake_timeout=5))
    late: list[End] = []
    client = ev.TLSContext.client(certificates.ca)

    def on_time(event: ev.Event, what: ev.EventFlag) -> None:
        below = ev.SocketBufferEvent(base, other)
        late.append(End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test")))

    base.timer(0.2, on_time)
    run_until(base, lambda: end.connected)
    close_all(base, end, *late)


def test_the_time_it_took(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext) -> None:
    begun = time.monotonic()
    ends = meet(base, server, client)
    assert ends[0].bev.handshake_time is None
    shake_hands(base, *ends)
    took = time.monotonic() - begun
    for end in ends:
        assert end.bev.handshake_time is not None
        assert 0 < end.bev.handshake_time <= took
    close_all(base, *ends)


@pytest.mark.parametrize("options", [ev.Option.CLOSE_ON_FREE, ev.Option.CLOSE_ON_FREE | ev.Option.DEFER_CALLBACKS])
def test_connected_comes_once(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, options: ev.Option) -> None:
    ends = meet(base, server, client, options=options)
    for end in ends:
        end.bev.write(b"before the handshake is done")
    run_until(base, lambda: all(end.got for end in ends))
    for end in ends:
        end.bev.disable()
        end.bev.enable()
    settle(base)
    assert [end.events for end in ends] == [[ev.What.CONNECTED]] * 2
    close_all(base, *ends)


def test_closing_before_it_is_done_ends_with_it(base: ev.EventBase, server: ev.TLSContext) -> None:
    """What was written waits for a handshake that never comes; the handshake's limit ends that too."""
    one, other = socket.socketpair()
    with other:
        bev = ev.TLSBufferEvent.accept(base, one, server, handshake_timeout=0.1)
        bev.write(b"to nobody")
        bev.close(timeout=10)
        begun = time.monotonic()
        base.dispatch()
        assert time.monotonic() - begun < 5


def test_both_sides_say_who_refused(base: ev.EventBase, certificates: Any, client: ev.TLSContext) -> None:
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    server_end, client_end = meet(base, server, client, "b.test")
    run_until(base, lambda: server_end.ended and client_end.ended)
    error = client_end.error
    assert isinstance(error, ev.TLSCertificateError)
    assert str(error).endswith("certificate verify failed: hostname mismatch, certificate is not valid for 'b.test'") or str(
        error
    ).endswith("certificate verify failed: Hostname mismatch, certificate is not valid for 'b.test'")
    assert (error.verify_code, error.library, error.reason) == (62, "SSL", "CERTIFICATE_VERIFY_FAILED")
    assert error.alert is None
    assert error.alert_sent is ssl.AlertDescription.ALERT_DESCRIPTION_BAD_CERTIFICATE
    error = server_end.error
    assert error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_BAD_CERTIFICATE
    assert error.alert_sent is None
    assert "the peer refused the handshake" in str(error)
    close_all(base, server_end, client_end)
