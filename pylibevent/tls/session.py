"""TLSSession: what two peers agreed on once, and can go on with without a full handshake.

A TLSSession is a value: nothing that OpenSSL or a connection does changes it. It is a secret, since who has it can be the
client; and it is trusted, since a resumed connection verifies no certificate. So it carries the digest of the policy under
which it was made (csrc/policy.c), and is passed over where that isn't the policy of the connection.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from .._handle import Handle
from .._libevent import ffi, lib
from ..errors import as_bytes, check, check_pointer

if TYPE_CHECKING:
    from typing_extensions import Buffer as BytesLike

_VERSIONS = {
    lib.TLS1_VERSION: "TLSv1",
    lib.TLS1_1_VERSION: "TLSv1.1",
    lib.TLS1_2_VERSION: "TLSv1.2",
    lib.TLS1_3_VERSION: "TLSv1.3",
}


class TLSSession(Handle):
    """A TLS session (``SSL_SESSION``). From ``bev.session``, a context's callbacks, or ``TLSSession.from_bytes()``.

    It must be kept secret, and taken only from where nobody else can write: with it a connection is resumed without the
    peer's certificate being verified again.
    """

    __slots__ = ()

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise TypeError("a TLSSession isn't made itself: it comes from a connection, or from TLSSession.from_bytes()")

    @classmethod
    def _of(cls, handle: Any) -> Self:
        self = cls.__new__(cls)
        self._own(handle)
        return self

    @classmethod
    def from_bytes(cls, data: BytesLike) -> Self:
        """The session that ``to_bytes()`` wrote (``d2i_SSL_SESSION``).

        Args:
            data: Its bytes, at most 64 KiB.

        Raises:
            ValueError: They aren't a session.
        """
        raw = copied(data)
        handle = lib.pev_session_from_der(raw, len(raw))
        if not handle and ffi.errno == lib.PEV_EVALUE:
            raise ValueError(f"data must be what TLSSession.to_bytes() wrote, not these {len(raw)} bytes")
        return cls._of(check_pointer(handle, "a TLSSession"))

    def to_bytes(self) -> bytes:
        """All of it, to be kept elsewhere: a secret (``i2d_SSL_SESSION``)."""
        return self._bytes(lib.pev_session_to_der)

    def _bytes(self, write: Callable[[Any, Any], int]) -> bytes:
        out = ffi.new("unsigned char **")
        n = check(write(self._h, out), self)
        try:
            return bytes(ffi.buffer(out[0], n)) if out[0] else b""
        finally:
            lib.pev_free(out[0])

    @property
    def _facts(self) -> Any:
        out = ffi.new("struct pev_session_facts *")
        lib.pev_session_look(self._h, out)
        return out

    @property
    def id(self) -> bytes:
        """Its number, up to 32 bytes; clients make one up for a session that came as a ticket (``SSL_SESSION_get_id``)."""
        facts = self._facts
        return bytes(ffi.buffer(facts.id, facts.id_length))

    @property
    def time(self) -> int:
        """When it was made, in seconds since 1970 (``SSL_SESSION_get_time``)."""
        return int(self._facts.time)

    @property
    def timeout(self) -> int:
        """For how many seconds after that it is good (``SSL_SESSION_get_timeout``)."""
        return int(self._facts.timeout)

    @property
    def ticket_lifetime_hint(self) -> int:
        """For how many seconds the server said it would take the ticket; 0: it didn't say
        (``SSL_SESSION_get_ticket_lifetime_hint``).
        """
        return int(self._facts.hint)

    @property
    def has_ticket(self) -> bool:
        """Whether a ticket came with it (``SSL_SESSION_has_ticket``)."""
        return bool(self._facts.has_ticket)

    @property
    def version(self) -> str:
        """The version it was made with, such as ``"TLSv1.3"`` (``SSL_SESSION_get_protocol_version``)."""
        number = self._facts.version
        return _VERSIONS.get(number, f"{number:#x}")

    @property
    def cipher(self) -> str | None:
        """The name of its cipher (``SSL_SESSION_get0_cipher``)."""
        return _text(self._facts.cipher)

    @property
    def host(self) -> str | None:
        """The host name, or numeric address, that the client asked for (``SSL_SESSION_get0_hostname``)."""
        return _text(self._facts.host)

    @property
    def alpn_protocol(self) -> str | None:
        """The protocol that was agreed on with it (``SSL_SESSION_get0_alpn_selected``)."""
        facts = self._facts
        return ffi.buffer(facts.alpn, facts.alpn_length)[:].decode("ascii", "backslashreplace") if facts.alpn_length else None

    @property
    def resumable(self) -> bool:
        """Whether a later connection can be made with it: a TLS 1.3 client has none such before the server's ticket has
        come (``SSL_SESSION_is_resumable``).
        """
        return bool(self._facts.is_resumable)

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self._left(time.time()) <= 0

    def _left(self, now: float) -> float:
        """The seconds it is still good for."""
        facts = self._facts
        good = min(facts.timeout, facts.hint) if facts.hint else facts.timeout
        return float(facts.time + good - now)

    @property
    def single_use(self) -> bool:
        """Whether it should be used once: a TLS 1.3 session used twice tells who listens that it is the same client."""
        return bool(self._facts.version == lib.TLS1_3_VERSION)

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate, as DER (``SSL_SESSION_get0_peer``). None: it showed none."""
        return self._bytes(lib.pev_session_peer_certificate) or None

    @property
    def policy(self) -> bytes:
        """The digest of the policy it was made under: the session id context (``SSL_SESSION_get0_id_context``)."""
        facts = self._facts
        return bytes(ffi.buffer(facts.policy, facts.policy_length))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TLSSession):
            return NotImplemented
        return self is other or self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        facts = self._facts
        host = f" with {_text(facts.host)}" if facts.host else ""
        state = "resumable" if facts.is_resumable else "not resumable"
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(facts.time))
        return f"<TLSSession {self.version}{host}, {state}, {made} UTC, {facts.timeout} s>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting():
            with contextlib.suppress(AttributeError):
                lib.pev_session_free(object.__getattribute__(self, "_h"))


def copied(data: BytesLike) -> bytes:
    """The bytes of what is bytes-like; TypeError for what isn't."""
    raw, n = as_bytes(data)
    return raw if isinstance(raw, bytes) else bytes(ffi.buffer(raw, n))


def _text(pointer: Any) -> str | None:
    return str(ffi.string(pointer).decode("ascii", "backslashreplace")) if pointer else None


__all__ = ["TLSSession"]
