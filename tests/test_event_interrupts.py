"""Ctrl-C and Python's signal handlers, whatever loop runs where; and whose the wake-up descriptor is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import GIVE_UP, ROOT, socket_pair

import pylibevent as ev


def owner_of_wake_ups() -> int:
    """The descriptor to which the interpreter writes signals, or -1."""
    fd = signal.set_wakeup_fd(-1)
    if fd >= 0:
        signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return fd


@contextmanager
def handler(number: int, callback: Callable[[int, Any], Any]) -> Iterator[None]:
    before = signal.signal(number, callback)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.fixture
def foreign() -> Iterator[socket.socket]:
    """Somebody else owns the wake-up descriptor: what arrives there."""
    with socket_pair() as (read, write):
        before = signal.set_wakeup_fd(write.fileno())
        yield read
        assert signal.set_wakeup_fd(before) == write.fileno()


# ---------------------------------------------------------------- Ctrl-C


SLEEPERS = {
    "dispatch": "base.dispatch()",
    "once": "base.loop(ev.LoopFlag.ONCE)",
    "without events": "later.close(); base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)",
    "poll": "base.close(); base = make('epoll'); base.dispatch()",
    "select": "base.close(); base = make('epoll', 'poll'); base.dispatch()",
    "with an owner of the wake-up descriptor": "signal.set_wakeup_fd(write.fileno()); base.dispatch()",
    "in a loop's callback": "inner = make(); base.timer(0, lambda event, what: inner.dispatch()); base.dispatch()",
    "in a call": "inner = make(); base.call_soon(inner.dispatch); base.dispatch()",
    "the second time": "base.timer(0.001, lambda event, what: base.loopbreak()); base.dispatch(); base.dispatch()",
    "with a signal event": "base.signal(signal.SIGUSR1, print); base.dispatch()",
    "after one that was closed": "base.close(); base = make(); base.dispatch()",
    "while another thread loops": "threading.Thread(target=make().dispatch, daemon=True).start(); base.dispatch()",
    "in another thread": "t = threading.Thread(target=base.dispatch, daemon=True); t.start(); t.join()",
}
SLEEP = """
import signal, socket, sys, threading, warnings
import pylibevent as ev

warnings.simplefilter("ignore", ResourceWarning)
read, write = socket.socketpair()
write.setblocking(False)

def make(*avoid):
    base = ev.EventBase(ev.EventConfig(avoid=avoid))
    base.timer(60, print)
    return base

base = make()
later = next(info.event for info in base.events() if info.event)
print("ready", flush=True)
try:
    {statement}
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("how", SLEEPERS)
def test_ctrl_c_comes_out_of_a_loop_that_sleeps(how: str) -> None:
    """The signal comes when its main thread sleeps, in C or in join()."""
    child = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", SLEEP.format(statement=SLEEPERS[how])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        asleep = time.monotonic() + GIVE_UP
        while waits_for(child.pid) < 2 and time.monotonic() < asleep:
            time.sleep(0.005)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=GIVE_UP)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, out, err) == (0, "interrupted\n", "")


def waits_for(pid: int) -> int:
    """How often in a row its main thread was found asleep without having run in between, up to 2."""
    seen = []
    for _ in range(2):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")")[1].split()
        seen.append((fields[0], fields[11], fields[12]))
        time.sleep(0.005)
    return 2 if seen[0] == seen[1] and seen[0][0] == "S" else 0


def test_ctrl_c_in_a_callback_leaves_the_rest_for_later(base: ev.EventBase) -> None:
    called: list[int] = []

    def call(number: int) -> ev.event.event.EventCallback:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            called.append(number)
            if number == 1:
                signal.raise_signal(signal.SIGINT)

        return callback

    for number in range(4):
        base.event(-1, ev.EventFlag(0), call(number)).active()
    with pytest.raises(KeyboardInterrupt):
        base.dispatch()
    assert base.dispatch() is True
    assert called == [0, 1, 2, 3]


# ---------------------------------------------------------------- handlers of signal.signal()


@pytest.mark.parametrize("method", ev.supported_methods())
def test_a_handler_runs_though_the_loop_sleeps(method: str) -> None:
    avoid = [name for name in ev.supported_methods() if name != method]
    seen: list[int] = []
    with ev.EventBase(ev.EventConfig(avoid=avoid)) as base:

        def on_alarm(number: int, frame: Any) -> None:
            seen.append(number)
            base.loopbreak()

        base.timer(60, print)
        base.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.02)  # not before: a loopbreak is for a loop that runs
        with handler(signal.SIGALRM, on_alarm):
            assert base.dispatch() is False
    assert seen == [signal.SIGALRM]


def test_a_handler_may_do_anything_to_the_base() -> None:
    """Add, call soon, close: it runs between two passes."""
    seen: list[str] = []
    base = ev.EventBase()

    def on_alarm(number: int, frame: Any) -> None:
        seen.append("handler")
        base.timer(0, lambda event, what: (seen.append("timer"), signal.setitimer(signal.ITIMER_REAL, 0.02)))
        base.call_soon(seen.append, "soon")
        if seen.count("handler") == 2:
            base.close()

    base.timer(60, print)
    with handler(signal.SIGALRM, on_alarm):
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        base.dispatch()
    assert base.closed
    assert seen[-1] == "handler"
    assert sorted(seen[:-1]) == ["handler", "soon", "timer"]


