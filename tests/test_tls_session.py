"""TLSSession, and resumption by tickets of a server's own."""

from __future__ import annotations

import contextlib
import copy
import pickle
import socket
import ssl
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import (
    GREETING,
    TLS12,
    TLS13,
    VERSIONS,
    End,
    accept,
    close,
    connect,
    ends,
    make_client,
    make_contexts,
    make_server,
    meet,
    ticking,
)
from support import run_until

import pylibevent as ev
from pylibevent._libevent import lib

BOTH_FORMS = True


@pytest.mark.parametrize("version", VERSIONS)
def test_resumed_on_both_sides(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    server, client = make_contexts(certificates, version)
    first = meet(base, server, client)
    assert not first.reused
    again = meet(base, server, client, session=first.session)
    assert again.reused
    assert again.version == first.version
    assert again.session is not None
    assert meet(base, server, client, session=again.session).reused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_as_bytes_resumes_in_another_context(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    """The context of another process, for what OpenSSL knows."""
    server, client = make_contexts(certificates, version)
    session = meet(base, server, client).session
    assert session is not None
    loaded = ev.TLSSession.from_bytes(session.to_bytes())
    assert loaded == session
    assert hash(loaded) == hash(session)
    assert meet(base, server, make_client(certificates, version), session=loaded).reused


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("options", [ev.Option.CLOSE_ON_FREE | ev.Option.DEFER_CALLBACKS, ev.Option.CLOSE_ON_FREE])
def test_what_a_session_says(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion, options: ev.Option) -> None:
    server, client = make_contexts(certificates, version)
    session = meet(base, server, client, options=options).session
    assert session is not None
    assert session.version == ("TLSv1.2" if version == TLS12 else "TLSv1.3")
    assert session.resumable
    assert session.has_ticket
    assert session.host == "server.test"
    assert session.timeout == 7200
    assert session.ticket_lifetime_hint == 7200
    assert abs(session.time - time.time()) < 60
    assert not session.expired
    assert session.single_use == (version == TLS13)
    assert session.cipher is not None
    assert session.peer_certificate == ssl.PEM_cert_to_DER_cert(open_text(certificates.cert))
    assert len(session.policy) == 32
    assert len(session.id) == 32
    assert session.alpn_protocol is None
    assert repr(session).startswith(f"<TLSSession {session.version} with server.test, resumable, 20")
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="TLSSession"):
            attempt(session)


def open_text(path: str) -> str:
    with open(path) as file:
        text = file.read()
    return text[: text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")]


def test_before_the_handshake_there_is_none(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    server_end, client_end = ends(base, server, client)
    assert client_end.bev.session is None
    assert client_end.bev.context is client
    close(base, server_end, client_end)
    with pytest.raises(ev.ClosedError):
        _ = client_end.bev.session


def test_a_tls13_session_is_resumable_once_the_ticket_has_come(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates, TLS13)
    server.num_tickets = 0
    met = meet(base, server, client)
    assert met.session is not None
    assert not met.session.resumable
    assert "not resumable" in repr(met.session)
    assert met.sessions == []
    assert not meet(base, server, client, session=met.session).reused


@pytest.mark.parametrize("n", [1, 3, 5])
def test_as_many_tickets_as_are_wanted(base: ev.EventBase, certificates: Any, n: int) -> None:
    server, client = make_contexts(certificates, TLS13)
    server.num_tickets = n
    assert server.num_tickets == n
    met = meet(base, server, client)
    assert len(met.sessions) == n
    assert len({session.id for session in met.sessions}) == n
    assert met.sessions[-1] == met.session
    for session in met.sessions:
        again = meet(base, server, client, session=session)
        assert again.reused
        assert len(again.sessions) == 1  # a new one for each that is used


def test_a_flood_of_tickets_is_bounded(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates, TLS13)
    server.num_tickets = 16
    with ev.Listener.bind(base, ("127.0.0.1", 0), lambda listener, sock, address: greet(base, sock, server)) as listener:
        end = End(connect(base, listener.address, client))
        run_until(base, lambda: end.got == GREETING)
        assert client.client_sessions is not None
        assert 0 < len(client.client_sessions) <= 8
        close(base, end)


def test_a_server_that_never_stops_giving_tickets(base: ev.EventBase, certificates: Any) -> None:
    """Each question for a certificate brings sixteen more: neither the client's cache grows, nor what waits for Python."""
    server, client = make_contexts(certificates, TLS13)
    server.num_tickets = 16
    server.load_verify_locations(certificates.ca)
    client.post_handshake_auth = True
    given: list[ev.TLSSession] = []
    client.on_new_session = lambda bev, session: given.append(session)
    servers: list[End] = []

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        servers.append(End(accept(base, sock, server)))

    with ev.Listener.bind(base, ("127.0.0.1", 0), on_accept) as listener:
        end = End(connect(base, listener.address, client))
        run_until(base, lambda: end.connected and servers and servers[0].connected)
        for turn in range(1, 31):
            servers[0].bev.verify_client_post_handshake(required=False)
            servers[0].bev.write(b".")
            run_until(base, lambda turn=turn: len(end.got) == turn)
            end.bev.write(b".")
            run_until(base, lambda turn=turn: len(servers[0].got) == turn)
        assert len(given) > 300
        assert client.client_sessions is not None
        assert 0 < len(client.client_sessions) <= 8
        given.clear()
        close(base, end, *servers)


def greet(base: ev.EventBase, sock: socket.socket, server: ev.TLSContext) -> None:
    bev = accept(base, sock, server)

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.CONNECTED:
            bev.write(GREETING)
        bev.close()

    bev.set_callbacks(event=on_event)
    bev.enable()


class Garbage:
    """Bytes that are no session."""

    NOT_SESSIONS = (b"", b"x", b"\x30\x00", bytes(100), b"\x30\x82\xff\xff" + bytes(50), bytes(65537))


@pytest.mark.parametrize("data", Garbage.NOT_SESSIONS, ids=range(len(Garbage.NOT_SESSIONS)))
def test_bytes_that_are_no_session(data: bytes) -> None:
    with pytest.raises(ValueError, match="to_bytes"):
        ev.TLSSession.from_bytes(data)


def test_bytes_that_are_no_session_leave_nothing_for_the_ssl_module(certificates: Any) -> None:
    """Which takes what it finds in OpenSSL's queue of errors for its own."""
    ctx = ssl.create_default_context(cafile=certificates.ca)
    tls = ctx.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.test")
    for data in Garbage.NOT_SESSIONS:
        with pytest.raises(ValueError, match="to_bytes"):
            ev.TLSSession.from_bytes(data)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_session_or_a_value_error(data: bytes) -> None:
    before = lib.pev_live_handles()
    with contextlib.suppress(ValueError):
        ev.TLSSession.from_bytes(data)
    assert lib.pev_live_handles() == before


def test_a_session_with_something_behind_it_is_refused(base: ev.EventBase, certificates: Any) -> None:
    session = meet(base, *make_contexts(certificates)).session
    assert session is not None
    data = session.to_bytes()
    assert ev.TLSSession.from_bytes(bytearray(data)) == session
    for wrong in (data + b"x", data[:-1], data[1:]):
        with pytest.raises(ValueError, match="to_bytes"):
            ev.TLSSession.from_bytes(wrong)
    for wrong_type in (None, "text", 5):
        with pytest.raises(TypeError):
            ev.TLSSession.from_bytes(wrong_type)  # type: ignore[arg-type]


def test_wrong_sessions_are_said(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    session = meet(base, server, client).session
    one, other = socket.socketpair()
    with other:
        below = ev.SocketBufferEvent(base, one)
        with pytest.raises(ValueError, match="session is for clients"):
            ev.TLSBufferEvent.wrap(below, server, server_side=True, session=session)
        with pytest.raises(TypeError, match="session must be a TLSSession"):
            ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", session=b"x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="isn't made itself"):
            ev.TLSSession()
        below.abort()


# ---------------------------------------------------------------- connect() resumes by itself


class Visits:
    """A server, and what clients that come find."""

    def __init__(self, base: ev.EventBase, server: ev.TLSContext) -> None:
        self.base, self.server = base, server
        self.listener = ev.Listener.bind(base, ("127.0.0.1", 0), lambda listener, sock, address: greet(base, sock, server))

    def visit(self, client: ev.TLSContext, name: str | None = None, **options: Any) -> bool:
        bev = connect(self.base, self.listener.address, client, name, **options)
        end = End(bev)
        run_until(self.base, lambda: end.got == GREETING)
        reused = bev.session_reused
        close(self.base, end)
        return reused


@pytest.mark.parametrize("version", VERSIONS)
def test_connecting_again_resumes(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    server, client = make_contexts(certificates, version)
    visits = Visits(base, server)
    with visits.listener:
        assert [visits.visit(client) for _ in range(5)] == [False, True, True, True, True]
    assert client.session_stats()["hits"] == 4
    assert client.session_stats()["connect_good"] == 5
    assert server.session_stats()["hits"] == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_for_another_name_it_does_not(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    server, client = make_contexts(certificates, version)
    visits = Visits(base, server)
    with visits.listener:
        assert [visits.visit(client, name) for name in ("localhost", "server.test", None, "localhost")] == [False] * 3 + [True]


def test_at_another_port_it_does_not(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    visits, others = Visits(base, server), Visits(base, server)
    with visits.listener, others.listener:
        assert not visits.visit(client, "server.test")
        assert not others.visit(client, "server.test")
        assert visits.visit(client, "server.test")


def test_a_tls13_session_is_used_once(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates, TLS13)
    visits = Visits(base, server)
    with visits.listener:
        visits.visit(client)
        sessions = client.client_sessions
        assert sessions is not None
        (key,) = sessions.keys()
        assert key[:3] == ("127.0.0.1", visits.listener.address[1], "127.0.0.1")
        assert len(sessions) == 2
        one, other = sessions.take(key), sessions.take(key)
        assert one is not None
        assert other is not None
        assert one.id != other.id
        assert sessions.take(key) is None
        assert not visits.visit(client)


def test_a_tls12_session_is_used_again(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates, TLS12)
    visits = Visits(base, server)
    with visits.listener:
        visits.visit(client)
        sessions = client.client_sessions
        assert sessions is not None
        (key,) = sessions.keys()
        assert sessions.take(key) == sessions.take(key)
        assert len(sessions) == 1


def test_without_client_sessions_it_does_not(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    client.client_sessions = None
    assert client.client_sessions is None
    visits = Visits(base, server)
    with visits.listener:
        assert not visits.visit(client)
        assert not visits.visit(client)


def test_two_contexts_of_one_policy_may_share_them(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    other = make_client(certificates)
    other.client_sessions = client.client_sessions
    visits = Visits(base, server)
    with visits.listener:
        assert not visits.visit(client)
        assert visits.visit(other)


def test_a_given_session_goes_first(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    visits = Visits(base, server)
    with visits.listener:
        visits.visit(client)
        assert client.client_sessions is not None
        (key,) = client.client_sessions.keys()
        session = client.client_sessions.take(key)
        client.client_sessions.clear()
        assert len(client.client_sessions) == 0
        assert visits.visit(client, session=session)


def test_expired_sessions_are_not_offered(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    server.session_timeout = 1
    assert server.session_timeout == 1
    visits = Visits(base, server)
    with visits.listener:
        made: list[ev.TLSSession] = []
        client.on_new_session = lambda bev, session: made.append(session)
        visits.visit(client)
        sessions = client.client_sessions
        assert sessions is not None
        keys = sessions.keys()
        kept = made[0]
        with ticking(base):
            run_until(base, lambda: all(session.expired for session in made))
        assert [sessions.take(key) for key in keys] == [None]
        assert sessions.keys() == []
        assert not visits.visit(client, session=kept)


def test_client_sessions_are_bounded(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_contexts(certificates)
    (first, second) = meet(base, server, client).sessions
    sessions = ev.ClientSessions(max_hosts=3, per_host=2)
    keys = [ev.SessionKey("127.0.0.1", port, "server.test", b"") for port in range(1, 6)]
    for key in keys:
        for session in (first, second, first):
            sessions.add(key, session)
    assert len(sessions) == 6
    assert sessions.keys() == keys[2:]
    assert sessions.take(keys[2]) is first
    sessions.add(keys[0], first)  # the one used longest ago goes
    assert sessions.keys() == [keys[4], keys[2], keys[0]]
    sessions.forget(keys[4])
    assert sessions.keys() == [keys[2], keys[0]]
    assert repr(sessions) == "<ClientSessions 2 for 2 hosts>"
    nothing = ev.ClientSessions(max_hosts=0)
    nothing.add(keys[0], first)
    assert nothing.take(keys[0]) is None


@pytest.mark.parametrize(("arguments", "error"), [((-1,), ValueError), ((1, 0), ValueError), (("x",), TypeError)])
def test_bounds_that_are_none(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ev.ClientSessions(*arguments)


def test_a_failed_handshake_forgets_the_session(base: ev.EventBase, certificates: Any) -> None:
    """A server that can't go on with a session must not meet it again and again."""
    server, client = make_contexts(certificates, TLS12)
    visits = Visits(base, server)
    with visits.listener:
        visits.visit(client)
        address = visits.listener.address
    assert client.client_sessions is not None
    assert len(client.client_sessions) == 1

    def on_accept(listener: ev.Listener, sock: socket.socket, peer: Any) -> None:
        bev = ev.SocketBufferEvent(base, sock)
        bev.write(b"\x15\x03\x03\x00\x02\x02\x28")  # a fatal alert: handshake_failure
        bev.close()

    with ev.Listener.bind(base, address, on_accept):
        end = End(connect(base, address, client))
        run_until(base, lambda: end.ended)
        assert isinstance(end.bev.error, ev.TLSError)
        close(base, end)
    assert len(client.client_sessions) == 0


# ---------------------------------------------------------------- python's ssl on the other side


@pytest.mark.parametrize("version", VERSIONS)
def test_pythons_ssl_resumes(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    server = make_server(certificates)
    ctx = ssl.create_default_context(cafile=certificates.ca)
    ctx.minimum_version = ctx.maximum_version = version
    session = None
    for expected in (False, True, True):
        one, other = socket.socketpair()
        server_end = End(accept(base, one, server), GREETING)
        other.setblocking(False)
        with ctx.wrap_socket(other, server_hostname="server.test", do_handshake_on_connect=False, session=session) as sock:
            for step in (sock.do_handshake, lambda sock=sock: sock.read(100)):
                while True:
                    try:
                        step()
                        break
                    except ssl.SSLWantReadError:
                        base.loop(ev.LoopFlag.NONBLOCK)
            assert sock.session_reused is expected
            assert server_end.bev.session_reused is expected
            session = sock.session
        close(base, server_end)
