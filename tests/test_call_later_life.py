"""What the timers of call_later keep, and for how long; forks, threads and signals."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable

import pytest
from support import GIVE_UP, ROOT, check_child

import pylibevent as ev
from pylibevent.event.interrupt import has_begun

LONG_AGO = 1.0


class Held:
    """Something that a timer keeps."""

    def __call__(self, *args: object) -> None:
        pass


# ---------------------------------------------------------------- what they keep


@pytest.mark.parametrize("passed", [False, True])
@pytest.mark.parametrize("end", ["cancel", "call", "close"])
def test_callbacks_and_arguments_are_dropped(end: str, passed: bool) -> None:
    """At once, though the Timer is kept, and whether or not a pass has seen it."""
    with ev.EventBase() as base:
        callback, argument = Held(), Held()
        references = [weakref.ref(callback), weakref.ref(argument)]
        timer = base.call_later(0.0 if end == "call" and not passed else 0.01 if end == "call" else 60, callback, argument)
        del callback, argument
        if passed:
            base.loop(ev.LoopFlag.NONBLOCK)
        assert all(reference() is not None for reference in references)
        if end == "cancel":
            timer.cancel()
        elif end == "call":
            base.dispatch()
        else:
            base.close()
        assert all(reference() is None for reference in references)
        assert timer.cancelled() is (end != "call")


def test_a_timer_need_not_be_kept(base: ev.EventBase) -> None:
    called: list[int] = []
    base.call_later(0.01, called.append, 1)
    gc.collect()
    base.dispatch()
    assert called == [1]


@pytest.mark.parametrize("passes", [0, 1, 7])
def test_adding_and_cancelling_again_and_again(base: ev.EventBase, rng: random.Random, passes: int) -> None:
    """Nothing grows, with passes between and without."""
    queue = base._timers
    waiting = [base.call_later(60 + rng.random(), print) for _ in range(500)]
    same = time.monotonic() + 60
    most = 0
    for n in range(40_000):
        which = rng.randrange(len(waiting))
        waiting[which].cancel()
        waiting[which] = base.call_at(same, print) if n % 3 == 0 else base.call_later(60 + rng.random(), print)
        if passes and n % 100 < passes:
            base.loop(ev.LoopFlag.NONBLOCK)
        most = max(most, len(queue.heap) + len(queue.new))
    assert base.num_events == 500
    assert most < 10_000
    for timer in waiting:
        timer.cancel()
    assert base.dispatch() is True
    assert [*queue.heap, *queue.new, *queue.timers, *queue.late, *queue.due] == []


def test_a_base_that_is_dropped_drops_them() -> None:
    held = Held()
    reference = weakref.ref(held)
    base = ev.EventBase()
    base.call_later(60, held)
    base.loop(ev.LoopFlag.NONBLOCK)
    del held
    del base
    with pytest.warns(ResourceWarning, match="unclosed <EventBase"):
        gc.collect()
    assert reference() is None


def test_a_base_whose_timers_are_done_needs_no_collection() -> None:
    gc.disable()
    try:
        base = ev.EventBase()
        base.call_later(0, lambda: None)
        base.dispatch()
        with pytest.warns(ResourceWarning, match="unclosed <EventBase"):
            del base
    finally:
        gc.enable()


# ---------------------------------------------------------------- the end of a base, forks, threads


@pytest.mark.parametrize("call", ["call_later", "call_at"])
def test_a_closed_base(call: str) -> None:
    with ev.EventBase() as base:
        before = base.call_later(60, pytest.fail)
    with pytest.raises(ev.ClosedError, match="EventBase closed"):
        getattr(base, call)(0, print)
    assert before.cancelled()
    before.cancel()
    assert "cancelled" in repr(before)


def test_closing_in_a_call(base: ev.EventBase) -> None:
    base.call_at(LONG_AGO, base.close)
    rest = [base.call_at(LONG_AGO + n, pytest.fail) for n in range(3)]
    base.dispatch()
    assert base.closed
    assert all(timer.cancelled() for timer in rest)


def test_a_forked_child() -> None:
    code = """
    import os, sys
    import pylibevent as ev

    base = ev.EventBase()
    order = []
    base.call_later(0.02, order.append, "parent's")
    base.loop(ev.LoopFlag.NONBLOCK)
    pid = os.fork()
    if pid == 0:
        for call in base.call_later, base.call_at:
            try:
                call(0, print)
            except ev.ForkedError:
                continue
            os._exit(1)
        base.reinit()
        base.call_later(0, order.append, "child's")
        assert base.num_events == 2
        assert base.dispatch() is True
        assert order == ["child's", "parent's"], order
        base.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    base.dispatch()
    assert order == ["parent's"]
    base.close()
    """
    check_child(textwrap.dedent(code))


def test_from_another_thread(base: ev.EventBase) -> None:
    """By call_soon_threadsafe: a sleeping loop hears of it."""
    called: list[int] = []
    guard = base.call_later(60, pytest.fail)

    def done() -> None:
        called.append(threading.get_ident())
        guard.cancel()

    sleeping = threading.Event()
    base.call_soon(sleeping.set)

    def work() -> None:
        assert sleeping.wait(GIVE_UP)
        base.call_soon_threadsafe(base.call_later, 0.01, done)

    thread = threading.Thread(target=work)
    thread.start()
    assert base.dispatch() is True
    thread.join(GIVE_UP)
    assert called == [threading.get_ident()]


@pytest.mark.parametrize("name", ["call_later", "call_at", "call_soon"])
def test_other_threads_are_refused_while_the_loop_runs(base: ev.EventBase, name: str) -> None:
    """It may sleep, and wouldn't hear of it."""
    refused: list[str] = []
    called: list[str] = []

    def ask() -> None:
        getattr(base, name)(*([] if name == "call_soon" else [0]), called.append, name)

    def work() -> None:
        with pytest.raises(RuntimeError, match="in use by the thread that runs its loop") as caught:
            ask()
        refused.append(str(caught.value))
        base.call_soon_threadsafe(base.loopexit)

    thread = threading.Thread(target=work)
    base.call_later(0, thread.start)
    base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    thread.join(GIVE_UP)
    assert len(refused) == 1
    other = threading.Thread(target=ask)  # while no loop runs, any thread may
    other.start()
    other.join(GIVE_UP)
    base.dispatch()
    assert called == [name]


