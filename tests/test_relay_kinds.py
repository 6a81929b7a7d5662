"""Relays of pairs and filters, and under rate limits: the same bytes, ends passed down the stack, and no stack overflows."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kinds import passes
from support import check_child, run_until, socket_pair
from test_bufferevent_relay import Ends, Peer, steps, tls_pair
from test_ratelimit_bufferevent import Taker, ticks_between

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
CLOSE = ev.Option.CLOSE_ON_FREE
Ready = Callable[[ev.EventBase, Any], Any]


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def base(request: pytest.FixtureRequest) -> Iterator[ev.EventBase]:
    with ev.EventBase(fast_io=request.param) as base:
        yield base


def plain(base: ev.EventBase, sock: Any) -> Any:
    return ev.SocketBufferEvent(base, sock)


def filtered(base: ev.EventBase, sock: Any) -> Any:
    return ev.FilterBufferEvent(ev.SocketBufferEvent(base, sock), passes, passes, options=CLOSE)


def passed(base: ev.EventBase, sock: Any) -> Any:
    return ev.FilterBufferEvent(ev.SocketBufferEvent(base, sock), options=CLOSE)


def twice(base: ev.EventBase, sock: Any) -> Any:
    return ev.FilterBufferEvent(filtered(base, sock), passes, None, options=CLOSE)


def by_pair(base: ev.EventBase, sock: Any) -> Any:
    """Relayed by way of a pair."""
    near, far = ev.PairBufferEvent.new(base)
    far.relay(ev.SocketBufferEvent(base, sock))
    return near


def by_pair_and_filter(base: ev.EventBase, sock: Any) -> Any:
    return ev.FilterBufferEvent(by_pair(base, sock), passes, passes, options=CLOSE)


KINDS: list[Ready] = [plain, filtered, passed, twice, by_pair, by_pair_and_filter]


@contextlib.contextmanager
def relayed(base: ev.EventBase, one: Ready, other: Ready) -> Iterator[tuple[Any, Any, ev.Relay, Ends]]:
    """The two far ends of two streams that are relayed."""
    with socket_pair() as (near, sock), socket_pair() as (far, other_sock):
        ends = Ends()
        relay = one(base, sock).relay(other(base, other_sock), on_close=ends)
        yield near, far, relay, ends
        relay.close()
        base.dispatch()


# ---------------------------------------------------------------- bytes and ends


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(1, 0), (4097, 100_000), (1_500_000, 700_000)])
def test_both_directions_whole_and_counted(base: ev.EventBase, rng: random.Random, kind: Ready, sizes: tuple[int, int]) -> None:
    there, back = map(rng.randbytes, sizes)
    with relayed(base, plain, kind) as (near, far, relay, ends):
        peers = [Peer(near, there), Peer(far, back)]
        steps(base, peers, lambda: ends.all and all(peer.over for peer in peers))
        assert peers[0].got == back
        assert peers[1].got == there
        assert ends.only == (*sizes, None, None)
        assert relay.closed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["far", "near"])
def test_half_a_close_goes_down_the_stack(base: ev.EventBase, kind: Ready, first: str) -> None:
    with relayed(base, plain, kind) as (near, far, _relay, ends):
        asks, answers = (near, far) if first == "near" else (far, near)
        asking, answering = Peer(asks, b"question" * 50_000), Peer(answers, end=False)
        steps(base, [asking, answering], lambda: answering.over)
        assert answering.got == b"question" * 50_000
        assert not ends.all
        answering.left, answering.end = b"answer" * 50_000, True
        steps(base, [asking, answering], lambda: asking.over and ends.all)
        assert asking.got == b"answer" * 50_000
        assert ends.only.reason is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_echo(base: ev.EventBase, rng: random.Random, kind: Ready) -> None:
    data = rng.randbytes(500_000)
    with socket_pair() as (near, sock):
        ends = Ends()
        bev = kind(base, sock)
        bev.relay(bev, on_close=ends)
        peer = Peer(near, data)
        steps(base, [peer], lambda: ends.all and peer.over)
        assert peer.got == data
        assert ends.only == (len(data), 0, None, None)


def test_what_a_filter_stands_on_is_left_open(base: ev.EventBase) -> None:
    """Without CLOSE_ON_FREE the stream below goes on."""
    with socket_pair() as (near, sock), socket_pair() as (far, other_sock):
        below = ev.SocketBufferEvent(base, sock)
        ends = Ends()
        upper = ev.FilterBufferEvent(below, passes, passes, options=ev.Option(0))
        upper.relay(ev.SocketBufferEvent(base, other_sock), on_close=ends)
        peers = [Peer(far, b"abc"), Peer(near, b"def", end=False)]
        steps(base, peers, lambda: peers[0].got == b"def" and peers[1].got == b"abc")
        assert not peers[1].over
        near.shutdown(socket.SHUT_WR)
        steps(base, peers, lambda: ends.all)
        assert ends.only.reason is None
        assert not below.closed
        below.write(b"more")
        steps(base, [peers[1]], lambda: peers[1].got == b"abcmore")
        assert not peers[1].over
        below.close()


def test_slow_reader_behind_a_filter(base: ev.EventBase) -> None:
    with relayed(base, filtered, filtered) as (near, far, relay, ends):
        sender = Peer(near, b"x" * 8_000_000)
        quiet, before = 0, -1
        with base.timer(0.002, lambda event, what: sender.step(), persist=True):
            while quiet < 20:
                base.loop(ev.LoopFlag.ONCE)
                quiet, before = (quiet + 1 if relay.sent == before else 0), relay.sent
        assert 0 < relay.sent < 5_000_000
        peers = [sender, Peer(far)]
        steps(base, peers, lambda: ends.all and all(peer.over for peer in peers))
        assert len(peers[1].got) == 8_000_000
        assert ends.only.reason is None


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_filter_that_raises(base: ev.EventBase, direction: str) -> None:
    def fails(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        raise ZeroDivisionError("on purpose")

    def kind(base: ev.EventBase, sock: Any) -> Any:
        filters = (fails, passes) if direction == "in" else (passes, fails)
        return ev.FilterBufferEvent(ev.SocketBufferEvent(base, sock), *filters, options=CLOSE)

    with relayed(base, plain, kind) as (near, far, _relay, ends):
        (far if direction == "in" else near).send(b"x" * 1000)
        with pytest.raises(ZeroDivisionError):
            run_until(base, lambda: False, 5)
        run_until(base, lambda: ends.all)
        assert isinstance(ends.only.reason, ZeroDivisionError)
        assert isinstance(ends.only.culprit, ev.FilterBufferEvent)


@pytest.mark.parametrize("what", ["relay", "one", "other", "both"])
@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_filter_that_closes(base: ev.EventBase, direction: str, what: str) -> None:
    """While libevent, and the relay, wait for it."""
    made: list[Any] = []

    def closes(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        for thing in made[:1] if what == "relay" else made[1:2] if what == "one" else made[2:] if what == "other" else made[1:]:
            thing.close()
        return passes(source, destination, limit, mode)

    with socket_pair() as (near, sock), socket_pair() as (far, other_sock):
        ends = Ends()
        filters = (closes, passes) if direction == "in" else (passes, closes)
        one = ev.SocketBufferEvent(base, sock)
        other = ev.FilterBufferEvent(ev.SocketBufferEvent(base, other_sock), *filters, options=CLOSE)
        made += [one.relay(other, on_close=ends), one, other]
        (far if direction == "in" else near).send(b"x" * 100_000)
        run_until(base, lambda: ends.all)
        assert all(thing.closed for thing in made)
        base.dispatch()


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_partner_is_closed(base: ev.EventBase, how: str) -> None:
    """Its partner is relayed to a socket: that gets the end, and what it sends then goes nowhere."""
    with socket_pair() as (near, sock):
        ends = Ends()
        here, there = ev.PairBufferEvent.new(base)
        there.relay(ev.SocketBufferEvent(base, sock), on_close=ends)
        taker = Taker().watch(here)
        here.write(b"last words")
        peer = Peer(near, b"x" * 3_000_000, end=False)
        steps(base, [peer], lambda: peer.got and len(taker.data) > 100_000)
        here.disable(READ)  # what comes piles up, and the socket isn't read any more
        run_until(base, lambda: not there._relay or not there.enabled & READ or peer.left, 5)
        getattr(here, how)()
        steps(base, [peer], lambda: ends.all)
        assert isinstance(ends.only.reason, BrokenPipeError)
        assert ends.only.culprit is there
        assert peer.got == b"last words"
        base.dispatch()


def test_a_partner_is_closed_after_all(base: ev.EventBase) -> None:
    with socket_pair() as (near, sock):
        ends = Ends()
        here, there = ev.PairBufferEvent.new(base)
        there.relay(ev.SocketBufferEvent(base, sock), on_close=ends)
        here.write(b"abc")
        here.close()
        peer = Peer(near, end=False)
        steps(base, [peer], lambda: peer.over)
        assert peer.got == b"abc"
        assert not ends.all
        near.shutdown(socket.SHUT_WR)
        run_until(base, lambda: ends.all)
        assert ends.only == (3, 0, None, None)


def test_a_partner_that_reads_no_more_is_no_end(base: ev.EventBase) -> None:
    with socket_pair() as (near, sock):
        here, there = ev.PairBufferEvent.new(base)
        relay = there.relay(ev.SocketBufferEvent(base, sock))
        here.flush(READ, ev.FlushMode.FINISHED)
        here.write(b"goes on")
        peer = Peer(near, end=False)
        steps(base, [peer], lambda: peer.got == b"goes on")
        assert not peer.over
        assert not relay.closed
        relay.close()
        base.dispatch()
        here.close()


# ---------------------------------------------------------------- rings


def ring_of_two(base: ev.EventBase) -> None:
    """Both ends of a pair relayed to each other: what is in there goes round and round."""
    one, other = ev.PairBufferEvent.new(base)
    ends = Ends()
    one.write(b"x" * 1000)
    relay = one.relay(other, on_close=ends)
    base.timer(0.2, lambda event, what: relay.close())
    base.dispatch()
    assert ends.only.sent + ends.only.received > 1_000_000
    assert ends.only.reason is None


def two_echoes(base: ev.EventBase) -> None:
    ends = Ends()
    one, other = ev.PairBufferEvent.new(base)
    one.write(b"x" * 1000)
    relays = [bev.relay(bev, on_close=ends) for bev in (one, other)]
    base.timer(0.2, lambda event, what: relays[0].close())
    base.dispatch()
    assert len(ends.all) == 2


def long_ring(base: ev.EventBase) -> None:
    ends = Ends()
    pairs = [ev.PairBufferEvent.new(base) for _ in range(500)]
    pairs[0][0].write(b"x" * 1000)
    relays = [pairs[n - 1][1].relay(pairs[n][0], on_close=ends) for n in range(500)]
    base.timer(0.2, lambda event, what: relays[0].close())
    base.dispatch()
    assert len(ends.all) == 500


def long_chain(base: ev.EventBase) -> None:
    """Many relays in a row, and a filter at the end that closes the first."""
    ends = Ends()
    pairs = [ev.PairBufferEvent.new(base) for _ in range(500)]
    relays = [one[1].relay(other[0], on_close=ends) for one, other in itertools.pairwise(pairs)]

    def closes(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        relays[0].close()
        return passes(source, destination, limit, mode)

    last = ev.FilterBufferEvent(pairs[-1][1], closes, passes, options=CLOSE)
    taker = Taker().watch(last)
    pairs[0][0].write(b"x" * 100_000)
    run_until(base, lambda: taker.events)
    assert len(taker.data) == 100_000
    last.close()
    pairs[0][0].close()
    run_until(base, lambda: len(ends.all) == 499)


@pytest.mark.parametrize("scenario", [ring_of_two, two_echoes, long_ring, long_chain], ids=lambda f: f.__name__)
def test_relays_that_feed_each_other(scenario: Callable[[], None]) -> None:
    check_child(
        f"""
