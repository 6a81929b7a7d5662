"""Addresses: as text, as tuples and paths, to C and back."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import named

import pylibevent as ev
from pylibevent.addresses import from_c, to_c

UPSTREAM = {
    "[ffff::1]:1000": ("ffff::1", 1000, 0, 0),
    "[ffff::1]": ("ffff::1", 0, 0, 0),
    "[ffff::1": None,
    "[ffff::1]:65599": None,
    "[ffff::1]:0": None,
    "[ffff::1]:-1": None,
    "::1": ("::1", 0, 0, 0),
    "1:2::1": ("1:2::1", 0, 0, 0),
    "192.168.0.1:50": ("192.168.0.1", 50),
    "1.2.3.4": ("1.2.3.4", 0),
}
"""What regress_util.c's table of evutil_parse_sockaddr_port says; None: it is refused."""


@pytest.mark.parametrize(("text", "expected"), UPSTREAM.items(), ids=list(UPSTREAM))
def test_text_with_and_without_a_port(text: str, expected: tuple[Any, ...] | None) -> None:
    """upstream, sockaddr_port_parse"""
    if expected is None:
        with pytest.raises(ValueError, match="not a numeric address"):
            ev.parse_address(text)
    else:
        assert ev.parse_address(text) == expected


NO_ADDRESS = [
    "",
    " ",
    ":",
    ":80",
    "1.2.3.4:",
    "1.2.3.4:x",
    "256.1.1.1",
    "1.2.3",
    "localhost",
    "localhost:80",
    "[]:80",
    "::1]:80",
]
NO_ADDRESS += ["[::g]:80", "1.2.3.4\0:80", "1.2.3.4:99999999999999999999", "[1.2.3.4]:80", "x" * 5000, "é", "\ud800"]
JUNK_BEHIND = ["1.2.3.4:80 ", "1.2.3.4:80x", "[::1]:80.5", "[::1]80", "[::1]x:80"]


@pytest.mark.parametrize("text", NO_ADDRESS + JUNK_BEHIND, ids=ascii)
def test_text_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a numeric address|surrogates"):
        ev.parse_address(text)


@pytest.mark.parametrize("text", [None, 80, b"1.2.3.4", ("1.2.3.4", 80), bytearray(b"::1")])
def test_what_is_no_text(text: Any) -> None:
    with pytest.raises(TypeError):
        ev.parse_address(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_all_text_that_python_writes_is_understood(host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    text = f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
    parsed = ev.parse_address(text)
    assert ipaddress.ip_address(parsed[0]) == host
    assert parsed[1:] == ((port, 0, 0) if host.version == 6 else (port,))


@given(st.text())
def test_any_text_gives_an_address_or_a_value_error(text: str) -> None:
    try:
        parsed = ev.parse_address(text)
    except ValueError:
        return
    ipaddress.ip_address(parsed[0])


def test_the_scope_of_an_address() -> None:
    index = socket.if_nametoindex("lo")
    assert ev.parse_address("[fe80::1%lo]:80") == ("fe80::1", 80, 0, index)
    assert from_c(to_c(("fe80::1%lo", 80))) == ("fe80::1", 80, 0, index)
    assert from_c(to_c((f"fe80::1%{index}", 80))) == ("fe80::1", 80, 0, index)
    with pytest.raises(OSError, match="interface"):
        to_c(("fe80::1%there_is_none", 80))


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_ipv4_there_and_back(host: ipaddress.IPv4Address, port: int) -> None:
    assert from_c(to_c((str(host), port))) == (str(host), port)


@given(st.ip_addresses(v=6), st.integers(0, 65535), st.integers(0, 0xFFFFF), st.integers(0, 0xFFFFFFFF))
def test_ipv6_there_and_back(host: ipaddress.IPv6Address, port: int, flowinfo: int, scope_id: int) -> None:
    back = from_c(to_c((str(host), port, flowinfo, scope_id)))
    assert ipaddress.ip_address(back[0]) == ipaddress.ip_address(str(host))
    assert back[1:] == (port, flowinfo, scope_id)


@given(st.binary(min_size=1, max_size=107))
def test_names_of_unix_sockets_there_and_back(name: bytes) -> None:
    if b"\0" in name[1:] and name[:1] != b"\0":
        with pytest.raises(ValueError, match="zero byte"):
            to_c(name)
    else:
        assert from_c(to_c(name)) == (name if name[:1] == b"\0" else os.fsdecode(name))


def test_paths_are_addresses() -> None:
    assert from_c(to_c(Path("/tmp/x"))) == from_c(to_c("/tmp/x")) == from_c(to_c(b"/tmp/x")) == "/tmp/x"
    assert from_c(to_c("\0abstract")) == b"\0abstract"


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (None, TypeError),
        (80, TypeError),
        (object(), TypeError),
        ({"127.0.0.1": 80}, TypeError),
        ((), ValueError),
        (("127.0.0.1",), ValueError),
        (("::1", 80, 0), ValueError),
        (("::1", 80, 0, 0, 0), ValueError),
        ((b"127.0.0.1", 80), TypeError),
        ((None, 80), TypeError),
        (("127.0.0.1", "80"), TypeError),
        (("127.0.0.1", True), TypeError),
        (("127.0.0.1", 80.0), TypeError),
        (("127.0.0.1", -1), ValueError),
        (("127.0.0.1", 65536), ValueError),
        (("localhost", 80), ValueError),
        (("127.0.0.1\0", 80), ValueError),
        (("127.1", 80), ValueError),
        (("::1", 80, -1, 0), ValueError),
        (("::1", 80, 2**20, 0), ValueError),
        (("::1", 80, 0, 2**32), ValueError),
        (("::1", 80, None, 0), TypeError),
        ("", ValueError),
        (b"", ValueError),
        ("a\0b", ValueError),
        ("x" * 108, ValueError),
        (b"\0" + b"x" * 108, ValueError),
    ],
    ids=named,
)
def test_what_is_no_address(address: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="address"):
        to_c(address)


