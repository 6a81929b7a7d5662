"""TLS records that come in pieces, and several at once: what comes out is what went in, whatever happens in between."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from support import run_until

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
RECORD = 16384


class Peer:
    """A client that is no bufferevent, and whose records go to the socket in the pieces that a test wants."""

    def __init__(self, sock: socket.socket, ca: str, version: ssl.TLSVersion) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = context.maximum_version = version
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.rest = b""
        self.got = bytearray()
        self.ended = False

    def attempt(self, call: Callable[[], Any]) -> bool:
        try:
            call()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.ended = True
            return False
        return True

    def move(self, most: int | None = None) -> None:
        """Take what came, and send some bytes of what there is."""
        with suppress(BlockingIOError, ConnectionResetError):
            while data := self.sock.recv(1 << 20):
                self.incoming.write(data)
            self.incoming.write_eof()
        while self.attempt(lambda: self.got.extend(self.tls.read(1 << 20))):
            pass
        self.rest += self.outgoing.read()
        with suppress(BlockingIOError, BrokenPipeError):
            self.rest = self.rest[self.sock.send(self.rest[:most]) :] if self.rest else b""


@contextmanager
def connection(
    base: ev.EventBase, certificates: Any, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[tuple[Peer, ev.TLSBufferEvent]]:
    """A peer whose handshake with a server is done."""
    one, other = socket.socketpair()
    with ExitStack() as stack:
        stack.enter_context(one).setblocking(False)
        ctx = ev.TLSContext.server(certificates.cert, certificates.key)
        bev = ev.TLSBufferEvent.accept(base, other, ctx)
        stack.callback(bev.abort)
        peer = Peer(one, certificates.ca, version)
        bev.enable()

        def is_open() -> bool:
            for _ in range(2):
                peer.attempt(peer.tls.do_handshake)
                peer.move()
            return peer.attempt(peer.tls.do_handshake) and bev.version is not None

        run_until(base, is_open)
        yield peer, bev


def echo(bev: ev.BufferEvent) -> None:
    bev.write(bev.read())


def move(bev: ev.BufferEvent) -> None:
    bev.write_buffer(bev.input)


def look_first(bev: ev.BufferEvent) -> None:
    assert len(bev.input) > 0
    bev.write(bev.read(len(bev.input) // 2))
    bev.write(bev.read())


def by_parts(bev: ev.BufferEvent) -> None:
    while part := bev.read(1000):
        bev.write(part)


def relayed(bev: ev.BufferEvent) -> None:
    raise AssertionError("a relay has no callback")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("how", [echo, move, look_first, by_parts, relayed])
def test_records_in_pieces(
    base: ev.EventBase, certificates: Any, rng: random.Random, how: Callable[[Any], None], version: ssl.TLSVersion
) -> None:
    with connection(base, certificates, version) as (peer, bev):
        if how is relayed:
            bev.relay(bev)
        else:
            bev.set_callbacks(read=how)
        sent = bytearray()
        for _ in range(30):
            for _ in range(rng.randrange(1, 6)):
                data = rng.randbytes(rng.choice([1, 100, RECORD - 1, RECORD, RECORD + 1, 100_000]))
                peer.tls.write(data)
                sent += data
            for _ in range(rng.randrange(5)):  # ends in the middle of a record, or of its head
                peer.move(rng.choice([1, 3, 5, 7, 1000, RECORD, 60_000, 200_000]))
                base.loop(ev.LoopFlag.NONBLOCK)

        def is_back() -> bool:
            peer.move()
            return len(peer.got) == len(sent)

        run_until(base, is_back)
        assert peer.got == sent


def test_what_nobody_took_stays_in_the_input(base: ev.EventBase, certificates: Any) -> None:
    with connection(base, certificates) as (peer, bev):
        calls: list[int] = []
        bev.set_callbacks(read=lambda bev: calls.append(len(bev.input)) if len(calls) != 1 else calls.append(0))
        for _ in range(3):
            peer.tls.write(b"abc")
            before = len(calls)
            peer.move()
            run_until(base, lambda before=before: len(calls) > before)  # type: ignore[misc]
        assert calls == [3, 0, 9]
        assert bev.read() == b"abcabcabc"


def test_what_follows_the_end_of_tls_stays_below(base: ev.EventBase, certificates: Any) -> None:
    """Records, close_notify and plain bytes in one read."""
    with connection(base, certificates, ssl.TLSVersion.TLSv1_2) as (peer, bev):
        heard: list[Any] = []
        plain: list[ev.BufferEvent] = []
        bev.set_callbacks(read=lambda bev: heard.append(bev.read()), event=lambda bev, what: heard.append(what))
        peer.tls.write(b"last words")
        peer.attempt(peer.tls.unwrap)
        peer.rest += peer.outgoing.read() + b"plain bytes"
        bev.unwrap(plain.append)
        peer.move()
        run_until(base, lambda: bool(plain))
        assert heard == [b"last words"]
        assert plain[0].read() == b"plain bytes"
        plain[0].close()


def test_the_last_words_come_before_the_end(base: ev.EventBase, certificates: Any) -> None:
    with connection(base, certificates) as (peer, bev):
        heard: list[Any] = []
        bev.set_callbacks(read=lambda bev: heard.append(bev.read()), event=lambda bev, what: heard.append(what))
        peer.tls.write(b"last words")
        peer.attempt(peer.tls.unwrap)
        peer.move()
        run_until(base, lambda: len(heard) > 1)
        assert heard == [b"last words", ev.What.EOF | ev.What.READING]


def test_the_last_words_come_before_what_is_wrong(base: ev.EventBase, certificates: Any) -> None:
    """A record that doesn't decrypt, behind one that does."""
    with connection(base, certificates) as (peer, bev):
        heard: list[Any] = []
        bev.set_callbacks(read=lambda bev: heard.append(bev.read()), event=lambda bev, what: heard.append(what))
        peer.tls.write(b"last words")
        good = peer.outgoing.read()
        peer.tls.write(b"and more")
        bad = bytearray(peer.outgoing.read())
        bad[-1] ^= 1
        peer.rest += good + bytes(bad) + good
        peer.move()
        run_until(base, lambda: len(heard) > 1)
        assert heard == [b"last words", ev.What.ERROR | ev.What.READING]
        assert isinstance(bev.error, ev.TLSError)
        assert "bad record mac" in str(bev.error).lower().replace("_", " ")


