"""SQLiteSessionStore: sessions in a file, for the processes of one machine.

SQLite takes some 0.01 to 0.06 ms for an answer. What is kept is worth little after a crash of the machine, so nothing waits
for the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable
from typing import Any, TypeAlias

from .._handle import NoCopy
from ..errors import check_int, check_seconds
from .store import KEY_SIZE, MAX_SESSIONS, SealedSessionStore, check_keys

Path: TypeAlias = "str | os.PathLike[str]"

_PURGE_EVERY = 256  # OpenSSL flushes its own cache as often

_SCHEMA = "CREATE TABLE IF NOT EXISTS sessions (id BLOB PRIMARY KEY, data BLOB NOT NULL, until REAL NOT NULL) WITHOUT ROWID"
_PUT = "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)"
_GET = "SELECT data FROM sessions WHERE id = ? AND until > ?"
_TAKE = "DELETE FROM sessions WHERE id = ? RETURNING data, until"
_DELETE = "DELETE FROM sessions WHERE id = ?"
_PURGE = "DELETE FROM sessions WHERE until <= ?"
_TRIM = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions ORDER BY until DESC LIMIT -1 OFFSET ?)"


class SQLiteSessionStore(NoCopy):
    """Sessions in an SQLite file, which several processes may use at once. They are sealed (SealedSessionStore).

    Args:
        path: The file; made, with mode 0600, where it isn't there. Not on a network file system.
        keys: The keys of the seal, as SealedSessionStore takes them. None: one that stands in a file of the same name and
            ``.key``, made with mode 0600 where it isn't there.
        sealed: False: sessions are kept as they are, and whoever can write the file can be any client.
        timeout: How many seconds another process that writes is waited for, from 0 to 1e9. The loop waits too.
        max_sessions: How many are kept, more or less; those that end first go first.

    Raises:
        OSError: A file can't be made or read.
        sqlite3.Error: It isn't such a file.
    """

    def __init__(
        self,
        path: Path,
        *,
        keys: bytes | Iterable[bytes] | None = None,
        sealed: bool = True,
        timeout: float = 0.05,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        if sqlite3.sqlite_version_info < (3, 35):
            raise RuntimeError(f"SQLite must be 3.35 or later, not {sqlite3.sqlite_version}")
        if keys is not None and not sealed:
            raise ValueError("keys are for a store that is sealed")
        self._path = os.fspath(path)
        if not isinstance(self._path, str) or "\0" in self._path:
            raise ValueError(f"path must be a str without zero characters, not {path!r}")
        timeout = check_seconds(timeout, "timeout")
        most = check_int(max_sessions, "max_sessions", 1, 2**31 - 1)
        given = check_keys(keys) if keys is not None else None
        self._table = _Table(self._path, timeout, most)
        self._inner: _Table | SealedSessionStore = self._table
        if sealed:
            self._inner = SealedSessionStore(self._table, given or key_in_file(f"{self._path}.key"))

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        """Keep a session for so many seconds."""
        self._inner.put(id, data, ttl)

    def get(self, id: bytes) -> bytes | None:
        """The session, or None."""
        return self._inner.get(id)

    def take(self, id: bytes) -> bytes | None:
        """The session, or None; of several processes one gets it."""
        return self._inner.take(id)

    def delete(self, id: bytes) -> None:
        """Forget a session."""
        self._inner.delete(id)

    def close(self) -> None:
        """Close the file; what comes after opens it again. Idempotent."""
        self._table.close()

    def __len__(self) -> int:
        return self._table.count()

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<SQLiteSessionStore {self._path!r}>"


class _Table:
    """The table, as a store. Its connection belongs to one process: a child that was forked opens its own."""

    def __init__(self, path: str, timeout: float, most: int) -> None:
        self._path, self._timeout, self._most = path, timeout, most
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._puts = 0
        self.count()

    def _open(self) -> sqlite3.Connection:
        if self._db is not None and self._pid == os.getpid():
            return self._db
        if self._path != ":memory:":
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            db.execute(_SCHEMA)
        except BaseException:
            db.close()
            raise
        if self._db is not None:
            _parents.append(self._db)  # closing it here would take the parent's locks away
        self._db, self._pid = db, os.getpid()
        return db

    def _do(self, statement: str, *values: Any) -> Any:
        if self._pid != os.getpid():
            self._lock = threading.Lock()  # another thread may have held the parent's when it forked
        with self._lock:
            cursor = self._open().execute(statement, values)
            try:
                return cursor.fetchone()
            finally:
                cursor.close()

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        self._do(_PUT, id, data, time.time() + ttl)
        self._puts += 1
        if self._puts % _PURGE_EVERY == 0:
            self._do(_PURGE, time.time())
            self._do(_TRIM, self._most)

    def get(self, id: bytes) -> bytes | None:
        row = self._do(_GET, id, time.time())
        return row[0] if row is not None else None

    def take(self, id: bytes) -> bytes | None:
        row = self._do(_TAKE, id)
        return row[0] if row is not None and row[1] > time.time() else None

    def delete(self, id: bytes) -> None:
        self._do(_DELETE, id)

    def count(self) -> int:
        return int(self._do("SELECT count(*) FROM sessions")[0])

    def close(self) -> None:
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
                self._db = None

    def __repr__(self) -> str:
        return f"<the table of {self._path!r}>"

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


_parents: list[sqlite3.Connection] = []


def key_in_file(path: str) -> bytes:
    """The key that stands in a file, which is made where it isn't there."""
    new = f"{path}.{os.getpid()}.{threading.get_ident()}"
    if not os.path.exists(path):
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(SealedSessionStore.make_key())
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(new, path)
        finally:
            os.unlink(new)
    with open(path, "rb") as file:
        key = file.read(KEY_SIZE + 1)
    if len(key) != KEY_SIZE:
        raise ValueError(f"{path!r} must hold a key of {KEY_SIZE} bytes, not {len(key)}")
    return key


__all__ = ["SQLiteSessionStore"]
