"""TicketKeys: the ring, its rotation, and how processes share it."""

from __future__ import annotations

import copy
import itertools
import logging
import pickle
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sessions import TLS12, TLS13, VERSIONS, close, ends, make_client, make_server, meet
from support import run_until

import pylibevent as ev
from pylibevent.tls import tickets

BOTH_FORMS = True

NEW = ev.TicketKeys.make_key


def with_keys(certificates: Any, keys: ev.TicketKeys | None) -> ev.TLSContext:
    server = make_server(certificates)
    server.ticket_keys = keys
    assert server.ticket_keys is keys
    return server


def test_keys_are_random_and_kept_in_order() -> None:
    assert len(NEW()) == 80
    assert NEW() != NEW()
    made = [NEW() for _ in range(16)]
    assert ev.TicketKeys(made).keys == tuple(made)
    assert ev.TicketKeys(iter(made[:2])).keys == tuple(made[:2])
    assert len(ev.TicketKeys().keys) == 1
    assert repr(ev.TicketKeys(made)) == "<TicketKeys 16>"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"keys": []}, ValueError),
        ({"keys": [b"short"]}, ValueError),
        ({"keys": [bytes(80), bytes(80)]}, ValueError),
        ({"keys": [NEW() for _ in range(17)]}, ValueError),
        ({"keys": NEW()}, TypeError),
        ({"keys": ["x" * 80]}, TypeError),
        ({"keys": 5}, TypeError),
        ({"keys": [NEW()], "store": ev.MemorySessionStore()}, ValueError),
        ({"store": {}}, TypeError),
        ({"rotation": 0}, ValueError),
        ({"rotation": 0.5}, ValueError),
        ({"rotation": "x"}, TypeError),
        ({"keep": 1}, ValueError),
        ({"keep": 16}, ValueError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "-".join(value),
)
def test_keys_that_are_none(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ev.TicketKeys(**arguments)


def test_they_are_neither_copied_nor_shown() -> None:
    keys = ev.TicketKeys()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="TicketKeys"):
            attempt(keys)
    assert keys.keys[0].hex() not in repr(keys)


def test_where_they_can_be_set(certificates: Any) -> None:
    with pytest.raises(ValueError, match="servers"):
        make_client(certificates).ticket_keys = ev.TicketKeys()
    for wrong in ([NEW()], 5, ev.TicketKeys):
        with pytest.raises(TypeError, match="TicketKeys"):
            make_server(certificates).ticket_keys = wrong  # type: ignore[assignment]


@pytest.mark.parametrize("version", VERSIONS)
def test_servers_with_the_same_keys_take_each_others_tickets(
    base: ev.EventBase, certificates: Any, version: ssl.TLSVersion
) -> None:
    made = [NEW(), NEW()]
    one, other = (with_keys(certificates, ev.TicketKeys(made)) for _ in range(2))
    client = make_client(certificates, version)
    first = meet(base, one, client)
    assert first.session is not None
    assert first.session.has_ticket
    second = meet(base, other, client, session=first.session)
    assert second.reused
    third = meet(base, one, client, session=second.session)
    assert third.reused
    assert not meet(base, with_keys(certificates, ev.TicketKeys()), client, session=third.session).reused
    assert not meet(base, make_server(certificates), client, session=third.session).reused


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_key_opens_and_the_client_gets_a_ticket_of_the_new_one(
    base: ev.EventBase, certificates: Any, version: ssl.TLSVersion
) -> None:
    keys = ev.TicketKeys([NEW()])
    server, client = with_keys(certificates, keys), make_client(certificates, version)
    session = meet(base, server, client).session
    keys.rotate()
    assert len(keys.keys) == 2
    again = meet(base, server, client, session=session)
    assert again.reused
    assert keys.counts["renewed"] == 1
    keys.replace(keys.keys[:1])  # the old one is forgotten
    assert not meet(base, server, client, session=session).reused
    assert keys.counts["unknown"] == 1
    last = meet(base, server, client, session=again.session)
    assert last.reused
    assert keys.counts["opened"] == 1
    assert keys.counts["renewed"] == 1


def test_tickets_under_tls13_are_exchanged_each_time(base: ev.EventBase, certificates: Any) -> None:
    server, client = with_keys(certificates, ev.TicketKeys()), make_client(certificates, TLS13)
    met = meet(base, server, client)
    assert len(met.sessions) == 2
    for _ in range(5):
        met = meet(base, server, client, session=met.session)
        assert met.reused
        assert len(met.sessions) == 1


