"""What a connection knows of its peer, and new keys while it lasts; Python's ssl is the judge where it can be."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import tls_authority as make
from cryptography.hazmat.primitives.serialization import Encoding
from support import run_until
from tls_authority import CLIENT, Issued
from tls_ends import End, both_fail, close_all, meet, settle, shake_hands

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
both_forms = pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])
both_versions = pytest.mark.parametrize("version", [V12, V13])


@pytest.fixture(scope="module")
def root() -> Issued:
    return make.authority()


@pytest.fixture(scope="module")
def leaf(root: Issued) -> Issued:
    return root.issue(is_ca=True, common_name="inner").issue("server.test", "*.server.test", "127.0.0.1", "::1")


def contexts(root: Issued, leaf: Issued, version: ssl.TLSVersion, **options: Any) -> tuple[ev.TLSContext, ev.TLSContext]:
    client = ev.TLSContext.client(cadata=root.certificate, **options)
    client.minimum_version = client.maximum_version = version
    return ev.TLSContext.server(leaf.chain, leaf.key), client


@both_versions
def test_chains(base: ev.EventBase, root: Issued, leaf: Issued, version: ssl.TLSVersion) -> None:
    own = root.issue("client", uses=[CLIENT])
    server, client = contexts(root, leaf, version, certfile=own.certificate, keyfile=own.key)
    server.load_client_ca(root.certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    ends = meet(base, server, client)
    assert ends[1].bev.get_unverified_chain() == []
    shake_hands(base, *ends)
    sent = [certificate.public_bytes(Encoding.DER) for certificate in leaf.chain]
    der = root.certificate.public_bytes(Encoding.DER)
    assert ends[1].bev.get_unverified_chain() == sent
    assert ends[1].bev.get_verified_chain() == [*sent, der]
    assert ends[0].bev.get_unverified_chain() == [own.certificate.public_bytes(Encoding.DER)]
    assert ends[0].bev.get_verified_chain() == [own.certificate.public_bytes(Encoding.DER), der]
    assert ends[0].bev.verified
    assert ends[1].bev.verified
    close_all(base, *ends)


def test_certificates_as_stdlib_shows_them(base: ev.EventBase, root: Issued, leaf: Issued, tmp_path: Path) -> None:
    """Both look at the same connection's certificate."""
    ours = {}
    theirs = {}
    for issued in (leaf, root.issue("bücher.test".encode("idna").decode(), common_name="Bücher, a=b")):
        path = tmp_path / "certificate.pem"
        path.write_bytes(issued.pem)
        theirs = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
        server, client = contexts(root, issued, V13)
        client.check_hostname = False
        ends = meet(base, server, client, None)
        shake_hands(base, *ends)
        ours = ends[1].bev.getpeercert()
        assert ours == theirs
        assert ends[1].bev.getpeercert(binary_form=True) == issued.certificate.public_bytes(Encoding.DER)
        assert ends[0].bev.getpeercert() is None
        close_all(base, *ends)
    client = ev.TLSContext.client(cadata=root.certificate)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    ends = meet(base, server, client, None)
    shake_hands(base, *ends)
    assert ends[1].bev.getpeercert() == {}
    assert not ends[1].bev.verified
    close_all(base, *ends)
    path.write_bytes(root.pem)
    decoded = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    assert ev.TLSContext.client(cadata=root.certificate).get_ca_certs() == [decoded]


