"""What the peer said last reaches us, though a write fails before it was read."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

import pytest
from support import GIVE_UP, run_until
from tls_ends import End, close_all, settle

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

both_forms = pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])
both_versions = pytest.mark.parametrize("version", [V12, V13])


class Resetting:
    """Python's ssl at the other end of a TCP connection, with every byte in our hands."""

    def __init__(self, base: ev.EventBase, ctx: ssl.SSLContext, *, server_side: bool) -> None:
        self.base = base
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "server.test"
        self.tls = ctx.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=name)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.sock = socket.create_connection(listening.getsockname(), GIVE_UP)
            self.ours, _ = listening.accept()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a reset drops what waits for an acknowledgement

    def shake_hands(self) -> None:
        for _ in range(100):
            settle(self.base)
            with contextlib.suppress(BlockingIOError):
                self.incoming.write(self.sock.recv(65536))
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
            else:
                self.sock.sendall(self.outgoing.read())
                return
        pytest.fail("no handshake")

    def say(self, *words: bytes, goodbye: bool) -> None:
        for word in words:
            self.tls.write(word)
        if goodbye:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
        self.sock.sendall(self.outgoing.read())

    def reset(self) -> None:
        """With what we sent unread, a close resets."""
        self.sock.close()


def met(base: ev.EventBase, certificates: Any, direct: bool, version: ssl.TLSVersion) -> tuple[Resetting, End]:
    ctx = ssl.create_default_context(cafile=certificates.ca)
    ctx.minimum_version = ctx.maximum_version = version
    peer = Resetting(base, ctx, server_side=False)
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    end = End(ev.TLSBufferEvent.accept(base, peer.ours, server, direct=direct))
    peer.shake_hands()
    run_until(base, lambda: end.connected)
    return peer, end


@both_forms
@both_versions
@pytest.mark.parametrize("goodbye", [True, False], ids=["close_notify", "nothing more"])
@pytest.mark.parametrize("size", [4, 30_000])
def test_last_words(
    base: ev.EventBase, certificates: Any, direct: bool, version: ssl.TLSVersion, goodbye: bool, size: int
) -> None:
    peer, end = met(base, certificates, direct, version)
    words = b"why " * (size // 4)
    end.bev.write(b"x" * 20_000_000)
    settle(base)
    peer.say(words, goodbye=goodbye)
    peer.reset()
    run_until(base, lambda: end.ended)
    settle(base)
    assert end.got == words
    assert isinstance(end.error, (ConnectionResetError, BrokenPipeError))
    assert end.events[-1] & ev.What.ERROR
    assert sum(bool(what & ev.What.ERROR) for what in end.events) == 1
    close_all(base, end)


@both_forms
def test_up_to_the_high_mark(base: ev.EventBase, certificates: Any, direct: bool) -> None:
    peer, end = met(base, certificates, direct, V13)
    end.bev.set_watermark(ev.EventFlag.READ, 0, 1000)
    end.bev.write(b"x" * 20_000_000)
    settle(base)
    peer.say(b"why " * 5000, goodbye=True)
    peer.reset()
    run_until(base, lambda: end.ended)
    assert end.got == b"why " * 250
    close_all(base, end)


@both_forms
def test_those_who_do_not_read(base: ev.EventBase, certificates: Any, direct: bool) -> None:
    """It is there for whoever looks, but nobody is called."""
    peer, end = met(base, certificates, direct, V13)
    end.bev.disable(ev.EventFlag.READ)
    end.bev.write(b"x" * 20_000_000)
    settle(base)
    peer.say(b"why", goodbye=True)
    peer.reset()
    run_until(base, lambda: end.ended)
    settle(base)
    assert end.got == b""
    assert bytes(end.bev.input) == b"why"
    close_all(base, end)


@both_forms
def test_what_was_tampered_with_is_not_delivered(base: ev.EventBase, certificates: Any, direct: bool) -> None:
    peer, end = met(base, certificates, direct, V13)
    end.bev.write(b"x" * 20_000_000)
    settle(base)
    peer.say(b"why", goodbye=False)
    peer.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    peer.reset()
    run_until(base, lambda: end.ended)
    settle(base)
    assert end.got == b"why"
    assert end.error.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    close_all(base, end)


@both_forms
def test_a_certificate_that_was_missed(base: ev.EventBase, certificates: Any, direct: bool) -> None:
    """Under TLS 1.3 the client is connected, and writes, before it is refused: the alert is the reason, not the reset."""
    ctx = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    ctx.load_cert_chain(certificates.cert, certificates.key)
    ctx.verify_mode = ssl.CERT_REQUIRED
    peer = Resetting(base, ctx, server_side=True)
    below = ev.SocketBufferEvent(base, peer.ours)
    client = ev.TLSContext.client(certificates.ca)
    end = End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", direct=direct))
    settle(base)
    peer.incoming.write(peer.sock.recv(65536))
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    peer.sock.sendall(peer.outgoing.read())
    run_until(base, lambda: end.connected)
    end.bev.write(b"x" * 20_000_000)
    settle(base)
    peer.incoming.write(peer.sock.recv(1000))
    with pytest.raises(ssl.SSLError):
        peer.tls.do_handshake()
    peer.sock.sendall(peer.outgoing.read())
    peer.reset()
    run_until(base, lambda: end.ended)
    assert isinstance(end.error, ev.TLSError)
    assert end.error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    close_all(base, end)


def test_a_handshake_that_was_refused(base: ev.EventBase, certificates: Any) -> None:
    """The alert waits in the system, and what was to be sent after it fails."""
    peer = Resetting(base, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), server_side=True)
    below = ev.SocketBufferEvent(base, peer.ours)
    end = End(ev.TLSBufferEvent.wrap(below, ev.TLSContext.client(certificates.ca), server_hostname="server.test"))
    settle(base)
    assert peer.sock.recv(1)
    peer.sock.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
    peer.reset()
    run_until(base, lambda: end.ended)
    assert end.error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
    close_all(base, end)


def test_through_a_stack(base: ev.EventBase, certificates: Any) -> None:
    """A filter, or more TLS, stands on it: those hear of it too."""
    peer, end = met(base, certificates, False, V13)
    top = End(ev.FilterBufferEvent(end.bev))  # type: ignore[arg-type]
    top.bev.write(b"x" * 20_000_000)
    settle(base)
    peer.say(b"why", goodbye=True)
    peer.reset()
    run_until(base, lambda: top.ended)
    assert top.got == b"why"
    assert isinstance(top.error, (ConnectionResetError, BrokenPipeError))
    close_all(base, top)