def test_rotation_keeps_some() -> None:
    keys = ev.TicketKeys(keep=3)
    (first,) = keys.keys
    keys.rotate()
    keys.rotate()
    assert keys.keys[2] == first
    mine = NEW()
    keys.rotate(mine)
    assert keys.keys[0] == mine
    assert len(keys.keys) == 3
    assert first not in keys.keys
    keys.rotate(keys.keys[2])  # one that is there comes to the front
    assert len(keys.keys) == 3
    assert keys.keys[1] == mine
    with pytest.raises(ValueError, match="80"):
        keys.rotate(b"short")
    with pytest.raises(ValueError, match="keys"):
        keys.replace([])


def test_they_rotate_by_themselves(base: ev.EventBase, certificates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(tickets.time, "monotonic", lambda: now)
    keys, given = ev.TicketKeys(rotation=60), ev.TicketKeys([NEW()])
    servers = [with_keys(certificates, keys), with_keys(certificates, given)]
    client = make_client(certificates, TLS12)
    sessions = [meet(base, server, client).session for server in servers]
    assert len(keys.keys) == 1
    now += 61
    for server, session in zip(servers, sessions, strict=True):
        assert meet(base, server, client, session=session).reused
    assert len(keys.keys) == 2
    assert keys.counts["renewed"] == 1
    assert len(given.keys) == 1  # those are the caller's


def test_without_keys_again_the_context_has_its_own(base: ev.EventBase, certificates: Any) -> None:
    keys = ev.TicketKeys()
    server, client = with_keys(certificates, keys), make_client(certificates, TLS12)
    session = meet(base, server, client).session
    server.ticket_keys = None
    assert not meet(base, server, client, session=session).reused
    session = meet(base, server, client).session
    assert meet(base, server, client, session=session).reused
    assert keys.counts == {"issued": 1, "opened": 0, "renewed": 0, "unknown": 0}


def test_a_connection_keeps_its_keys(base: ev.EventBase, certificates: Any) -> None:
    """The context and the keys are gone before the handshake is done."""
    server = with_keys(certificates, ev.TicketKeys())
    server_end, client_end = ends(base, server, make_client(certificates))
    server.ticket_keys = None
    del server
    run_until(base, lambda: client_end.got)
    close(base, server_end, client_end)


# ---------------------------------------------------------------- shared through a store


class Clock:
    """Time, as tickets.py sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000_020.0
        monkeypatch.setattr(tickets.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(tickets.time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_all_with_the_store_have_the_same_keys(base: ev.EventBase, certificates: Any, tmp_path: Path) -> None:
    stores = [ev.SQLiteSessionStore(tmp_path / "sessions.db") for _ in range(2)]
    one, other = (ev.TicketKeys(store=store) for store in stores)
    assert one.keys == other.keys
    assert len(one.keys) == 2  # of now, and of what comes next
    client = make_client(certificates)
    session = meet(base, with_keys(certificates, one), client).session
    assert meet(base, with_keys(certificates, other), client, session=session).reused
    for change in (one.rotate, lambda: one.replace([NEW()])):
        with pytest.raises(ValueError, match="store"):
            change()
    for store in stores:
        store.close()


def test_slots_follow_each_other(clock: Clock) -> None:
    store = ev.MemorySessionStore()
    one, other = (ev.TicketKeys(store=store, rotation=100, keep=3) for _ in range(2))
    seen = [one.keys]
    for _ in range(5):
        clock.now += 100
        one.refresh()
        other.refresh()
        assert one.keys == other.keys
        seen.append(one.keys)
    for before, after in itertools.pairwise(seen):
        assert after[0] == before[1]  # what comes next was known before
        assert before[0] in after
    assert len(seen[-1]) == 4
    assert seen[0][0] not in seen[-1]


def test_clocks_that_disagree_do_no_harm(base: ev.EventBase, certificates: Any, clock: Clock) -> None:
    store = ev.MemorySessionStore()
    slow = ev.TicketKeys(store=store, rotation=100)
    clock.now += 100
    fast = ev.TicketKeys(store=store, rotation=100)
    clock.now -= 100
    assert slow.keys[0] != fast.keys[0]
    client = make_client(certificates)
    servers = [with_keys(certificates, keys) for keys in (slow, fast)]
    for _ in range(3):
        for one, other in (servers, servers[::-1]):
            session = meet(base, one, client).session
            assert meet(base, other, client, session=session).reused


class Racing(ev.MemorySessionStore):
    """Somebody else puts a key right after each of ours."""

    racing = True

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        super().put(id, data, ttl)
        if self.racing:
            self.racing = False
            self.after = id, NEW(), ttl


def test_of_two_that_make_a_key_at_once_one_follows(clock: Clock) -> None:
    store = Racing()
    keys = ev.TicketKeys(store=store, rotation=100)
    mine = keys.keys[0]
    store.put(*store.after)
    assert keys.keys[0] == mine
    keys.refresh()
    assert keys.keys[0] == store.after[1]
    assert mine in keys.keys  # the tickets that were given out meanwhile


def test_after_making_a_key_it_looks_again_soon(base: ev.EventBase, certificates: Any, clock: Clock) -> None:
    """Servers that are started together make their keys together."""
    store = Racing()
    keys = ev.TicketKeys(store=store)
    store.put(*store.after)
    clock.now += 0.05
    meet(base, with_keys(certificates, keys), make_client(certificates))
    assert keys.keys[0] == store.after[1]
    looked: list[bytes] = []
    store.get = lambda id, get=store.get: looked.append(id) or get(id)  # type: ignore[assignment, misc]
    clock.now += 10
    for _ in range(3):
        meet(base, with_keys(certificates, keys), make_client(certificates))
        clock.now += 1
    assert len(looked) == len(set(looked))  # it has settled


def test_it_looks_again_by_itself(base: ev.EventBase, certificates: Any, clock: Clock) -> None:
    store = ev.MemorySessionStore()
    keys = ev.TicketKeys(store=store, rotation=1000)
    before = keys.keys
    server, client = with_keys(certificates, keys), make_client(certificates)
    clock.now += 1000
    meet(base, server, client)
    assert keys.keys[0] == before[1]


class Broken:
    """A store that has nothing good to say."""

    def __init__(self) -> None:
        self.answer: Any = None

    def get(self, id: bytes) -> Any:
        if self.answer == "refuse":
            raise ConnectionRefusedError("refused")
        return self.answer

    take = get

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        pass

    def delete(self, id: bytes) -> None:
        pass

    def __repr__(self) -> str:
        return "<Broken>"


@pytest.mark.parametrize("answer", ["refuse", None, b"short", "text", 5], ids=str)
def test_a_bad_store_leaves_the_keys_as_they_are(
    base: ev.EventBase, certificates: Any, clock: Clock, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    store = Broken()
    store.answer = answer
    with caplog.at_level(logging.WARNING, "pylibevent"):
        keys = ev.TicketKeys(store=store, rotation=1000)
    assert "ticket keys: <Broken> failed" in caplog.text
    assert len(keys.keys) == 1
    before = keys.keys
    server, client = with_keys(certificates, keys), make_client(certificates)
    clock.now += 100
    session = meet(base, server, client).session
    assert meet(base, server, client, session=session).reused
    assert keys.keys == before
    assert len(caplog.records) == 2


def test_a_store_that_forgets_gets_the_keys_again(clock: Clock) -> None:
    store = ev.MemorySessionStore()
    keys = ev.TicketKeys(store=store)
    before = keys.keys
    store._kept.clear()
    keys.refresh()
    assert keys.keys == before
    assert ev.TicketKeys(store=store).keys == before


def test_threads_share_them_while_they_change(certificates: Any) -> None:
    keys = ev.TicketKeys(keep=15)
    server, client = with_keys(certificates, keys), make_client(certificates)
    failed: list[BaseException] = []
    reused: list[bool] = []
    done = threading.Event()

    def work() -> None:
        try:
            with ev.EventBase() as base:
                session = None
                for _ in range(10):
                    met = meet_quietly(base, server, client, session)
                    reused.append(met[0])
                    session = met[1]
        except BaseException as error:
            failed.append(error)

    def rotate() -> None:
        while not done.wait(0.005):
            keys.rotate()

    threads = [threading.Thread(target=work) for _ in range(3)]
    rotator = threading.Thread(target=rotate)
    for thread in (*threads, rotator):
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    rotator.join(60)
    assert not failed
    assert len(reused) == 30
    assert any(reused)


def meet_quietly(
    base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, session: ev.TLSSession | None
) -> tuple[bool, ev.TLSSession | None]:
    """meet() sets a callback of the context, which threads share."""
    server_end, client_end = ends(base, server, client, session=session)
    run_until(base, lambda: client_end.got)
    found = client_end.bev.session_reused, client_end.bev.session
    close(base, client_end, server_end)
    return found