def test_added_in_one_thread_and_run_in_another(base: ev.EventBase) -> None:
    called: list[int] = []
    base.call_later(0.01, lambda: called.append(threading.get_ident()))
    thread = threading.Thread(target=base.dispatch)
    thread.start()
    thread.join(GIVE_UP)
    assert called == [thread.ident]


# ---------------------------------------------------------------- signals


def test_a_handler_adds_one_while_the_loop_sleeps(base: ev.EventBase) -> None:
    called: list[str] = []
    guard = base.call_later(60, pytest.fail)

    def handle(number: int, frame: object) -> None:
        base.call_later(0.01, lambda: (called.append("called"), guard.cancel()))

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        base.call_soon(lambda: threading.Timer(0.02, signal.raise_signal, [signal.SIGUSR1]).start())
        assert base.dispatch() is True
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert called == ["called"]


INTERRUPTED = """
import random, signal, sys, time
import pylibevent as ev

NUMBER = 30_000
base = ev.EventBase()
rng = random.Random(int(sys.argv[1]))
called = [0] * NUMBER
cancelled = set()
interrupts = added = 0
handling = False
order = []


def call(n):
    called[n] += 1


class Callable:
    def __call__(self, n):
        called[n] += 1


LIBRARY = ev.__file__.rpartition("/")[0]
kinds = call, Callable(), lambda n: call(n), order.append


def on_sigint(number, frame):
    # What interrupts a callback itself, or a call that adds, is the program's business.
    global interrupts, added, handling
    if handling:
        return
    handling = True
    try:
        handle(frame)
    finally:
        handling = False


def handle(frame):
    global interrupts, added
    if base.num_events and rng.random() < 0.3:
        base.call_later(rng.random() / 1000, extra.append, None)
        added += 1
    inside = False
    while frame is not None:
        name = frame.f_code.co_name
        if name in ("__call__", "call_later", "call_at", "<lambda>") or frame.f_code is call.__code__:
            if frame.f_lasti > 0 and frame.f_code.co_code[frame.f_lasti] != 151:
                return
        inside = inside or frame.f_code is ev.EventBase.dispatch.__code__
        frame = frame.f_back
    if inside:
        interrupts += 1
        raise KeyboardInterrupt


extra = []
signal.signal(signal.SIGINT, on_sigint)
print("ready", flush=True)
done = 0
until = time.monotonic() + 4
rounds = 0
while time.monotonic() < until and rounds < 150:
    rounds += 1
    base_time = time.monotonic()
    called[:] = [0] * NUMBER
    order.clear()
    size = rng.choice([3, 50, 400, NUMBER // 10])
    timers = []
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for n in range(size):
        when = base_time + rng.choice([0, rng.random() / 100, 0.002])
        timers.append(base.call_at(when, rng.choice(kinds), n))
    dropped = set(rng.sample(range(size), size // 3))
    for n in dropped:
        timers[n].cancel()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    while True:
        try:
            base.dispatch()
        except KeyboardInterrupt:
            continue
        break
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for n in order:
        called[n] += 1
    wrong = {n: called[n] for n in range(size) if called[n] != (n not in dropped)}
    assert not wrong, (interrupts, rounds, size, wrong)
    assert base.num_events == 0, base.num_events
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
assert len(extra) == added, (len(extra), added)
base.close()
print(interrupts)
"""


def test_ctrl_c_loses_nothing_and_calls_nothing_twice(rng: random.Random) -> None:
    command = [sys.executable, "-W", "error", "-c", INTERRUPTED, str(rng.randrange(1 << 30))]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 5
        while child.poll() is None and time.monotonic() < deadline:
            child.send_signal(signal.SIGINT)
            time.sleep(rng.random() * 0.002)  # what is tested is any moment
        out, err = child.communicate(timeout=GIVE_UP)
    assert (child.returncode, err) == (0, "")
    assert int(out) > 0


def test_what_counts_as_begun() -> None:
    def interrupted_inside() -> None:
        raise KeyboardInterrupt

    def caught(call: Callable[[], object]) -> bool:
        try:
            call()
        except BaseException as error:
            return has_begun(error.__traceback__)
        raise AssertionError

    assert caught(interrupted_inside)
    assert caught(lambda: interrupted_inside())
    assert caught(lambda: int("x"))

    def handle(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        assert caught(lambda: signal.raise_signal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
