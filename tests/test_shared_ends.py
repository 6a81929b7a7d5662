"""What a close takes away from others that have the descriptor too, and times that DNS takes."""

from __future__ import annotations

import socket

import pytest

import pylibevent as ev


def test_a_close_reads_nothing_from_a_socket_that_needs_no_farewell(base: ev.EventBase) -> None:
    here, there = socket.socketpair()
    with here.dup() as shared, there:
        there.send(b"for whoever shares it")
        ev.SocketBufferEvent(base, here).close()
        shared.setblocking(False)
        assert shared.recv(100) == b"for whoever shares it"


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "3000000000", float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["timeout", "initial-probe-timeout", "getaddrinfo-allow-skew"])
def test_a_time_that_fits_nowhere_is_refused(base: ev.EventBase, name: str, value: str | float) -> None:
    with ev.DNSBase(base, system=False) as dns, pytest.raises(ValueError, match=name):
        dns.set_option(name, value)
