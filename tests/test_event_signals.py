"""Signals: upstream's tests of them with their values, Python's own handlers, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, check_child, run_until

import pylibevent as ev

ME = os.getpid()


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    """Whatever a test watched, the handlers are Python's again after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGHUP)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize("find_reorder", [False, True])
def test_watching_a_signal(base: ev.EventBase, find_reorder: bool) -> None:
    """regress.c signal/simplestsignal, signal/simplesignal: it is called, and the handler is given back."""
    called: list[ev.EventFlag] = []

    def on_signal(event: ev.Event, what: ev.EventFlag) -> None:
        called.append(what)
        event.delete()

    event = base.signal(signal.SIGALRM, on_signal)
    if find_reorder:
        event.delete()
        event.add()
    base.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.05)
    base.dispatch()
    assert called == [ev.EventFlag.SIGNAL]


def test_two_events_of_one_signal(base: ev.EventBase) -> None:
    """regress.c signal/multiplesignal: both are called."""
    called: list[str] = []
    one = base.signal(signal.SIGALRM, lambda event, what: (called.append("one"), event.delete()))
    other = base.signal(signal.SIGALRM, lambda event, what: (called.append("other"), event.delete()))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    base.dispatch()
    assert sorted(called) == ["one", "other"]
    one.close()
    other.close()


def test_one_that_came_before_the_loop(base: ev.EventBase) -> None:
    """regress.c signal/immediatesignal: raised before the loop runs."""
    called: list[ev.EventFlag] = []
    event = base.signal(signal.SIGUSR1, lambda event, what: (called.append(what), event.delete()))
    os.kill(ME, signal.SIGUSR1)
    base.loop(ev.LoopFlag.NONBLOCK)
    assert called == [ev.EventFlag.SIGNAL]
    event.close()


def test_a_base_closed_with_signals_leaves_no_descriptor() -> None:
    """regress.c signal/signal_dealloc, signal/signal_pipeloss: bases come and go."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with ev.EventBase() as base:
            base.signal(signal.SIGUSR1, print)
            base.loop(ev.LoopFlag.NONBLOCK)
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_base_takes_over() -> None:
    """regress.c signal/signal_switchbase: two bases watch one signal, and the one whose loop runs is told."""
    called: list[str] = []
    with ev.EventBase() as one, ev.EventBase() as other:
        one.signal(signal.SIGUSR1, lambda event, what: called.append("one"))
        other.signal(signal.SIGUSR1, lambda event, what: called.append("other"))
        for base, name in ((one, "one"), (other, "other"), (one, "one")):
            base.timer(0, lambda event, what: os.kill(ME, signal.SIGUSR1))
            run_until(base, lambda: called)
            assert called == [name]
            called.clear()


def test_the_handler_is_restored(base: ev.EventBase) -> None:
    """regress.c signal/signal_restore: Python's handler is back when the event is deleted."""
    ours: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: ours.append(number))
    try:
        event = base.signal(signal.SIGUSR1, lambda event, what: None)
        event.delete()
        os.kill(ME, signal.SIGUSR1)
        time.sleep(0)
        assert ours == [signal.SIGUSR1]
        event.close()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_one_raised_after_its_event_is_deleted(base: ev.EventBase) -> None:
    """regress.c signal/signal_assert: what is still on its way isn't called."""
    called: list[ev.EventFlag] = []
    event = base.signal(signal.SIGUSR1, lambda event, what: called.append(what))
    os.kill(ME, signal.SIGUSR1)
    event.delete()
    base.loop(ev.LoopFlag.NONBLOCK)
    assert not called


def test_one_raised_while_it_is_called(base: ev.EventBase) -> None:
    """regress.c signal/signal_while_processing: in its callback another is raised, and is called too."""
    called: list[ev.EventFlag] = []

    def on_signal(event: ev.Event, what: ev.EventFlag) -> None:
        called.append(what)
        if len(called) < 3:
            os.kill(ME, signal.SIGUSR1)
        else:
            event.delete()

    event = base.signal(signal.SIGUSR1, on_signal)
    os.kill(ME, signal.SIGUSR1)
    base.dispatch()
    assert len(called) == 3
    event.close()


def test_called_as_often_as_it_came(base: ev.EventBase) -> None:
    called: list[ev.EventFlag] = []
    event = base.signal(signal.SIGUSR1, lambda event, what: called.append(what))
    for _ in range(5):
        os.kill(ME, signal.SIGUSR1)
    base.timer(0.05, lambda event, what: base.loopexit())
    base.dispatch()
    assert len(called) == 5
    event.close()


def test_two_running_bases_are_refused(base: ev.EventBase) -> None:
    """Only one could receive them."""
    with ev.EventBase() as other:
        base.signal(signal.SIGUSR1, print)
        other.signal(signal.SIGUSR2, print)
        refused: list[BaseException] = []

        def run_other() -> None:
            try:
                other.loop(ev.LoopFlag.NONBLOCK)
            except RuntimeError as error:
                refused.append(error)
            base.loopexit()

        base.call_soon(run_other)
        base.dispatch()
        assert "signals" in str(refused[0])


