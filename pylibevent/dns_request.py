"""DNSRequest: a question to a DNSBase, and what was answered (csrc/resolve.c)."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ._handle import Handle
from ._libevent import ffi, lib
from .addresses import from_c
from .errors import DNSError, check

if TYPE_CHECKING:
    from .dns import DNSBase
    from .event import EventBase

DNSCallback: TypeAlias = "Callable[[DNSRequest], object]"

_EVDNS_TO_GAI = {  # what evdns says, in getaddrinfo's terms
    1: socket.EAI_FAIL,
    2: socket.EAI_AGAIN,
    3: socket.EAI_NONAME,
    4: socket.EAI_FAIL,
    5: socket.EAI_FAIL,
    65: socket.EAI_FAIL,
    67: socket.EAI_AGAIN,
    70: socket.EAI_NODATA,
}
_CANCELLED = -101  # EVUTIL_EAI_CANCEL, which the system's getaddrinfo doesn't have


class DNSRequest(Handle):
    """A question to a DNSBase, under way or answered; made by its methods."""

    __slots__ = ("_base", "_callback", "_cancelled", "_dns", "_id", "_port", "question")

    _base: EventBase
    _callback: DNSCallback
    _cancelled: bool
    _dns: DNSBase
    _id: int
    _port: int
    question: str

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise TypeError("a DNSRequest isn't made itself: a DNSBase makes it")

    @classmethod
    def _made(cls, dns: DNSBase, handle: Any, number: int, question: str, port: int, callback: DNSCallback) -> Self:
        self = cls.__new__(cls)
        self._own(handle)
        self._dns = dns
        self._base = dns.base
        self._id = number
        self._port = port
        self._callback = callback
        self._cancelled = False
        self.question = question
        self._base._armed[number] = self
        return self

    def _ready(self, what: int, detail: int) -> None:
        self._base._armed.pop(self._id, None)
        if not self._cancelled and not self._dns.closed:
            self._callback(self)

    @property
    def done(self) -> bool:
        """Whether there is an answer, or will be none."""
        return self._result()[0] is not None

    def _result(self) -> tuple[int | None, bool]:
        is_gai = ffi.new("int *")
        code = lib.pev_dns_request_result(self._h, is_gai)
        return (None if code < 0 else code), bool(is_gai[0])

    @property
    def error(self) -> DNSError | None:
        """Why there is no answer (``evdns_err_to_string``); None if there is one, or none yet."""
        code, is_gai = self._result()
        if not code:
            return None
        if lib.pev_dns_request_unasked(self._h) and not self._cancelled:
            return DNSError(socket.EAI_AGAIN, f"{self.question}: there is no name server to ask")
        if is_gai:
            text = ffi.string(lib.pev_dns_gai_text(-code)).decode()
            return DNSError(-code, f"{self.question}: {text}")
        text = ffi.string(lib.pev_dns_error_text(code)).decode()
        return DNSError(_EVDNS_TO_GAI.get(code, _CANCELLED), f"{self.question}: {text}")

    @property
    def addresses(self) -> list[Any]:
        """The addresses that answer it: for getaddrinfo() socket addresses, else numeric hosts."""
        found = []
        for i in range(lib.pev_dns_request_count(self._h)):
            address = lib.pev_dns_request_address(self._h, i)
            if address:
                found.append(from_c(address) if self._port >= 0 else from_c(address)[0])
        return found

    @property
    def names(self) -> list[str]:
        """The names that answer resolve_reverse()."""
        found = (lib.pev_dns_request_name(self._h, i) for i in range(lib.pev_dns_request_count(self._h)))
        return [ffi.string(name).decode(errors="replace") for name in found if name]

    @property
    def ttl(self) -> int:
        """For how many seconds the answer is good; 0 for getaddrinfo()."""
        return int(lib.pev_dns_request_ttl(self._h))

    def cancel(self) -> None:
        """Don't call back any more (``evdns_cancel_request``, ``evdns_getaddrinfo_cancel``). Idempotent."""
        self._cancelled = True
        code = lib.pev_dns_request_cancel(self._h)
        if code != -lib.PEV_ECLOSED:
            check(code, self)

    def _describe(self) -> str:
        code, _ = self._result()
        state = "cancelled" if self._cancelled else "under way" if code is None else "answered" if code == 0 else "failed"
        return f"<DNSRequest {self.question}, {state}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting():
            with contextlib.suppress(AttributeError):
                lib.pev_dns_request_drop(object.__getattribute__(self, "_h"))


__all__ = ["DNSCallback", "DNSRequest"]
