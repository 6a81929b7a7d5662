"""Signals, step by step as upstream does it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import check_child, descriptors

import pylibevent as ev

ME = os.getpid()
NONBLOCK = ev.LoopFlag.NONBLOCK
SIGNAL = ev.EventFlag.SIGNAL


def caught() -> set[int]:
    """The signals for which this process has a handler in C, whoever set it."""
    status = Path("/proc/self/status").read_text()
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    before = caught()
    yield
    assert caught() == before


def deletes_itself(seen: list[ev.EventFlag]) -> Callable[[ev.Event, ev.EventFlag], object]:
    def callback(event: ev.Event, what: ev.EventFlag) -> None:
        event.delete()
        seen.append(what)

    return callback


def after_100_ms(base: ev.EventBase) -> float:
    """Run the loop with SIGALRM coming in 100 ms; returns for how long it ran."""
    start = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    assert base.dispatch() is True
    return time.monotonic() - start


@pytest.mark.parametrize("again", [False, True], ids=["added", "added_deleted_added"])
def test_an_alarm(any_base: ev.EventBase, again: bool) -> None:
    """regress.c signal/simplestsignal, signal/simplesignal: SIGALRM after 100 ms; its callback deletes it, which ends the loop.
    The second one was deleted and added before.
    """
    seen: list[ev.EventFlag] = []
    event = any_base.event(signal.SIGALRM, SIGNAL | ev.EventFlag.PERSIST, deletes_itself(seen))
    event.add()
    if again:
        event.delete()
        event.add()
    assert signal.SIGALRM in caught()
    assert after_100_ms(any_base) >= 0.099
    assert seen == [SIGNAL]
    event.delete()  # a second time does no harm
    event.close()


def test_an_alarm_for_two(any_base: ev.EventBase) -> None:
    """regress.c signal/multiplesignal: two events of SIGALRM, 100 ms; each is called once and deletes itself."""
    first: list[ev.EventFlag] = []
    second: list[ev.EventFlag] = []
    events = [any_base.signal(signal.SIGALRM, deletes_itself(seen)) for seen in (first, second)]
    assert after_100_ms(any_base) >= 0.099
    assert (first, second) == ([SIGNAL], [SIGNAL])
    for event in events:
        event.delete()
        event.close()


def test_a_signal_before_the_loop(any_base: ev.EventBase) -> None:
    """regress.c signal/immediatesignal: SIGUSR1 is sent, then one pass that doesn't wait."""
    seen: list[ev.EventFlag] = []
    event = any_base.signal(signal.SIGUSR1, deletes_itself(seen))
    os.kill(ME, signal.SIGUSR1)
    any_base.loop(NONBLOCK)
    assert seen == [SIGNAL]
    event.delete()
    event.close()


def test_a_base_closed_after_its_signal_was_deleted() -> None:
    """regress.c signal/signal_dealloc: added, deleted, closed: nothing is left open (a check after each test)."""
    with ev.EventBase() as base:
        event = base.signal(signal.SIGUSR1, print)
        event.delete()
        assert base.num_events == 0
    assert event.closed


def test_two_bases_closed_in_opposite_order() -> None:
    """regress.c signal/signal_pipeloss: the first one's descriptors, the pipe for signals among them, are closed with it."""
    before = descriptors()
    with ev.EventBase() as first:
        opened = descriptors().keys() - before.keys()
        with ev.EventBase() as second:
            first.signal(signal.SIGUSR1, print).close()
            second.signal(signal.SIGUSR1, print).close()
    assert len(opened) >= 3  # epoll's, and the two ends of the pipe
    for number in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_one_base_after_the_other() -> None:
    """regress.c signal/signal_switchbase: both watch SIGUSR1; the last one that added, or ran, is the one that is told."""
    with ev.EventBase() as first, ev.EventBase() as second:
        one: list[ev.EventFlag] = []
        other: list[ev.EventFlag] = []
        event1 = first.signal(signal.SIGUSR1, deletes_itself(one))
        event2 = second.signal(signal.SIGUSR1, deletes_itself(other))
        assert event1.base is first
        assert event2.base is second

        os.kill(ME, signal.SIGUSR1)
        second.loop(NONBLOCK)
        first.loop(NONBLOCK)
        assert (one, other) == ([], [SIGNAL])

        first.loop(NONBLOCK)  # from now on it is told
        os.kill(ME, signal.SIGUSR1)
        first.loop(NONBLOCK)
        second.loop(NONBLOCK)
        assert (one, other) == ([SIGNAL], [SIGNAL])


def test_the_handler_from_before() -> None:
    """regress.c signal/signal_restore: a handler, an event added and deleted: SIGUSR1 calls the handler."""
    called: list[str] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: called.append("handler"))
    try:
        with ev.EventBase() as base:
            event = base.signal(signal.SIGUSR1, lambda event, what: called.append("event"))
            event.delete()
            signal.raise_signal(signal.SIGUSR1)
            base.loop(NONBLOCK)
            assert called == ["handler"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_no_handler_is_left_for_a_signal_that_was_deleted() -> None:
    """regress.c signal/signal_assert: SIGCONT comes after its event was deleted: nobody catches it."""
    seen: list[ev.EventFlag] = []
    with ev.EventBase() as base:
        assert signal.SIGCONT not in caught()
        event = base.signal(signal.SIGCONT, deletes_itself(seen))
        assert signal.SIGCONT in caught()
        event.delete()
        assert signal.SIGCONT not in caught()
        os.kill(ME, signal.SIGCONT)
        assert base.loop(NONBLOCK) is True
        assert seen == []


def test_five_signals_each_raised_by_the_one_before(any_base: ev.EventBase) -> None:
    """regress.c signal/signal_while_processing: a timer of 0 s raises the first SIGUSR1, its callback the next, up to five; the
    timer, started again with 5 s, must not come.
    """
    called = 0
    timed = 0

    def on_signal(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal called
        called += 1
        if called < 5:
            os.kill(ME, event.fd)
        else:
            any_base.loopexit()

    def on_timer(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal timed
        timed += 1
        if timed == 1:
            event.add(5)
            os.kill(ME, signal.SIGUSR1)
        else:
            any_base.loopexit()

    event = any_base.signal(signal.SIGUSR1, on_signal)
    timer = any_base.event(-1, ev.EventFlag(0), on_timer)
    timer.add(0)
    any_base.dispatch()
    assert (called, timed) == (5, 1)
    event.close()
    timer.close()


def test_a_signal_that_was_deleted_ends_the_process() -> None:
    """regress.c signal/signal_assert: SIGUSR1, which has no handler any more, does what it does by default."""
    check_child(
        """
import os, signal
import pylibevent as ev
base = ev.EventBase()
event = base.signal(signal.SIGUSR1, print)
event.delete()
os.kill(os.getpid(), signal.SIGUSR1)
""",
        status=-signal.SIGUSR1,
    )
