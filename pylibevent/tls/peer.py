"""The part of a TLSBufferEvent that says what was agreed on, and with whom."""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

from .._libevent import ffi, lib
from ..bufferevent import BufferEvent
from ..errors import check, check_int
from .certificates import taken
from .decoding import decoded

_MOST_KEY = 1 << 16
_CHANNEL_BINDING = b"EXPORTER-Channel-Binding"  # RFC 9266


class Cipher(NamedTuple):
    """A cipher suite in use."""

    name: str
    protocol: str
    bits: int


class Peer(BufferEvent):
    """See TLSBufferEvent."""

    __slots__ = ("_server_hostname", "_server_side")

    _server_hostname: str | None
    _server_side: bool

    @property
    def server_side(self) -> bool:
        """Whether this is the server."""
        return self._server_side

    @property
    def server_hostname(self) -> str | None:
        """The name that the client asked for (``SSL_get_servername``). None: none, or not yet."""
        if not self._server_side:
            return self._server_hostname
        out = ffi.new("char[256]")
        n = check(lib.pev_ssl_asked_name(self._h, out, 256), self)
        return bytes(ffi.buffer(out, n)).decode("ascii", "backslashreplace") if n else None

    @property
    def handshake_time(self) -> float | None:
        """Seconds that the handshake took, from when the stream below was open. None: it isn't done."""
        seconds = lib.pev_ssl_handshake_time(self._h)
        return None if seconds < 0 else float(seconds)

    # ------------------------------------------------------------ what was agreed on

    @property
    def version(self) -> str | None:
        """The version spoken, such as ``"TLSv1.3"`` (``SSL_get_version``). None before the handshake is done."""
        name = lib.pev_ssl_version(self._h)
        if not name:
            if ffi.errno:
                check(-ffi.errno, self)
            return None
        return str(ffi.string(name).decode())

    @property
    def cipher(self) -> Cipher | None:
        """The cipher in use (``SSL_get_current_cipher``). None before the handshake is done."""
        name, protocol, bits = ffi.new("const char **"), ffi.new("const char **"), ffi.new("int *")
        if not check(lib.pev_ssl_cipher(self._h, name, protocol, bits), self):
            return None
        return Cipher(ffi.string(name[0]).decode(), ffi.string(protocol[0]).decode(), bits[0])

    def shared_ciphers(self) -> list[Cipher] | None:
        """For a server: the ciphers that the client offered and this side has, in the client's order
        (``SSL_get_client_ciphers``). None: not known, as for clients.
        """
        name, protocol, bits = ffi.new("const char **"), ffi.new("const char **"), ffi.new("int *")
        found: list[Cipher] = []
        while check(lib.pev_ssl_shared_cipher(self._h, len(found), name, protocol, bits), self):
            found.append(Cipher(ffi.string(name[0]).decode(), ffi.string(protocol[0]).decode(), bits[0]))
        return found or None

    @property
    def group(self) -> str | None:
        """The group of the key exchange, such as ``"X25519"`` (``SSL_get_negotiated_group``). None: none, or not yet."""
        name = lib.pev_ssl_group(self._h)
        if not name:
            if ffi.errno:
                check(-ffi.errno, self)
            return None
        return str(ffi.string(name).decode())

    @property
    def alpn_protocol(self) -> str | None:
        """The protocol that was agreed on (``SSL_get0_alpn_selected``). None: none."""
        out = ffi.new("char[256]")
        n = check(lib.pev_ssl_alpn(self._h, out), self)
        return bytes(ffi.buffer(out, n)).decode("utf-8", "backslashreplace") if n else None

    def selected_alpn_protocol(self) -> str | None:
        """The same as alpn_protocol."""
        return self.alpn_protocol

    def compression(self) -> None:
        """None: nothing is ever compressed."""

    @property
    def session_reused(self) -> bool:
        """Whether the handshake resumed an earlier session (``SSL_session_reused``)."""
        return bool(check(lib.pev_ssl_session_reused(self._h), self))

    def pending(self) -> int:
        """How many bytes OpenSSL has decrypted that didn't come to the input yet (``SSL_pending``)."""
        return check(lib.pev_ssl_pending(self._h), self)

    # ------------------------------------------------------------ with whom

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate, as DER (``SSL_get1_peer_certificate``). None: it showed none, or not yet."""
        out = ffi.new("unsigned char **")
        n = check(lib.pev_ssl_peer_certificate(self._h, out), self)
        return taken(out[0], n)

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The peer's certificate as stdlib's ``SSLSocket.getpeercert()`` gives it.

        Args:
            binary_form: As DER, whether it was verified or not. Otherwise as a dict, which is empty for one that wasn't.

        Returns:
            None: the peer showed none.
        """
        der = self.peer_certificate
        if der is None or binary_form:
            return der
        return decoded(der) if self.verified else {}

    @property
    def verified(self) -> bool:
        """Whether the peer showed a certificate that was verified."""
        return bool(lib.pev_ssl_is_verified(self._h)) and self.peer_certificate is not None

    def get_unverified_chain(self) -> list[bytes]:
        """The certificates that the peer sent, its own first, as DER (``SSL_get_peer_cert_chain``)."""
        return self._chain(0)

    def get_verified_chain(self) -> list[bytes]:
        """The certificates from the peer's up to an authority that is trusted, as DER (``SSL_get0_verified_chain``). Empty: it
        wasn't verified; a session that was resumed doesn't hold them.
        """
        return self._chain(1)

    def _chain(self, verified: int) -> list[bytes]:
        found: list[bytes] = []
        out = ffi.new("unsigned char **")
        while n := check(lib.pev_ssl_chain(self._h, verified, len(found), out), self):
            found.append(taken(out[0], n) or b"")
        return found

    @property
    def ocsp_response(self) -> bytes | None:
        """The OCSP response that the server stapled, as DER (``SSL_get_tlsext_status_ocsp_resp``). None: none."""
        out = ffi.new("const unsigned char **")
        n = check(lib.pev_ssl_ocsp_response(self._h, out), self)
        return bytes(ffi.buffer(out[0], n)) if n else None

    # ------------------------------------------------------------ keys

    def export_keying_material(self, label: str | bytes, length: int, context: bytes | None = None) -> bytes:
        """Key material that only both ends know (RFC 5705, ``SSL_export_keying_material``).

        Args:
            label: What it is for, such as ``"EXPERIMENTAL my protocol"``.
            length: How many bytes, from 1 to 65536; TLS 1.3 gives at most 255 times what its hash has, 8160 with SHA-256.
            context: What it shall depend on too. None: nothing, which isn't the same as nothing in it under TLS 1.2.

        Raises:
            OSError: ENOTCONN: the handshake isn't done.
            TLSError: A label that OpenSSL keeps for itself.
        """
        raw = label.encode() if isinstance(label, str) else label
        if not isinstance(raw, bytes):
            raise TypeError(f"label must be a str or bytes, not {type(label).__name__}")
        if context is not None and not isinstance(context, bytes):
            raise TypeError(f"context must be bytes or None, not {type(context).__name__}")
        if context is not None and len(context) > 0xFFFF:
            raise ValueError(f"context must be at most 65535 bytes long, not {len(context)}")
        n = check_int(length, "length", 1, _MOST_KEY)
        out = ffi.new("unsigned char[]", n)
        about = context or b""
        code = lib.pev_ssl_export(self._h, raw, len(raw), about, len(about), context is not None, out, n)
        if code == -lib.PEV_ETLS:
            check(code, f"exporting {label!r}")
        self._check_open(code)
        return bytes(ffi.buffer(out, n))

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """What binds a proof of identity inside to this connection.

        Args:
            cb_type: ``"tls-unique"`` (RFC 5929; not under TLS 1.3), ``"tls-server-end-point"`` (RFC 5929) or ``"tls-exporter"``
                (RFC 9266).

        Returns:
            The bytes. None: the handshake isn't done, or this version has none of that kind.
        """
        if cb_type not in ("tls-unique", "tls-server-end-point", "tls-exporter"):
            raise ValueError(f"cb_type must be tls-unique, tls-server-end-point or tls-exporter, not {cb_type!r}")
        protocol = lib.pev_ssl_protocol(self._h)
        if not protocol:
            check(lib.pev_bev_check(self._h), self)
            return None
        if cb_type == "tls-exporter":
            return self.export_keying_material(_CHANNEL_BINDING, 32, b"")
        out = ffi.new("unsigned char[64]")
        if cb_type == "tls-server-end-point":
            n = check(lib.pev_ssl_end_point(self._h, out), self)
        elif protocol >= lib.TLS1_3_VERSION:
            return None
        else:  # the first Finished message: the client's, or the server's where a session was resumed
            n = check(lib.pev_ssl_finished(self._h, self.session_reused != self._server_side, out, 64), self)
        return bytes(ffi.buffer(out, n)) if n else None

    def key_update(self, *, request_peer: bool = True) -> None:
        """Go on with new keys (``SSL_key_update``). TLS 1.3 only.

        Args:
            request_peer: Have the peer do the same.

        Raises:
            OSError: ENOTCONN: the handshake isn't done.
            TLSError: It isn't TLS 1.3.
        """
        self._check_open(lib.pev_ssl_new_keys(self._h, bool(request_peer)))

    @property
    def renegotiations(self) -> int:
        """How often hands were shaken once more (``SSL_total_renegotiations``)."""
        return int(lib.pev_ssl_renegotiations(self._h))

    def verify_client_post_handshake(self, *, required: bool = True) -> None:
        """For a server: ask the client for its certificate after all (``SSL_verify_client_post_handshake``). TLS 1.3 only, and
        only clients whose context has ``post_handshake_auth``. ``peer_certificate`` is there when the answer came, which is
        with whatever the client sends next; a certificate that is refused is an ERROR.

        Args:
            required: No certificate is an ERROR too.

        Raises:
            OSError: ENOTCONN: the handshake isn't done.
            TLSError: The client won't, it isn't TLS 1.3, or this is no server.
        """
        self._check_open(lib.pev_ssl_ask_certificate(self._h, bool(required)))

    def _check_open(self, code: int) -> None:
        """As check(), for what makes sense once the handshake is done."""
        if code == -errno.ENOTCONN:
            raise OSError(errno.ENOTCONN, f"the handshake of {self!r} isn't done")
        check(code, self)

    def _codes(self) -> list[int]:
        out = ffi.new("unsigned long[]", lib.PEV_TLS_ERRORS)
        return [out[i] for i in range(lib.pev_ssl_errors(self._h, out, lib.PEV_TLS_ERRORS))]


__all__ = ["Cipher", "Peer"]
