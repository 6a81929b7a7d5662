"""TLSBufferEvent where something goes wrong: who is told what, and once."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from support import GIVE_UP, run_until
from tls_ends import End, close_all, make_certificate, meet, settle

import pylibevent as ev

REFUSALS = [
    pytest.param(["server.test"], "wrong.test", "hostname mismatch", 62, id="another name"),
    pytest.param(["*.server.test"], "a.b.server.test", "hostname mismatch", 62, id="a wildcard is one label"),
    pytest.param(["*.server.test"], "server.test", "hostname mismatch", 62, id="a wildcard isn't the domain itself"),
    pytest.param(["server.test"], "127.0.0.1", "IP address mismatch", 64, id="an address without one in the certificate"),
    pytest.param(["127.0.0.2"], "127.0.0.1", "IP address mismatch", 64, id="another address"),
    pytest.param(["127.0.0.1"], "server.test", "hostname mismatch", 62, id="a name where there is an address"),
]


@pytest.mark.parametrize(("names", "asked", "message", "code"), REFUSALS)
def test_a_certificate_for_something_else(
    base: ev.EventBase, tmp_path: Path, names: list[str], asked: str, message: str, code: int
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ev.TLSContext.server(*make_certificate(tmp_path, authority, *names))
    server_end, client_end = meet(base, server, ev.TLSContext.client(tmp_path / "ca.pem"), asked)
    run_until(base, lambda: server_end.ended and client_end.ended)
    assert isinstance(client_end.error, ev.TLSCertificateError)
    assert isinstance(client_end.error, ssl.SSLCertVerificationError)
    assert client_end.error.verify_code == code
    assert message in str(client_end.error)
    assert repr(asked) in str(client_end.error)
    assert isinstance(server_end.error, ev.TLSError)
    assert "alert bad certificate" in str(server_end.error)
    settle(base)
    assert client_end.events == server_end.events == [ev.What.READING | ev.What.ERROR]
    close_all(base, server_end, client_end)


@pytest.mark.parametrize("names", [["www.server.test"], ["*.server.test"], ["other.test", "www.server.test"]])
@pytest.mark.parametrize("asked", ["www.server.test", "WWW.server.test", "www.server.test."])
def test_a_certificate_that_fits(base: ev.EventBase, tmp_path: Path, names: list[str], asked: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ev.TLSContext.server(*make_certificate(tmp_path, authority, *names))
    server_end, client_end = meet(base, server, ev.TLSContext.client(tmp_path / "ca.pem"), asked)
    run_until(base, lambda: server_end.events and client_end.events)
    assert client_end.events == server_end.events == [ev.What.CONNECTED]
    close_all(base, server_end, client_end)


def test_an_unknown_authority(base: ev.EventBase, certificates: Any, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    server_end, client_end = meet(base, server, ev.TLSContext.client(tmp_path / "other.pem"))
    run_until(base, lambda: server_end.ended and client_end.ended)
    assert isinstance(client_end.error, ev.TLSCertificateError)
    assert client_end.error.verify_code in (19, 20)
    assert "unknown ca" in str(server_end.error)
    assert client_end.bev.errors
    assert client_end.bev.errors[0].reason == "CERTIFICATE_VERIFY_FAILED"
    close_all(base, server_end, client_end)


def test_an_expired_certificate(base: ev.EventBase, tmp_path: Path) -> None:
    import datetime

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    cert, key = make_certificate(tmp_path, authority, "server.test", not_after=past)
    server_end, client_end = meet(base, ev.TLSContext.server(cert, key), ev.TLSContext.client(tmp_path / "ca.pem"))
    run_until(base, lambda: server_end.ended and client_end.ended)
    assert client_end.error.verify_code == 10
    assert "expired" in str(client_end.error)
    close_all(base, server_end, client_end)


def test_a_client_that_does_not_verify_gets_through(base: ev.EventBase, certificates: Any, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    ctx = ev.TLSContext.client(tmp_path / "other.pem")
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    server_end, client_end = meet(base, ev.TLSContext.server(certificates.cert, certificates.key), ctx, None)
    run_until(base, lambda: server_end.events and client_end.events)
    assert client_end.events == server_end.events == [ev.What.CONNECTED]
    close_all(base, server_end, client_end)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_misses_the_clients_certificate(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    server = ev.TLSContext.server(certificates.cert, certificates.key, client_ca=certificates.ca)
    client = ev.TLSContext.client(certificates.ca)
    client.maximum_version = client.minimum_version = version
    server_end, client_end = meet(base, server, client)
    run_until(base, lambda: server_end.ended and client_end.ended)
    assert server_end.error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert isinstance(client_end.error, ev.TLSError)
    assert "alert" in str(client_end.error)
    close_all(base, server_end, client_end)


def test_versions_that_do_not_meet(base: ev.EventBase, certificates: Any) -> None:
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    client = ev.TLSContext.client(certificates.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server_end, client_end = meet(base, server, client)
    run_until(base, lambda: server_end.ended and client_end.ended)
    assert server_end.error.reason == "UNSUPPORTED_PROTOCOL"
    assert "protocol version" in str(client_end.error)
    close_all(base, server_end, client_end)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", ValueError),
        ("a\0b", ValueError),
        ("x" * 254, ValueError),
        (".test", ValueError),
        (b"server.test", TypeError),
        (1, TypeError),
    ],
)
def test_names_that_are_none(base: ev.EventBase, certificates: Any, name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="server_hostname"):
        ev.TLSBufferEvent.connect(base, ("127.0.0.1", 1), ev.TLSContext.client(certificates.ca), name)


def test_contexts_of_the_wrong_side(base: ev.EventBase, certificates: Any) -> None:
    server, client = ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)
    one, other = socket.socketpair()
    with one, other:
        with pytest.raises(ValueError, match=r"TLSContext\.server"):
            ev.TLSBufferEvent.accept(base, one, client)
        assert one.fileno() >= 0  # nothing was taken over
    with pytest.raises(ValueError, match=r"TLSContext\.client"):
        ev.TLSBufferEvent.connect(base, ("127.0.0.1", 1), server, "server.test")
    with pytest.raises(TypeError, match="TLSContext"):
        ev.TLSBufferEvent.connect(base, ("127.0.0.1", 1), None, "server.test")  # type: ignore[arg-type]


def test_refused(base: ev.EventBase, certificates: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
    end = End(ev.TLSBufferEvent.connect(base, address, ev.TLSContext.client(certificates.ca)))
    run_until(base, lambda: end.ended)
    assert isinstance(end.error, ConnectionRefusedError)
    assert end.error.errno == errno.ECONNREFUSED
    settle(base)
    assert len(end.events) == 1
    close_all(base, end)


def test_a_name_that_does_not_exist(base: ev.EventBase, certificates: Any) -> None:
    with ev.DNSBase(base, system=False) as dns:
        end = End(ev.TLSBufferEvent.connect(base, ("missing.test", 443), ev.TLSContext.client(certificates.ca), dns=dns))
        run_until(base, lambda: end.ended)
        assert isinstance(end.error, ev.DNSError)
        assert len(end.events) == 1
        close_all(base, end)


GARBAGE = [
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", "HTTP_REQUEST", id="HTTP"),
    pytest.param(b"\x00" * 100, "WRONG_VERSION_NUMBER", id="zeros"),
    pytest.param(b"\x16\x03\x01\xff\xff" + b"x" * 100, None, id="a huge record"),
]


@pytest.mark.parametrize(("garbage", "reason"), GARBAGE)
def test_garbage_in_place_of_a_handshake(base: ev.EventBase, certificates: Any, garbage: bytes, reason: str | None) -> None:
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, ev.TLSContext.server(certificates.cert, certificates.key)))
        other.sendall(garbage)
        other.sendall(garbage)
        other.shutdown(socket.SHUT_WR)
        run_until(base, lambda: end.ended)
        settle(base)
        assert len(end.events) == 1
        assert isinstance(end.error, ev.TLSError)
        if reason is not None:
            assert end.error.reason == reason
        close_all(base, end)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a part"])
def test_an_end_in_the_handshake(base: ev.EventBase, certificates: Any, sent: bytes) -> None:
    one, other = socket.socketpair()
    end = End(ev.TLSBufferEvent.accept(base, one, ev.TLSContext.server(certificates.cert, certificates.key)))
    with other:
        other.sendall(sent)
    run_until(base, lambda: end.ended)
    settle(base)
    assert end.events == [ev.What.READING | ev.What.ERROR]
    assert isinstance(end.error, ev.TLSEOFError)
    assert "during the handshake" in str(end.error)
    close_all(base, end)


class PythonClient:
    """Python's ssl over a socket whose every byte is in our hands."""

    def __init__(self, base: ev.EventBase, certificates: Any) -> None:
        ctx = ssl.create_default_context(cafile=certificates.ca)
        self.base = base
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.incoming, self.outgoing, server_hostname="server.test")
        one, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.end = End(ev.TLSBufferEvent.accept(base, one, ev.TLSContext.server(certificates.cert, certificates.key)))
        turns = sum(1 for _ in iter(self.shake_hands, True))
        assert turns < 20
        run_until(base, lambda: self.end.events)

    def flush(self) -> None:
        self.sock.sendall(self.outgoing.read())

    def shake_hands(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            self.pull()
            return False
        self.flush()
        return True

    def pull(self) -> None:
        """Let our side answer, then take what it sent."""
        settle(self.base)
        with contextlib.suppress(BlockingIOError):
            self.incoming.write(self.sock.recv(65536))

    def close(self) -> None:
        self.sock.close()
        close_all(self.base, self.end)


def test_a_clean_end_is_eof_once(base: ev.EventBase, certificates: Any) -> None:
    peer = PythonClient(base, certificates)
    peer.tls.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.flush()
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(base, lambda: peer.end.ended)
    settle(base)
    assert peer.end.got == b"last words"
    assert peer.end.events == [ev.What.CONNECTED, ev.What.READING | ev.What.EOF]
    assert peer.end.error is None
    peer.close()


def test_a_truncated_stream_is_an_error(base: ev.EventBase, certificates: Any) -> None:
    peer = PythonClient(base, certificates)
    peer.tls.write(b"first half")
    peer.flush()
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(base, lambda: peer.end.ended)
    settle(base)
    assert peer.end.got == b"first half"
    assert peer.end.events == [ev.What.CONNECTED, ev.What.READING | ev.What.ERROR]
    assert isinstance(peer.end.error, ev.TLSEOFError)
    assert isinstance(peer.end.error, ssl.SSLEOFError)
    peer.close()


def test_a_truncated_stream_may_be_allowed(base: ev.EventBase, certificates: Any) -> None:
    peer = PythonClient(base, certificates)
    assert peer.end.bev.allow_dirty_shutdown is False
    peer.end.bev.allow_dirty_shutdown = True
    assert peer.end.bev.allow_dirty_shutdown is True
    with pytest.raises(TypeError, match="allow_dirty_shutdown"):
        peer.end.bev.allow_dirty_shutdown = 1  # type: ignore[assignment]
    peer.tls.write(b"all there is")
    peer.flush()
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(base, lambda: peer.end.ended)
    settle(base)
    assert peer.end.got == b"all there is"
    assert peer.end.events == [ev.What.CONNECTED, ev.What.READING | ev.What.EOF]
    peer.close()


def test_a_record_that_was_tampered_with(base: ev.EventBase, certificates: Any) -> None:
    peer = PythonClient(base, certificates)
    peer.tls.write(b"secret")
    record = bytearray(peer.outgoing.read())
    record[-1] ^= 1
    peer.sock.sendall(record)
    run_until(base, lambda: peer.end.ended)
    assert peer.end.got == b""
    assert peer.end.error.reason in ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "BAD_RECORD_TYPE")
    peer.close()


