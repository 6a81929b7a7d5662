"""TicketKeys: the keys that a server's session tickets are sealed with.

A ticket is the session itself, sealed, and kept by the client: the server keeps nothing but the keys. Whoever has a key can
read every connection that was resumed with its tickets without a new key exchange (TLS 1.2), so keys are changed often, and the
old ones forgotten. The ring is C's (csrc/ticket.c); what is here says which keys are in it, and when.

With a store all who have it share their keys. Time is cut into slots as long as a key is used, and each slot has its key:
who needs it first makes it. The next slot's key is made and known to all a slot ahead, so nobody is ever given a ticket that
another one can't open, whether or not their clocks agree.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from .._handle import Handle
from .._libevent import ffi, lib
from ..errors import check, check_int, check_pointer, check_seconds
from .store import SessionStore, check_store

KEY_SIZE = lib.PEV_TICKET_KEY

ROTATION = 12 * 3600.0
"""Seconds that a key seals new tickets. Caddy changes its keys as often."""

LOOK = 10.0
"""Seconds between two looks into the store."""
SOON = 0.02
"""The same for LOOK seconds after a key was made here: processes that are started together make the same slot's at once, and
follow the last."""

_logger = logging.getLogger("pylibevent")


class TicketKeys(Handle):
    """A ring of keys for session tickets: the first seals, all of them open, and who comes with an old ticket gets a new one.

    It may be shared by contexts, threads, and, through a store or by copying the keys, by processes and hosts.

    Args:
        keys: Keys of 80 random bytes each, as ``SSL_CTX_set_tlsext_ticket_keys`` takes them, the newest first. Only rotate()
            and replace() change them then. None: the first key is made.
        store: Where the keys are shared. It should be a sealed one: who reads them reads the connections.
        rotation: Seconds from 1 to 1e9 after which a new key is made, where ``keys`` isn't given.
        keep: How many keys are kept, from 2 to 15. A ticket can be used for at least ``rotation`` times ``keep - 1`` seconds.
    """

    __slots__ = ("_due", "_given", "_keep", "_lock", "_made", "_rotation", "_store", "_unsure_until")

    def __init__(
        self,
        keys: Iterable[bytes] | None = None,
        *,
        store: SessionStore | None = None,
        rotation: float = ROTATION,
        keep: int = 3,
    ) -> None:
        self._begin()
        if keys is not None and store is not None:
            raise ValueError("keys and store exclude each other")
        given = _check_keys(keys) if keys is not None else [make_key()]
        self._rotation = check_seconds(rotation, "rotation", positive=True)
        if self._rotation < 1:
            raise ValueError(f"rotation must be at least 1 second, not {rotation!r}")
        self._keep = check_int(keep, "keep", 2, lib.PEV_TICKET_KEYS_MOST - 1)
        self._store = check_store(store, "store") if store is not None else None
        self._given = keys is not None
        self._lock = threading.Lock()
        self._made: dict[int, bytes] = {}  # by slot, what this process made or saw
        self._unsure_until = 0.0
        self._own(check_pointer(lib.pev_ticket_keys_new(), "a TicketKeys"))
        self._set(given)
        self._due = 0.0 if self._store is not None else time.monotonic() + self._rotation
        self._keep_up()

    @staticmethod
    def make_key() -> bytes:
        """A new key: 80 random bytes."""
        return make_key()

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys, the newest first: secrets."""
        out = ffi.new("unsigned char[]", lib.PEV_TICKET_KEYS_MOST * KEY_SIZE)
        n = lib.pev_ticket_keys_get(self._h, out, lib.PEV_TICKET_KEYS_MOST)
        return tuple(bytes(ffi.buffer(out + i * KEY_SIZE, KEY_SIZE)) for i in range(n))

    @property
    def counts(self) -> dict[str, int]:
        """How many tickets were ``issued``, ``opened`` with the first key, ``renewed`` since a later one opened them, and of an
        ``unknown`` key.
        """
        out = ffi.new("struct pev_ticket_keys_counts *")
        lib.pev_ticket_keys_count(self._h, out)
        return {name: int(getattr(out, name)) for name, _ in ffi.typeof(out[0]).fields}

    def rotate(self, key: bytes | None = None) -> None:
        """Seal with another key from now on; the oldest is forgotten where there are too many.

        Args:
            key: The key, 80 bytes. None: a new one.

        Raises:
            ValueError: The keys come from a store, which says when they change.
        """
        if self._store is not None:
            raise ValueError("keys that are shared through a store are changed by it")
        new = make_key() if key is None else _check_keys([key])[0]
        with self._lock:
            self._set([new, *(old for old in self.keys if old != new)][: self._keep])
            self._due = time.monotonic() + self._rotation

    def replace(self, keys: Iterable[bytes]) -> None:
        """Have these keys, the newest first, and no others: what another process's ``keys`` are."""
        if self._store is not None:
            raise ValueError("keys that are shared through a store are changed by it")
        found = _check_keys(keys)
        with self._lock:
            self._set(found)

    def refresh(self) -> None:
        """Look into the store now. Contexts do so by themselves, with a connection some 10 seconds after the last time."""
        if self._store is not None:
            with self._lock:
                self._look(self._store)

    def _set(self, keys: list[bytes]) -> None:
        check(lib.pev_ticket_keys_set(self._h, b"".join(keys), len(keys)), self)

    def _keep_up(self) -> None:
        """A connection is about to be made."""
        if time.monotonic() < self._due or self._given or not self._lock.acquire(blocking=False):
            return  # or another thread is at it
        try:
            if self._store is not None:
                self._look(self._store)
            else:
                self._set([make_key(), *self.keys][: self._keep])
                self._due = time.monotonic() + self._rotation
        finally:
            self._lock.release()

    def _look(self, store: SessionStore) -> None:
        """Take over what the store says."""
        slot = int(time.time() // self._rotation)
        now = time.monotonic()
        usual = min(LOOK, self._rotation / 10)
        self._due = now + (SOON if now < self._unsure_until else usual)
        try:
            shared = {n: self._shared(store, n, make=n >= slot) for n in range(slot - self._keep + 1, slot + 2)}
        except Exception as error:
            self._due = now + usual
            why = f"{type(error).__name__}: {error}"  # a record that keeps the error keeps all that it passed
            _logger.warning("ticket keys: %r failed, the keys stay as they are: %s", store, why)
            return
        mine = self._made
        self._made = {n: key for n in shared if (key := shared[n] or mine.get(n)) is not None}
        first = [self._made[n] for n in (slot, slot + 1)]
        older = [self._made[n] for n in range(slot - 1, slot - self._keep, -1) if n in self._made]
        lost = [key for n, key in mine.items() if n in shared and key != self._made[n]]
        self._set(list(dict.fromkeys([*first, *older, *lost]))[: lib.PEV_TICKET_KEYS_MOST])

    def _shared(self, store: SessionStore, slot: int, *, make: bool) -> bytes | None:
        name = b"pylibevent ticket key, %d of %d s" % (slot, self._rotation)
        key = store.get(name)
        if key is None and make:
            store.put(name, self._made.get(slot) or make_key(), self._rotation * (self._keep + 1))
            key = store.get(name)  # somebody else may have been faster, or slower
            self._due, self._unsure_until = time.monotonic() + SOON, time.monotonic() + LOOK
        if key is None and not make:
            return None
        if not isinstance(key, bytes) or len(key) != KEY_SIZE:
            raise ValueError(f"what stands there for {name.decode()!r} isn't a key of {KEY_SIZE} bytes")
        return key

    def __repr__(self) -> str:
        shared = f", shared through {self._store!r}" if self._store is not None else ""
        return f"<TicketKeys {len(self.keys)}{shared}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting():
            with contextlib.suppress(AttributeError):
                lib.pev_ticket_keys_free(object.__getattribute__(self, "_h"))


def make_key() -> bytes:
    """80 random bytes."""
    out = ffi.new("unsigned char[]", KEY_SIZE)
    check(lib.pev_ticket_key_make(out), "making a ticket key")
    return bytes(ffi.buffer(out))


def _check_keys(keys: Any) -> list[bytes]:
    if isinstance(keys, bytes | str) or not isinstance(keys, Iterable):
        raise TypeError(f"keys must be several bytes objects, not {type(keys).__name__}")
    found = list(keys)
    for key in found:
        if not isinstance(key, bytes):
            raise TypeError(f"keys must be bytes, not {type(key).__name__}")
        if len(key) != KEY_SIZE:
            raise ValueError(f"keys must be {KEY_SIZE} bytes long each, not {len(key)}")
    if not 1 <= len(found) <= lib.PEV_TICKET_KEYS_MOST:
        raise ValueError(f"keys must be from 1 to {lib.PEV_TICKET_KEYS_MOST}, not {len(found)}")
    if len({key[:16] for key in found}) < len(found):
        raise ValueError("keys must have different names, which are the first 16 bytes")
    return found


__all__ = ["TicketKeys"]
