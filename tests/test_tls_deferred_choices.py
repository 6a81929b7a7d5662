"""What answers that come later choose, and many of them at once."""

from __future__ import annotations

import gc
import random
import ssl
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from support import run_until
from tls_authority import authority, rsa_key
from tls_ends import both_fail, meet, settle, shake_hands
from tls_later import (
    QUESTIONS,
    WAYS,
    Asked,
    ask_later,
    both_versions,
    each_question,
    each_way,
    end,
    make_contexts,
    run_until_raised,
    until_connected,
)

import pylibevent as ev
from pylibevent._libevent import lib

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
    with suppress(ZeroDivisionError, ExceptionGroup), ev.EventBase() as base:
        pairs = [meet(base, *contexts, direct=data.draw(st.booleans())) for _ in range(3)]
        for _ in range(30):
            what = data.draw(st.sampled_from(["answer", "answer", "answer", "pass", "abort", "close", "fail"]))
            if what == "pass":
                with suppress(ZeroDivisionError, ExceptionGroup):
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
            with suppress(ZeroDivisionError, ExceptionGroup):
                base.loop(ev.LoopFlag.NONBLOCK)
        for pair in pairs:
            for one in pair:
                assert one.events.count(ev.What.CONNECTED) <= 1
                one.bev.abort()
