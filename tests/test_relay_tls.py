"""Relays with TLS on one side or on both, in every form: the same bytes, and ends as close_notify, both ways."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kinds import passes
from support import run_until
from test_bufferevent_relay import Ends

import pylibevent as ev

READ = ev.EventFlag.READ
CLOSE = ev.Option.CLOSE_ON_FREE
RECORD = 16384
"""What OpenSSL takes at a time: the socket form may go beyond its credit by so much."""
Two = tuple[Any, Any]
"""Two ends of one connection; the first is relayed, the second is the peer."""


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def base(request: pytest.FixtureRequest) -> Iterator[ev.EventBase]:
    with ev.EventBase(fast_io=request.param) as base:
        yield base


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def contexts(request: pytest.FixtureRequest, certificates: Any) -> tuple[ev.TLSContext, ev.TLSContext]:
    client = ev.TLSContext.client(certificates.ca)
    client.minimum_version = request.param
    return ev.TLSContext.server(certificates.cert, certificates.key), client


class Peer:
    """What a peer got, and how it ended."""

    def __init__(self, bev: Any, data: bytes = b"") -> None:
        self.bev = bev
        self.got = bytearray()
        self.what = ev.What(0)
        bev.set_callbacks(lambda bev: self.got.extend(bev.read()), None, self.hear)
        bev.enable()
        bev.write(data)

    def hear(self, bev: Any, what: ev.What) -> None:
        self.what |= what

    @property
    def over(self) -> bool:
        return bool(self.what & (ev.What.EOF | ev.What.ERROR))

    def end(self) -> None:
        """Nothing more is to be sent."""
        if isinstance(self.bev, ev.TLSBufferEvent):
            self.bev.shutdown_write()
            return
        run_until(self.bev.base, lambda: not self.bev.output)
        sock = socket.socket(fileno=self.bev.fd)
        sock.shutdown(socket.SHUT_WR)
        sock.detach()


def sockets(base: ev.EventBase) -> Two:
    one, other = (ev.SocketBufferEvent(base, sock) for sock in socket.socketpair())
    return one, other


def over(two: Two, contexts: Any, **how: Any) -> Two:
    server, client = contexts
    one = two[0].start_tls(server, True, options=CLOSE, **how)
    return one, two[1].start_tls(client, server_hostname="localhost", options=CLOSE, **how)


def plain(base: ev.EventBase, contexts: Any) -> Two:
    return sockets(base)


def filter_form(base: ev.EventBase, contexts: Any) -> Two:
    return over(sockets(base), contexts)


def socket_form(base: ev.EventBase, contexts: Any) -> Two:
    return over(sockets(base), contexts, direct=True)


def tls_over_tls(base: ev.EventBase, contexts: Any) -> Two:
    return over(over(sockets(base), contexts), contexts)


def tls_over_a_filter(base: ev.EventBase, contexts: Any) -> Two:
    one, other = (ev.FilterBufferEvent(end, passes, passes, options=CLOSE) for end in sockets(base))
    return over((one, other), contexts)


def filter_over_tls(base: ev.EventBase, contexts: Any) -> Two:
    one, other = over(sockets(base), contexts)
    return ev.FilterBufferEvent(one, passes, passes, options=CLOSE), other


def tls_over_a_pair(base: ev.EventBase, contexts: Any) -> Two:
    return over(ev.PairBufferEvent.new(base), contexts)


FORMS = [filter_form, socket_form, tls_over_tls, tls_over_a_filter, filter_over_tls, tls_over_a_pair]
Form = Callable[[ev.EventBase, Any], Two]


class Relayed:
    """Two connections, relayed."""

    def __init__(self, base: ev.EventBase, contexts: Any, left: Form, right: Form) -> None:
        self.base = base
        self.ends = Ends()
        (self.one, near), (self.other, far) = left(base, contexts), right(base, contexts)
        self.near, self.far = Peer(near), Peer(far)
        self.relay = self.one.relay(self.other, on_close=self.ends)

    def finish(self) -> None:
        self.near.bev.close()
        self.far.bev.close()
        self.relay.close()
        self.base.dispatch()


@pytest.mark.parametrize("right", [plain, *FORMS])
@pytest.mark.parametrize("left", FORMS)
def test_both_ways_and_both_ends(base: ev.EventBase, contexts: Any, rng: random.Random, left: Form, right: Form) -> None:
    """Asked from one side, answered after its end, from the other."""
    there, back = rng.randbytes(300_000), rng.randbytes(200_000)
    relayed = Relayed(base, contexts, left, right)
    relayed.near.bev.write(there)
    relayed.near.end()
    run_until(base, lambda: relayed.far.over)
    assert not relayed.far.what & ev.What.ERROR
    assert relayed.far.got == there
    assert not relayed.ends.all
    relayed.far.bev.write(back)
    relayed.far.end()
    run_until(base, lambda: relayed.near.over and relayed.ends.all)
    assert not relayed.near.what & ev.What.ERROR
    assert relayed.near.got == back
    assert relayed.ends.only == (len(there), len(back), None, None)
    relayed.finish()


@pytest.mark.parametrize("form", FORMS)
def test_a_reader_that_stops(base: ev.EventBase, contexts: Any, form: Form) -> None:
    """What piles up has a bound, and arrives when the reader goes on."""
    relayed = Relayed(base, contexts, form, form)
    run_until(base, lambda: relayed.near.what & relayed.far.what & ev.What.CONNECTED)
    relayed.far.bev.disable(READ)
    total, quiet, before = 0, 0, -1
    with base.timer(0.001, lambda event, what: None, persist=True):
        while quiet < 20:
            base.loop(ev.LoopFlag.ONCE)
            quiet, before = (quiet + 1 if relayed.relay.sent == before else 0), relayed.relay.sent
            if total < 8_000_000 and not relayed.near.bev.output:
                relayed.near.bev.write(b"x" * 100_000)
                total += 100_000
    assert relayed.relay.sent < 5_000_000
    relayed.far.bev.enable(READ)
    run_until(base, lambda: len(relayed.far.got) == total)
    relayed.finish()


@pytest.mark.parametrize("form", [filter_form, socket_form])
def test_one_that_has_said_its_end(base: ev.EventBase, contexts: Any, form: Form) -> None:
    """Nothing can be written there any more; what it still gets is passed on, until something comes the other way."""
    (one, near), (other, far) = form(base, contexts), plain(base, contexts)
    near_peer, far_peer = Peer(near, b"question"), Peer(far)
    one.enable()
    run_until(base, lambda: len(one.input) == 8)
    one.shutdown_write()
    ends = Ends()
    one.relay(other, on_close=ends)
    run_until(base, lambda: far_peer.got == b"question" and near_peer.over)
    near.write(b", and more")
    run_until(base, lambda: far_peer.got == b"question, and more")
    far.write(b"answer")
    run_until(base, lambda: ends.all)
    assert ends.only.culprit is one
    assert isinstance(ends.only.reason, BrokenPipeError)
    near.close()
    far.close()
    base.dispatch()


@pytest.mark.parametrize("form", [filter_form, socket_form, tls_over_tls])
@pytest.mark.parametrize("who", ["near", "far"])
def test_a_stream_that_is_cut(base: ev.EventBase, contexts: Any, form: Form, who: str) -> None:
    """Without close_notify: an error, and the other side gets what came before, and is closed."""
    relayed = Relayed(base, contexts, form, form)
    cut, kept = (relayed.near, relayed.far) if who == "near" else (relayed.far, relayed.near)
    cut.bev.write(b"cut short")
    run_until(base, lambda: kept.got == b"cut short")
    cut.bev.abort()
    run_until(base, lambda: relayed.ends.all and kept.over)
    assert isinstance(relayed.ends.only.reason, ev.TLSEOFError)
    assert relayed.ends.only.culprit is (relayed.one if who == "near" else relayed.other)
    relayed.finish()


@pytest.mark.parametrize("form", [filter_form, socket_form])
def test_a_handshake_that_fails(base: ev.EventBase, contexts: Any, form: Form) -> None:
    one, near = sockets(base)
    server = one.start_tls(contexts[0], True, direct=form is socket_form)
    client = near.start_tls(contexts[1], server_hostname="elsewhere.test", direct=form is socket_form)
    other, far = sockets(base)
    ends, peer = Ends(), Peer(far)
    heard = Peer(client)
    server.relay(other, on_close=ends)
    run_until(base, lambda: ends.all and peer.over and heard.over)
    assert isinstance(ends.only.reason, ev.TLSError)
    assert ends.only.culprit is server
    client.close()
    far.close()
    base.dispatch()


@pytest.mark.parametrize("where", ["own", "group"])
@pytest.mark.parametrize("side", ["from", "to", "both"])
@pytest.mark.parametrize("form", [filter_form, socket_form])
def test_limits_hold_and_are_lifted(base: ev.EventBase, contexts: Any, form: Form, side: str, where: str) -> None:
    """Put on in the middle: no more than their credit comes through; taken off, the rest does."""
    credit = 100_000
    limit = ev.RateLimit(credit, credit, tick=1e6)
    relayed = Relayed(base, contexts, form, form)
    relayed.near.bev.write(b"a" * 200_000)
    run_until(base, lambda: len(relayed.far.got) == 200_000)
    limited = {"from": [relayed.one], "to": [relayed.other], "both": [relayed.one, relayed.other]}[side]
    with ev.RateLimitGroup(base, limit) as group:
        for bev in limited:
            group.add(bev) if where == "group" else bev.set_rate_limit(limit)
        relayed.near.bev.write(b"b" * 500_000)
        base.loopexit(0.1)
        base.dispatch()
        assert len(relayed.far.got) <= 200_000 + credit + RECORD
        for bev in limited:
            group.remove(bev) if where == "group" else bev.set_rate_limit(None)
        run_until(base, lambda: len(relayed.far.got) == 700_000)
    assert relayed.far.got == b"a" * 200_000 + b"b" * 500_000
    assert relayed.relay.sent == 700_000
    relayed.finish()
