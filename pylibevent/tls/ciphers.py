"""The part of a TLSContext that says what is spoken: versions, ciphers, groups, signatures; and its keys and secrets."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from .._libevent import ffi, lib
from ..errors import check, check_callable, check_int
from .material import encoded, words
from .names import Names

PSKClientCallback: TypeAlias = Callable[[str | None], tuple[str | None, bytes]]
PSKServerCallback: TypeAlias = Callable[[str | None], bytes]

_VERSIONS = {
    ssl.TLSVersion.TLSv1: lib.TLS1_VERSION,
    ssl.TLSVersion.TLSv1_1: lib.TLS1_1_VERSION,
    ssl.TLSVersion.TLSv1_2: lib.TLS1_2_VERSION,
    ssl.TLSVersion.TLSv1_3: lib.TLS1_3_VERSION,
}
_BACK = {number: version for version, number in _VERSIONS.items()}
_MOST_HINT = 128


class Ciphers(Names):
    """See TLSContext."""

    __slots__ = ("_keylog", "_psk_callback")

    _keylog: str | None
    _psk_callback: Callable[..., Any] | None

    def _start_ciphers(self) -> None:
        self._keylog = self._psk_callback = None

    @property
    def protocol(self) -> ssl._SSLMethod:
        """``ssl.PROTOCOL_TLS_SERVER`` or ``ssl.PROTOCOL_TLS_CLIENT``."""
        return ssl.PROTOCOL_TLS_SERVER if self._server_side else ssl.PROTOCOL_TLS_CLIENT

    @property
    def minimum_version(self) -> ssl.TLSVersion:
        """The lowest version spoken; may be set (``SSL_CTX_set_min_proto_version``)."""
        return _BACK.get(lib.pev_tls_get_version(self._h, 0), ssl.TLSVersion.MINIMUM_SUPPORTED)

    @minimum_version.setter
    def minimum_version(self, version: ssl.TLSVersion) -> None:
        self._set_versions(version, self.maximum_version, "minimum_version")

    @property
    def maximum_version(self) -> ssl.TLSVersion:
        """The highest version spoken; may be set (``SSL_CTX_set_max_proto_version``)."""
        return _BACK.get(lib.pev_tls_get_version(self._h, 1), ssl.TLSVersion.MAXIMUM_SUPPORTED)

    @maximum_version.setter
    def maximum_version(self, version: ssl.TLSVersion) -> None:
        self._set_versions(self.minimum_version, version, "maximum_version")

    def _set_versions(self, minimum: ssl.TLSVersion, maximum: ssl.TLSVersion, name: str) -> None:
        low = 0 if minimum == ssl.TLSVersion.MINIMUM_SUPPORTED else _version(minimum, name)
        high = 0 if maximum == ssl.TLSVersion.MAXIMUM_SUPPORTED else _version(maximum, name)
        if low and high and low > high:
            raise ValueError(f"{name}: from {minimum.name} to {maximum.name} there is no version")
        check(lib.pev_tls_set_versions(self._h, low, high), f"setting {name}")

    @property
    def options(self) -> ssl.Options:
        """OpenSSL's options; may be set (``SSL_CTX_set_options``). Without ``ssl.OP_NO_RENEGOTIATION`` a connection under
        TLS 1.2 may be renegotiated, and a peer may make us work.
        """
        return ssl.Options(lib.pev_tls_get_options(self._h))

    @options.setter
    def options(self, options: ssl.Options) -> None:
        if isinstance(options, bool) or not isinstance(options, int):
            raise TypeError(f"options must be of ssl.Options, not {type(options).__name__}")
        bits = int(options) & (2**32 - 1) if -(2**31) <= int(options) < 0 else int(options)
        lib.pev_tls_set_options(self._h, check_int(bits, "options", 0, 2**64 - 1))

    @property
    def security_level(self) -> int:
        """OpenSSL's security level, from 0 to 5 (``SSL_CTX_set_security_level``): 2, where we begin, takes no keys with less
        than 112 bits of security, such as RSA of 1024 bits. May be set, also to less for those who must.
        """
        return int(lib.pev_tls_get_security_level(self._h))

    @security_level.setter
    def security_level(self, level: int) -> None:
        lib.pev_tls_set_security_level(self._h, check_int(level, "security_level", 0, 5))

    # ------------------------------------------------------------ ciphers

    def set_ciphers(self, ciphers: str) -> None:
        """The ciphers for TLS 1.2 and below, as OpenSSL lists them (``SSL_CTX_set_cipher_list``).

        Raises:
            TLSError: No cipher of this OpenSSL is among them.
        """
        if not isinstance(ciphers, str):
            raise TypeError(f"ciphers must be a str, not {type(ciphers).__name__}")
        check(lib.pev_tls_set_ciphers(self._h, words(ciphers, "ciphers")), f"setting the ciphers {ciphers!r}")

    def set_ciphersuites(self, ciphersuites: str | Iterable[str]) -> None:
        """The ciphers for TLS 1.3, best first (``SSL_CTX_set_ciphersuites``).

        Args:
            ciphersuites: Such as ``["TLS_AES_128_GCM_SHA256"]``, or OpenSSL's list with colons.

        Raises:
            TLSError: One of them isn't of this OpenSSL.
        """
        text = words(ciphersuites, "ciphersuites")
        check(lib.pev_tls_set_ciphersuites(self._h, text), f"setting the ciphersuites {ciphersuites!r}")

    def get_ciphers(self) -> list[dict[str, Any]]:
        """The ciphers that may be used, best first (``SSL_CTX_get_ciphers``): a dict each, with the keys ``id``, ``name``,
        ``protocol``, ``description``, ``strength_bits``, ``alg_bits`` and ``aead``.
        """
        found: list[dict[str, Any]] = []
        out = ffi.new("struct pev_cipher *")
        while lib.pev_tls_cipher_at(self._h, len(found), out):
            found.append(
                {
                    "id": out.id,
                    "name": ffi.string(out.name).decode(),
                    "protocol": ffi.string(out.protocol).decode(),
                    "description": ffi.string(out.description).decode().strip(),
                    "strength_bits": out.bits,
                    "alg_bits": out.algorithm_bits,
                    "aead": bool(out.is_aead),
                }
            )
        return found

    def set_groups(self, groups: str | Iterable[str]) -> None:
        """The groups for key exchange, best first (``SSL_CTX_set1_groups_list``).

        Args:
            groups: Such as ``["X25519", "P-256"]``, or OpenSSL's list with colons.

        Raises:
            TLSError: One of them isn't of this OpenSSL.
        """
        check(lib.pev_tls_set_groups(self._h, words(groups, "groups")), f"setting the groups {groups!r}")

    def set_ecdh_curve(self, curve: str) -> None:
        """The one curve for key exchange: stdlib's name for set_groups()."""
        if not isinstance(curve, str):
            raise TypeError(f"curve must be a str, not {type(curve).__name__}")
        self.set_groups(curve)

    def set_sigalgs(self, sigalgs: str | Iterable[str]) -> None:
        """The signatures that are taken and made, best first (``SSL_CTX_set1_sigalgs_list``).

        Args:
            sigalgs: Such as ``["ECDSA+SHA256", "RSA-PSS+SHA256"]``, or OpenSSL's list with colons.

        Raises:
            TLSError: One of them isn't of this OpenSSL.
        """
        check(lib.pev_tls_set_sigalgs(self._h, words(sigalgs, "sigalgs")), f"setting the signatures {sigalgs!r}")

    def load_dh_params(self, path: str | os.PathLike[str]) -> None:
        """Accepted for stdlib's sake: finite-field groups come with the security level, and files of them have no use."""
        with open(path, "rb"):
            pass

    # ------------------------------------------------------------ keys in advance

    def set_psk_client_callback(self, callback: PSKClientCallback | None) -> None:
        """Ask for the key that both sides have (``SSL_CTX_set_psk_client_callback``). For clients.

        Args:
            callback: Called as ``callback(hint)`` with the server's hint, or None, while the handshake waits; returns the
                identity, or None for an empty one, and the key of 1 to 512 bytes; an empty key goes on without.
        """
        if self._server_side:
            raise ValueError("set_psk_client_callback is for clients")
        check_callable(callback, "callback")
        check(lib.pev_tls_set_psk(self._h, callback is not None, ffi.NULL), self)
        self._psk_callback = callback

    def set_psk_server_callback(self, callback: PSKServerCallback | None, identity_hint: str | None = None) -> None:
        """Ask for the key that both sides have (``SSL_CTX_set_psk_server_callback``). For servers, which then need no
        certificate.

        Args:
            callback: Called as ``callback(identity)`` while the handshake waits; returns the key of 1 to 512 bytes; an empty
                one says that nobody is known by this identity.
            identity_hint: What clients are told under TLS 1.2, at most 128 bytes.
        """
        if not self._server_side:
            raise ValueError("set_psk_server_callback is for servers")
        check_callable(callback, "callback")
        if identity_hint is not None and not isinstance(identity_hint, str):
            raise TypeError(f"identity_hint must be a str, not {type(identity_hint).__name__}")
        hint = ffi.NULL if identity_hint is None else identity_hint.encode()
        if identity_hint is not None and (len(hint) > _MOST_HINT or b"\0" in hint):
            raise ValueError(f"identity_hint must be at most {_MOST_HINT} bytes long, without a zero byte")
        check(lib.pev_tls_set_psk(self._h, callback is not None, hint), self)
        self._psk_callback = callback

    # ------------------------------------------------------------ secrets

    @property
    def keylog_filename(self) -> str | None:
        """The file to which the secrets of connections are added, for debugging; None: none. May be set: the file is made, and
        made readable by its owner only (``SSL_CTX_set_keylog_callback``).

        Raises:
            OSError: The file can't be written, or isn't ours.
        """
        return self._keylog

    @keylog_filename.setter
    def keylog_filename(self, path: str | os.PathLike[str] | None) -> None:
        raw = ffi.NULL if path is None else encoded(path)
        check(lib.pev_tls_set_keylog(self._h, raw), self)
        self._keylog = None if path is None else os.fsdecode(path)


def _version(version: Any, name: str) -> int:
    try:
        return int(_VERSIONS[version])
    except (KeyError, TypeError):
        raise ValueError(f"{name} must be an ssl.TLSVersion from TLSv1 to TLSv1_3, not {version!r}") from None
