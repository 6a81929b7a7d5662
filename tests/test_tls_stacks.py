"""TLS over sockets, pairs, filters and other TLS, up to three deep: how it begins, what goes through, and how it ends."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from support import run_until
from tls_ends import End, settle
from tls_stacks import BELOW, Contexts, all_below, flip, secured, stacked

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
EOF = ev.What.READING | ev.What.EOF
CONNECTED = ev.What.CONNECTED

over_all = pytest.mark.parametrize("below", BELOW)


@pytest.fixture(scope="module")
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


def met(base: ev.EventBase, below: str, contexts: Contexts, **options: Any) -> tuple[End, End]:
    """Two ends with TLS on top, connected."""
    server, client = map(End, secured(stacked(base, below, contexts), contexts, **options))
    run_until(base, lambda: server.events and client.events)
    assert server.events == client.events == [CONNECTED], (server.error, client.error)
    return server, client


def close_all(base: ev.EventBase, *ends: End) -> None:
    for end in ends:
        end.bev.close()
    assert base.dispatch()
    assert all(bev.closed for end in ends for bev in all_below(end.bev))


# ---------------------------------------------------------------- what goes through


@over_all
def test_bytes_both_ways_and_a_half_close(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    """One side says its last word, gets all of the answer, and each byte comes once."""
    server, client = met(base, below, contexts)
    question, answer = bytes(range(256)) * 1000, bytes(reversed(range(256))) * 1000
    client.bev.set_watermark(READ, 0, 5000)
    client.bev.write(question)
    client.bev.shutdown_write()
    with pytest.raises(BrokenPipeError):
        client.bev.write(b"too late")
    run_until(base, lambda: server.events[-1] == EOF)
    assert server.got == question
    server.bev.write(answer)
    server.bev.close()
    run_until(base, lambda: client.events[-1] == EOF)
    assert client.got == answer
    assert client.events == server.events == [CONNECTED, EOF]
    close_all(base, server, client)


@over_all
@pytest.mark.parametrize("bidirectional", [False, True])
def test_closed_with_bytes_on_their_way(base: ev.EventBase, contexts: Contexts, below: str, bidirectional: bool) -> None:
    server, client = met(base, below, contexts)
    data = bytes(range(256)) * 1000
    client.bev.write(data)
    client.bev.close(timeout=20, bidirectional=bidirectional)
    run_until(base, lambda: server.events[-1] == EOF)
    assert server.got == data
    assert server.events == [CONNECTED, EOF]
    close_all(base, server, client)


@over_all
def test_aborted(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    """The other end hears that the stream was cut short."""
    server, client = met(base, below, contexts)
    settle(base)
    client.bev.abort()
    run_until(base, lambda: len(server.events) > 1)
    assert server.events[-1] == ev.What.READING | ev.What.ERROR
    assert isinstance(server.error, ev.TLSEOFError)
    close_all(base, server, client)


@over_all
def test_an_abort_that_is_allowed(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    server, client = met(base, below, contexts)
    for bev in all_below(server.bev):
        if isinstance(bev, ev.TLSBufferEvent):
            bev.allow_dirty_shutdown = True
    settle(base)
    client.bev.abort()
    run_until(base, lambda: len(server.events) > 1)
    assert server.events == [CONNECTED, EOF]
    close_all(base, server, client)


@over_all
@pytest.mark.parametrize("first", [0, 1])
def test_back_to_what_was_below(base: ev.EventBase, contexts: Contexts, below: str, first: int) -> None:
    """unwrap() gives the underlying back, where bytes go on as before; TLS can be started there again."""
    ends = met(base, below, contexts)
    found: dict[int, Any] = {}
    got = [bytearray(), bytearray()]

    def go_on(bev: ev.BufferEvent, number: int) -> None:
        found[number] = bev
        bev.set_callbacks(read=lambda bev: got[number].extend(bev.read()))
        bev.enable()
        bev.write(b"plainly")

    ends[first].bev.write(b"last words" * 1000)
    ends[first].bev.unwrap(lambda bev: go_on(bev, first))
    run_until(base, lambda: ends[1 - first].events[-1] == EOF)
    assert ends[1 - first].got == b"last words" * 1000
    ends[1 - first].bev.unwrap(lambda bev: go_on(bev, 1 - first))
    run_until(base, lambda: got[0] == got[1] == b"plainly")
    assert all(found[number] is ends[number].bev.underlying for number in (0, 1))
    again = tuple(map(End, secured((found[0], found[1]), contexts)))
    again[0].bev.write(b"in secret again")
    run_until(base, lambda: again[1].got == b"in secret again")
    close_all(base, *again)
    assert all(end.bev.closed for end in ends)


@over_all
def test_one_that_stays_when_tls_is_closed(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    """Without CLOSE_ON_FREE what is below goes on."""
    ends = stacked(base, below, contexts)
    server, client = map(End, secured(ends, contexts, options=ev.Option(0)))
    run_until(base, lambda: server.connected and client.connected)
    client.bev.close()
    run_until(base, lambda: server.events[-1] == EOF)
    server.bev.close()
    settle(base)
    assert server.bev.closed
    assert client.bev.closed
    got = bytearray()
    ends[0].set_callbacks(read=lambda bev: got.extend(bev.read()))
    ends[0].enable()
    ends[1].enable()
    ends[1].write(b"still there")
    run_until(base, lambda: got.endswith(b"still there"))
    ends[0].close()
    ends[1].close()
    assert base.dispatch()


# ---------------------------------------------------------------- the handshake's time


def silent(base: ev.EventBase, below: str, contexts: Contexts, **options: Any) -> tuple[End, ev.BufferEvent]:
    """A client whose server doesn't say a word of TLS, and what that has in its place."""
    server, client = stacked(base, below, contexts)
    server.enable()
    return End(client.start_tls(contexts[1], False, "server.test", **options)), server


