"""How a loop is ended and turned: loopexit, loopbreak, loopcontinue, in time, from other threads, before it runs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import GIVE_UP, TICK, run_until, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)


def active(base: ev.EventBase, callback: Callable[[], object]) -> ev.Event:
    event = base.event(-1, NOTHING, lambda event, what: callback())
    event.active()
    return event


def test_the_first_of_two_exits_counts() -> None:
    """regress.c main/loopexit_multiple: exits after 200 ms and after 3 s end a loop after 200 ms, and the base is closed."""
    with ev.EventBase() as base:
        base.loopexit(0.2)
        base.loopexit(3)
        start = time.monotonic()
        assert base.dispatch() is False
        took = time.monotonic() - start
        assert base.got_exit
        assert not base.got_break
        assert 0.2 - TICK <= took < 2.9
        assert base.num_events == 1  # the other exit


def test_an_exit_after_a_time_that_passes_outside_counts_in_the_next_loop(base: ev.EventBase) -> None:
    base.loopexit(0.001)
    deadline = time.monotonic() + 0.005
    while time.monotonic() < deadline:
        pass
    assert base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY) is False
    assert base.got_exit
    assert base.dispatch() is True
    assert not base.got_exit


def test_an_exit_that_was_not_made_yet_is_not_got(base: ev.EventBase) -> None:
    """It says how the last loop ended, and none did."""
    base.loopexit()
    assert not base.got_exit
    assert base.dispatch() is False
    assert base.got_exit


def test_a_break_before_the_loop_counts_for_nothing(base: ev.EventBase) -> None:
    """As in C, and other than an exit."""
    called: list[bool] = []
    base.loopbreak()
    active(base, lambda: called.append(True))
    assert base.dispatch() is True
    assert called == [True]
    assert not base.got_break


def test_a_break_of_two_timers_that_are_due_together(base: ev.EventBase) -> None:
    """regress.c main/loopbreak: the second isn't called, and comes first in the next loop, before what came since."""
    order: list[str] = []

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        order.append("first")
        base.loopbreak()

    base.timer(0, first)
    second = base.timer(0, lambda event, what: order.append("second"))
    assert base.dispatch() is False
    assert base.got_break
    assert not base.got_exit
    assert order == ["first"]
    active(base, lambda: order.append("new"))
    assert base.dispatch() is True
    assert order == ["first", "second", "new"]
    assert not base.got_break
    assert not second.pending()


def test_what_a_break_leaves_can_be_deleted(base: ev.EventBase) -> None:
    order: list[str] = []
    active(base, base.loopbreak)
    rest = [active(base, lambda n=n: order.append(n)) for n in "abc"]  # type: ignore[misc]
    assert base.dispatch() is False
    rest[0].delete()
    rest[2].close()
    assert base.dispatch() is True
    assert order == ["b"]


def test_what_a_break_leaves_goes_with_the_base() -> None:
    with ev.EventBase() as base:
        active(base, base.loopbreak)
        event = active(base, pytest.fail)
        assert base.dispatch() is False
    assert event.closed


@pytest.mark.parametrize("flags", list(ev.LoopFlag))
def test_what_a_break_leaves_is_called_whatever_the_flags(base: ev.EventBase, flags: ev.LoopFlag) -> None:
    order: list[int] = []
    active(base, base.loopbreak)
    for n in range(3):
        active(base, lambda n=n: order.append(n))  # type: ignore[misc]
    assert base.dispatch() is False
    if flags & ev.LoopFlag.NO_EXIT_ON_EMPTY:
        base.loopexit(0.001)
    base.loop(flags)
    assert order == [0, 1, 2]


def test_break_after_break_calls_one_each_time(base: ev.EventBase) -> None:
    order: list[int] = []

    def call(n: int) -> None:
        order.append(n)
        base.loopbreak()

    for n in range(5):
        active(base, lambda n=n: call(n))  # type: ignore[misc]
    for n in range(5):
        assert base.dispatch() is False
        assert base.got_break
        assert order == list(range(n + 1))
    assert base.dispatch() is True
    assert order == [0, 1, 2, 3, 4]


def test_an_exit_finishes_the_pass_and_nothing_more(base: ev.EventBase) -> None:
    order: list[str] = []
    late = base.event(-1, NOTHING, lambda event, what: order.append("late"))

    def first() -> None:
        order.append("first")
        base.loopexit()
        late.active()

    active(base, first)
    active(base, lambda: order.append("second"))
    assert base.dispatch() is False
    assert order == ["first", "second"]
    assert base.got_exit
    assert base.dispatch() is True
    assert order == ["first", "second", "late"]
    assert not base.got_exit


