"""ClientSessions: what servers gave a client, so that the next connection to one of them needs no full handshake.

It is asked by where the connection goes, the name that is verified, and the policy: a session of a laxer context isn't even
found. Bounded both ways, since any server may send tickets without end.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from .._handle import NoCopy
from ..errors import check_int
from .session import TLSSession


class SessionKey(NamedTuple):
    """Whom a session is for."""

    host: str
    """Where the connection goes: a name, a numeric address, or a path."""
    port: int
    name: str
    """Whom the certificate was for."""
    policy: bytes
    """The digest of how it was verified."""


class ClientSessions(NoCopy):
    """The sessions of a client's context, newest first, for threads that share it.

    Args:
        max_hosts: For how many hosts; the one that was used longest ago goes first.
        per_host: How many a host; the oldest goes first. Servers send two with a full handshake, and one with each that
            resumes.
    """

    def __init__(self, max_hosts: int = 256, per_host: int = 8) -> None:
        self._max_hosts = check_int(max_hosts, "max_hosts", 0, 2**31 - 1)
        self._per_host = check_int(per_host, "per_host", 1, 1024)
        self._lock = threading.Lock()
        self._hosts: OrderedDict[SessionKey, list[TLSSession]] = OrderedDict()

    def add(self, key: SessionKey, session: TLSSession) -> None:
        """Keep a session for this host."""
        if not isinstance(session, TLSSession):
            raise TypeError(f"session must be a TLSSession, not {type(session).__name__}")
        if not session.resumable or not self._max_hosts:
            return
        with self._lock:
            kept = self._hosts.setdefault(key, [])
            if not session.single_use:
                kept.clear()  # the newer one serves any number of connections
            kept.append(session)
            del kept[: -self._per_host]
            self._hosts.move_to_end(key)
            while len(self._hosts) > self._max_hosts:
                self._hosts.popitem(last=False)

    def take(self, key: SessionKey) -> TLSSession | None:
        """The newest session for this host, or None. One of TLS 1.3 is given once."""
        now = time.time()
        with self._lock:
            kept = self._hosts.get(key)
            while kept:
                session = kept[-1]
                if session._left(now) <= 0:
                    kept.pop()
                    continue
                self._hosts.move_to_end(key)
                if session.single_use:
                    kept.pop()
                    if not kept:
                        del self._hosts[key]
                return session
            self._hosts.pop(key, None)
        return None

    def forget(self, key: SessionKey) -> None:
        """Drop what is kept for this host."""
        with self._lock:
            self._hosts.pop(key, None)

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._hosts.clear()

    def keys(self) -> list[SessionKey]:
        """The hosts there are sessions for, the one used last at the end."""
        with self._lock:
            return list(self._hosts)

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._hosts.values()))

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        with self._lock:
            return f"<ClientSessions {sum(map(len, self._hosts.values()))} for {len(self._hosts)} hosts>"


__all__ = ["ClientSessions", "SessionKey"]
