"""Connections that end, or are used, while TLS waits for an answer."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from support import run_until
from tls_ends import End, both_fail, meet, settle, shake_hands
from tls_later import (
    FORMS,
    QUESTIONS,
    Asked,
    Turn,
    ask_later,
    both_versions,
    each_question,
    each_way,
    echo,
    end,
    ends_over,
    make_contexts,
    run_until_raised,
    until_connected,
)
from tls_stacks import flip

import pylibevent as ev

_TICKETS_FAILED = ev.What.ERROR | ev.What.WRITING
"""A server may fail to send its tickets to one who has closed already; libevent and we may find that in the same pass."""

# ---------------------------------------------------------------- ends while it waits


def abort(base: ev.EventBase, asking: End, other: End) -> None:
    asking.bev.abort()


def close(base: ev.EventBase, asking: End, other: End) -> None:
    asking.bev.close()


def lose_the_peer(base: ev.EventBase, asking: End, other: End) -> None:
    other.bev.abort()


def close_the_base(base: ev.EventBase, asking: End, other: End) -> None:
    base.close()


def take_too_long(base: ev.EventBase, asking: End, other: End) -> None:
    run_until(base, lambda: asking.ended)
    assert isinstance(asking.error, ev.HandshakeTimeout)


ENDINGS = {each.__name__: each for each in (abort, close, lose_the_peer, close_the_base, take_too_long)}


@each_way
@each_question
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", FORMS)
def test_ends_while_it_waits(certificates: Any, question: str, way: str, ending: str, form: str) -> None:
    """What comes then is dropped; the coroutine is closed, the future is cancelled."""
    contexts = make_contexts(certificates)
    with ev.EventBase() as base:
        asked, good = ask_later(contexts, question, way)
        options = {"handshake_timeout": 0.2} if ending == "take_too_long" else {}
        ends = ends_over(base, form, contexts, **options)
        asking, other = ends if question != "verify" else ends[::-1]
        run_until(base, lambda: asked.waits)
        if way == "coroutine":
            assert asked.steps == ["begun"]
        ENDINGS[ending](base, asking, other)
        if ending == "lose_the_peer":
            if form == "socket" or (form == "pair" and question != "verify"):
                run_until(base, lambda: asking.ended)  # it is noticed at once there
                assert isinstance(asking.error, ev.TLSEOFError | OSError)
            else:
                run_until(base, lambda: asked.answer(good) or asking.ended)
        else:
            if not base.closed:
                run_until(base, lambda: all(future.cancelled() for future in asked.futures))
            assert all(future.cancelled() for future in asked.futures)
            if way == "coroutine":
                assert asked.steps == ["begun", "ended"]
        late = [future for future in asked.futures if isinstance(future, ev.DeferredAnswer)]
        for future in late:
            future.set_result(good)
            future.set_exception(ValueError())
        if base.closed:
            return
        settle(base)
        assert not asking.connected or ending == "lose_the_peer"
        for one in ends:
            one.bev.abort()
        base.dispatch()


@each_question
@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
def test_closed_with_something_to_send(base: ev.EventBase, certificates: Any, question: str, direct: bool) -> None:
    """It goes out once the handshake is done."""
    contexts = make_contexts(certificates)
    asked, good = ask_later(contexts, question, "coroutine")
    server, client = meet(base, *contexts, direct=direct)
    asking, other = (server, client) if question != "verify" else (client, server)
    asking.bev.write(b"last words")
    run_until(base, lambda: asked.waits)
    asking.bev.close()
    assert not any(future.cancelled() for future in asked.futures)

    def come() -> bool:
        if asked.waits:
            asked.answer(good)
        return other.ended

    run_until(base, come)
    assert other.got == b"last words"
    assert other.events[0] == ev.What.CONNECTED
    assert other.events[1] & ~_TICKETS_FAILED == ev.What.EOF | ev.What.READING
    assert len(other.events) == 2
    other.bev.close()
    base.dispatch()


@each_question
@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
def test_closed_with_something_to_send_in_vain(base: ev.EventBase, certificates: Any, question: str, direct: bool) -> None:
    """The close has its own time."""
    contexts = make_contexts(certificates)
    asked, _ = ask_later(contexts, question, "coroutine")
    server, client = meet(base, *contexts, direct=direct)
    asking, other = (server, client) if question != "verify" else (client, server)
    asking.bev.write(b"last words")
    run_until(base, lambda: asked.waits)
    asking.bev.close(timeout=0.1)
    run_until(base, lambda: other.ended)
    settle(base)
    assert asked.steps == ["begun", "ended"]
    other.bev.close()
    base.dispatch()


@each_question
def test_what_a_coroutine_raises_when_it_is_closed(base: ev.EventBase, certificates: Any, question: str) -> None:
    """Comes out of the loop."""
    contexts = make_contexts(certificates)
    begun: list[bool] = []

    async def wait() -> None:
        try:
            begun.append(True)
            await ev.DeferredAnswer()
        finally:
            raise ZeroDivisionError("closed")

    QUESTIONS[question](contexts, wait)
    server, client = meet(base, *contexts)
    run_until(base, lambda: begun)
    server.bev.abort()
    client.bev.abort()
    run_until_raised(base, ZeroDivisionError, "closed")


def test_a_coroutine_closes_its_connection(base: ev.EventBase, certificates: Any) -> None:
    """Or the base."""
    contexts = make_contexts(certificates)
    ended: list[object] = []
    for what in ("connection", "base"):

        async def wait(bev: ev.TLSBufferEvent, what: str = what) -> None:
            try:
                await Turn()
                (bev.abort if what == "connection" else bev.base.close)()
                await ev.DeferredAnswer()
                ended.append("never")
            finally:
                ended.append(what)

        contexts[0].sni_callback = lambda bev, name, ctx, wait=wait: wait(bev)
        server, client = meet(base, *contexts)
        run_until(base, lambda what=what: what in ended)
        assert server.bev.closed
        if what == "connection":
            client.bev.abort()
    assert ended == ["connection", "base"]


@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
def test_it_is_used_meanwhile(base: ev.EventBase, certificates: Any, direct: bool) -> None:
    """Writes, switches and marks: nothing is asked twice, nothing is lost."""
    contexts = make_contexts(certificates)
    for question in QUESTIONS:
        asked, good = ask_later(contexts, question, "coroutine")
        server, client = meet(base, *contexts, direct=direct)
        asking, other = (server, client) if question != "verify" else (client, server)
        run_until(base, lambda asked=asked: asked.waits)
        n = asked.n
        for _ in range(3):
            asking.bev.write(b"abc")
            asking.bev.disable()
            asking.bev.set_watermark(ev.EventFlag.READ, 0, 10)
            settle(base)
            asking.bev.enable()
            asking.bev.set_watermark(ev.EventFlag.READ, 0, 0)
            asking.bev.trigger(ev.EventFlag.READ | ev.EventFlag.WRITE)
            if asking.bev.underlying is not None:
                asking.bev.underlying.trigger(ev.EventFlag.READ | ev.EventFlag.WRITE)
            settle(base)
        assert asked.n == n
        assert asking.events == []
        until_connected(base, asked, good, server, client)
        run_until(base, lambda other=other: other.got == b"abc" * 3)
        echo(base, asking, other)
        end(base, server, client)
        contexts = make_contexts(certificates)


@each_question
@pytest.mark.parametrize("options", [ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE], ids=["deferred", "locked"])
@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
def test_options(base: ev.EventBase, certificates: Any, question: str, options: ev.Option, direct: bool) -> None:
    """Events that are told later, and together."""
    contexts = make_contexts(certificates)
    for lost in (False, True):
        asked, good = ask_later(contexts, question, "coroutine")
        pair = socket.socketpair()
        below = [ev.SocketBufferEvent(base, sock, options | ev.Option.CLOSE_ON_FREE) for sock in pair]
        more = {"options": options | ev.Option.CLOSE_ON_FREE, "direct": direct}
        server = End(ev.TLSBufferEvent.wrap(below[0], contexts[0], True, **more))
        client = End(ev.TLSBufferEvent.wrap(below[1], contexts[1], False, "server.test", **more))
        asking, other = (server, client) if question != "verify" else (client, server)
        run_until(base, lambda asked=asked: asked.waits)
        if lost:
            other.bev.abort()
            run_until(base, lambda asked=asked, asking=asking, good=good: (direct and asked.answer(good)) or asking.ended)
        else:
            until_connected(base, asked, good, server, client)
            echo(base, server, client)
        end(base, server, client)


def test_a_flood_while_it_waits(base: ev.EventBase, certificates: Any) -> None:
    """A client that goes on sending is held back."""
    contexts = make_contexts(certificates)
    asked, _ = ask_later(contexts, "name", "DeferredAnswer")
    one, other = socket.socketpair()
    server = End(ev.TLSBufferEvent.accept(base, one, contexts[0]))
    hello = first_message()
    other.sendall(hello)
    run_until(base, lambda: asked.waits)
    other.setblocking(False)
    sent = 0
    for _ in range(1000):
        try:
            sent += other.send(bytes(10000))
        except BlockingIOError:
            if not base.loop(ev.LoopFlag.NONBLOCK) and len(server.bev.underlying.input) > 100_000:
                break
    assert asked.n == 1
    assert len(server.bev.underlying.input) <= 200_000
    asked.answer(None)
    run_until(base, lambda: server.ended)
    other.close()
    end(base, server)


def first_message() -> bytes:
    """Of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="server.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_the_second_first_message(base: ev.EventBase, certificates: Any) -> None:
    """Where the server doesn't like the client's key, it gets two first messages: it asks once."""
    contexts = make_contexts(certificates)
    contexts[0].set_groups("P-384")
    asked: dict[str, Asked] = {}
    for question in ("name", "certificate"):
        asked[question] = ask_later(contexts, question, "coroutine")[0]
    contexts[1].set_groups("P-256:P-384")
    server, client = meet(base, *contexts)
    for question in ("name", "certificate"):
        run_until(base, lambda question=question: asked[question].waits)
        asked[question].answer(None)
    shake_hands(base, server, client)
    assert [asked[question].n for question in asked] == [1, 1]
    end(base, server, client)


