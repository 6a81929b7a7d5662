"""How a process ends, whatever is still alive in it: with the right status, and without a word."""

from __future__ import annotations

import kinds
import pytest
from support import check_child

ALL = sorted(kinds.KINDS)
BEGIN = """
import gc, sys, threading
import kinds
import pylibevent as ev
base = ev.EventBase()
kind = sys.argv[1]
hits = []
"""


@pytest.mark.parametrize("kind", ALL)
def test_with_all_of_it_alive(kind: str) -> None:
    check_child(BEGIN + "kinds.arrange(kind, base, hits.append)", kind)


@pytest.mark.parametrize("kind", ALL)
def test_with_all_of_it_alive_after_a_while(kind: str) -> None:
    """All of it is dropped at exit, in whatever order the interpreter likes."""
    code = "kinds.arrange(kind, base, lambda thing: (hits.append(1), base.loopexit()))\nbase.dispatch()\nassert hits"
    check_child(BEGIN + code, kind)


@pytest.mark.parametrize("kind", ALL)
def test_by_sys_exit_in_a_callback(kind: str) -> None:
    check_child(BEGIN + "kinds.arrange(kind, base, lambda thing: sys.exit(7))\nbase.dispatch()", kind, status=7)


@pytest.mark.parametrize("kind", ALL)
def test_by_an_exception_in_a_callback(kind: str) -> None:
    """It comes out of dispatch(), with the callback in its traceback."""
    code = (
        BEGIN
        + """
import traceback

def hit(thing):
    raise LookupError("from the callback")

kinds.arrange(kind, base, hit)
try:
    base.dispatch()
except LookupError as error:
    print("hit" in [frame.name for frame in traceback.extract_tb(error.__traceback__)])
"""
    )
    assert check_child(code, kind) == "True\n"


@pytest.mark.parametrize("kind", ALL)
def test_the_loop_goes_on_after_an_exception(kind: str) -> None:
    code = (
        BEGIN
        + """
def hit(thing):
    raise LookupError

base.timer(10, lambda event, what: sys.exit("nothing was called"))
kinds.arrange(kind, base, hit)
try:
    base.dispatch()
except LookupError:
    hits.append(1)
base.timer(0, lambda event, what: base.loopexit())
while True:
    try:
        base.dispatch()
    except LookupError:
        continue
    break
assert hits
base.close()
"""
    )
    check_child(code, kind)


@pytest.mark.parametrize("kind", ALL)
def test_with_the_base_closed_in_a_callback(kind: str) -> None:
    code = (
        BEGIN
        + "kinds.arrange(kind, base, lambda thing: (hits.append(1), base.close()))\nbase.dispatch()\nassert hits == [1], hits"
    )
    check_child(code, kind)


@pytest.mark.parametrize("kind", sorted(set(ALL) - {"soon"}))
def test_with_the_thing_itself_closed_in_its_callback(kind: str) -> None:
    code = (
        BEGIN
        + """
def hit(thing):
    hits.append(1)
    thing.close()
    base.timer(0.01, lambda event, what: base.loopexit())

kinds.arrange(kind, base, hit)
base.dispatch()
assert hits == [1], hits
base.close()
"""
    )
    check_child(code, kind)


@pytest.mark.parametrize("kind", ALL)
def test_with_garbage_collected_all_the_time(kind: str) -> None:
    code = (
        BEGIN
        + """
gc.set_threshold(1)

def hit(thing):
    gc.collect()
    hits.append(1)
    base.loopexit()

kinds.arrange(kind, base, hit)
base.dispatch()
assert hits
base.close()
gc.collect()
"""
    )
    check_child(code, kind)


@pytest.mark.parametrize("kind", ALL)
def test_with_a_daemon_thread_in_the_loop(kind: str) -> None:
    code = (
        BEGIN
        + """
called = threading.Event()
kinds.arrange(kind, base, lambda thing: called.set())
threading.Thread(target=base.loop, args=(ev.LoopFlag.NO_EXIT_ON_EMPTY,), daemon=True).start()
assert called.wait(20)
"""
    )
    check_child(code, kind)


@pytest.mark.parametrize("kind", ALL)
def test_in_a_forked_child_that_inherits_it(kind: str) -> None:
    code = (
        BEGIN
        + """
import os
kinds.arrange(kind, base, hits.append)
child = os.fork()
if child == 0:
    try:
        base.dispatch()
    except ev.ForkedError:
        sys.exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
base.timer(5, lambda event, what: sys.exit("it never came"))
while not hits:
    base.loop(ev.LoopFlag.ONCE)
base.close()
"""
    )
    check_child(code, kind)


def test_without_closing_lent_memory() -> None:
    check_child(
        BEGIN
        + """
buffer = ev.Buffer(b"x" * 10_000)
views = buffer.peek().__enter__()
reservation = ev.Buffer().reserve(1000).__enter__()
lent = ev.Buffer()
lent.add_reference(bytearray(b"lent"), lambda: print("released"))
segment = ev.FileSegment(__import__("os").open(kinds.__file__, 0))
""",
        "none",
    )
