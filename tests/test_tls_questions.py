"""What may be done while OpenSSL waits for Python's answer, in every stack and thread."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import run_until
from tls_ends import End, settle
from tls_stacks import BELOW, Contexts, all_below, flip, secured, stacked

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
OVER = [*BELOW, "nothing"]
over_all = pytest.mark.parametrize("below", OVER)
LOCKED = ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE
Attempt = Callable[[ev.TLSBufferEvent], object]


@pytest.fixture
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


def ends_over(base: ev.EventBase, below: str, contexts: Contexts, **options: Any) -> tuple[End, End]:
    """Nothing: the socket form."""
    if below == "nothing":
        return tuple(map(End, secured(stacked(base, "socket", contexts, **options), contexts, direct=True)))  # type: ignore
    return tuple(map(End, secured(stacked(base, below, contexts, **options), contexts)))  # type: ignore[return-value]


def ask_once(contexts: Contexts, who: str, attempt: Attempt) -> list[object]:
    """What an attempt gives or raises, within the first question that the last connection of this side is asked."""
    outcome: list[object] = []

    def try_it(bev: ev.TLSBufferEvent) -> None:
        if wanted and bev is wanted[0] and not outcome:
            outcome.append("under way")
            try:
                outcome[0] = attempt(bev)
            except Exception as error:
                outcome[0] = error

    def on_name(bev: ev.TLSBufferEvent, name: str | None, ctx: ev.TLSContext) -> None:
        try_it(bev)

    def on_verify(bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> bool:
        try_it(bev)
        return step.ok

    wanted: list[ev.BufferEvent] = []
    if who == "server":
        contexts[0].sni_callback = on_name
    else:
        contexts[1].verify_callback = on_verify
    outcome_of[id(outcome)] = wanted
    return outcome


outcome_of: dict[int, list[ev.BufferEvent]] = {}


def of(outcome: list[object], bev: ev.BufferEvent) -> None:
    outcome_of.pop(id(outcome)).append(bev)


REFUSED: dict[str, Attempt] = {
    "write": lambda bev: bev.write(b"x"),
    "read": lambda bev: bev.read(),
    "enable": lambda bev: bev.enable(),
    "flush": lambda bev: bev.flush(READ | WRITE, ev.FlushMode.FLUSH),
    "marks": lambda bev: bev.set_watermark(READ, 0, 1),
    "shutdown_write": lambda bev: bev.shutdown_write(),
    "unwrap": lambda bev: bev.unwrap(print),
    "start_tls": lambda bev: bev.start_tls(ev.TLSContext.client(), False, "server.test"),
    "filter": lambda bev: ev.FilterBufferEvent(bev, flip, flip),
    "loop": lambda bev: bev.base.loop(),
    "loop once": lambda bev: bev.base.loop(ev.LoopFlag.NONBLOCK),
    "reinit": lambda bev: bev.base.reinit(),
    "base": lambda bev: bev.base.close(),
}


@pytest.mark.parametrize("below", ["socket", "pair", "socket tls", "pair filter", "nothing"])
@pytest.mark.parametrize("who", ["server", "client"])
def test_refused(base: ev.EventBase, contexts: Contexts, below: str, who: str) -> None:
    """Each says so, and the handshake goes on."""
    outcomes: dict[str, object] = {}

    def attempts(bev: ev.TLSBufferEvent) -> object:
        for name, attempt in REFUSED.items():
            try:
                outcomes[name] = attempt(bev)
            except Exception as error:
                outcomes[name] = type(error)
        return None

    outcome = ask_once(contexts, who, attempts)
    ends = ends_over(base, below, contexts)
    of(outcome, ends[who == "client"].bev)
    run_until(base, lambda: ends[0].events and ends[1].events)
    assert outcome == [None]
    assert set(outcomes) == set(REFUSED)
    assert {name for name, what in outcomes.items() if what is not RuntimeError} <= {"filter", "start_tls"}
    assert [end.events for end in ends] == [[ev.What.CONNECTED]] * 2
    for end in ends:
        end.bev.close()
    base.dispatch()


ENDINGS: dict[str, Callable[[ev.TLSBufferEvent], None]] = {
    "close": lambda bev: bev.close(),
    "abort": lambda bev: bev.abort(),
    "twice": lambda bev: (bev.close(), bev.abort()),  # type: ignore[func-returns-value,return-value]
}


@over_all
@pytest.mark.parametrize("who", ["server", "client"])
@pytest.mark.parametrize("how", ENDINGS)
def test_closed_within(base: ev.EventBase, contexts: Contexts, below: str, who: str, how: str) -> None:
    """It is closed when OpenSSL has returned; the peer hears of an end."""
    outcome = ask_once(contexts, who, ENDINGS[how])
    ends = ends_over(base, below, contexts)
    asked, peer = ends[who == "client"], ends[who == "server"]
    of(outcome, asked.bev)
    run_until(base, lambda: outcome and peer.ended)
    assert not isinstance(outcome[0], Exception)
    assert asked.bev.closed
    settle(base)
    assert asked.events == []
    peer.bev.close()
    base.dispatch()
    assert all(bev.closed for end in ends for bev in all_below(end.bev))


@pytest.mark.parametrize("below", ["socket", "pair", "socket tls", "pair filter", "pair tls filter", "nothing"])
@pytest.mark.parametrize("who", ["server", "client"])
@pytest.mark.parametrize("options", [ev.Option.CLOSE_ON_FREE, LOCKED], ids=["plain", "locked"])
def test_others_closed_within(base: ev.EventBase, contexts: Contexts, below: str, who: str, options: ev.Option) -> None:
    """The peer, who may be at work further up in the same call, and one that has nothing to do with it."""

    def close_others(bev: ev.TLSBufferEvent) -> None:
        peer.bev.close()
        stranger.abort()

    outcome = ask_once(contexts, who, close_others)
    ends = ends_over(base, below, contexts, options=options)
    stranger = ev.SocketBufferEvent(base)
    asked, peer = ends[who == "client"], ends[who == "server"]
    of(outcome, asked.bev)
    run_until(base, lambda: outcome and asked.ended)
    assert outcome == [None]
    assert peer.bev.closed
    assert stranger.closed
    asked.bev.close()
    base.dispatch()
    assert all(bev.closed for end in ends for bev in all_below(end.bev))


@pytest.mark.parametrize("below", ["socket", "pair", "pair filter", "socket tls", "pair tls"])
@pytest.mark.parametrize("who", ["server", "client"])
def test_what_is_below_is_stirred(base: ev.EventBase, contexts: Contexts, below: str, who: str) -> None:
    """Nothing that is done below makes OpenSSL call itself."""

    def stir(bev: ev.TLSBufferEvent) -> None:
        for end in ends:
            for lower in all_below(end.bev)[1:]:
                try:
                    lower.trigger(READ | WRITE)
                    lower.trigger_event(ev.What.CONNECTED)
                    lower.disable(READ | WRITE)
                    lower.enable(READ | WRITE)
                    lower.flush(READ | WRITE, ev.FlushMode.FLUSH)
                except RuntimeError:
                    assert end.bev is bev, "what OpenSSL is at work in is refused"

    outcome = ask_once(contexts, who, stir)
    ends = ends_over(base, below, contexts)
    of(outcome, ends[who == "client"].bev)
    run_until(base, lambda: ends[0].events and ends[1].events)
    assert outcome == [None]
    ends[0].bev.write(b"well")
    run_until(base, lambda: ends[1].got == b"well")
    for end in ends:
        end.bev.close()
    base.dispatch()


@pytest.mark.parametrize("way", ["filter", "tls"])
@pytest.mark.parametrize("who", ["server", "client"])
def test_closed_from_above(base: ev.EventBase, contexts: Contexts, way: str, who: str) -> None:
    """What stands on it is closed in its question: all of it, afterwards. It can't be used meanwhile."""

    def attempt(bev: ev.TLSBufferEvent) -> None:
        with pytest.raises(RuntimeError):
            tops[bev].write(b"x")
        with pytest.raises(RuntimeError):
            bev.close()
        tops[bev].close()

    outcome = ask_once(contexts, who, attempt)
    lower = ends_over(base, "socket", contexts)
    of(outcome, lower[who == "client"].bev)
    bevs = lower[0].bev, lower[1].bev
    upper: Any = tuple(ev.FilterBufferEvent(bev, flip, flip) for bev in bevs) if way == "filter" else secured(bevs, contexts)
    tops = dict(zip(bevs, upper, strict=True))
    for top in upper:
        top.enable()
    run_until(base, lambda: outcome)
    assert outcome == [None]
    run_until(base, lambda: tops[lower[who == "client"].bev].closed)
    for top in upper:
        top.close()
    base.dispatch()
    assert all(bev.closed for top in upper for bev in all_below(top))


