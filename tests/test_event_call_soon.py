"""call_soon and call_soon_threadsafe: order, arguments, errors, and what the loop does with them."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from typing import Any

import pytest
from support import GIVE_UP, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
SOON = [ev.EventBase.call_soon, ev.EventBase.call_soon_threadsafe]


def in_another_thread(callback: Any, *args: object) -> None:
    thread = threading.Thread(target=callback, args=args)
    thread.start()
    thread.join(GIVE_UP)
    assert not thread.is_alive()


@pytest.mark.parametrize("soon", SOON)
def test_called_with_its_arguments_in_order(base: ev.EventBase, soon: Any) -> None:
    seen: list[tuple[Any, ...]] = []
    for arguments in ((), (1,), (None, "two", [3])):
        soon(base, lambda *args: seen.append(args), *arguments)
    assert seen == []
    assert base.dispatch() is True
    assert seen == [(), (1,), (None, "two", [3])]


def test_both_kinds_share_one_queue(base: ev.EventBase) -> None:
    seen: list[int] = []
    for number in range(10):
        SOON[number % 2](base, seen.append, number)
    base.dispatch()
    assert seen == list(range(10))


@pytest.mark.parametrize("soon", SOON)
def test_one_that_calls_itself_soon_leaves_the_loop_time_for_others(base: ev.EventBase, soon: Any) -> None:
    with socket_pair() as (one, other):
        rounds = 0

        def again() -> None:
            nonlocal rounds
            rounds += 1
            if not reader.closed:
                soon(base, again)

        reader = base.event(one, ev.EventFlag.READ, lambda event, what: event.close())
        reader.add()
        base.timer(0.01, lambda event, what: other.send(b"x"))
        soon(base, again)
        assert base.dispatch() is True
        assert reader.closed
        assert rounds > 1


@pytest.mark.parametrize("flags", [ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK])
def test_one_loop_makes_the_calls_that_there_are(base: ev.EventBase, flags: ev.LoopFlag) -> None:
    """What a call queues waits for the next loop."""
    seen: list[str] = []
    later = base.timer(60, print)
    base.call_soon(lambda: (seen.append("first"), base.call_soon(seen.append, "second")))
    assert base.loop(flags) is False
    assert seen[0] == "first"
    base.loop(flags)
    assert seen == ["first", "second"]
    later.close()


@pytest.mark.parametrize("what", ["loopbreak", "loopcontinue", "call"])
def test_a_wake_up_that_is_left_over_does_not_eat_a_loop(base: ev.EventBase, what: str) -> None:
    """Another thread wakes a loop that isn't running; the next one calls what is active all the same."""
    called: list[ev.EventFlag] = []
    if what == "call":
        in_another_thread(base.call_soon_threadsafe, lambda: None)
    else:
        in_another_thread(getattr(base, what))
    with socket_pair() as (one, other):
        other.send(b"x")
        base.event(one, ev.EventFlag.READ, lambda event, what: called.append(what)).add()
        base.event(-1, NOTHING, lambda event, what: called.append(what)).active()
        base.loop(ev.LoopFlag.NONBLOCK)
        assert sorted(called) == [ev.EventFlag.TIMEOUT, ev.EventFlag.READ]


def test_an_exception_leaves_the_calls_after_it(base: ev.EventBase) -> None:
    seen: list[int] = []

    def fail(number: int) -> None:
        seen.append(number)
        if number % 2:
            raise LookupError(number)

    for number in range(4):
        base.call_soon(fail, number)
    for expected in ([0, 1], [0, 1, 2, 3]):
        with pytest.raises(LookupError):
            base.dispatch()
        assert seen == expected
    assert base.dispatch() is True
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("soon", SOON)
def test_what_can_not_be_called(base: ev.EventBase, soon: Any) -> None:
    for callback in (1, "print", None):
        with pytest.raises(TypeError, match="callback must be callable"):
            soon(base, callback)
    with pytest.raises(TypeError):
        soon(base)
    assert base.dispatch() is True


def test_a_loopbreak_leaves_the_calls_after_it(base: ev.EventBase) -> None:
    seen: list[str] = []
    base.call_soon(lambda: (seen.append("first"), base.loopbreak()))
    base.call_soon(seen.append, "second")
    assert base.dispatch() is False
    assert seen == ["first"]
    assert base.dispatch() is True
    assert seen == ["first", "second"]


def test_a_loopexit_lets_the_calls_of_its_round_be_made(base: ev.EventBase) -> None:
    seen: list[str] = []
    later = base.timer(60, print)
    base.call_soon(lambda: (seen.append("first"), base.loopexit()))
    base.call_soon(seen.append, "second")
    assert base.dispatch() is False
    assert seen == ["first", "second"]
    later.close()


def test_a_close_in_a_call_drops_the_calls_after_it() -> None:
    seen: list[str] = []
    base = ev.EventBase()
    base.call_soon(base.close)
    base.call_soon(seen.append, "late")
    base.dispatch()
    assert base.closed
    assert seen == []
    for soon in SOON:
        with pytest.raises(ev.ClosedError):
            soon(base, print)


@pytest.mark.parametrize("end", ["called", "closed"])
def test_what_was_called_is_let_go(end: str) -> None:
    class Thing:
        def __call__(self) -> None:
            """Nothing to do."""

    with ev.EventBase() as base:
        thing = Thing()
        gone = weakref.ref(thing)
        base.call_soon(thing)
        del thing
        gc.collect()
        assert gone() is not None
        if end == "called":
            base.dispatch()
        else:
            base.close()
        gc.collect()
        assert gone() is None


def test_a_call_made_in_the_loops_own_thread_needs_no_wake_up(base: ev.EventBase) -> None:
    """Though nothing else happens for a minute."""
    called: list[float] = []
    later = base.timer(60, print)
    start = time.monotonic()

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        base.call_soon(lambda: (called.append(time.monotonic() - start), base.loopbreak()))

    base.timer(0.01, first)
    base.dispatch()
    assert called
    assert called[0] < GIVE_UP
    later.close()


def test_a_call_of_a_signal_handler(base: ev.EventBase) -> None:
    """Python runs it in the loop's thread, while the loop sleeps."""
    before = signal.signal(signal.SIGUSR1, lambda number, frame: base.call_soon(base.loopbreak))
    try:
        later = base.timer(60, print)
        base.timer(0.01, lambda event, what: threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start())
        start = time.monotonic()
        assert base.dispatch() is False
        assert time.monotonic() - start < GIVE_UP
        later.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
