"""How a process ends in which everything is alive at once, in several threads too."""

from __future__ import annotations

import random

import pytest
from support import check_child, run_child

BEGIN = """
import atexit, gc, os, sys, threading, warnings
import kinds
import pylibevent as ev
base = ev.EventBase()
for each in sorted(kinds.KINDS):
    kinds.arrange(each, base, lambda thing: None)
lent = ev.Buffer()
lent.add_reference(bytearray(b"lent"), lambda: print("released"))
looked_at = ev.Buffer(b"x" * 10_000)
views = looked_at.peek().__enter__()
"""


@pytest.mark.parametrize("passes", [0, 1, 5])
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("pass", 0),
        ("sys.exit(7)", 7),
        ("os._exit(7)", 7),
        ("base.close(); sys.exit(7)", 7),
        ("atexit.register(base.close)", 0),
        ("atexit.register(lambda: base.loop(ev.LoopFlag.NONBLOCK))", 0),
        ("del views; gc.collect()", 0),
        ("sys.modules.clear()", 0),
    ],
)
def test_all_alive(end: str, status: int, passes: int) -> None:
    code = f"""
for _ in range({passes}):
    base.loop(ev.LoopFlag.NONBLOCK)
{end}
"""
    check_child(BEGIN + code, status=status)


def test_an_exception_that_nobody_catches_is_all_that_is_said() -> None:
    done = run_child(BEGIN + "base.call_soon(lambda: 1 / 0)\nbase.dispatch()")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "Warning" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("end", ["pass", "sys.exit(7)", "os._exit(7)", "threading.Thread(target=sys.exit).start()"])
def test_with_daemon_threads_in_loops_and_in_callbacks(end: str) -> None:
    code = """
running = threading.Barrier(5)


def serve():
    with ev.EventBase() as base:
        base.call_soon(running.wait, 20)
        base.timer(0.001, lambda event, what: gc.collect(), persist=True)
        for each in sorted(set(kinds.KINDS) - {"signalled"}):
            kinds.arrange(each, base, lambda thing: None)
        base.dispatch()


for _ in range(4):
    threading.Thread(target=serve, daemon=True).start()
running.wait(20)
"""
    check_child(BEGIN + code + end, status=7 if "7" in end else 0)


def test_with_a_thread_whose_loop_is_left_at_exit() -> None:
    """threading waits for it at exit, and somebody has told it to come back by then."""
    code = """
started = threading.Event()
another = ev.EventBase()
another.call_soon(started.set)
thread = threading.Thread(target=another.loop, args=(ev.LoopFlag.NO_EXIT_ON_EMPTY,))
thread.start()
started.wait(20)
threading._register_atexit(another.loopbreak)
"""
    check_child(BEGIN + code)


@pytest.mark.parametrize("end", ["sys.exit(7)", "os._exit(7)", "raise SystemExit(7)"])
def test_in_the_midst_of_anything(end: str, rng: random.Random) -> None:
    """A random life, left from inside of whatever callback is running."""
    code = f"""
import signal, sys, os, warnings
import monkey
warnings.simplefilter("ignore", ResourceWarning)
signal.signal(signal.SIGUSR1, lambda number, frame: None)
life = monkey.Monkey(int(sys.argv[1]))
called = life.called


def called_often_enough(*arguments):
    if life.calls > 500:
        {end}
    called(*arguments)


life.called = called_often_enough
life.live_for(20)
"""
    seed = str(rng.getrandbits(32))
    done = run_child(code, seed)
    assert (done.returncode, done.stderr) == (7, ""), f"seed {seed}: {done.stderr[-3000:]}"
