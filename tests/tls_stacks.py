"""Two ends of TLS over sockets, pairs, filters and other TLS, up to three deep."""

from __future__ import annotations

import itertools
import socket
from typing import Any

import pylibevent as ev

OK, NEED_MORE = ev.FilterResult.OK, ev.FilterResult.NEED_MORE
Contexts = tuple[ev.TLSContext, ev.TLSContext]

BELOW = [
    " ".join((bottom, *layers))
    for bottom in ("socket", "pair", "direct")
    for depth in range(3)
    for layers in itertools.product(("filter", "tls"), repeat=depth)
]
"""What TLS stands on here."""
_FLIP = bytes(byte ^ 0x55 for byte in range(256))


def flip(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    data = source.read(limit)
    destination.write(data.translate(_FLIP))
    return OK if data else NEED_MORE


def secured(ends: tuple[ev.BufferEvent, ev.BufferEvent], contexts: Contexts, **options: Any) -> Any:
    server, client = contexts
    return ends[0].start_tls(server, True, **options), ends[1].start_tls(client, False, "server.test", **options)


def stacked(base: ev.EventBase, below: str, contexts: Contexts, **options: Any) -> Any:
    """Two ends without TLS on top."""
    bottom, *layers = below.split()
    ends: Any
    if bottom == "pair":
        ends = ev.PairBufferEvent.new(base, **options)
    else:
        ends = tuple(ev.SocketBufferEvent(base, sock, **options) for sock in socket.socketpair())
    if bottom == "direct":
        ends = secured(ends, contexts, direct=True)
    for layer in layers:
        ends = tuple(ev.FilterBufferEvent(end, flip, flip) for end in ends) if layer == "filter" else secured(ends, contexts)
    return ends


def all_below(bev: ev.BufferEvent | None) -> list[ev.BufferEvent]:
    found = []
    while bev is not None:
        found.append(bev)
        bev = bev.underlying
    return found
