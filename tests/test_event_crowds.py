"""Many threads at one base, and what wakes a loop that sleeps in another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import GIVE_UP, TICK, run_until, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
READ, PERSIST = ev.EventFlag.READ, ev.EventFlag.PERSIST


@contextmanager
def looping(base: ev.EventBase) -> Iterator[threading.Thread]:
    """The base's loop in a thread, as long as the block runs, with or without events."""
    result: list[Any] = []
    started = threading.Event()

    def run() -> None:
        try:
            result.append(base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY))
        except BaseException as error:
            result.append(error)

    base.call_soon(started.set)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(GIVE_UP)
        yield thread
    finally:
        while thread.is_alive():
            base.loopbreak()
            thread.join(0.01)
    assert result == [False]


# ---------------------------------------------------------------- what wakes a loop that sleeps


def test_ending_the_loop_of_another_thread_after_a_time(base: ev.EventBase) -> None:
    with looping(base) as thread:
        start = time.monotonic()
        base.loopexit(0.05)
        thread.join(GIVE_UP)
        assert not thread.is_alive()
        assert time.monotonic() - start >= 0.05 - TICK
    assert base.got_exit


def test_a_loopbreak_of_another_thread_keeps_the_rest(base: ev.EventBase) -> None:
    """It comes while a callback runs: the other one of the batch is called by the next loop."""
    running, broken = threading.Event(), threading.Event()
    called: list[str] = []

    def first(event: ev.Event, what: ev.EventFlag) -> None:
        called.append("first")
        running.set()
        assert broken.wait(GIVE_UP)

    base.event(-1, NOTHING, first).active()
    base.event(-1, NOTHING, lambda event, what: called.append("second")).active()
    thread = threading.Thread(target=base.dispatch)
    thread.start()
    assert running.wait(GIVE_UP)
    base.loopbreak()
    broken.set()
    thread.join(GIVE_UP)
    assert called == ["first"]
    assert base.dispatch() is True
    assert called == ["first", "second"]


def test_what_is_added_while_the_loop_sleeps_is_watched(base: ev.EventBase) -> None:
    """A reader, a timer and an activation; each is called in the loop's thread."""
    called: dict[str, int] = {}
    done = threading.Semaphore(0)

    def note(name: str) -> ev.event.event.EventCallback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            called[name] = threading.get_ident()
            done.release()

        return callback

    with socket_pair() as (one, other), looping(base) as thread:
        base.event(one, READ, note("reader")).add()
        other.send(b"x")
        base.timer(0.01, note("timer"))
        base.event(-1, NOTHING, note("active")).active()
        for _ in range(3):
            assert done.acquire(timeout=GIVE_UP)
        assert called == dict.fromkeys(("reader", "timer", "active"), thread.ident)


def test_a_shorter_timer_of_another_thread_is_not_late(base: ev.EventBase) -> None:
    """The loop sleeps for a day when it is added."""
    day = base.timer(86_400, print)
    fired = threading.Event()
    with looping(base):
        base.timer(0.01, lambda event, what: fired.set())
        assert fired.wait(GIVE_UP)
    day.close()


def test_an_exception_of_a_call_comes_out_of_the_loop_of_its_thread(base: ev.EventBase) -> None:
    asleep = threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
        except LookupError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    base.call_soon(asleep.set)
    thread.start()
    assert asleep.wait(GIVE_UP)
    base.call_soon_threadsafe({}.__getitem__, "key")
    thread.join(GIVE_UP)
    assert [type(error) for error in raised] == [KeyError]


@pytest.mark.parametrize("what", ["loopbreak", "loopcontinue", "call"])
def test_a_wake_up_that_is_left_over_does_not_eat_a_loop(base: ev.EventBase, what: str) -> None:
    """Another thread wakes a loop that isn't running; the next one calls what is active all the same."""
    called: list[ev.EventFlag] = []
    if what == "call":
        wake = threading.Thread(target=base.call_soon_threadsafe, args=(len, ()))
    else:
        wake = threading.Thread(target=getattr(base, what))
    wake.start()
    wake.join(GIVE_UP)
    with socket_pair() as (one, other):
        other.send(b"x")
        base.event(one, ev.EventFlag.READ, lambda event, what: called.append(what)).add()
        base.event(-1, NOTHING, lambda event, what: called.append(what)).active()
        base.loop(ev.LoopFlag.NONBLOCK)
        assert sorted(called) == [ev.EventFlag.TIMEOUT, ev.EventFlag.READ]


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


