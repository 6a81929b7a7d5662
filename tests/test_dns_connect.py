"""SocketBufferEvent.connect_hostname(): a name is asked for, and its addresses are tried in turn."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import dnslib
import nameserver
import pytest
from nameserver import NameServer
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


@pytest.fixture
def bev(base: ev.EventBase) -> Iterator[ev.SocketBufferEvent]:
    with ev.SocketBufferEvent(base) as bev:
        yield bev


def events_of(bev: ev.SocketBufferEvent) -> list[ev.What]:
    heard: list[ev.What] = []
    bev.set_callbacks(event=lambda bev, what: heard.append(what))
    return heard


def quiet(base: ev.EventBase) -> None:
    """What was still to come comes now."""
    with base.timer(0.05, lambda timer, what: base.loopexit()):
        base.dispatch()


def addresses(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    monkeypatch.setitem(nameserver.ZONE, ("many.test", "A"), [dnslib.A(host) for host in hosts])


def test_connected(base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent) -> None:
    heard = events_of(bev)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        bev.connect_hostname("both.test", listening.getsockname()[1], dns)
        assert heard == []
        assert "connecting" in repr(bev)
        run_until(base, lambda: heard)
        assert bev.getpeername() == listening.getsockname()
        quiet(base)
    assert heard == [ev.What.CONNECTED]
    assert bev.error is None


@pytest.mark.parametrize("refusing", [1, 3])
def test_the_next_address_is_tried(
    base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent, monkeypatch: pytest.MonkeyPatch, refusing: int
) -> None:
    """Nobody listens at the first addresses."""
    hosts = [f"127.0.0.{i + 1}" for i in range(refusing + 1)]
    addresses(monkeypatch, *hosts)
    heard = events_of(bev)
    bev.write(b"hello")
    with socket.create_server((hosts[-1], 0)) as listening:
        bev.connect_hostname("many.test", listening.getsockname()[1], dns)
        run_until(base, lambda: heard)
        quiet(base)
        theirs, _ = listening.accept()
        with theirs:
            assert theirs.recv(100) == b"hello"
            assert bev.getpeername()[0] == hosts[-1]
    assert heard == [ev.What.CONNECTED]
    assert bev.error is None


def test_all_addresses_refuse(
    base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.3")
    heard = events_of(bev)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # taken at every address, so nobody else listens there
        bev.connect_hostname("many.test", taken.getsockname()[1], dns)
        run_until(base, lambda: heard)
        quiet(base)
    assert heard == [ev.What.ERROR]
    assert isinstance(bev.error, ConnectionRefusedError)
    assert bev.error.errno == errno.ECONNREFUSED


def test_ipv6_only(base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent, server: NameServer) -> None:
    heard = events_of(bev)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        bev.connect_hostname("both.test", listening.getsockname()[1], dns, family=socket.AF_INET6)
        run_until(base, lambda: heard)
        assert heard == [ev.What.CONNECTED]
        assert bev.getpeername() == listening.getsockname()
    assert server.asked == [("both.test", "AAAA")]


@pytest.mark.parametrize(
    ("host", "codes"),
    [
        ("nobody.test", {socket.EAI_NONAME}),
        ("broken.test", {socket.EAI_AGAIN, socket.EAI_FAIL}),
        ("silent.test", {socket.EAI_AGAIN, socket.EAI_FAIL}),
    ],
)
def test_the_name_is_not_resolved(
    base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent, host: str, codes: set[int]
) -> None:
    dns.set_option("timeout", 0.1)
    dns.set_option("attempts", 1)
    heard = events_of(bev)
    bev.connect_hostname(host, 80, dns)
    run_until(base, lambda: heard)
    quiet(base)
    assert heard == [ev.What.ERROR]
    assert isinstance(bev.error, ev.DNSError)
    assert isinstance(bev.error, OSError)
    assert bev.error.errno in codes
    assert host in str(bev.error)


def test_after_a_failure_another_name(base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent) -> None:
    heard = events_of(bev)
    bev.connect_hostname("nobody.test", 80, dns)
    run_until(base, lambda: heard)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        bev.connect_hostname("both.test", listening.getsockname()[1], dns)
        run_until(base, lambda: len(heard) > 1)
    assert heard == [ev.What.ERROR, ev.What.CONNECTED]


def test_closed_while_the_name_is_asked_for(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    bev = ev.SocketBufferEvent(base)
    heard = events_of(bev)
    bev.connect_hostname("silent.test", 80, dns)
    run_until(base, lambda: server.asked)
    bev.close()
    quiet(base)
    assert heard == []


def test_the_dns_base_is_closed_under_way(
    base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent, server: NameServer
) -> None:
    heard = events_of(bev)
    bev.connect_hostname("silent.test", 80, dns)
    run_until(base, lambda: server.asked)
    dns.close()
    quiet(base)
    bev.close()
    quiet(base)
    assert heard in ([], [ev.What.ERROR])


def test_connecting_twice(base: ev.EventBase, dns: ev.DNSBase, bev: ev.SocketBufferEvent) -> None:
    bev.connect_hostname("silent.test", 80, dns)
    for again in (lambda: bev.connect_hostname("v4.test", 80, dns), lambda: bev.connect(("127.0.0.1", 80))):
        with pytest.raises(OSError, match=r"already"):
            again()


def test_a_number_needs_no_server(base: ev.EventBase, bev: ev.SocketBufferEvent) -> None:
    heard = events_of(bev)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        bev.connect_hostname("127.0.0.1", listening.getsockname()[1])
        run_until(base, lambda: heard)
    assert heard == [ev.What.CONNECTED]


def test_without_a_dns_base_the_system_is_asked(base: ev.EventBase, bev: ev.SocketBufferEvent) -> None:
    heard = events_of(bev)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        bev.connect_hostname("localhost", listening.getsockname()[1])
        run_until(base, lambda: heard)
    assert heard == [ev.What.CONNECTED]
