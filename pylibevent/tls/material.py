"""What certificates and keys are given as, and how C takes them: PEM or DER bytes, read from files or made of objects.

Text and paths name files. Bytes are PEM or DER themselves. Objects of the library ``cryptography`` say what they are: they
belong to an OpenSSL of their own, so that only their bytes can be taken over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Path: TypeAlias = "str | os.PathLike[str]"
Material: TypeAlias = "Path | bytes | bytearray | Any"
Password: TypeAlias = "str | bytes | bytearray | Callable[[], str | bytes | bytearray] | None"

_MOST_PASSWORD = 1023  # OpenSSL's PEM_BUFSIZE
_MOST_BYTES = 2**24
"""No certificate or list of them is larger; what is, is the wrong file. Mozilla's list of all authorities has 200 kB."""


def encoded(path: Any) -> bytes:
    """The path as C takes it."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a path must be a str or PathLike, not {type(path).__name__}")
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError(f"a path must not contain a zero byte: {path!r}")
    return raw


def readable(path: Any) -> bytes:
    """The path; the system's own error where the file can't be read, since OpenSSL's is hard to read."""
    raw = encoded(path)
    with open(os.fspath(path), "rb"):  # as given, for the error's sake
        return raw


def directory(path: Any) -> bytes:
    """The path of a directory that is there."""
    raw = encoded(path)
    os.scandir(os.fspath(path)).close()
    return raw


def is_path(given: object) -> bool:
    """Whether it names a file."""
    return isinstance(given, str | os.PathLike)


def certificates(given: Material, name: str) -> bytes:
    """PEM or DER of one certificate or several.

    Raises:
        OSError: The file can't be read.
        TypeError, ValueError: It is nothing of the kind.
    """
    if is_path(given):
        return _read(given)
    if isinstance(given, bytes | bytearray):
        return _checked(bytes(given), name)
    if isinstance(given, list | tuple):
        if not given:
            raise ValueError(f"{name} must not be empty")
        return b"".join(_public(one, name) for one in given)
    return _public(given, name)


def key(given: Any, name: str) -> bytes:
    """PEM or DER of a private key; it may be encrypted."""
    if is_path(given):
        return _read(given)
    if isinstance(given, bytes | bytearray):
        return _checked(bytes(given), name)
    if not hasattr(given, "private_bytes"):
        raise TypeError(f"{name} must be a path, bytes, or a private key of cryptography's, not {type(given).__name__}")
    from cryptography.hazmat.primitives import serialization

    return bytes(
        given.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def secret(password: Password) -> bytes | None:
    """The password as C takes it."""
    if callable(password):
        password = password()
    if password is None:
        return None
    if isinstance(password, str):
        password = password.encode()
    if not isinstance(password, bytes | bytearray):
        raise TypeError(f"password must be a str, bytes or a callable, not {type(password).__name__}")
    if len(password) > _MOST_PASSWORD:
        raise ValueError(f"password must be at most {_MOST_PASSWORD} bytes long, not {len(password)}")
    return bytes(password)


def words(lines: str | Iterable[str], name: str) -> bytes:
    """A list in OpenSSL's notation: text with colons in it, or its parts."""
    if not isinstance(lines, str):
        try:
            parts = list(lines)
        except TypeError:
            raise TypeError(f"{name} must be a str or a list of them, not {type(lines).__name__}") from None
        if not all(isinstance(part, str) for part in parts):
            raise TypeError(f"{name} must be a str or a list of them, not {parts!r}")
        lines = ":".join(parts)
    if not lines.isascii() or "\0" in lines:
        raise ValueError(f"{name} must be ASCII without zero characters, not {lines!r}")
    return lines.encode()


def _public(given: Any, name: str) -> bytes:
    if not hasattr(given, "public_bytes") or not hasattr(given, "signature"):
        raise TypeError(f"{name} must be a path, bytes, or of cryptography's x509, not {type(given).__name__}")
    from cryptography.hazmat.primitives import serialization

    return bytes(given.public_bytes(serialization.Encoding.DER))


def _read(path: Any) -> bytes:
    encoded(path)
    with open(os.fspath(path), "rb") as file:  # as given, for the error's sake
        return file.read(_MOST_BYTES)


def _checked(data: bytes, name: str) -> bytes:
    if not data:
        raise ValueError(f"{name} must not be empty")
    if data[0] != 0x30 and b"-----BEGIN" not in data:
        raise ValueError(f"{name} must be PEM or DER where it is bytes; a path is a str")
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{name} must be at most {_MOST_BYTES} bytes long, not {len(data)}")
    return data
