"""DNSBase: a real name server on the loopback is asked, and what it says comes back; or it says nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from nameserver import TTL, NameServer, answer
from support import run_until

import pylibevent as ev


@pytest.fixture
def server(base: ev.EventBase) -> Iterator[NameServer]:
    with contextlib.closing(NameServer(base)) as server:
        yield server


@pytest.fixture
def dns(base: ev.EventBase, server: NameServer) -> Iterator[ev.DNSBase]:
    with ev.DNSBase(base, system=False) as dns:
        dns.add_nameserver(server.address)
        yield dns


# ---------------------------------------------------------------- answers


def test_getaddrinfo_ipv4(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    request = answer(base, lambda callback: dns.getaddrinfo("v4.test", 80, callback, family=socket.AF_INET))
    assert request.error is None
    assert sorted(request.addresses) == [("127.0.0.1", 80), ("127.0.0.2", 80)]
    assert server.asked == [("v4.test", "A")]


def test_getaddrinfo_ipv6(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    request = answer(base, lambda callback: dns.getaddrinfo("v6.test", 80, callback, family=socket.AF_INET6))
    assert request.error is None
    assert request.addresses == [("::1", 80, 0, 0)]
    assert server.asked == [("v6.test", "AAAA")]


def test_getaddrinfo_both(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    request = answer(base, lambda callback: dns.getaddrinfo("both.test", 65535, callback))
    assert sorted(request.addresses) == [("127.0.0.1", 65535), ("::1", 65535, 0, 0)]
    assert sorted(server.asked) == [("both.test", "A"), ("both.test", "AAAA")]


def test_getaddrinfo_of_a_number_asks_nobody(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    request = answer(base, lambda callback: dns.getaddrinfo("127.0.0.9", 0, callback))
    assert request.addresses == [("127.0.0.9", 0)]
    request = answer(base, lambda callback: dns.getaddrinfo("::9", 1, callback))
    assert request.addresses == [("::9", 1, 0, 0)]
    assert server.asked == []


def test_getaddrinfo_numeric_refuses_a_name(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    request = answer(base, lambda callback: dns.getaddrinfo("v4.test", 80, callback, numeric=True))
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == socket.EAI_NONAME
    assert request.addresses == []
    assert server.asked == []


def test_resolve_ipv4(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, lambda callback: dns.resolve_ipv4("v4.test", callback))
    assert request.error is None
    assert request.addresses == ["127.0.0.1", "127.0.0.2"]
    assert request.ttl == TTL


def test_resolve_ipv6(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, lambda callback: dns.resolve_ipv6("v6.test", callback))
    assert request.addresses == ["::1"]
    assert request.ttl == TTL


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", "home.test"), ("::1", "home6.test")])
def test_resolve_reverse(base: ev.EventBase, dns: ev.DNSBase, host: str, name: str) -> None:
    request = answer(base, lambda callback: dns.resolve_reverse(host, callback))
    assert request.error is None
    assert request.names == [name]


def test_an_alias(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, lambda callback: dns.resolve_ipv4("alias.test", callback))
    assert request.addresses == ["127.0.0.1"]


# ---------------------------------------------------------------- no answers


def test_no_such_name(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, lambda callback: dns.resolve_ipv4("nobody.test", callback))
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == socket.EAI_NONAME
    assert "nobody.test" in str(request.error)
    assert request.addresses == []
    request = answer(base, lambda callback: dns.getaddrinfo("nobody.test", 80, callback))
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == socket.EAI_NONAME


def test_a_name_without_addresses(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, lambda callback: dns.resolve_ipv4("v6.test", callback))
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == socket.EAI_NODATA


def test_server_failure(base: ev.EventBase, dns: ev.DNSBase) -> None:
    dns.set_option("attempts", 1)
    request = answer(base, lambda callback: dns.resolve_ipv4("broken.test", callback))
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL)


def test_timeout(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    dns.set_option("timeout", 0.1)
    dns.set_option("attempts", 2)
    request = answer(base, lambda callback: dns.resolve_ipv4("silent.test", callback))
    assert isinstance(request.error, ev.DNSError)
    assert request.error.errno == socket.EAI_AGAIN
    assert server.asked == [("silent.test", "A")] * len(server.asked)
    assert 1 <= len(server.asked) <= 3


def test_without_a_server(base: ev.EventBase) -> None:
    with ev.DNSBase(base, system=False) as dns:
        request = answer(base, lambda callback: dns.getaddrinfo("v4.test", 80, callback))
        assert isinstance(request.error, ev.DNSError)
        assert request.error.errno == socket.EAI_AGAIN


@pytest.mark.parametrize("kind", ["getaddrinfo", "resolve_ipv4", "resolve_reverse"])
def test_cancelled(base: ev.EventBase, dns: ev.DNSBase, kind: str) -> None:
    called: list[ev.DNSRequest] = []
    if kind == "getaddrinfo":
        request = dns.getaddrinfo("silent.test", 80, called.append)
    else:
        request = getattr(dns, kind)("silent.test" if kind == "resolve_ipv4" else "127.0.0.99", called.append)
    base.loop(ev.LoopFlag.NONBLOCK)
    request.cancel()
    request.cancel()
    with base.timer(0.05, lambda timer, what: base.loopexit()):
        base.dispatch()
    assert called == []
    assert "cancelled" in repr(request)


def test_cancelled_after_the_answer(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = answer(base, lambda callback: dns.resolve_ipv4("v4.test", callback))
    request.cancel()
    assert request.done


def test_closed_under_way(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    called: list[ev.DNSRequest] = []
    requests = [dns.getaddrinfo("silent.test", 80, called.append), dns.resolve_ipv4("v4.test", called.append)]
    run_until(base, lambda: len(server.asked) >= 3)
    dns.close()
    assert dns.closed
    dns.close()
    server.close()
    assert base.dispatch() is True
    assert called == []
    with pytest.raises(ev.ClosedError):
        dns.resolve_ipv4("v4.test", called.append)
    for request in requests:
        request.cancel()


def test_closed_by_its_own_callback(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    called: list[ev.DNSRequest] = []

    def answered(request: ev.DNSRequest) -> None:
        called.append(request)
        dns.close()
        server.close()

    first = dns.resolve_ipv4("v4.test", answered)
    dns.resolve_ipv4("v6.test", answered)
    assert base.dispatch() is True
    assert len(called) == 1
    assert first.done


def test_the_base_is_closed_under_way() -> None:
    base = ev.EventBase()
    dns = ev.DNSBase(base, system=False)
    dns.add_nameserver("127.0.0.1:9")
    dns.getaddrinfo("silent.test", 80, lambda request: pytest.fail("closed"))
    base.close()
    assert dns.closed
