"""enable and disable, marks, triggers, priorities and timeouts: when a callback comes, and when it doesn't."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import run_until, socket_pair

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
NONE = ev.EventFlag(0)


def failed(bev: ev.BufferEvent, what: ev.What) -> None:
    raise AssertionError(f"{bev}: {what}: {bev.error}")


@pytest.fixture
def ends(base: ev.EventBase) -> Iterator[tuple[ev.SocketBufferEvent, socket.socket]]:
    """A bufferevent that isn't set up yet, and a socket to talk to it."""
    one, other = socket.socketpair()
    other.setblocking(False)
    with other, ev.SocketBufferEvent(base, one) as bev:
        yield bev, other
        bev.abort()


Ends = tuple[ev.SocketBufferEvent, socket.socket]


def turn(base: ev.EventBase) -> None:
    """All that is ready, and what comes of it."""
    for _ in range(5):
        base.loop(ev.LoopFlag.NONBLOCK)


# ---------------------------------------------------------------- enabled


def test_from_the_start_it_writes_and_does_not_read(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    bev.set_callbacks(read=failed, event=failed)  # type: ignore[arg-type]
    assert bev.enabled == WRITE
    other.send(b"hello")
    bev.write(b"hi")
    turn(base)
    assert other.recv(10) == b"hi"
    assert len(bev.input) == 0


def test_what_is_written_while_disabled_goes_later(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    bev.disable(WRITE)
    assert bev.enabled == NONE
    bev.write(b"later")
    turn(base)
    with pytest.raises(BlockingIOError):
        other.recv(10)
    assert len(bev.output) == 5
    bev.enable(WRITE)
    turn(base)
    assert other.recv(10) == b"later"


@pytest.mark.parametrize("flag", [READ, WRITE, READ | WRITE, NONE])
def test_each_direction_by_itself(ends: Ends, flag: ev.EventFlag) -> None:
    bev, _ = ends
    bev.disable()
    bev.enable(flag)
    assert bev.enabled == flag
    bev.enable(flag)
    assert bev.enabled == flag
    bev.disable(flag)
    assert bev.enabled == NONE


def test_disabled_in_the_read_callback(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    got: list[bytes] = []

    def on_read(bev: ev.BufferEvent) -> None:
        got.append(bev.read())
        bev.disable(READ)

    bev.set_callbacks(read=on_read, event=failed)
    bev.enable()
    other.send(b"one")
    run_until(base, lambda: got)
    other.send(b"two")
    turn(base)
    assert got == [b"one"]
    bev.enable(READ)
    run_until(base, lambda: len(got) == 2)
    assert got == [b"one", b"two"]


def test_disabled_by_an_earlier_callback_of_the_pass(base: ev.EventBase) -> None:
    """What came in meanwhile is told when reading is enabled again."""
    with contextlib.ExitStack() as stack:
        bevs, called = [], []

        def on_read(bev: ev.BufferEvent) -> None:
            called.append(bev)
            for other in bevs:
                if other is not bev:
                    other.disable(READ)

        for _ in range(2):
            one, other = stack.enter_context(socket_pair())
            bev = stack.enter_context(ev.SocketBufferEvent(base, one, ev.Option(0)))
            bev.set_callbacks(read=on_read, event=failed)
            bev.enable()
            other.send(b"x")
            bevs.append(bev)
        turn(base)
        assert len(called) == 1
        second = bevs[1 - bevs.index(called[0])]
        second.enable(READ)
        turn(base)
        assert called[1] is second


def test_no_end_is_seen_while_reading_is_disabled(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    heard: list[ev.What] = []
    bev.set_callbacks(event=lambda bev, what: heard.append(what))
    other.close()
    turn(base)
    assert heard == []
    bev.enable(READ)
    turn(base)
    assert heard == [ev.What.READING | ev.What.EOF]
    assert not bev.enabled & READ
    assert bev.error is None
    assert "at EOF" in repr(bev)


def test_writing_goes_on_after_the_end_of_the_other_side(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    heard: list[ev.What] = []

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        heard.append(what)
        bev.write(b"goodbye")

    bev.set_callbacks(event=on_event)
    bev.enable()
    other.shutdown(socket.SHUT_WR)
    run_until(base, lambda: heard)
    turn(base)
    assert other.recv(10) == b"goodbye"


def test_bytes_before_the_end_are_read_first(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    heard: list[Any] = []
    bev.set_callbacks(read=lambda bev: heard.append(bev.read()), event=lambda bev, what: heard.append(what))
    other.send(b"last words")
    other.close()
    bev.enable()
    run_until(base, lambda: len(heard) == 2)
    assert heard == [b"last words", ev.What.READING | ev.What.EOF]


# ---------------------------------------------------------------- marks


def test_the_write_callback_comes_at_the_low_mark(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    left: list[int] = []
    bev.set_watermark(WRITE, 1000)
    bev.set_callbacks(write=lambda bev: left.append(len(bev.output)), event=failed)
    fill_size = 2_000_000
    bev.write(b"x" * fill_size)
    got = 0
    while not left:
        turn(base)
        got += len(other.recv(100_000))
    assert left[0] <= 1000
    assert got <= fill_size


def test_enabling_again_makes_no_write_callback(base: ev.EventBase, ends: Ends) -> None:
    bev, _ = ends
    bev.set_callbacks(write=failed, event=failed)  # type: ignore[arg-type]
    for _ in range(3):
        bev.enable()
    turn(base)


def test_a_lower_mark_is_seen_with_the_next_byte(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    got: list[int] = []
    bev.set_watermark(READ, 100)
    bev.set_callbacks(read=lambda bev: got.append(len(bev.input)), event=failed)
    bev.enable()
    other.send(b"x" * 50)
    turn(base)
    bev.set_watermark(READ, 20)
    turn(base)
    assert got == []
    other.send(b"x")
    turn(base)
    assert got == [51]


def test_a_higher_mark_lets_it_read_on(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    bev.set_callbacks(read=lambda bev: None, event=failed)
    bev.set_watermark(READ, 0, 100)
    bev.enable()
    other.send(b"x" * 1000)
    turn(base)
    assert len(bev.input) == 100
    assert bev.enabled & READ  # paused isn't disabled
    bev.set_watermark(READ, 0, 300)
    turn(base)
    assert len(bev.input) == 300
    bev.set_watermark(READ)
    turn(base)
    assert len(bev.input) == 1000


@pytest.mark.parametrize(
    "take",
    [
        lambda bev: bev.read(),
        lambda bev: bev.input.drain(100),
        lambda bev: bev.read_buffer(ev.Buffer()),
        lambda bev: bev.input.read(1),
    ],
)
def test_whatever_takes_from_the_input_lets_it_read_on(base: ev.EventBase, ends: Ends, take: Any) -> None:
    bev, other = ends
    bev.set_watermark(READ, 0, 100)
    bev.set_callbacks(read=lambda bev: None, event=failed)
    bev.enable()
    other.send(b"x" * 150)
    turn(base)
    assert len(bev.input) == 100
    before = len(bev.input)
    take(bev)
    taken = before - len(bev.input)
    assert taken
    turn(base)
    assert len(bev.input) == min(100, 150 - taken)


@pytest.mark.parametrize("flag", [READ | WRITE, NONE, ev.EventFlag.SIGNAL, 3])
def test_marks_are_asked_for_one_direction(ends: Ends, flag: Any) -> None:
    bev, _ = ends
    bev.set_watermark(READ | WRITE, 1, 2)
    assert bev.watermark(READ) == bev.watermark(WRITE) == (1, 2)
    assert bev.watermark(READ).high == 2
    with pytest.raises((TypeError, ValueError), match="flag"):
        bev.watermark(flag)


# ---------------------------------------------------------------- triggers


@pytest.mark.parametrize("defer", [False, True])
def test_a_trigger_comes_in_the_loop_and_honours_marks(base: ev.EventBase, ends: Ends, defer: bool) -> None:
    bev, _ = ends
    called: list[str] = []
    bev.set_callbacks(read=lambda bev: called.append("read"), write=lambda bev: called.append("write"), event=failed)
    bev.set_watermark(READ, 1)
    bev.trigger(READ, defer=defer)
    turn(base)
    assert called == []
    bev.trigger(READ, ignore_watermarks=True, defer=defer)
    assert called == []
    turn(base)
    assert called == ["read"]
    bev.trigger(READ | WRITE, ignore_watermarks=True, defer=defer)
    turn(base)
    assert called == ["read", "read", "write"]


def test_triggers_of_one_pass_are_one(base: ev.EventBase, ends: Ends) -> None:
    bev, _ = ends
    called: list[str] = []
    bev.set_callbacks(read=lambda bev: called.append("read"), event=lambda bev, what: called.append(str(what)))
    for _ in range(10):
        bev.trigger(READ)
        bev.trigger_event(ev.What.TIMEOUT)
    turn(base)
    assert called == ["read", "TIMEOUT"]


def test_triggered_events_in_their_order(base: ev.EventBase, ends: Ends) -> None:
    """CONNECTED, read, write, all others together: libevent's order for deferred callbacks."""
    bev, _ = ends
    called: list[Any] = []
    bev.set_callbacks(
        lambda bev: called.append("read"), lambda bev: called.append("write"), lambda bev, what: called.append(what)
    )
    bev.trigger_event(ev.What.TIMEOUT | ev.What.READING)
    bev.trigger(READ | WRITE)
    bev.trigger_event(ev.What.CONNECTED)
    turn(base)
    assert called == [ev.What.CONNECTED, "read", "write", ev.What.TIMEOUT | ev.What.READING]


def test_a_triggered_error_is_terminal(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    heard: list[ev.What] = []
    bev.set_callbacks(read=failed, event=lambda bev, what: heard.append(what))  # type: ignore[arg-type]
    bev.enable()
    bev.trigger_event(ev.What.ERROR)
    bev.trigger_event(ev.What.ERROR)
    turn(base)
    assert heard == [ev.What.ERROR]
    assert bev.error is not None
    other.send(b"x")
    turn(base)
    assert heard == [ev.What.ERROR]
    assert "failed" in repr(bev)
    with pytest.raises(BrokenPipeError):
        bev.write(b"x")


def test_a_trigger_from_a_callback_comes_once_more(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    called: list[int] = []

    def on_read(bev: ev.BufferEvent) -> None:
        called.append(len(bev.input))
        if len(called) < 5:
            bev.trigger(READ)

    bev.set_callbacks(read=on_read, event=failed)
    bev.enable()
    other.send(b"x")
    turn(base)
    turn(base)
    assert called == [1] * 5


# ---------------------------------------------------------------- priorities


def test_the_more_urgent_first() -> None:
    with ev.EventBase(priorities=3) as base, contextlib.ExitStack() as stack:
        order: list[int] = []
        for priority in (2, 0, 1):
            one, other = stack.enter_context(socket_pair())
            bev = stack.enter_context(ev.SocketBufferEvent(base, one, ev.Option(0)))
            assert bev.priority == 1
            bev.priority = priority
            assert bev.priority == priority
            bev.set_callbacks(read=lambda bev: order.append(bev.priority), event=failed)
            bev.enable()
            other.send(b"x")
        run_until(base, lambda: len(order) == 3)
        assert order == [0, 1, 2]


@pytest.mark.parametrize("priority", [-1, 3, 255, 2**31, None, "1", 1.0, True])
def test_priorities_that_are_none(priority: Any) -> None:
    with ev.EventBase(priorities=3) as base, ev.SocketBufferEvent(base) as bev:
        with pytest.raises((TypeError, ValueError), match="priority"):
            bev.priority = priority
        assert bev.priority == 1


# ---------------------------------------------------------------- timeouts


def test_a_byte_starts_the_read_timeout_anew(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    heard: list[tuple[ev.What, float]] = []
    bev.set_callbacks(read=lambda bev: bev.read(), event=lambda bev, what: heard.append((what, time.monotonic())))
    bev.set_timeouts(read=0.3)
    bev.enable()
    last: list[float] = []

    def send(event: ev.Event, what: ev.EventFlag) -> None:
        other.send(b"x")
        last.append(time.monotonic())
        if len(last) == 5:
            event.close()

    base.timer(0.06, send, persist=True)
    run_until(base, lambda: heard)
    assert [what for what, _ in heard] == [ev.What.TIMEOUT | ev.What.READING]
    assert len(last) == 5
    assert heard[0][1] - last[-1] >= 0.28
    assert isinstance(bev.error, TimeoutError)
    assert "reading" in str(bev.error)


def test_after_a_timeout_it_may_go_on(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    heard: list[Any] = []
    bev.set_callbacks(read=lambda bev: heard.append(bev.read()), event=lambda bev, what: heard.append(what))
    bev.set_timeouts(read=0.03)
    bev.enable()
    run_until(base, lambda: heard)
    assert bev.enabled == WRITE
    other.send(b"x")
    turn(base)
    assert heard == [ev.What.TIMEOUT | ev.What.READING]
    bev.enable(READ)
    run_until(base, lambda: len(heard) >= 2)
    assert heard[1] == b"x"
    run_until(base, lambda: len(heard) >= 3)
    assert heard[2] == ev.What.TIMEOUT | ev.What.READING


def test_no_write_timeout_without_anything_to_write(base: ev.EventBase, ends: Ends) -> None:
    bev, _ = ends
    bev.set_callbacks(event=failed)
    bev.set_timeouts(write=0.02)
    bev.enable()
    done: list[bool] = []
    base.timer(0.1, lambda event, what: done.append(True))
    run_until(base, lambda: done)


def test_a_write_timeout(base: ev.EventBase, ends: Ends) -> None:
    bev, other = ends
    heard: list[ev.What] = []
    bev.set_callbacks(event=lambda bev, what: heard.append(what))
    bev.set_timeouts(write=0.05)
    bev.write(b"x" * 5_000_000)
    run_until(base, lambda: heard)
    assert heard == [ev.What.TIMEOUT | ev.What.WRITING]
    assert bev.enabled == NONE
    assert isinstance(bev.error, TimeoutError)
    assert "writing" in str(bev.error)
    assert other.recv(10) == b"x" * 10


def test_timeouts_taken_back(base: ev.EventBase, ends: Ends) -> None:
    bev, _ = ends
    bev.set_callbacks(event=failed)
    bev.enable()
    bev.set_timeouts(0.02, 0.02)
    bev.set_timeouts()
    done: list[bool] = []
    base.timer(0.1, lambda event, what: done.append(True))
    run_until(base, lambda: done)


@pytest.mark.parametrize("seconds", [0, -1, 1e10, float("nan"), float("inf"), "1", True, b"", [1]])
def test_timeouts_that_are_none(ends: Ends, seconds: Any) -> None:
    bev, _ = ends
    for arguments in ({"read": seconds}, {"write": seconds}):
        with pytest.raises((TypeError, ValueError), match=next(iter(arguments))):
            bev.set_timeouts(**arguments)


def test_disabled_by_an_earlier_callback_that_looks_once_more(base: ev.EventBase) -> None:
    """The second look doesn't bring it back; enable() does."""
    pairs = [socket.socketpair() for _ in range(2)]
    bevs = [ev.SocketBufferEvent(base, one) for one, _ in pairs]
    read: list[ev.BufferEvent] = []

    def on_read(bev: ev.BufferEvent) -> None:
        read.append(bev)
        bev.read()
        if len(read) == 1:
            (other,) = set(bevs) - {bev}
            other.disable(READ)
            base.loopcontinue()

    for bev, (_, peer) in zip(bevs, pairs, strict=True):
        bev.set_callbacks(read=on_read)
        bev.enable(READ)
        peer.send(b"x")
    turn(base)
    assert len(read) == 1
    (other,) = set(bevs) - set(read)
    other.enable(READ)
    turn(base)
    assert read[1:] == [other]
    for bev, (_, peer) in zip(bevs, pairs, strict=True):
        bev.abort()
        peer.close()
