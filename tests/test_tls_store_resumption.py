"""Sessions that one server makes and another resumes, through a store; and what becomes of them where the store is bad."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sessions
from sessions import (
    GREETING,
    TLS12,
    TLS13,
    VERSIONS,
    End,
    close,
    connect,
    ends,
    make_client,
    make_server,
    meet,
    redis_server,
    ticking,
)
from support import GIVE_UP, ROOT, run_until

import pylibevent as ev
from pylibevent.tls import resumption

BOTH_FORMS = True

KEY = bytes(range(32))
OPENSSL = shutil.which("openssl")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def with_store(certificates: Any, store: Any) -> ev.TLSContext:
    server = make_server(certificates)
    server.session_store = store
    assert server.session_store is store
    return server


@pytest.fixture(params=["memory", "sealed", "sqlite", "redis"])
def store(request: Any, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield ev.MemorySessionStore()
    elif request.param == "sealed":
        yield ev.SealedSessionStore(ev.MemorySessionStore(), KEY)
    else:
        made: Any
        if request.param == "sqlite":
            made = ev.SQLiteSessionStore(tmp_path / "sessions.db", timeout=1)
        else:
            made = ev.RedisSessionStore(request.getfixturevalue("redis_url"), keys=KEY, timeout=1)
        yield made
        made.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_another_server_resumes(base: ev.EventBase, certificates: Any, store: Any, version: ssl.TLSVersion) -> None:
    one, other = with_store(certificates, store), with_store(certificates, store)
    client = make_client(certificates, version)
    first = meet(base, one, client)
    assert not first.reused
    assert first.session is not None
    second = meet(base, other, client, session=first.session)
    assert second.reused
    third = meet(base, one, client, session=second.session)
    assert third.reused
    assert one.session_stats()["cb_hits"] == 1
    assert one.session_stats()["number"] == 0  # OpenSSL's own cache isn't used
    again = meet(base, other, client, session=first.session)
    assert again.reused == (version == TLS12)  # a TLS 1.3 session is taken once


@pytest.mark.parametrize("version", VERSIONS)
def test_another_store_knows_nothing_of_it(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    client = make_client(certificates, version)
    session = meet(base, with_store(certificates, ev.MemorySessionStore()), client).session
    assert session is not None
    assert not session.has_ticket or version == TLS13
    assert not meet(base, with_store(certificates, ev.MemorySessionStore()), client, session=session).reused
    assert not meet(base, make_server(certificates), client, session=session).reused


def test_without_a_store_again_there_are_tickets(base: ev.EventBase, certificates: Any) -> None:
    server, client = with_store(certificates, ev.MemorySessionStore()), make_client(certificates, TLS12)
    server.session_store = None
    assert server.session_store is None
    session = meet(base, server, client).session
    assert session is not None
    assert session.has_ticket
    assert meet(base, server, client, session=session).reused


def test_it_is_for_servers_and_alone(certificates: Any) -> None:
    with pytest.raises(ValueError, match="servers"):
        make_client(certificates).session_store = ev.MemorySessionStore()
    server = with_store(certificates, ev.MemorySessionStore())
    with pytest.raises(ValueError, match="exclude each other"):
        server.ticket_keys = ev.TicketKeys()
    server.session_store = None
    server.ticket_keys = ev.TicketKeys()
    with pytest.raises(ValueError, match="exclude each other"):
        server.session_store = ev.MemorySessionStore()
    for wrong in ({}, 5, ev.MemorySessionStore):
        with pytest.raises(TypeError, match="SessionStore"):
            server.session_store = wrong  # type: ignore[assignment]


# ---------------------------------------------------------------- how connections end


def end_cleanly(base: ev.EventBase, server: End, client: End) -> None:
    close(base, client, server)


def end_from_the_server(base: ev.EventBase, server: End, client: End) -> None:
    close(base, server, client)


def abort_both(base: ev.EventBase, server: End, client: End) -> None:
    server.bev.abort()
    client.bev.abort()


def end_bare(base: ev.EventBase, server: End, client: End) -> None:
    """The client's stream ends without a close_notify."""
    client.bev.abort()
    run_until(base, lambda: server.ended)
    assert isinstance(server.bev.error, ev.TLSEOFError | OSError)
    close(base, server)


