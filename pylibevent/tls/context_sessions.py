"""ContextSessions: the part of a TLSContext that says which sessions are kept where, and resumed.

A server resumes in one of three ways. By itself it gives out tickets, sealed with keys that only this context has. With
``ticket_keys`` it shares those keys with whoever has the same ring. With ``session_store`` clients get numbers, and the
sessions stand in the store. In all of them a session belongs to the context's policy (csrc/policy.c): two contexts that
verify differently, or show another certificate, don't take each other's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import unique
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeAlias

from .._libevent import ffi, lib
from ..errors import check, check_callable, check_flags, check_int
from ..flags import NamedFlag, own_operators
from .ciphers import Ciphers
from .client_sessions import ClientSessions, SessionKey
from .deferred import arrived, forget, is_deferred
from .resumption import StoreAccess
from .session import TLSSession, copied
from .store import SessionStore, check_store
from .tickets import TicketKeys

if TYPE_CHECKING:
    from .bufferevent import TLSBufferEvent
    from .connection_sessions import ConnectionSessions
    from .deferred import Answer

    NewSession: TypeAlias = Callable[["TLSBufferEvent", TLSSession], object]
    GetSession: TypeAlias = Callable[["TLSBufferEvent", bytes], Answer[TLSSession | None]]
    RemoveSession: TypeAlias = Callable[["ContextSessions", TLSSession], object]

_MOST_ID = 32  # SSL_MAX_SID_CTX_LENGTH
_MOST_TICKETS = 16
_MOST_SECONDS = 2**31 - 1


@unique
@own_operators
class SessionCacheMode(NamedFlag):
    """What OpenSSL's own cache of sessions does (``SSL_SESS_CACHE_*``)."""

    OFF = lib.SSL_SESS_CACHE_OFF
    CLIENT = lib.SSL_SESS_CACHE_CLIENT
    SERVER = lib.SSL_SESS_CACHE_SERVER
    NO_AUTO_CLEAR = lib.SSL_SESS_CACHE_NO_AUTO_CLEAR
    NO_INTERNAL_LOOKUP = lib.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP
    NO_INTERNAL_STORE = lib.SSL_SESS_CACHE_NO_INTERNAL_STORE


_ALL_MODES = sum(SessionCacheMode)


