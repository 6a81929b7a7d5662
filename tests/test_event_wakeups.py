"""Loops and threads: what another thread may ask of a loop, what it may not, and loops side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support import GIVE_UP, TICK, check_child, socket_pair

import pylibevent as ev

READ, PERSIST, TIMEOUT = ev.EventFlag.READ, ev.EventFlag.PERSIST, ev.EventFlag.TIMEOUT
SLACK = 1.0
"""Seconds that something may be late. Upstream allows 200 ms, but a machine may be busy with something else."""


@contextmanager
def running(base: ev.EventBase) -> Iterator[threading.Thread]:
    """The base's loop runs in another thread while the block does; a timer keeps it asleep."""
    asleep = base.timer(60, print)
    inside = threading.Event()
    base.call_soon(inside.set)
    errors: list[BaseException] = []

    def loop() -> None:
        try:
            base.dispatch()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        assert inside.wait(GIVE_UP)
        yield thread
    finally:
        base.call_soon_threadsafe(base.loopbreak)
        thread.join(GIVE_UP)
        assert not thread.is_alive()
        asleep.close()
    assert not errors


BASIC = """
import threading
import pylibevent as ev

THREADS = ITERATIONS = 100
count = 0
lock = threading.Lock()

def basic(base):
    condition = threading.Condition()
    fired = []

    def wake(event, what):
        with condition:
            fired.append(what)
            condition.notify_all()

    def count_up(base):
        global count
        with lock:
            count += 1
            if count == THREADS * ITERATIONS:
                base.loopexit()

    def body():
        event = base.event(-1, ev.EventFlag(0), wake)
        for i in range(ITERATIONS):
            with condition:
                event.add(0.003)
                assert condition.wait_for(lambda: len(fired) == i + 1, 20)
            count_up(base)

    body()

def run(base):
    threads = [threading.Thread(target=basic, args=(base,)) for _ in range(THREADS)]
    keep = base.timer(1000, print)
    for thread in threads:
        thread.start()
    assert not base.dispatch()
    for thread in threads:
        thread.join(20)
    assert count == THREADS * ITERATIONS, count
    keep.close()
"""


def test_many_threads_add_timers() -> None:
    """regress_thread.c thread/basic: 100 threads add a timer of 3 ms each, wait until it has fired, 100 times; the last one
    ends the loop.
    """
    check_child(
        BASIC
        + """
with ev.EventBase() as base:
    run(base)
"""
    )


def test_many_threads_in_a_child() -> None:
    """regress_thread.c thread/forking: the same in a forked child, after reinit; the parent's loop sleeps until SIGCHLD comes,
    and isn't woken by the child's threads.
    """
    check_child(
        BASIC
        + """
import faulthandler, os, signal
base = ev.EventBase()
ended = []

def on_child(event, what):
    ended.append(what)
    base.loopexit(0.1)

watch = base.signal(signal.SIGCHLD, on_child)
pid = os.fork()
if not pid:
    faulthandler.dump_traceback_later(20, exit=True)  # nobody would end it
    status = 1
    try:
        base.reinit()
        run(base)
        status = 0
    finally:
        os._exit(status)
base.dispatch()
assert ended == [ev.EventFlag.SIGNAL], ended
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert base.statistics.noted <= 3, base.statistics  # the signal, and the exit
base.close()
"""
    )


def test_a_loop_without_events_is_fed_by_another_thread(base: ev.EventBase) -> None:
    """regress_thread.c thread/no_events: a loop with nothing to wait for; after 100 and 200 ms events are activated, at 300
    two are added that are due at 400 and 450, at 500 the last one is activated, and breaks.
    """
    times = [0.0] * 5

    def note(i: int) -> Callable[[ev.Event, ev.EventFlag], None]:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            assert what == TIMEOUT
            times[i] = time.monotonic() - start
            if i == 4:
                base.loopbreak()

        return callback

    events = [base.event(-1, ev.EventFlag(0), note(i)) for i in range(5)]
    stamps: list[float] = []

    def register() -> None:
        def at(seconds: float) -> None:
            pause.wait(start + seconds - time.monotonic())
            stamps.append(time.monotonic() - start)

        pause = threading.Event()
        at(0.1)
        events[0].active()
        at(0.2)
        events[1].active()
        at(0.3)
        events[2].add(0.1)
        events[3].add(0.15)
        at(0.5)
        events[4].active()

    start = time.monotonic()
    thread = threading.Thread(target=register)
    thread.start()
    assert not base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    end = time.monotonic() - start
    assert base.got_break
    thread.join(GIVE_UP)
    expected = [stamps[0], stamps[1], stamps[2] + 0.1, stamps[2] + 0.15, stamps[3]]
    assert all(-TICK <= late <= SLACK for late in (t - e for t, e in zip(times, expected, strict=True))), (times, expected)
    assert end - times[4] < SLACK
    assert times[2] < times[3]


def test_deleting_in_another_thread(base: ev.EventBase) -> None:
    """regress.c main/del_wait: a persistent reader sleeps in its callback for 300 ms, there is more to read, and another thread
    deletes it meanwhile: it isn't called again and the loop ends.

    C's event_del waits for the callback; here callbacks run after the pass, and delete() returns at once.
    """
    called: list[float] = []
    inside, deleted = threading.Event(), threading.Event()

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        called.append(time.monotonic())
        inside.set()
        assert deleted.wait(GIVE_UP)
        threading.Event().wait(0.3)

    with socket_pair() as (one, other):
        event = base.event(other, READ | PERSIST, on_read)
        event.add()
        thread = threading.Thread(target=base.dispatch)
        thread.start()
        one.send(b"this is a test\0")
        assert inside.wait(GIVE_UP)
        event.delete()
        deleted.set()
        thread.join(GIVE_UP)
        assert not thread.is_alive()
        assert time.monotonic() - called[0] >= 0.3
        assert len(called) == 1
        assert base.num_events == 0


def test_deleting_the_last_event_ends_the_loop(base: ev.EventBase) -> None:
    """regress.c main/del_notify: a loop that sleeps for the only event there is, ends when another thread deletes it."""
    with socket_pair() as (_one, other):
        event = base.event(other, READ, print)
        event.add()
        inside = threading.Event()
        base.call_soon(inside.set)
        thread = threading.Thread(target=base.dispatch)
        thread.start()
        assert inside.wait(GIVE_UP)
        event.delete()
        thread.join(GIVE_UP)
        assert not thread.is_alive()


@pytest.mark.parametrize("end", ["loopbreak", "loopexit", "call_soon_threadsafe"])
def test_another_thread_ends_the_loop(base: ev.EventBase, end: str) -> None:
    """It sleeps for a minute otherwise."""
    asleep = base.timer(60, print)
    inside = threading.Event()
    base.call_soon(inside.set)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(base.dispatch()))
    start = time.monotonic()
    thread.start()
    assert inside.wait(GIVE_UP)
    if end == "call_soon_threadsafe":
        base.call_soon_threadsafe(base.loopbreak)
    else:
        getattr(base, end)()
    thread.join(GIVE_UP)
    assert results == [False]
    assert (base.got_break, base.got_exit) == (end != "loopexit", end == "loopexit")
    assert time.monotonic() - start < GIVE_UP
    asleep.close()
