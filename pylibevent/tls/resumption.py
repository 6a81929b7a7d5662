"""How a server asks its store for a session, and what happens when the store doesn't answer well.

The handshake waits while Python looks for the session: ``pev_session_wanted`` is called by OpenSSL inside a pass. So nothing
may come out of it but an answer. Whatever a store raises goes to the log and means a full handshake; what a callback of the
user's raises means one too, and is raised by the loop after the pass.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from .. import failures
from .._libevent import ffi, lib
from .answers import connections
from .session import TLSSession
from .store import SessionStore

PAUSE = 1.0
"""Seconds that a store is left alone after it failed, so that not every handshake waits for it. nginx leaves a server alone for
10 (fail_timeout); here little is lost by asking."""

SLOW = 0.1
"""Seconds from which on an answer counts as a failure too: the loop stands still meanwhile. A full handshake takes 0.001."""

_logger = logging.getLogger("pylibevent")


class StoreAccess:
    """A context's way to its store: nothing comes out but sessions."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self._closed_until = 0.0

    def find(self, id: bytes, *, once: bool) -> bytes | None:
        """The bytes of a session, or None."""
        found = self._ask("take" if once else "get", id)
        if found is None or isinstance(found, bytes):
            return found
        self._fail(f"gave a {type(found).__name__} in place of bytes")
        return None

    def put(self, session: TLSSession) -> None:
        """Keep a session for as long as it is good."""
        left = session._left(time.time())
        if left > 0:
            self._ask("put", session.id, session.to_bytes(), left)

    def delete(self, id: bytes) -> None:
        """Forget a session."""
        self._ask("delete", id)

    def _ask(self, what: str, *arguments: Any) -> Any:
        start = time.monotonic()
        if start < self._closed_until:
            return None
        try:
            answer = getattr(self.store, what)(*arguments)
        except Exception as error:
            self._fail(f"failed to {what}: {type(error).__name__}: {error}")
            return None
        took = time.monotonic() - start
        if took > SLOW:
            self._fail(f"took {took:.3f} s to {what}")
        return answer

    def _fail(self, text: str) -> None:
        self._closed_until = time.monotonic() + PAUSE
        _logger.warning("session store %r %s; it isn't asked for %g s, and handshakes are full ones", self.store, text, PAUSE)


@ffi.def_extern(error=None)  # type: ignore[untyped-decorator]
def pev_session_wanted(number: int, id: Any, length: int, once: int, answer: Any) -> None:
    """OpenSSL, inside a handshake: is there a session of this number?"""
    bev = connections.get(number)
    if bev is None:
        return
    try:
        name = bytes(ffi.buffer(id, length))
        data = bev._ctx._find_session(bev, name, once=bool(once))
        if data is not None and not lib.pev_session_answer(answer, data, len(data)):
            _logger.warning("what was found for session %s isn't that session: the handshake is a full one", name.hex())
    except BaseException as error:
        failures.keep(bev._base, error)


__all__ = ["PAUSE", "SLOW", "StoreAccess"]