def test_switches_marks_and_limits_hold(base: ev.EventBase, certificates: Any) -> None:
    with connection(base, certificates) as (peer, bev):
        seen: list[int] = []
        bev.set_callbacks(read=lambda bev: seen.append(len(bev.input)))
        bev.set_watermark(READ, 10, 0)
        peer.tls.write(b"12345")
        peer.move()
        for _ in range(5):
            base.loop(ev.LoopFlag.NONBLOCK)
        assert seen == []
        peer.tls.write(b"67890")
        peer.move()
        run_until(base, lambda: bool(seen))
        assert (seen, bev.read()) == ([10], b"1234567890")
        bev.set_watermark(READ, 0, 0)
        bev.disable(READ)
        peer.tls.write(b"later")
        peer.move()
        for _ in range(5):
            base.loop(ev.LoopFlag.NONBLOCK)
        assert seen == [10]
        bev.enable(READ)
        run_until(base, lambda: len(seen) > 1)
        assert bev.read() == b"later"


def test_write_callbacks_come_in_the_next_pass(base: ev.EventBase, certificates: Any) -> None:
    with connection(base, certificates) as (peer, bev):
        base.loop(ev.LoopFlag.NONBLOCK)
        written: list[int] = []
        bev.set_callbacks(write=lambda bev: written.append(len(bev.output)))
        base.loop(ev.LoopFlag.NONBLOCK)
        del written[:]
        bev.write(b"one")
        bev.write(b"two")
        assert written == []
        run_until(base, lambda: bool(written))
        assert written == [0]
        for _ in range(5):
            base.loop(ev.LoopFlag.NONBLOCK)
        assert written == [0]
        peer.move()
        assert peer.got == b"onetwo"


def test_a_peer_that_does_not_read_gets_it_all_in_the_end(base: ev.EventBase, certificates: Any, rng: random.Random) -> None:
    with connection(base, certificates) as (peer, bev):
        data = rng.randbytes(5_000_000)
        bev.write(data)
        bev.write(b"and the rest")
        for _ in range(5):
            base.loop(ev.LoopFlag.NONBLOCK)
        assert len(bev.output) > 0

        def is_there() -> bool:
            peer.move()
            return len(peer.got) >= len(data) + 12

        run_until(base, is_there)
        assert peer.got == data + b"and the rest"
