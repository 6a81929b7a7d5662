"""Where a server's sessions are kept, so that another process can take them: what a store is, the one in memory, and the seal.

What every store keeps to:

* It is asked while a handshake waits, in the loop's thread: it answers at once, or gives something to wait for (deferred.py),
  so that the loop goes on, or gives up. What it raises goes to the log, and the handshake is a full one; after that it is left
  alone for a second (resumption.py).
* ``take`` gives a session to one caller only: the second user of a TLS 1.3 session gets a full handshake.
* Whoever can write it can make sessions, and so be anybody: a store outside of the process is sealed.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol, cast, runtime_checkable

from .._handle import NoCopy
from .._libevent import ffi, lib
from ..errors import check, check_int
from .deferred import Answer, arrived, is_deferred

MAX_SESSIONS = 20 * 1024
"""How many sessions are kept. What OpenSSL's own cache holds is as many (SSL_SESSION_CACHE_MAX_SIZE_DEFAULT)."""

KEY_SIZE = lib.PEV_SEAL_KEY


@runtime_checkable
class SessionStore(Protocol):
    """Keeps bytes by name, for some time. Used by several threads at once if several loops share a context."""

    def put(self, id: bytes, data: bytes, ttl: float) -> Answer[None]:
        """Keep these bytes, in place of those of the same name, for so many seconds.

        Args:
            id: The name: at most 32 bytes for a session.
            data: The bytes, some 200 to 4000 for a session.
            ttl: Seconds, above 0, after which nobody gets them any more.
        """

    def get(self, id: bytes) -> Answer[bytes | None]:
        """What is kept by the name ``id``, or None."""

    def take(self, id: bytes) -> Answer[bytes | None]:
        """What is kept by the name ``id``, which isn't kept any longer; of several callers one gets it."""

    def delete(self, id: bytes) -> Answer[None]:
        """Don't keep what has the name ``id`` any longer; nothing if it isn't there."""


class PromptStore(Protocol):
    """A SessionStore that answers at once."""

    def put(self, id: bytes, data: bytes, ttl: float) -> None: ...
    def get(self, id: bytes) -> bytes | None: ...
    def take(self, id: bytes) -> bytes | None: ...
    def delete(self, id: bytes) -> None: ...


class MemorySessionStore(NoCopy):
    """Sessions in this process's memory, for contexts and threads that share them.

    Args:
        max_sessions: How many at most; the oldest goes first.
    """

    def __init__(self, max_sessions: int = MAX_SESSIONS) -> None:
        self._most = check_int(max_sessions, "max_sessions", 1, 2**31 - 1)
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        """Keep the bytes ``data`` of the session ``id`` for ``ttl`` seconds."""
        with self._lock:
            self._kept.pop(id, None)
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[id] = data, time.monotonic() + ttl

    def get(self, id: bytes) -> bytes | None:
        """The bytes of the session ``id``, or None."""
        with self._lock:
            return self._alive(self._kept.get(id))

    def take(self, id: bytes) -> bytes | None:
        """The bytes of the session ``id``, or None; they are given once."""
        with self._lock:
            return self._alive(self._kept.pop(id, None))

    def delete(self, id: bytes) -> None:
        """Forget the session ``id``."""
        with self._lock:
            self._kept.pop(id, None)

    @staticmethod
    def _alive(found: tuple[bytes, float] | None) -> bytes | None:
        return found[0] if found is not None and time.monotonic() < found[1] else None

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<MemorySessionStore {len(self._kept)} of {self._most}>"