def test_nothing_is_asked_when_it_is_renegotiated(base: ev.EventBase, certificates: Any) -> None:
    contexts = make_contexts(certificates, ssl.TLSVersion.TLSv1_2)
    for context in contexts:
        context.options &= ~ssl.OP_NO_RENEGOTIATION
    contexts[0].options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
    asked = [ask_later(contexts, question, "coroutine")[0] for question in ("name", "certificate")]
    server, client = meet(base, *contexts)
    for one in asked:
        run_until(base, lambda one=one: one.waits)
        one.answer(None)
    shake_hands(base, server, client)
    client.bev.renegotiate()
    run_until(base, lambda: client.bev.renegotiations == 1)
    settle(base)
    echo(base, server, client)
    assert [one.n for one in asked] == [1, 1]
    end(base, server, client)


def test_a_renegotiation_cant_wait(base: ev.EventBase, certificates: Any) -> None:
    """For a verification: it is refused."""
    contexts = make_contexts(certificates, ssl.TLSVersion.TLSv1_2)
    for context in contexts:
        context.options &= ~ssl.OP_NO_RENEGOTIATION
    contexts[0].options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
    asked, good = ask_later(contexts, "verify", "coroutine")
    server, client = meet(base, *contexts)
    until_connected(base, asked, good, server, client)
    client.bev.renegotiate()
    run_until_raised(base, TypeError, "first handshake")
    both_fail(base, server, client)
    end(base, server, client)