def test_a_reset_is_the_sockets_error(base: ev.EventBase, certificates: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        bev = ev.TLSBufferEvent.connect(base, listening.getsockname(), ev.TLSContext.client(certificates.ca))
        end = End(bev)
        sock, _ = listening.accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        run_until(base, lambda: end.bev.underlying.output is not None and not end.bev.underlying.output)
        sock.close()
        run_until(base, lambda: end.ended)
    assert isinstance(end.error, ConnectionResetError)
    close_all(base, end)


def test_a_silent_peer_times_out(base: ev.EventBase, certificates: Any) -> None:
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, ev.TLSContext.server(certificates.cert, certificates.key)))
        end.bev.set_timeouts(0.05, 0.05)
        run_until(base, lambda: end.ended, GIVE_UP)
        assert end.events[0] & ev.What.TIMEOUT
        assert isinstance(end.error, TimeoutError)
        end.bev.abort()


def test_after_an_error_writing_is_refused(base: ev.EventBase, certificates: Any) -> None:
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, ev.TLSContext.server(certificates.cert, certificates.key)))
        other.sendall(b"nothing of TLS at all")
        run_until(base, lambda: end.ended)
        with pytest.raises(BrokenPipeError):
            end.bev.write(b"too late")
        close_all(base, end)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("where", ["sni_callback", "verify_callback", "on_get_session", "session_store", "ocsp_callback"])
