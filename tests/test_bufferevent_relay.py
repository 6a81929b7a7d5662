"""BufferEvent.relay(): bytes go both ways in C, ends are passed on, and Python hears of it once."""

from __future__ import annotations

import contextlib
import errno
import gc
import random
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from support import run_until, socket_pair

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def base(request: pytest.FixtureRequest) -> Iterator[ev.EventBase]:
    with ev.EventBase(fast_io=request.param) as base:
        yield base


class Ends:
    """What on_close was called with."""

    def __init__(self) -> None:
        self.all: list[ev.RelayEnd] = []

    def __call__(self, end: ev.RelayEnd) -> None:
        self.all.append(end)

    @property
    def only(self) -> ev.RelayEnd:
        assert len(self.all) == 1
        return self.all[0]


class Peer:
    """A socket that sends what it is given, and gathers what comes, without blocking."""

    def __init__(self, sock: Any, data: bytes = b"", *, end: bool = True) -> None:
        self.sock, self.left, self.end = sock, data, end
        self.got = bytearray()
        self.over = False

    def step(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # nobody is there any more
            while self.left:
                self.left = self.left[self.sock.send(self.left[:100_000]) :]
            if self.end:
                self.end = False
                self.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(BlockingIOError):
            while not self.over and (data := self.sock.recv(1 << 20)):
                self.got += data
            self.over = True


def steps(base: ev.EventBase, peers: list[Peer], done: Any) -> None:
    """Run the loop and the peers until something holds."""
    with base.timer(0.001, lambda event, what: [peer.step() for peer in peers], persist=True):
        run_until(base, done)


def both(base: ev.EventBase, stack: contextlib.ExitStack, **options: Any) -> tuple[Any, Any, Any, Any]:
    """Two connections: the far end of the first, its bufferevent, that of the second, and its far end."""
    near, one = stack.enter_context(socket_pair())
    far, other = stack.enter_context(socket_pair())
    return near, ev.SocketBufferEvent(base, one, **options), ev.SocketBufferEvent(base, other, **options), far


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE])
@pytest.mark.parametrize("sizes", [(0, 0), (1, 1), (4096, 4097), (3_000_000, 1_000_000)])
def test_both_directions_whole_and_counted(
    base: ev.EventBase, rng: random.Random, sizes: tuple[int, int], options: ev.Option
) -> None:
    there, back = map(rng.randbytes, sizes)
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack, options=options | ev.Option.CLOSE_ON_FREE)
        ends = Ends()
        relay = one.relay(other, on_close=ends)
        peers = [Peer(near, there), Peer(far, back)]
        steps(base, peers, lambda: ends.all and all(peer.over for peer in peers))
        assert (peers[0].got, peers[1].got) == (back, there)
        assert ends.only == (len(there), len(back), None, None)
        assert (relay.sent, relay.received, relay.closed) == (len(there), len(back), True)
        assert one.closed
        assert other.closed


def test_itself_is_an_echo(base: ev.EventBase, rng: random.Random) -> None:
    data = rng.randbytes(2_000_000)
    with socket_pair() as (near, sock):
        ends = Ends()
        bev = ev.SocketBufferEvent(base, sock)
        bev.relay(bev, on_close=ends)
        peer = Peer(near, data)
        steps(base, [peer], lambda: ends.all and peer.over)
        assert peer.got == data
        assert ends.only == (len(data), 0, None, None)


