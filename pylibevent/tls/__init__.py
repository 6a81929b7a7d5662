"""event2/bufferevent_ssl.h and OpenSSL: one file a noun."""

from .answers import VerifyStep
from .bufferevent import TLSBufferEvent
from .client_sessions import ClientSessions, SessionKey
from .context import TLSContext
from .context_sessions import SessionCacheMode
from .peer import Cipher
from .redis_store import RedisSessionStore
from .session import TLSSession
from .sqlite_store import SQLiteSessionStore
from .store import MemorySessionStore, SealedSessionStore, SessionStore
from .tickets import TicketKeys
from .verification import OCSP

__all__ = [
    "OCSP",
    "Cipher",
    "ClientSessions",
    "MemorySessionStore",
    "RedisSessionStore",
    "SQLiteSessionStore",
    "SealedSessionStore",
    "SessionCacheMode",
    "SessionKey",
    "SessionStore",
    "TLSBufferEvent",
    "TLSContext",
    "TLSSession",
    "TicketKeys",
    "VerifyStep",
]
