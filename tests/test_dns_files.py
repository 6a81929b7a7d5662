"""DNSBase: files and options that are odd, and servers that come and go."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dns_table import EMPTY, SILENT, NameServer
from support import run_until

import pylibevent as ev


@pytest.fixture
def server(base: ev.EventBase) -> Iterator[NameServer]:
    with NameServer(base) as server:
        yield server


@pytest.fixture
def dns(base: ev.EventBase, server: NameServer) -> Iterator[ev.DNSBase]:
    with server.resolver(base) as dns:
        yield dns


def addresses(base: ev.EventBase, dns: ev.DNSBase, name: str, **keywords: Any) -> list[Any]:
    called: list[ev.DNSRequest] = []
    dns.resolve_ipv4(name, called.append, **keywords)
    run_until(base, lambda: called)
    return called[0].addresses


# ---------------------------------------------------------------- name servers


def test_name_servers_are_listed(base: ev.EventBase) -> None:
    with ev.DNSBase(base, system=False) as dns:
        assert dns.nameservers == []
        dns.add_nameserver("192.0.2.1")
        dns.add_nameserver("192.0.2.2:5353")
        dns.add_nameserver(("192.0.2.3", 0))
        dns.add_nameserver(("192.0.2.4", 54))
        dns.add_nameserver("[::1]:55")
        dns.add_nameserver("::2")
        assert set(dns.nameservers) == {
            ("192.0.2.1", 53),
            ("192.0.2.2", 5353),
            ("192.0.2.3", 53),
            ("192.0.2.4", 54),
            ("::1", 55, 0, 0),
            ("::2", 53, 0, 0),
        }
        assert "6 name servers" in repr(dns)
        dns.clear_nameservers()
        assert dns.nameservers == []


@pytest.mark.parametrize("address", ["", "localhost", "1.2.3.4:0x", "1.2.3.4:99999", ("localhost", 53), ("1.2.3.4", -1), ()])
def test_name_servers_that_are_none(base: ev.EventBase, address: Any) -> None:
    with ev.DNSBase(base, system=False) as dns:
        with pytest.raises(ValueError, match="address"):
            dns.add_nameserver(address)
        assert dns.nameservers == []


@pytest.mark.parametrize("address", [None, 53, b"1.2.3.4", ["1.2.3.4", 53]])
def test_name_servers_of_a_wrong_type(base: ev.EventBase, address: Any) -> None:
    with ev.DNSBase(base, system=False) as dns, pytest.raises(TypeError, match="address"):
        dns.add_nameserver(address)


def test_the_second_server_is_asked_when_the_first_says_nothing(base: ev.EventBase) -> None:
    with NameServer(base, {("a.test", "A"): SILENT}) as silent, NameServer(base, {("a.test", "A"): ["192.0.2.9"]}) as other:
        for _ in range(2):  # evdns asks them in turn: one of the two questions meets the silent one first
            with silent.resolver(base) as dns:
                dns.set_option("attempts", 3)
                dns.set_option("max-timeouts", 1)
                dns.add_nameserver(other.address)
                assert addresses(base, dns, "a.test") == ["192.0.2.9"]
                assert addresses(base, dns, "a.test") == ["192.0.2.9"]
        assert silent.asked
        assert other.asked


def test_questions_wait_while_there_is_no_server(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    """What is under way when the servers are cleared is asked again once there is one."""
    server.table["a.test", "A"] = SILENT
    called: list[ev.DNSRequest] = []
    dns.resolve_ipv4("a.test", called.append)
    run_until(base, lambda: server.asked)
    dns.clear_nameservers()
    server.table["a.test", "A"] = ["192.0.2.1"]
    base.timer(0.05, lambda event, what: base.loopexit())
    base.dispatch()
    assert not called
    dns.add_nameserver(server.address)
    dns.resume()
    run_until(base, lambda: called)
    assert called[0].addresses == ["192.0.2.1"]


# ---------------------------------------------------------------- hosts


def test_names_of_a_hosts_file(base: ev.EventBase, dns: ev.DNSBase, server: NameServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "# a comment\n192.0.2.1 one.test  alias.test # more\n\n192.0.2.2\ttwo.test\n2001:db8::1 one.test\nnonsense here\n"
    )
    dns.load_hosts(hosts)

    def got(name: str, **keywords: Any) -> Any:
        called: list[ev.DNSRequest] = []
        dns.getaddrinfo(name, 80, called.append, **keywords)
        run_until(base, lambda: called)
        return called[0].error or sorted(called[0].addresses)

    assert got("one.test") == [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0)]
    assert got("ALIAS.test", family=socket.AF_INET) == [("192.0.2.1", 80)]
    assert got("two.test") == [("192.0.2.2", 80)]
    assert server.asked == []
    dns.clear_hosts()
    assert isinstance(got("one.test"), ev.DNSError)
    assert server.asked


def test_a_hosts_file_that_is_not_there(base: ev.EventBase, dns: ev.DNSBase, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dns.load_hosts(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        dns.load_hosts(tmp_path)
    with pytest.raises(TypeError):
        dns.load_hosts(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"null|zero"):
        dns.load_hosts("a\0b")


# ---------------------------------------------------------------- resolv.conf


def write_conf(folder: Path, text: str) -> Path:
    path = folder / "resolv.conf"
    path.write_text(text)
    return path


def test_a_resolv_conf(base: ev.EventBase, server: NameServer, tmp_path: Path) -> None:
    server.table["host.sub.test", "A"] = ["192.0.2.5"]
    host, port = server.address
    text = f"# comment\nnameserver {host}:{port}\nsearch sub.test\noptions ndots:2 timeout:1 attempts:2\n"
    with ev.DNSBase(base, system=False) as dns:
        dns.parse_resolv_conf(write_conf(tmp_path, text))
        assert dns.nameservers == [server.address]
        assert addresses(base, dns, "host") == ["192.0.2.5"]
    assert [name.lower() for name, _ in server.asked] == ["host.sub.test"]


def test_parts_of_a_resolv_conf(base: ev.EventBase, server: NameServer, tmp_path: Path) -> None:
    path = write_conf(tmp_path, f"nameserver {server.address[0]}:{server.address[1]}\nsearch sub.test\n")
    with ev.DNSBase(base, system=False) as dns:
        dns.parse_resolv_conf(path, ev.DNSOption.SEARCH | ev.DNSOption.MISC)
        assert dns.nameservers == []
    with ev.DNSBase(base, system=False) as dns:
        dns.parse_resolv_conf(path, ev.DNSOption.NAMESERVERS)
        assert dns.nameservers == [server.address]
        server.table["host", "A"] = EMPTY
        assert addresses(base, dns, "host") == []
        assert server.asked == [("host", "A")]


def test_a_resolv_conf_without_servers(base: ev.EventBase, tmp_path: Path) -> None:
    path = write_conf(tmp_path, "search sub.test\n")
    with ev.DNSBase(base, system=False) as dns:
        dns.parse_resolv_conf(path, ev.DNSOption.NAMESERVERS | ev.DNSOption.NAMESERVERS_NO_DEFAULT)
        assert dns.nameservers == []
        dns.parse_resolv_conf(path)
        assert dns.nameservers == [("127.0.0.1", 53)]


def test_a_resolv_conf_that_is_not_there(base: ev.EventBase, tmp_path: Path) -> None:
    with ev.DNSBase(base, system=False) as dns:
        with pytest.raises(FileNotFoundError):
            dns.parse_resolv_conf(tmp_path / "none")
        with pytest.raises(TypeError):
            dns.parse_resolv_conf(write_conf(tmp_path, ""), "all")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="options"):
            dns.parse_resolv_conf(write_conf(tmp_path, ""), ev.DNSOption(1 << 20))


CONFS = [
    "",
    "\n\n",
    "nameserver",
    "nameserver \n",
    "nameserver x y z\n",
    "search\n",
    "options\n",
    "options ndots:\n",
    "\xff\xfe",
]
CONFS += [
    "options timeout:-5 attempts:x ndots:999999999999\n",
    "nameserver 1.2.3.4" * 1000,
    "x" * 60000,
    "options " + "a:b " * 5000,
]
CONFS += ["x" * 70000]


@pytest.mark.parametrize("text", CONFS, ids=lambda text: ascii(text[:20]))
def test_any_resolv_conf_is_survived(base: ev.EventBase, tmp_path: Path, text: str) -> None:
    with ev.DNSBase(base, system=False) as dns:
        dns.parse_resolv_conf(write_conf(tmp_path, text))
        dns.add_nameserver("192.0.2.1")
        assert ("192.0.2.1", 53) in dns.nameservers


# ---------------------------------------------------------------- search


def test_searches_that_are_none(dns: ev.DNSBase) -> None:
    for domains in ([""], ["a\0b"], ["x" * 300], [b"a.test"], [None], 5, None):
        with pytest.raises((TypeError, ValueError)):
            dns.set_search(domains)  # type: ignore[arg-type]
    for ndots in (-1, 16, None, "1", 1.0):
        with pytest.raises((TypeError, ValueError), match="ndots"):
            dns.set_search([], ndots=ndots)  # type: ignore[arg-type]


def test_a_search_of_one_str_is_refused(dns: ev.DNSBase) -> None:
    """Its characters would be domains."""
    with pytest.raises(TypeError, match="domains"):
        dns.set_search("a.test")  # type: ignore[arg-type]


# ---------------------------------------------------------------- options


def test_options_by_their_names(dns: ev.DNSBase) -> None:
    for name, value in (
        ("ndots", 2),
        ("timeout", 0.5),
        ("timeout:", "3"),
        ("attempts", 3),
        ("max-timeouts", 5),
        ("max-inflight", 10),
        ("randomize-case", 1),
        ("bind-to", "127.0.0.1"),
        ("initial-probe-timeout", 5),
        ("getaddrinfo-allow-skew", 2),
        ("so-rcvbuf", 65536),
        ("so-sndbuf", 65536),
    ):
        dns.set_option(name, value)


BAD = [
    ("", 1),
    ("nonsense", 1),
    ("timeout", "x"),
    ("timeout", -1),
    ("timeout", 0),
    ("attempts", "many"),
    ("max-inflight", "\0"),
]
BAD += [("bind-to", "nowhere"), ("attempts", ""), (None, 1), (1, 1)]  # type: ignore[list-item]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_options_that_are_none(dns: ev.DNSBase, name: Any, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        dns.set_option(name, value)


def test_few_questions_at_a_time(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    """max-inflight: the others wait until there is room."""
    dns.set_option("max-inflight", 1)
    got: list[str] = []
    for n in range(20):
        server.table[f"host{n}.test", "A"] = [f"192.0.2.{n}"]
        dns.resolve_ipv4(f"host{n}.test", lambda request: got.extend(request.addresses))
    run_until(base, lambda: len(got) == 20)
    assert sorted(got) == sorted(f"192.0.2.{n}" for n in range(20))
    assert len(server.asked) == 20
