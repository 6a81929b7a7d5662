"""The exceptions, and the one door through which a code from C becomes one.

C functions return 0 or more, or a negative code: -errno, or one of our own (csrc/event.cdef.h). ``check`` lets the first
kind through and raises the second. Functions that return a pointer go through ``check_pointer``.
"""

from __future__ import annotations

import errno
import operator
import os
import socket
import ssl
import sys
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from ._libevent import ffi, lib
from ._library import drain_log

if TYPE_CHECKING:
    from typing_extensions import Buffer as BytesLike

_Choice = TypeVar("_Choice", bound=IntEnum)

MAX_SECONDS = 1e9
MAX_INT = 2**31 - 1
MAX_SIZE = sys.maxsize // 2


class Error(Exception):
    """Whatever goes wrong in pylibevent and isn't an error of the operating system or a wrong argument."""


class ClosedError(Error):
    """The object was closed before."""


class ForkedError(Error):
    """A base, or something on it, was used in a forked child before ``EventBase.reinit()``."""


class DNSError(Error, socket.gaierror):
    """A name could not be resolved. ``errno`` is one of ``socket.EAI_*``."""


class TLSError(Error, ssl.SSLError):
    """TLS failed.

    Attributes:
        library: The part of OpenSSL that said so, such as ``"SSL"``.
        reason: What it said, such as ``"WRONG_VERSION_NUMBER"``, or None.
        code: OpenSSL's number for both, 0 if there is none.
        verify_code: Why a certificate was refused, as a number (``X509_V_ERR_...``). 0: none was.
        verify_message: The same as text. Empty: none was.
        alert: The alert that the peer sent: it refused. None: it sent none.
        alert_sent: The alert that the peer was sent: this side refused. None: it was sent none.
    """

    library: str
    reason: str
    code: int = 0
    verify_code: int = 0
    verify_message: str = ""
    alert: ssl.AlertDescription | None = None
    alert_sent: ssl.AlertDescription | None = None


class TLSCertificateError(TLSError, ssl.SSLCertVerificationError):
    """The peer's certificate was refused. ``verify_code`` and ``verify_message`` say why."""

    verify_code: int
    verify_message: str


class TLSEOFError(TLSError, ssl.SSLEOFError):
    """The peer ended the connection without saying so inside TLS: the data may be cut short by somebody else."""


class FilterError(Error):
    """A filter can't go on: its data is damaged, cut short, or longer than allowed."""


class ExpansionError(FilterError):
    """Compressed data became larger than was allowed."""


class HandshakeTimeout(TLSError, TimeoutError):
    """The handshake took longer than it may."""


class BufferedDataError(Error):
    """Plain bytes that came in before TLS was started: whoever is between the peers may have put them there."""


_ALERT_REASONS = 1000
"""From here on a reason of OpenSSL's is an alert of the peer's (``SSL_AD_REASON_OFFSET``)."""


def _tls_parts(code: int) -> tuple[str, str]:
    library, reason = lib.pev_tls_library(code), lib.pev_tls_reason(code)
    return (
        ffi.string(library).decode() if library else "TLS",
        ffi.string(reason).decode() if reason else f"error {code:#x}",
    )


def alert_of(number: int) -> ssl.AlertDescription | None:
    """The alert with this number; None: there is none, or Python has no name for it."""
    try:
        return ssl.AlertDescription(number)
    except ValueError:
        return None


_OWN_REASONS = 100
"""Below this a reason only says in which part of OpenSSL it went wrong (``ERR_R_SSL_LIB`` and others)."""


def _main(codes: list[int]) -> int:
    """The one that says most: what TLS makes of it, where it does; else the oldest."""
    for code in codes:
        if _tls_parts(code)[0] == "SSL routines" and lib.pev_tls_reason_number(code) >= _OWN_REASONS:
            return code
    return codes[0] if codes else 0


def _describe(error: TLSError, codes: list[int]) -> None:
    error.code = _main(codes)
    library, reason = _tls_parts(error.code) if codes else ("", "")
    error.library = library.removesuffix(" routines").upper()
    error.reason = reason.upper().replace(" ", "_")
    if library == "SSL routines":
        error.alert = alert_of(lib.pev_tls_reason_number(error.code) - _ALERT_REASONS)


def no_key_error(where: str) -> TLSError:
    """The exception for a file without the key that should be in it; of OpenSSL one hears "unsupported"."""
    error = TLSError(ssl.SSL_ERROR_SSL, f"no private key in {where}")
    error.library, error.reason = "SSL", "NO_PRIVATE_KEY_ASSIGNED"
    return error


