"""Servers that approve of their clients' certificates later: until then they neither hear nor say anything."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from sessions import VERSIONS
from support import run_until
from tls_authority import CLIENT, Issued, authority
from tls_ends import End, both_fail, meet, settle, shake_hands
from tls_later import FORMS, WAYS, Asked, Server, both_versions, each_way, echo, end, ends_over
from tls_stacks import flip

import pylibevent as ev

both_forms = pytest.mark.parametrize("direct", [False, True], ids=["filter", "direct"])


@pytest.fixture(scope="module")
def root() -> Issued:
    return authority()


@pytest.fixture(scope="module")
def files(root: Issued, tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("clients")
    leaf = root.issue("server.test")
    for name, data in (("cert", leaf.chain_pem), ("key", leaf.key_pem), ("ca", root.pem)):
        (folder / name).write_bytes(data)
    return str(folder / "cert"), str(folder / "key"), str(folder / "ca")


def contexts_of(root: Issued, files: Any, version: ssl.TLSVersion = VERSIONS[1], way: str = "coroutine") -> Any:
    """With the questions that the server asks: two a client, of the authority and of itself."""
    server = Server.server(files[0], files[1], client_ca=files[2])
    server.files = files
    own = root.issue("client", uses=[CLIENT])
    client = ev.TLSContext.client(files[2], certfile=own.chain_pem, keyfile=own.key_pem)
    client.minimum_version = client.maximum_version = version
    asked = Asked()

    def verify(bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> Any:
        asked.n += 1
        assert step.ok
        return WAYS[way](asked)

    server.verify_callback = verify
    return (server, client), asked


def until_asked(base: ev.EventBase, asked: Asked, n: int = 2) -> None:
    """All the questions: the handshake doesn't wait for one before the next."""
    run_until(base, lambda: len(asked.futures) == n)


def nothing_passes(base: ev.EventBase, server: End, client: End) -> None:
    settle(base)
    assert server.events == []
    assert server.got == client.got == b""
    assert len(server.bev.input) == 0
    assert server.bev.read() == b""
    assert server.bev.session is None


@both_versions
@each_way
@pytest.mark.parametrize("form", FORMS)
def test_it_waits(base: ev.EventBase, root: Issued, files: Any, way: str, form: str, version: ssl.TLSVersion) -> None:
    """What either side writes meanwhile comes afterwards."""
    contexts, asked = contexts_of(root, files, version, way)
    server, client = ends_over(base, form, contexts)
    server.bev.write(b"from the server")
    client.bev.write(b"from the client")
    until_asked(base, asked)
    nothing_passes(base, server, client)
    server.bev.disable()
    server.bev.enable()
    server.bev.set_watermark(ev.EventFlag.READ, 0, 5)
    server.bev.set_watermark(ev.EventFlag.READ, 0, 0)
    nothing_passes(base, server, client)
    asked.answer(True)
    run_until(base, lambda: server.got == b"from the client" and client.got == b"from the server")
    assert server.events == client.events == [ev.What.CONNECTED]
    assert server.bev.verified
    assert asked.n == 2
    echo(base, server, client)
    end(base, server, client)


@both_versions
@both_forms
@pytest.mark.parametrize("first", [0, 1])
def test_refused(base: ev.EventBase, root: Issued, files: Any, direct: bool, first: int, version: ssl.TLSVersion) -> None:
    """By one of two answers, also before the other comes: nothing passes."""
    contexts, asked = contexts_of(root, files, version)
    server, client = meet(base, *contexts, direct=direct)
    server.bev.write(b"from the server")
    client.bev.write(b"from the client")
    until_asked(base, asked)
    settle(base)
    asked.futures[first].set_result(False)
    run_until(base, lambda: server.ended)
    assert server.events == [ev.What.READING | ev.What.ERROR]
    assert isinstance(server.error, ev.TLSCertificateError)
    assert asked.futures[1 - first].cancelled()
    assert asked.steps.count("ended") == 2
    settle(base)
    assert server.got == client.got == b""
    with pytest.raises(OSError, match="Broken pipe"):
        server.bev.write(b"more")
    server.bev.close()
    run_until(base, lambda: client.ended)
    assert client.got == b""
    assert isinstance(client.error, ev.TLSEOFError | OSError)
    end(base, client)


@both_forms
@pytest.mark.parametrize("bad", ["exception", "wrong value"])
def test_bad_answers(base: ev.EventBase, root: Issued, files: Any, direct: bool, bad: str) -> None:
    contexts, asked = contexts_of(root, files)
    server, client = meet(base, *contexts, direct=direct)
    until_asked(base, asked)
    if bad == "exception":
        asked.futures[0].set_exception(ZeroDivisionError())
    else:
        asked.futures[0].set_result(1)
    with pytest.raises(ZeroDivisionError if bad == "exception" else TypeError):
        run_until(base, lambda: False)
    run_until(base, lambda: server.ended)
    assert isinstance(server.error, ev.TLSCertificateError)
    assert not server.connected
    end(base, server, client)


