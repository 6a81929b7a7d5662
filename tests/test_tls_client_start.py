"""A client begins its handshake when what it stands on is connected, whether or not it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import reserved_port, run_until
from tls_ends import End

import pylibevent as ev

Address = tuple[str, int]
Make = Callable[[ev.EventBase, Address, ev.TLSContext], ev.TLSBufferEvent]


class Quiet(End):
    """One end whose reading is off until it is connected, and that writes before."""

    def __init__(self, bev: ev.TLSBufferEvent) -> None:
        self.bev = bev
        self.events: list[ev.What] = []
        self.got = bytearray()
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.write(b"request")

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        super().on_event(bev, what)
        if what & ev.What.CONNECTED:
            bev.enable(ev.EventFlag.READ)


def connect(base: ev.EventBase, address: Address, ctx: ev.TLSContext) -> ev.TLSBufferEvent:
    return ev.TLSBufferEvent.connect(base, address, ctx, "server.test")


def connect_by_name(base: ev.EventBase, address: Address, ctx: ev.TLSContext) -> ev.TLSBufferEvent:
    return ev.TLSBufferEvent.connect(base, ("localhost", address[1]), ctx, "server.test")


def connect_directly(base: ev.EventBase, address: Address, ctx: ev.TLSContext) -> ev.TLSBufferEvent:
    return ev.TLSBufferEvent.connect(base, address, ctx, "server.test", direct=True)


def connect_after_wrapping(base: ev.EventBase, address: Address, ctx: ev.TLSContext) -> ev.TLSBufferEvent:
    below = ev.SocketBufferEvent(base)
    bev = ev.TLSBufferEvent.wrap(below, ctx, False, "server.test")
    below.connect(address)
    return bev


def wrap_while_connecting(base: ev.EventBase, address: Address, ctx: ev.TLSContext) -> ev.TLSBufferEvent:
    below = ev.SocketBufferEvent(base)
    below.connect(address)
    return ev.TLSBufferEvent.wrap(below, ctx, False, "server.test")


def over_a_filter(base: ev.EventBase, address: Address, ctx: ev.TLSContext) -> ev.TLSBufferEvent:
    below = ev.SocketBufferEvent(base)
    passing = ev.FilterBufferEvent(below)
    below.connect(address)
    return ev.TLSBufferEvent.wrap(passing, ctx, False, "server.test")


def writing_only(base: ev.EventBase, address: Address, ctx: ev.TLSContext) -> ev.TLSBufferEvent:
    bev = connect(base, address, ctx)
    bev.enable(ev.EventFlag.WRITE)
    return bev


WAYS = [
    connect,
    connect_by_name,
    connect_directly,
    connect_after_wrapping,
    wrap_while_connecting,
    over_a_filter,
    writing_only,
]


@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__)
def test_it_connects_without_reading(base: ev.EventBase, certificates: Any, make: Make) -> None:
    server_ctx = ev.TLSContext.server(certificates.cert, certificates.key)
    ends: list[End] = []

    def on_accept(listener: ev.Listener, sock: Any, address: object) -> None:
        ends.append(End(ev.TLSBufferEvent.accept(base, sock, server_ctx)))

    with ev.Listener.bind(base, ("127.0.0.1", 0), on_accept) as listener:
        client = Quiet(make(base, listener.address, ev.TLSContext.client(certificates.ca)))
        run_until(base, lambda: ends and ends[0].got == b"request")
        assert client.events == [ev.What.CONNECTED]
        ends[0].bev.write(b"answer")
        run_until(base, lambda: client.got == b"answer")
        client.bev.close()
        ends[0].bev.close()
        base.loop(ev.LoopFlag.NONBLOCK)


@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__)
def test_it_hears_of_a_failure_without_reading(base: ev.EventBase, certificates: Any, make: Make) -> None:
    with reserved_port() as port:
        client = Quiet(make(base, ("127.0.0.1", port), ev.TLSContext.client(certificates.ca)))
        run_until(base, lambda: client.events)
        assert isinstance(client.error, ConnectionRefusedError), client.error
        client.bev.close()
