"""Questions of TLS that are answered later: the handshake waits, and the loop goes on."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from support import run_until
from tls_authority import authority, rsa_key
from tls_ends import End, both_fail, meet, settle, shake_hands
from tls_later import (
    FORMS,
    QUESTIONS,
    WAYS,
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
    pool,
    until_connected,
)

import pylibevent as ev
from pylibevent._libevent import lib


@both_versions
@each_way
@each_question
@pytest.mark.parametrize("form", FORMS)
def test_it_waits_for_the_answer(
    base: ev.EventBase, certificates: Any, question: str, way: str, form: str, version: ssl.TLSVersion
) -> None:
    """And the loop goes on: others shake hands and talk meanwhile."""
    contexts, others = make_contexts(certificates, version), make_contexts(certificates, version)
    asked, good = ask_later(contexts, question, way)
    ends = ends_over(base, form, contexts)
    run_until(base, lambda: asked.waits)
    bystanders = meet(base, *others)
    shake_hands(base, *bystanders)
    echo(base, *bystanders)
    assert [one.events for one in ends] == [[], []]
    before = asked.n
    settle(base)
    assert asked.n == before
    until_connected(base, asked, good, *ends)
    assert asked.n == (2 if question == "verify" else 1)
    echo(base, *ends)
    end(base, *ends, *bystanders)


@both_versions
@each_question
@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
def test_executors(base: ev.EventBase, certificates: Any, question: str, direct: bool, version: ssl.TLSVersion) -> None:
    contexts = make_contexts(certificates, version)
    may = threading.Event()
    with pool() as executor:

        def work() -> object:
            assert may.wait(20)
            return question == "verify" or None

        QUESTIONS[question](contexts, lambda: executor.submit(work))
        server, client = meet(base, *contexts, direct=direct)
        settle(base)
        assert not server.events + client.events
        may.set()
        shake_hands(base, server, client)
    end(base, server, client)


# ---------------------------------------------------------------- answers that end it


def run_until_raised(base: ev.EventBase, kind: type[BaseException], match: str | None) -> None:
    with pytest.raises(kind, match=match):
        run_until(base, lambda: False)


BAD: dict[str, tuple[Callable[[Asked], None], type[BaseException], str | None]] = {
    "exception": (lambda asked: asked.fail(ZeroDivisionError("no")), ZeroDivisionError, "no"),
    "wrong value": (lambda asked: asked.answer("well"), TypeError, "str"),
    "interrupt": (lambda asked: asked.fail(KeyboardInterrupt("now")), KeyboardInterrupt, "now"),
    "another future": (lambda asked: asked.answer(ev.DeferredAnswer()), TypeError, "DeferredAnswer"),
    "cancelled": (lambda asked: [future.cancel() for future in asked.futures] and None, CancelledError, None),  # type: ignore
}


@each_way
@each_question
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
def test_bad_answers(base: ev.EventBase, certificates: Any, question: str, way: str, bad: str, direct: bool) -> None:
    """It is refused, and the loop raises what was wrong."""
    contexts = make_contexts(certificates)
    asked, _ = ask_later(contexts, question, way)
    server, client = meet(base, *contexts, direct=direct)
    run_until(base, lambda: asked.waits)
    do, kind, match = BAD[bad]
    do(asked)
    run_until_raised(base, kind, match)
    both_fail(base, server, client)
    assert not any(ev.What.CONNECTED in one.events for one in (server, client))
    assert isinstance(server.error, ssl.SSLError)
    assert isinstance(client.error, ssl.SSLError)
    end(base, server, client)


@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
@both_versions
def test_refused_names(base: ev.EventBase, certificates: Any, direct: bool, version: ssl.TLSVersion) -> None:
    """By the number of an alert."""
    contexts = make_contexts(certificates, version)
    asked, _ = ask_later(contexts, "name", "DeferredAnswer")
    server, client = meet(base, *contexts, direct=direct)
    run_until(base, lambda: asked.waits)
    asked.answer(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
    both_fail(base, server, client)
    assert client.error.alert == ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    end(base, server, client)


@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
@both_versions
def test_refused_certificates(base: ev.EventBase, certificates: Any, direct: bool, version: ssl.TLSVersion) -> None:
    contexts = make_contexts(certificates, version)
    asked, _ = ask_later(contexts, "verify", "coroutine")
    server, client = meet(base, *contexts, direct=direct)
    run_until(base, lambda: asked.waits)
    asked.answer(False)
    both_fail(base, server, client)
    assert isinstance(client.error, ev.TLSCertificateError)
    assert "application verification failure" in str(client.error)
    assert asked.n == 1
    assert server.error.alert is not None
    end(base, server, client)


def test_steps_are_asked_in_turn(base: ev.EventBase, certificates: Any) -> None:
    """Each once, the authority's first, also where some are answered at once."""
    contexts = make_contexts(certificates)
    steps: list[tuple[int, bool]] = []
    future: ev.DeferredAnswer[bool] = ev.DeferredAnswer()

    def verify(bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> Any:
        steps.append((step.depth, step.ok))
        return future if step.depth == 0 else True

    contexts[1].verify_callback = verify
    server, client = meet(base, *contexts)
    run_until(base, lambda: len(steps) == 2)
    settle(base)
    future.set_result(True)
    shake_hands(base, server, client)
    assert steps == [(1, True), (0, True)]
    assert client.bev.verified
    end(base, server, client)


def test_what_was_wrong_may_be_accepted_later(base: ev.EventBase, certificates: Any) -> None:
    """As by an answer that comes at once."""
    contexts = make_contexts(certificates)
    asked, _ = ask_later(contexts, "verify", "coroutine")
    server, client = meet(base, *contexts, name="another.test")
    until_connected(base, asked, True, server, client)
    assert asked.n == 3
    end(base, server, client)
    contexts[1].verify_callback = lambda bev, step: ev.DeferredAnswer.wrap(done(step.ok))
    server, client = meet(base, *contexts, name="another.test")
    both_fail(base, server, client)
    assert isinstance(client.error, ev.TLSCertificateError)
    end(base, server, client)


def done(value: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


@each_question
def test_answers_that_are_there_already(base: ev.EventBase, certificates: Any, question: str) -> None:
    """Nothing waits for them."""
    contexts = make_contexts(certificates)
    good = QUESTIONS[question](contexts, lambda: None)

    async def answer() -> object:
        return await ev.DeferredAnswer.wrap(done(good))

    for way in (lambda: done(good), answer):
        QUESTIONS[question](contexts, way)
        server, client = meet(base, *contexts)
        shake_hands(base, server, client)
        end(base, server, client)


# ---------------------------------------------------------------- coroutines


@each_question
def test_coroutines_await_nothing_else(base: ev.EventBase, certificates: Any, question: str) -> None:
    """What they await wrongly is raised in them, and they may go on."""
    contexts = make_contexts(certificates)
    good = QUESTIONS[question](contexts, lambda: None)
    raised: list[BaseException] = []

    class Strange:
        def __await__(self) -> Iterator[object]:
            yield 5

    async def wait() -> object:
        try:
            await Strange()
        except TypeError as error:
            raised.append(error)
        return good

    QUESTIONS[question](contexts, wait)
    server, client = meet(base, *contexts)
    shake_hands(base, server, client)
    assert raised
    assert "int" in str(raised[0])
    end(base, server, client)


def test_coroutines_keep_their_context(base: ev.EventBase, certificates: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    contexts = make_contexts(certificates)
    future: ev.DeferredAnswer[None] = ev.DeferredAnswer()
    seen: list[str] = []

    async def wait() -> None:
        variable.set("inside")
        await future
        seen.append(variable.get())

    QUESTIONS["name"](contexts, wait)
    server, client = meet(base, *contexts)
    run_until(base, lambda: future._done_callbacks)  # type: ignore[attr-defined]
    assert variable.get() == "outside"
    future.set_result(None)
    shake_hands(base, server, client)
    assert seen == ["inside"]
    assert variable.get() == "outside"
    end(base, server, client)


def test_futures_of_asyncio(base: ev.EventBase, certificates: Any) -> None:
    """Whose loop runs in another thread."""
    contexts = make_contexts(certificates)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    futures: list[asyncio.Future[None]] = []

    def ask() -> Any:
        futures.append(loop.create_future())
        return futures[-1]

    async def wait() -> None:
        await ask()

    try:
        for given in (ask, wait):
            QUESTIONS["name"](contexts, given)
            server, client = meet(base, *contexts)
            run_until(base, lambda: futures)
            settle(base)
            loop.call_soon_threadsafe(futures.pop().set_result, None)
            shake_hands(base, server, client)
            end(base, server, client)
        QUESTIONS["name"](contexts, ask)
        server, client = meet(base, *contexts)
        run_until(base, lambda: futures)
        end(base, server, client)
        asyncio.run_coroutine_threadsafe(asyncio.wait(futures), loop).result(20)
        assert futures[0].cancelled()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


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
    assert other.events == [ev.What.CONNECTED, ev.What.EOF | ev.What.READING]
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


# ---------------------------------------------------------------- what can't wait


def test_other_questions_cant_wait(base: ev.EventBase, certificates: Any) -> None:
    """They say so, and refuse."""
    closed: list[str] = []

    async def wait() -> Any:
        closed.append("never")

    contexts = make_contexts(certificates)
    contexts[1].ocsp_callback = lambda bev, response: wait()
    for_psk = make_contexts(certificates)
    for_psk[1].set_psk_client_callback(lambda hint: wait())
    for_psk[0].set_psk_server_callback(lambda identity: b"x" * 32)
    for_server = make_contexts(certificates)
    for_server[0].set_psk_server_callback(lambda identity: wait())
    for_server[1].set_psk_client_callback(lambda hint: ("me", b"x" * 32))
    for both, what in ((contexts, "ocsp_callback"), (for_psk, "psk"), (for_server, "psk")):
        server, client = meet(base, *both)
        run_until_raised(base, TypeError, f"{what}.*can't be deferred")
        run_until(base, lambda server=server, client=client: server.events and client.events)
        end(base, server, client)
    assert closed == []


# ---------------------------------------------------------------- what is chosen


@both_versions
@each_way
@pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])
def test_chosen_contexts(base: ev.EventBase, certificates: Any, way: str, direct: bool, version: ssl.TLSVersion) -> None:
    contexts = make_contexts(certificates, version)
    other = make_contexts(certificates)[0]
    other.set_alpn_protocols(["chosen"])
    contexts[1].set_alpn_protocols(["chosen"])
    asked, _ = ask_later(contexts, "name", way)
    server, client = meet(base, *contexts, direct=direct)
    until_connected(base, asked, other, server, client)
    assert server.bev.context is other
    assert client.bev.selected_alpn_protocol() == "chosen"
    end(base, server, client)


@both_versions
@pytest.mark.parametrize("way", [None, *WAYS])
def test_chosen_certificates(base: ev.EventBase, tmp_path: Any, way: str | None, version: ssl.TLSVersion) -> None:
    """By a context that has none of its own; one that has two is taken with both."""
    root = authority()
    first, second = root.issue("server.test"), root.issue("server.test", key=rsa_key(2048))
    shown = ev.TLSContext.server(first.chain_pem, first.key_pem)
    shown.load_cert_chain(second.chain_pem, second.key_pem)
    server_context = ev.TLSContext.server()
    client_context = ev.TLSContext.client(cadata=root.pem)
    client_context.minimum_version = client_context.maximum_version = version
    contexts = server_context, client_context
    names: list[str | None] = []
    asked = Asked()

    def choose(bev: ev.TLSBufferEvent, name: str | None, ctx: ev.TLSContext) -> Any:
        names.append(name)
        assert ctx is server_context
        return shown if way is None else WAYS[way](asked)

    server_context.certificate_callback = choose
    for kind, wanted in (("ECDSA", first), ("RSA", second)):
        pss = "rsa_pss_rsae_sha256"
        client_context.set_sigalgs(f"{pss}:ecdsa_secp256r1_sha256" if kind == "ECDSA" else pss)
        if kind == "ECDSA":
            client_context.set_sigalgs("ecdsa_secp256r1_sha256")
        server, client = meet(base, *contexts)
        until_connected(base, asked, shown, server, client)
        assert client.bev.getpeercert(True) == wanted.certificate.public_bytes(serialization.Encoding.DER)
        assert server.bev.context is server_context
        end(base, server, client)
    assert names == ["server.test"] * 2


def test_certificates_are_refused(base: ev.EventBase, certificates: Any) -> None:
    contexts = make_contexts(certificates)
    with pytest.raises(ValueError, match="servers"):
        contexts[1].certificate_callback = print
    with pytest.raises(TypeError, match="certificate_callback"):
        contexts[0].certificate_callback = 5
    for wrong, kind, match in ((5, TypeError, "int"), (ev.TLSContext.server(), ev.TLSError, None)):
        contexts[0].certificate_callback = lambda bev, name, ctx, wrong=wrong: wrong
        server, client = meet(base, *contexts)
        run_until_raised(base, kind, match)
        both_fail(base, server, client)
        end(base, server, client)
    contexts[0].certificate_callback = None
    assert contexts[0].certificate_callback is None
    server, client = meet(base, *contexts)
    shake_hands(base, server, client)
    end(base, server, client)


# ---------------------------------------------------------------- many


@each_question
def test_many_wait_at_once(base: ev.EventBase, certificates: Any, question: str, rng: random.Random) -> None:
    """Of two servers; answered in any order."""
    makers = [make_contexts(certificates), make_contexts(certificates)]
    waiting = [ask_later(contexts, question, way) for contexts, way in zip(makers, ("coroutine", "Future"), strict=True)]
    pairs = [meet(base, *makers[i % 2]) for i in range(40)]
    run_until(base, lambda: all(len(asked.futures) == 20 for asked, _ in waiting))
    ends = [one for pair in pairs for one in pair]
    while not all(one.events for one in ends):
        futures = [(future, good) for asked, good in waiting for future in asked.futures]
        if futures:
            future, good = rng.choice(futures)
            for asked, _ in waiting:
                if future in asked.futures:
                    asked.futures.remove(future)
            future.set_result(good)
        base.loop(ev.LoopFlag.NONBLOCK)
    assert all(one.events == [ev.What.CONNECTED] for one in ends)
    end(base, *ends)


def test_nothing_is_left(certificates: Any) -> None:
    """Ten rounds of each ending."""
    for _ in range(10):
        for question in QUESTIONS:
            contexts = make_contexts(certificates)
            with ev.EventBase() as base:
                before = lib.pev_live_handles()
                asked, good = ask_later(contexts, question, "coroutine")
                server, client = meet(base, *contexts)
                run_until(base, lambda asked=asked: asked.waits)
                until_connected(base, asked, good, server, client)
                other = meet(base, *contexts)
                run_until(base, lambda asked=asked: asked.waits)
                end(base, server, client, *other)
                del server, client, other
                gc.collect()
                assert lib.pev_live_handles() <= before
                last = meet(base, *contexts)
                run_until(base, lambda asked=asked: asked.waits)
            assert not asked.futures[-1].done() or asked.futures[-1].cancelled()
            del last


@settings(max_examples=40)
@given(st.data())
def test_random_orders(certificates: Any, data: st.DataObject) -> None:
    """Of answers, refusals, ends and passes: no end but those that were asked for."""
    contexts = make_contexts(certificates, data.draw(st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])))
    asked = {question: ask_later(contexts, question, data.draw(st.sampled_from(list(WAYS)))) for question in QUESTIONS}
    with ev.EventBase() as base:
        pairs = [meet(base, *contexts, direct=data.draw(st.booleans())) for _ in range(3)]
        for _ in range(30):
            what = data.draw(st.sampled_from(["answer", "answer", "answer", "pass", "abort", "close", "fail"]))
            if what == "pass":
                settle(base)
                continue
            if what in ("abort", "close"):
                one = data.draw(st.sampled_from([one for pair in pairs for one in pair]))
                getattr(one.bev, what)()
                continue
            one_asked, good = asked[data.draw(st.sampled_from(list(QUESTIONS)))]
            one_asked.futures = [future for future in one_asked.futures if not future.cancelled()]
            if one_asked.futures:
                future = one_asked.futures.pop(data.draw(st.integers(0, len(one_asked.futures) - 1)))
                if what == "answer":
                    future.set_result(good)
                else:
                    future.set_exception(ZeroDivisionError())
            with suppress(ZeroDivisionError):
                base.loop(ev.LoopFlag.NONBLOCK)
        for pair in pairs:
            for one in pair:
                assert one.events.count(ev.What.CONNECTED) <= 1
                one.bev.abort()