@pytest.mark.parametrize("who", ["server", "client"])
def test_closed_while_a_filter_is_put_on_it(base: ev.EventBase, contexts: Contexts, who: str) -> None:
    """A pair's bytes move at once: the question comes while the filter is made."""
    outcome = ask_once(contexts, who, lambda bev: bev.close())
    lower = ends_over(base, "pair", contexts)
    of(outcome, lower[who == "client"].bev)
    tops = [ev.FilterBufferEvent(end.bev, flip, flip) for end in lower]
    run_until(base, lambda: outcome and tops[who == "client"].closed)
    assert outcome == [None]
    for top in tops:
        top.close()
    base.dispatch()
    assert all(bev.closed for top in tops for bev in all_below(top))


def test_in_another_thread(contexts: Contexts, certificates: Any) -> None:
    """One with a lock may be asked wherever reading is enabled."""
    peer = ssl.create_default_context(cafile=certificates.ca)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = peer.wrap_bio(incoming, outgoing, server_hostname="server.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    outcomes: list[type[Exception]] = []
    threads: list[threading.Thread] = []

    def on_name(bev: ev.TLSBufferEvent, name: str | None, ctx: ev.TLSContext) -> None:
        threads.append(threading.current_thread())
        for attempt in (base.close, base.loop, lambda: base.loop(ev.LoopFlag.NONBLOCK), base.reinit, bev.enable):
            try:
                attempt()
            except RuntimeError as error:
                outcomes.append(type(error))
        bev.close()

    contexts[0].sni_callback = on_name
    one, other = socket.socketpair()
    with ev.EventBase() as base:
        below = ev.SocketBufferEvent(base, one, LOCKED)
        below.enable(READ)
        other.sendall(outgoing.read())
        run_until(base, lambda: below.input)
        bev = below.start_tls(contexts[0], True, allow_pipelined=True)
        thread = threading.Thread(target=bev.enable, args=(READ,))
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        assert threads == [thread]
        run_until(base, lambda: bev.closed)
        assert outcomes == [RuntimeError] * 5
        base.dispatch()
        assert below.closed
    other.close()
