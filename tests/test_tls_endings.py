"""How TLS begins in the middle of a stream, and all the ways in which it ends."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import run_until
from tls_ends import End, close_all, meet, settle, shake_hands

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
EOF = ev.What.READING | ev.What.EOF

both_forms = pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])
both_versions = pytest.mark.parametrize("version", [V12, V13])


@pytest.fixture(scope="module")
def contexts(certificates: Any) -> Callable[[ssl.TLSVersion], tuple[ev.TLSContext, ev.TLSContext]]:
    server, client = ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)

    def of(version: ssl.TLSVersion = V13) -> tuple[ev.TLSContext, ev.TLSContext]:
        client.minimum_version, client.maximum_version = V12, V13
        client.maximum_version = version
        client.minimum_version = version
        return server, client

    return of


def plain_pair(base: ev.EventBase) -> tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]:
    one, other = socket.socketpair()
    return ev.SocketBufferEvent(base, one), ev.SocketBufferEvent(base, other)


# ---------------------------------------------------------------- half, both ways, lazily


@both_forms
@both_versions
def test_half_a_close(base: ev.EventBase, contexts: Any, direct: bool, version: ssl.TLSVersion) -> None:
    """After its last word one side still gets all that the other has to say."""
    ends = meet(base, *contexts(version), direct=direct)
    shake_hands(base, *ends)
    server, client = ends
    client.bev.write(b"the question" * 10_000)
    client.bev.shutdown_write()
    with pytest.raises(BrokenPipeError):
        client.bev.write(b"too late")
    with pytest.raises(BrokenPipeError):
        client.bev.output.write(b"too late")
    run_until(base, lambda: server.ended)
    assert server.got == b"the question" * 10_000
    assert server.events == [ev.What.CONNECTED, EOF]
    server.bev.write(b"x" * 1_000_000)
    run_until(base, lambda: len(client.got) == 1_000_000)
    assert client.events == [ev.What.CONNECTED]
    server.bev.close()
    run_until(base, lambda: client.ended)
    assert client.events == [ev.What.CONNECTED, EOF]
    close_all(base, *ends)


@both_forms
def test_half_a_close_before_the_handshake(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    ends = meet(base, *contexts(), direct=direct)
    ends[1].bev.write(b"early")
    ends[1].bev.shutdown_write()
    ends[1].bev.shutdown_write()
    run_until(base, lambda: ends[0].ended)
    assert ends[0].got == b"early"
    assert ends[0].events == [ev.What.CONNECTED, EOF]
    close_all(base, *ends)


@both_forms
@both_versions
@pytest.mark.parametrize("how", ["close", "lazy_shutdown", "bidirectional"])
@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_nothing_is_lost(base: ev.EventBase, contexts: Any, direct: bool, how: str, size: int, version: ssl.TLSVersion) -> None:
    """Closed right after a write: the peer gets all of it, and a clean end."""
    server, client = meet(base, *contexts(version), direct=direct)
    shake_hands(base, server, client)
    client.bev.write(b"x" * size)
    if how == "close":
        client.bev.close()
    elif how == "lazy_shutdown":
        client.bev.lazy_shutdown()
    else:
        client.bev.close(bidirectional=True)
    assert client.bev.closed
    run_until(base, lambda: server.ended)
    assert len(server.got) == size
    assert server.events == [ev.What.CONNECTED, EOF]
    if how == "bidirectional":
        server.bev.write(b"y" * 100_000)  # which nobody reads any more
    begun = time.monotonic()
    close_all(base, server)
    assert time.monotonic() - begun < 4


@both_forms
def test_a_peer_that_never_answers(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    server, client = meet(base, *contexts(), direct=direct)
    shake_hands(base, server, client)
    client.bev.close(bidirectional=True, timeout=0.1)
    begun = time.monotonic()
    gone: list[bool] = []
    base.timer(0.3, lambda event, what: gone.append(True))
    run_until(base, lambda: gone)
    assert time.monotonic() - begun < 3
    close_all(base, server)


@both_forms
def test_a_peer_that_reads_nothing(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    """The close ends with its deadline, and its descriptor with it."""
    server, client = meet(base, *contexts(), direct=direct)
    shake_hands(base, server, client)
    server.bev.disable(ev.EventFlag.READ)
    client.bev.write(b"x" * 20_000_000)
    client.bev.close(timeout=0.1)
    run_until(base, lambda: not base._armed.get(client.bev._id))
    close_all(base, server)


@both_forms
def test_abort_says_nothing(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    server, client = meet(base, *contexts(), direct=direct)
    shake_hands(base, server, client)
    settle(base)
    client.bev.abort()
    run_until(base, lambda: server.ended)
    assert isinstance(server.error, ev.TLSEOFError)
    close_all(base, server)


@both_forms
def test_both_close_at_once(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    for bidirectional in (False, True):
        ends = meet(base, *contexts(), direct=direct)
        shake_hands(base, *ends)
        for end in ends:
            end.bev.write(b"good night")
            end.bev.close(bidirectional=bidirectional)
        begun = time.monotonic()
        base.dispatch()
        assert time.monotonic() - begun < 4


# ---------------------------------------------------------------- starting in the middle


@given(
    before=st.lists(st.binary(min_size=1, max_size=50), max_size=3),
    inside=st.lists(st.binary(min_size=1, max_size=20_000), max_size=3),
    chunk=st.sampled_from([1, 7, 100, 5000]),
)
@settings(max_examples=25)
def test_starttls_however_the_bytes_are_split(contexts: Any, before: list[bytes], inside: list[bytes], chunk: int) -> None:
    """Lines, a request, then TLS: nothing is lost, doubled or read on the wrong side of the change."""
    server_ctx, client_ctx = contexts()
    with ev.EventBase() as base:
        one, other = plain_pair(base)
        lines: list[bytes] = []
        ends: list[End] = []

        def server_reads(bev: ev.BufferEvent) -> None:
            while (line := bev.input.readline()) is not None:
                lines.append(line)
                if line == b"STARTTLS":
                    bev.write(b"go ahead\n")
                    ends.append(End(bev.start_tls(server_ctx, server_side=True)))
                    return

        def client_reads(bev: ev.BufferEvent) -> None:
            if bev.input.readline() is not None:
                end = End(bev.start_tls(client_ctx, server_hostname="server.test"))
                for data in inside:
                    end.bev.write(data)
                end.bev.shutdown_write()
                ends.append(end)

        for bev, reads in ((one, server_reads), (other, client_reads)):
            bev.max_single_write = chunk
            bev.max_single_read = chunk
            bev.set_callbacks(read=reads)
            bev.enable()
        for line in before:
            other.write(line.hex().encode() + b"\n")
        other.write(b"STARTTLS\n")
        run_until(base, lambda: ends and ends[0].ended)
        assert lines == [line.hex().encode() for line in before] + [b"STARTTLS"]
        assert ends[0].events == [ev.What.CONNECTED, EOF]
        assert ends[0].got == b"".join(inside)
        close_all(base, *ends)


def test_bytes_put_before_the_change_are_refused(base: ev.EventBase, contexts: Any) -> None:
    server_ctx, _ = contexts()
    one, other = plain_pair(base)
    one.enable()
    other.write(b"STARTTLS\nput here by somebody else\n")
    run_until(base, lambda: len(one.input) > 20)
    assert one.input.readline() == b"STARTTLS"
    with pytest.raises(ev.BufferedDataError, match="26 plain bytes"):
        one.start_tls(server_ctx, server_side=True)
    end = End(one.start_tls(server_ctx, server_side=True, allow_pipelined=True))
    run_until(base, lambda: end.ended)
    assert end.error.reason == "WRONG_VERSION_NUMBER"
    close_all(base, end)
    other.close()


def test_a_first_message_that_was_sent_ahead(base: ev.EventBase, contexts: Any) -> None:
    server_ctx, client_ctx = contexts()
    one, other = plain_pair(base)
    client = End(other.start_tls(client_ctx, server_hostname="server.test"))
    one.enable()
    run_until(base, lambda: len(one.input) > 100)
    server = End(one.start_tls(server_ctx, server_side=True, allow_pipelined=True))
    shake_hands(base, server, client)
    close_all(base, server, client)


def test_what_was_plain_and_not_yet_sent_goes_first(base: ev.EventBase, contexts: Any) -> None:
    server_ctx, client_ctx = contexts()
    one, other = plain_pair(base)
    plain = b"x" * 500_000
    one.write(plain)
    got = bytearray()
    clients: list[End] = []

    def reads(bev: ev.BufferEvent) -> None:
        got.extend(bev.read(len(plain) - len(got)))
        if len(got) == len(plain):
            clients.append(End(bev.start_tls(client_ctx, server_hostname="server.test", allow_pipelined=True)))

    other.set_callbacks(read=reads)
    other.enable()
    server = End(one.start_tls(server_ctx, server_side=True), write=b"in secret")
    run_until(base, lambda: clients and clients[0].got == b"in secret")
    close_all(base, server, *clients)


def test_direct_takes_nothing_over_that_it_would_lose(base: ev.EventBase, contexts: Any) -> None:
    server_ctx, _ = contexts()
    one, other = plain_pair(base)
    one.write(b"not yet sent")
    with pytest.raises(ev.BufferedDataError):
        one.start_tls(server_ctx, server_side=True, direct=True)
    assert not one.closed
    tls = ev.TLSBufferEvent.wrap(other, server_ctx, True)
    with pytest.raises(TypeError, match="SocketBufferEvent"):
        tls.start_tls(server_ctx, server_side=True, direct=True)
    tls.abort()
    one.abort()


# ---------------------------------------------------------------- back to plain


@both_forms
@both_versions
@pytest.mark.parametrize("first", [0, 1])
def test_back_to_plain(
    base: ev.EventBase, contexts: Any, rng: random.Random, direct: bool, first: int, version: ssl.TLSVersion
) -> None:
    """Plain, TLS, plain again, and TLS again, on the same connection."""
    server_ctx, client_ctx = contexts(version)
    ends = list(meet(base, server_ctx, client_ctx, direct=direct))
    shake_hands(base, *ends)
    data = rng.randbytes(50_000)
    plain: dict[int, ev.BufferEvent] = {}
    got: dict[int, bytearray] = {0: bytearray(), 1: bytearray()}

    def plainly(which: int, bev: ev.BufferEvent) -> None:
        plain[which] = bev
        bev.set_callbacks(read=lambda bev: got[which].extend(bev.read()))
        bev.enable()
        bev.write(b"plainly")

    ends[first].bev.write(data)
    ends[first].bev.unwrap(lambda bev: plainly(first, bev))
    run_until(base, lambda: ends[1 - first].ended)
    assert ends[1 - first].got == data
    assert ends[1 - first].events == [ev.What.CONNECTED, EOF]
    ends[1 - first].bev.write(data)
    ends[1 - first].bev.unwrap(lambda bev: plainly(1 - first, bev))
    run_until(base, lambda: got[0] == got[1] == b"plainly")
    assert ends[first].got == data
    assert ends[first].events == [ev.What.CONNECTED]
    assert all(end.bev.closed for end in ends)
    assert all(isinstance(bev, ev.SocketBufferEvent) and not bev.closed for bev in plain.values())
    again = [End(plain[0].start_tls(server_ctx, True)), End(plain[1].start_tls(client_ctx, False, "server.test"))]
    again[0].bev.write(b"in secret again")
    run_until(base, lambda: again[1].got == b"in secret again")
    close_all(base, *again)


@both_forms
def test_back_to_plain_against_pythons_ssl(base: ev.EventBase, contexts: Any, certificates: Any, direct: bool) -> None:
    """Plain bytes right behind the peer's close_notify, in one packet."""
    server_ctx, _ = contexts()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ctx = ssl.create_default_context(cafile=certificates.ca)
    tls = ctx.wrap_bio(incoming, outgoing, server_hostname="server.test")
    one, other = socket.socketpair()
    other.setblocking(False)
    end = End(ev.TLSBufferEvent.accept(base, one, server_ctx, direct=direct))

    def shaken() -> bool:
        base.loop(ev.LoopFlag.NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            incoming.write(other.recv(65536))
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            other.sendall(outgoing.read())
        return True

    for _ in range(100):
        if shaken():
            break
    run_until(base, lambda: end.connected)
    settle(base)
    tls.write(b"inside")
    with pytest.raises(ssl.SSLWantReadError):
        tls.unwrap()
    other.sendall(outgoing.read() + b"outside")
    plain: list[ev.BufferEvent] = []
    got = bytearray()

    def on_plain(bev: ev.BufferEvent) -> None:
        plain.append(bev)
        bev.set_callbacks(read=lambda bev: got.extend(bev.read()))
        bev.enable()

    end.bev.unwrap(on_plain)
    run_until(base, lambda: len(got) == 7)
    assert end.got == b"inside"
    assert got == b"outside"
    plain[0].close()
    other.close()


@both_forms
def test_writing_to_one_who_has_gone(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    """After the peer's last word and its end the write fails, once, and the loop rests."""
    server, client = meet(base, *contexts(), direct=direct)
    shake_hands(base, server, client)
    client.bev.close()
    run_until(base, lambda: client.bev.closed and server.ended)
    server.bev.write(b"too late" * 10_000)
    settle(base)
    with pytest.raises(BrokenPipeError):
        server.bev.write(b"and again")
    assert isinstance(server.error, BrokenPipeError)
    assert server.events == [ev.What.CONNECTED, EOF]
    before = base.statistics.polls
    base.timer(0.1, lambda event, what: base.loopexit())
    base.dispatch()
    assert base.statistics.polls - before < 5
    close_all(base, server)


@both_forms
def test_a_failure_instead(base: ev.EventBase, contexts: Any, direct: bool) -> None:
    ends = meet(base, *contexts(), direct=direct)
    shake_hands(base, *ends)
    settle(base)
    ends[0].bev.unwrap(lambda bev: pytest.fail("the peer never said goodbye"))
    ends[1].bev.abort()
    run_until(base, lambda: ends[0].ended)
    assert isinstance(ends[0].error, (ev.TLSEOFError, OSError))
    with pytest.raises((BrokenPipeError, ev.ClosedError)):
        ends[0].bev.unwrap(print)
    with pytest.raises(TypeError, match="callback"):
        ends[0].bev.unwrap(None)  # type: ignore[arg-type]
    close_all(base, ends[0])


# ---------------------------------------------------------------- over one another


@pytest.mark.parametrize("depth", [2, 3])
@both_versions
def test_tls_over_tls(base: ev.EventBase, contexts: Any, depth: int, version: ssl.TLSVersion) -> None:
    server_ctx, client_ctx = contexts(version)
    one, other = plain_pair(base)
    server: ev.BufferEvent = one
    client: ev.BufferEvent = other
    for _ in range(depth):
        server = ev.TLSBufferEvent.wrap(server, server_ctx, True)
        client = ev.TLSBufferEvent.wrap(client, client_ctx, False, "server.test")
    ends = End(server), End(client)
    shake_hands(base, *ends)
    data = bytes(range(256)) * 2000
    for end in ends:
        end.bev.write(data)
    run_until(base, lambda: all(len(end.got) == len(data) for end in ends))
    assert all(end.got == data for end in ends)
    ends[0].bev.close()
    run_until(base, lambda: ends[1].ended)
    assert ends[1].events == [ev.What.CONNECTED, EOF]
    close_all(base, *ends)


def test_tls_over_the_socket_form(base: ev.EventBase, contexts: Any) -> None:
    server_ctx, client_ctx = contexts()
    outer = meet(base, server_ctx, client_ctx, direct=True)
    ends = (
        End(ev.TLSBufferEvent.wrap(outer[0].bev, server_ctx, True)),
        End(ev.TLSBufferEvent.wrap(outer[1].bev, client_ctx, False, "server.test")),
    )
    shake_hands(base, *ends)
    ends[0].bev.write(b"x" * 300_000)
    run_until(base, lambda: len(ends[1].got) == 300_000)
    close_all(base, *ends)