def fail(base: ev.EventBase, server: End, client: End) -> None:
    """A record that doesn't open: a fatal alert."""
    os.write(client.bev.fd, b"\x17\x03\x03\x00\x20" + bytes(32))
    run_until(base, lambda: server.ended)
    assert isinstance(server.bev.error, ev.TLSError)
    assert not isinstance(server.bev.error, ev.TLSEOFError)
    close(base, server, client)


WAYS = [(end_cleanly, True), (end_from_the_server, True), (abort_both, True), (end_bare, True), (fail, False)]


@pytest.mark.parametrize("how", ["store", "cache"])
@pytest.mark.parametrize(("end", "survives"), WAYS, ids=lambda value: getattr(value, "__name__", None))
def test_a_session_survives_every_end_but_an_error(
    base: ev.EventBase, certificates: Any, how: str, end: Callable[[ev.EventBase, End, End], None], survives: bool
) -> None:
    def connection() -> ev.TLSSession | None:
        server_end, client_end = ends(base, server, client)
        run_until(base, lambda: client_end.got == GREETING)
        session = client_end.bev.session
        end(base, server_end, client_end)
        return session

    server, client = make_server(certificates), make_client(certificates, TLS12)
    if how == "store":
        server.session_store = ev.MemorySessionStore()
    else:  # OpenSSL's own
        server.on_get_session = lambda bev, id: None
    session = connection()
    base.loop(ev.LoopFlag.NONBLOCK)  # both are gone now
    assert meet(base, server, client, session=session).reused == survives


# ---------------------------------------------------------------- bad stores


class BadStore:
    """Does something else in place of answering."""

    def __init__(self, answer: Callable[[bytes | None], bytes | None]) -> None:
        self.below = ev.MemorySessionStore()
        self.answer = answer
        self.asked = 0

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        self.below.put(id, data, ttl)

    def get(self, id: bytes) -> bytes | None:
        self.asked += 1
        return self.answer(self.below.get(id))

    def take(self, id: bytes) -> bytes | None:
        return self.get(id)

    def delete(self, id: bytes) -> None:
        self.below.delete(id)

    def __repr__(self) -> str:
        return "<BadStore>"


def down(data: bytes | None) -> bytes | None:
    raise ConnectionRefusedError(111, "refused")


def slow(data: bytes | None) -> bytes | None:
    time.sleep(0.15)
    return None


def flip(data: bytes | None) -> bytes:
    assert data is not None
    return data[:10] + bytes([data[10] ^ 255]) + data[11:]


