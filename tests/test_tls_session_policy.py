"""A session never carries more trust than its policy: each way around it that OpenSSL leaves open, and that it is closed.

All contexts here that could share sessions do share them: the same ticket keys, or the same store.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from sessions import TLS12, TLS13, VERSIONS, close, ends, issue, make_client, make_contexts, make_server, meet, ticking
from support import run_until

import pylibevent as ev


class Shared:
    """How servers share sessions."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.keys, self.store = ev.TicketKeys(), ev.MemorySessionStore()

    def __call__(self, server: ev.TLSContext) -> ev.TLSContext:
        if self.kind == "tickets":
            server.ticket_keys = self.keys
        else:
            server.session_store = self.store
        return server


@pytest.fixture(params=["tickets", "store"])
def shared(request: Any) -> Shared:
    return Shared(request.param)


@pytest.fixture
def client_files(certificates: Any, tmp_path: Path) -> tuple[str, str]:
    return issue(tmp_path, certificates.authority, "client.test")


def refused(
    base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, session: ev.TLSSession, name: str = "server.test"
) -> tuple[Any, Any]:
    """Offer a session where it may not be resumed, and the full handshake fails: both errors."""
    server_end, client_end = ends(base, server, client, name, session)
    run_until(base, lambda: server_end.ended and client_end.ended)
    errors = server_end.bev.error, client_end.bev.error
    assert not client_end.got or server_end.bev.error
    close(base, server_end, client_end)
    return errors


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_shared_is_resumed(base: ev.EventBase, certificates: Any, shared: Shared, version: ssl.TLSVersion) -> None:
    """Or the others would show nothing."""
    client = make_client(certificates, version)
    session = meet(base, shared(make_server(certificates)), client).session
    assert meet(base, shared(make_server(certificates)), client, session=session).reused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_requires_certificates_resumes(
    base: ev.EventBase, certificates: Any, client_files: tuple[str, str], shared: Shared, version: ssl.TLSVersion
) -> None:
    """Without a session id context OpenSSL fails the second connection."""
    client = make_client(certificates, version, certfile=client_files[0], keyfile=client_files[1])
    for server in (make_server(certificates, client_ca=certificates.ca), *(strict(certificates, shared) for _ in range(2))):
        first = meet(base, server, client)
        again = meet(base, server, client, session=first.session)
        assert again.reused
        assert again.server_session is not None
        assert again.server_session.peer_certificate is not None
    assert meet(base, strict(certificates, shared), client, session=again.session).reused


def strict(certificates: Any, shared: Shared) -> ev.TLSContext:
    return shared(make_server(certificates, client_ca=certificates.ca))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_without_a_certificate_where_one_is_required(
    base: ev.EventBase, certificates: Any, shared: Shared, version: ssl.TLSVersion
) -> None:
    client = make_client(certificates, version)
    session = meet(base, shared(make_server(certificates)), client).session
    assert session is not None
    server_error, client_error = refused(base, strict(certificates, shared), client, session)
    assert server_error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert isinstance(client_error, ev.TLSError)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_the_time_before_certificates_were_required(
    base: ev.EventBase, certificates: Any, shared: Shared, version: ssl.TLSVersion
) -> None:
    client, server = make_client(certificates, version), shared(make_server(certificates))
    session = meet(base, server, client).session
    assert session is not None
    server.load_verify_locations(certificates.ca)
    server.verify_mode = ssl.CERT_REQUIRED
    assert refused(base, server, client, session)[0].reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_of_another_authority(
    base: ev.EventBase, certificates: Any, tmp_path: Path, shared: Shared, version: ssl.TLSVersion
) -> None:
    others = trustme.CA()
    others.cert_pem.write_to_path(str(tmp_path / "others.pem"))
    cert, key = issue(tmp_path, others, "client.test")
    client = make_client(certificates, version, certfile=cert, keyfile=key)
    lenient = shared(make_server(certificates, client_ca=tmp_path / "others.pem"))
    session = meet(base, lenient, client).session
    assert session is not None
    server_error, _ = refused(base, strict(certificates, shared), client, session)
    assert isinstance(server_error, ev.TLSCertificateError)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_with_another_certificate(
    base: ev.EventBase, certificates: Any, tmp_path: Path, shared: Shared, version: ssl.TLSVersion
) -> None:
    client = make_client(certificates, version)
    other = shared(ev.TLSContext.server(*issue(tmp_path, certificates.authority, "server.test", "more.test")))
    session = meet(base, other, client).session
    assert not meet(base, shared(make_server(certificates)), client, session=session).reused


