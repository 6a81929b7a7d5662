"""Whom a client and a server take for whom: each certificate that is wrong, and who says what about it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import tls_authority as make
from cryptography import x509
from cryptography.x509.ocsp import OCSPCertStatus
from support import run_until
from tls_authority import CLIENT, DAY, NOW, Issued
from tls_ends import both_fail, close_all, meet, settle, shake_hands

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
FAILED = [ev.What.READING | ev.What.ERROR]


@pytest.fixture(scope="module")
def root() -> Issued:
    return make.authority()


@pytest.fixture(scope="module")
def good(root: Issued) -> Issued:
    return root.issue("server.test", "127.0.0.1")


def server_of(issued: Issued, **options: Any) -> ev.TLSContext:
    return ev.TLSContext.server(issued.chain, issued.key, **options)


def client_of(root: Issued, version: ssl.TLSVersion | None = None, **options: Any) -> ev.TLSContext:
    ctx = ev.TLSContext.client(cadata=root.certificate, **options)
    if version is not None:
        ctx.minimum_version = ctx.maximum_version = version
    return ctx


def refused(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, name: str = "server.test") -> tuple[Any, Any]:
    """The errors of both sides, each told once."""
    ends = meet(base, server, client, name)
    both_fail(base, *ends)
    settle(base)
    assert [end.events for end in ends] == [FAILED, FAILED]
    errors = ends[0].error, ends[1].error
    close_all(base, *ends)
    return errors


def accepted(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, name: str = "server.test") -> None:
    ends = meet(base, server, client, name)
    shake_hands(base, *ends)
    close_all(base, *ends)


WRONG: list[Any] = [
    pytest.param(lambda root: root.issue("a.b.test"), "*.test", 62, "bad certificate", id="another name"),
    pytest.param(lambda root: root.issue(common_name="server.test"), "server.test", 62, "bad certificate", id="CN only"),
    pytest.param(lambda root: root.issue("server.test"), "127.0.0.1", 64, "bad certificate", id="no address"),
    pytest.param(
        lambda root: root.issue("server.test", start=NOW - DAY * 3, end=NOW - DAY),
        "server.test",
        10,
        "certificate expired",
        id="expired",
    ),
    pytest.param(
        lambda root: root.issue("server.test", start=NOW + DAY, end=NOW + DAY * 2),
        "server.test",
        9,
        "bad certificate",
        id="not yet valid",
    ),
    pytest.param(
        lambda root: root.issue("server.test", uses=[CLIENT]), "server.test", 26, "unsupported certificate", id="for clients"
    ),
    pytest.param(
        lambda root: root.issue("leaf.test").issue("server.test"), "server.test", 79, "unknown ca", id="a leaf as authority"
    ),
    pytest.param(
        lambda root: root.issue(
            is_ca=True, common_name="inner", constraints=x509.NameConstraints([x509.DNSName("other.test")], None)
        ).issue("server.test"),
        "server.test",
        47,
        "certificate unknown",
        id="outside of its name constraints",
    ),
    pytest.param(
        lambda root: root.issue(
            is_ca=True, common_name="inner", constraints=x509.NameConstraints(None, [x509.DNSName("server.test")])
        ).issue("server.test"),
        "server.test",
        48,
        "certificate unknown",
        id="excluded by name constraints",
    ),
]


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(("issue", "name", "code", "alert"), WRONG)
def test_a_server_that_is_refused(
    base: ev.EventBase,
    root: Issued,
    issue: Callable[[Issued], Issued],
    name: str,
    code: int,
    alert: str,
    version: ssl.TLSVersion,
) -> None:
    ours, theirs = refused(base, server_of(issue(root)), client_of(root, version), name.replace("*", "x"))
    assert isinstance(theirs, ev.TLSCertificateError)
    assert isinstance(theirs, ssl.SSLCertVerificationError)
    assert theirs.verify_code == code
    assert theirs.reason == "CERTIFICATE_VERIFY_FAILED"
    assert theirs.alert is None
    assert isinstance(ours, ev.TLSError)
    assert f"alert {alert}" in str(ours)
    assert ours.alert is not None
    assert ours.alert == theirs.alert_sent


def test_self_signed(base: ev.EventBase) -> None:
    own = make.authority("server.test")
    server = ev.TLSContext.server(own.certificate, own.key)
    _, theirs = refused(base, server, client_of(make.authority("another")))
    assert theirs.verify_code == 18


def test_another_authority_and_none_at_all(base: ev.EventBase, root: Issued, good: Issued) -> None:
    ours, theirs = refused(base, server_of(good), client_of(make.authority("another")))
    assert theirs.verify_code == 20
    assert ours.alert is ssl.AlertDescription.ALERT_DESCRIPTION_UNKNOWN_CA


def test_a_missing_link(base: ev.EventBase, root: Issued) -> None:
    inner = root.issue(is_ca=True, common_name="inner")
    leaf = inner.issue("server.test")
    accepted(base, server_of(leaf), client_of(root))
    _, theirs = refused(base, ev.TLSContext.server(leaf.certificate, leaf.key), client_of(root))
    assert theirs.verify_code == 20


def test_partial_chains(base: ev.EventBase, root: Issued) -> None:
    inner = root.issue(is_ca=True, common_name="inner")
    leaf = inner.issue("server.test")
    client = client_of(inner)
    assert refused(base, server_of(leaf), client)[1].verify_code in (2, 20)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    assert client.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    accepted(base, server_of(leaf), client)


def test_the_depth(base: ev.EventBase, root: Issued) -> None:
    leaf = root.issue(is_ca=True, common_name="inner").issue("server.test")
    client = client_of(root)
    assert client.verify_depth is None
    client.verify_depth = 0
    assert client.verify_depth == 0
    assert refused(base, server_of(leaf), client)[1].verify_code in (20, 22)
    client.verify_depth = 1
    accepted(base, server_of(leaf), client)
    client.verify_depth = None
    assert client.verify_depth is None
    with pytest.raises(ValueError, match="verify_depth"):
        client.verify_depth = 101


def test_common_names_count_for_those_who_want_it(base: ev.EventBase, root: Issued) -> None:
    server = server_of(root.issue(common_name="server.test"))
    client = client_of(root)
    assert client.hostname_checks_common_name is False
    assert refused(base, server, client)[1].verify_code == 62
    client.hostname_checks_common_name = True
    accepted(base, server, client)
    accepted_names = server_of(root.issue("other.test", common_name="server.test"))
    assert refused(base, accepted_names, client)[1].verify_code == 62


def test_a_short_key_is_not_even_loaded(root: Issued) -> None:
    weak = root.issue("server.test", key=make.rsa_key(1024))
    with pytest.raises(ev.TLSError, match="key too small"):
        server_of(weak)
    ctx = ev.TLSContext.server()
    assert ctx.security_level == 2
    ctx.security_level = 0
    ctx.load_cert_chain(weak.certificate, weak.key)
    assert ctx.security_level == 0


def test_lists_of_the_revoked(base: ev.EventBase, root: Issued, good: Issued) -> None:
    bad = root.issue("server.test")
    client = client_of(root)
    client.load_crl(root.revoke(bad))
    assert client.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    assert client.cert_store_stats() == {"x509": 1, "crl": 1, "x509_ca": 1}
    ours, theirs = refused(base, server_of(bad), client)
    assert theirs.verify_code == 23
    assert ours.alert is ssl.AlertDescription.ALERT_DESCRIPTION_CERTIFICATE_REVOKED
    accepted(base, server_of(good), client)


def test_a_list_that_is_missing_or_old_refuses(base: ev.EventBase, root: Issued, good: Issued) -> None:
    client = client_of(root)
    client.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    assert refused(base, server_of(good), client)[1].verify_code == 3
    client.load_crl(root.revoke(end=NOW - DAY / 2))
    assert refused(base, server_of(good), client)[1].verify_code == 12


def test_lists_for_the_whole_chain(base: ev.EventBase, root: Issued) -> None:
    inner = root.issue(is_ca=True, common_name="inner")
    client = client_of(root)
    client.load_crl(inner.revoke(), chain=True)
    assert refused(base, server_of(inner.issue("server.test")), client)[1].verify_code == 3
    client.load_crl(root.revoke(inner))
    assert refused(base, server_of(inner.issue("server.test")), client)[1].verify_code == 23


@pytest.mark.parametrize("wrong", [b"-----BEGIN nothing", b"\x30\x03abc"])
def test_a_list_that_is_none(root: Issued, wrong: bytes) -> None:
    with pytest.raises(ev.TLSError):
        client_of(root).load_crl(wrong)


# ---------------------------------------------------------------- clients with certificates


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("optional", [True, False])
def test_a_client_shows_its_own(
    base: ev.EventBase, root: Issued, good: Issued, optional: bool, version: ssl.TLSVersion
) -> None:
    own = root.issue("client", uses=[CLIENT])
    server = server_of(good, client_ca=root.certificate)
    assert server.verify_mode == ssl.CERT_REQUIRED
    if optional:
        server.verify_mode = ssl.CERT_OPTIONAL
    client = client_of(root, version, certfile=own.certificate, keyfile=own.key)
    ends = meet(base, server, client)
    shake_hands(base, *ends)
    assert ends[0].bev.peer_certificate == ssl.PEM_cert_to_DER_cert(own.pem.decode())
    close_all(base, *ends)


@pytest.mark.parametrize("version", [V12, V13])
def test_a_client_without_one_where_it_is_optional(
    base: ev.EventBase, root: Issued, good: Issued, version: ssl.TLSVersion
) -> None:
    server = server_of(good, client_ca=root.certificate)
    server.verify_mode = ssl.CERT_OPTIONAL
    ends = meet(base, server, client_of(root, version))
    shake_hands(base, *ends)
    assert ends[0].bev.peer_certificate is None
    close_all(base, *ends)


@pytest.mark.parametrize("mode", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(
    ("who", "code"),
    [
        (lambda root: make.authority("another").issue("client", uses=[CLIENT]), 20),
        (lambda root: root.issue("client", uses=[CLIENT], start=NOW - DAY * 3, end=NOW - DAY), 10),
        (lambda root: root.issue("client"), 26),
    ],
    ids=["of another authority", "expired", "a server's"],
)
def test_a_client_that_is_refused(
    base: ev.EventBase,
    root: Issued,
    good: Issued,
    who: Callable[[Issued], Issued],
    code: int,
    version: ssl.TLSVersion,
    mode: ssl.VerifyMode,
) -> None:
    """Also where it is optional: one that is shown must be good. Under 1.3 the client hears of it after CONNECTED."""
    own = who(root)
    server = server_of(good, client_ca=root.certificate)
    server.verify_mode = mode
    ends = meet(base, server, client_of(root, version, certfile=own.certificate, keyfile=own.key))
    both_fail(base, *ends)
    assert ends[0].events == FAILED
    assert ends[0].error.verify_code == code
    assert ends[1].events == ([ev.What.CONNECTED, *FAILED] if version == V13 else FAILED)
    assert ends[1].error.alert == ends[0].error.alert_sent
    assert ends[1].error.alert is not None
    close_all(base, *ends)


@pytest.mark.parametrize(("version", "alert"), [(V12, 40), (V13, 116)])
def test_a_client_that_shows_none(base: ev.EventBase, root: Issued, good: Issued, version: ssl.TLSVersion, alert: int) -> None:
    ends = meet(base, server_of(good, client_ca=root.certificate), client_of(root, version))
    both_fail(base, *ends)
    assert ends[0].error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert "alert" in str(ends[1].error)
    assert lib_alert(ends[1]) == alert
    close_all(base, *ends)


def lib_alert(end: Any) -> int:
    from pylibevent._libevent import lib

    return int(lib.pev_ssl_alert(end.bev._h, 0))


# ---------------------------------------------------------------- verify_callback


def test_the_callback_sees_each_certificate(base: ev.EventBase, root: Issued) -> None:
    leaf = root.issue(is_ca=True, common_name="inner").issue("server.test")
    client = client_of(root)
    seen: list[tuple[int, bool]] = []

    def on_verify(bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> bool:
        assert isinstance(bev, ev.TLSBufferEvent)
        assert x509.load_der_x509_certificate(step.certificate)
        assert step.message == "ok"
        seen.append((step.depth, step.ok))
        return step.ok

    client.verify_callback = on_verify
    assert client.verify_callback is on_verify
    accepted(base, server_of(leaf), client)
    assert list(dict.fromkeys(seen)) == [(2, True), (1, True), (0, True)]


@pytest.mark.parametrize("version", [V12, V13])
def test_the_callback_may_accept_what_is_wrong(base: ev.EventBase, good: Issued, version: ssl.TLSVersion) -> None:
    client = client_of(make.authority("another"), version)
    seen: list[int] = []

    def on_verify(bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> bool:
        seen.append(step.code)
        return True

    client.verify_callback = on_verify
    ends = meet(base, server_of(good), client, "another.test")
    shake_hands(base, *ends)
    assert {20, 62} <= set(seen)
    close_all(base, *ends)


def test_the_callback_may_refuse_what_is_right(base: ev.EventBase, root: Issued, good: Issued) -> None:
    client = client_of(root)
    client.verify_callback = lambda bev, step: False
    ours, theirs = refused(base, server_of(good), client)
    assert theirs.verify_code == 50
    assert theirs.verify_message == "application verification failure"
    assert ours.alert is not None


@pytest.mark.parametrize("answer", [lambda: 1 / 0, lambda: None, lambda: 1, lambda: "yes"], ids=["raises", "None", "1", "yes"])
def test_a_callback_without_an_answer_refuses(
    base: ev.EventBase, root: Issued, good: Issued, answer: Callable[[], Any]
) -> None:
    client = client_of(root)
    client.verify_callback = lambda bev, step: answer()
    ends = meet(base, server_of(good), client)
    with pytest.raises((ZeroDivisionError, TypeError)):
        both_fail(base, *ends)
    both_fail(base, *ends)
    assert isinstance(ends[1].error, ev.TLSCertificateError)
    assert ends[1].error.verify_code == 50
    close_all(base, *ends)


def test_a_server_has_one_too(base: ev.EventBase, root: Issued, good: Issued) -> None:
    own = make.authority("another").issue("client", uses=[CLIENT])
    server = server_of(good, client_ca=root.certificate)
    server.verify_callback = lambda bev, step: True
    accepted(base, server, client_of(root, certfile=own.certificate, keyfile=own.key))


def test_a_connection_that_is_closed_is_not_verified_any_more(base: ev.EventBase, root: Issued, good: Issued) -> None:
    """What was written lingers without its Python object; the question goes nowhere, and that refuses."""
    client = client_of(root)
    asked: list[int] = []

    def on_verify(bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> bool:
        asked.append(step.depth)
        return step.ok

    client.verify_callback = on_verify
    ends = meet(base, server_of(good), client)
    ends[1].bev.write(b"x")
    ends[1].bev.close()
    run_until(base, lambda: ends[0].ended)
    close_all(base, *ends)


# ---------------------------------------------------------------- OCSP


@pytest.mark.parametrize("version", [V12, V13])
def test_a_stapled_response(base: ev.EventBase, root: Issued, good: Issued, version: ssl.TLSVersion) -> None:
    server, client = server_of(good), client_of(root, version)
    response = server.ocsp_response = root.ocsp_response(good)
    client.ocsp = ev.OCSP.REQUIRE
    seen: list[bytes] = []

    def on_ocsp(bev: ev.TLSBufferEvent, response: bytes) -> bool:
        seen.append(response)
        return True

    client.ocsp_callback = on_ocsp
    assert client.ocsp is ev.OCSP.REQUIRE
    ends = meet(base, server, client)
    shake_hands(base, *ends)
    assert seen == [response]
    assert ends[1].bev.ocsp_response == response
    close_all(base, *ends)


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(
    "respond",
    [
        lambda root, good: root.ocsp_response(good, OCSPCertStatus.REVOKED),
        lambda root, good: root.ocsp_response(good, OCSPCertStatus.UNKNOWN),
        lambda root, good: root.ocsp_response(good, end=NOW - DAY),
        lambda root, good: root.ocsp_response(root.issue("server.test")),
        lambda root, good: root.ocsp_response(good, signer=make.authority("another")),
        lambda root, good: b"nothing of the kind",
    ],
    ids=["revoked", "unknown", "old", "about another", "signed by another", "garbage"],
)
@pytest.mark.parametrize("policy", [ev.OCSP.ASK, ev.OCSP.REQUIRE])
def test_a_response_that_is_not_good(
    base: ev.EventBase,
    root: Issued,
    good: Issued,
    respond: Callable[[Issued, Issued], bytes],
    policy: ev.OCSP,
    version: ssl.TLSVersion,
) -> None:
    server, client = server_of(good), client_of(root, version)
    server.ocsp_response = respond(root, good)
    client.ocsp = policy
    ours, theirs = refused(base, server, client)
    assert isinstance(theirs, ev.TLSCertificateError)
    assert "OCSP" in theirs.verify_message
    assert ours.alert is ssl.AlertDescription.ALERT_DESCRIPTION_BAD_CERTIFICATE_STATUS_RESPONSE


def test_no_response(base: ev.EventBase, root: Issued, good: Issued) -> None:
    server, client = server_of(good), client_of(root)
    client.ocsp = ev.OCSP.ASK
    accepted(base, server, client)
    client.ocsp = ev.OCSP.REQUIRE
    _, theirs = refused(base, server, client)
    assert isinstance(theirs, ev.TLSCertificateError)
    server.ocsp_response = root.ocsp_response(good)
    accepted(base, server, client)
    client.ocsp = ev.OCSP.OFF
    server.ocsp_response = b"nothing of the kind"
    accepted(base, server, client)


def test_a_callback_about_responses_refuses(base: ev.EventBase, root: Issued, good: Issued) -> None:
    client = client_of(root)
    client.ocsp_callback = lambda bev, response: bool(response)
    assert client.ocsp is ev.OCSP.ASK
    assert "OCSP" in refused(base, server_of(good), client)[1].verify_message


def test_sides_of_ocsp(root: Issued, good: Issued) -> None:
    with pytest.raises(ValueError, match="for clients"):
        server_of(good).ocsp = ev.OCSP.ASK
    with pytest.raises(ValueError, match="for servers"):
        client_of(root).ocsp_response = b"x"
    with pytest.raises(ValueError, match="at most 65535"):
        server_of(good).ocsp_response = b"x" * 65536
    with pytest.raises(TypeError, match="ocsp_response"):
        server_of(good).ocsp_response = "x"  # type: ignore[assignment]
