"""What comes over the wire from those who mean no good: each is refused, told once, and costs nothing that lasts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any

import pytest
from support import run_until
from tls_ends import End, close_all, meet, settle, shake_hands

import pylibevent as ev

both_forms = pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])
FAILED = [ev.What.READING | ev.What.ERROR]


@pytest.fixture(scope="module")
def contexts(certificates: Any) -> tuple[ev.TLSContext, ev.TLSContext]:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


def hello(name: str = "server.test", **versions: ssl.TLSVersion) -> bytes:
    ctx = ssl.create_default_context()
    for which, version in versions.items():
        setattr(ctx, which, version)
    outgoing = ssl.MemoryBIO()
    tls = ctx.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def record(kind: int, body: bytes, version: bytes = b"\3\3") -> bytes:
    return bytes([kind]) + version + len(body).to_bytes(2, "big") + body


FIRST = [
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", {"HTTP_REQUEST"}, id="HTTP"),
    pytest.param(b"CONNECT a.test:443 HTTP/1.1\r\n\r\n", {"HTTPS_PROXY_REQUEST"}, id="a proxy's request"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n" * 3, {"WRONG_VERSION_NUMBER"}, id="SSH"),
    pytest.param(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", {"WRONG_VERSION_NUMBER"}, id="PROXY"),
    pytest.param(b"\xff" * 400, {"WRONG_VERSION_NUMBER"}, id="ones"),
    pytest.param(b"\x16\x03\x01\xff\xff" + b"x" * 400, {"PACKET_LENGTH_TOO_LONG", "ENCRYPTED_LENGTH_TOO_LONG"}, id="long"),
    pytest.param(record(22, b"\1\xff\xff\xff" + b"x" * 400), {"EXCESSIVE_MESSAGE_SIZE"}, id="a long message"),
    pytest.param(record(99, b"x" * 400), {"UNEXPECTED_MESSAGE", "WRONG_VERSION_NUMBER", "BAD_RECORD_TYPE"}, id="unknown"),
    pytest.param(record(23, b"x" * 400), {"UNEXPECTED_MESSAGE", "APP_DATA_IN_HANDSHAKE"}, id="data first"),
    pytest.param(record(20, b"\1") * 40, {"UNEXPECTED_MESSAGE", "UNEXPECTED_CCS_MESSAGE"}, id="a change of ciphers first"),
    pytest.param(record(22, b"\2\0\0\1x") * 40, {"UNEXPECTED_MESSAGE"}, id="the wrong message"),
    pytest.param(b"\x80\x1f\x01\x00\x02" + bytes(28), {"RECORD_LENGTH_MISMATCH"}, id="SSL 2"),
    pytest.param(record(22, b"") * 100, {"RECORD_TOO_SMALL", "UNEXPECTED_MESSAGE", "BAD_LENGTH"}, id="empty records"),
]


@both_forms
@pytest.mark.parametrize(("first", "reasons"), FIRST)
def test_first_bytes(base: ev.EventBase, contexts: Any, first: bytes, reasons: set[str], direct: bool) -> None:
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, contexts[0], direct=direct))
        other.sendall(first)
        run_until(base, lambda: end.ended)
        settle(base)
        assert end.events == FAILED
        assert isinstance(end.error, ev.TLSError)
        assert end.error.reason in reasons
        assert end.got == b""
        close_all(base, end)


def test_an_alert_first(base: ev.EventBase, contexts: Any) -> None:
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, contexts[0]))
        other.sendall(record(21, b"\2\x28"))
        run_until(base, lambda: end.ended)
        assert isinstance(end.error, ev.TLSError)
        close_all(base, end)


@both_forms
@pytest.mark.parametrize("part", [1, 5, 6, 50, -1])
def test_a_first_message_that_never_ends(base: ev.EventBase, contexts: Any, part: int, direct: bool) -> None:
    """OpenSSL waits for the rest; the handshake's time ends that."""
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, contexts[0], direct=direct, handshake_timeout=0.05))
        other.sendall(hello()[:part])
        run_until(base, lambda: end.ended)
        assert isinstance(end.error, ev.HandshakeTimeout)
        close_all(base, end)


@both_forms
@pytest.mark.parametrize("old", [b"\3\1", b"\3\2"], ids=["1.0", "1.1"])
def test_old_versions(base: ev.EventBase, contexts: Any, old: bytes, direct: bool) -> None:
    """A hello that offers no more than these; no library of today sends one, so it is made by hand."""
    data = bytearray(hello(maximum_version=ssl.TLSVersion.TLSv1_2))
    data[9:11] = old
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, contexts[0], direct=direct))
        other.sendall(data)
        run_until(base, lambda: end.ended)
        assert end.error.reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW")
        assert end.error.alert_sent is ssl.AlertDescription.ALERT_DESCRIPTION_PROTOCOL_VERSION
        settle(base)
        assert other.recv(100)[-1] == 70
        close_all(base, end)


@both_forms
def test_forged_records(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    """Bytes put between the two after the handshake: none of them is delivered."""
    one, two = socket.socketpair()
    three, four = socket.socketpair()
    for sock in (two, three):
        sock.setblocking(False)
    server = End(ev.TLSBufferEvent.accept(base, one, contexts[0], direct=direct))
    below = ev.SocketBufferEvent(base, four)
    client = End(ev.TLSBufferEvent.wrap(below, contexts[1], False, "server.test", direct=direct))

    def pump() -> None:
        base.loop(ev.LoopFlag.NONBLOCK)
        for source, target in ((two, three), (three, two)):
            with contextlib.suppress(BlockingIOError):
                target.sendall(source.recv(65536))

    for _ in range(50):
        pump()
    assert server.connected
    assert client.connected
    two.sendall(record(23, b"x" * 100))
    run_until(base, lambda: server.ended)
    assert server.got == b""
    assert server.error.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    close_all_but(base, server, client)
    two.close()
    three.close()


def close_all_but(base: ev.EventBase, *ends: End) -> None:
    for end in ends:
        end.bev.abort()
    settle(base)


@both_forms
def test_a_flood_of_renegotiations_is_refused(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    server_ctx, _ = contexts
    _, client_ctx = contexts
    client_ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    client_ctx.options &= ~ssl.OP_NO_RENEGOTIATION
    try:
        ends = meet(base, server_ctx, client_ctx, direct=direct)
        shake_hands(base, *ends)
        with contextlib.suppress(ev.TLSError, BrokenPipeError):
            for _ in range(100):
                ends[1].bev.renegotiate()
                settle(base)
        assert ends[0].bev.renegotiations == 0
        close_all_but(base, *ends)
    finally:
        client_ctx.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
        client_ctx.options |= ssl.OP_NO_RENEGOTIATION


def test_threads_share_contexts_and_callbacks(contexts: Any, certificates: Any) -> None:
    """Four loops, one server context with names and callbacks, many handshakes."""
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    other = ev.TLSContext.server(certificates.cert, certificates.key)
    server.sni = {"localhost": other}
    asked: list[str | None] = []
    server.sni_callback = lambda bev, name, ctx: asked.append(name)
    client = ev.TLSContext.client(certificates.ca)
    client.verify_callback = lambda bev, step: step.ok
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            with ev.EventBase() as base:
                for _ in range(15):
                    ends = meet(base, server, client, name)
                    shake_hands(base, *ends)
                    ends[0].bev.write(b"x" * 10_000)
                    run_until(base, lambda ends=ends: len(ends[1].got) == 10_000)
                    assert ends[0].bev.context is (other if name == "localhost" else server)
                    close_all(base, *ends)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("localhost", "server.test") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert asked == ["server.test"] * 30
