"""Memory that Python looks at, or has lent, outlives whoever it belonged to."""

from __future__ import annotations

import gc
import weakref

import pytest
from support import check_child, run_until, socket_pair

import pylibevent as ev

DATA = b"0123456789" * 10_000


def test_a_slice_can_be_read_when_its_buffer_was_dropped() -> None:
    check_child("""
import gc
import pylibevent as ev
buffer = ev.Buffer(b"0123456789" * 10_000)
with buffer.peek() as views:
    kept = views[0][:]
del views, buffer
gc.collect()
others = [ev.Buffer(b"x" * 100_000) for _ in range(20)]
assert bytes(kept[:10]) == b"0123456789", bytes(kept[:10])
""")


def test_a_slice_can_be_read_when_everything_was_dropped() -> None:
    code = """
import gc, socket, sys, warnings
import pylibevent as ev
warnings.simplefilter("ignore")
base = ev.EventBase()
one, other = socket.socketpair()
bev = ev.SocketBufferEvent(base, one)
bev.enable()
other.send(b"0123456789" * 100)
while not bev.input:
    base.loop(ev.LoopFlag.ONCE)
with bev.input.peek() as views:
    kept = views[0][:]
del views, bev, base
gc.collect()
assert bytes(kept[:10]) == b"0123456789"
del kept
gc.collect()
from support import left_over
assert left_over()["handles in C"] == 0, left_over()
other.close()
"""
    check_child(code)


def test_a_slice_and_all_that_it_shows_in_one_piece_of_garbage() -> None:
    check_child("""
import gc, socket, warnings
import pylibevent as ev
from support import left_over
warnings.simplefilter("ignore")

class Knot:
    pass

for _ in range(20):
    knot = Knot()
    knot.self = knot
    knot.base = ev.EventBase()
    one, other = socket.socketpair()
    knot.bev, knot.other = ev.SocketBufferEvent(knot.base, one), ev.SocketBufferEvent(knot.base, other)
    knot.bev.enable()
    knot.other.write(b"x" * 1000)
    while not knot.bev.input:
        knot.base.loop(ev.LoopFlag.ONCE)
    with knot.bev.input.peek() as views:
        knot.kept = views[0][:]
    del views, knot
gc.collect()
gc.collect()
assert left_over()["handles in C"] == 0, left_over()
""")


@pytest.mark.parametrize("collect", [False, True])
def test_a_buffer_can_be_changed_when_the_last_slice_is_gone(collect: bool) -> None:
    buffer = ev.Buffer(DATA)
    with buffer.peek() as views:
        kept = views[0][:5]
    del views
    if collect:
        gc.collect()
    with pytest.raises(BufferError):
        buffer.write(b"x")
    with pytest.raises(BufferError):
        buffer.close()
    assert bytes(kept) == b"01234"
    del kept
    buffer.write(b"x")
    assert len(buffer) == len(DATA) + 1


def test_views_of_a_block_that_was_never_left() -> None:
    """The Peek is dropped inside of its block; its views go on."""
    buffer = ev.Buffer(DATA)
    views = buffer.peek().__enter__()
    gc.collect()
    with pytest.raises(BufferError):
        buffer.drain(1)
    assert bytes(views[0][:5]) == b"01234"
    del views
    gc.collect()
    buffer.drain(1)


def test_a_reservation_that_was_never_left() -> None:
    buffer = ev.Buffer(b"abc")
    reservation = buffer.reserve(100)
    views = reservation.__enter__().views
    del reservation
    gc.collect()
    with pytest.raises(BufferError):
        buffer.write(b"x")
    views[0][:3] = b"xyz"
    del views
    gc.collect()
    buffer.write(b"def")
    assert bytes(buffer) == b"abcdef"


def test_a_base_runs_again_when_the_last_slice_is_gone(base: ev.EventBase) -> None:
    with socket_pair() as (one, other):
        bev = ev.SocketBufferEvent(base, one)
        bev.enable()
        other.send(b"0123456789")
        run_until(base, lambda: len(bev.input) == 10)
        with bev.input.peek() as views:
            kept = views[0][:5]
        del views
        gc.collect()
        with pytest.raises(BufferError):
            base.loop(ev.LoopFlag.NONBLOCK)
        with pytest.raises(BufferError):
            bev.close()
        with pytest.raises(BufferError):
            base.close()
        del kept
        base.loop(ev.LoopFlag.NONBLOCK)
        assert bev.read() == b"0123456789"
        bev.close()


def test_what_was_lent_goes_with_the_buffer() -> None:
    class Lent(bytearray):
        pass

    lent = Lent(DATA)
    gone = weakref.ref(lent)
    released: list[bool] = []
    buffer = ev.Buffer()
    buffer.add_reference(lent, lambda: released.append(True))
    del lent
    gc.collect()
    assert gone() is not None
    assert bytes(buffer) == DATA
    del buffer
    gc.collect()
    assert (gone(), released) == (None, [True])


@pytest.mark.parametrize("end", ["close", "drop", "base"])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_what_was_lent_to_a_bufferevent_goes_with_it(end: str) -> None:
    released: list[bool] = []
    with ev.EventBase() as base, socket_pair() as (one, _other):
        bev = ev.SocketBufferEvent(base, one)
        bev.output.add_reference(bytearray(10_000_000), lambda: released.append(True))
        if end == "close":
            bev.abort()
        elif end == "drop":
            del bev
            gc.collect()
        else:
            base.close()
        if not base.closed:
            base.loop(ev.LoopFlag.NONBLOCK)  # libevent frees what was closed in the next pass
        assert released == [True]


def test_a_buffer_of_a_bufferevent_that_is_gone_says_so(base: ev.EventBase) -> None:
    with socket_pair() as (one, _other):
        bev = ev.SocketBufferEvent(base, one)
        incoming, outgoing = bev.input, bev.output
        bev.close()
        for buffer in (incoming, outgoing):
            assert buffer.closed
            assert "closed" in repr(buffer)
            with pytest.raises(ev.ClosedError):
                len(buffer)
        del bev
        gc.collect()
        for buffer in (incoming, outgoing):
            with pytest.raises(ev.ClosedError):
                buffer.read()


def test_an_input_keeps_its_bufferevent() -> None:
    with ev.EventBase() as base, socket_pair() as (one, other):
        incoming = ev.SocketBufferEvent(base, one).input
        gc.collect()
        other.send(b"abc")
        assert not incoming.closed
        assert incoming.read() == b""
        base.close()
        with pytest.raises(ev.ClosedError):
            incoming.read()
