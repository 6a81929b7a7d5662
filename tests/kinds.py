"""One callback of every kind: ``arrange(kind, base, hit)`` sees to it that ``hit(thing)`` is called by the loop.

For tests that run in children too; what they leave open is left open on purpose.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

import pylibevent as ev

Hit = Callable[[Any], object]
KINDS: dict[str, Callable[[ev.EventBase, Hit], object]] = {}
keep: list[object] = []
"""What nobody else holds while the test runs."""


def kind(arrange: Callable[[ev.EventBase, Hit], object]) -> Callable[[ev.EventBase, Hit], object]:
    KINDS[arrange.__name__] = arrange
    return arrange


def arrange(name: str, base: ev.EventBase, hit: Hit) -> None:
    keep.append(KINDS[name](base, hit))


def bare(sock: socket.socket) -> int:
    """Its descriptor alone: a socket that is alive at exit would speak of it."""
    return sock.detach()


def contexts() -> tuple[ev.TLSContext, ev.TLSContext]:
    authority = trustme.CA()
    issued = authority.issue_cert("server.test")
    with tempfile.TemporaryDirectory() as folder:
        cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
        cert.write_bytes(issued.cert_chain_pems[0].bytes())
        issued.private_key_pem.write_to_path(str(key))
        server = ev.TLSContext.server(cert, key)
    return server, ev.TLSContext.client(cadata=authority.cert_pem.bytes().decode())


def session() -> ev.TLSSession:
    """A client's, after a handshake."""
    server_ctx, client_ctx = contexts()
    found: list[ev.TLSSession] = []
    client_ctx.on_new_session = lambda bev, session: found.append(session)
    with ev.EventBase() as base:
        one, other = bev_pair(base)
        server = ev.TLSBufferEvent.wrap(one, server_ctx, server_side=True)
        client = ev.TLSBufferEvent.wrap(other, client_ctx, server_hostname="server.test")
        server.enable()
        client.set_callbacks(event=lambda bev, what: None)
        client.enable()
        while not found:
            base.loop(ev.LoopFlag.ONCE)
        client.abort()
        server.abort()
    return found[0]


def bev_pair(base: ev.EventBase) -> tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]:
    one, other = socket.socketpair()
    return ev.SocketBufferEvent(base, one), ev.SocketBufferEvent(base, other)