@both_forms
@both_versions
def test_secrets_that_both_know(base: ev.EventBase, root: Issued, leaf: Issued, version: ssl.TLSVersion, direct: bool) -> None:
    ends = meet(base, *contexts(root, leaf, version), direct=direct)
    one, other = (end.bev for end in ends)
    with pytest.raises(OSError, match=r"the handshake of .* isn't done"):
        one.export_keying_material("EXPERIMENTAL test", 32)
    assert one.get_channel_binding() is None
    assert one.group is None
    shake_hands(base, *ends)
    for arguments in (("EXPERIMENTAL test", 32), ("EXPERIMENTAL test", 5000, b"about"), (b"EXPERIMENTAL test", 1, b"")):
        assert one.export_keying_material(*arguments) == other.export_keying_material(*arguments)
        assert len(one.export_keying_material(*arguments)) == arguments[1]
    assert one.export_keying_material("EXPERIMENTAL a", 32) != one.export_keying_material("EXPERIMENTAL b", 32)
    for kind in ("tls-unique", "tls-server-end-point", "tls-exporter"):
        assert one.get_channel_binding(kind) == other.get_channel_binding(kind)
    assert (one.get_channel_binding("tls-unique") is None) is (version == V13)
    digest = hashlib.sha256(leaf.certificate.public_bytes(Encoding.DER)).digest()
    assert one.get_channel_binding("tls-server-end-point") == digest
    assert len(one.get_channel_binding("tls-exporter") or b"") == 32
    with pytest.raises(ValueError, match="cb_type"):
        one.get_channel_binding("tls-another")
    for arguments in (("x", 0), ("x", 65537)):
        with pytest.raises(ValueError, match="length"):
            one.export_keying_material(*arguments)
    with pytest.raises(TypeError, match="label"):
        one.export_keying_material(1, 1)  # type: ignore[arg-type]
    assert one.group == other.group == "X25519"
    assert one.compression() is None
    assert one.pending() == 0
    shared = one.shared_ciphers()
    assert shared is not None
    assert one.cipher in shared
    assert other.shared_ciphers() is None
    close_all(base, *ends)