class ContextSessions(Ciphers):
    """What TLSContext says about sessions."""

    __slots__ = (
        "_access",
        "_client_sessions",
        "_gets_later",
        "_on_get_session",
        "_on_new_session",
        "_on_remove_session",
        "_session_id_context",
        "_ticket_keys",
        "_wants_sessions",
    )

    _access: StoreAccess | None
    _client_sessions: ClientSessions | None
    _gets_later: bool
    _on_get_session: GetSession | None
    _on_new_session: Callable[[Any, TLSSession], object] | None
    _on_remove_session: RemoveSession | None
    _session_id_context: bytes
    _ticket_keys: TicketKeys | None
    _wants_sessions: bool
    """Whether somebody wants to have new ones."""

    def _begin_sessions(self) -> None:
        """Once there is a handle."""
        self._access = None
        self._client_sessions = None if self._server_side else ClientSessions()
        self._on_get_session = self._on_new_session = self._on_remove_session = None
        self._gets_later = False
        self._session_id_context = b""
        self._ticket_keys = None
        self._want()

    def _want(self) -> None:
        wants = 0
        if self._access is not None or self._client_sessions is not None or self._on_new_session is not None:
            wants |= lib.PEV_WANT_NEW
        if self._access is not None or self._on_get_session is not None:
            wants |= lib.PEV_WANT_GET
        if self._access is not None or self._gets_later:
            wants |= lib.PEV_WANT_OFFERS
        if self._on_remove_session is not None:
            wants |= lib.PEV_WANT_REMOVED
        lib.pev_sessions_want(self._h, wants)
        self._wants_sessions = bool(wants & lib.PEV_WANT_NEW)
        if self._server_side:
            lib.pev_sessions_set_stateful(self._h, bool(wants & lib.PEV_WANT_GET))

    def _only(self, name: str, *, server_side: bool) -> None:
        if self._server_side != server_side:
            raise ValueError(f"{name} is for {'servers' if server_side else 'clients'}")

    # ------------------------------------------------------------ where they are kept

    @property
    def session_store(self) -> SessionStore | None:
        """Where a server's sessions are kept: all processes with the same store, certificate and policy resume each other's.
        May be set. While there is one, clients get numbers in place of tickets, and OpenSSL's own cache isn't used. It may
        answer later: what ``get`` and ``take`` return may be a coroutine, a DeferredAnswer or a future. The handshake waits for
        that for a second; then, or where it fails, it is a full one.
        """
        return self._access.store if self._access is not None else None

    @session_store.setter
    def session_store(self, store: SessionStore | None) -> None:
        self._only("session_store", server_side=True)
        if store is not None:
            check_store(store, "session_store")
            if self._ticket_keys is not None:
                raise ValueError("session_store and ticket_keys exclude each other: set ticket_keys to None before")
        self._access = StoreAccess(store) if store is not None else None
        outside = lib.SSL_SESS_CACHE_NO_INTERNAL if store is not None else 0
        lib.pev_sessions_set_mode(self._h, lib.SSL_SESS_CACHE_SERVER | outside)
        self._want()

    @property
    def ticket_keys(self) -> TicketKeys | None:
        """The keys that a server's tickets are sealed with (``SSL_CTX_set_tlsext_ticket_key_evp_cb``). May be set. None: keys
        of its own, which live as long as the context.
        """
        return self._ticket_keys

    @ticket_keys.setter
    def ticket_keys(self, keys: TicketKeys | None) -> None:
        self._only("ticket_keys", server_side=True)
        if keys is not None and not isinstance(keys, TicketKeys):
            raise TypeError(f"ticket_keys must be TicketKeys or None, not {type(keys).__name__}")
        if keys is not None and self._access is not None:
            raise ValueError("session_store and ticket_keys exclude each other: set session_store to None before")
        lib.pev_sessions_set_keys(self._h, keys._h if keys is not None else ffi.NULL)
        self._ticket_keys = keys

    @property
    def client_sessions(self) -> ClientSessions | None:
        """What servers gave a client, from which TLSBufferEvent.connect() resumes. May be set: None for none; one of another
        context of the same policy.
        """
        return self._client_sessions

    @client_sessions.setter
    def client_sessions(self, sessions: ClientSessions | None) -> None:
        self._only("client_sessions", server_side=False)
        if sessions is not None and not isinstance(sessions, ClientSessions):
            raise TypeError(f"client_sessions must be ClientSessions or None, not {type(sessions).__name__}")
        self._client_sessions = sessions
        self._want()

    # ------------------------------------------------------------ callbacks

    @property
    def on_new_session(self) -> NewSession | None:
        """Called as ``on_new_session(bev, session)`` for each session that was made, after the pass; may be set
        (``SSL_CTX_sess_set_new_cb``, ``SSL_CTX_sess_get_new_cb``). Under TLS 1.3 they come after CONNECTED: several, or none.
        The session is the callback's to keep; what it returns says nothing.
        """
        return self._on_new_session

    @on_new_session.setter
    def on_new_session(self, callback: NewSession | None) -> None:
        check_callable(callback, "on_new_session")
        self._on_new_session = callback
        self._want()

    @property
    def on_get_session(self) -> GetSession | None:
        """Called as ``on_get_session(bev, id)`` when a client offers a session that this server doesn't have, inside the
        handshake; may be set (``SSL_CTX_sess_set_get_cb``, ``SSL_CTX_sess_get_get_cb``). It returns a TLSSession, which it may
        keep, or None. While there is one, clients get numbers in place of tickets. The store, if there is one, is asked before.

        It may answer later, as session_store may, and is asked then before OpenSSL looks whether it has the session itself.
        That is known of a coroutine function, and where there is a store; of another function the first answer tells, which
        is lost: that handshake is a full one.
        """
        return self._on_get_session

    @on_get_session.setter
    def on_get_session(self, callback: GetSession | None) -> None:
        self._only("on_get_session", server_side=True)
        check_callable(callback, "on_get_session")
        self._on_get_session = callback
        self._gets_later = iscoroutinefunction(callback)
        self._want()

    @property
    def on_remove_session(self) -> RemoveSession | None:
        """Called as ``on_remove_session(ctx, session)`` for each session that OpenSSL doesn't keep any longer: expired, pushed
        out, flushed, or of a connection that TLS ended with an error; may be set (``SSL_CTX_sess_set_remove_cb``,
        ``SSL_CTX_sess_get_remove_cb``). It comes some time later, with whatever the context is used for next.
        """
        return self._on_remove_session

    @on_remove_session.setter
    def on_remove_session(self, callback: RemoveSession | None) -> None:
        check_callable(callback, "on_remove_session")
        self._on_remove_session = callback
        self._want()

    # ------------------------------------------------------------ what connections say

    def _before_connection(self) -> None:
        """One is about to be made."""
        if self._ticket_keys is not None:
            self._ticket_keys._keep_up()

    def _made_session(self, bev: ConnectionSessions, session: TLSSession) -> None:
        """A connection has a new session."""
        if self._access is not None:
            if session.resumable:
                self._access.put(bev._base, session)
        elif self._client_sessions is not None and bev._session_key is not None:
            self._client_sessions.add(bev._session_key, session)
        if self._on_new_session is not None:
            self._on_new_session(bev, session)

    async def _find_offered(self, bev: TLSBufferEvent, ids: list[bytes], *, once: bool) -> tuple[bytes, bytes] | None:
        """The first of those a client offers that is there: its number and bytes."""
        for id in ids:
            found = await self._access.find(id, once=once) if self._access is not None else None
            if found is None and self._on_get_session is not None:
                found = _bytes_of(await arrived(self._on_get_session(bev, id)))
            if found is not None:
                return id, found
        return None

    def _find_at_once(self, bev: TLSBufferEvent, id: bytes) -> bytes | None:
        """OpenSSL wants this one, and can't wait."""
        session = self._on_get_session(bev, id) if self._on_get_session is not None else None
        if not is_deferred(session):
            return _bytes_of(session)
        forget(session)
        self._gets_later = True
        self._want()
        return None

    def _offered_late(self, once: bool) -> None:
        if self._access is not None:
            self._access.late("take" if once else "get")

    def _broken_session(self, bev: ConnectionSessions, id: bytes) -> None:
        """TLS ended a connection with an error: its session is spoilt (RFC 5246 7.2.2, RFC 8446 6.2)."""
        if self._access is not None and id:
            self._access.delete(bev._base, id)
        if self._client_sessions is not None and bev._session_key is not None:
            self._client_sessions.forget(bev._session_key)

    def _key_for(self, host: str, port: int, name: bytes | None, *, is_address: bool, check_host: bool) -> SessionKey:
        digest = self._policy_for(name, is_address=is_address, check_host=check_host)
        return SessionKey(host, port, name.decode() if name is not None else "", digest)

    def _policy_for(self, name: bytes | None, *, is_address: bool = False, check_host: bool = False) -> bytes:
        out = ffi.new("unsigned char[]", lib.PEV_POLICY)
        host = ffi.NULL if name is None else name
        check(lib.pev_sessions_policy(self._h, host, is_address, check_host, out), self)
        return bytes(ffi.buffer(out))

    def _tell_removed(self) -> None:
        while handle := lib.pev_sessions_take_removed(self._h):
            session = TLSSession._of(handle)
            if self._on_remove_session is not None:
                self._on_remove_session(self, session)

    # ------------------------------------------------------------ settings, by the names of ssl and pyOpenSSL

    @property
    def session_policy(self) -> bytes:
        """The digest of what a session of this context says about the peer: its session id context
        (``SSL_CTX_set_session_id_context``). Sessions of contexts with another one aren't resumed here.
        """
        return self._policy_for(None)

    @property
    def session_id_context(self) -> bytes:
        """What the application calls itself, up to 32 bytes: a part of the policy; may be set."""
        return self._session_id_context

    @session_id_context.setter
    def session_id_context(self, name: bytes) -> None:
        raw = copied(name)
        if len(raw) > _MOST_ID:
            raise ValueError(f"session_id_context must be at most {_MOST_ID} bytes long, not {len(raw)}")
        check(lib.pev_sessions_set_app(self._h, raw, len(raw)), self)
        self._session_id_context = raw

    def set_session_id(self, name: bytes) -> None:
        """Set session_id_context to ``name``, as pyOpenSSL calls it."""
        self.session_id_context = name

    @property
    def session_cache_mode(self) -> SessionCacheMode:
        """What OpenSSL's own cache does; may be set (``SSL_CTX_set_session_cache_mode``)."""
        return SessionCacheMode(lib.pev_sessions_get_mode(self._h))

    @session_cache_mode.setter
    def session_cache_mode(self, mode: SessionCacheMode) -> None:
        lib.pev_sessions_set_mode(self._h, check_flags(mode, SessionCacheMode, _ALL_MODES, "session_cache_mode"))

    def set_session_cache_mode(self, mode: SessionCacheMode) -> SessionCacheMode:
        """Set session_cache_mode to ``mode``, as pyOpenSSL calls it; returns what it was before."""
        before = self.session_cache_mode
        self.session_cache_mode = mode
        return before

    def get_session_cache_mode(self) -> SessionCacheMode:
        """The session_cache_mode, as pyOpenSSL calls it."""
        return self.session_cache_mode

    @property
    def session_cache_size(self) -> int:
        """How many sessions OpenSSL's own cache holds, 20480 at first; 0: without end; may be set
        (``SSL_CTX_sess_set_cache_size``, ``SSL_CTX_sess_get_cache_size``).
        """
        return int(lib.pev_sessions_get_size(self._h))

    @session_cache_size.setter
    def session_cache_size(self, size: int) -> None:
        lib.pev_sessions_set_size(self._h, check_int(size, "session_cache_size", 0, _MOST_SECONDS))

    @property
    def session_timeout(self) -> int:
        """For how many seconds new sessions are good, 7200 at first, from 1; may be set (``SSL_CTX_set_timeout``,
        ``SSL_CTX_get_timeout``). TLS 1.3 allows 604800, seven days.
        """
        return int(lib.pev_sessions_get_timeout(self._h))

    @session_timeout.setter
    def session_timeout(self, seconds: int) -> None:
        lib.pev_sessions_set_timeout(self._h, check_int(seconds, "session_timeout", 1, _MOST_SECONDS))

    def set_timeout(self, seconds: int) -> int:
        """Set session_timeout to ``seconds``, as pyOpenSSL calls it; returns what it was before."""
        before = self.session_timeout
        self.session_timeout = seconds
        return before

    def get_timeout(self) -> int:
        """The session_timeout, as pyOpenSSL calls it."""
        return self.session_timeout

    @property
    def num_tickets(self) -> int:
        """How many sessions a server gives out after a full TLS 1.3 handshake, from 0 to 16, at first 2; may be set
        (``SSL_CTX_set_num_tickets``, ``SSL_CTX_get_num_tickets``).
        """
        return int(lib.pev_sessions_get_tickets(self._h))

    @num_tickets.setter
    def num_tickets(self, n: int) -> None:
        self._only("num_tickets", server_side=True)
        lib.pev_sessions_set_tickets(self._h, check_int(n, "num_tickets", 0, _MOST_TICKETS))

    def session_stats(self) -> dict[str, int]:
        """How often what happened, as ``ssl.SSLContext.session_stats()`` names it (``SSL_CTX_sess_*``): number, connect,
        connect_good, connect_renegotiate, accept, accept_good, accept_renegotiate, hits, misses, timeouts, cache_full; and
        cb_hits, the sessions that came from session_store or on_get_session.
        """
        out = ffi.new("struct pev_session_counts *")
        lib.pev_sessions_count(self._h, out)
        return {name: int(getattr(out, name)) for name, _ in ffi.typeof(out[0]).fields}

    def flush_sessions(self, at: float | None = None) -> None:
        """Drop from OpenSSL's own cache what has expired (``SSL_CTX_flush_sessions``).

        Args:
            at: By then, in seconds since 1970. None: by now. 0: all.
        """
        if at is None:
            at = time.time()
        if isinstance(at, bool) or not isinstance(at, int | float):
            raise TypeError(f"at must be a number of seconds, not {type(at).__name__}")
        if not 0 <= at <= 2**62:
            raise ValueError(f"at must be from 0 to 2**62, not {at!r}")
        lib.pev_sessions_flush(self._h, int(at))
        self._tell_removed()


def _bytes_of(session: object) -> bytes | None:
    """What on_get_session gave."""
    if session is None:
        return None
    if not isinstance(session, TLSSession):
        raise TypeError(f"on_get_session must return a TLSSession or None, not {type(session).__name__}")
    return session.to_bytes()


__all__ = ["ContextSessions", "SessionCacheMode"]
