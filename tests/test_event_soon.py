"""call_soon and call_soon_threadsafe: in order, after the pass, once, from everywhere."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest
from support import GIVE_UP, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
CALLS = ["call_soon", "call_soon_threadsafe"]


@pytest.mark.parametrize("how", CALLS)
def test_in_the_order_of_the_calls(base: ev.EventBase, how: str) -> None:
    order: list[tuple[int, ...]] = []
    for n in range(1000):
        getattr(base, how)(lambda *numbers: order.append(numbers), n, -n)
    assert order == []
    assert base.dispatch() is True
    assert order == [(n, -n) for n in range(1000)]


def test_both_keep_one_order(base: ev.EventBase) -> None:
    order: list[int] = []
    for n in range(100):
        getattr(base, CALLS[n % 2])(order.append, n)
    base.dispatch()
    assert order == list(range(100))


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("flags", [ev.LoopFlag(0), ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK])
def test_a_call_is_something_to_do(base: ev.EventBase, how: str, flags: ev.LoopFlag) -> None:
    """A loop with nothing but calls makes them and doesn't wait; nor does it with a timer of a minute."""
    called: list[int] = []
    timer = base.timer(60, pytest.fail)
    getattr(base, how)(called.append, 1)
    if not flags:
        base.call_soon(base.loopexit)
    start = time.monotonic()
    assert base.loop(flags) is False
    assert called == [1]
    assert time.monotonic() - start < GIVE_UP
    timer.close()
    getattr(base, how)(called.append, 2)
    base.loop(flags)
    assert called == [1, 2]


def test_calls_of_calls_come_in_the_next_round(base: ev.EventBase) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        base.call_soon(order.append, "third")

    base.call_soon(first)
    base.call_soon(order.append, "second")
    base.dispatch()
    assert order == ["first", "second", "third"]


def test_a_break_leaves_the_calls_for_the_next_loop(base: ev.EventBase) -> None:
    order: list[str] = []
    base.call_soon(base.loopbreak)
    base.call_soon(order.append, "left")
    assert base.dispatch() is False
    assert base.got_break
    assert order == []
    assert base.dispatch() is True
    assert order == ["left"]


def test_an_exit_makes_the_calls_of_its_round(base: ev.EventBase) -> None:
    order: list[str] = []
    timer = base.timer(60, pytest.fail)
    base.call_soon(base.loopexit)
    base.call_soon(order.append, "same round")
    assert base.dispatch() is False
    assert order == ["same round"]
    timer.close()


def test_no_event_is_running_in_a_call(base: ev.EventBase) -> None:
    running: list[ev.Event | None] = []
    base.call_soon(lambda: running.append(base.running_event))
    base.timer(0, lambda event, what: base.call_soon(lambda: running.append(base.running_event)))
    base.dispatch()
    assert running == [None, None]


def test_calls_go_with_a_base_that_is_closed() -> None:
    class Held:
        """An argument."""

        def __call__(self) -> None:
            pytest.fail("the base was closed")

    held = Held()
    reference = weakref.ref(held)
    with ev.EventBase() as base:
        base.call_soon(held)
        base.call_soon_threadsafe(print, held)
        del held
        assert reference() is not None
    gc.collect()
    assert reference() is None


def test_what_was_called_is_dropped(base: ev.EventBase) -> None:
    class Held:
        """An argument."""

    held = Held()
    reference = weakref.ref(held)
    base.call_soon(lambda held: None, held)
    del held
    base.dispatch()
    gc.collect()
    assert reference() is None


def test_from_many_threads(base: ev.EventBase) -> None:
    """Each thread's calls come in its order, in the loop's thread, and none is lost."""
    threads, each = 8, 500
    got: list[tuple[int, int, int]] = []

    def call(thread: int, n: int) -> None:
        got.append((thread, n, threading.get_ident()))
        if len(got) == threads * each:
            base.loopexit()

    def work(thread: int) -> None:
        for n in range(each):
            base.call_soon_threadsafe(call, thread, n)

    timer = base.timer(GIVE_UP, lambda event, what: base.loopbreak())
    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    assert base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY) is False
    for worker in workers:
        worker.join(GIVE_UP)
    assert base.got_exit
    assert {ident for _, _, ident in got} == {threading.get_ident()}
    for thread in range(threads):
        assert [n for worker, n, _ in got if worker == thread] == list(range(each))
    timer.close()


def test_a_sleeping_loop_is_woken(base: ev.EventBase) -> None:
    timer = base.timer(60, pytest.fail)
    seen: list[int] = []
    answered = threading.Event()
    sleeping = threading.Event()
    base.call_soon(sleeping.set)

    def answer(n: int) -> None:
        seen.append(n)
        answered.set()

    def ask() -> None:
        assert sleeping.wait(GIVE_UP)
        for n in range(20):
            answered.clear()
            base.call_soon_threadsafe(answer, n)
            assert answered.wait(GIVE_UP)
        base.call_soon_threadsafe(base.loopexit)

    thread = threading.Thread(target=ask)
    thread.start()
    assert base.dispatch() is False
    thread.join(GIVE_UP)
    assert seen == list(range(20))
    timer.close()


def test_calls_do_not_keep_descriptors_waiting(base: ev.EventBase) -> None:
    """A call that queues itself again and again still lets a reader have its turn."""
    with socket_pair() as (one, other):
        rounds = 0
        read: list[bytes] = []

        def again() -> None:
            nonlocal rounds
            rounds += 1
            assert rounds < 1000
            if rounds == 3:
                other.send(b"x")
            if not read:
                base.call_soon(again)

        base.event(one, ev.EventFlag.READ, lambda event, what: read.append(one.recv(1))).add()
        base.call_soon(again)
        assert base.dispatch() is True
        assert read == [b"x"]
        assert rounds < 10


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("callback", [1, "print", b"", [], object()])
def test_what_can_not_be_called(base: ev.EventBase, how: str, callback: Any) -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        getattr(base, how)(callback)
    assert base.dispatch() is True


@pytest.mark.parametrize("how", CALLS)
def test_none_can_not_be_called(base: ev.EventBase, how: str) -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        getattr(base, how)(None)
    assert base.dispatch() is True
