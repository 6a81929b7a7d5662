"""Certificates and keys from files, bytes, PKCS#12 and objects; exchanged while connections go on; keys in advance; secrets."""

from __future__ import annotations

import os
import ssl
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import tls_authority as make
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from support import run_until
from tls_authority import Issued
from tls_ends import both_fail, close_all, meet, settle, shake_hands

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def root() -> Issued:
    return make.authority()


@pytest.fixture(scope="module")
def leaf(root: Issued) -> Issued:
    return root.issue(is_ca=True, common_name="inner").issue("server.test")


def client_of(root: Issued) -> ev.TLSContext:
    return ev.TLSContext.client(cadata=root.certificate)


def works(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext) -> bytes | None:
    """Shakes hands; returns the certificate that the server showed."""
    ends = meet(base, server, client)
    shake_hands(base, *ends)
    shown = ends[1].bev.peer_certificate
    for end in ends:
        end.bev.close()
    settle(base)
    return shown


def test_every_form_of_a_certificate_and_a_key(base: ev.EventBase, root: Issued, leaf: Issued, tmp_path: Path) -> None:
    der = [certificate.public_bytes(Encoding.DER) for certificate in leaf.chain]
    key_der = leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    old_der = leaf.key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    files = {"chain.pem": leaf.chain_pem, "key.pem": leaf.key_pem, "both.pem": leaf.key_pem + leaf.chain_pem}
    files |= {"chain.der": b"".join(der), "key.der": key_der}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    forms: list[tuple[Any, Any]] = [
        (str(tmp_path / "chain.pem"), tmp_path / "key.pem"),
        (tmp_path / "both.pem", None),
        (tmp_path / "chain.der", tmp_path / "key.der"),
        (leaf.chain_pem, leaf.key_pem),
        (bytearray(leaf.chain_pem + leaf.key_pem), None),
        (b"".join(der), old_der),
        (leaf.chain, leaf.key),
        (tuple(leaf.chain), leaf.key_pem),
    ]
    for certificate, key in forms:
        assert works(base, ev.TLSContext.server(certificate, key), client_of(root)) == der[0]


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_encrypted_keys(leaf: Issued, encoding: Encoding) -> None:
    key = leaf.key.private_bytes(encoding, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    ev.TLSContext.server(leaf.chain, key, "secret")
    for wrong in (None, "", "wrong"):
        with pytest.raises(ev.TLSError):
            ev.TLSContext.server(leaf.chain, key, wrong)


@pytest.mark.parametrize("password", [b"secret", None])
def test_pkcs12(base: ev.EventBase, root: Issued, leaf: Issued, tmp_path: Path, password: bytes | None) -> None:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    data = pkcs12.serialize_key_and_certificates(b"name", leaf.key, leaf.certificate, leaf.chain[1:], encryption)
    (tmp_path / "store.p12").write_bytes(data)
    for form in (data, tmp_path / "store.p12"):
        server = ev.TLSContext.server(pkcs12=form, password=password)
        assert works(base, server, client_of(root)) == leaf.certificate.public_bytes(Encoding.DER)
    client = client_of(root)
    client.load_pkcs12(data, password)
    assert client.certificate == leaf.certificate.public_bytes(Encoding.DER)
    for damaged in (data[:-10], b"\x30\x03abc"):
        with pytest.raises(ev.TLSError):
            ev.TLSContext.server(pkcs12=damaged, password=password)
    with pytest.raises(ev.TLSError):
        ev.TLSContext.server(pkcs12=data, password="wrong")
    with pytest.raises(ValueError, match="pkcs12 takes the place"):
        ev.TLSContext.server(leaf.chain, pkcs12=data)
    alone = pkcs12.serialize_key_and_certificates(b"name", None, leaf.certificate, None, NoEncryption())
    with pytest.raises(ev.TLSError):
        ev.TLSContext.server(pkcs12=alone)


@pytest.mark.parametrize(
    ("certificate", "error"),
    [(b"", ValueError), (b"/a/path", ValueError), ([], ValueError), (1, TypeError), ([1], TypeError), ("a\0b", ValueError)],
)
def test_what_is_none(leaf: Issued, certificate: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ev.TLSContext.server(certificate, leaf.key)
    with pytest.raises((TypeError, ValueError)):
        ev.TLSContext.server(leaf.chain, certificate if certificate != [] else object())


def test_a_failed_exchange_leaves_all_as_it_was(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    server = ev.TLSContext.server(leaf.chain, leaf.key)
    before = server.certificate
    for certificate, key in (
        (root.issue("server.test").certificate, leaf.key),
        (leaf.chain_pem, b"-----BEGIN PRIVATE KEY-----\n"),
        (leaf.chain_pem[:-50], leaf.key),
        (root.issue("server.test", key=make.rsa_key(1024)).certificate, make.rsa_key(1024)),
    ):
        with pytest.raises(ev.TLSError):
            server.load_cert_chain(certificate, key)
        assert server.certificate == before
        assert works(base, server, client_of(root)) == before


def test_exchanged_while_connections_go_on(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    server = ev.TLSContext.server(leaf.chain, leaf.key)
    ends = meet(base, server, client_of(root))
    shake_hands(base, *ends)
    newer = root.issue("server.test")
    server.load_cert_chain(newer.chain, newer.key)
    assert server.certificate == newer.certificate.public_bytes(Encoding.DER)
    assert works(base, server, client_of(root)) == server.certificate
    ends[0].bev.write(b"still here")
    run_until(base, lambda: ends[1].got == b"still here")
    assert ends[1].bev.peer_certificate == leaf.certificate.public_bytes(Encoding.DER)
    close_all(base, *ends)


def test_exchanged_by_a_thread_under_load(base: ev.EventBase, root: Issued) -> None:
    """Each handshake shows one of them, whole."""
    many = [root.issue("server.test") for _ in range(4)]
    server = ev.TLSContext.server(many[0].chain, many[0].key)
    over = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            for one in many:
                server.load_cert_chain(one.chain_pem, one.key_pem)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        client = client_of(root)
        shown = {works(base, server, client) for _ in range(30)}
    finally:
        over.set()
        thread.join()
    assert shown <= {one.certificate.public_bytes(Encoding.DER) for one in many}


def test_two_kinds_of_key_side_by_side(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    rsa = root.issue("server.test", key=make.rsa_key(2048))
    server = ev.TLSContext.server(leaf.chain, leaf.key)
    server.load_cert_chain(rsa.chain, rsa.key)
    client = client_of(root)
    client.maximum_version = V12
    for ciphers, shown in (("ECDHE-ECDSA-AES128-GCM-SHA256", leaf), ("ECDHE-RSA-AES128-GCM-SHA256", rsa)):
        client.set_ciphers(ciphers)
        assert works(base, server, client) == shown.certificate.public_bytes(Encoding.DER)


def test_what_is_trusted_can_be_looked_at(root: Issued, leaf: Issued) -> None:
    ctx = client_of(root)
    assert ctx.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}
    ctx.load_verify_locations(cadata=leaf.certificate)
    assert ctx.cert_store_stats() == {"x509": 2, "crl": 0, "x509_ca": 1}
    assert ctx.get_ca_certs(binary_form=True) == [root.certificate.public_bytes(Encoding.DER)]
    ctx.set_default_verify_paths()
    ctx.load_default_certs(ssl.Purpose.SERVER_AUTH)
    with pytest.raises(TypeError, match="purpose"):
        ctx.load_default_certs("SERVER_AUTH")  # type: ignore[arg-type]


# ---------------------------------------------------------------- what is spoken


def test_ciphers_versions_groups(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    server, client = ev.TLSContext.server(leaf.chain, leaf.key), client_of(root)
    server.set_ciphersuites(["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"])
    server.set_groups(["P-384", "X25519"])
    client.set_ecdh_curve("secp384r1")
    client.set_sigalgs("ECDSA+SHA256:RSA-PSS+SHA256")
    ends = meet(base, server, client)
    shake_hands(base, *ends)
    assert ends[0].bev.cipher is not None
    assert ends[0].bev.cipher.name == "TLS_CHACHA20_POLY1305_SHA256"
    close_all(base, *ends)
    first = server.get_ciphers()[0]
    assert (first["name"], first["protocol"], first["strength_bits"]) == ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", 256)
    assert (server.protocol, client.protocol) == (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    for attempt in (
        lambda: server.set_ciphersuites("no-such-suite"),
        lambda: server.set_groups("no-such-group"),
        lambda: server.set_sigalgs("no-such-signature"),
        lambda: server.set_ecdh_curve("no-such-curve"),
    ):
        with pytest.raises(ev.TLSError, match="no-such"):
            attempt()
    with pytest.raises(TypeError):
        server.set_groups([1])  # type: ignore[list-item]


def test_no_group_or_cipher_in_common(base: ev.EventBase, root: Issued, leaf: Issued) -> None:
    server, client = ev.TLSContext.server(leaf.chain, leaf.key), client_of(root)
    server.set_groups("P-256")
    client.set_groups("X25519")
    ends = meet(base, server, client)
    both_fail(base, *ends)
    assert ends[1].error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
    close_all(base, *ends)
    client = client_of(root)
    client.maximum_version = V12
    client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    ends = meet(base, server, client)
    both_fail(base, *ends)
    assert ends[0].error.reason == "NO_SHARED_CIPHER"
    close_all(base, *ends)


def test_options(root: Issued) -> None:
    ctx = client_of(root)
    assert ctx.options & ssl.OP_NO_RENEGOTIATION
    assert ctx.options & ssl.OP_NO_COMPRESSION
    ctx.options |= ssl.OP_NO_TICKET
    assert ctx.options & ssl.OP_NO_TICKET
    ctx.options &= ~ssl.OP_NO_TICKET
    assert not ctx.options & ssl.OP_NO_TICKET
    with pytest.raises(TypeError):
        ctx.options = "all"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="options"):
        ctx.options = 2**64  # type: ignore[assignment]
    with pytest.raises(ValueError, match="security_level"):
        ctx.security_level = 6


def test_dh_params_are_accepted(root: Issued, tmp_path: Path) -> None:
    (tmp_path / "dh.pem").write_text("whatever")
    client_of(root).load_dh_params(tmp_path / "dh.pem")
    with pytest.raises(FileNotFoundError):
        client_of(root).load_dh_params(tmp_path / "missing.pem")


# ---------------------------------------------------------------- keys in advance


@pytest.mark.parametrize("version", [V12, V13])
def test_keys_in_advance(base: ev.EventBase, root: Issued, version: ssl.TLSVersion) -> None:
    server, client = ev.TLSContext.server(), client_of(root)
    client.check_hostname = False
    client.minimum_version = client.maximum_version = version
    server.set_ciphers("PSK")
    client.set_ciphers("PSK")
    asked: list[Any] = []
    key = bytes(range(32))

    def for_client(hint: str | None) -> tuple[str, bytes]:
        asked.append(hint)
        return "somebody", key

    def for_server(identity: str | None) -> bytes:
        asked.append(identity)
        return key if identity == "somebody" else b""

    client.set_psk_client_callback(for_client)
    server.set_psk_server_callback(for_server, "who are you")
    ends = meet(base, server, client, None)
    shake_hands(base, *ends)
    assert "somebody" in asked
    if version == V12:
        assert asked == ["who are you", "somebody"]
    assert ends[1].bev.peer_certificate is None
    ends[0].bev.write(b"secret")
    run_until(base, lambda: ends[1].got == b"secret")
    close_all(base, *ends)
    key = b"another"
    client.set_psk_client_callback(lambda hint: ("somebody", b"wrong"))
    ends = meet(base, server, client, None)
    both_fail(base, *ends)
    close_all(base, *ends)
    client.set_psk_client_callback(lambda hint: ("nobody", b"wrong"))
    ends = meet(base, server, client, None)
    both_fail(base, *ends)
    close_all(base, *ends)


@pytest.mark.parametrize(
    "answer",
    [
        lambda hint: 1 / 0,
        lambda hint: None,
        lambda hint: ("x" * 300, b"key"),
        lambda hint: ("x", "key"),
        lambda hint: ("x", b"k" * 513),
        lambda hint: (b"x", b"key"),
        lambda hint: ("a\0b", b"key"),
    ],
)
def test_answers_that_are_no_keys(base: ev.EventBase, root: Issued, answer: Any) -> None:
    server, client = ev.TLSContext.server(), client_of(root)
    server.set_psk_server_callback(lambda identity: b"key")
    client.set_psk_client_callback(answer)
    ends = meet(base, server, client)
    with pytest.raises((ZeroDivisionError, TypeError, ValueError)):
        both_fail(base, *ends)
    close_all(base, *ends)


def test_sides_of_keys_in_advance(root: Issued) -> None:
    server, client = ev.TLSContext.server(), client_of(root)
    with pytest.raises(ValueError, match="for clients"):
        server.set_psk_client_callback(None)
    with pytest.raises(ValueError, match="for servers"):
        client.set_psk_server_callback(None)
    with pytest.raises(ValueError, match="identity_hint"):
        server.set_psk_server_callback(lambda identity: b"", "x" * 129)
    with pytest.raises(TypeError, match="callback"):
        server.set_psk_server_callback(1)  # type: ignore[arg-type]
    server.set_psk_server_callback(None)


def test_a_server_without_a_certificate(base: ev.EventBase, root: Issued) -> None:
    ends = meet(base, ev.TLSContext.server(), client_of(root))
    both_fail(base, *ends)
    assert ends[0].error.reason in ("NO_SHARED_CIPHER", "NO_SUITABLE_SIGNATURE_ALGORITHM")
    close_all(base, *ends)


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize("version", [V12, V13])
def test_secrets_for_those_who_debug(
    base: ev.EventBase, root: Issued, leaf: Issued, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    path = tmp_path / "keys.log"
    server, client = ev.TLSContext.server(leaf.chain, leaf.key), client_of(root)
    client.minimum_version = client.maximum_version = version
    mask = os.umask(0)
    try:
        client.keylog_filename = path
    finally:
        os.umask(mask)
    assert client.keylog_filename == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    works(base, server, client)
    lines = path.read_text().splitlines()
    kinds = {line.split()[0] for line in lines if not line.startswith("#")}
    assert "CLIENT_RANDOM" in kinds if version == V12 else "CLIENT_TRAFFIC_SECRET_0" in kinds
    server.keylog_filename = str(path)  # both into one file
    works(base, server, client)
    assert len(path.read_text().splitlines()) > 2 * len(lines)
    client.keylog_filename = server.keylog_filename = None
    before = path.read_text()
    works(base, server, client)
    assert path.read_text() == before


def test_a_file_of_secrets_that_others_could_read(root: Issued, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    path.touch(mode=0o666)
    client_of(root).keylog_filename = path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(OSError, match="directory"):
        client_of(root).keylog_filename = tmp_path
    with pytest.raises(FileNotFoundError):
        client_of(root).keylog_filename = tmp_path / "missing" / "keys.log"