def test_the_same_channel_as_pythons_ssl(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    server, _ = contexts(root, leaf, V12)
    theirs: list[Any] = []
    ctx = ssl.create_default_context(cadata=root.pem.decode())
    ctx.verify_flags &= ~ssl.VERIFY_X509_STRICT  # from 3.13 on it wants extensions that these certificates don't have
    ctx.maximum_version = V12
    one, other = socket.socketpair()

    def client() -> None:
        with other, ctx.wrap_socket(other, server_hostname="server.test") as tls:
            theirs.append(tls.get_channel_binding("tls-unique"))
            tls.recv(1)

    thread = threading.Thread(target=client)
    thread.start()
    end = End(ev.TLSBufferEvent.accept(base, one, server))
    run_until(base, lambda: end.connected)
    assert end.bev.shared_ciphers() is not None
    ours = end.bev.get_channel_binding("tls-unique")
    end.bev.write(b"x")
    end.bev.close()
    base.dispatch()
    thread.join()
    assert theirs == [ours]


# ---------------------------------------------------------------- new keys


@both_forms
@pytest.mark.parametrize("request_peer", [True, False])
def test_new_keys(base: ev.EventBase, root: Issued, leaf: Issued, direct: bool, request_peer: bool) -> None:
    ends = meet(base, *contexts(root, leaf, V13), direct=direct)
    with pytest.raises(OSError, match=r"the handshake of .* isn't done"):
        ends[0].bev.key_update()
    shake_hands(base, *ends)
    for round_number in range(3):
        for end in ends:
            end.bev.key_update(request_peer=request_peer)
            end.bev.write(b"x" * 100_000)
        run_until(base, lambda wanted=(round_number + 1) * 100_000: all(len(end.got) == wanted for end in ends))
    assert all(end.events == [ev.What.CONNECTED] for end in ends)
    close_all(base, *ends)


def test_new_keys_are_for_tls_1_3(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    ends = meet(base, *contexts(root, leaf, V12))
    shake_hands(base, *ends)
    with pytest.raises(ev.TLSError):
        ends[0].bev.key_update()
    close_all(base, *ends)


ALLOW_CLIENT_RENEGOTIATION = 1 << 8


@both_forms
@pytest.mark.parametrize("first", [0, 1], ids=["server", "client"])
def test_hands_once_more(base: ev.EventBase, root: Issued, leaf: Issued, direct: bool, first: int) -> None:
    server, client = contexts(root, leaf, V12)
    for ctx in (server, client):
        ctx.options &= ~ssl.OP_NO_RENEGOTIATION
    server.options |= ALLOW_CLIENT_RENEGOTIATION
    ends = meet(base, server, client, direct=direct)
    with pytest.raises(OSError, match=r"the handshake of .* isn't done"):
        ends[first].bev.renegotiate()
    shake_hands(base, *ends)
    assert ends[first].bev.renegotiations == 0
    ends[first].bev.renegotiate()
    settle(base)
    for end in ends:
        end.bev.write(b"x" * 100_000)
    run_until(base, lambda: all(len(end.got) == 100_000 for end in ends))
    assert all(end.events == [ev.What.CONNECTED] for end in ends)
    assert ends[1].bev.renegotiations == 1
    close_all(base, *ends)


@both_forms
def test_not_once_more(base: ev.EventBase, root: Issued, leaf: Issued, direct: bool) -> None:
    """TLS 1.3 has none; nor have those who don't allow it; and a client that insists is refused by our server."""
    for version in (V12, V13):
        ends = meet(base, *contexts(root, leaf, version), direct=direct)
        shake_hands(base, *ends)
        with pytest.raises(ev.TLSError) as caught:
            ends[0].bev.renegotiate()
        assert caught.value.reason == "NO_RENEGOTIATION"
        ends[0].bev.write(b"all is well")
        run_until(base, lambda ends=ends: ends[1].got == b"all is well")
        close_all(base, *ends)
    server, client = contexts(root, leaf, V12)
    client.options &= ~ssl.OP_NO_RENEGOTIATION
    ends = meet(base, server, client, direct=direct)
    shake_hands(base, *ends)
    ends[1].bev.renegotiate()
    run_until(base, lambda: ends[1].ended)
    assert ends[1].error.reason == "NO_RENEGOTIATION"
    close_all(base, *ends)


# ---------------------------------------------------------------- certificates after the handshake


@both_forms
def test_a_certificate_after_all(base: ev.EventBase, root: Issued, leaf: Issued, direct: bool) -> None:
    own = root.issue("client", uses=[CLIENT])
    server, client = contexts(root, leaf, V13, certfile=own.certificate, keyfile=own.key)
    server.load_client_ca(root.certificate)
    client.post_handshake_auth = True
    assert client.post_handshake_auth is True
    ends = meet(base, server, client, direct=direct)
    with pytest.raises(OSError, match=r"the handshake of .* isn't done"):
        ends[0].bev.verify_client_post_handshake()
    shake_hands(base, *ends)
    assert ends[0].bev.peer_certificate is None
    ends[0].bev.verify_client_post_handshake()
    ends[0].bev.write(b"who are you")
    run_until(base, lambda: ends[1].got)
    ends[1].bev.write(b"it is me")
    run_until(base, lambda: ends[0].got)
    assert ends[0].bev.peer_certificate == own.certificate.public_bytes(Encoding.DER)
    assert ends[0].bev.verified
    close_all(base, *ends)


@pytest.mark.parametrize("required", [True, False])
def test_a_client_that_has_none(base: ev.EventBase, root: Issued, leaf: Issued, required: bool) -> None:
    server, client = contexts(root, leaf, V13)
    server.load_client_ca(root.certificate)
    client.post_handshake_auth = True
    ends = meet(base, server, client)
    shake_hands(base, *ends)
    ends[0].bev.verify_client_post_handshake(required=required)
    ends[0].bev.write(b"who are you")
    run_until(base, lambda: ends[1].got)
    ends[1].bev.write(b"nobody")
    if required:
        both_fail(base, *ends)
        assert ends[0].error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        assert ends[0].got == b""
    else:
        run_until(base, lambda: ends[0].got)
        assert ends[0].bev.peer_certificate is None
    close_all(base, *ends)


def test_who_can_not_be_asked(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    for version, reason in ((V13, "EXTENSION_NOT_RECEIVED"), (V12, "WRONG_SSL_VERSION")):
        ends = meet(base, *contexts(root, leaf, version))
        shake_hands(base, *ends)
        with pytest.raises(ev.TLSError) as caught:
            ends[0].bev.verify_client_post_handshake()
        assert caught.value.reason == reason
        with pytest.raises(ev.TLSError):
            ends[1].bev.verify_client_post_handshake()
        settle(base)
        ends[0].bev.write(b"all is well")
        run_until(base, lambda ends=ends: ends[1].got == b"all is well")
        close_all(base, *ends)