def lax(client: ev.TLSContext) -> ev.TLSContext:
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return client


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_that_nobody_verified(base: ev.EventBase, certificates: Any, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A client that verifies nothing, then one that does, with a server whose certificate nobody trusts."""
    server = ev.TLSContext.server(*issue(tmp_path, trustme.CA(), "server.test"))
    session = meet(base, server, lax(make_client(certificates, version))).session
    assert session is not None
    assert meet(base, server, lax(make_client(certificates, version)), session=session).reused
    session = meet(base, server, lax(make_client(certificates, version))).session
    assert session is not None
    _, client_error = refused(base, server, make_client(certificates, version), session)
    assert isinstance(client_error, ev.TLSCertificateError)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_a_client_that_did_not_check_the_name(
    base: ev.EventBase, certificates: Any, version: ssl.TLSVersion
) -> None:
    server, client = make_contexts(certificates, version)
    careless = make_client(certificates, version)
    careless.check_hostname = False
    session = meet(base, server, careless, "wrong.test").session
    assert session is not None
    _, client_error = refused(base, server, client, session, "wrong.test")
    assert client_error.verify_code == 62


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_for_another_name(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    server, client = make_contexts(certificates, version)
    session = meet(base, server, client).session
    assert session is not None
    assert not meet(base, server, client, "localhost", session).reused  # which the certificate is for, too
    _, client_error = refused(base, server, client, session, "wrong.test")
    assert client_error.verify_code == 62


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_a_client_with_other_authorities(
    base: ev.EventBase, certificates: Any, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    server, client = make_contexts(certificates, version)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "others.pem"))
    session = meet(base, server, client).session
    assert session is not None
    other = ev.TLSContext.client(tmp_path / "others.pem")
    other.minimum_version = other.maximum_version = version
    _, client_error = refused(base, server, other, session)
    assert isinstance(client_error, ev.TLSCertificateError)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_with_a_policy_forged_into_it(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    """Whoever can write where a client keeps its sessions still doesn't get the certificate of one host taken for another's."""
    server, client = make_contexts(certificates, version)
    session = meet(base, server, client).session
    assert session is not None
    policy = client._key_for("", 0, b"wrong.test", is_address=False, check_host=True).policy
    forged = ev.TLSSession.from_bytes(session.to_bytes().replace(session.policy, policy))
    assert forged.policy == policy
    _, client_error = refused(base, server, client, forged, "wrong.test")
    assert client_error.verify_code == 62


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_that_has_expired_since(
    base: ev.EventBase, certificates: Any, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """On both sides: a session lives longer than what was verified for it."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    issued = certificates.authority.issue_cert("server.test", not_after=end)
    path = tmp_path / "short.pem"
    path.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    long_server, short_server = make_server(certificates, client_ca=certificates.ca), ev.TLSContext.server(path)
    short_client = make_client(certificates, version, certfile=path)
    client = make_client(certificates, version)
    for_server = meet(base, long_server, short_client).session
    for_client = meet(base, short_server, client).session
    assert for_server is not None
    assert for_client is not None
    with ticking(base):
        run_until(base, lambda: datetime.datetime.now(datetime.UTC) > end + datetime.timedelta(seconds=1))
    server_error, _ = refused(base, long_server, short_client, for_server)
    assert server_error.verify_code == 10
    _, client_error = refused(base, short_server, client, for_client)
    assert client_error.verify_code == 10


# ---------------------------------------------------------------- the digest


def digest(make: Callable[[], ev.TLSContext], *change: Callable[[ev.TLSContext], object]) -> bytes:
    ctx = make()
    for step in change:
        step(ctx)
    return ctx.session_policy


def test_the_same_policy_has_the_same_digest(certificates: Any) -> None:
    def server() -> ev.TLSContext:
        return make_server(certificates, client_ca=certificates.ca)

    def client() -> ev.TLSContext:
        return make_client(certificates)

    assert digest(server) == digest(server)
    assert digest(client) == digest(client)
    assert len(digest(server)) == 32
    assert digest(ev.TLSContext.client) == digest(ev.TLSContext.client)


def test_a_clients_digest_is_for_the_host_and_how_it_is_checked(certificates: Any) -> None:
    client = make_client(certificates)
    digests = {
        client._key_for("", 0, name, is_address=is_address, check_host=check_host).policy
        for name in (b"one.test", b"other.test", None)
        for is_address in (False, True)
        for check_host in (False, True)
    }
    assert len(digests) == 12


def test_another_policy_has_another_digest(certificates: Any, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "others.pem"))
    files = issue(tmp_path, certificates.authority, "other.test")

    def server() -> ev.TLSContext:
        return make_server(certificates)

    def set_to(name: str, value: object) -> Callable[[ev.TLSContext], None]:
        return lambda ctx: setattr(ctx, name, value)

    digests = [
        digest(server),
        digest(lambda: make_client(certificates)),
        digest(server, set_to("verify_mode", ssl.CERT_OPTIONAL)),
        digest(server, set_to("verify_mode", ssl.CERT_REQUIRED)),
        digest(server, set_to("minimum_version", TLS13)),
        digest(server, set_to("session_id_context", b"one")),
        digest(server, set_to("session_id_context", b"other")),
        digest(server, lambda ctx: ctx.load_verify_locations(certificates.ca)),
        digest(server, lambda ctx: ctx.load_verify_locations(tmp_path / "others.pem")),
        digest(server, lambda ctx: ctx.load_verify_locations(capath=tmp_path)),
        digest(server, lambda ctx: ctx.load_verify_locations(capath="/")),
        digest(server, lambda ctx: ctx.load_default_certs()),
        digest(server, lambda ctx: ctx.load_cert_chain(*files)),
    ]
    assert len(set(digests)) == len(digests)
    one, other = certificates.ca, tmp_path / "others.pem"
    assert digest(server, lambda ctx: ctx.load_verify_locations(one), lambda ctx: ctx.load_verify_locations(other)) == digest(
        server, lambda ctx: ctx.load_verify_locations(other), lambda ctx: ctx.load_verify_locations(one)
    )


def test_a_digest_follows_each_change(certificates: Any) -> None:
    server = make_server(certificates)
    seen = [server.session_policy]
    server.verify_mode = ssl.CERT_OPTIONAL
    seen.append(server.session_policy)
    server.load_verify_locations(certificates.ca)
    seen.append(server.session_policy)
    assert len(set(seen)) == 3
    server.load_verify_locations(certificates.ca)  # already there
    assert server.session_policy == seen[-1]


def test_what_the_application_calls_itself(base: ev.EventBase, certificates: Any, shared: Shared) -> None:
    client = make_client(certificates, TLS12)
    servers = [shared(make_server(certificates)) for _ in range(3)]
    for server, name in zip(servers, (b"one", bytearray(b"other"), b"one"), strict=True):
        server.set_session_id(name)
        assert server.session_id_context == name
    session = meet(base, servers[0], client).session
    assert not meet(base, servers[1], client, session=session).reused
    assert meet(base, servers[2], client, session=session).reused
    with pytest.raises(ValueError, match="32"):
        servers[0].session_id_context = bytes(33)
    with pytest.raises(TypeError):
        servers[0].session_id_context = "text"  # type: ignore[assignment]
