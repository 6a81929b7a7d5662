"""Socket addresses as Python's socket module writes them, to C and back.

``(host, port)`` and ``(host, port, flowinfo, scope_id)`` with a numeric host are IPv4 and IPv6; a str, bytes or path is an
AF_UNIX path, and an abstract name where it starts with a zero byte. A str such as ``"0.0.0.0:80"`` is refused: who writes it
doesn't mean a path.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from typing import Any, TypeAlias

from ._libevent import ffi, lib
from .errors import check_int

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | bytes | os.PathLike[str]

_PATH_MAX = 107
_ABSTRACT_MAX = 108 if sys.platform == "linux" else _PATH_MAX
# evutil_parse_sockaddr_port reads the port with atoi, and looks at nothing that follows.
_TEXT = re.compile(r"\[[^\[\]]+\](:\d{1,5})?|[^:\[\]]+(:\d{1,5})?|[^\[\]]*:[^\[\]]*:[^\[\]]*")
_INET = int(socket.AF_INET)  # the enum member compares in Python


_HOST_AND_PORT = re.compile(r"[^/\0]*:\d{1,5}")


def _inet(address: tuple[Any, ...], names: str) -> Any:
    if len(address) not in (2, 4):
        raise ValueError(f"an address is (host, port) or (host, port, flowinfo, scope_id), not {address!r}")
    host = address[0]
    if not isinstance(host, str):
        raise TypeError(f"the host of an address must be a str, not {type(host).__name__}")
    port = check_int(address[1], "the port of an address", 0, 65535)
    host, _, scope = host.partition("%")
    try:
        ip = ipaddress.ip_address(host or "0.0.0.0")
    except ValueError:
        raise ValueError(f"the host of an address must be numeric, not {host!r}: {names}") from None
    if scope and ip.version == 4:
        raise ValueError(f"the host of an address must not have a scope where it is IPv4, as {address[0]!r} does")
    out = ffi.new("struct pev_address *")
    out.family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    out.port = port
    if ip.version == 6 and len(address) == 4:
        out.flowinfo = check_int(address[2], "the flowinfo of an address", 0, 0xFFFFF)
        out.scope_id = check_int(address[3], "the scope_id of an address", 0, 0xFFFFFFFF)
    if scope:
        out.scope_id = int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    text = str(ip).encode()
    out.length = len(text)
    ffi.memmove(out.text, text, len(text))
    return out


def _unix(path: bytes) -> Any:
    if not path:
        raise ValueError("the path of an address must not be empty")
    most = _ABSTRACT_MAX if path[:1] == b"\0" else _PATH_MAX
    if len(path) > most:
        raise ValueError(f"the path of an address must be at most {most} bytes long, not {len(path)}")
    if b"\0" in path[1:] and path[:1] != b"\0":
        raise ValueError("the path of an address must not contain a zero byte")
    out = ffi.new("struct pev_address *")
    out.family = socket.AF_UNIX
    out.length = len(path)
    ffi.memmove(out.text, path, len(path))
    return out


def check_path(path: object) -> None:
    """ValueError for a text with a host and a port in it: nobody means an AF_UNIX socket of that name."""
    if isinstance(path, str) and _HOST_AND_PORT.fullmatch(path):
        raise ValueError(f"an address is a tuple (host, port), or a path, and {path!r} is a path only with './' before it")


def to_c(address: Address, names: str = "names take connect_hostname()") -> Any:
    """The address as C takes it; TypeError, ValueError for what isn't one.

    Args:
        address: The address.
        names: What is said to who gives a name instead of a number.
    """
    if isinstance(address, tuple | list):
        return _inet(tuple(address), names)
    check_path(address)
    if isinstance(address, str | bytes | os.PathLike):
        return _unix(os.fsencode(address))
    raise TypeError(f"an address is a tuple (host, port) or a path, not {type(address).__name__}")


def from_c(address: Any) -> Any:
    """The address as Python's socket module gives it: a tuple, or for AF_UNIX a str, or bytes if abstract."""
    if address.family == _INET:
        return (ffi.string(address.text).decode(), address.port)
    if address.family == socket.AF_INET6:
        return (ffi.string(address.text).decode(), address.port, address.flowinfo, address.scope_id)
    if address.family == socket.AF_UNIX:
        name = bytes(ffi.buffer(address.text, address.length))
        return name if name[:1] == b"\0" else os.fsdecode(name)
    return None


def parse_address(text: str) -> tuple[Any, ...]:
    """An address from ``"1.2.3.4:80"``, ``"[::1]:80"``, ``"1.2.3.4"`` or ``"::1"`` (``evutil_parse_sockaddr_port``).

    Args:
        text: The numeric host, with a port or without; the port is 0 then.

    Returns:
        ``(host, port)``, for IPv6 ``(host, port, flowinfo, scope_id)``.

    Raises:
        ValueError: The text is no such address.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}")
    out = ffi.new("struct pev_address *")
    if "\0" in text or not _TEXT.fullmatch(text) or lib.pev_parse_address(text.encode(), out) < 0:
        raise ValueError(f"not a numeric address with or without a port: {text!r}")
    return tuple(from_c(out))


def is_local_name(address: object) -> bool:
    """Whether the address is an AF_UNIX one."""
    return isinstance(address, str | bytes | os.PathLike)