@each_question
def test_the_loop_has_something_to_wait_for(base: ev.EventBase, certificates: Any, question: str) -> None:
    """Though nothing can come in, and the handshake has no limit."""
    contexts = make_contexts(certificates)
    for context in contexts:
        context.handshake_timeout = None
    asked, good = ask_later(contexts, question, "DeferredAnswer")
    server, client = ends_over(base, "pair", contexts)
    run_until(base, lambda: asked.waits)
    settle(base)
    assert base.num_events > 0

    def answer(event: ev.Event, what: ev.EventFlag) -> None:
        asked.answer(good)
        if not client.connected or not server.connected:
            event.add(0.01)

    base.timer(0.01, answer)
    base.dispatch()
    assert server.connected
    assert client.connected
    end(base, server, client)


@both_versions
@each_question
@pytest.mark.parametrize("above", ["filter", "tls"])
def test_something_stands_on_it(
    base: ev.EventBase, certificates: Any, question: str, above: str, version: ssl.TLSVersion
) -> None:
    """It comes when the one below is done; and ends with it."""
    contexts, upper = make_contexts(certificates, version), make_contexts(certificates)
    for how in ("well", "refused", "closed"):
        asked, good = ask_later(contexts, question, "coroutine")
        pair = [ev.SocketBufferEvent(base, sock) for sock in socket.socketpair()]
        lower = pair[0].start_tls(contexts[0], True), pair[1].start_tls(contexts[1], False, "server.test")
        if above == "filter":
            ends = [End(ev.FilterBufferEvent(bev, flip, flip)) for bev in lower]
        else:
            ends = [End(lower[0].start_tls(upper[0], True)), End(lower[1].start_tls(upper[1], False, "server.test"))]
        ends[1].bev.write(b"early")
        run_until(base, lambda asked=asked: asked.waits)
        settle(base)
        assert ends[0].events == ends[1].events == []
        if how == "closed":
            for one in ends:
                one.bev.abort()
            assert asked.steps == ["begun", "ended"]
            continue
        if how == "refused":
            asked.fail(ZeroDivisionError())
            run_until_raised(base, ZeroDivisionError, None)
            run_until(base, lambda ends=ends: ends[0].ended and ends[1].ended)
        else:

            def come(asked: Any = asked, ends: Any = ends, good: object = good) -> bool:
                asked.answer(good)
                return bool(ends[0].got == b"early")

            run_until(base, come)
            echo(base, *ends)
        end(base, *ends)
