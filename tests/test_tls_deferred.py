"""Questions of TLS that are answered later: the handshake waits, and the loop goes on."""

from __future__ import annotations

import asyncio
import contextvars
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from support import run_until
from tls_ends import both_fail, meet, settle, shake_hands
from tls_later import (
    FORMS,
    QUESTIONS,
    Asked,
    ask_later,
    both_versions,
    each_question,
    each_way,
    echo,
    end,
    ends_over,
    make_contexts,
    pool,
    run_until_raised,
    until_connected,
)

import pylibevent as ev


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