@both_versions
@both_forms
@pytest.mark.parametrize("good", [True, False])
def test_sessions(base: ev.EventBase, root: Issued, files: Any, direct: bool, good: bool, version: ssl.TLSVersion) -> None:
    """TLS 1.3 gives them out with the approval; TLS 1.2 gives none that is good; and none is stored."""
    contexts, asked = contexts_of(root, files, version)
    store = ev.MemorySessionStore()
    for kept in (None, store):
        contexts[0].session_store = kept
        given: list[ev.TLSSession] = []
        contexts[1].on_new_session = lambda bev, session, given=given: given.append(session)
        server, client = meet(base, *contexts, direct=direct)
        until_asked(base, asked)
        settle(base)
        assert len(store) == 0
        early = list(given)
        asked.answer(good)
        run_until(base, lambda server=server: server.events)
        settle(base)
        if good and version == VERSIONS[1]:
            assert early == []
            run_until(base, lambda given=given: len(given) == 2)
            assert len(store) == (2 if kept else 0)
        else:
            assert given == early
            assert len(store) == 0
        end(base, server, client)
        for session in given[:1]:
            again = resume(base, contexts, asked, session)
            assert again == (good and version == VERSIONS[1])


def resume(base: ev.EventBase, contexts: Any, asked: Asked, session: ev.TLSSession) -> bool:
    pair = [ev.SocketBufferEvent(base, sock) for sock in socket.socketpair()]
    server = End(ev.TLSBufferEvent.wrap(pair[0], contexts[0], True))
    client = End(ev.TLSBufferEvent.wrap(pair[1], contexts[1], False, "server.test", session=session))

    def done() -> bool:
        asked.answer(True)
        return bool(server.events and client.events)

    run_until(base, done)
    assert server.events == [ev.What.CONNECTED], server.error
    reused = server.bev.session_reused
    assert reused == client.bev.session_reused
    end(base, server, client)
    return reused


@both_versions
@both_forms
@pytest.mark.parametrize("how", ["abort", "close", "peer", "base", "time"])
def test_ends_while_it_waits(root: Issued, files: Any, direct: bool, how: str, version: ssl.TLSVersion) -> None:
    contexts, asked = contexts_of(root, files, version)
    with ev.EventBase() as base:
        server, client = meet(base, *contexts, direct=direct, **({"handshake_timeout": 0.2} if how == "time" else {}))
        client.bev.write(b"early")
        until_asked(base, asked)
        settle(base)
        if how in ("abort", "close"):
            getattr(server.bev, how)()
        elif how == "peer":
            client.bev.abort()
            if not direct:
                run_until(base, lambda: server.ended)
            else:
                server.bev.abort()
        elif how == "base":
            base.close()
        else:
            run_until(base, lambda: server.ended)
            assert isinstance(server.error, ev.HandshakeTimeout)
        assert all(future.cancelled() for future in asked.futures)
        assert asked.steps.count("ended") == 2
        assert server.got == b""
        assert not server.connected
        if not base.closed:
            end(base, server, client)


@both_versions
@both_forms
@pytest.mark.parametrize("good", [True, False])
def test_closed_with_something_to_send(
    base: ev.EventBase, root: Issued, files: Any, direct: bool, good: bool, version: ssl.TLSVersion
) -> None:
    """It goes out if the client is approved of."""
    contexts, asked = contexts_of(root, files, version)
    server, client = meet(base, *contexts, direct=direct)
    server.bev.write(b"last words")
    until_asked(base, asked)
    server.bev.close()
    settle(base)
    assert client.got == b""
    asked.answer(good)
    run_until(base, lambda: client.ended)
    assert client.got == (b"last words" if good else b"")
    assert (client.events[-1] == ev.What.EOF | ev.What.READING) == good
    end(base, client)


@both_forms
def test_a_name_leads_there(base: ev.EventBase, root: Issued, files: Any, direct: bool) -> None:
    """To a context that approves later, from one that asks nobody."""
    (server_context, client_context), asked = contexts_of(root, files)
    listener = ev.TLSContext.server(files[0], files[1])
    listener.sni = {"server.test": server_context}
    server, client = meet(base, listener, client_context, direct=direct)
    client.bev.write(b"early")
    until_asked(base, asked)
    nothing_passes(base, server, client)
    asked.answer(True)
    run_until(base, lambda: server.got == b"early")
    end(base, server, client)