def test_a_break_after_an_exit_wins(base: ev.EventBase) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        base.loopexit()
        base.loopbreak()

    active(base, first)
    active(base, lambda: order.append("second"))
    assert base.dispatch() is False
    assert base.got_break
    assert order == ["first"]
    base.dispatch()
    assert order == ["first", "second"]


def test_continue_keeps_what_is_due(base: ev.EventBase) -> None:
    """Without priorities the rest of the batch comes first, each once."""
    order: list[str] = []

    def first() -> None:
        order.append("first")
        active(base, lambda: order.append("new"))
        base.loopcontinue()

    active(base, first)
    active(base, lambda: order.append("second"))
    active(base, lambda: order.append("third"))
    assert base.dispatch() is True
    assert order == ["first", "second", "third", "new"]
    assert not base.got_break
    assert not base.got_exit


def test_continue_in_each_callback_ends(base: ev.EventBase) -> None:
    calls: list[int] = []
    for n in range(50):
        active(base, lambda n=n: (calls.append(n), base.loopcontinue()))  # type: ignore[misc]
    assert base.dispatch() is True
    assert calls == list(range(50))


def test_continue_without_a_loop_does_nothing(base: ev.EventBase) -> None:
    base.loopcontinue()
    assert base.dispatch() is True
    assert base.loop(ev.LoopFlag.NONBLOCK) is True


@pytest.mark.parametrize("how", ["loopexit", "loopbreak"])
def test_ended_from_another_thread(base: ev.EventBase, how: str) -> None:
    """A loop that sleeps is woken."""
    timer = base.timer(60, pytest.fail)
    running = threading.Event()
    base.call_soon(running.set)

    def end() -> None:
        running.wait(GIVE_UP)
        getattr(base, how)()

    thread = threading.Thread(target=end)
    thread.start()
    start = time.monotonic()
    assert base.dispatch() is False
    assert time.monotonic() - start < GIVE_UP
    thread.join(GIVE_UP)
    assert base.got_exit is (how == "loopexit")
    assert base.got_break is (how == "loopbreak")
    timer.close()


def test_continued_from_another_thread(base: ev.EventBase) -> None:
    """It goes on, and ends when it is told so."""
    started = threading.Event()
    base.call_soon(started.set)
    timer = base.timer(60, pytest.fail)

    def turn() -> None:
        started.wait(GIVE_UP)
        for _ in range(100):
            base.loopcontinue()
        base.loopexit()

    thread = threading.Thread(target=turn)
    thread.start()
    assert base.dispatch() is False
    thread.join(GIVE_UP)
    assert base.got_exit
    timer.close()


def test_once_after_a_break_calls_what_is_left_and_does_not_wait(base: ev.EventBase) -> None:
    timer = base.timer(60, pytest.fail)
    order: list[str] = []
    active(base, base.loopbreak)
    active(base, lambda: order.append("left"))
    base.dispatch()
    start = time.monotonic()
    assert base.loop(ev.LoopFlag.ONCE) is False
    assert order == ["left"]
    assert time.monotonic() - start < GIVE_UP
    timer.close()


def test_a_closed_base_ends_its_loop() -> None:
    base = ev.EventBase()
    order: list[str] = []
    active(base, lambda: (order.append("first"), base.close()))
    active(base, lambda: order.append("second"))
    base.call_soon(order.append, "before")
    assert base.dispatch() is False
    assert order == ["before", "first"]
    assert base.closed


def test_readers_of_many_passes_keep_their_turn_over_breaks(base: ev.EventBase) -> None:
    """Each of 20 readers is called once for each byte, though every callback breaks the loop."""
    pairs: list[tuple[socket.socket, socket.socket]] = []
    got: dict[int, bytes] = {}
    try:
        for n in range(20):
            one, other = socket.socketpair()
            pairs.append((one, other))
            got[n] = b""

            def on_read(event: ev.Event, what: ev.EventFlag, n: int = n, one: Any = one) -> None:
                got[n] += one.recv(1)
                base.loopbreak()

            base.event(one, ev.EventFlag.READ | ev.EventFlag.PERSIST, on_read).add()
            other.send(b"abc")
        run_until(base, lambda: all(data == b"abc" for data in got.values()))
    finally:
        base.close()
        for one, other in pairs:
            one.close()
            other.close()


@pytest.mark.parametrize("after", [-1, -0.001, float("nan"), float("inf"), 1e10, "1", True, [1]])
def test_times_that_are_none(base: ev.EventBase, after: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="after must be"):
        base.loopexit(after)
    assert base.num_events == 0
    assert not base.got_exit


@pytest.mark.parametrize("flags", [-1, 8, 2**40, "ONCE", None, 1.0, True])
def test_loop_flags_that_are_none(base: ev.EventBase, flags: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="flags must be"):
        base.loop(flags)
    with socket_pair() as (one, _other):
        base.once(one, ev.EventFlag.WRITE, lambda event, what: None)
        assert base.dispatch() is True
