"""Sessions from stores, and callbacks, that answer later."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import (
    GREETING,
    TLS12,
    TLS13,
    VERSIONS,
    End,
    Meeting,
    close,
    ends,
    make_client,
    make_server,
    meet,
    redis_server,
    ticking,
)
from support import run_until

import pylibevent as ev
from pylibevent.tls import resumption

KEY = bytes(range(32))
both_forms = pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


class ByPool:
    """Another store, asked by other threads."""

    def __init__(self, store: Any, pool: ThreadPoolExecutor) -> None:
        self.store, self.pool = store, pool

    def put(self, id: bytes, data: bytes, ttl: float) -> Future[None]:
        return self.pool.submit(self.store.put, id, data, ttl)

    def get(self, id: bytes) -> Future[bytes | None]:
        return self.pool.submit(self.store.get, id)

    def take(self, id: bytes) -> Future[bytes | None]:
        return self.pool.submit(self.store.take, id)

    def delete(self, id: bytes) -> Future[None]:
        return self.pool.submit(self.store.delete, id)


class ByCoroutines:
    """The same, by coroutines over that."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def put(self, id: bytes, data: bytes, ttl: float) -> None:
        await ev.DeferredAnswer.wrap(self.inner.put(id, data, ttl))

    async def get(self, id: bytes) -> Any:
        return await ev.DeferredAnswer.wrap(self.inner.get(id))

    async def take(self, id: bytes) -> Any:
        return await ev.DeferredAnswer.wrap(self.inner.take(id))

    async def delete(self, id: bytes) -> None:
        await ev.DeferredAnswer.wrap(self.inner.delete(id))


