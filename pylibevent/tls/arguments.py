"""What TLSBufferEvents are made of, checked: contexts, names, addresses, sessions, and what they stand on."""

from __future__ import annotations

import ipaddress
from typing import Any

from .._libevent import ffi, lib
from ..addresses import Address, check_path
from ..bufferevent import BufferEvent, SocketBufferEvent
from ..errors import BufferedDataError, check, check_seconds
from ..flags import Option
from .client_sessions import SessionKey
from .context import TLSContext
from .names import host_name
from .session import TLSSession

_THREADSAFE, _DEFER = int(Option.THREADSAFE), int(Option.DEFER_CALLBACKS)


def check_bare(underlying: BufferEvent) -> None:
    """Its descriptor can be taken over without losing a byte."""
    if not isinstance(underlying, SocketBufferEvent):
        raise TypeError(f"direct takes a SocketBufferEvent, not a {type(underlying).__name__}")
    check(lib.pev_bev_usable_alone(underlying._h), underlying)
    if underlying.input or underlying.output:
        raise BufferedDataError(f"direct takes a SocketBufferEvent with empty buffers, not {underlying!r}")


def host_of(address: Address) -> tuple[str | None, int]:
    """Host and port of an address that has them; what is wrong with others is told where they are used."""
    check_path(address)
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str):
        return address[0], address[1]
    return None, 0


def place_of(address: Address) -> tuple[str, int]:
    """What sessions are kept by."""
    host, port = host_of(address)
    return (host, port) if host is not None else (repr(address), 0)


def check_session(session: TLSSession | None, ctx: TLSContext, key: SessionKey | None) -> TLSSession | None:
    """The session to offer."""
    if session is not None and not isinstance(session, TLSSession):
        raise TypeError(f"session must be a TLSSession or None, not {type(session).__name__}")
    if session is not None and ctx.server_side:
        raise ValueError("session is for clients")
    if session is None and key is not None and ctx.client_sessions is not None:
        return ctx.client_sessions.take(key)
    return session if session is not None and not session.expired else None


def is_numeric(host: str) -> bool:
    """Whether it is an address that nobody needs to look up."""
    try:
        ipaddress.ip_address(host.partition("%")[0] or "0.0.0.0")
    except ValueError:
        return False
    return True


def check_context(ctx: object, *, server_side: bool) -> None:
    """A context of this side; TypeError, ValueError otherwise."""
    if not isinstance(ctx, TLSContext):
        raise TypeError(f"ctx must be a TLSContext, not {type(ctx).__name__}")
    if ctx._server_side != bool(server_side):
        raise ValueError(f"ctx must be of TLSContext.{'server' if server_side else 'client'}() here, not {ctx!r}")


def handshake_limit(seconds: float | None, ctx: TLSContext) -> float:
    """How long a handshake may take; 0: as long as it likes."""
    if seconds is None:
        return ctx._handshake_timeout or 0.0
    return check_seconds(seconds, "handshake_timeout", positive=True)


def check_over(underlying: BufferEvent, bits: int) -> int:
    """The options for standing on this underlying."""
    below = underlying._options
    if bits & _THREADSAFE and not below & _THREADSAFE:
        raise ValueError("options must have THREADSAFE only where the underlying has it")
    if below & _THREADSAFE:
        bits |= _THREADSAFE
    if underlying.underlying is not None:
        bits |= _DEFER  # TLS over TLS calls itself without end otherwise
    return bits


def check_server_hostname(name: str | None, ctx: TLSContext) -> tuple[Any, bool]:
    """The name as OpenSSL takes it, and whether it is a numeric address."""
    if name is None or ctx.server_side:
        if name is not None:
            raise ValueError("server_hostname is for clients")
        if ctx.check_hostname:
            raise ValueError("server_hostname must be given where ctx.check_hostname is on")
        return ffi.NULL, False
    if not isinstance(name, str):
        raise TypeError(f"server_hostname must be a str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError(f"server_hostname must not contain a zero character: {name!r}")
    try:
        return str(ipaddress.ip_address(name)).encode(), True
    except ValueError:
        pass
    return host_name(name, f"server_hostname isn't a host name: {name!r}").encode(), False