class SealedSessionStore(NoCopy):
    """Sessions sealed with AES-256-GCM before another store gets them.

    Whoever can read that store learns nothing, and what somebody else wrote, changed or swapped there is as good as not there.

    Args:
        store: The other one.
        keys: Keys of 32 random bytes each, such as ``SealedSessionStore.make_key()`` makes: the first seals, all of them open.
            A new key is put in front in two steps: behind the first one everywhere, then in front everywhere.
    """

    def __init__(self, store: SessionStore, keys: bytes | Iterable[bytes]) -> None:
        self._store = check_store(store, "store")
        self._keys = check_keys(keys)

    @staticmethod
    def make_key() -> bytes:
        """A new key: 32 random bytes."""
        return os.urandom(KEY_SIZE)

    @property
    def store(self) -> SessionStore:
        """The store below."""
        return self._store

    def put(self, id: bytes, data: bytes, ttl: float) -> Answer[None]:
        """Seal the bytes ``data`` of the session ``id`` and keep them for ``ttl`` seconds."""
        return self._store.put(id, seal(self._keys[0], id, data), ttl)

    def get(self, id: bytes) -> Answer[bytes | None]:
        """The bytes of the session ``id``; None for one that isn't there, or that none of the keys opens."""
        return self._opened(id, self._store.get(id))

    def take(self, id: bytes) -> Answer[bytes | None]:
        """The bytes of the session ``id``, as ``get()``; they are given once."""
        return self._opened(id, self._store.take(id))

    def delete(self, id: bytes) -> Answer[None]:
        """Forget the session ``id``."""
        return self._store.delete(id)

    def _opened(self, id: bytes, sealed: object) -> Answer[bytes | None]:
        return self._open_later(id, sealed) if is_deferred(sealed) else self._open(id, sealed)

    async def _open_later(self, id: bytes, sealed: object) -> bytes | None:
        return self._open(id, await arrived(sealed))

    def _open(self, id: bytes, sealed: object) -> bytes | None:
        if not isinstance(sealed, bytes):
            return None
        for key in self._keys:
            text = unseal(key, id, sealed)
            if text is not None:
                return text
        return None

    def __repr__(self) -> str:
        return f"<SealedSessionStore over {self._store!r}>"


def seal(key: bytes, name: bytes, text: bytes) -> bytes:
    """The text, encrypted and authenticated together with the name (AES-256-GCM under HMAC-SHA256(key, name))."""
    out = ffi.new("unsigned char[]", len(text) + lib.PEV_SEAL_MORE)
    n = check(lib.pev_seal(key, name, len(name), text, len(text), out), "sealing")
    return bytes(ffi.buffer(out, n))


def unseal(key: bytes, name: bytes, sealed: bytes) -> bytes | None:
    """The text; None where this isn't what seal() made of this key and name."""
    out = ffi.new("unsigned char[]", max(len(sealed), 1))
    n = lib.pev_unseal(key, name, len(name), sealed, len(sealed), out)
    return bytes(ffi.buffer(out, n)) if n >= 0 else None


def check_store(store: object, name: str) -> SessionStore:
    """TypeError unless it has the methods of a store."""
    has_all = all(callable(getattr(store, method, None)) for method in ("put", "get", "take", "delete"))
    if isinstance(store, type) or not has_all:
        raise TypeError(f"{name} must have put, get, take and delete as a SessionStore has, not be {store!r}")
    return cast(SessionStore, store)


def check_keys(keys: object) -> tuple[bytes, ...]:
    """The keys, at least one, all of the right length and different."""
    if isinstance(keys, bytes):
        keys = (keys,)
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        raise TypeError(f"keys must be bytes, or several such, not {type(keys).__name__}")
    found = tuple(keys)
    for key in found:
        if not isinstance(key, bytes):
            raise TypeError(f"keys must be bytes, not {type(key).__name__}")
        if len(key) != KEY_SIZE:
            raise ValueError(f"keys must be {KEY_SIZE} bytes long each, not {len(key)}")
        if hmac.compare_digest(key, bytes(KEY_SIZE)):
            raise ValueError("keys must be random, not all zeros")
    if not found:
        raise ValueError("keys must hold at least one key")
    return found


__all__ = ["MemorySessionStore", "SealedSessionStore", "SessionStore"]
