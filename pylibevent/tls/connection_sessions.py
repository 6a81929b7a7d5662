"""The part of a TLSBufferEvent that has a session: it tells its context of those that were made, and of one that was spoilt."""

from __future__ import annotations

from .._libevent import ffi, lib
from ..errors import check
from ..failures import keep
from ..flags import What
from .asking import Asking
from .client_sessions import SessionKey
from .context import TLSContext
from .session import TLSSession

_SESSION = int(lib.PEV_NOTE_SESSION)
_ERROR = int(What.ERROR) << lib.PEV_NOTE_EVENTS


class ConnectionSessions(Asking):
    """See TLSBufferEvent."""

    __slots__ = ("_ctx", "_session_key")

    _ctx: TLSContext
    _session_key: SessionKey | None

    @property
    def session(self) -> TLSSession | None:
        """The session of this connection (``SSL_get1_session``). None before the handshake is done. A TLS 1.3 client's is
        ``resumable`` once the server's ticket has come, and then the newest.
        """
        handle = lib.pev_ssl_session(self._h)
        if not handle:
            if ffi.errno:
                check(-ffi.errno, self)
            return None
        return TLSSession._of(handle)

    def _take_sessions(self) -> None:
        while handle := lib.pev_ssl_take_session(self._h):
            self._ctx._made_session(self, TLSSession._of(handle))

    def _spoil_session(self) -> None:
        """TLS failed: nobody shall resume what this connection used."""
        if self._codes():
            session = self.session if not self.closed else None
            self._ctx._broken_session(self, session.id if session is not None else b"")

    def _look_after_sessions(self, what: int, detail: int) -> int:
        """Before what else there is to tell is told: that is what is left."""
        try:
            if what & _SESSION:
                self._take_sessions()
            if what & _ERROR:
                self._wait_no_more()
                self._spoil_session()
            if self._ctx._on_remove_session is not None:
                self._ctx._tell_removed()
        except BaseException:
            self._base._left.append((self._id, what, detail))
            raise
        return what & ~_SESSION

    def _failed(self, events: int, detail: int) -> BaseException:
        if events & What.ERROR:
            try:
                self._spoil_session()
                self._ctx._tell_removed()
            except BaseException as error:
                keep(self._base, error)  # the relay's end is told all the same
        return super()._failed(events, detail)
