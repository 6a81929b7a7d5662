"""Sessions where a client's name leads to another context: each name's policy is its own."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from sessions import VERSIONS, close, ends, issue, make_client, make_server, meet
from support import run_until

import pylibevent as ev


class Servers:
    """One context for all, and one for the name b.test, which requires certificates."""

    def __init__(self, certificates: Any, folder: Path, share: str) -> None:
        files = issue(folder, certificates.authority, "b.test", "server.test")
        self.strict = ev.TLSContext.server(*files, client_ca=certificates.ca)
        self.first = make_server(certificates)
        self.first.sni = {"b.test": self.strict}
        if share == "tickets":
            self.first.ticket_keys = self.strict.ticket_keys = ev.TicketKeys()
        elif share == "store":
            self.first.session_store = self.strict.session_store = ev.MemorySessionStore()


@pytest.mark.parametrize("share", ["own tickets", "tickets", "store"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_another_name_does_not_pass_for_a_certificate(
    base: ev.EventBase, certificates: Any, tmp_path: Path, version: ssl.TLSVersion, share: str
) -> None:
    """A client without a certificate, that doesn't care about names, resumes where one is required."""
    servers = Servers(certificates, tmp_path, share)
    client = make_client(certificates, version)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    session = meet(base, servers.first, client, "server.test").session
    assert session is not None
    policy = client._key_for("", 0, b"b.test", is_address=False, check_host=False).policy
    forged = ev.TLSSession.from_bytes(session.to_bytes().replace(session.policy, policy))
    server_end, client_end = ends(base, servers.first, client, "b.test", forged)
    run_until(base, lambda: server_end.ended and client_end.ended)
    assert server_end.bev.error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    close(base, server_end, client_end)


@pytest.mark.parametrize("share", ["own tickets", "tickets", "store"])
@pytest.mark.parametrize("version", VERSIONS)
def test_under_its_own_name_it_is_resumed(
    base: ev.EventBase, certificates: Any, tmp_path: Path, version: ssl.TLSVersion, share: str
) -> None:
    servers = Servers(certificates, tmp_path, share)
    cert, key = issue(tmp_path, certificates.authority, "client.test")
    client = make_client(certificates, version, certfile=cert, keyfile=key)
    session = meet(base, servers.first, client, "b.test").session
    again = meet(base, servers.first, client, "b.test", session)
    assert again.reused
    assert again.server_session is not None
    assert again.server_session.peer_certificate is not None
