"""What a DNSBase asks, and whom: hosts files, resolv.conf, search lists, name servers, options."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from nameserver import NameServer, answer
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


def test_hosts_file(base: ev.EventBase, dns: ev.DNSBase, server: NameServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.21 written.test other.test # a comment\n::21 written.test\n")
    dns.load_hosts(hosts)
    request = answer(base, lambda callback: dns.getaddrinfo("written.test", 80, callback))
    assert sorted(request.addresses) == [("127.0.0.21", 80), ("::21", 80, 0, 0)]
    request = answer(base, lambda callback: dns.getaddrinfo("OTHER.test", 80, callback, family=socket.AF_INET))
    assert request.addresses == [("127.0.0.21", 80)]
    assert server.asked == []
    dns.clear_hosts()
    request = answer(base, lambda callback: dns.getaddrinfo("written.test", 80, callback))
    assert isinstance(request.error, ev.DNSError)
    assert ("written.test", "A") in server.asked


def test_no_hosts_file(dns: ev.DNSBase, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dns.load_hosts(tmp_path / "none")


def test_search_list(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    dns.set_search(["first.test", "second.test"])
    request = answer(base, lambda callback: dns.resolve_ipv4("www", callback))
    assert request.addresses == ["127.0.0.11"]
    assert server.asked == [("www.first.test", "A")]
    server.asked.clear()
    request = answer(base, lambda callback: dns.resolve_ipv4("mail", callback))
    assert request.addresses == ["127.0.0.13"]
    assert server.asked == [("mail.first.test", "A"), ("mail.second.test", "A")]
    server.asked.clear()
    request = answer(base, lambda callback: dns.resolve_ipv4("www", callback, search=False))
    assert request.error is not None
    assert server.asked == [("www", "A")]


def test_dots_before_the_search_list(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    dns.set_search(["test"], ndots=1)
    answer(base, lambda callback: dns.resolve_ipv4("www.first", callback))
    assert server.asked == [("www.first", "A"), ("www.first.test", "A")]
    server.asked.clear()
    dns.set_search(["test"], ndots=2)
    request = answer(base, lambda callback: dns.resolve_ipv4("www.first", callback))
    assert server.asked == [("www.first.test", "A")]
    assert request.addresses == ["127.0.0.11"]


def test_an_empty_search_list(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    dns.set_search(["first.test"])
    dns.set_search([])
    answer(base, lambda callback: dns.resolve_ipv4("www", callback))
    assert server.asked == [("www", "A")]


def test_resolv_conf(base: ev.EventBase, server: NameServer, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver 127.0.0.1:{server.address[1]}\nsearch first.test second.test\noptions ndots:1 timeout:3\n")
    with ev.DNSBase(base, system=False) as dns:
        dns.parse_resolv_conf(path)
        assert dns.nameservers == [server.address]
        request = answer(base, lambda callback: dns.resolve_ipv4("www", callback))
        assert request.addresses == ["127.0.0.11"]
        assert server.asked == [("www.first.test", "A")]


def test_resolv_conf_in_parts(base: ev.EventBase, server: NameServer, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver 127.0.0.1:{server.address[1]}\nsearch first.test\n")
    with ev.DNSBase(base, system=False) as dns:
        dns.parse_resolv_conf(path, ev.DNSOption.SEARCH)
        assert server.address not in dns.nameservers
        dns.clear_nameservers()
        dns.add_nameserver(server.address)
        dns.resume()
        answer(base, lambda callback: dns.resolve_ipv4("www", callback))
        assert server.asked == [("www.first.test", "A")]


def test_no_resolv_conf(dns: ev.DNSBase, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dns.parse_resolv_conf(tmp_path / "none")


def test_several_servers(base: ev.EventBase, server: NameServer) -> None:
    with ev.DNSBase(base, system=False) as dns, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        dns.set_option("timeout", 0.1)
        dns.set_option("attempts", 3)
        dns.add_nameserver(mute.getsockname())
        dns.add_nameserver(f"127.0.0.1:{server.address[1]}")
        assert sorted(dns.nameservers) == sorted([mute.getsockname(), server.address])
        for _ in range(2):
            request = answer(base, lambda callback: dns.resolve_ipv4("v4.test", callback))
            assert request.addresses == ["127.0.0.1", "127.0.0.2"]


def test_suspended_and_resumed(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    called: list[ev.DNSRequest] = []
    dns.resolve_ipv4("v4.test", called.append)
    dns.clear_nameservers()
    assert dns.nameservers == []
    dns.add_nameserver(server.address)
    dns.resume()
    run_until(base, lambda: called)
    assert called[0].addresses == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize(("name", "value"), [("nonsense", 1), ("timeout", "soon"), ("attempts", -1)])
def test_options_that_are_none(dns: ev.DNSBase, name: str, value: str | int) -> None:
    with pytest.raises(ValueError, match=name):
        dns.set_option(name, value)


def test_randomized_case_is_checked_and_not_shown(base: ev.EventBase, dns: ev.DNSBase) -> None:
    dns.set_option("randomize-case", 1)
    request = answer(base, lambda callback: dns.resolve_reverse("127.0.0.1", callback))
    assert request.names == ["home.test"]


@pytest.mark.parametrize("name", ["", "a" * 256, "nul\0.test"])
def test_names_that_are_none(dns: ev.DNSBase, name: str) -> None:
    with pytest.raises(ValueError, match=r"name must"):
        dns.resolve_ipv4(name, lambda request: None)


@pytest.mark.parametrize("name", ["a" * 64 + ".test", ".", "..", ".test", "a..test"])
def test_names_that_dns_cannot_carry_get_an_answer_or_an_error(base: ev.EventBase, dns: ev.DNSBase, name: str) -> None:
    dns.set_option("timeout", 0.1)
    dns.set_option("attempts", 1)
    try:
        request = answer(base, lambda callback: dns.resolve_ipv4(name, callback))
    except (ValueError, OSError):
        return
    assert request.error is not None


def test_an_idle_dns_base_does_not_keep_the_loop(base: ev.EventBase, server: NameServer) -> None:
    server.close()
    with ev.DNSBase(base, system=False) as dns:
        dns.add_nameserver("127.0.0.1:9")
        assert base.dispatch() is True
