"""Refusals, as both sides see them: who refuses says why, and the other one is told with the alert that fits."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
import tls_authority as make
from support import run_until
from tls_authority import DAY, NOW, Issued
from tls_ends import End, both_fail, close_all, meet, settle

import pylibevent as ev
from pylibevent._libevent import lib

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
FAILED = [ev.What.READING | ev.What.ERROR]
Contexts = tuple[ev.TLSContext, ev.TLSContext]

both_forms = pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])


@pytest.fixture(scope="module")
def root() -> Issued:
    return make.authority()


def pair(root: Issued, leaf: Issued | None = None, chain: Any = None) -> Contexts:
    """A server with a good certificate, or this one, and a client that trusts its authority."""
    leaf = leaf or root.issue("server.test")
    server = ev.TLSContext.server(leaf.chain if chain is None else chain, leaf.key)
    return server, ev.TLSContext.client(cadata=root.certificate)


def with_(contexts: Contexts, server: dict[str, Any] | None = None, client: dict[str, Any] | None = None) -> Contexts:
    """The same, with these members set, or called."""
    for ctx, settings in zip(contexts, (server or {}, client or {}), strict=True):
        for name, value in settings.items():
            if callable(getattr(ctx, name)):
                getattr(ctx, name)(value)
            else:
                setattr(ctx, name, value)
    return contexts


def self_signed(root: Issued) -> Contexts:
    own = make.self_signed("server.test")
    return ev.TLSContext.server(own.certificate, own.key), ev.TLSContext.client(cadata=root.certificate)


def missing_link(root: Issued) -> Contexts:
    leaf = root.issue(is_ca=True, common_name="inner").issue("server.test")
    return pair(root, leaf, leaf.certificate)


def static_rsa(root: Issued) -> Contexts:
    """Without a key of the connection's own: who gets the server's key can read all that was recorded."""
    contexts = pair(root, root.issue("server.test", key=make.rsa_key(2048)))
    return with_(contexts, client={"maximum_version": V12, "set_ciphers": "AES128-GCM-SHA256"})


def psk(client_key: bytes, identity: str) -> Callable[[Issued], Contexts]:
    def contexts(root: Issued) -> Contexts:
        server, client = ev.TLSContext.server(), ev.TLSContext.client(cadata=root.certificate)
        server.set_psk_server_callback(lambda who: b"k" * 32 if who == "known" else b"")
        client.set_psk_client_callback(lambda hint: (identity, client_key))
        return with_((server, client), {"maximum_version": V12}, {"maximum_version": V12, "set_ciphers": "PSK"})

    return contexts


CLIENT_REFUSES: list[Any] = [
    pytest.param(self_signed, 18, 48, id="self-signed"),
    pytest.param(missing_link, 20, 48, id="a missing link"),
    pytest.param(lambda root: with_(pair(root), client={"verify_flags": ssl.VERIFY_CRL_CHECK_LEAF}), 3, 48, id="no CRL"),
    pytest.param(lambda root: with_(pair(root), client={"load_crl": root.revoke(end=NOW - DAY / 2)}), 12, 45, id="an old CRL"),
    pytest.param(lambda root: with_(pair(root), client={"ocsp": ev.OCSP.REQUIRE}), 73, 113, id="no OCSP response"),
]


@both_forms
@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(("contexts", "code", "alert"), CLIENT_REFUSES)
def test_the_client_refuses(
    base: ev.EventBase,
    root: Issued,
    contexts: Callable[[Issued], Contexts],
    code: int,
    alert: int,
    version: ssl.TLSVersion,
    direct: bool,
) -> None:
    made = contexts(root)
    made[1].minimum_version = made[1].maximum_version = version
    server, client = fail(base, *made, direct=direct)
    assert isinstance(client.error, ev.TLSCertificateError)
    assert client.error.verify_code == code
    assert "certificate verify failed" in str(client.error)
    assert "the peer refused the handshake" in str(server.error)
    assert (sent(client), heard(client), sent(server), heard(server)) == (alert, -1, -1, alert)


SERVER_REFUSES: list[Any] = [
    pytest.param(
        lambda root: with_(pair(root), {"maximum_version": V12}, {"minimum_version": V13}),
        {"UNSUPPORTED_PROTOCOL"},
        70,
        id="an older server",
    ),
    pytest.param(
        lambda root: with_(pair(root), {"minimum_version": V13}, {"maximum_version": V12}),
        {"UNSUPPORTED_PROTOCOL"},
        70,
        id="an older client",
    ),
    pytest.param(
        lambda root: with_(pair(root), {"set_groups": "P-256"}, {"set_groups": "X25519", "minimum_version": V13}),
        {"NO_SUITABLE_KEY_SHARE", "NO_SUITABLE_GROUPS"},
        40,
        id="no group in common",
    ),
    pytest.param(
        lambda root: with_(pair(root), client={"maximum_version": V12, "set_ciphers": "ECDHE-RSA-AES128-GCM-SHA256"}),
        {"NO_SHARED_CIPHER"},
        40,
        id="no cipher in common",
    ),
    pytest.param(static_rsa, {"NO_SHARED_CIPHER"}, 40, id="RSA without a key of its own"),
    pytest.param(
        lambda root: with_(pair(root), {"set_alpn_protocols": ["h2"]}, {"set_alpn_protocols": ["http/1.1"]}),
        {"NO_APPLICATION_PROTOCOL"},
        120,
        id="no protocol in common",
    ),
    pytest.param(
        lambda root: with_(pair(root), {"sni_strict": True}),
        {"CLIENTHELLO_TLSEXT", "CALLBACK_FAILED"},
        112,
        id="a name that isn't there",
    ),
    pytest.param(
        lambda root: (ev.TLSContext.server(), ev.TLSContext.client(cadata=root.certificate)),
        {"NO_SHARED_CIPHER", "NO_SUITABLE_SIGNATURE_ALGORITHM"},
        40,
        id="no certificate",
    ),
    pytest.param(psk(b"k" * 32, "stranger"), {"PSK_IDENTITY_NOT_FOUND"}, 115, id="an unknown identity"),
    pytest.param(psk(b"x" * 32, "known"), {"DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "DIGEST_CHECK_FAILED"}, 20, id="another key"),
]


@both_forms
@pytest.mark.parametrize(("contexts", "reasons", "alert"), SERVER_REFUSES)
def test_the_server_refuses(
    base: ev.EventBase, root: Issued, contexts: Callable[[Issued], Contexts], reasons: set[str], alert: int, direct: bool
) -> None:
    server, client = fail(base, *contexts(root), direct=direct)
    assert server.error.reason in reasons
    assert "the handshake failed" in str(server.error)
    assert "the peer refused the handshake" in str(client.error)
    assert (sent(server), heard(server), sent(client), heard(client)) == (alert, -1, -1, alert)


def fail(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, *, direct: bool) -> tuple[End, End]:
    ends = meet(base, server, client, direct=direct)
    both_fail(base, *ends)
    settle(base)
    assert [end.events for end in ends] == [FAILED, FAILED]
    close_all(base, *ends)
    return ends


def sent(end: End) -> int:
    return int(lib.pev_ssl_alert(end.bev._h, 1))


def heard(end: End) -> int:
    return int(lib.pev_ssl_alert(end.bev._h, 0))


@pytest.mark.parametrize("name", ["NULL-SHA256", "eNULL", "ADH-AES128-GCM-SHA256", "aNULL"])
def test_ciphers_that_hide_nothing(base: ev.EventBase, root: Issued, name: str) -> None:
    """Even where they are asked for the security level refuses them; and nobody has them otherwise."""
    for ctx in pair(root):
        found = [cipher["name"] for cipher in ctx.get_ciphers()]
        assert len(found) > 10
        assert not [known for known in found if "NULL" in known or "ADH" in known or known.startswith(("AES", "AECDH"))]
    server, client = with_(pair(root), {"set_ciphers": name}, {"set_ciphers": name, "maximum_version": V12})
    one, other = socket.socketpair()
    with other:
        below = ev.SocketBufferEvent(base, one)
        end = End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test"))
        run_until(base, lambda: end.ended)
        assert end.error.reason == "NO_CIPHERS_AVAILABLE"
        close_all(base, end)
    ends = meet(base, server, with_(pair(root), client={"maximum_version": V12})[1])
    both_fail(base, *ends)
    assert ends[0].error.reason == "NO_SHARED_CIPHER"
    assert heard(ends[1]) == 40
    close_all(base, *ends)


PLAIN: list[Any] = [
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "WRONG_VERSION_NUMBER", id="HTTP"),
    pytest.param(b"220 mail.test ESMTP\r\n", "WRONG_VERSION_NUMBER", id="SMTP"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "WRONG_VERSION_NUMBER", id="SSH"),
    pytest.param(b"\x15\x03\x03\x00\x02\x02\x28", "SSLV3_ALERT_HANDSHAKE_FAILURE", id="an alert"),
    pytest.param(b"\x17\x03\x03\x00\x05hello", "APP_DATA_IN_HANDSHAKE", id="data"),
]


@both_forms
@pytest.mark.parametrize(("data", "reason"), PLAIN)
def test_a_server_that_does_not_speak_tls(base: ev.EventBase, root: Issued, data: bytes, reason: str, direct: bool) -> None:
    one, other = socket.socketpair()
    with other:
        client = pair(root)[1]
        below = ev.SocketBufferEvent(base, one)
        end = End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", direct=direct))
        settle(base)
        assert other.recv(10_000)[0] == 22
        other.sendall(data)
        run_until(base, lambda: end.ended)
        settle(base)
        assert end.events == FAILED
        assert end.error.reason in (reason, "UNEXPECTED_MESSAGE", "UNEXPECTED_RECORD")
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # OpenSSL doesn't answer all of it
            assert other.recv(100)[:1] in (b"", b"\x15")
        close_all(base, end)


# ---------------------------------------------------------------- between the two, after the handshake


class Wire:
    """What goes over it may be changed on its way."""

    def __init__(self, base: ev.EventBase, contexts: Contexts, direct: bool) -> None:
        self.base = base
        one, self.near = socket.socketpair()
        self.far, other = socket.socketpair()
        for sock in (self.near, self.far):
            sock.setblocking(False)
        self.server = End(ev.TLSBufferEvent.accept(base, one, contexts[0], direct=direct))
        below = ev.SocketBufferEvent(base, other)
        self.client = End(ev.TLSBufferEvent.wrap(below, contexts[1], server_hostname="server.test", direct=direct))
        self.change: Callable[[bytes], bytes] = bytes

    def carry(self, done: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline
            self.base.loop(ev.LoopFlag.NONBLOCK)
            for source, target, change in ((self.near, self.far, bytes), (self.far, self.near, self.change)):
                try:
                    data = source.recv(65536)
                except BlockingIOError:
                    continue
                if data:
                    target.sendall(change(data))

    def close(self) -> None:
        for end in (self.server, self.client):
            end.bev.abort()
        settle(self.base)
        self.near.close()
        self.far.close()


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@both_forms
@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(
    "change",
    [flipped, lambda data: data + data, lambda data: b"\x17\x03\x03\x00\x28" + bytes(40) + data],
    ids=["a flipped bit", "sent twice", "put in between"],
)
def test_records_that_are_changed(
    base: ev.EventBase, root: Issued, change: Callable[[bytes], bytes], version: ssl.TLSVersion, direct: bool
) -> None:
    """Nothing of it is delivered, and both sides know."""
    wire = Wire(base, with_(pair(root), client={"minimum_version": version, "maximum_version": version}), direct)
    wire.carry(lambda: wire.server.connected and wire.client.connected)
    settle(base)
    wire.change = change
    wire.client.bev.write(b"x" * 100)
    wire.carry(lambda: wire.server.ended)
    wire.change = bytes
    wire.carry(lambda: wire.client.ended)
    assert len(wire.server.got) in (0, 100)
    assert wire.server.error.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    assert wire.client.error.reason == "SSLV3_ALERT_BAD_RECORD_MAC"
    assert (sent(wire.server), heard(wire.client)) == (20, 20)
    wire.close()


# ---------------------------------------------------------------- sessions that are too old


def test_a_server_takes_no_session_whose_time_is_over(base: ev.EventBase, certificates: Any) -> None:
    """Though the client, Python's ssl here, still offers it: with tickets, a store, and OpenSSL's own cache."""
    visits = [Visit(base, certificates, how, version) for how in ("tickets", "store", "cache") for version in (V12, V13)]
    for visit in visits:
        assert not visit.reused()
    until = max(visit.session.time for visit in visits) + 2.1  # session.timeout is 1, and counted in whole seconds
    woken: list[bool] = []
    base.timer(max(0.0, until - time.time()), lambda event, what: woken.append(True))
    run_until(base, lambda: woken)
    for visit in visits:
        assert not visit.reused(), visit.how


class Visit:
    """A server, and Python's ssl that comes again with the session it got."""

    def __init__(self, base: ev.EventBase, certificates: Any, how: str, version: ssl.TLSVersion) -> None:
        self.base, self.how = base, (how, version)
        self.session: Any = None
        self.server = ev.TLSContext.server(certificates.cert, certificates.key)
        self.server.session_timeout = 1
        if how == "store":
            self.server.session_store = ev.MemorySessionStore()
        elif how == "cache":
            self.server.on_get_session = lambda bev, id: None
        self.ctx = ssl.create_default_context(cafile=certificates.ca)
        self.ctx.minimum_version = self.ctx.maximum_version = version

    def reused(self) -> bool:
        one, other = socket.socketpair()
        end = End(ev.TLSBufferEvent.accept(self.base, one, self.server), write=b"hello")
        other.setblocking(False)
        with self.ctx.wrap_socket(
            other, server_hostname="server.test", do_handshake_on_connect=False, session=self.session
        ) as sock:
            for step in (sock.do_handshake, sock.recv):
                while True:
                    try:
                        step()
                        break
                    except ssl.SSLWantReadError:
                        self.base.loop(ev.LoopFlag.NONBLOCK)
            reused, self.session = bool(sock.session_reused), sock.session
        close_all(self.base, end)
        return reused