def tls_error(codes: list[int], *, doing: str = "") -> TLSError:
    """The exception for what OpenSSL's queue held, oldest first."""
    texts = [_tls_parts(code)[1] for code in codes]
    text = "; ".join(dict.fromkeys(texts)) or "TLS failed, and OpenSSL didn't say why"
    error = TLSError(ssl.SSL_ERROR_SSL, f"{doing}: {text}" if doing else text)
    _describe(error, codes)
    return error


def tls_certificate_error(verify_code: int, codes: list[int], *, name: str = "") -> TLSCertificateError:
    """The exception for a peer's certificate that was refused."""
    message = ffi.string(lib.pev_tls_verify_text(verify_code)).decode()
    about = f", certificate is not valid for {name!r}" if name and "mismatch" in message else ""
    error = TLSCertificateError(ssl.SSL_ERROR_SSL, f"certificate verify failed: {message}{about}")
    _describe(error, codes)
    error.verify_code, error.verify_message = verify_code, message
    return error


def late_error(seconds: float) -> HandshakeTimeout:
    """The exception for a handshake that took too long."""
    error = HandshakeTimeout(errno.ETIMEDOUT, f"the handshake was not done within {seconds:g} seconds")
    error.library, error.reason = "SSL", "HANDSHAKE_TIMEOUT"
    return error


def last_tls_error(doing: str) -> TLSError:
    """The exception for the call that has just said PEV_ETLS in this thread."""
    out = ffi.new("unsigned long[]", lib.PEV_TLS_ERRORS)
    return tls_error([out[i] for i in range(lib.pev_tls_last_errors(out, lib.PEV_TLS_ERRORS))], doing=doing)


_OWN: dict[int, tuple[Callable[[str], BaseException], str]] = {
    lib.PEV_ECLOSED: (ClosedError, "{} is closed"),
    lib.PEV_EFORKED: (ForkedError, "{} belongs to the parent process: call EventBase.reinit() first"),
    lib.PEV_EFORKEDLOOP: (
        ForkedError,
        "{} can't be used in this child: another thread was running its loop when the process forked",
    ),
    lib.PEV_ETHREAD: (
        RuntimeError,
        "{} is in use by the thread that runs its loop: have that do it, with EventBase.call_soon_threadsafe()",
    ),
    lib.PEV_ERUNNING: (RuntimeError, "the loop of {} is running already"),
    lib.PEV_EINPASS: (RuntimeError, "{} can't do that from a callback that libevent is waiting for"),
    lib.PEV_EPEEKED: (BufferError, "memoryviews of {} still exist"),
    lib.PEV_EFROZEN: (BufferError, "that end of {} can't be changed"),
    lib.PEV_ETIME: (ValueError, "{}: a time must be a number of seconds from 0 to 1e9"),
    lib.PEV_EPENDING: (RuntimeError, "{} can't be changed while events are pending or active"),
    lib.PEV_EFAILED: (Error, "libevent refused, and gave no reason: {}"),
    lib.PEV_EEDGE: (ValueError, "{}: edge- and level-triggered events can't be mixed on one descriptor"),
    lib.PEV_ETLS: (last_tls_error, "{}"),
    lib.PEV_EKIND: (TypeError, "{} is of a kind that can't do that"),
    lib.PEV_EFDS: (lambda text: OSError(errno.EMFILE, text), "too few descriptors left for an EventBase"),
    lib.PEV_ESIGNALS: (RuntimeError, "{}: another base that is running receives this process's signals"),
    lib.PEV_ERELAYED: (RuntimeError, "{} is relayed: what comes in goes to its partner, until the relay is closed"),
    lib.PEV_ECARRIES: (RuntimeError, "another bufferevent stands on {}: use, or close, that one"),
    lib.PEV_EDEEP: (RuntimeError, f"{{}} stands on others already, and at most {lib.PEV_MOST_LAYERS} may stand on each other"),
    lib.PEV_ENOLIMIT: (RuntimeError, "{} has no rate limit of its own: call set_rate_limit() first"),
    lib.PEV_ESELF: (ValueError, "{} can't be moved onto itself"),
    lib.PEV_ELISTENS: (ValueError, "sock must be a stream that carries bytes: one that listens is for Listener.from_socket()"),
    errno.ENOMEM: (MemoryError, "no memory for {}"),
    errno.ERANGE: (ValueError, "{}: beyond the end of the file"),
    lib.PEV_EVALUE: (ValueError, "{}: not a value that libevent takes here"),
}


_NAMED = frozenset({errno.EBADF, errno.EPERM, errno.EINVAL, errno.ENOTCONN})
"""Where one wants to know with what, and nobody is in a hurry, as with EAGAIN."""


