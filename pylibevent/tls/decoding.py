"""Certificates as stdlib's ssl shows them: a dict of tuples."""

from __future__ import annotations

from typing import Any

from .._libevent import ffi, lib


def decoded(der: bytes) -> dict[str, Any]:
    """What ``ssl.SSLSocket.getpeercert()`` would give for this certificate.

    Raises:
        ValueError: The bytes are no certificate.
    """
    n = ffi.new("int *")
    text = lib.pev_certificate_fields(der, len(der), n)
    if not text:
        raise ValueError("that isn't a certificate as DER")
    try:
        data = bytes(ffi.buffer(text, n[0]))
    finally:
        lib.pev_free(text)
    return _gather(data)


def _gather(data: bytes) -> dict[str, Any]:
    names: dict[str, list[list[tuple[str, str]]]] = {"S": [], "I": []}
    fields: dict[str, Any] = {}
    lists: dict[str, list[Any]] = {}
    at, last = 0, ("", -1)
    while at < len(data):
        kind = chr(data[at])
        comma = data.index(b",", at)
        level = int(data[at + 1 : comma])
        name, at = _piece(data, comma + 1)
        value, at = _piece(data, at)
        key = name.decode()
        if kind in names:
            if last != (kind, level):
                names[kind].append([])
            names[kind][-1].append((key, value.decode("utf-8", "replace")))
        elif kind == "F":
            fields[key] = value.decode()
        elif kind == "A":
            lists.setdefault("subjectAltName", []).append((key, _alternative(key, value)))
        else:
            lists.setdefault(key, []).append(value.decode("ascii", "replace"))
        last = (kind, level)
    found: dict[str, Any] = {
        "subject": tuple(tuple(part) for part in names["S"]),
        "issuer": tuple(tuple(part) for part in names["I"]),
        "version": int(fields.pop("version")),
        **fields,
    }
    return found | {key: tuple(values) for key, values in lists.items()}


def _piece(data: bytes, at: int) -> tuple[bytes, int]:
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end], end


def _alternative(kind: str, value: bytes) -> str:
    if kind != "IP Address":
        return value.decode("ascii", "replace")
    if len(value) == 4:
        return ".".join(str(part) for part in value)
    if len(value) == 16:  # as stdlib writes it
        return ":".join(f"{value[i] << 8 | value[i + 1]:X}" for i in range(0, 16, 2))
    return "<invalid>"
