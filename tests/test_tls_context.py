"""TLSContext: files, keys, whom to trust, and which versions."""

from __future__ import annotations

import copy
import pickle
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

import pylibevent as ev


def encrypted_key(key: str, folder: Path, password: bytes) -> str:
    private = load_pem_private_key(Path(key).read_bytes(), None)
    path = folder / "encrypted.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)))
    return str(path)


def test_a_client_begins_safe(certificates: Any) -> None:
    ctx = ev.TLSContext.client(certificates.ca)
    assert ctx.verify_mode == ssl.CERT_REQUIRED
    assert ctx.check_hostname is True
    assert ctx.minimum_version == ssl.TLSVersion.TLSv1_2
    assert ctx.server_side is False


def test_a_server_begins_without_asking_clients(certificates: Any) -> None:
    ctx = ev.TLSContext.server(certificates.cert, certificates.key)
    assert ctx.verify_mode == ssl.CERT_NONE
    assert ctx.check_hostname is False
    assert ctx.minimum_version == ssl.TLSVersion.TLSv1_2
    assert ctx.server_side is True


def test_a_server_with_client_ca_requires_certificates(certificates: Any) -> None:
    assert ev.TLSContext.server(certificates.cert, certificates.key, client_ca=certificates.ca).verify_mode == ssl.CERT_REQUIRED


def test_it_is_made_by_client_or_server_only() -> None:
    with pytest.raises(TypeError, match=r"TLSContext\.client\(\) or TLSContext\.server\(\)"):
        ev.TLSContext()