class ByHand:
    """What is asked waits for the test."""

    def __init__(self) -> None:
        self.store = ev.MemorySessionStore()
        self.asked: list[tuple[str, bytes, ev.DeferredAnswer[Any]]] = []

    def _later(self, what: str, id: bytes) -> ev.DeferredAnswer[Any]:
        self.asked.append((what, id, ev.DeferredAnswer()))
        return self.asked[-1][2]

    def put(self, id: bytes, data: bytes, ttl: float) -> Any:
        self.store.put(id, data, ttl)
        return self._later("put", id)

    def get(self, id: bytes) -> Any:
        return self._later("get", id)

    def take(self, id: bytes) -> Any:
        return self._later("take", id)

    def delete(self, id: bytes) -> Any:
        return self._later("delete", id)

    def answer_puts(self) -> None:
        for what, _, answer in self.asked:
            if what == "put" and not answer.done():
                answer.set_result(None)
        self.asked = [entry for entry in self.asked if entry[0] != "put"]


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine any answer may be slow."""
    monkeypatch.setattr(resumption, "LATE", 20.0)


@pytest.fixture(params=["futures", "coroutines", "sealed futures", "sealed coroutines", "redis", "sealed at once"])
def store(request: Any) -> Iterator[Any]:
    if request.param == "sealed at once":
        yield ev.SealedSessionStore(ev.MemorySessionStore(), KEY)
        return
    inner: Any = ev.MemorySessionStore()
    if request.param == "redis":
        inner = ev.RedisSessionStore(request.getfixturevalue("redis_url"), keys=KEY, timeout=5)
    with ThreadPoolExecutor(2) as pool:
        made: Any = ByPool(inner, pool)
        if "coroutines" in request.param:
            made = ByCoroutines(made)
        if "sealed" in request.param:
            made = ev.SealedSessionStore(made, KEY)
        yield made
    if request.param == "redis":
        inner.close()


def with_store(certificates: Any, store: Any) -> ev.TLSContext:
    server = make_server(certificates)
    server.session_store = store
    return server


@both_forms
@both_versions
def test_another_server_resumes(
    base: ev.EventBase, certificates: Any, store: Any, version: ssl.TLSVersion, direct: bool
) -> None:
    one, other = with_store(certificates, store), with_store(certificates, store)
    client = make_client(certificates, version)
    first = meet_in(base, one, client, direct=direct)
    assert not first.reused
    second = meet_in(base, other, client, session=first.session, direct=direct)
    assert second.reused
    assert other.session_stats()["cb_hits"] == 1
    third = meet_in(base, one, client, session=second.session, direct=direct)
    assert third.reused
    again = meet_in(base, other, client, session=first.session, direct=direct)
    assert again.reused == (version == TLS12)  # a TLS 1.3 session is taken once


def meet_in(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, *, direct: bool = False, **options: Any) -> Any:
    """As meet(), in both forms; what is put is there when it returns."""
    if not direct:
        met = meet(base, server, client, **options)
    else:
        fresh: list[ev.TLSSession] = []
        client.on_new_session = lambda bev, session: fresh.append(session)
        pair = socket.socketpair()
        session = options.get("session")
        client_end = End(
            ev.TLSBufferEvent.wrap(
                ev.SocketBufferEvent(base, pair[1]), client, server_hostname="server.test", session=session, direct=True
            )
        )
        server_end = End(ev.TLSBufferEvent.accept(base, pair[0], server, direct=True), GREETING)
        run_until(base, lambda: client_end.got == GREETING)
        reused = client_end.bev.session_reused
        assert reused == server_end.bev.session_reused
        met = Meeting(reused, reused, client_end.bev.session, None, fresh, client_end.bev.version)
        for one in (client_end, server_end):
            one.bev.close()
        client.on_new_session = None
    base.dispatch()  # until all was put
    return met


@both_forms
@both_versions
def test_the_loop_goes_on_meanwhile(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion, direct: bool) -> None:
    store = ByHand()
    server, client = with_store(certificates, store), make_client(certificates, version)
    first = first_meeting(base, server, client, store)
    (what, id, answer), later = offer(base, server, client, store, first.session, direct=direct)
    assert what == ("take" if version == TLS13 else "get")
    quiet = meet(base, make_server(certificates), make_client(certificates, version))
    assert not quiet.reused
    assert [end.events for end in later] == [[], []]
    threading.Thread(target=lambda: answer.set_result(store.store.take(id))).start()
    finish(base, *later, reused=True)
    store.answer_puts()


def first_meeting(base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, store: ByHand) -> Any:
    met = meet(base, server, client)
    store.answer_puts()
    assert store.asked == []
    assert len(store.store) in (1, 2)
    return met


def offer(
    base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, store: Any, session: Any, *, direct: bool = False
) -> tuple[Any, tuple[End, End]]:
    """A client that offers a session: the question, and both ends."""
    pair = socket.socketpair()
    below = ev.SocketBufferEvent(base, pair[1])
    client_end = End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", session=session, direct=direct))
    server_end = End(ev.TLSBufferEvent.accept(base, pair[0], server, direct=direct), GREETING)
    run_until(base, lambda: store.asked)
    return store.asked.pop(), (server_end, client_end)


def finish(base: ev.EventBase, server_end: End, client_end: End, *, reused: bool) -> None:
    run_until(base, lambda: client_end.got == GREETING)
    assert server_end.bev.session_reused == client_end.bev.session_reused == reused
    for end in (client_end, server_end):
        end.bev.abort()


# ---------------------------------------------------------------- stores that don't answer well


def expect_log(caplog: pytest.LogCaptureFixture, text: str) -> None:
    assert text in caplog.text
    assert "handshakes are full ones" in caplog.text
    caplog.clear()


BAD: dict[str, tuple[Callable[[Any], object], str]] = {
    "raises": (lambda answer: answer.set_exception(OSError("down")), "OSError: down"),
    "cancelled": (lambda answer: answer.cancel(), "CancelledError"),
    "wrong kind": (lambda answer: answer.set_result("text"), "gave a str in place of bytes"),
    "garbage": (lambda answer: answer.set_result(bytes(100)), "isn't that session"),
    "empty": (lambda answer: answer.set_result(b""), "isn't that session"),
    "nothing": (lambda answer: answer.set_result(None), ""),
}


@pytest.mark.parametrize("bad", BAD)
@both_versions
def test_bad_answers(
    base: ev.EventBase, certificates: Any, bad: str, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """The handshake is a full one."""
    store = ByHand()
    server, client = with_store(certificates, store), make_client(certificates, version)
    first = first_meeting(base, server, client, store)
    (_, _, answer), later = offer(base, server, client, store, first.session)
    do, text = BAD[bad]
    do(answer)
    finish(base, *later, reused=False)
    assert text in caplog.text
    store.answer_puts()


@both_forms
@both_versions
def test_late_answers(
    base: ev.EventBase,
    certificates: Any,
    version: ssl.TLSVersion,
    direct: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After LATE it is a full handshake, and the store is left alone."""
    store = ByHand()
    server, client = with_store(certificates, store), make_client(certificates, version)
    first = first_meeting(base, server, client, store)
    monkeypatch.setattr(resumption, "LATE", 0.05)
    (_, id, answer), later = offer(base, server, client, store, first.session, direct=direct)
    finish(base, *later, reused=False)
    expect_log(caplog, "gave no answer within 0.05 s to " + ("take" if version == TLS13 else "get"))
    assert answer.cancelled()
    answer.set_result(store.store.get(id))
    assert not meet(base, server, client, session=first.session).reused
    assert store.asked == []