@pytest.mark.parametrize(
    "name",
    [b"x" * 107, b"\0" + b"x" * 106, b"\0", b"\0a\0b", b"\0" + b"x" * 107],
    ids=["longest", "long abstract", "one zero", "zeros within", "longest abstract"],
)
def test_unix_names_that_the_system_takes_are_taken(name: bytes) -> None:
    """An abstract name may fill the whole array, a path leaves room for its end."""
    with socket.socket(socket.AF_UNIX) as sock:
        if name[:1] == b"\0":
            sock.bind(name)
            assert sock.getsockname() == name
    assert from_c(to_c(name)) == (name if name[:1] == b"\0" else os.fsdecode(name))


def test_all_ipv4_hosts_are_meant_by_an_empty_one() -> None:
    assert from_c(to_c(("", 80))) == ("0.0.0.0", 80)


def test_the_scope_must_belong_to_an_ipv6_address() -> None:
    with pytest.raises(ValueError, match="host"):
        to_c(("127.0.0.1%lo", 80))


LOOKS_LIKE_HOST_AND_PORT = ["0.0.0.0:80", "localhost:80", ":8080", "[::1]:443", "::1", "example.test:65535", "a:1", "x:0"]


@pytest.mark.parametrize("text", LOOKS_LIKE_HOST_AND_PORT)
def test_a_host_and_a_port_in_one_text_are_no_path(base: ev.EventBase, tmp_path: Path, text: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"\(host, port\)"):
        to_c(text)
    with pytest.raises(ValueError, match=r"\(host, port\)"):
        ev.Listener.bind(base, text, None)
    with pytest.raises(ValueError, match=r"\(host, port\)"), ev.SocketBufferEvent(base) as bev:
        bev.connect(text)
    with pytest.raises(ValueError, match=r"\(host, port\)"):
        ev.TLSBufferEvent.connect(base, text, ev.TLSContext.client())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["./a:80", "/tmp/a:80", "a:b", "a:", "a.sock", "a:80.sock", "\0a:80", b"a:80", Path("a:80"), "a:123456"]
)
def test_paths_with_a_colon_are_paths(path: Any) -> None:
    assert from_c(to_c(path)) in (os.fsdecode(path), os.fsencode(path))


def test_a_name_is_refused_with_what_fits_who_asks(base: ev.EventBase) -> None:
    with pytest.raises(ValueError, match="names take connect_hostname"), ev.SocketBufferEvent(base) as bev:
        bev.connect(("localhost", 80))
    with pytest.raises(ValueError, match=r"not 'localhost': .* for this machine alone") as caught:
        ev.Listener.bind(base, ("localhost", 0), None)
    assert "connect_hostname" not in str(caught.value)
    with ev.DNSBase(base, system=False) as dns:
        for call in (lambda: dns.add_nameserver(("localhost", 53)), lambda: dns.resolve_reverse("localhost", print)):
            with pytest.raises(ValueError, match="not 'localhost'") as caught:
                call()
            assert "connect_hostname" not in str(caught.value)