# ---------------------------------------------------------------- several threads at once


def test_loops_side_by_side() -> None:
    """Four bases in four threads, each passing a byte around a pair of its own, and each in its own thread only."""
    rounds = 2000
    outcomes: list[tuple[int, bool, set[int], int]] = []

    def run() -> None:
        idents: set[int] = set()
        count = 0
        with ev.EventBase() as base, socket_pair() as pair:

            def on_read(event: ev.Event, what: ev.EventFlag) -> None:
                nonlocal count
                idents.add(threading.get_ident())
                end = pair[event is second]
                byte = end.recv(1)
                count += 1
                if count < rounds:
                    end.send(byte)
                else:
                    first.delete()
                    second.delete()

            first = base.event(pair[0], READ | PERSIST, on_read)
            second = base.event(pair[1], READ | PERSIST, on_read)
            first.add()
            second.add()
            pair[0].send(b"x")
            outcomes.append((threading.get_ident(), base.dispatch(), idents, count))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GIVE_UP)
    assert len(outcomes) == 4
    for ident, ended, idents, count in outcomes:
        assert (ended, idents, count) == (True, {ident}, rounds)


def test_events_changed_by_all_threads_at_once(base: ev.EventBase) -> None:
    """Four threads add, delete and activate the same eight events: afterwards each of them works."""
    called = [0] * 8

    def fire(i: int) -> ev.event.event.EventCallback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            called[i] += 1

        return callback

    events = [base.event(-1, NOTHING if i % 2 else PERSIST, fire(i)) for i in range(8)]

    def work(offset: int) -> None:
        for step in range(1000):
            event = events[(step * 3 + offset) % 8]
            if step % 4 == 0:
                event.delete()
            elif step % 4 == 1:
                event.add(0.001)
            elif step % 4 == 2:
                event.active(READ)
            else:
                event.pending()

    with looping(base):
        workers = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(GIVE_UP)
            assert not worker.is_alive()
        for event in events:
            event.delete()
    assert base.num_events == 0
    called[:] = [0] * 8
    for event in events:
        event.active()
    run_until(base, lambda: all(called))
    for event in events:
        event.close()
    assert base.dispatch() is True


def test_events_closed_in_one_thread_while_they_fire_in_another(base: ev.EventBase) -> None:
    late: list[ev.Event] = []
    closed: set[int] = set()

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        if id(event) in closed:
            late.append(event)

    with looping(base):
        kept = []
        for _ in range(300):
            event = base.event(-1, PERSIST, fire)
            event.add(0.0005)
            event.active()
            kept.append(event)  # so that no id comes twice
            event.close()
        settled = threading.Event()
        base.call_soon_threadsafe(closed.update, map(id, kept))
        base.call_soon_threadsafe(settled.set)
        assert settled.wait(GIVE_UP)
    assert not late
    assert base.num_events == 0


@pytest.mark.parametrize("use", [ev.EventBase.loop, ev.EventBase.dispatch, ev.EventBase.close, ev.EventBase.reinit])
def test_a_loop_that_runs_is_refused_to_another_thread(base: ev.EventBase, use: Callable[[ev.EventBase], object]) -> None:
    """Again and again, until the loop is sure to sleep in C."""
    with looping(base):
        for _ in range(50):
            with pytest.raises(RuntimeError, match="in use by the thread that runs its loop"):
                use(base)
            time.sleep(0)
        assert not base.closed


def test_one_base_in_several_threads_after_one_another(base: ev.EventBase) -> None:
    idents: list[int] = []
    for _ in range(3):
        base.call_soon(lambda: idents.append(threading.get_ident()))
        base.timer(0.001, lambda event, what: idents.append(threading.get_ident()))
        thread = threading.Thread(target=base.dispatch)
        thread.start()
        ident = thread.ident
        thread.join(GIVE_UP)
        assert idents == [ident, ident]
        idents.clear()