@both_versions
@pytest.mark.parametrize("above", ["filter", "tls"])
def test_what_stands_on_it(base: ev.EventBase, root: Issued, files: Any, above: str, version: ssl.TLSVersion) -> None:
    """Hears nothing either."""
    contexts, asked = contexts_of(root, files, version)
    pair = [ev.SocketBufferEvent(base, sock) for sock in socket.socketpair()]
    lower = pair[0].start_tls(contexts[0], True), pair[1].start_tls(contexts[1], False, "server.test")
    seen: list[bytes] = []

    def watch(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        seen.append(bytes(source))
        return flip(source, destination, limit, mode)

    if above == "filter":
        server, client = End(ev.FilterBufferEvent(lower[0], watch, flip)), End(ev.FilterBufferEvent(lower[1], flip, flip))
    else:
        plain = ev.TLSContext.server(files[0], files[1]), ev.TLSContext.client(files[2])
        server = End(lower[0].start_tls(plain[0], True))
        client = End(lower[1].start_tls(plain[1], False, "server.test"))
    client.bev.write(b"early")
    until_asked(base, asked)
    settle(base)
    assert seen == []
    assert server.got == b""
    assert not server.events
    asked.answer(True)
    run_until(base, lambda: server.got == b"early")
    echo(base, server, client)
    end(base, server, client)


def test_what_stands_on_one_that_is_refused(base: ev.EventBase, root: Issued, files: Any) -> None:
    contexts, asked = contexts_of(root, files)
    pair = [ev.SocketBufferEvent(base, sock) for sock in socket.socketpair()]
    lower = pair[0].start_tls(contexts[0], True), pair[1].start_tls(contexts[1], False, "server.test")
    server, client = End(ev.FilterBufferEvent(lower[0], flip, flip)), End(ev.FilterBufferEvent(lower[1], flip, flip))
    client.bev.write(b"early")
    until_asked(base, asked)
    asked.answer(False)
    run_until(base, lambda: server.ended)
    assert server.got == b""
    assert isinstance(server.error, ev.TLSCertificateError)
    end(base, server, client)


@both_forms
def test_options(base: ev.EventBase, root: Issued, files: Any, direct: bool) -> None:
    """Events that are told later."""
    for options in (ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE):
        for good in (True, False):
            contexts, asked = contexts_of(root, files)
            options |= ev.Option.CLOSE_ON_FREE
            pair = [ev.SocketBufferEvent(base, sock, options) for sock in socket.socketpair()]
            server = End(ev.TLSBufferEvent.wrap(pair[0], contexts[0], True, options=options, direct=direct))
            client = End(ev.TLSBufferEvent.wrap(pair[1], contexts[1], False, "server.test", options=options, direct=direct))
            client.bev.write(b"early")
            until_asked(base, asked)
            nothing_passes(base, server, client)
            asked.answer(good)
            run_until(base, lambda server=server: server.events)
            assert server.connected == good
            if good:
                run_until(base, lambda server=server: server.got == b"early")
            end(base, server, client)


# ---------------------------------------------------------------- what can't wait


def test_set_too_late(base: ev.EventBase, root: Issued, files: Any) -> None:
    """While the handshake is under way: it holds for later connections."""
    (server_context, client_context), asked = contexts_of(root, files)
    later, server_context.verify_callback = server_context.verify_callback, None
    waiting: ev.DeferredAnswer[None] = ev.DeferredAnswer()
    server_context.certificate_callback = lambda bev, name, ctx: waiting
    server, client = meet(base, server_context, client_context)
    run_until(base, lambda: server.bev._waits)
    server_context.verify_callback = later
    waiting.set_result(None)
    shake_hands(base, server, client)
    assert asked.n == 0
    assert server.bev.verified
    end(base, server, client)


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_after_the_handshake(base: ev.EventBase, root: Issued, files: Any, version: ssl.TLSVersion) -> None:
    """Asked once more, or only then: refused."""
    (server_context, client_context), asked = contexts_of(root, files, version)
    if version == VERSIONS[1]:
        server_context.verify_mode = ssl.CERT_NONE
        client_context.post_handshake_auth = True
    else:
        for context in (server_context, client_context):
            context.options &= ~ssl.OP_NO_RENEGOTIATION
        server_context.options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
    server, client = meet(base, server_context, client_context)
    if version == VERSIONS[1]:
        shake_hands(base, server, client)
        server.bev.verify_client_post_handshake()
        client.bev.write(b"x")
    else:
        until_asked(base, asked)
        asked.answer(True)
        shake_hands(base, server, client)
        client.bev.renegotiate()
    with pytest.raises(TypeError, match="first handshake"):
        run_until(base, lambda: False)
    both_fail(base, server, client)
    assert isinstance(server.error, ev.TLSError)
    end(base, server, client)