@pytest.mark.parametrize("how", ["raises", "late", "interrupt"])
def test_puts_that_fail(
    base: ev.EventBase, certificates: Any, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go to the log; no handshake waits for them."""
    if how == "late":
        monkeypatch.setattr(resumption, "LATE", 0.05)
    store = ByHand()
    server, client = with_store(certificates, store), make_client(certificates)
    meet(base, server, client)
    assert [what for what, _, _ in store.asked] == ["put", "put"]
    answer = store.asked[0][2]
    if how == "raises":
        answer.set_exception(OSError("full"))
    elif how == "interrupt":
        answer.set_exception(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt), ticking(base):
            run_until(base, lambda: False)
        store.answer_puts()
        return
    with ticking(base):
        run_until(base, lambda: "put" in caplog.text)
    expect_log(caplog, "failed to put: OSError: full" if how == "raises" else "gave no answer within 0.05 s to put")
    store.answer_puts()


def test_deletes(base: ev.EventBase, certificates: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Of a connection that TLS ended with an error."""
    store = ByHand()
    server, client = with_store(certificates, store), make_client(certificates, TLS12)
    server_end, client_end = ends(base, server, client)
    run_until(base, lambda: client_end.got == GREETING)
    store.answer_puts()
    sock = socket.socket(fileno=client_end.bev.fd)
    sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    sock.detach()
    run_until(base, lambda: server_end.ended)
    assert [what for what, _, _ in store.asked] == ["delete"]
    store.asked[0][2].set_exception(OSError("gone"))
    with ticking(base):
        run_until(base, lambda: "gone" in caplog.text)
    expect_log(caplog, "failed to delete: OSError: gone")
    close(base, server_end, client_end)


def test_the_base_is_closed_meanwhile(certificates: Any) -> None:
    """What waits is cancelled: puts too."""
    store = ByHand()
    with ev.EventBase() as base:
        server, client = with_store(certificates, store), make_client(certificates)
        first = meet(base, server, client)
        puts = [answer for _, _, answer in store.asked]
        store.asked = []
        (_, _, answer), _ = offer(base, server, client, store, first.session)
    assert answer.cancelled()
    assert all(put.cancelled() for put in puts)


def test_ends_while_it_waits(base: ev.EventBase, certificates: Any) -> None:
    store = ByHand()
    server, client = with_store(certificates, store), make_client(certificates)
    first = first_meeting(base, server, client, store)
    for which in (0, 1):
        (_, _, answer), later = offer(base, server, client, store, first.session)
        later[which].bev.abort()
        run_until(base, lambda answer=answer: answer.cancelled())
        for end in later:
            end.bev.abort()


# ---------------------------------------------------------------- callbacks


@both_versions
@pytest.mark.parametrize("kind", ["coroutine", "future"])
def test_callbacks(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion, kind: str) -> None:
    """A coroutine function is known beforehand; of another the first answer tells, and is lost."""
    server, client = make_server(certificates), make_client(certificates, version)
    server.session_cache_mode |= ev.SessionCacheMode.NO_INTERNAL_LOOKUP
    kept: dict[bytes, ev.TLSSession] = {}
    server.on_new_session = lambda bev, session: kept.setdefault(session.id, session)
    with ThreadPoolExecutor(1) as pool:

        async def get(bev: ev.TLSBufferEvent, id: bytes) -> ev.TLSSession | None:
            return await ev.DeferredAnswer.wrap(pool.submit(kept.get, id))

        server.on_get_session = get if kind == "coroutine" else lambda bev, id: pool.submit(kept.get, id)
        first = meet(base, server, client)
        second = meet(base, server, client, session=first.session)
        assert second.reused == (kind == "coroutine")
        assert meet(base, server, client, session=second.session).reused


def test_callbacks_after_a_store(base: ev.EventBase, certificates: Any) -> None:
    """They are asked for what the store doesn't have."""
    store = ByHand()
    server, client = with_store(certificates, store), make_client(certificates, TLS12)
    first = first_meeting(base, server, client, store)
    wanted: list[bytes] = []
    session = ev.TLSSession.from_bytes(store.store.get(first.session.id))

    async def get(bev: ev.TLSBufferEvent, id: bytes) -> ev.TLSSession:
        wanted.append(id)
        return session

    server.on_get_session = get
    (_, _, answer), later = offer(base, server, client, store, first.session)
    answer.set_result(None)
    finish(base, *later, reused=True)
    assert wanted == [first.session.id]


def test_callbacks_that_fail(base: ev.EventBase, certificates: Any) -> None:
    """Come out of the loop; the handshake is a full one."""
    server, client = make_server(certificates), make_client(certificates, TLS12)
    server.session_cache_mode |= ev.SessionCacheMode.NO_INTERNAL_LOOKUP
    first = meet(base, server, client)

    async def fail(bev: ev.TLSBufferEvent, id: bytes) -> None:
        raise ZeroDivisionError

    async def give(bev: ev.TLSBufferEvent, id: bytes) -> Any:
        return b"bytes"

    server.on_get_session = lambda bev, id: None
    first = meet(base, server, client)
    for wrong, kind in ((fail, ZeroDivisionError), (give, TypeError)):
        server.on_get_session = wrong
        server_end, client_end = ends(base, server, client, session=first.session)
        with pytest.raises(kind):
            run_until(base, lambda: False)
        run_until(base, lambda client_end=client_end: client_end.got == GREETING)
        assert not client_end.bev.session_reused
        close(base, server_end, client_end)


# ---------------------------------------------------------------- what clients send


@settings(max_examples=60)
@given(data=st.data())
def test_bent_first_messages(certificates: Any, hello: bytes, data: st.DataObject) -> None:
    """Of a client that offers a session: whatever it says, only what can be a number of one is asked for, and few."""
    bent = bytearray(hello)
    n = data.draw(st.integers(0, 3))
    for _ in range(n):
        where = data.draw(st.integers(9, len(bent) - 1))
        bent[where] = data.draw(st.integers(0, 255))
    wanted: list[bytes] = []

    class Recording(ev.MemorySessionStore):
        def get(self, id: bytes) -> Any:
            wanted.append(id)
            return ev.DeferredAnswer.wrap(nothing())

        take = get

    with ev.EventBase() as base:
        server = with_store(certificates, Recording())
        one, other = socket.socketpair()
        with other:
            end = End(ev.TLSBufferEvent.accept(base, one, server))
            other.sendall(bytes(bent))
            other.shutdown(socket.SHUT_WR)
            run_until(base, lambda: end.ended)
            end.bev.abort()
    assert n or len(wanted) == 1
    assert len(wanted) <= 5
    assert all(1 <= len(id) <= 32 for id in wanted)


def nothing() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


@pytest.fixture(scope="module")
def hello(certificates: Any) -> bytes:
    with ev.EventBase() as base:
        server, client = with_store(certificates, ev.MemorySessionStore()), make_client(certificates)
        session = meet(base, server, client).session
        one, other = socket.socketpair()
        below = ev.SocketBufferEvent(base, one)
        with other:
            end = End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", session=session))
            base.loop(ev.LoopFlag.NONBLOCK)
            other.settimeout(20)
            message = other.recv(10000)
            end.bev.abort()
    return message


def test_many_servers_of_one_store(base: ev.EventBase, certificates: Any, rng: random.Random) -> None:
    """Clients that come all at once; answers in any order."""
    store = ByHand()
    servers = [with_store(certificates, store) for _ in range(2)]
    clients = [make_client(certificates, version) for version in VERSIONS for _ in range(5)]
    firsts = [first.session for first in (meet(base, rng.choice(servers), client) for client in clients)]
    store.answer_puts()
    pairs = [ends(base, rng.choice(servers), client, session=first) for client, first in zip(clients, firsts, strict=True)]
    run_until(base, lambda: len(store.asked) == 10)
    rng.shuffle(store.asked)
    for what, id, answer in store.asked:
        answer.set_result(store.store.take(id) if what == "take" else store.store.get(id))
        if rng.random() < 0.5:
            base.loop(ev.LoopFlag.NONBLOCK)
    run_until(base, lambda: all(client.got == GREETING for _, client in pairs))
    assert all(client.bev.session_reused and server.bev.session_reused for server, client in pairs)
    close(base, *(end for pair in pairs for end in pair))


def test_asyncio(base: ev.EventBase, certificates: Any) -> None:
    """A store whose coroutines run in asyncio's loop, in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    inner = ev.MemorySessionStore()

    class ByAsyncio:
        def __getattr__(self, name: str) -> Any:
            if name not in ("put", "get", "take", "delete"):
                raise AttributeError(name)

            async def call(*arguments: Any) -> Any:
                await asyncio.sleep(0)
                return getattr(inner, name)(*arguments)

            return lambda *arguments: asyncio.run_coroutine_threadsafe(call(*arguments), loop)

    try:
        server, client = with_store(certificates, ByAsyncio()), make_client(certificates)
        first = meet_in(base, server, client)
        assert meet_in(base, server, client, session=first.session).reused
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_put_closes_the_base(certificates: Any) -> None:
    """What it waits for then is cancelled."""
    answer: ev.DeferredAnswer[None] = ev.DeferredAnswer()
    ended: list[bool] = []
    base = ev.EventBase()

    class Closing(ev.MemorySessionStore):
        async def put(self, id: bytes, data: bytes, ttl: float) -> None:  # type: ignore[override]
            try:
                base.close()
                await answer
            finally:
                ended.append(True)

    server, client = with_store(certificates, Closing()), make_client(certificates, TLS12)
    pair = ends(base, server, client)
    pair[0].greeting = b""
    run_until_closed(base)
    assert ended == [True]
    assert answer.cancelled()
    assert all(end.bev.closed for end in pair)


def run_until_closed(base: ev.EventBase) -> None:
    while not base.closed:
        base.loop(ev.LoopFlag.ONCE)