def test_loop_once_goes_back_to_sleep_after_a_handler(base: ev.EventBase) -> None:
    """A signal isn't something that happened to the base."""
    seen: list[str] = []
    with handler(signal.SIGALRM, lambda number, frame: seen.append("handler")):
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        base.timer(0.1, lambda event, what: seen.append("timer"))
        base.loop(ev.LoopFlag.ONCE)
    assert seen == ["handler", "timer"]


def test_an_idle_loop_does_not_poll_for_signals(base: ev.EventBase) -> None:
    base.loopexit(0.5)
    base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    assert base.statistics.polls < 5


# ---------------------------------------------------------------- the wake-up descriptor


@pytest.mark.parametrize("end", ["empty", "break", "error", "closed", "once"])
def test_the_wake_up_descriptor_is_given_back(end: str) -> None:
    assert owner_of_wake_ups() == -1
    inside: list[int] = []
    with ev.EventBase() as base:

        def call(event: ev.Event, what: ev.EventFlag) -> None:
            inside.append(owner_of_wake_ups())
            if end == "break":
                base.loopbreak()
            elif end == "error":
                raise LookupError
            elif end == "closed":
                base.close()

        base.timer(0, call)
        try:
            base.loop(ev.LoopFlag.ONCE if end == "once" else ev.LoopFlag(0))
        except LookupError:
            assert end == "error"
        assert inside[0] >= 0
        assert owner_of_wake_ups() == -1


def test_a_loop_in_another_thread_takes_no_wake_up_descriptor(base: ev.EventBase) -> None:
    errors: list[BaseException] = []
    owners: list[int] = []
    inside, looked = threading.Event(), threading.Event()

    def call(event: ev.Event, what: ev.EventFlag) -> None:
        inside.set()
        assert looked.wait(GIVE_UP)

    def run() -> None:
        try:
            base.dispatch()
        except BaseException as error:
            errors.append(error)

    base.timer(0, call)
    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(GIVE_UP)
    owners.append(owner_of_wake_ups())
    looked.set()
    thread.join(GIVE_UP)
    assert (owners, errors) == ([-1], [])


def test_an_owner_of_the_wake_up_descriptor_hears_of_all_signals(base: ev.EventBase, foreign: socket.socket) -> None:
    """And the handlers run soon, though this loop isn't told by the interpreter."""
    seen: list[int] = []

    def on_signal(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) == 3:
            base.loopbreak()
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.01)

    base.timer(60, print)
    with handler(signal.SIGALRM, on_signal):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        start = time.monotonic()
        assert base.dispatch() is False
        assert time.monotonic() - start < GIVE_UP
    assert foreign.recv(10) == bytes([signal.SIGALRM] * 3)


def test_an_owner_that_came_during_the_loop_is_left_alone(base: ev.EventBase) -> None:
    """What a callback sets stays set after the loop."""
    with socket_pair() as (read, write):
        base.call_soon(signal.set_wakeup_fd, write.fileno())
        base.timer(0.001, lambda event, what: signal.raise_signal(signal.SIGALRM))
        with handler(signal.SIGALRM, lambda number, frame: None):
            base.dispatch()
        assert signal.set_wakeup_fd(-1) == write.fileno()
        assert read.recv(10) == bytes([signal.SIGALRM])


def test_a_loop_inside_a_loop_hears_of_signals_and_so_does_the_outer_one(base: ev.EventBase) -> None:
    seen: list[str] = []
    with ev.EventBase() as inner:

        def on_alarm(number: int, frame: Any) -> None:
            seen.append("alarm")
            (inner if len(seen) == 1 else base).loopbreak()

        def run_inner(event: ev.Event, what: ev.EventFlag) -> None:
            outer_owner = owner_of_wake_ups()
            inner.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.02)
            inner.dispatch()
            assert owner_of_wake_ups() == outer_owner >= 0
            signal.setitimer(signal.ITIMER_REAL, 0.02)

        inner.timer(60, print)
        base.timer(60, print)
        base.timer(0, run_inner)
        with handler(signal.SIGALRM, on_alarm):
            start = time.monotonic()
            base.dispatch()
            assert time.monotonic() - start < GIVE_UP
        assert seen == ["alarm", "alarm"]
        assert (inner.got_break, base.got_break) == (True, True)


def test_an_asyncio_loop_around_it_keeps_its_signals(base: ev.EventBase) -> None:
    """A base that is driven from asyncio's callbacks: asyncio's handlers are called, by asyncio."""
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, came.set)
        owner = owner_of_wake_ups()
        base.timer(0.01, lambda event, what: (seen.append("timer"), signal.raise_signal(signal.SIGUSR1)))
        base.dispatch()
        assert owner_of_wake_ups() == owner
        await asyncio.wait_for(came.wait(), GIVE_UP)
        seen.append("asyncio")
        loop.remove_signal_handler(signal.SIGUSR1)

    asyncio.run(main())
    assert seen == ["timer", "asyncio"]


def test_many_signals_at_once_fill_nothing_up(base: ev.EventBase, capfd: pytest.CaptureFixture[str]) -> None:
    """100 000 of them in one callback, more than the wake-up descriptor takes: no warning, and each handler is called."""
    seen: list[int] = []

    def call(event: ev.Event, what: ev.EventFlag) -> None:
        for _ in range(100_000):
            signal.raise_signal(signal.SIGUSR2)

    base.timer(0, call)
    with handler(signal.SIGUSR2, lambda number, frame: seen.append(number)):
        assert base.dispatch() is True
    assert len(seen) == 100_000
    assert capfd.readouterr().err == ""
