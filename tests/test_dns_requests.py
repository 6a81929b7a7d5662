"""DNSRequest and DNSBase: cancelling, closing while something is under way, exceptions, collection."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from dns_table import SILENT, NameServer
from support import check_child, run_until

import pylibevent as ev

TABLE = {
    ("one.test", "A"): ["192.0.2.1"],
    ("7.2.0.192.in-addr.arpa", "PTR"): SILENT,
    ("silent.test", "A"): SILENT,
    ("silent.test", "AAAA"): SILENT,
}


@pytest.fixture
def server(base: ev.EventBase) -> Iterator[NameServer]:
    with NameServer(base, TABLE) as server:
        yield server


@pytest.fixture
def dns(base: ev.EventBase, server: NameServer) -> Iterator[ev.DNSBase]:
    with server.resolver(base) as dns:
        yield dns


def never(request: ev.DNSRequest) -> None:
    raise AssertionError(request)


def turn(base: ev.EventBase, seconds: float = 0.05) -> None:
    """Let the loop run on for a while."""
    timer = base.timer(seconds, lambda event, what: None)
    run_until(base, lambda: not timer.pending())


def questions(dns: ev.DNSBase, callback: Any) -> list[ev.DNSRequest]:
    return [
        dns.resolve_ipv4("silent.test", callback),
        dns.resolve_ipv6("silent.test", callback),
        dns.resolve_reverse("192.0.2.7", callback),
        dns.getaddrinfo("silent.test", 80, callback),
    ]


@pytest.mark.parametrize("asked_first", [False, True])
def test_cancelled_requests_are_not_called_back(
    base: ev.EventBase, dns: ev.DNSBase, server: NameServer, asked_first: bool
) -> None:
    requests = questions(dns, never)
    if asked_first:
        run_until(base, lambda: len(server.asked) >= 5)
    else:
        requests.append(dns.getaddrinfo("127.0.0.1", 80, never))
    for request in requests:
        request.cancel()
    turn(base)
    for request in requests:
        assert "cancelled" in repr(request)
        request.cancel()
    assert base.num_events <= 1  # the server's own event


def test_a_cancelled_request_says_so(base: ev.EventBase, dns: ev.DNSBase) -> None:
    request = dns.resolve_ipv4("silent.test", never)
    assert not request.done
    assert request.error is None
    assert request.addresses == []
    assert "under way" in repr(request)
    request.cancel()
    turn(base)
    assert request.done
    assert isinstance(request.error, ev.DNSError)
    assert "cancel" in str(request.error).lower()


def test_one_cancelled_in_the_callback_of_another(base: ev.EventBase, dns: ev.DNSBase) -> None:
    """Both were answered in one pass: the second isn't called any more."""
    called: list[str] = []
    requests: list[ev.DNSRequest] = []

    def answered(request: ev.DNSRequest) -> None:
        called.append(request.addresses[0][0])
        for other in requests:
            other.cancel()

    requests += [dns.getaddrinfo(f"192.0.2.{n}", 80, answered) for n in range(3)]
    turn(base)
    assert called == ["192.0.2.0"]
    assert requests[0].error is None


def test_closing_ends_what_is_under_way(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    requests = questions(dns, never)
    run_until(base, lambda: len(server.asked) >= 5)
    dns.close()
    dns.close()
    assert dns.closed
    assert repr(dns) == "<DNSBase closed>"
    turn(base)
    assert all(request.done for request in requests)


def test_closed_in_a_callback(base: ev.EventBase, dns: ev.DNSBase, server: NameServer) -> None:
    called: list[ev.DNSRequest] = []

    def answered(request: ev.DNSRequest) -> None:
        called.append(request)
        dns.close()

    dns.getaddrinfo("127.0.0.1", 80, answered)
    dns.getaddrinfo("127.0.0.2", 80, answered)
    dns.resolve_ipv4("one.test", answered)
    turn(base)
    assert len(called) == 1


def test_the_base_closed_in_a_callback(base: ev.EventBase) -> None:
    with NameServer(base, TABLE) as server:
        dns = server.resolver(base)
        called: list[Any] = []

        def answered(request: ev.DNSRequest) -> None:
            called.append(request.addresses)
            base.close()

        requests = [*questions(dns, never), dns.resolve_ipv4("one.test", answered)]
        base.dispatch()
        assert called == [["192.0.2.1"]]
        assert dns.closed
        for request in requests:
            request.cancel()
        with pytest.raises(ev.ClosedError):
            dns.resolve_ipv4("one.test", never)


def test_a_base_closed_with_questions_under_way() -> None:
    base = ev.EventBase()
    server = NameServer(base, TABLE)
    dns = server.resolver(base)
    requests = questions(dns, never)
    base.close()
    assert dns.closed
    server.close()
    assert [request.addresses for request in requests] == [[]] * 4


def test_exceptions_of_callbacks_come_out(base: ev.EventBase, dns: ev.DNSBase) -> None:
    called: list[str] = []

    def answered(request: ev.DNSRequest) -> None:
        called.append(request.question)
        raise LookupError(request.question)

    for n in range(3):
        dns.getaddrinfo(f"192.0.2.{n}", 80, answered)
    for n in range(3):
        with pytest.raises(LookupError, match=f"192.0.2.{n}"):
            run_until(base, lambda: False)
    assert called == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]