def test_a_base_that_does_not_run_takes_no_signals_from_one_that_does(base: ev.EventBase) -> None:
    """libevent gives them all to whoever adds a signal event last."""
    called: list[object] = []

    def on_signal(event: ev.Event, what: ev.EventFlag) -> None:
        called.append(event.base)
        event.base.loopexit()

    def add_elsewhere() -> None:
        with pytest.raises(RuntimeError, match="signals"):
            other.signal(signal.SIGUSR2, on_signal)
        os.kill(ME, signal.SIGUSR1)

    with ev.EventBase() as other:
        base.signal(signal.SIGUSR1, on_signal)
        base.timer(0, lambda event, what: add_elsewhere())
        base.timer(10, lambda event, what: base.loopexit())
        base.dispatch()
        assert called == [base]
        other.signal(signal.SIGUSR2, on_signal)
        os.kill(ME, signal.SIGUSR2)
        other.dispatch()
        assert called == [base, other]


def test_python_handlers_run_while_the_loop_sleeps(base: ev.EventBase) -> None:
    """An alarm after 50 ms, a loop that would sleep for a minute."""
    seen: list[int] = []

    def handler(number: int, frame: Any) -> None:
        seen.append(number)
        base.loopexit()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        timer = base.timer(60, print)
        base.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.05)
        start = time.monotonic()
        base.dispatch()
        assert seen == [signal.SIGALRM]
        assert time.monotonic() - start < 10
        timer.close()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_exception_of_a_python_handler_comes_out(base: ev.EventBase) -> None:
    def handler(number: int, frame: Any) -> None:
        raise LookupError("from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        timer = base.timer(60, print)
        base.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.05)
        with pytest.raises(LookupError, match="from the handler"):
            base.dispatch()
        timer.close()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_wakeup_descriptor_of_somebody_else_is_left_alone(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    seen: list[int] = []

    def handler(number: int, frame: Any) -> None:
        seen.append(number)
        base.loopexit()

    before_fd = signal.set_wakeup_fd(one.fileno())
    before = signal.signal(signal.SIGALRM, handler)
    try:
        timer = base.timer(60, print)
        base.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.05)
        base.dispatch()
        assert seen == [signal.SIGALRM]
        assert other.recv(10) == bytes([signal.SIGALRM])
        assert signal.set_wakeup_fd(before_fd) == one.fileno()
        timer.close()
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.set_wakeup_fd(before_fd)
        one.close()
        other.close()


def interrupted(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a child that prints a line when it is about to sleep, and gets a SIGINT then."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    child = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-u", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 20
    status = Path(f"/proc/{child.pid}/stat")
    while time.monotonic() < deadline and status.read_text().split(")")[1].split()[0] != "S":
        pass  # until it sleeps
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def test_ctrl_c_comes_out_of_dispatch() -> None:
    done = interrupted(
        """
import time
import pylibevent as ev
base = ev.EventBase()
base.timer(60, print)
base.call_soon(print, "ready")
try:
    base.dispatch()
except KeyboardInterrupt:
    print("interrupted")
base.close()
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_ctrl_c_may_be_an_event() -> None:
    done = interrupted(
        """
import signal
import pylibevent as ev
with ev.EventBase() as base:
    base.signal(signal.SIGINT, lambda event, what: (print("called"), base.loopexit()))
    base.call_soon(print, "ready")
    base.dispatch()
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "called\n", "")


def test_interrupts_at_any_moment_lose_nothing() -> None:
    """A storm of SIGINT over a busy echo: each byte comes back, in order, and the loop can always be entered again."""
    check_child(
        """
import os, random, signal, socket, threading, time
import pylibevent as ev

base = ev.EventBase()
one, other = socket.socketpair()
server, client = ev.SocketBufferEvent(base, one), ev.SocketBufferEvent(base, other)
got = bytearray()
interrupts = 0
masked = True  # the test's own bookkeeping isn't what is tested

def handler(number, frame):
    if not masked:
        raise KeyboardInterrupt

def echo(bev):
    global masked
    masked = True
    bev.write_buffer(bev.input)
    masked = False

def take(bev):
    global masked
    masked = True
    got.extend(bev.read())
    masked = False

server.set_callbacks(read=echo)
client.set_callbacks(read=take)
server.enable()
client.enable()
data = random.Random(1).randbytes(400_000)
signal.signal(signal.SIGINT, handler)
done = threading.Event()

def storm():
    while not done.wait(0.0005):
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=storm, daemon=True).start()
sent = 0
deadline = time.monotonic() + 30
masked = False
while True:
    try:
        while (len(got) < len(data) or interrupts <= 5) and time.monotonic() < deadline:
            if sent < len(data) and sent - len(got) < 10_000:
                masked = True
                client.write(data[sent : sent + 1000])
                sent += 1000
                masked = False
            base.loop(ev.LoopFlag.ONCE | ev.LoopFlag.NONBLOCK)
        masked = True
        break
    except KeyboardInterrupt:  # a callback may have been called, and not got to its first line
        masked = True
        interrupts += 1
        server.write_buffer(server.input)
        got.extend(client.read())
        masked = False
done.set()
assert interrupts > 5, interrupts
assert bytes(got) == data, (len(got), sent)
base.close()
"""
    )


@pytest.mark.parametrize("number", [0, -1, 65, 2**31])
def test_numbers_that_are_no_signal(base: ev.EventBase, number: int) -> None:
    with pytest.raises(ValueError, match="signal"):
        base.signal(number, print)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_signals_that_nobody_may_watch(base: ev.EventBase, number: int) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        base.signal(number, print)
    assert base.num_events == 0
