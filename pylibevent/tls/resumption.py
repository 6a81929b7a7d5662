"""How a server asks its store for a session, and what happens when the store doesn't answer well.

The handshake waits while Python looks for the session: ``pev_ask_offers`` is called when the client's first message has come,
and may answer later; ``pev_session_wanted``, where there is nothing but a callback, is called by OpenSSL and may not. Nothing
comes out of them but an answer. Whatever a store raises goes to the log and means a full handshake; what a callback of the
user's raises means one too, and is raised by the loop after the pass.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from .. import failures
from .._libevent import ffi, lib
from .answers import answer, connection_of
from .deferred import LateError, Wait, arrived, is_deferred
from .session import TLSSession
from .store import SessionStore

if TYPE_CHECKING:
    from ..event import EventBase
    from .bufferevent import TLSBufferEvent
    from .context import TLSContext

PAUSE = 1.0
"""Seconds that a store is left alone after it failed, so that not every handshake waits for it. nginx leaves a server alone for
10 (fail_timeout); here little is lost by asking."""

SLOW = 0.1
"""Seconds from which on an answer counts as a failure too: the loop stands still meanwhile. A full handshake takes 0.001."""

LATE = 1.0
"""Seconds that an answer which comes later is waited for: a tenth of what a server gives a whole handshake."""

_logger = logging.getLogger("pylibevent")


_ANOTHER = "what was found for session %s isn't that session: the handshake is a full one"


class StoreAccess:
    """A context's way to its store: nothing comes out but sessions."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self._closed_until = 0.0

    async def find(self, id: bytes, *, once: bool) -> bytes | None:
        """The bytes of a session, or None."""
        found = await self._settle("take" if once else "get", self._ask("take" if once else "get", id))
        if found is None or isinstance(found, bytes):
            return found
        self._fail(f"gave a {type(found).__name__} in place of bytes")
        return None

    def put(self, base: EventBase, session: TLSSession) -> None:
        """Keep a session for as long as it is good."""
        left = session._left(time.time())
        if left > 0:
            self._tell(base, "put", session.id, session.to_bytes(), left)

    def delete(self, base: EventBase, id: bytes) -> None:
        """Forget a session."""
        self._tell(base, "delete", id)

    def late(self, what: str) -> None:
        """It didn't answer in time."""
        self._fail(f"gave no answer within {LATE:g} s to {what}")

    def _tell(self, base: EventBase, what: str, *arguments: Any) -> None:
        """Nobody waits for what comes of it."""
        answer = self._ask(what, *arguments)
        if is_deferred(answer):
            wait = Wait(base, self._settle(what, answer), lambda: self._told(what, wait), LATE)
            if wait.done:
                self._told(what, wait)

    def _told(self, what: str, wait: Wait) -> None:
        try:
            wait.result()
        except LateError:
            self.late(what)

    def _ask(self, what: str, *arguments: Any) -> Any:
        start = time.monotonic()
        if start < self._closed_until:
            return None
        try:
            answer = getattr(self.store, what)(*arguments)
        except Exception as error:
            self._failed(what, error)
            return None
        took = time.monotonic() - start
        if took > SLOW:
            self._fail(f"took {took:.3f} s to {what}")
        return answer

    async def _settle(self, what: str, answer: Any) -> Any:
        if not is_deferred(answer):
            return answer
        try:
            return await arrived(answer)
        except Exception as error:
            self._failed(what, error)
            return None

    def _failed(self, what: str, error: Exception) -> None:
        self._fail(f"failed to {what}: {type(error).__name__}: {error}")

    def _fail(self, text: str) -> None:
        self._closed_until = time.monotonic() + PAUSE
        _logger.warning("session store %r %s; it isn't asked for %g s, and handshakes are full ones", self.store, text, PAUSE)


@ffi.def_extern(error=None)  # type: ignore[untyped-decorator]
def pev_session_wanted(number: int, id: Any, length: int, once: int, answer: Any) -> None:
    """OpenSSL, inside a handshake: is there a session of this number?"""
    bev = connection_of(number)
    if bev is None:
        return
    try:
        name = bytes(ffi.buffer(id, length))
        data = bev._ctx._find_at_once(bev, name)
        if data is not None and not lib.pev_session_answer(answer, data, len(data)):
            _logger.warning(_ANOTHER, name.hex())
    except BaseException as error:
        failures.keep(bev._base, error)
        lib.pev_loop_wake(bev._base._h)


@ffi.def_extern(error=0, onerror=failures.keep_stray)  # type: ignore[untyped-decorator]
def pev_ask_offers(number: int, offers: Any, n: int, once: int) -> int:
    """A client offers these sessions: is one of them there?"""

    def ask(bev: TLSBufferEvent, context: TLSContext) -> int:
        names = [bytes(ffi.buffer(offers[i].id, offers[i].length)) for i in range(n)]
        try:
            found = bev._ask_once("sessions", lambda: bev._ctx._find_offered(bev, names, once=bool(once)), LATE)
        except LateError:
            bev._ctx._offered_late(bool(once))
            return 0
        if found is not None:
            name, data = found
            if not lib.pev_offers_found(bev._h, data, len(data)):
                _logger.warning(_ANOTHER, name.hex())
        return 0

    return answer(number, 0, ask)


__all__ = ["PAUSE", "SLOW", "StoreAccess"]