@over_all
def test_the_handshake_has_its_time(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    end, other = silent(base, below, contexts, handshake_timeout=0.1)
    run_until(base, lambda: end.events)
    assert end.events == [ev.What.READING | ev.What.ERROR]
    assert isinstance(end.error, ev.HandshakeTimeout)
    end.bev.close()
    other.abort()
    assert base.dispatch()


@pytest.mark.parametrize("layers", ["filter", "filter filter", "tls", "tls filter", "filter tls"])
def test_connecting_does_not_count(base: ev.EventBase, contexts: Contexts, layers: str) -> None:
    """The time begins when all that is below is open, however long that takes."""
    ends: Any = [], ev.SocketBufferEvent(base)
    bev: Any = ends[1]
    for layer in layers.split():
        if layer == "filter":
            bev = ev.FilterBufferEvent(bev, flip, flip)
        else:
            bev = ev.TLSBufferEvent.wrap(bev, contexts[1], server_hostname="server.test")
            bev.enable()
    limit = 0.5
    client = End(ev.TLSBufferEvent.wrap(bev, contexts[1], server_hostname="server.test", handshake_timeout=limit))
    accepted: list[End] = []

    def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        server: Any = ev.SocketBufferEvent(base, sock)
        for layer in layers.split():
            if layer == "filter":
                server = ev.FilterBufferEvent(server, flip, flip)
            else:
                server = ev.TLSBufferEvent.wrap(server, contexts[0], server_side=True)
                server.enable()
        accepted.append(End(ev.TLSBufferEvent.wrap(server, contexts[0], server_side=True)))

    with ev.Listener.bind(base, ("127.0.0.1", 0), on_accept) as listener:
        begun = time.monotonic()
        base.timer(limit * 1.2, lambda event, what: base.loopexit())
        base.dispatch()
        assert time.monotonic() - begun >= limit
        assert client.events == []
        ends[1].connect(listener.address)
        run_until(base, lambda: client.events and accepted and accepted[0].connected)
        assert client.events[-1] == CONNECTED, client.error
    assert 0 < client.bev.handshake_time < 20
    close_all(base, client, *accepted)


@over_all
def test_the_time_is_measured(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    server, client = met(base, below, contexts, handshake_timeout=20)
    assert all(0 <= end.bev.handshake_time < 20 for end in (server, client))
    close_all(base, server, client)


# ---------------------------------------------------------------- failures


@over_all
def test_a_refused_certificate(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    """The alert gets through, whatever is below."""
    stranger = ev.TLSContext.client(cadata=None)
    ends = stacked(base, below, contexts)
    server = End(ends[0].start_tls(contexts[0], True))
    client = End(ends[1].start_tls(stranger, False, "server.test"))
    run_until(base, lambda: server.ended and client.ended)
    assert isinstance(client.error, ev.TLSCertificateError)
    assert server.error.alert == client.error.alert_sent is not None
    close_all(base, server, client)


@over_all
def test_plain_bytes_in_place_of_tls(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    ends = stacked(base, below, contexts)
    server = End(ends[0].start_tls(contexts[0], True))
    ends[1].enable()
    ends[1].write(b"GET / HTTP/1.0\r\n\r\n")
    run_until(base, lambda: server.ended)
    assert server.events == [ev.What.READING | ev.What.ERROR]
    assert server.error.reason == "HTTP_REQUEST"
    server.bev.close()
    ends[1].close()
    assert base.dispatch()


@pytest.mark.parametrize("below", [name for name in BELOW if "filter" in name])
def test_a_filter_that_breaks_later(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    """Its exception comes out of the loop, and is what the TLS on top says of its end."""
    broken: list[Any] = []

    def breaks(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        if broken:
            raise KeyError("why")
        source.remove_buffer(destination, limit)
        return ev.FilterResult.OK

    one, other = stacked(base, below.rpartition(" ")[0] if below.endswith("filter") else below, contexts)
    ends = tuple(map(End, secured((ev.FilterBufferEvent(one, breaks, None), other), contexts)))
    run_until(base, lambda: ends[0].connected and ends[1].connected)
    settle(base)
    broken.append(True)
    ends[1].bev.write(b"words")
    with pytest.raises(KeyError):
        run_until(base, lambda: False)
    run_until(base, lambda: ends[0].ended)
    assert isinstance(ends[0].error, KeyError)
    close_all(base, *ends)


# ---------------------------------------------------------------- locks


@over_all
def test_with_locks(base: ev.EventBase, contexts: Contexts, below: str) -> None:
    """Closed in its own callbacks, from below a pass."""
    ends = stacked(base, below, contexts, options=ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE)
    server, client = map(End, secured(ends, contexts))
    run_until(base, lambda: server.connected and client.connected)
    data = bytes(range(256)) * 200
    client.bev.write(data)
    run_until(base, lambda: server.got == data)
    server.bev.set_callbacks(event=lambda bev, what: bev.close())
    client.bev.close()
    run_until(base, lambda: server.bev.closed)
    close_all(base, server, client)


@over_all
def test_the_base_is_closed_under_it(contexts: Contexts, below: str) -> None:
    base = ev.EventBase()
    server, client = met(base, below, contexts)
    client.bev.write(b"lost")
    client.bev.close()
    base.close()
    assert server.bev.closed
    assert client.bev.closed