import threading
import pylibevent, test_relay_kinds

def run():
    with pylibevent.EventBase() as base:
        test_relay_kinds.{scenario.__name__}(base)

threading.stack_size(256 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    )


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("kind", [plain, filtered, by_pair, "tls"])
@pytest.mark.parametrize("where", ["own", "group"])
@pytest.mark.parametrize("side", ["from", "to"])
def test_rate_limits_hold(base: ev.EventBase, certificates: Any, kind: Any, where: str, side: str) -> None:
    """Set while bytes are on their way, in both directions, and taken off again."""
    with contextlib.ExitStack() as stack:
        near, sock = stack.enter_context(socket_pair())
        far, other_sock = stack.enter_context(socket_pair())
        if kind == "tls":
            other, client = tls_pair(base, certificates, other_sock, far)
            taker = Taker().watch(client)
        else:
            other = kind(base, other_sock)
            taker = Taker().watch(client := ev.SocketBufferEvent(base, far))
        one = ev.SocketBufferEvent(base, sock)
        relay = one.relay(other)
        source = ev.SocketBufferEvent(base, near)
        source.write(b"x" * 200_000)
        run_until(base, lambda: len(taker.data) == 200_000)
        limited = one if side == "from" else other
        limit = ev.RateLimit(2000, 2000, tick=0.05)
        group = stack.enter_context(ev.RateLimitGroup(base, limit))
        if where == "own":
            limited.set_rate_limit(limit)
        else:
            group.add(limited)
        source.write(b"y" * 500_000)
        started = time.time()
        base.loopexit(0.3)
        base.dispatch()
        ticks = ticks_between(started, time.time(), 0.05)
        late = len(taker.data) - 200_000
        slack = 2  # the bucket is full at first, and a tick may begin in between
        least = 0 if kind == "tls" else 2000  # a record may be more than came through until now
        assert least <= late <= 2000 * (ticks + slack)
        if where == "own":
            limited.set_rate_limit(None)
        else:
            group.remove(limited)
        run_until(base, lambda: len(taker.data) == 700_000)
        assert taker.data == b"x" * 200_000 + b"y" * 500_000
        assert relay.sent == 700_000
        client.abort()
        source.abort()
        relay.close()
        base.dispatch()