def test_missing_files_are_the_systems_errors(certificates: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(FileNotFoundError) as caught:
        ev.TLSContext.server(missing, certificates.key)
    assert isinstance(caught.value.filename, str)
    with pytest.raises(FileNotFoundError):
        ev.TLSContext.server(certificates.cert, missing)
    with pytest.raises(FileNotFoundError):
        ev.TLSContext.client(missing)
    with pytest.raises(FileNotFoundError):
        ev.TLSContext.client(capath=missing)
    with pytest.raises(IsADirectoryError):
        ev.TLSContext.client(tmp_path)


def test_a_file_without_pem_is_a_tls_error(certificates: Any, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing of the kind")
    with pytest.raises(ev.TLSError, match="garbage"):
        ev.TLSContext.server(garbage, certificates.key)
    with pytest.raises(ev.TLSError, match="garbage"):
        ev.TLSContext.client(garbage)


def test_a_key_of_another_certificate_is_refused(certificates: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("other.test").private_key_pem.write_to_path(str(other))
    with pytest.raises(ev.TLSError) as caught:
        ev.TLSContext.server(certificates.cert, other)
    assert caught.value.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


@pytest.mark.parametrize("password", ["secret", b"secret", bytearray(b"secret"), lambda: "secret"])
def test_an_encrypted_key_takes_its_password(certificates: Any, tmp_path: Path, password: Any) -> None:
    ev.TLSContext.server(certificates.cert, encrypted_key(certificates.key, tmp_path, b"secret"), password)


@pytest.mark.parametrize("password", ["wrong", None, "", "x" * 1023])
def test_an_encrypted_key_without_it_is_refused_and_nobody_is_asked(certificates: Any, tmp_path: Path, password: Any) -> None:
    with pytest.raises(ev.TLSError):
        ev.TLSContext.server(certificates.cert, encrypted_key(certificates.key, tmp_path, b"secret"), password)


@pytest.mark.parametrize(
    ("password", "error"),
    [(1, TypeError), ("x" * 1024, ValueError), (lambda: 1, TypeError), (lambda: 1 / 0, ZeroDivisionError)],
)
def test_bad_passwords(certificates: Any, password: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ev.TLSContext.server(certificates.cert, certificates.key, password)


def test_authorities_from_pem_and_der(certificates: Any) -> None:
    pem = certificates.authority.cert_pem.bytes().decode()
    der = ssl.PEM_cert_to_DER_cert(pem)
    ev.TLSContext.client(cadata=pem)
    ev.TLSContext.client(cadata=pem + pem)
    ev.TLSContext.client(cadata=der)
    ev.TLSContext.client(cadata=bytearray(der) + der)
    for wrong in ("", "no certificate", b"no certificate", der[:-1], pem[:200]):
        with pytest.raises((ev.TLSError, ValueError)):
            ev.TLSContext.client(cadata=wrong)
    with pytest.raises(TypeError):
        ev.TLSContext.client(cadata=1)  # type: ignore[arg-type]


def test_none_of_three_is_a_type_error(certificates: Any) -> None:
    with pytest.raises(TypeError, match="must not all be None"):
        ev.TLSContext.client(certificates.ca).load_verify_locations()


def test_a_client_key_needs_a_certificate(certificates: Any) -> None:
    with pytest.raises(ValueError, match="certfile"):
        ev.TLSContext.client(certificates.ca, keyfile=certificates.key)


def test_verification_and_host_names_go_together(certificates: Any) -> None:
    ctx = ev.TLSContext.client(certificates.ca)
    with pytest.raises(ValueError, match="check_hostname"):
        ctx.verify_mode = ssl.CERT_NONE
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    ctx.check_hostname = True
    assert ctx.verify_mode == ssl.CERT_REQUIRED
    with pytest.raises(ValueError, match="CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED"):
        ctx.verify_mode = 7  # type: ignore[assignment]
    with pytest.raises(TypeError):
        ctx.check_hostname = 1  # type: ignore[assignment]
    with pytest.raises(ValueError, match="servers"):
        ev.TLSContext.server(certificates.cert, certificates.key).check_hostname = True


def test_versions(certificates: Any) -> None:
    ctx = ev.TLSContext.client(certificates.ca)
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    assert ctx.maximum_version == ssl.TLSVersion.TLSv1_2
    with pytest.raises(ValueError, match="there is no version"):
        ctx.minimum_version = ssl.TLSVersion.TLSv1_3
    ctx.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    ctx.minimum_version = ssl.TLSVersion.TLSv1_3
    assert (ctx.minimum_version, ctx.maximum_version) == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED)
    for wrong in (0, 99, "TLSv1.2", None, []):
        with pytest.raises(ValueError, match="minimum_version"):
            ctx.minimum_version = wrong  # type: ignore[assignment]


def test_ciphers(certificates: Any) -> None:
    ctx = ev.TLSContext.client(certificates.ca)
    ctx.set_ciphers("ECDHE+AESGCM")
    with pytest.raises(ev.TLSError, match="no cipher match"):
        ctx.set_ciphers("no-such-cipher")
    with pytest.raises(ValueError, match="ciphers"):
        ctx.set_ciphers("ECDHE\0")
    with pytest.raises(TypeError):
        ctx.set_ciphers(b"ECDHE")  # type: ignore[arg-type]


def test_it_refuses_to_be_copied(certificates: Any) -> None:
    ctx = ev.TLSContext.client(certificates.ca)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="TLSContext"):
            attempt(ctx)


def test_repr_says_what_it_does(certificates: Any) -> None:
    assert repr(ev.TLSContext.client(certificates.ca)) == "<TLSContext client, CERT_REQUIRED, host names checked, from TLSv1_2>"
    assert repr(ev.TLSContext.server(certificates.cert, certificates.key)) == "<TLSContext server, CERT_NONE, from TLSv1_2>"


def test_a_failure_leaves_nothing_for_the_ssl_module(certificates: Any, tmp_path: Path) -> None:
    """Both use the thread's queue of errors."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    with pytest.raises(ev.TLSError):
        ev.TLSContext.client(garbage)
    ssl.create_default_context(cafile=certificates.ca)
    ctx = ev.TLSContext.client(certificates.ca)
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context(cafile=str(garbage))
    ctx.load_verify_locations(certificates.ca)
