"""TLS over a bufferevent that is there already, and who owns what."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest
from support import run_until

import pylibevent as ev

ENDS = ev.What.EOF | ev.What.ERROR | ev.What.TIMEOUT
Contexts = tuple[ev.TLSContext, ev.TLSContext]


@pytest.fixture
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


def socket_bevs(base: ev.EventBase) -> tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]:
    one, other = socket.socketpair()
    return ev.SocketBufferEvent(base, one), ev.SocketBufferEvent(base, other)


def tls_pair(base: ev.EventBase, contexts: Contexts, **options: Any) -> tuple[ev.TLSBufferEvent, ev.TLSBufferEvent]:
    """Both ends, shaken hands."""
    one, other = socket_bevs(base)
    connected: list[ev.BufferEvent] = []
    server = ev.TLSBufferEvent.wrap(one, contexts[0], server_side=True, **options)
    client = ev.TLSBufferEvent.wrap(other, contexts[1], server_hostname="server.test", **options)
    for bev in (server, client):
        bev.set_callbacks(event=lambda bev, what: connected.append(bev))
        bev.enable()
    run_until(base, lambda: len(connected) == 2)
    return server, client


def end(base: ev.EventBase, *bevs: ev.BufferEvent) -> None:
    for bev in bevs:
        bev.close()
    base.dispatch()


def test_starttls(base: ev.EventBase, contexts: Contexts) -> None:
    """Both speak plainly, agree, and go on in TLS; not a byte is lost or read twice."""
    server_below, client_below = socket_bevs(base)
    said: list[bytes] = []
    ends: dict[str, ev.TLSBufferEvent] = {}

    def server_reads(bev: ev.BufferEvent) -> None:
        said.append(bev.read(9))
        bev.write(b"GO AHEAD\n")
        tls = ends["server"] = ev.TLSBufferEvent.wrap(bev, contexts[0], server_side=True)
        tls.set_callbacks(read=lambda bev: bev.write_buffer(bev.input))
        tls.enable()

    def client_reads(bev: ev.BufferEvent) -> None:
        said.append(bev.read())
        tls = ends["client"] = ev.TLSBufferEvent.wrap(bev, contexts[1], server_hostname="server.test")
        tls.set_callbacks(read=lambda bev: said.append(bev.read()))
        tls.enable()
        tls.write(b"in secret")

    server_below.set_callbacks(read=server_reads)
    client_below.set_callbacks(read=client_reads)
    server_below.enable()
    client_below.enable()
    client_below.write(b"STARTTLS\n")
    run_until(base, lambda: len(said) == 3)
    assert said == [b"STARTTLS\n", b"GO AHEAD\n", b"in secret"]
    end(base, ends["client"], ends["server"])
    assert server_below.closed
    assert client_below.closed


def test_what_came_before_the_wrap_is_the_first_message(base: ev.EventBase, contexts: Contexts) -> None:
    server_below, client_below = socket_bevs(base)
    client = ev.TLSBufferEvent.wrap(client_below, contexts[1], server_hostname="server.test")
    server_below.enable()
    run_until(base, lambda: len(server_below.input) > 100)  # the ClientHello
    connected: list[ev.What] = []
    server = ev.TLSBufferEvent.wrap(server_below, contexts[0], server_side=True)
    server.set_callbacks(event=lambda bev, what: connected.append(what))
    server.enable()
    client.enable()
    run_until(base, lambda: connected)
    assert connected == [ev.What.CONNECTED]
    end(base, client, server)


@pytest.mark.parametrize(
    "use",
    [
        lambda bev: bev.write(b"x"),
        lambda bev: bev.write_buffer(ev.Buffer(b"x")),
        lambda bev: bev.read(),
        lambda bev: bev.read_into(bytearray(1)),
        lambda bev: bev.read_buffer(ev.Buffer()),
        lambda bev: bev.set_callbacks(read=print),
        lambda bev: bev.set_fd(None),
        lambda bev: bev.close(),
        lambda bev: bev.abort(),
    ],
    ids=["write", "write_buffer", "read", "read_into", "read_buffer", "set_callbacks", "set_fd", "close", "abort"],
)
def test_nothing_comes_between_it_and_its_underlying(
    base: ev.EventBase, contexts: Contexts, use: Callable[[Any], object]
) -> None:
    server, client = tls_pair(base, contexts)
    with pytest.raises(RuntimeError, match="another bufferevent stands on"):
        use(server.underlying)
    got: list[bytes] = []
    server.set_callbacks(read=lambda bev: got.append(bev.read()))
    client.write(b"all is well")
    run_until(base, lambda: got)
    assert got == [b"all is well"]
    end(base, server, client)


def test_only_one_stands_on_it(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    with pytest.raises(RuntimeError, match="another bufferevent stands on"):
        ev.TLSBufferEvent.wrap(server.underlying, contexts[0], server_side=True)
    end(base, server, client)


def test_without_close_on_free_the_underlying_stays(base: ev.EventBase, contexts: Contexts) -> None:
    server_below, client_below = socket_bevs(base)
    server = ev.TLSBufferEvent.wrap(server_below, contexts[0], server_side=True, options=ev.Option(0))
    server.close(timeout=0)
    assert server.closed
    assert not server_below.closed
    got: list[bytes] = []
    server_below.set_callbacks(read=lambda bev: got.append(bev.read()))
    server_below.enable()
    client_below.write(b"plainly")
    run_until(base, lambda: b"".join(got) == b"plainly")
    end(base, server_below, client_below)


def test_options_of_threads_go_down(base: ev.EventBase, contexts: Contexts) -> None:
    one, other = socket_bevs(base)
    with pytest.raises(ValueError, match="THREADSAFE"):
        ev.TLSBufferEvent.wrap(one, contexts[0], server_side=True, options=ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE)
    assert not one.closed
    end(base, one, other)


def test_tls_over_tls(base: ev.EventBase, contexts: Contexts) -> None:
    outer_server, outer_client = tls_pair(base, contexts)
    got: list[bytes] = []
    server = ev.TLSBufferEvent.wrap(outer_server, contexts[0], server_side=True)
    client = ev.TLSBufferEvent.wrap(outer_client, contexts[1], server_hostname="server.test")
    server.set_callbacks(read=lambda bev: bev.write_buffer(bev.input))
    client.set_callbacks(read=lambda bev: got.append(bev.read()))
    server.enable()
    client.enable()
    data = bytes(range(256)) * 1000
    client.write(data)
    run_until(base, lambda: sum(map(len, got)) == len(data))
    assert b"".join(got) == data
    assert server.underlying is outer_server
    end(base, client, server)
    assert outer_server.closed
    assert outer_client.closed


def test_connecting_after_the_wrap(base: ev.EventBase, contexts: Contexts) -> None:
    accepted: list[ev.TLSBufferEvent] = []
    events: list[ev.What] = []
    with ev.Listener.bind(
        base,
        ("127.0.0.1", 0),
        lambda listener, sock, address: accepted.append(ev.TLSBufferEvent.accept(base, sock, contexts[0])),
    ) as listener:
        below = ev.SocketBufferEvent(base)
        client = ev.TLSBufferEvent.wrap(below, contexts[1], server_hostname="server.test")
        client.set_callbacks(event=lambda bev, what: events.append(what))
        client.enable()
        below.connect(listener.address)
        run_until(base, lambda: events)
        assert events == [ev.What.CONNECTED]
    end(base, client, *accepted)


def test_one_that_is_dropped_open_warns_once_and_frees_all(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    server.set_callbacks()
    client.set_callbacks()  # nothing holds it any more
    last = [client]
    del client
    with pytest.warns(ResourceWarning, match="unclosed <TLSBufferEvent") as caught:
        last.clear()
    assert len(caught) == 1
    server.abort()


def test_a_cycle_through_both_is_collected(base: ev.EventBase, contexts: Contexts) -> None:
    """The collector may come to the underlying first."""

    class Marked(ev.SocketBufferEvent):
        __slots__ = ("cycle",)

    one, other = socket.socketpair()
    below = Marked(base, one)
    tls = ev.TLSBufferEvent.wrap(below, contexts[0], server_side=True)
    below.cycle = tls
    del below, tls
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()
    other.close()


def test_closing_the_base_closes_all(contexts: Contexts) -> None:
    base = ev.EventBase()
    server, client = tls_pair(base, contexts)
    client.write(b"x" * 1_000_000)
    base.close()
    assert server.closed
    assert client.closed
    assert server.underlying.closed
    with pytest.raises(ev.ClosedError):
        client.write(b"x")
    for bev in (server, client):
        bev.close()
        bev.abort()


def test_close_sends_all_and_says_so(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    got = bytearray()
    events: list[ev.What] = []
    server.set_callbacks(
        read=lambda bev: got.extend(bev.read()),
        event=lambda bev, what: events.append(what),
    )
    data = bytes(range(256)) * 8000
    client.write(data)
    client.close()
    assert client.closed
    with pytest.raises(ev.ClosedError):
        client.write(b"too late")
    run_until(base, lambda: events)
    assert got == data
    assert events == [ev.What.READING | ev.What.EOF]
    end(base, server)


def test_abort_says_nothing(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    events: list[ev.What] = []
    server.set_callbacks(event=lambda bev, what: events.append(what))
    for _ in range(10):
        base.loop(ev.LoopFlag.NONBLOCK)  # the session tickets are read
    client.abort()
    run_until(base, lambda: events)
    assert isinstance(server.error, ev.TLSEOFError)
    end(base, server)


@pytest.mark.parametrize("when", ["connected", "read", "write", "event"])
def test_closing_in_its_callbacks(base: ev.EventBase, contexts: Contexts, when: str) -> None:
    one, other = socket_bevs(base)
    server = ev.TLSBufferEvent.wrap(one, contexts[0], server_side=True)
    client = ev.TLSBufferEvent.wrap(other, contexts[1], server_hostname="server.test")
    calls: list[str] = []

    def called(kind: str, bev: ev.BufferEvent) -> None:
        calls.append(kind)
        if kind == when:
            bev.close()

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        called("connected" if what & ev.What.CONNECTED else "event", bev)

    server.set_callbacks(read=lambda bev: called("read", bev), write=lambda bev: called("write", bev), event=on_event)
    client.set_callbacks(event=lambda bev, what: what & ENDS and bev.close())
    server.enable()
    client.enable()
    server.write(b"hello")
    client.write(b"hello")
    run_until(base, lambda: calls)
    client.close()
    run_until(base, lambda: server.closed)
    assert calls[-1] == when
    base.dispatch()


def test_repr_says_where_it_stands(base: ev.EventBase, contexts: Contexts) -> None:
    one, other = socket_bevs(base)
    server = ev.TLSBufferEvent.wrap(one, contexts[0], server_side=True)
    assert "handshake" in repr(server)
    other.abort()
    server.abort()
    assert repr(server) == "<TLSBufferEvent closed>"
    server, client = tls_pair(base, contexts)
    assert "TLSv1.3" in repr(client)
    end(base, server, client)
