"""DNSBase: what becomes of every kind of answer, many questions at once, and how the loop ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from dns_table import EMPTY, FORMERR, NXDOMAIN, REFUSED, SERVFAIL, SILENT, NameServer
from support import run_until

import pylibevent as ev

TABLE = {
    ("one.test", "A"): ["192.0.2.1"],
    ("one.test", "AAAA"): EMPTY,
    ("six.test", "A"): EMPTY,
    ("six.test", "AAAA"): ["2001:db8::6"],
    ("both.test", "A"): ["192.0.2.1", "192.0.2.2"],
    ("both.test", "AAAA"): ["2001:db8::1"],
    ("fails.test", "A"): SERVFAIL,
    ("fails.test", "AAAA"): SERVFAIL,
    ("refused.test", "A"): REFUSED,
    ("malformed.test", "A"): FORMERR,
    ("silent.test", "A"): SILENT,
    ("silent.test", "AAAA"): SILENT,
    ("garbage.test", "A"): b"\xff" * 50,
    ("1.2.0.192.in-addr.arpa", "PTR"): ["one.test"],
    (
        "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        "PTR",
    ): ["six.test"],
    ("xn--bcher-kva.test", "A"): ["192.0.2.3"],
}


@pytest.fixture
def server(base: ev.EventBase) -> Iterator[NameServer]:
    with NameServer(base, TABLE) as server:
        yield server


@pytest.fixture
def dns(base: ev.EventBase, server: NameServer) -> Iterator[ev.DNSBase]:
    with server.resolver(base) as dns:
        yield dns


def answer(base: ev.EventBase, ask: Any, *arguments: Any, **keywords: Any) -> ev.DNSRequest:
    """Ask, and wait for the callback."""
    called: list[ev.DNSRequest] = []
    request: ev.DNSRequest = ask(*arguments, called.append, **keywords)
    assert not called  # never before it returns
    run_until(base, lambda: called)
    assert called == [request]
    assert request.done
    return request


def test_ipv4(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    request = answer(base, dns.resolve_ipv4, "both.test")
    assert request.addresses == ["192.0.2.1", "192.0.2.2"]
    assert request.error is None
    assert request.ttl == 300
    assert request.question == "both.test"
    assert server.asked == [("both.test", "A")]


def test_reverse_of_what_has_no_name(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, dns.resolve_reverse, "192.0.2.99")
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == socket.EAI_NONAME
    assert request.names == []


def test_getaddrinfo_asks_for_both_families(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    request = answer(base, dns.getaddrinfo, "both.test", 80)
    assert sorted(request.addresses) == [("192.0.2.1", 80), ("192.0.2.2", 80), ("2001:db8::1", 80, 0, 0)]
    assert sorted(server.asked) == [("both.test", "A"), ("both.test", "AAAA")]


@pytest.mark.parametrize(("host", "expected"), [("192.0.2.7", ("192.0.2.7", 9)), ("::7", ("::7", 9, 0, 0))])
def test_numbers_are_answered_without_asking(
    base: ev.EventBase, dns: ev.DNSBase, server: NameServer, host: str, expected: Any
) -> None:
    assert answer(base, dns.getaddrinfo, host, 9).addresses == [expected]
    assert answer(base, dns.getaddrinfo, host, 9, numeric=True).addresses == [expected]
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nobody.test", socket.EAI_NONAME),
        ("one.test.", None),
        ("fails.test", socket.EAI_AGAIN),
        ("refused.test", socket.EAI_FAIL),
        ("malformed.test", socket.EAI_FAIL),
    ],
)
def test_what_servers_say(base: ev.EventBase, dns: ev.DNSBase, name: str, code: int | None) -> None:
    request = answer(base, dns.resolve_ipv4, name)
    if code is None:
        assert request.error is None
        return
    error = request.error
    assert isinstance(error, ev.DNSError)
    assert isinstance(error, socket.gaierror)
    assert error.errno == code
    assert name in str(error)
    assert request.addresses == []


@pytest.mark.parametrize(("name", "code"), [("nobody.test", socket.EAI_NONAME), ("fails.test", socket.EAI_FAIL)])
def test_getaddrinfo_of_what_is_not(base: ev.EventBase, dns: ev.DNSBase, name: str, code: int) -> None:
    """evdns_getaddrinfo knows two failures only: no such name, and all others."""
    request = answer(base, dns.getaddrinfo, name, 80)
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == code
    assert request.addresses == []


@pytest.mark.parametrize("ask", ["resolve_ipv4", "getaddrinfo"])
def test_a_server_that_says_nothing(base: ev.EventBase, dns: ev.DNSBase, server: NameServer, ask: str) -> None:
    start = time.monotonic()
    if ask == "getaddrinfo":
        request = answer(base, dns.getaddrinfo, "silent.test", 80, family=socket.AF_INET)
    else:
        request = answer(base, dns.resolve_ipv4, "silent.test")
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == (socket.EAI_FAIL if ask == "getaddrinfo" else socket.EAI_AGAIN)
    assert time.monotonic() - start >= 0.25
    assert server.asked.count(("silent.test", "A")) == 2  # as many attempts as set


def test_garbage_is_no_answer(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, dns.resolve_ipv4, "garbage.test")
    assert isinstance(request.error, ev.DNSError)


def test_names_of_other_scripts(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    assert answer(base, dns.resolve_ipv4, "bücher.test").addresses == ["192.0.2.3"]
    assert server.asked == [("xn--bcher-kva.test", "A")]


def test_many_at_once(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    names = {f"host{n}.test": f"192.0.2.{n}" for n in range(200)}
    server.table.update({(name, "A"): [host] for name, host in names.items()})
    got: dict[str, list[str]] = {}
    for name in names:
        dns.resolve_ipv4(name, lambda request: got.update({request.question: request.addresses}))
    run_until(base, lambda: len(got) == len(names))
    assert got == {name: [host] for name, host in names.items()}
    assert all(kind == "A" for _, kind in server.asked)


def test_the_loop_ends_when_all_is_answered(base: ev.EventBase) -> None:
    """The sockets of a DNSBase don't keep the loop while it has nothing to do."""
    with NameServer(base, TABLE) as server, server.resolver(base) as dns:
        got: list[Any] = []

        def answered(request: ev.DNSRequest) -> None:
            got.append(request.addresses)
            server.close()

        dns.resolve_ipv4("one.test", answered)
        assert base.dispatch() is True
        assert got == [["192.0.2.1"]]


def test_one_that_keeps_running_keeps_the_loop(base: ev.EventBase) -> None:
    with ev.DNSBase(base, system=False, keep_running=True) as dns:
        dns.add_nameserver("127.0.0.1:9")
        base.loopexit(0.05)
        assert base.dispatch() is False


def test_what_does_not_exist_is_asked_once(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    server.table["nobody.test", "A"] = NXDOMAIN
    answer(base, dns.resolve_ipv4, "nobody.test", search=False)
    assert server.asked == [("nobody.test", "A")]
