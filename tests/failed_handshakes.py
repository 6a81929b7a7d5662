"""Handshakes that fail, in each of the ways there are, many times, and what that leaves: run by test_tls_failures.py.

Arguments: certificate, key, its authority, another authority, "over" or "direct", how many.
Prints by how much grew, after the first tenth: bytes in use, bytes resident, descriptors, handles, events, what the base holds.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import resource
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from support import descriptors, run_until
from tls_ends import End

import pylibevent as ev
from pylibevent._libevent import lib

Way: TypeAlias = Callable[[ev.EventBase], None]


class Mallinfo(ctypes.Structure):
    """malloc's own counts (glibc)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    )


def bytes_in_use() -> int:
    """What malloc has given out; with PYTHONMALLOC=malloc Python's objects too."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return 0  # another C library
    mallinfo2.restype = Mallinfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def look(base: ev.EventBase) -> list[int]:
    """All that could have grown."""
    for _ in range(20):
        base.loop(ev.LoopFlag.NONBLOCK)
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return [bytes_in_use(), resident, len(descriptors()), lib.pev_live_handles(), base.num_events, len(base._armed)]


def first_message() -> bytes:
    """A client's."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="server.test")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("it waits for nobody")


class Ways:
    """How a handshake can fail."""

    def __init__(self, cert: str, key: str, ca: str, other_ca: str, *, direct: bool) -> None:
        self.direct = direct
        self.server, self.client = ev.TLSContext.server(cert, key), ev.TLSContext.client(ca)
        strict = ev.TLSContext.server(cert, key, client_ca=ca)
        strict.maximum_version = ssl.TLSVersion.TLSv1_2  # under 1.3 the client is connected first
        old = ev.TLSContext.server(cert, key)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        stranger, careful, modern = ev.TLSContext.client(other_ca), ev.TLSContext.client(ca), ev.TLSContext.client(ca)
        careful.verify_callback = lambda bev, step: False
        modern.minimum_version = ssl.TLSVersion.TLSv1_3
        hello = first_message()
        self.hello = hello
        self.cheap: list[Way] = [
            self.bytes_to_server(b"nothing of TLS at all"),
            self.bytes_to_server(b"GET / HTTP/1.1\r\n\r\n"),
            self.bytes_to_server(hello[:100]),
            self.bytes_to_server(hello[:60] + b"\xff" * 5 + hello[65:]),
            self.bytes_to_server(b""),
            self.bytes_to_client(b"\x15\x03\x03\x00\x02\x02\x28"),
            self.bytes_to_client(b"220 a greeting in plain text\r\n"),
            self.given_up,
        ]
        self.dear: list[Way] = [
            self.between(self.server, stranger),
            self.between(self.server, self.client, "wrong.test"),
            self.between(self.server, careful),
            self.between(strict, self.client),
            self.between(old, modern),
        ]

    def all(self) -> list[Way]:
        """Each, and every fourth one with both sides at work."""
        found: list[Way] = []
        for cheap, dear in itertools.product(self.cheap, self.dear):
            found += [cheap, cheap, cheap, dear]
        return found

    def serve(self, base: ev.EventBase, sock: socket.socket, ctx: ev.TLSContext) -> End:
        return End(ev.TLSBufferEvent.accept(base, sock, ctx, direct=self.direct))

    def connect(self, base: ev.EventBase, sock: socket.socket, ctx: ev.TLSContext, name: str) -> End:
        below = ev.SocketBufferEvent(base, sock)
        return End(ev.TLSBufferEvent.wrap(below, ctx, server_hostname=name, direct=self.direct))

    def bytes_to_server(self, data: bytes) -> Way:
        def fail(base: ev.EventBase) -> None:
            one, other = socket.socketpair()
            with other:
                end = self.serve(base, one, self.server)
                other.sendall(data)
                other.shutdown(socket.SHUT_WR)
                end_with_errors(base, end)

        return fail

    def bytes_to_client(self, data: bytes) -> Way:
        def fail(base: ev.EventBase) -> None:
            one, other = socket.socketpair()
            with other:
                end = self.connect(base, one, self.client, "server.test")
                other.sendall(data)
                end_with_errors(base, end)

        return fail

    def given_up(self, base: ev.EventBase) -> None:
        one, other = socket.socketpair()
        with other:
            end = self.serve(base, one, self.server)
            other.sendall(self.hello)
            base.loop(ev.LoopFlag.NONBLOCK)
            end.bev.abort()

    def between(self, server: ev.TLSContext, client: ev.TLSContext, name: str = "server.test") -> Way:
        def fail(base: ev.EventBase) -> None:
            one, other = socket.socketpair()
            end_with_errors(base, self.serve(base, one, server), self.connect(base, other, client, name))

        return fail


def end_with_errors(base: ev.EventBase, *ends: End) -> None:
    run_until(base, lambda: all(end.ended for end in ends))
    for end in ends:
        assert isinstance(end.error, ev.TLSError), end.error
        end.bev.close()


def main(cert: str, key: str, ca: str, other_ca: str, form: str, total: str) -> None:
    """See above."""
    ways, n = Ways(cert, key, ca, other_ca, direct=form == "direct").all(), int(total)
    with ev.EventBase() as base:
        for way in itertools.islice(itertools.cycle(ways), n // 10):
            way(base)
        before = look(base)
        for way in itertools.islice(itertools.cycle(ways), n - n // 10):
            way(base)
        after = look(base)
    print(*(end - begin for begin, end in zip(before, after, strict=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