def test_questions_out_of_callbacks(base: ev.EventBase, dns: ev.DNSBase) -> None:
    left = 50
    done: list[bool] = []

    def answered(request: ev.DNSRequest) -> None:
        nonlocal left
        assert request.addresses == ["192.0.2.1"]
        left -= 1
        if left:
            dns.resolve_ipv4("one.test", answered)
        else:
            done.append(True)

    dns.resolve_ipv4("one.test", answered)
    run_until(base, lambda: done)
    assert left == 0


def test_nobody_needs_to_hold_a_request(base: ev.EventBase, dns: ev.DNSBase) -> None:
    called: list[Any] = []
    dns.resolve_ipv4("one.test", lambda request: called.append(request.addresses))
    gc.collect()
    run_until(base, lambda: called)
    assert called == [["192.0.2.1"]]


def test_a_request_that_is_over_is_let_go(base: ev.EventBase, dns: ev.DNSBase) -> None:
    references: list[weakref.ref[Any]] = []
    dns.resolve_ipv4("one.test", lambda request: references.append(weakref.ref(request)))
    run_until(base, lambda: references)
    gc.collect()
    assert references[0]() is None


def test_a_resolver_dropped_with_a_question_under_way(base: ev.EventBase, server: NameServer) -> None:
    """The question keeps it."""
    called: list[Any] = []
    server.resolver(base).resolve_ipv4("one.test", lambda request: called.append(request.addresses))
    gc.collect()
    run_until(base, lambda: called)
    assert called == [["192.0.2.1"]]
    gc.collect()


def test_after_closing_everything_is_refused(base: ev.EventBase, dns: ev.DNSBase) -> None:
    dns.close()
    for use in (
        lambda: dns.getaddrinfo("one.test", 80, never),
        lambda: dns.resolve_ipv4("one.test", never),
        lambda: dns.resolve_ipv6("one.test", never),
        lambda: dns.resolve_reverse("::1", never),
        lambda: dns.add_nameserver("::1"),
        lambda: dns.nameservers,
        dns.clear_nameservers,
        dns.resume,
        dns.parse_resolv_conf,
        dns.load_hosts,
        dns.clear_hosts,
        lambda: dns.set_search(["a"]),
        lambda: dns.set_option("ndots", 1),
    ):
        with pytest.raises(ev.ClosedError, match="closed"):
            use()
    assert dns.base is base


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("one.test", 80, None), TypeError),
        (("one.test", 80, 5), TypeError),
        ((None, 80, never), TypeError),
        ((b"one.test", 80, never), TypeError),
        (("", 80, never), ValueError),
        (("a" * 256, 80, never), ValueError),
        (("a\0b", 80, never), ValueError),
        (("\ud800", 80, never), ValueError),
        (("é" * 70 + ".test", 80, never), ValueError),
        (("one.test", -1, never), ValueError),
        (("one.test", 65536, never), ValueError),
        (("one.test", "80", never), TypeError),
        (("one.test", None, never), TypeError),
        (("one.test", True, never), TypeError),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_questions_that_are_none(dns: ev.DNSBase, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        dns.getaddrinfo(*arguments)


@pytest.mark.parametrize("family", [None, "inet", -1, socket.AF_UNIX, 2**40])
def test_families_that_are_none(dns: ev.DNSBase, family: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="family"):
        dns.getaddrinfo("one.test", 80, never, family=family)


@pytest.mark.parametrize("host", ["one.test", "", None, 5, "1.2.3", b"::1", "::1\0"])
def test_reverse_of_what_is_no_address(dns: ev.DNSBase, host: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="host"):
        dns.resolve_reverse(host, never)


def test_reverse_of_nothing_is_not_all(dns: ev.DNSBase) -> None:
    """An empty host means every host where one listens; as a question it is nonsense."""
    with pytest.raises(ValueError, match="host"):
        dns.resolve_reverse("", never)


@pytest.mark.parametrize("size", [63, 64, 100, 255])
def test_long_names(base: ev.EventBase, dns: ev.DNSBase, size: int) -> None:
    """Labels of more than 63 bytes don't exist: an error, in the callback."""
    called: list[ev.DNSRequest] = []
    dns.resolve_ipv4("a" * size, called.append)
    dns.getaddrinfo("a" * size, 80, called.append)
    dns.getaddrinfo(".".join(["a"] * (size // 2)), 80, called.append)
    run_until(base, lambda: len(called) == 3)
    assert all(isinstance(request.error, ev.DNSError) for request in called)


DROPPED = """
import gc, socket
import pylibevent as ev

silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 0))
base = ev.EventBase()
dns = ev.DNSBase(base, system=False)
dns.add_nameserver(silent.getsockname())
for n in range(100):
    request = dns.getaddrinfo(f"name{n}.test", 80, print)
    if n & 1:
        request.cancel()
    if n in (3, 60):
        del request
base.loop(ev.LoopFlag.NONBLOCK)
silent.close()
%s
print("end")
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "del dns; gc.collect(); base.close()",
        "del request, dns, base; gc.collect()",
        "dns.close(); base.loop(ev.LoopFlag.NONBLOCK); base.close()",
        "base.close(); dns.close(); request.cancel(); repr(request)",
    ],
)
def test_ends_with_questions_under_way(end: str) -> None:
    quiet = "import warnings\nwarnings.simplefilter('ignore')\n"  # bases are dropped unclosed, on purpose
    assert check_child(quiet + DROPPED % end) == "end\n"
