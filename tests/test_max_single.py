"""max_single_read and max_single_write of kinds other than the socket, and beside rate limits."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from support import run_until
from test_ratelimit_bufferevent import Taker
from test_tls_wrap import Contexts, end, tls_pair

import pylibevent as ev


@pytest.fixture
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


def bound(*bevs: ev.BufferEvent) -> None:
    for bev in bevs:
        bev.max_single_read = bev.max_single_write = 10


@pytest.mark.parametrize("kind", ["pair", "filter"])
def test_pairs_and_filters_move_all_there_is(base: ev.EventBase, kind: str) -> None:
    one: ev.BufferEvent
    other: ev.BufferEvent
    one, other = ev.PairBufferEvent.new(base)
    if kind == "filter":
        one, other = (ev.FilterBufferEvent(bev, None, None, options=ev.Option.CLOSE_ON_FREE) for bev in (one, other))
    bound(one, other)
    assert (one.max_single_read, one.max_single_write) == (10, 10)
    taker = Taker().watch(other)
    one.write(b"x" * 1000)
    run_until(base, lambda: taker.data)
    assert [size for _, size in taker.pieces] == [1000]
    one.abort()
    other.abort()


def test_tls_goes_on_at_once(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    bound(server, client)
    taker = Taker().watch(server)
    client.write(b"x" * 1000)
    run_until(base, lambda: len(taker.data) == 1000)
    assert [size for _, size in taker.pieces] == [1000]
    end(base, client, server)


def test_below_tls_it_bounds_the_wire(base: ev.EventBase, contexts: Contexts) -> None:
    server, client = tls_pair(base, contexts)
    bound(client.underlying)
    polls = base.statistics.polls
    taker = Taker().watch(server)
    client.write(b"x" * 1000)
    run_until(base, lambda: len(taker.data) == 1000)
    assert base.statistics.polls - polls >= 100
    end(base, client, server)


def test_in_a_group_both_hold(base: ev.EventBase) -> None:
    one, other = (ev.SocketBufferEvent(base, sock) for sock in socket.socketpair())
    one.max_single_write = 300
    with ev.RateLimitGroup(base, ev.RateLimit(1000, 1000, tick=2e6)) as group:
        group.add(one)
        assert one.max_to_write == 300
        group.decrement_write(900)
        assert one.max_to_write == 100
        group.decrement_write(-500)
        one.set_rate_limit(ev.RateLimit(500, 500, tick=2e6))
        assert one.max_to_write == 500, "its own limit takes the place of what one write may be"
    one.abort()
    other.abort()
