"""Limits below TLS: the bytes on the wire count, and nothing stalls."""

from __future__ import annotations

from typing import Any

import pytest
from support import run_until
from test_ratelimit_bufferevent import Taker, run_for
from test_tls_wrap import Contexts, end, socket_bevs, tls_pair
from tls_ends import close_all, meet

import pylibevent as ev

DATA = bytes(range(256)) * 100


@pytest.fixture
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


def test_it_is_on_the_underlying(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    limit = ev.RateLimit(1000, 1000, tick=2e6)
    server.set_rate_limit(limit)
    assert server.rate_limit is server.underlying.rate_limit is limit
    assert server.write_limit == server.underlying.write_limit == 1000
    server.underlying.decrement_write_limit(100)
    assert server.write_limit == server.max_to_write == 900
    server.decrement_read_limit(1)
    assert server.underlying.read_limit == 999
    with ev.RateLimitGroup(base, ev.RateLimit(500, 500, tick=2e6)) as group:
        group.add(server)
        assert server in group
        assert server.underlying in group
        assert list(group) == [server.underlying]
        assert server.rate_limit_group is server.underlying.rate_limit_group is group
        assert server.max_to_write == 500
        group.remove(server.underlying)
        assert server.rate_limit_group is None
    server.set_rate_limit(None)
    assert server.underlying.rate_limit is None
    end(base, client, server)


@pytest.mark.parametrize("limited", ["reader", "writer"])
def test_no_record_is_stuck(base: ev.EventBase, contexts: Contexts, limited: str) -> None:
    """One record is many ticks' worth."""
    server, client = tls_pair(base, contexts)
    bev = server if limited == "reader" else client
    bev.set_rate_limit(ev.RateLimit(2000, 2000, tick=0.01))
    taker = Taker().watch(server)
    client.write(DATA)
    run_until(base, lambda: len(taker.data) == len(DATA))
    assert taker.data == DATA
    end(base, client, server)


@pytest.mark.parametrize("limited", ["reader", "writer", "both in a group"])
def test_the_socket_form(base: ev.EventBase, contexts: Contexts, limited: str) -> None:
    """It has its limits itself, and what OpenSSL holds when they stop it still comes."""
    server, client = meet(base, *contexts, direct=True)
    limit = ev.RateLimit(2000, 2000, tick=0.01)
    with ev.RateLimitGroup(base, limit) as group:
        if limited == "both in a group":
            group.add(server.bev)
            group.add(client.bev)
        else:
            (server if limited == "reader" else client).bev.set_rate_limit(limit)
        client.bev.write(DATA)
        run_until(base, lambda: len(server.got) == len(DATA))
        assert server.got == DATA
        client.bev.close()
        run_until(base, lambda: server.ended)
        assert server.events == [ev.What.CONNECTED, ev.What.EOF | ev.What.READING]
        close_all(base, server, client)


def test_the_socket_form_without_a_socket(base: ev.EventBase, contexts: Contexts) -> None:
    """Limits, and a filter, on one that isn't connected don't keep the loop."""
    limit = ev.RateLimit(10, 10)
    bev = ev.TLSBufferEvent.wrap(ev.SocketBufferEvent(base), contexts[1], server_hostname="server.test", direct=True)
    bev.enable()
    bev.set_rate_limit(limit)
    with ev.RateLimitGroup(base, limit) as group:
        group.add(bev)
        assert base.dispatch()
        bev.set_rate_limit(None)
    assert base.dispatch()
    top = ev.FilterBufferEvent(bev)
    top.enable()
    top.set_rate_limit(limit)
    assert base.dispatch()
    top.abort()


def test_bytes_on_the_wire_count(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    with ev.RateLimitGroup(base, ev.RateLimit(10**6, 10**6)) as group:
        group.add(client)
        taker = Taker().watch(server)
        client.write(b"x" * 10)
        run_until(base, lambda: taker.data)
        assert group.totals.written == 10 + 22, "a record of TLS 1.3 with its header, type and tag"
    end(base, client, server)


def test_limited_from_the_first_message(base: ev.EventBase, contexts: Contexts) -> None:
    """The handshake pays too."""
    below, peer = socket_bevs(base)
    with ev.RateLimitGroup(base, ev.RateLimit(10**6, 10**6)) as group:
        below.set_rate_limit(ev.RateLimit(500, 500, tick=0.01))
        group.add(below)
        server = ev.TLSBufferEvent.wrap(below, contexts[0], server_side=True)
        client = ev.TLSBufferEvent.wrap(peer, contexts[1], server_hostname="server.test")
        taker = Taker().watch(server)
        client.enable()
        client.write(DATA)
        run_until(base, lambda: taker.data == DATA)
        assert group.totals.read > len(DATA) + 200
        assert group.totals.written > 500
        end(base, client, server)


def test_a_high_mark_and_a_limit(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    server.set_rate_limit(ev.RateLimit(3000, 3000, tick=0.005))
    server.set_watermark(ev.EventFlag.READ, 0, 5000)
    got = bytearray()

    def take_some(bev: ev.BufferEvent) -> None:
        got.extend(bev.read(777))
        if bev.input:
            bev.trigger(ev.EventFlag.READ)

    server.set_callbacks(read=take_some)
    server.enable()
    client.write(DATA)
    run_until(base, lambda: len(got) == len(DATA))
    assert got == DATA
    end(base, client, server)


def test_the_socket_keeps_it(base: ev.EventBase, contexts: Contexts) -> None:
    """When TLS is closed and what it stood on isn't."""
    server, client = tls_pair(base, contexts, options=ev.Option(0))
    below, peer = server.underlying, client.underlying
    server.set_rate_limit(ev.RateLimit(100, 100, tick=2e6))
    with ev.RateLimitGroup(base, ev.RateLimit(10**6, 10**6)) as group:
        group.add(server)
        server.close(timeout=0)
        client.close(timeout=0)
        assert below in group
        assert below.rate_limit == ev.RateLimit(100, 100, tick=2e6)
        taker = Taker().watch(peer)
        run_for(base, 0.05)
        before = len(taker.data)  # what TLS had sent, such as tickets
        below.write(b"x" * 1000)
        run_for(base, 0.05)
        assert len(taker.data) <= before + 100
        below.set_rate_limit(None)
        run_until(base, lambda: not below.output)
    below.abort()
    peer.abort()


def test_close_notify_waits_for_its_turn(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    client.set_rate_limit(ev.RateLimit(2000, 2000, tick=0.01))
    taker = Taker().watch(server)
    client.write(DATA)
    client.close()
    run_until(base, lambda: taker.events)
    assert taker.data == DATA
    assert taker.events & ev.What.EOF
    end(base, server)


def test_removed_while_a_record_waits(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    server.set_rate_limit(ev.RateLimit(100, 100, tick=2e6))
    taker = Taker().watch(server)
    client.write(DATA)
    run_for(base, 0.05)
    assert not taker.data
    server.set_rate_limit(None)
    run_until(base, lambda: taker.data == DATA, 5)
    end(base, client, server)


@pytest.mark.parametrize("where", ["own", "group"])
def test_the_socket_form_closed_while_a_limit_stops_it(
    contexts: Contexts, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Taking the limit away would have libevent watch a descriptor that is closed."""
    with ev.EventBase() as base:
        server, client = tls_pair(base, contexts, direct=True)
        run_until(base, lambda: server.version and client.version)
        limit = ev.RateLimit(100, 100, tick=1e6)
        with ev.RateLimitGroup(base, limit) as group:
            for bev in (server, client):
                group.add(bev) if where == "group" else bev.set_rate_limit(limit)
                bev.write(DATA)
            run_for(base, 0.05)
            assert server.max_to_write <= 0
            server.abort()
            run_for(base, 0.01)
    assert not caplog.records