def failure(code: int, subject: object, about: str | None = None) -> BaseException:
    """The exception for a code of C's, given as a positive number.

    Args:
        code: The number.
        subject: What was used, or what was done, as text.
        about: What the system refused, where that isn't the subject.
    """
    drain_log()
    if code in _OWN:
        kind, text = _OWN[code]
        said = text.format(subject if isinstance(subject, str) else repr(subject))
        instead = getattr(type(subject), "_instead", None) if code == lib.PEV_EFROZEN else None
        return kind(f"{said}{instead(subject)}" if instead is not None else said)
    if about is None and isinstance(subject, str):
        about = subject
    elif about is None and code in _NAMED:
        about = repr(subject)
    text = os.strerror(code)
    return OSError(code, text if about is None else f"{text}: {about}")


def check(code: int, subject: object) -> int:
    """Let 0 and more through; raise what a negative code stands for."""
    if code < 0:
        raise failure(-code, subject)
    return code


def check_two(code: int, subject: object, other: object) -> int:
    """The same for a call with two objects: the code says which of them it is about."""
    if code < 0:
        about_other = -code & lib.PEV_OTHER
        raise failure(-code & ~lib.PEV_OTHER, other if about_other else subject)
    return code


def check_pointer(pointer: Any, subject: object) -> Any:
    """Let a pointer through; for NULL raise what the code in errno stands for."""
    if not pointer:
        raise failure(ffi.errno, subject)
    return pointer


# ---------------------------------------------------------------- checks of arguments


def check_base(value: object) -> None:
    """TypeError unless the value is an EventBase."""
    if isinstance(value, type) or not getattr(value, "_is_base", False):
        raise TypeError(f"base must be an EventBase, not {type(value).__name__}")


def check_callable(value: object, name: str) -> None:
    """TypeError unless the value can be called, or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, not {type(value).__name__}")


def check_function(value: object, name: str) -> None:
    """TypeError unless the value can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")


def check_int(value: object, name: str, low: int, high: int) -> int:
    """The value as an int from low to high; TypeError, ValueError otherwise."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = operator.index(value)
    if not low <= number <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {number}")
    return number


def check_seconds(value: object, name: str, *, positive: bool = False, most: float = MAX_SECONDS) -> float:
    """The value as seconds from 0 (or above it) to the most; TypeError, ValueError otherwise."""
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    seconds = float(value)
    if not 0 <= seconds <= most or (positive and seconds == 0):  # so isn't NaN
        least = "above 0" if positive else "from 0"
        raise ValueError(f"{name} must be {least} up to {most:.0f} seconds, not {value!r}")
    return seconds


def check_flags(value: Any, kind: type[Any], allowed: int, name: str) -> int:
    """The value's bits, all of them among the allowed ones; TypeError, ValueError otherwise."""
    if type(value) is kind:
        bits: int = value._value_  # int() takes longer
    elif type(value) is int:
        bits = value
    elif isinstance(value, bool | Enum) or not isinstance(value, int):
        raise TypeError(f"{name} must be of {kind.__name__}, not {type(value).__name__}")
    else:
        bits = int(value)
    if bits & ~int(allowed):
        raise ValueError(f"{name} must be among {kind(allowed)!r}, not {value!r}")
    return bits


def check_choice(value: Any, kind: type[_Choice], name: str) -> _Choice:
    """The value as one of these; TypeError, ValueError otherwise."""
    if isinstance(value, kind):
        return value
    if isinstance(value, bool | Enum):
        raise TypeError(f"{name} must be of {kind.__name__}, not {type(value).__name__}")
    return kind(value)


def check_descriptor(value: object, name: str) -> int:
    """The descriptor that an int, or an object with fileno(), stands for; TypeError, ValueError otherwise."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a descriptor or have fileno(), not bool")
    if not isinstance(value, int):
        fileno = getattr(value, "fileno", None)
        if fileno is None:
            raise TypeError(f"{name} must be a descriptor or have fileno(), not {type(value).__name__}")
        value = fileno()
        if not isinstance(value, int):
            raise TypeError(f"{name}.fileno() must return an int, not {type(value).__name__}")
        if value == -1:
            raise ValueError(f"{name} must be open, and has no descriptor: it is closed, or was taken over")
    if not 0 <= value <= 0x7FFFFFFF:
        raise ValueError(f"{name} must be an open descriptor, not {value}")
    return value


def as_bytes(data: BytesLike) -> tuple[Any, int]:
    """What C takes as ``const char *`` and its length in bytes; TypeError for what isn't bytes-like."""
    if isinstance(data, bytes):
        return data, len(data)
    try:
        view = ffi.from_buffer("char[]", data)
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None
    return view, len(view)


def check_size(size: object, name: str = "size") -> int:
    """A number of bytes from 0; -1 and None, for all there is, come back as -1."""
    if size is None:
        return -1
    return check_int(size, name, -1, MAX_SIZE)
