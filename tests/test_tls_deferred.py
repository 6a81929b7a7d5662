"""Questions of TLS that are answered later: the handshake waits, and the loop goes on."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import run_until
from tls_ends import End, both_fail, meet, settle, shake_hands
from tls_later import FORMS, Asked, both_versions, each_question, each_way, ask_later, echo, end, ends_over, make_contexts, pool, until_connected

import pylibevent as ev

FINE, ERROR = ev.What.CONNECTED, ev.What.ERROR | ev.What.READING


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
def test_executors(
    base: ev.EventBase, certificates: Any, question: str, direct: bool, version: ssl.TLSVersion
) -> None:
    contexts = make_contexts(certificates, version)
    may = threading.Event()
    with pool() as executor:

        def work() -> object:
            assert may.wait(20)
            return question == "verify" or None

        from tls_later import QUESTIONS

        QUESTIONS[question](contexts, lambda: executor.submit(work))
        server, client = meet(base, *contexts, direct=direct)
        settle(base)
        assert not server.events + client.events
        may.set()
        shake_hands(base, server, client)
    end(base, server, client)
