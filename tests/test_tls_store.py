"""Stores: what all of them keep to, and what each does where its place is damaged, full or away."""

from __future__ import annotations

import copy
import os
import pickle
import socket
import sqlite3
import stat
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import redis_server
from support import GIVE_UP, check_child

import pylibevent as ev

KEY = bytes(range(32))
ID = bytes(range(32))


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


KINDS = ["memory", "sealed", "sqlite", "sqlite unsealed", "redis", "redis unsealed"]


@pytest.fixture(params=KINDS)
def store(request: Any, tmp_path: Path) -> Iterator[Any]:
    kind = request.param
    if kind == "memory":
        yield ev.MemorySessionStore()
    elif kind == "sealed":
        yield ev.SealedSessionStore(ev.MemorySessionStore(), KEY)
    elif kind.startswith("sqlite"):
        made = ev.SQLiteSessionStore(tmp_path / "sessions.db", sealed="unsealed" not in kind)
        yield made
        made.close()
    else:
        over = ev.RedisSessionStore(request.getfixturevalue("redis_url"), keys=None if "unsealed" in kind else KEY)
        yield over
        for id in (ID, b"other"):
            over.delete(id)
        over.close()


def test_a_store_is_a_session_store(store: Any) -> None:
    assert isinstance(store, ev.SessionStore)
    assert repr(store).startswith(f"<{type(store).__name__}")
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=type(store).__name__):
            attempt(store)


def test_what_is_put_is_there(store: Any) -> None:
    assert store.get(ID) is None
    assert store.take(ID) is None
    store.delete(ID)
    store.put(ID, b"data", 60)
    store.put(b"other", b"", 60)
    assert store.get(ID) == b"data"
    assert store.get(ID) == b"data"
    store.put(ID, b"newer", 60)
    assert store.get(ID) == b"newer"
    assert store.get(b"other") == b""
    store.delete(ID)
    assert store.get(ID) is None


def test_what_is_taken_is_given_once(store: Any) -> None:
    store.put(ID, b"data", 60)
    assert store.take(ID) == b"data"
    assert store.take(ID) is None
    assert store.get(ID) is None


def test_what_is_too_old_is_not_there(store: Any) -> None:
    store.put(b"other", b"data", 0.01)
    store.put(ID, b"data", 0.01)
    deadline = time.monotonic() + GIVE_UP
    while store.get(ID) is not None:
        assert time.monotonic() < deadline
    assert store.take(b"other") is None


def test_any_bytes_come_back(store: Any) -> None:
    for data in (b"", b"\0", bytes(range(256)) * 100, os.urandom(65536)):
        store.put(ID, data, 60)
        assert store.get(ID) == data


def test_of_many_threads_one_takes_it(store: Any) -> None:
    store.put(ID, b"data", 60)
    found: list[bytes | None] = []
    gate = threading.Barrier(8)

    def take() -> None:
        gate.wait()
        found.append(store.take(ID))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GIVE_UP)
    assert len(found) == 8
    assert found.count(b"data") == 1


# ---------------------------------------------------------------- memory


def test_memory_is_bounded() -> None:
    store = ev.MemorySessionStore(max_sessions=3)
    for i in range(5):
        store.put(b"%d" % i, b"data", 60)
    store.put(b"2", b"newer", 60)  # is the newest now
    store.put(b"5", b"data", 60)
    assert [store.get(b"%d" % i) for i in range(6)] == [None, None, b"newer", None, b"data", b"data"]
    assert len(store) == 3
    assert repr(store) == "<MemorySessionStore 3 of 3>"
    for wrong, error in ((0, ValueError), ("x", TypeError), (1.5, TypeError)):
        with pytest.raises(error):
            ev.MemorySessionStore(wrong)  # type: ignore[arg-type]


# ---------------------------------------------------------------- sealed


@given(text=st.binary(max_size=200), id=st.binary(max_size=40), at=st.integers(0), bit=st.integers(0, 7))
def test_one_changed_bit_is_as_good_as_nothing(text: bytes, id: bytes, at: int, bit: int) -> None:
    below = ev.MemorySessionStore()
    store = ev.SealedSessionStore(below, KEY)
    store.put(id, text, 60)
    sealed = below.get(id)
    assert sealed is not None
    assert len(sealed) == len(text) + 28
    assert store.get(id) == text
    changed = bytearray(sealed)
    changed[at % len(changed)] ^= 1 << bit
    below.put(id, bytes(changed), 60)
    assert store.get(id) is None
    below.put(id, sealed[: at % len(sealed)], 60)
    assert store.take(id) is None
    below.put(id + b"x", sealed, 60)  # what belongs to another name
    assert store.get(id + b"x") is None