def test_what_was_there_before_is_passed_on_first(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        one.set_callbacks(read=lambda bev: bev.disable(READ))
        one.enable(READ)
        near.send(b"early ")
        run_until(base, lambda: len(one.input))
        other.write(b"hello ")
        relay = one.relay(other)
        near.send(b"late")
        peer = Peer(far, end=False)
        steps(base, [peer], lambda: peer.got == b"hello early late")
        assert relay.sent == len(b"early late")
        relay.close()
        base.dispatch()


def test_python_is_not_called_on_the_way(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        called: list[object] = []
        for bev in (one, other):
            bev.set_callbacks(called.append, called.append, lambda bev, what: called.append(what))
        one.relay(other)
        before = base.statistics.noted
        peers = [Peer(near, b"x" * 500_000), Peer(far)]
        finished: list[int] = []
        steps(base, peers, lambda: finished.append(1) or peers[1].over)
        base.dispatch()
        assert len(peers[1].got) == 500_000
        assert not called
        assert base.statistics.noted - before <= len(finished) + 2  # the timer's, and the end


# ---------------------------------------------------------------- ends


def test_half_a_close_is_passed_on_and_the_rest_goes_on(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        ends = Ends()
        one.relay(other, on_close=ends)
        asking, answering = Peer(near, b"question"), Peer(far, end=False)
        steps(base, [asking, answering], lambda: answering.over)
        assert answering.got == b"question"
        assert not ends.all
        answering.left, answering.end = b"answer" * 50_000, True
        steps(base, [asking, answering], lambda: asking.over and ends.all)
        assert asking.got == b"answer" * 50_000
        assert ends.only.reason is None


def test_a_reset_ends_both(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket_pair() as (near, sock):
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        ends = Ends()
        one, other = ev.SocketBufferEvent(base, sock), ev.SocketBufferEvent(base, accepted)
        one.relay(other, on_close=ends)
        near.send(b"to be passed on")
        run_until(base, lambda: relayed(one) == 15)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        run_until(base, lambda: ends.all)
        assert isinstance(ends.only.reason, ConnectionResetError)
        assert ends.only.culprit is other
        peer = Peer(near, end=False)
        steps(base, [peer], lambda: peer.over)


def relayed(bev: ev.BufferEvent) -> int:
    relay = bev._relay
    assert relay is not None
    return relay.sent


def test_what_came_before_a_failure_is_sent(base: ev.EventBase) -> None:
    """A timeout at one end: the other one still gets all that it is owed."""
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        ends = Ends()
        one.set_timeouts(read=0.05)
        one.relay(other, on_close=ends)
        near.send(b"x" * 50_000)
        peer = Peer(far, end=False)
        steps(base, [peer], lambda: ends.all and peer.over)
        assert isinstance(ends.only.reason, TimeoutError)
        assert ends.only.culprit is one
        assert len(peer.got) == ends.only.sent == 50_000


def test_closing_one_ends_it(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        ends = Ends()
        relay = one.relay(other, on_close=ends)
        one.close()
        base.dispatch()
        assert isinstance(ends.only.reason, ev.ClosedError)
        assert ends.only.culprit is one
        assert other.closed
        assert relay.closed
        assert near.recv(1) == far.recv(1) == b""


def test_closing_the_relay_closes_both(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        ends = Ends()
        relay = one.relay(other, on_close=ends)
        for _ in range(2):
            relay.close()
        base.dispatch()
        assert ends.only == (0, 0, None, None)
        assert one.closed
        assert other.closed
        assert near.recv(1) == far.recv(1) == b""


def test_closing_the_base_ends_it_in_silence() -> None:
    with contextlib.ExitStack() as stack:
        base = ev.EventBase()
        _near, one, other, _far = both(base, stack)
        ends = Ends()
        relay = one.relay(other, on_close=ends)
        base.close()
        assert relay.closed
        assert one.closed
        assert not ends.all


def test_it_lives_though_nobody_holds_it(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        ends = Ends()
        one.relay(other, on_close=ends)
        del one, other
        gc.collect()
        peers = [Peer(near, b"kept"), Peer(far)]
        steps(base, peers, lambda: ends.all and peers[1].over)
        assert peers[1].got == b"kept"


def test_what_on_close_raises_comes_out(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        _near, one, other, _far = both(base, stack)

        def on_close(end: ev.RelayEnd) -> None:
            raise ZeroDivisionError

        one.relay(other, on_close=on_close).close()
        with pytest.raises(ZeroDivisionError):
            base.dispatch()
        assert one.closed
        assert other.closed


# ---------------------------------------------------------------- pressure


def test_a_slow_reader_stops_the_fast_sender(base: ev.EventBase) -> None:
    """What piles up between them has a limit, and all arrives when the reader wakes up."""
    with contextlib.ExitStack() as stack:
        near, one, other, far = both(base, stack)
        relay = one.relay(other)
        total = 0
        quiet = 0
        with base.timer(0.005, lambda event, what: None, persist=True):
            while quiet < 20:
                base.loop(ev.LoopFlag.ONCE)
                try:
                    total += near.send(b"x" * 100_000)
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
        assert relay.sent < 3_000_000  # of any number: the high mark, and what sockets hold
        assert not one.enabled & READ
        reader = Peer(far, end=False)
        near.shutdown(socket.SHUT_WR)
        steps(base, [reader], lambda: reader.over)
        assert len(reader.got) == total
        relay.close()
        base.dispatch()


# ---------------------------------------------------------------- other kinds


def tls_pair(base: ev.EventBase, certificates: Any, sock: Any, far: Any) -> tuple[ev.TLSBufferEvent, ev.TLSBufferEvent]:
    server = ev.TLSBufferEvent.accept(base, sock, ev.TLSContext.server(certificates.cert, certificates.key))
    under = ev.SocketBufferEvent(base, far)
    ctx = ev.TLSContext.client(certificates.ca)
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2  # no tickets that come when nobody reads any more
    client = ev.TLSBufferEvent.wrap(under, ctx, server_hostname="localhost")
    return server, client


def test_tls_to_plain_from_before_the_handshake(base: ev.EventBase, certificates: Any, rng: random.Random) -> None:
    """Data both ways, then the client's close_notify becomes the plain side's end, and the other way round."""
    there, back = rng.randbytes(700_000), rng.randbytes(300_000)
    with contextlib.ExitStack() as stack:
        near, sock = stack.enter_context(socket_pair())
        far, other_sock = stack.enter_context(socket_pair())
        tls, client = tls_pair(base, certificates, sock, near)
        got, heard, ends = bytearray(), [], Ends()
        client.set_callbacks(lambda bev: got.extend(bev.read()), None, lambda bev, what: heard.append(what))
        client.enable()
        client.write(there)
        tls.relay(ev.SocketBufferEvent(base, other_sock), on_close=ends)
        peer = Peer(far, back)
        steps(base, [peer], lambda: len(peer.got) == len(there) and heard and heard[-1] & ev.What.EOF)
        assert got == back
        assert peer.got == there
        assert not heard[-1] & ev.What.ERROR  # a close_notify, since the plain side ended
        client.close()
        steps(base, [peer], lambda: ends.all and peer.over)
        assert ends.only == (len(there), len(back), None, None)


def test_tls_to_itself(base: ev.EventBase, certificates: Any, rng: random.Random) -> None:
    data = rng.randbytes(1_000_000)
    with socket_pair() as (near, sock):
        tls, client = tls_pair(base, certificates, sock, near)
        got, ends = bytearray(), Ends()
        client.set_callbacks(lambda bev: got.extend(bev.read()), None, lambda bev, what: None)
        client.enable()
        client.write(data)
        tls.relay(tls, on_close=ends)
        run_until(base, lambda: len(got) == len(data))
        client.close()
        run_until(base, lambda: ends.all)
        assert got == data
        assert (ends.only.sent, ends.only.reason) == (len(data), None)
        base.dispatch()


def test_a_truncated_tls_stream_is_the_reason(base: ev.EventBase, certificates: Any) -> None:
    with contextlib.ExitStack() as stack:
        near, sock = stack.enter_context(socket_pair())
        far, other_sock = stack.enter_context(socket_pair())
        tls, client = tls_pair(base, certificates, sock, near)
        connected: list[ev.What] = []
        client.set_callbacks(event=lambda bev, what: connected.append(what))
        client.enable()
        ends = Ends()
        tls.relay(ev.SocketBufferEvent(base, other_sock), on_close=ends)
        client.write(b"cut short")
        peer = Peer(far, end=False)
        steps(base, [peer], lambda: peer.got == b"cut short")
        client.abort()
        run_until(base, lambda: ends.all)
        assert isinstance(ends.only.reason, ev.TLSEOFError)
        assert ends.only.culprit is tls


def test_to_one_that_is_still_connecting(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket_pair() as (near, sock):
        one, other = ev.SocketBufferEvent(base, sock), ev.SocketBufferEvent(base)
        other.connect(server.getsockname())
        ends = Ends()
        one.relay(other, on_close=ends)
        near.send(b"at once")
        near.shutdown(socket.SHUT_WR)
        accepted, _ = server.accept()
        with accepted:
            accepted.setblocking(False)
            peer = Peer(accepted, b"answer")
            steps(base, [peer], lambda: ends.all and peer.over)
            assert peer.got == b"at once"
            assert ends.only == (7, 6, None, None)


def test_to_one_that_can_not_connect(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with socket_pair() as (_near, sock):
        one, other = ev.SocketBufferEvent(base, sock), ev.SocketBufferEvent(base)
        with contextlib.suppress(ConnectionRefusedError):
            other.connect(address)
        ends = Ends()
        one.relay(other, on_close=ends)
        run_until(base, lambda: ends.all)
        assert isinstance(ends.only.reason, OSError)
        assert ends.only.reason.errno == errno.ECONNREFUSED
        assert ends.only.culprit is other


# ---------------------------------------------------------------- refusals


def test_arguments(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        _near, one, other, _far = both(base, stack)
        for wrong in (None, 1, b"", object()):
            with pytest.raises(TypeError, match="other must be a BufferEvent"):
                one.relay(wrong)
        with pytest.raises(TypeError, match="on_close must be callable"):
            one.relay(other, on_close=1)  # type: ignore[arg-type]
        with ev.EventBase() as elsewhere, socket_pair() as (sock, _):
            stranger = ev.SocketBufferEvent(elsewhere, sock)
            with pytest.raises(ValueError, match="same base"):
                one.relay(stranger)
        with pytest.raises(TypeError, match="isn't made itself"):
            ev.Relay()
        other.close()
        with pytest.raises(ev.ClosedError):
            one.relay(other)
        with pytest.raises(ev.ClosedError):
            other.relay(one)
        one.close()


def test_a_part_of_a_relay_has_no_other_use(base: ev.EventBase, certificates: Any) -> None:
    with contextlib.ExitStack() as stack:
        _near, one, other, _far = both(base, stack)
        relay = one.relay(other)
        with pytest.raises(RuntimeError, match="is relayed"):
            one.relay(other)
        for use in (
            lambda: one.write(b"x"),
            lambda: one.write_buffer(ev.Buffer(b"x")),
            one.read,
            lambda: one.read_buffer(ev.Buffer()),
            lambda: one.set_callbacks(print),
            lambda: ev.TLSBufferEvent.wrap(one, ev.TLSContext.server(certificates.cert, certificates.key), server_side=True),
        ):
            with pytest.raises(RuntimeError, match="is relayed"):
                use()
        relay.close()
        base.dispatch()


def test_repr(base: ev.EventBase) -> None:
    with contextlib.ExitStack() as stack:
        _near, one, other, _far = both(base, stack)
        relay = one.relay(other)
        assert repr(relay) == "<Relay open, 0 bytes sent, 0 received>"
        relay.close()
        assert repr(relay) == "<Relay closed, 0 bytes sent, 0 received>"
        base.dispatch()
