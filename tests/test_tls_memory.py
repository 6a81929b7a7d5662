"""What an idle connection keeps: OpenSSL's buffers of each end are given back when nothing is in them."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from support import check_child

MOST = 24 * 1024
"""Bytes of one end, with Python's objects and the peer's certificate: 19 to 21 KiB were seen. The mean of a server and a
client: had one of them kept libevent's room, there were 4 more, and 8 with one of OpenSSL's buffers."""

CODE = """
import ctypes, socket, sys
import pylibevent as ev
from support import run_until

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo
cert, key, ca, direct, talks = *sys.argv[1:4], sys.argv[4] == "direct", sys.argv[5] == "talks"
server, client = ev.TLSContext.server(cert, key), ev.TLSContext.client(ca)
client.client_sessions = None
base = ev.EventBase()
kept = []

def connect(n):
    for _ in range(n):
        one, other = (ev.SocketBufferEvent(base, sock) for sock in socket.socketpair())
        kept.append(ev.TLSBufferEvent.wrap(one, server, True, direct=direct))
        kept.append(ev.TLSBufferEvent.wrap(other, client, False, "server.test", direct=direct))
        for bev in kept[-2:]:
            bev.set_callbacks(read=lambda bev: bev.read())
            bev.enable()
        run_until(base, lambda: all(bev.handshake_time is not None for bev in kept[-2:]))
        if talks:
            for bev in kept[-2:]:
                bev.write(bytes(20_000))
        base.loop(ev.LoopFlag.NONBLOCK)
        run_until(base, lambda: not any(bev.output for bev in kept[-2:]))
    for _ in range(5):
        base.loop(ev.LoopFlag.NONBLOCK)

connect(20)
before = mallinfo2()
connect(100)
after = mallinfo2()
used = (after.uordblks + after.hblkhd) - (before.uordblks + before.hblkhd)
base.close()
print(used // 200)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallinfo2 is glibc's")
@pytest.mark.parametrize("talks", ["talks", "says-nothing"])
@pytest.mark.parametrize("form", ["over", "direct"])
def test_an_idle_connection_keeps_no_buffers(certificates: Any, form: str, talks: str) -> None:
    each = int(check_child(CODE, certificates.cert, certificates.key, certificates.ca, form, talks))
    assert 0 < each < MOST
