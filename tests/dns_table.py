"""A name server for tests: real UDP, on the base of the test, with answers from a table."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

import dnslib

import pylibevent as ev

SILENT = "silent"
"""In place of an answer: never answer."""
NXDOMAIN = "NXDOMAIN"
SERVFAIL = "SERVFAIL"
REFUSED = "REFUSED"
FORMERR = "FORMERR"
EMPTY = "NOERROR"
"""In place of an answer: the name exists, but has no such record."""

Answer = str | list[str] | bytes
"""One of the above, records' values, or bytes to send as they are."""


class NameServer:
    """Answers what is in ``table``, by (name, type); what isn't there doesn't exist.

    ``asked`` has all that was asked, in lower case, ``spelled`` the names as they came; ``on_question`` is called with each.
    """

    def __init__(self, base: ev.EventBase, table: dict[tuple[str, str], Answer] | None = None, *, ttl: int = 300) -> None:
        self.table = dict(table or {})
        self.ttl = ttl
        self.asked: list[tuple[str, str]] = []
        self.spelled: list[str] = []
        self.on_question: Callable[[str, str], object] | None = None
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind(("127.0.0.1", 0))
        self._event = base.event(self._sock, ev.EventFlag.READ | ev.EventFlag.PERSIST, self._on_packet)
        self._event.add()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._sock.getsockname()
        return host, port

    def resolver(self, base: ev.EventBase) -> ev.DNSBase:
        """A DNSBase that asks this server only, and tries again soon."""
        dns = ev.DNSBase(base, system=False)
        dns.set_option("randomize-case", 0)
        dns.set_option("attempts", 2)
        dns.set_option("timeout", 0.3)
        dns.add_nameserver(self.address)
        return dns

    def _on_packet(self, event: ev.Event, what: ev.EventFlag) -> None:
        try:
            packet, sender = self._sock.recvfrom(4096)
        except BlockingIOError:
            return
        question = dnslib.DNSRecord.parse(packet)
        self.spelled.append(str(question.q.qname).rstrip("."))
        name, kind = self.spelled[-1].lower(), dnslib.QTYPE[question.q.qtype]
        self.asked.append((name, kind))
        answer = self.table.get((name, kind), NXDOMAIN)
        if answer != SILENT:
            self._sock.sendto(self._reply(question, kind, answer), sender)
        if self.on_question is not None:
            self.on_question(name, kind)

    def _reply(self, question: dnslib.DNSRecord, kind: str, answer: Answer) -> bytes:
        if isinstance(answer, bytes):
            return answer
        reply = question.reply()
        if isinstance(answer, str):
            reply.header.rcode = getattr(dnslib.RCODE, answer)
        else:
            for value in answer:
                record, _, data = value.partition(" ") if " " in value else (kind, "", value)
                rdata = {"A": dnslib.A, "AAAA": dnslib.AAAA, "PTR": dnslib.PTR, "CNAME": dnslib.CNAME}[record](data)
                reply.add_answer(
                    dnslib.RR(question.q.qname, getattr(dnslib.QTYPE, record), rdata=rdata, ttl=self.ttl),
                )
        packed: bytes = reply.pack()
        return packed

    def close(self) -> None:
        self._event.close()
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