def test_nothing_can_be_read_below() -> None:
    below = ev.MemorySessionStore()
    store = ev.SealedSessionStore(below, KEY)
    store.put(ID, b"very secret", 60)
    first = below.get(ID)
    store.put(ID, b"very secret", 60)
    assert first is not None
    assert b"secret" not in first
    assert below.get(ID) != first  # never the same twice


def test_what_is_sealed_is_aes_gcm() -> None:
    """As another library reads it."""
    import hmac

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    below = ev.MemorySessionStore()
    ev.SealedSessionStore(below, KEY).put(ID, b"data", 60)
    sealed = below.get(ID)
    assert sealed is not None
    key = hmac.digest(KEY, ID, "sha256")
    assert AESGCM(key).decrypt(sealed[:12], sealed[12:], ID) == b"data"
    nonce = bytes(12)
    below.put(ID, nonce + AESGCM(key).encrypt(nonce, b"made elsewhere", ID), 60)
    assert ev.SealedSessionStore(below, KEY).get(ID) == b"made elsewhere"


def test_keys_are_changed_in_two_steps() -> None:
    below = ev.MemorySessionStore()
    old, new = ev.SealedSessionStore.make_key(), ev.SealedSessionStore.make_key()
    assert len(old) == 32
    assert old != new
    ev.SealedSessionStore(below, old).put(ID, b"old", 60)
    both = ev.SealedSessionStore(below, [new, old])
    assert both.get(ID) == b"old"
    both.put(ID, b"new", 60)
    assert ev.SealedSessionStore(below, new).get(ID) == b"new"
    assert ev.SealedSessionStore(below, old).get(ID) is None
    assert both.store is below


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        (b"", ValueError),
        (bytes(31), ValueError),
        (bytes(33), ValueError),
        (bytes(32), ValueError),
        ([], ValueError),
        ([KEY, b"x"], ValueError),
        ("x" * 32, TypeError),
        ([bytearray(KEY)], TypeError),
        (None, TypeError),
        (5, TypeError),
    ],
)
def test_keys_that_are_none(keys: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="keys"):
        ev.SealedSessionStore(ev.MemorySessionStore(), keys)


@pytest.mark.parametrize("wrong", [None, {}, object(), ev.MemorySessionStore, "store"])
def test_what_is_no_store(wrong: Any) -> None:
    with pytest.raises(TypeError, match="SessionStore"):
        ev.SealedSessionStore(wrong, KEY)


# ---------------------------------------------------------------- SQLite


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = ev.SQLiteSessionStore(path)
    store.put(ID, b"very secret", 60)
    made = sorted(tmp_path.iterdir())
    assert [file.name for file in made] == ["sessions.db", "sessions.db-shm", "sessions.db-wal", "sessions.db.key"]
    for file in made:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"secret" not in file.read_bytes()
    store.close()


def test_those_with_the_file_share_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    one, other = ev.SQLiteSessionStore(path), ev.SQLiteSessionStore(str(path))
    one.put(ID, b"data", 60)
    assert other.get(ID) == b"data"
    assert other.take(ID) == b"data"
    assert one.get(ID) is None
    one.put(ID, b"data", 60)
    stranger = ev.SQLiteSessionStore(path, keys=KEY)
    assert stranger.get(ID) is None  # another seal
    assert len(stranger) == 1
    for store in (one, other, stranger):
        store.close()
        store.close()
    again = ev.SQLiteSessionStore(path)
    assert again.get(ID) == b"data"
    again.close()
    assert again.get(ID) == b"data"  # opens it again
    again.close()


def test_a_file_is_bounded_and_purged(tmp_path: Path) -> None:
    store = ev.SQLiteSessionStore(tmp_path / "sessions.db", max_sessions=100)
    for i in range(255):
        store.put(b"%d" % i, b"data", 0.001 if i < 200 else 60)
    assert len(store) == 255
    deadline = time.monotonic() + GIVE_UP
    while store.get(b"199") is not None:
        assert time.monotonic() < deadline
    store.put(b"last", b"data", 60)
    assert len(store) == 56
    for i in range(512):
        store.put(b"more %d" % i, b"data", 90)
    assert len(store) <= 100
    assert store.get(b"more 511") == b"data"
    store.close()