def test_what_callbacks_leave_in_the_queue(base: ev.EventBase, certificates: Any, where: str, version: ssl.TLSVersion) -> None:
    """Other users of OpenSSL may leave their errors there, which OpenSSL would take for the handshake's."""
    crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
    server, client = ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)
    client.minimum_version = client.maximum_version = version
    calls: list[str] = []

    def leave(answer: Any) -> Any:
        crypto.ERR_new()
        crypto.ERR_set_error(20, 100, None)
        calls.append(where)
        return answer

    class Store(ev.MemorySessionStore):
        def get(self, id: bytes) -> bytes | None:
            return leave(super().get(id))

        def take(self, id: bytes) -> bytes | None:
            return leave(super().take(id))

    if where == "sni_callback":
        server.sni_callback = lambda bev, name, ctx: leave(None)
    elif where == "verify_callback":
        client.verify_callback = lambda bev, step: leave(step.ok)
    elif where == "ocsp_callback":
        client.ocsp_callback = lambda bev, response: leave(True)
    elif where == "on_get_session":
        server.on_get_session = lambda bev, id: leave(None)
        server.session_cache_mode = ev.SessionCacheMode.SERVER | ev.SessionCacheMode.NO_INTERNAL_LOOKUP
    else:
        server.session_store = Store()
    session = None
    for _ in range(2):
        one, other = socket.socketpair()
        below = ev.SocketBufferEvent(base, other)
        ends = (
            End(ev.TLSBufferEvent.accept(base, one, server), write=b"hello"),
            End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", session=session)),
        )
        run_until(base, lambda ends=ends: ends[1].got == b"hello")
        session = ends[1].bev.session
        close_all(base, *ends)
    assert calls
    assert session is not None


def test_nothing_stays_in_the_threads_queue_of_errors(base: ev.EventBase, certificates: Any) -> None:
    """Python's ssl looks at the same queue, and takes what it finds for its own failure."""
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, ev.TLSContext.server(certificates.cert, certificates.key)))
        other.sendall(b"nothing of TLS at all")
        run_until(base, lambda: end.ended)
    close_all(base, end)
    peer = PythonClient(base, certificates)
    peer.tls.write(b"fine")
    peer.flush()
    run_until(base, lambda: peer.end.got == b"fine")
    peer.close()
