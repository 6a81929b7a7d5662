"""What the tests of answers that come later share: questions, and ways to answer them later."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from support import run_until
from tls_ends import End
from tls_stacks import secured, stacked

import pylibevent as ev

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
FORMS = ["socket", "direct", "pair", "pair filter", "socket tls"]
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


class Asked:
    """Questions that wait: each is answered when the test says so."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self.n = 0
        self.steps: list[str] = []

    @property
    def waits(self) -> bool:
        return bool(self.futures)

    def answer(self, value: object) -> None:
        """All that wait, in another thread."""
        futures, self.futures = self.futures, []
        thread = threading.Thread(target=lambda: [future.set_result(value) for future in futures])
        thread.start()
        thread.join()

    def fail(self, error: BaseException) -> None:
        futures, self.futures = self.futures, []
        for future in futures:
            future.set_exception(error)


def deferred_answer(asked: Asked) -> object:
    asked.futures.append(ev.DeferredAnswer())
    return asked.futures[-1]


def plain_future(asked: Asked) -> object:
    asked.futures.append(Future())
    return asked.futures[-1]


def coroutine(asked: Asked) -> object:
    async def wait() -> object:
        asked.steps.append("begun")
        try:
            asked.futures.append(ev.DeferredAnswer())
            return await asked.futures[-1]
        finally:
            asked.steps.append("ended")

    return wait()


def slow_coroutine(asked: Asked) -> object:
    """One that goes through coroutines, passes and another future before."""

    async def inner() -> object:
        await Turn()
        future: Future[Any] = Future()
        asked.futures.append(future)
        return await ev.DeferredAnswer.wrap(future)

    async def wait() -> object:
        await Turn()
        return await inner()

    return wait()


class Turn:
    """Go on in the next pass."""

    def __await__(self) -> Iterator[None]:
        yield


WAYS: dict[str, Callable[[Asked], object]] = {
    "DeferredAnswer": deferred_answer,
    "Future": plain_future,
    "coroutine": coroutine,
    "coroutines": slow_coroutine,
}
each_way = pytest.mark.parametrize("way", WAYS)


def ends_over(base: ev.EventBase, form: str, contexts: Any, **options: Any) -> tuple[End, End]:
    """Server and client. "direct": the socket form."""
    if form == "direct":
        return tuple(End(bev) for bev in secured(stacked(base, "socket", contexts), contexts, direct=True, **options))  # type: ignore
    plain = ev.TLSContext.server(contexts[0].files[0], contexts[0].files[1]), ev.TLSContext.client(contexts[0].files[2])
    return tuple(End(bev) for bev in secured(stacked(base, form, plain), contexts, **options))  # type: ignore[return-value]


class Server(ev.TLSContext):
    __slots__ = ("files",)


def make_contexts(certificates: Any, version: ssl.TLSVersion = VERSIONS[1], **options: Any) -> Any:
    server = Server.server(certificates.cert, certificates.key, **options)
    server.files = certificates.cert, certificates.key, certificates.ca
    client = ev.TLSContext.client(certificates.ca)
    client.minimum_version = client.maximum_version = version
    return server, client


# ---------------------------------------------------------------- questions


def ask_name(contexts: Any, ask: Callable[[], object]) -> object:
    contexts[0].sni_callback = lambda bev, name, ctx: ask()
    return None


def ask_certificate(contexts: Any, ask: Callable[[], object]) -> object:
    contexts[0].certificate_callback = lambda bev, name, ctx: ask()
    return None


def ask_verify(contexts: Any, ask: Callable[[], object]) -> object:
    contexts[1].verify_callback = lambda bev, step: ask()
    return True


QUESTIONS = {"name": ask_name, "certificate": ask_certificate, "verify": ask_verify}
"""Each has it asked, and returns the answer that goes on."""
each_question = pytest.mark.parametrize("question", QUESTIONS)


def ask_later(contexts: Any, question: str, way: str) -> tuple[Asked, object]:
    """The question is answered when the test says so."""
    asked = Asked()

    def ask() -> object:
        asked.n += 1
        return WAYS[way](asked)

    return asked, QUESTIONS[question](contexts, ask)


def until_connected(base: ev.EventBase, asked: Asked, good: object, *ends: End) -> None:
    """Answer all questions that come; all ends get CONNECTED."""

    def done() -> bool:
        if asked.waits:
            asked.answer(good)
        return all(end.events for end in ends)

    run_until(base, done)
    assert [end.events for end in ends] == [[ev.What.CONNECTED]] * len(ends), [end.error for end in ends]


def run_until_raised(base: ev.EventBase, kind: type[BaseException], match: str | None) -> None:
    with pytest.raises(kind, match=match):
        run_until(base, lambda: False)


def echo(base: ev.EventBase, one: End, other: End) -> None:
    """A word each way."""
    one.got.clear()
    other.got.clear()
    one.bev.write(b"there")
    run_until(base, lambda: other.got == b"there")
    other.bev.write(b"and back")
    run_until(base, lambda: one.got == b"and back")


def end(base: ev.EventBase, *ends: End) -> None:
    for one in ends:
        one.bev.abort()
        below = one.bev.underlying
        while below is not None:
            assert below.closed
            below = below.underlying
    base.dispatch()


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor
