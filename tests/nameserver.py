"""A name server on the loopback that works on the base's own loop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import dnslib
from support import run_until

import pylibevent as ev

ZONE: dict[tuple[str, str], list[Any]] = {
    ("v4.test", "A"): [dnslib.A("127.0.0.1"), dnslib.A("127.0.0.2")],
    ("both.test", "A"): [dnslib.A("127.0.0.1")],
    ("both.test", "AAAA"): [dnslib.AAAA("::1")],
    ("v6.test", "AAAA"): [dnslib.AAAA("::1")],
    ("alias.test", "A"): [dnslib.CNAME("v4.test"), dnslib.A("127.0.0.1")],
    ("www.first.test", "A"): [dnslib.A("127.0.0.11")],
    ("www.second.test", "A"): [dnslib.A("127.0.0.12")],
    ("mail.second.test", "A"): [dnslib.A("127.0.0.13")],
    ("1.0.0.127.in-addr.arpa", "PTR"): [dnslib.PTR("home.test")],
    (f"1.{'0.' * 31}ip6.arpa", "PTR"): [dnslib.PTR("home6.test")],
}
TTL = 77


class NameServer:
    """Answers from the zone; SERVFAIL for names that begin with "broken", nothing for those that begin with "silent"."""

    def __init__(self, base: ev.EventBase) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.address = self.sock.getsockname()
        self.asked: list[tuple[str, str]] = []
        self.event = base.event(self.sock, ev.EventFlag.READ | ev.EventFlag.PERSIST, self.answer)
        self.event.add()

    def answer(self, event: ev.Event, what: ev.EventFlag) -> None:
        question, address = self.sock.recvfrom(2000)
        record = dnslib.DNSRecord.parse(question)
        name, kind = str(record.q.qname).rstrip(".").lower(), dnslib.QTYPE[record.q.qtype]
        self.asked.append((name, kind))
        if name.startswith("silent"):
            return
        reply = record.reply()
        for data in ZONE.get((name, kind), []):
            reply.add_answer(dnslib.RR(record.q.qname, getattr(dnslib.QTYPE, type(data).__name__), rdata=data, ttl=TTL))
        if name.startswith("broken"):
            reply.header.rcode = dnslib.RCODE.SERVFAIL
        elif not any(known == name for known, _ in ZONE):
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        self.sock.sendto(reply.pack(), address)

    def close(self) -> None:
        self.event.close()
        self.sock.close()


Ask = Callable[[Callable[[ev.DNSRequest], object]], ev.DNSRequest]


def answer(base: ev.EventBase, ask: Ask) -> ev.DNSRequest:
    """Ask, and wait for the answer, which must come once."""
    called: list[ev.DNSRequest] = []
    request = ask(called.append)
    assert not called, "no callback comes before the loop runs"
    run_until(base, lambda: called)
    base.loop(ev.LoopFlag.NONBLOCK)
    assert called == [request]
    assert request.done
    return request