def test_a_child_opens_the_file_itself(tmp_path: Path) -> None:
    code = """
    import os, sys
    import pylibevent as ev
    store = ev.SQLiteSessionStore(sys.argv[1])
    store.put(b"parent", b"1", 60)
    pid = os.fork()
    if pid == 0:
        assert store.get(b"parent") == b"1"
        store.put(b"child", b"2", 60)
        store.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.get(b"child") == b"2"
    assert store.take(b"parent") == b"1"
    store.close()
    """
    check_child(textwrap.dedent(code), str(tmp_path / "sessions.db"))


def test_a_key_file_that_is_damaged_is_said(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    for wrong in (b"", bytes(31), bytes(33)):
        (tmp_path / "sessions.db.key").write_bytes(wrong)
        with pytest.raises(ValueError, match=r"sessions\.db\.key"):
            ev.SQLiteSessionStore(path)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda folder: ev.SQLiteSessionStore(folder / "missing" / "sessions.db"), FileNotFoundError),
        (lambda folder: ev.SQLiteSessionStore(folder), IsADirectoryError),
        (lambda folder: ev.SQLiteSessionStore("a\0b"), ValueError),
        (lambda folder: ev.SQLiteSessionStore(5), TypeError),
        (lambda folder: ev.SQLiteSessionStore(folder / "x", keys=b"short"), ValueError),
        (lambda folder: ev.SQLiteSessionStore(folder / "x", keys=KEY, sealed=False), ValueError),
        (lambda folder: ev.SQLiteSessionStore(folder / "x", timeout=-1), ValueError),
        (lambda folder: ev.SQLiteSessionStore(folder / "x", max_sessions=0), ValueError),
    ],
)
def test_files_that_are_none(tmp_path: Path, make: Callable[[Path], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make(tmp_path)
    assert not list(tmp_path.glob("x*"))


def test_a_file_of_something_else_is_said(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"nothing of the kind" * 1000)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        ev.SQLiteSessionStore(path)


# ---------------------------------------------------------------- Redis


def test_those_with_the_redis_share_it(redis_url: str) -> None:
    import redis

    one, other = ev.RedisSessionStore(redis_url, keys=KEY), ev.RedisSessionStore(redis.Redis.from_url(redis_url), keys=KEY)
    one.put(ID, b"very secret", 60)
    assert other.get(ID) == b"very secret"
    with redis.Redis.from_url(redis_url) as raw:
        value = raw.get(b"pylibevent:session:" + ID)
        assert isinstance(value, bytes)
        assert b"secret" not in value
        assert 59_000 < raw.pttl(b"pylibevent:session:" + ID) <= 60_000
    elsewhere = ev.RedisSessionStore(redis_url, keys=KEY, prefix=b"mine:")
    assert elsewhere.get(ID) is None
    assert other.take(ID) == b"very secret"
    assert one.get(ID) is None
    for store in (one, other, elsewhere):
        store.close()
        store.close()


def test_a_redis_that_is_away_fails_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        store = ev.RedisSessionStore(f"redis://127.0.0.1:{silent.getsockname()[1]}", keys=KEY, timeout=0.05)
        with pytest.raises(Exception, match=r"(?i)timeout"):
            store.get(ID)
        store.close()
        address = silent.getsockname()
    store = ev.RedisSessionStore(f"redis://127.0.0.1:{address[1]}", keys=KEY)
    with pytest.raises(Exception, match=r"(?i)refused"):
        store.put(ID, b"data", 60)
    store.close()


def test_a_redis_is_shown_without_its_password() -> None:
    store = ev.RedisSessionStore("redis://user:secret@db.test:6380/2", keys=None)
    assert repr(store) == "<RedisSessionStore redis://db.test:6380/2>"
    store.close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"url": "http://x"}, ValueError),
        ({"url": 5}, TypeError),
        ({"url": "redis://x", "prefix": "text"}, TypeError),
        ({"url": "redis://x", "timeout": 0}, ValueError),
        ({"url": "redis://x", "keys": b"short"}, ValueError),
    ],
)
def test_redises_that_are_none(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ev.RedisSessionStore(**{"keys": None, **arguments})


def test_without_the_library_it_says_what_to_install() -> None:
    code = """
    import sys
    sys.modules["redis"] = None
    import pylibevent as ev
    try:
        ev.RedisSessionStore("redis://x", keys=None)
    except ImportError as error:
        print(error)
    """
    assert "pip install pylibevent[redis]" in check_child(textwrap.dedent(code))