def passes(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    source.remove_buffer(destination, limit)
    return ev.FilterResult.OK


@kind
def timer(base: ev.EventBase, hit: Hit) -> object:
    return base.timer(0, lambda event, what: hit(event))


@kind
def persistent_timer(base: ev.EventBase, hit: Hit) -> object:
    return base.timer(0.001, lambda event, what: hit(event), persist=True)


@kind
def descriptor(base: ev.EventBase, hit: Hit) -> object:
    one, other = socket.socketpair()
    event = base.event(bare(one), ev.EventFlag.READ | ev.EventFlag.PERSIST, lambda event, what: hit(event))
    event.add()
    other.send(b"x")
    return bare(other), event


@kind
def signalled(base: ev.EventBase, hit: Hit) -> object:
    event = base.signal(signal.SIGUSR1, lambda event, what: hit(event))
    base.timer(0, lambda event, what: os.kill(os.getpid(), signal.SIGUSR1))
    return event


@kind
def activated(base: ev.EventBase, hit: Hit) -> object:
    event = base.event(-1, ev.EventFlag(0), lambda event, what: hit(event))
    event.active()
    return event


@kind
def soon(base: ev.EventBase, hit: Hit) -> object:
    base.call_soon(hit, base)
    return None


@kind
def read(base: ev.EventBase, hit: Hit) -> object:
    one, other = bev_pair(base)
    one.set_callbacks(read=hit)
    one.enable()
    other.write(b"x" * 10_000)
    return one, other


@kind
def pair_read(base: ev.EventBase, hit: Hit) -> object:
    one, other = ev.PairBufferEvent.new(base)
    one.set_callbacks(read=hit)
    one.enable()
    other.write(b"x" * 10_000)
    return one, other


@kind
def pair_ended(base: ev.EventBase, hit: Hit) -> object:
    one, other = ev.PairBufferEvent.new(base)
    one.set_callbacks(event=lambda bev, what: hit(bev))
    other.close()
    return one


@kind
def filter_read(base: ev.EventBase, hit: Hit) -> object:
    one, other = bev_pair(base)
    bev = ev.FilterBufferEvent(one, passes, passes)
    bev.set_callbacks(read=hit)
    bev.enable()
    other.write(b"x" * 10_000)
    return bev, other


@kind
def filter_closed(base: ev.EventBase, hit: Hit) -> object:
    one, other = bev_pair(base)
    bev = ev.FilterBufferEvent(one, None, passes, on_close=lambda: hit(bev))
    bev.write(b"x")
    one.set_watermark(ev.EventFlag.WRITE, 0, 1)
    bev.write(b"x")
    bev.close()
    return bev, other


@kind
def written(base: ev.EventBase, hit: Hit) -> object:
    one, other = bev_pair(base)
    one.set_callbacks(write=hit)
    one.write(b"x")
    return one, other


@kind
def ended(base: ev.EventBase, hit: Hit) -> object:
    one, other = bev_pair(base)
    one.set_callbacks(event=lambda bev, what: hit(bev))
    one.enable()
    other.close()
    return one


@kind
def connected(base: ev.EventBase, hit: Hit) -> object:
    sock = socket.create_server(("127.0.0.1", 0))
    bev = ev.SocketBufferEvent(base)
    bev.set_callbacks(event=lambda bev, what: hit(bev))
    bev.connect(sock.getsockname())
    return bare(sock), bev


@kind
def accepted(base: ev.EventBase, hit: Hit) -> object:
    def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        sock.close()
        hit(listener)

    listener = ev.Listener.bind(base, ("127.0.0.1", 0), on_accept)
    return listener, [bare(socket.create_connection(listener.address)) for _ in range(3)]


@kind
def resolved(base: ev.EventBase, hit: Hit) -> object:
    dns = ev.DNSBase(base)
    return dns, dns.getaddrinfo("127.0.0.1", 80, lambda request: hit(dns))


@kind
def buffer_changed(base: ev.EventBase, hit: Hit) -> object:
    one, other = bev_pair(base)
    one.input.add_callback(lambda buffer, change: hit(one))
    one.enable()
    other.write(b"x")
    return one, other


@kind
def changed_and_deferred(base: ev.EventBase, hit: Hit) -> object:
    buffer = ev.Buffer()
    buffer.defer_callbacks(base)
    buffer.add_callback(lambda buffer, change: hit(buffer))
    buffer.write(b"x")
    return buffer


@kind
def released(base: ev.EventBase, hit: Hit) -> object:
    one, other = bev_pair(base)
    one.output.add_reference(bytearray(10_000), lambda: hit(one))
    return one, other


@kind
def tls_connected(base: ev.EventBase, hit: Hit) -> object:
    server_ctx, client_ctx = contexts()
    one, other = bev_pair(base)
    server = ev.TLSBufferEvent.wrap(one, server_ctx, server_side=True)
    client = ev.TLSBufferEvent.wrap(other, client_ctx, server_hostname="server.test")
    client.set_callbacks(event=lambda bev, what: hit(bev))
    server.enable()
    client.enable()
    return server, client


@kind
def tls_read(base: ev.EventBase, hit: Hit) -> object:
    server_ctx, client_ctx = contexts()
    one, other = bev_pair(base)
    server = ev.TLSBufferEvent.wrap(one, server_ctx, server_side=True)
    client = ev.TLSBufferEvent.wrap(other, client_ctx, server_hostname="server.test")
    server.set_callbacks(read=hit)
    server.enable()
    client.enable()
    client.write(b"x" * 100_000)
    return server, client