ANSWERS: dict[str, tuple[Callable[[bytes | None], Any], str]] = {
    "raises": (down, "failed to .*: ConnectionRefusedError"),
    "is slow": (slow, r"took \d+\.\d+ s to"),
    "nothing": (lambda data: b"", "isn't that session"),
    "garbage": (lambda data: b"garbage", "isn't that session"),
    "cut short": (lambda data: (data or b"")[:-1], "isn't that session"),
    "too long": (lambda data: (data or b"") + b"x", "isn't that session"),
    "huge": (lambda data: bytes(10_000_000), "isn't that session"),
    "text": (lambda data: "text", "a str in place of bytes"),
    "a number": (lambda data: 5, "a int in place of bytes"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", ANSWERS)
def test_a_bad_answer_is_a_full_handshake_and_a_line_in_the_log(
    base: ev.EventBase,
    certificates: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    version: ssl.TLSVersion,
    what: str,
) -> None:
    answer, text = ANSWERS[what]
    store = BadStore(answer)
    server, client = with_store(certificates, store), make_client(certificates, version)
    session = meet(base, server, client).session
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "pylibevent"), monkeypatch.context() as patch:
        if what == "is slow":
            patch.setattr(resumption, "SLOW", 0.1)
        again = meet(base, server, client, session=session)
    assert not again.reused
    assert store.asked >= 1
    assert caplog.records
    assert re.search(text, caplog.text)
    store.answer = lambda data: data
    assert server._access is not None
    server._access._closed_until = 0  # a second later
    session = meet(base, server, client).session
    assert meet(base, server, client, session=session).reused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_that_fails_is_left_alone_for_a_second(
    base: ev.EventBase, certificates: Any, caplog: pytest.LogCaptureFixture, version: ssl.TLSVersion
) -> None:
    store = BadStore(down)
    server, client = with_store(certificates, store), make_client(certificates, version)
    sessions = [meet(base, server, client).session for _ in range(3)]
    for session in sessions:
        assert not meet(base, server, client, session=session).reused
    assert store.asked == 1
    assert len(caplog.records) == 1
    assert "isn't asked for 1 s" in caplog.text


def test_swapped_sessions_are_not_taken(base: ev.EventBase, certificates: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = BadStore(lambda data: data)
    server, client = with_store(certificates, store), make_client(certificates, TLS12)
    one, other = meet(base, server, client).server_session, meet(base, server, client)
    assert one is not None
    store.answer = lambda data: one.to_bytes()
    assert not meet(base, server, client, session=other.session).reused
    assert "isn't that session" in caplog.text


def test_a_session_forged_into_a_sealed_store_is_not_there(base: ev.EventBase, certificates: Any) -> None:
    """The seal is the guard: below it, in a store that is open, the same session is taken."""
    below = ev.MemorySessionStore()
    client = make_client(certificates, TLS12)
    one, other = with_store(certificates, ev.MemorySessionStore()), with_store(certificates, below)
    met = meet(base, one, client)
    assert met.server_session is not None
    below.put(met.server_session.id, met.server_session.to_bytes(), 60)
    assert meet(base, other, client, session=met.session).reused
    other.session_store = ev.SealedSessionStore(below, KEY)
    assert not meet(base, other, client, session=met.session).reused


def test_every_flipped_bit_in_a_sealed_store_is_a_full_handshake(base: ev.EventBase, certificates: Any, rng: Any) -> None:
    """Unsealed, some of these are failed handshakes, and some are taken."""
    below = ev.MemorySessionStore()
    server, client = with_store(certificates, ev.SealedSessionStore(below, KEY)), make_client(certificates, TLS12)
    met = meet(base, server, client)
    assert met.session is not None
    sealed = below.get(met.session.id)
    assert sealed is not None
    for _ in range(20):
        changed = bytearray(sealed)
        changed[rng.randrange(len(sealed))] ^= 1 << rng.randrange(8)
        below.put(met.session.id, bytes(changed), 60)
        assert not meet(base, server, client, session=met.session).reused
    below.put(met.session.id, sealed, 60)
    assert meet(base, server, client, session=met.session).reused


def test_what_interrupts_a_store_ends_the_loop(base: ev.EventBase, certificates: Any) -> None:
    """Not an error of the store's: somebody wants to stop."""

    def interrupted(data: bytes | None) -> bytes | None:
        raise KeyboardInterrupt

    server, client = with_store(certificates, BadStore(interrupted)), make_client(certificates)
    session = meet(base, server, client).session
    server_end, client_end = ends(base, server, client, session=session)
    with pytest.raises(KeyboardInterrupt):
        run_until(base, lambda: client_end.got == GREETING)
    run_until(base, lambda: client_end.got == GREETING)
    assert not client_end.bev.session_reused
    close(base, server_end, client_end)


def test_a_full_disk(base: ev.EventBase, certificates: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ev.SQLiteSessionStore(tmp_path / "sessions.db")
    pages = store._table._open().execute("PRAGMA page_count").fetchone()[0]
    store._table._open().execute(f"PRAGMA max_page_count = {pages}")
    with contextlib.suppress(sqlite3.OperationalError):
        for i in range(10_000):
            store.put(b"%d" % i, b"filler", 60)
    server, client = with_store(certificates, store), make_client(certificates, TLS13)
    server.num_tickets = 16
    session = meet(base, server, client).session
    assert "OperationalError: database or disk is full" in caplog.text
    assert not meet(base, server, client, session=session).reused
    store.close()


def test_a_file_that_somebody_holds(
    base: ev.EventBase, certificates: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ev.SQLiteSessionStore(tmp_path / "sessions.db", timeout=0.01)
    server, client = with_store(certificates, store), make_client(certificates, TLS13)
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert not meet(base, server, client).reused
        assert "OperationalError: database is locked" in caplog.text
    store.close()


def test_a_redis_that_ends(base: ev.EventBase, certificates: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = make_client(certificates, TLS12)
    with redis_server() as url:
        store = ev.RedisSessionStore(url, keys=KEY, timeout=1)
        server = with_store(certificates, store)
        session = meet(base, server, client).session
        assert meet(base, server, client, session=session).reused
    assert not meet(base, server, client, session=session).reused
    assert "failed to get" in caplog.text
    store.close()


# ---------------------------------------------------------------- the raw callbacks


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_kept_by_the_caller(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    kept: dict[bytes, ev.TLSSession] = {}
    asked: list[bytes] = []

    def on_new(bev: ev.TLSBufferEvent, session: ev.TLSSession) -> None:
        assert bev.server_side
        kept[session.id] = session

    def on_get(bev: ev.TLSBufferEvent, id: bytes) -> ev.TLSSession | None:
        assert bev.server_side
        asked.append(id)
        return kept.get(id)

    one, other = make_server(certificates), make_server(certificates)
    for server in (one, other):
        server.on_new_session, server.on_get_session = on_new, on_get
        assert (server.on_new_session, server.on_get_session) == (on_new, on_get)
    client = make_client(certificates, version)
    session = meet(base, one, client).session
    assert session is not None
    assert asked == []
    assert kept
    assert meet(base, other, client, session=session).reused
    assert len(asked) == 1
    assert other.session_stats()["cb_hits"] == 1
    kept.clear()
    third = make_server(certificates)
    third.on_get_session = on_get
    assert not meet(base, third, client, session=session).reused


@pytest.mark.parametrize("answer", ["raises", "text", "another"])
def test_a_bad_answer_of_the_callers_is_raised_by_the_loop(base: ev.EventBase, certificates: Any, answer: str) -> None:
    server, client = make_server(certificates), make_client(certificates, TLS12)

    def on_get(bev: ev.TLSBufferEvent, id: bytes) -> Any:
        if answer == "raises":
            raise ZeroDivisionError
        return "text" if answer == "text" else other

    other = meet(base, server, client).server_session
    server.on_get_session = on_get
    server.session_cache_mode = ev.SessionCacheMode.SERVER | ev.SessionCacheMode.NO_INTERNAL_LOOKUP
    session = meet(base, server, client).session
    server_end, client_end = ends(base, server, client, session=session)
    if answer != "another":
        with pytest.raises((ZeroDivisionError, TypeError)):
            run_until(base, lambda: client_end.got == GREETING)
    run_until(base, lambda: client_end.got == GREETING)
    assert not client_end.bev.session_reused
    close(base, server_end, client_end)


def test_what_on_new_session_raises_loses_nothing(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_server(certificates), make_client(certificates, TLS13)
    seen: list[ev.TLSSession] = []

    def on_new(bev: ev.TLSBufferEvent, session: ev.TLSSession) -> None:
        seen.append(session)
        raise ZeroDivisionError

    client.on_new_session = on_new
    server_end, client_end = ends(base, server, client)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run_until(base, lambda: client_end.got == GREETING)
    run_until(base, lambda: client_end.got == GREETING)
    assert len(seen) == 2
    assert client_end.events == [ev.What.CONNECTED]
    close(base, server_end, client_end)


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("options", [ev.Option.CLOSE_ON_FREE, ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE])
def test_closing_the_connection_with_a_new_session(base: ev.EventBase, certificates: Any, how: str, options: ev.Option) -> None:
    server, client = make_server(certificates), make_client(certificates, TLS13)
    server.on_new_session = lambda bev, session: getattr(bev, how)()
    server_end, client_end = ends(base, server, client, options=options)
    run_until(base, lambda: server_end.bev.closed and (client_end.ended or client_end.got))
    close(base, server_end, client_end)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_while_a_session_is_looked_for(base: ev.EventBase, certificates: Any, how: str) -> None:
    """It is closed after the pass, and the peer sees an end."""
    server, client = make_server(certificates), make_client(certificates, TLS13)
    server.on_get_session = lambda bev, id: None
    session = meet(base, server, client).session
    server.on_get_session = lambda bev, id: getattr(bev, how)()
    server.session_cache_mode = ev.SessionCacheMode.SERVER | ev.SessionCacheMode.NO_INTERNAL_LOOKUP
    server_end, client_end = ends(base, server, client, session=session)
    run_until(base, lambda: server_end.bev.closed and client_end.ended)
    close(base, server_end, client_end)


def test_removed_sessions_are_told(base: ev.EventBase, certificates: Any) -> None:
    removed: list[bytes] = []
    server, client = make_server(certificates), make_client(certificates, TLS12)
    server.on_get_session = lambda bev, id: None  # numbers, not tickets

    def on_remove(ctx: Any, session: ev.TLSSession) -> None:
        assert ctx is server
        removed.append(session.id)

    server.on_remove_session = on_remove
    assert server.on_remove_session is on_remove
    sessions = [meet(base, server, client).session for _ in range(3)]
    assert server.session_stats()["number"] == 3
    assert removed == []
    server.flush_sessions()
    assert removed == []
    server.flush_sessions(0)
    assert sorted(removed) == sorted(session.id for session in sessions if session is not None)
    assert server.session_stats()["number"] == 0
    removed.clear()
    server.session_cache_size = 2
    assert server.session_cache_size == 2
    for _ in range(4):
        meet(base, server, client)
    assert removed  # pushed out
    for wrong, error in ((-1, ValueError), ("x", TypeError), (float("nan"), ValueError), (True, TypeError)):
        with pytest.raises(error):
            server.flush_sessions(wrong)  # type: ignore[arg-type]
    server.on_remove_session = None


def test_callbacks_that_are_none(certificates: Any) -> None:
    server, client = make_server(certificates), make_client(certificates)
    for name in ("on_new_session", "on_get_session", "on_remove_session"):
        with pytest.raises(TypeError, match=name):
            setattr(server, name, 5)
        assert getattr(server, name) is None
    with pytest.raises(ValueError, match="servers"):
        client.on_get_session = lambda bev, id: None


# ---------------------------------------------------------------- settings


def test_modes(base: ev.EventBase, certificates: Any) -> None:
    server, client = make_server(certificates), make_client(certificates, TLS12)
    mode = ev.SessionCacheMode
    assert server.session_cache_mode == mode.SERVER
    assert client.session_cache_mode == mode.CLIENT | mode.NO_INTERNAL_LOOKUP | mode.NO_INTERNAL_STORE
    server.on_get_session = lambda bev, id: None
    assert server.set_session_cache_mode(mode.OFF) == mode.SERVER
    assert server.get_session_cache_mode() == mode.OFF
    session = meet(base, server, client).session
    assert not meet(base, server, client, session=session).reused
    server.session_cache_mode = mode.SERVER | mode.NO_AUTO_CLEAR
    session = meet(base, server, client).session
    assert meet(base, server, client, session=session).reused
    for wrong, error in ((0x10000, ValueError), ("x", TypeError), (True, TypeError)):
        with pytest.raises(error):
            server.session_cache_mode = wrong  # type: ignore[assignment]


def test_timeouts_sizes_and_tickets(certificates: Any) -> None:
    server, client = make_server(certificates), make_client(certificates)
    assert server.get_timeout() == 7200
    assert server.set_timeout(60) == 7200
    assert server.session_timeout == 60
    assert server.session_cache_size == 20480
    assert server.num_tickets == 2
    for name, wrong, error in (
        ("session_timeout", 0, ValueError),
        ("session_timeout", 1.5, TypeError),
        ("session_cache_size", -1, ValueError),
        ("num_tickets", 17, ValueError),
        ("num_tickets", -1, ValueError),
    ):
        with pytest.raises(error, match=name):
            setattr(server, name, wrong)
    with pytest.raises(ValueError, match="servers"):
        client.num_tickets = 1
    with pytest.raises(ValueError, match="clients"):
        server.client_sessions = ev.ClientSessions()
    with pytest.raises(TypeError, match="ClientSessions"):
        client.client_sessions = {}  # type: ignore[assignment]


def test_statistics_have_the_names_of_the_ssl_module(certificates: Any) -> None:
    names = set(ssl.create_default_context().session_stats())
    assert set(make_server(certificates).session_stats()) == names | {"cb_hits"}


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("version", VERSIONS)
def test_threads_share_contexts_and_a_store(certificates: Any, version: ssl.TLSVersion) -> None:
    server, client = with_store(certificates, ev.MemorySessionStore()), make_client(certificates, version)
    failed: list[BaseException] = []
    reused: list[bool] = []

    def work() -> None:
        try:
            with ev.EventBase() as base:
                session = None
                for _ in range(15):
                    server_end, client_end = ends(base, server, client, session=session)
                    run_until(base, lambda end=client_end: end.got == GREETING or end.ended)
                    assert client_end.got == GREETING
                    reused.append(client_end.bev.session_reused)
                    session = client_end.bev.session
                    close(base, client_end, server_end)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert len(reused) == 60
    assert reused.count(True) == 56


# ---------------------------------------------------------------- processes


class ServerProcess:
    """tests/session_server.py, running."""

    def __init__(self, certificates: Any, *how: str) -> None:
        form = "direct" if sessions.DIRECT else "over"
        command = [sys.executable, str(ROOT / "tests" / "session_server.py"), certificates.cert, certificates.key, form, *how]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        _, _ = self.process.communicate(timeout=GIVE_UP)
        assert self.process.returncode == 0


def visit(base: ev.EventBase, server: ServerProcess, client: ev.TLSContext, session: ev.TLSSession | None) -> tuple[bytes, Any]:
    bev = connect(base, ("127.0.0.1", server.port), client, "server.test", session=session)
    end = End(bev)
    run_until(base, lambda: end.ended)
    assert end.events == [ev.What.CONNECTED, ev.What.READING | ev.What.EOF]
    got = end.got
    assert bev.session_reused == (got == b"resumed\n")
    after = bev.session
    close(base, end)
    return got, after


def how_to_share(kind: str, tmp_path: Path, request: Any) -> list[str]:
    if kind == "redis":
        return ["redis", request.getfixturevalue("redis_url"), os.urandom(32).hex()]
    if kind == "tickets":
        return ["tickets", ev.TicketKeys.make_key().hex(), ev.TicketKeys.make_key().hex()]
    return [kind, str(tmp_path / "sessions.db")]


SHARING = ["sqlite", "redis", "tickets", "store-tickets"]


@pytest.mark.parametrize("kind", SHARING)
def test_another_process_resumes(base: ev.EventBase, certificates: Any, tmp_path: Path, request: Any, kind: str) -> None:
    how = how_to_share(kind, tmp_path, request)
    with ServerProcess(certificates, *how) as one, ServerProcess(certificates, *how) as other:
        for version in VERSIONS:
            client = make_client(certificates, version)
            client.client_sessions = None
            session = None
            answers = []
            for server in (one, other, one, other):
                answer, session = visit(base, server, client, session)
                answers.append(answer)
            assert answers == [b"full\n", b"resumed\n", b"resumed\n", b"resumed\n"], version


@pytest.mark.skipif(OPENSSL is None, reason="openssl isn't installed")
@pytest.mark.parametrize("direct_form", [False, True], ids=["over", "direct"], indirect=True)
@pytest.mark.parametrize("kind", SHARING)
def test_openssl_s_client_resumes(certificates: Any, tmp_path: Path, request: Any, kind: str) -> None:
    how = how_to_share(kind, tmp_path, request)
    with ServerProcess(certificates, *how) as one, ServerProcess(certificates, *how) as other:
        for version in ("-tls1_2", "-tls1_3"):
            session = str(tmp_path / f"session{version}.pem")
            first = s_client(certificates, one, version, "-sess_out", session)
            assert "\nNew, TLSv1" in first
            assert "\nfull\n" in first
            second = s_client(certificates, other, version, "-sess_in", session, "-sess_out", session)
            assert "\nReused, TLSv1" in second
            assert "\nresumed\n" in second
            assert "\nresumed\n" in s_client(certificates, one, version, "-sess_in", session)


def s_client(certificates: Any, server: ServerProcess, *options: str) -> str:
    """What openssl s_client says until the server closes."""
    done = subprocess.run(
        [
            *(str(OPENSSL), "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "server.test", "-ign_eof"),
            *("-CAfile", certificates.ca, "-verify_return_error", *options),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=GIVE_UP,
        check=False,
    )
    assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(OPENSSL is None, reason="openssl isn't installed")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_resumes_with_openssl_s_server(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion) -> None:
    command = [str(OPENSSL), "s_server", "-accept", "127.0.0.1:0", "-cert", certificates.cert, "-key", certificates.key]
    process = subprocess.Popen(
        [*command, "-www"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = next(int(line.rpartition(":")[2]) for line in process.stdout if line.startswith("ACCEPT"))
        client = make_client(certificates, version)
        found = []
        for _ in range(3):
            bev = connect(base, ("127.0.0.1", port), client, "server.test")
            end = End(bev)
            bev.write(b"GET / HTTP/1.0\r\n\r\n")
            with ticking(base):
                run_until(base, lambda end=end: end.ended)
            found.append((bev.session_reused, b"Reused, TLSv1" in end.got, b"New, TLSv1" in end.got))
            close(base, end)
        assert found == [(False, False, True), (True, True, False), (True, True, False)]
    finally:
        process.kill()
        process.communicate()
