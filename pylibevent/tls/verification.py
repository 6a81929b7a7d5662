"""The part of a TLSContext that says how peers are verified."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from .._libevent import ffi, lib
from ..errors import check, check_callable, check_int
from .answers import VerifyStep
from .certificates import Certificates
from .material import Material, certificates, is_path

if TYPE_CHECKING:
    from .bufferevent import TLSBufferEvent
    from .deferred import Answer

    VerifyCallback: TypeAlias = Callable[[TLSBufferEvent, VerifyStep], Answer[bool]]
    OCSPCallback: TypeAlias = Callable[[TLSBufferEvent, bytes], bool]

_VERIFY = {
    ssl.CERT_NONE: lib.SSL_VERIFY_NONE,
    ssl.CERT_OPTIONAL: lib.SSL_VERIFY_PEER,
    ssl.CERT_REQUIRED: lib.SSL_VERIFY_PEER | lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
}
_ALL_FLAGS = 0x1FFFFF
"""The flags that OpenSSL 3 has for verification (``X509_V_FLAG_...``)."""
_MOST_DEPTH = 100
"""OpenSSL's own limit."""


class OCSP(IntEnum):
    """What a client makes of stapled OCSP responses."""

    OFF = lib.PEV_OCSP_OFF
    """The server isn't asked for one."""
    ASK = lib.PEV_OCSP_ASK
    """The server is asked; what it sends must be good."""
    REQUIRE = lib.PEV_OCSP_REQUIRE
    """The server must send one that is good."""


class Verification(Certificates):
    """See TLSContext."""

    __slots__ = (
        "_check_hostname",
        "_common_names",
        "_late_auth",
        "_ocsp",
        "_ocsp_callback",
        "_ocsp_response",
        "_verify_callback",
        "_verify_mode",
    )

    _check_hostname: bool
    _common_names: bool
    _late_auth: bool
    _ocsp: OCSP
    _ocsp_callback: OCSPCallback | None
    _ocsp_response: bytes | None
    _verify_callback: VerifyCallback | None
    _verify_mode: ssl.VerifyMode

    def _start_verification(self, *, server_side: bool) -> None:
        self._check_hostname = not server_side
        self._common_names = self._late_auth = False
        self._ocsp = OCSP.OFF
        self._ocsp_callback = self._ocsp_response = self._verify_callback = None
        self._verify_mode = ssl.CERT_NONE if server_side else ssl.CERT_REQUIRED

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        """Whether the peer's certificate is asked for and verified: ``ssl.CERT_NONE``, ``CERT_OPTIONAL``,
        ``CERT_REQUIRED``; may be set (``SSL_CTX_set_verify``).
        """
        return self._verify_mode

    @verify_mode.setter
    def verify_mode(self, mode: ssl.VerifyMode) -> None:
        try:
            mode = ssl.VerifyMode(mode)
        except ValueError:
            raise ValueError(f"verify_mode must be CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED, not {mode!r}") from None
        if mode == ssl.CERT_NONE and self._check_hostname:
            raise ValueError("verify_mode can't be CERT_NONE while check_hostname is on: set that to False before")
        check(lib.pev_tls_set_verify(self._h, _VERIFY[mode]), self)
        self._verify_mode = mode

    @property
    def check_hostname(self) -> bool:
        """Whether the certificate must be for ``server_hostname``; for clients; may be set.

        Setting it to True sets verify_mode to CERT_REQUIRED where that is CERT_NONE.
        """
        return self._check_hostname

    @check_hostname.setter
    def check_hostname(self, value: bool) -> None:
        _check_bool(value, "check_hostname")
        if value and self._server_side:
            raise ValueError("check_hostname can't be on for servers: clients' certificates aren't for hosts")
        if value and self._verify_mode == ssl.CERT_NONE:
            self.verify_mode = ssl.CERT_REQUIRED
        self._check_hostname = value

    @property
    def hostname_checks_common_name(self) -> bool:
        """Whether the common name counts where a certificate has no other names for hosts; may be set
        (``X509_VERIFY_PARAM_set_hostflags``). False: such certificates are for no host, as RFC 9525 wants it.
        """
        return self._common_names

    @hostname_checks_common_name.setter
    def hostname_checks_common_name(self, value: bool) -> None:
        lib.pev_tls_set_common_names(self._h, _check_bool(value, "hostname_checks_common_name"))
        self._common_names = value

    @property
    def verify_flags(self) -> ssl.VerifyFlags:
        """How strictly chains are verified; may be set (``X509_VERIFY_PARAM_set_flags``)."""
        return ssl.VerifyFlags(lib.pev_tls_get_verify_flags(self._h))

    @verify_flags.setter
    def verify_flags(self, flags: ssl.VerifyFlags) -> None:
        if isinstance(flags, bool) or not isinstance(flags, int):
            raise TypeError(f"verify_flags must be of ssl.VerifyFlags, not {type(flags).__name__}")
        check(lib.pev_tls_set_verify_flags(self._h, check_int(int(flags), "verify_flags", 0, _ALL_FLAGS)), self)

    @property
    def verify_depth(self) -> int | None:
        """How many certificates may be between the peer's and the authority's, from 0 to 100; None: OpenSSL's own limit
        (``SSL_CTX_set_verify_depth``). May be set.
        """
        depth = lib.pev_tls_get_verify_depth(self._h)
        return None if depth < 0 else int(depth)

    @verify_depth.setter
    def verify_depth(self, depth: int | None) -> None:
        level = -1 if depth is None else check_int(depth, "verify_depth", 0, _MOST_DEPTH)
        lib.pev_tls_set_verify_depth(self._h, level)

    def load_crl(self, crl: Material, *, chain: bool = False) -> None:
        """Refuse what is on these lists of revoked certificates (``X509_STORE_add_crl``). From now on a list must be there for
        each peer's issuer.

        Args:
            crl: A path, PEM or DER bytes, a list of ``cryptography``'s, or several of them.
            chain: There must be lists for all issuers of a chain, and not for the peer's alone.

        Raises:
            OSError: The file can't be read.
            TLSError: It holds no such list.
        """
        data = certificates(crl, "crl")
        check(lib.pev_tls_add_crl(self._h, data, len(data)), f"loading {crl!r}" if is_path(crl) else "loading the list given")
        self.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN if chain else ssl.VERIFY_CRL_CHECK_LEAF

    @property
    def verify_callback(self) -> VerifyCallback | None:
        """Has the last word on each certificate of a peer's chain; may be set (``SSL_CTX_set_verify``).

        It is called as ``callback(bev, step)`` with a VerifyStep, from the authority down to the peer, while the handshake
        waits, and several times for one certificate if several things are wrong. True accepts it, whatever OpenSSL found;
        False refuses it; what it raises refuses it, and comes out of the loop. It must neither use nor close anything.

        It may be a coroutine function, or return a DeferredAnswer or a future, and the loop goes on meanwhile. A client's
        handshake waits for that, and asks about the next certificate afterwards. OpenSSL has no such thing for servers:
        there the handshake goes on, all certificates are asked about, and until all answers are there the connection isn't
        CONNECTED, nothing is read from the client or written to it, and it gets no session. A client that is refused then
        doesn't hear why: the connection ends. Under TLS 1.2 no session of one that was approved of later is resumed. In
        later handshakes of a connection there is no waiting: TypeError.
        """
        return self._verify_callback

    @verify_callback.setter
    def verify_callback(self, callback: VerifyCallback | None) -> None:
        check_callable(callback, "verify_callback")
        self._verify_callback = callback
        lib.pev_tls_ask(self._h, lib.PEV_ASK_VERIFY, callback is not None)
        check(lib.pev_tls_set_verify(self._h, _VERIFY[self._verify_mode]), self)

    @property
    def post_handshake_auth(self) -> bool:
        """Whether a client shows its certificate when it is asked after the handshake, under TLS 1.3; may be set
        (``SSL_CTX_set_post_handshake_auth``).
        """
        return self._late_auth

    @post_handshake_auth.setter
    def post_handshake_auth(self, value: bool) -> None:
        lib.pev_tls_set_late_auth(self._h, _check_bool(value, "post_handshake_auth"))
        self._late_auth = value

    # ------------------------------------------------------------ OCSP

    @property
    def ocsp(self) -> OCSP:
        """What a client makes of stapled OCSP responses; may be set (``SSL_CTX_set_tlsext_status_type``).

        A good one is signed by the authority or by whom it named, current, and says that the certificate is not revoked.
        """
        return self._ocsp

    @ocsp.setter
    def ocsp(self, policy: OCSP) -> None:
        if self._server_side:
            raise ValueError("ocsp is for clients; servers have ocsp_response")
        try:
            policy = OCSP(policy)
        except ValueError:
            raise ValueError(f"ocsp must be OCSP.OFF, ASK or REQUIRE, not {policy!r}") from None
        lib.pev_tls_set_ocsp_policy(self._h, policy)
        self._ocsp = policy

    @property
    def ocsp_callback(self) -> OCSPCallback | None:
        """Has the last word on OCSP responses that are good; may be set. It sets ``ocsp`` to ASK where that is OFF.

        It is called as ``callback(bev, response)`` with the bytes, which are empty if the server sent none; True goes on.
        The same holds for it as for verify_callback, but it can't answer later.
        """
        return self._ocsp_callback

    @ocsp_callback.setter
    def ocsp_callback(self, callback: OCSPCallback | None) -> None:
        check_callable(callback, "ocsp_callback")
        if callback is not None and self._ocsp == OCSP.OFF:
            self.ocsp = OCSP.ASK
        self._ocsp_callback = callback
        lib.pev_tls_ask(self._h, lib.PEV_ASK_OCSP, callback is not None)

    @property
    def ocsp_response(self) -> bytes | None:
        """The OCSP response that a server staples, as DER; None: none. May be set, as often as there is a newer one."""
        return self._ocsp_response

    @ocsp_response.setter
    def ocsp_response(self, response: bytes | None) -> None:
        if not self._server_side:
            raise ValueError("ocsp_response is for servers; clients have ocsp")
        if response is not None and not isinstance(response, bytes | bytearray):
            raise TypeError(f"ocsp_response must be bytes or None, not {type(response).__name__}")
        data = bytes(response or b"")
        if len(data) > 0xFFFF:
            raise ValueError(f"ocsp_response must be at most 65535 bytes long, not {len(data)}")
        check(lib.pev_tls_set_ocsp_response(self._h, data or ffi.NULL, len(data)), self)
        self._ocsp_response = data or None


def _check_bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value
