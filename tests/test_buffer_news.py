"""Callbacks of buffers at their edges: what they may do, who hears of what, and that nothing is lost when one raises."""

from __future__ import annotations

import gc
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import check_child, left_over

import pylibevent as ev
from pylibevent import Buffer, BufferCallback, BufferChange


def heard(buffer: Buffer) -> list[tuple[int, int, int]]:
    """What its callbacks are told from now on."""
    changes: list[tuple[int, int, int]] = []
    buffer.add_callback(lambda buffer, change: changes.append(tuple(change)))
    return changes


SILENT: dict[str, Callable[[Buffer], object]] = {
    "write nothing": lambda buffer: buffer.write(b""),
    "prepend nothing": lambda buffer: buffer.prepend(b""),
    "read nothing": lambda buffer: buffer.read(0),
    "drain nothing": lambda buffer: buffer.drain(0),
    "no line": lambda buffer: buffer.readline(ev.EOLStyle.NUL),
    "add an empty buffer": lambda buffer: buffer.add_buffer(Buffer()),
    "prepend an empty buffer": lambda buffer: buffer.prepend_buffer(Buffer()),
    "share an empty buffer": lambda buffer: buffer.add_buffer_reference(Buffer()),
    "move nothing": lambda buffer: buffer.remove_buffer(Buffer(), 0),
    "be shared": lambda buffer: Buffer().add_buffer_reference(buffer),
    "expand": lambda buffer: buffer.expand(100_000),
    "pullup": lambda buffer: buffer.pullup(),
    "peek": lambda buffer: buffer.peek(0).__enter__(),
    "reserve": lambda buffer: buffer.reserve(10).__enter__().__exit__(None, None, None),
    "freeze": lambda buffer: buffer.freeze(start=True) or buffer.unfreeze(start=True),
    "bytes": bytes,
    "close": lambda buffer: buffer.close(),
}


@pytest.mark.parametrize("use", SILENT.values(), ids=SILENT)
def test_what_changes_nothing_tells_nothing(use: Callable[[Buffer], object]) -> None:
    buffer = Buffer(b"text")
    buffer.add_reference(b"more" * 1000)
    changes = heard(buffer)
    use(buffer)
    gc.collect()
    assert changes == []
    buffer.close()


def test_each_change_is_told_as_it_was() -> None:
    buffer, other = Buffer(), Buffer(b"other")
    changes, others = heard(buffer), heard(other)
    buffer.write(b"12345")
    buffer.prepend(b"12")
    buffer.drain(3)
    buffer.add_buffer(other)
    buffer.remove_buffer(other, 2)
    with buffer.reserve(100) as space:
        space.commit(10)
    buffer.writelines([b"a", b"", b"bc"])
    buffer.read_into(bytearray(2))
    assert changes == [(0, 5, 0), (5, 2, 0), (7, 0, 3), (4, 5, 0), (9, 0, 2), (7, 10, 0), (17, 1, 0), (18, 2, 0), (20, 0, 2)]
    assert others == [(5, 0, 5), (0, 2, 0)]


def test_all_hear_of_all_in_the_order_they_came() -> None:
    calls: list[tuple[str, int]] = []
    buffer = Buffer()
    entries = [buffer.add_callback(lambda b, change, name=name: calls.append((name, change.added))) for name in "abc"]
    buffer.write(b"1")
    entries[1].enabled = False
    buffer.write(b"22")
    entries[1].enabled = True
    entries[0].remove()
    entries[0].remove()
    buffer.write(b"333")
    assert calls == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("c", 2), ("b", 3), ("c", 3)]
    assert repr(entries[1]).startswith("<BufferCallback <function")
    entries[1].enabled = False
    assert repr(entries[1]).endswith(", disabled>")


def test_the_same_callback_several_times() -> None:
    calls: list[int] = []

    def callback(buffer: Buffer, change: BufferChange) -> None:
        calls.append(change.added)

    buffer = Buffer()
    for _ in range(3):
        buffer.add_callback(callback)
    buffer.write(b"1")
    assert buffer.remove_callback(callback)
    buffer.write(b"22")
    assert calls == [1, 1, 1, 2, 2]
    assert [buffer.remove_callback(callback) for _ in range(3)] == [True, True, False]
    buffer.write(b"333")
    assert calls == [1, 1, 1, 2, 2]


def test_one_added_in_a_callback_hears_of_the_next_change() -> None:
    buffer, later = Buffer(), []

    def add(buffer: Buffer, change: BufferChange) -> None:
        if not later:
            later.append(heard(buffer))

    buffer.add_callback(add)
    buffer.write(b"1")
    assert later == [[]]
    buffer.write(b"22")
    assert later == [[(1, 2, 0)]]


def test_one_disabled_in_a_callback_is_not_called() -> None:
    buffer, calls = Buffer(), []
    buffer.add_callback(lambda buffer, change: setattr(second, "enabled", False))
    second: BufferCallback = buffer.add_callback(lambda buffer, change: calls.append(change))
    buffer.write(b"1")
    assert calls == []


def test_a_change_in_a_callback_is_told_inside_of_it() -> None:
    buffer, calls = Buffer(), []

    def trim(buffer: Buffer, change: BufferChange) -> None:
        calls.append(("in", *change))
        if len(buffer) > 3:
            buffer.drain(1)
        calls.append(("out", len(buffer)))

    buffer.add_callback(trim)
    buffer.write(b"12345")
    assert calls == [("in", 0, 5, 0), ("in", 5, 0, 1), ("in", 4, 0, 1), ("out", 3), ("out", 3), ("out", 3)]


def test_buffers_that_change_each_other() -> None:
    """What one gets goes to the other, which keeps five bytes and gives the rest to the first once more, till that is full."""
    one, two, kept = Buffer(), Buffer(), []

    def pass_on(buffer: Buffer, change: BufferChange) -> None:
        if change.added and len(kept) < 3:
            two.add_buffer(one)

    def keep_five(buffer: Buffer, change: BufferChange) -> None:
        if change.added and len(two) > 5:
            kept.append(two.read(5))
            two.remove_buffer(one)

    one.add_callback(pass_on)
    two.add_callback(keep_five)
    one.write(b"abcdefghijklmnopqrs")
    assert (kept, bytes(one), bytes(two)) == ([b"abcde", b"fghij", b"klmno"], b"pqrs", b"")


def test_a_callback_without_end_ends_as_recursion_does() -> None:
    """Wherever in the call of a callback the limit is met."""
    code = """
    import faulthandler
    import pylibevent as ev

    def recurse(deeper):
        if deeper:
            return recurse(deeper - 1)
        buffer = ev.Buffer()
        entry = buffer.add_callback(lambda buffer, change: buffer.write(b"x"))
        try:
            buffer.write(b"x")
        except RecursionError:
            print("RecursionError")
        n = len(buffer)
        assert n > 50, n
        entry.remove()
        buffer.write(b"x")
        assert len(buffer) == n + 1

    faulthandler.dump_traceback_later(15, exit=True)
    for deeper in range(10):
        recurse(deeper)
    """
    assert check_child(textwrap.dedent(code)).split() == ["RecursionError"] * 10


def test_what_raises_is_told_with_all_that_raise() -> None:
    buffer, calls = Buffer(), []

    def refuse(error: Exception) -> Callable[[Buffer, BufferChange], None]:
        def callback(buffer: Buffer, change: BufferChange) -> None:
            calls.append(error)
            raise error

        return callback

    errors = [LookupError("one"), OSError("two"), ExceptionGroup("three", [ValueError("four")])]
    for error in errors:
        buffer.add_callback(refuse(error))
        buffer.add_callback(lambda buffer, change: calls.append(change.added))
    with pytest.raises(ExceptionGroup) as caught:
        buffer.write(b"text")
    assert list(caught.value.exceptions) == errors
    assert calls == [errors[0], 4, errors[1], 4, errors[2], 4]
    assert buffer.copyout() == b"text"
    assert caught.value.__context__ is None


def test_one_that_raises_while_two_buffers_change() -> None:
    one, two, calls = Buffer(b"text"), Buffer(), []

    def refuse(buffer: Buffer, change: BufferChange) -> None:
        calls.append(tuple(change))
        raise LookupError

    one.add_callback(refuse)
    two.add_callback(refuse)
    with pytest.raises(ExceptionGroup) as caught:
        two.add_buffer(one)
    assert [type(error) for error in caught.value.exceptions] == [LookupError] * 2
    assert sorted(calls) == [(0, 4, 0), (4, 0, 4)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_one_comes_out_and_loses_no_change(error: type[BaseException]) -> None:
    """The others hear of the change, now or with the next operation."""
    one, two = Buffer(b"text"), Buffer()
    interrupted: list[int] = []

    def interrupt(buffer: Buffer, change: BufferChange) -> None:
        if not interrupted:
            interrupted.append(1)
            raise error

    one.add_callback(interrupt)
    two.add_callback(interrupt)
    ones, twos = heard(one), heard(two)
    with pytest.raises(error):
        two.add_buffer(one)
    one.write(b"x")
    two.write(b"yz")
    assert sum(added for _, added, _ in twos) == 6
    assert (sum(added for _, added, _ in ones), sum(deleted for *_, deleted in ones)) == (1, 4)


def test_the_thread_that_changes_calls() -> None:
    buffer, calls = Buffer(), []
    buffer.add_callback(lambda buffer, change: calls.append((threading.current_thread().name, change.added)))
    thread = threading.Thread(target=buffer.write, args=(b"12",), name="other")
    thread.start()
    thread.join(10)
    buffer.write(b"3")
    assert calls == [("other", 2), (threading.current_thread().name, 1)]


def test_a_buffer_and_its_callbacks_are_collected_together() -> None:
    before = left_over()
    buffer = Buffer()
    buffer.add_callback(lambda b, change, cycle=buffer: None)
    entry = buffer.add_callback(lambda b, change, cycle=buffer: None)
    entries = [Buffer().add_callback(lambda b, change: None) for _ in range(3)]
    del buffer
    del entry
    assert left_over() == before
    for orphan in entries:
        orphan.remove()
        assert orphan.enabled


def test_a_dropped_buffer_tells_nobody_what_was_not_told() -> None:
    calls: list[BufferChange] = []
    buffer = Buffer(b"text")
    buffer.add_callback(lambda buffer, change: calls.append(change))
    del buffer
    gc.collect()
    Buffer().write(b"any operation")
    assert calls == []


def test_a_closed_buffer_takes_no_callbacks_and_is_not_watched() -> None:
    before = left_over()
    buffer = Buffer()
    buffer.close()
    with pytest.raises(ev.ClosedError):
        buffer.add_callback(lambda buffer, change: None)
    assert not buffer.remove_callback(print)
    assert left_over() == {**before, "handles in C": before["handles in C"] + 1}


@pytest.mark.parametrize("callback", [None, 1, "text", [], object()])
def test_only_what_can_be_called_is_a_callback(callback: Any) -> None:
    buffer = Buffer()
    with pytest.raises(TypeError, match="callback must be callable"):
        buffer.add_callback(callback)
    buffer.write(b"x")


# ---------------------------------------------------------------- deferred


def test_deferred_to_a_base_they_tell_once_and_not_before_the_loop(base: ev.EventBase) -> None:
    buffer = Buffer(b"before")
    changes = heard(buffer)
    buffer.defer_callbacks(base)
    for part in (b"one", b"three"):
        buffer.write(part)
    buffer.drain(2)
    assert changes == []
    base.loop(ev.LoopFlag.NONBLOCK)
    assert changes == [(6, 8, 2)]
    base.loop(ev.LoopFlag.NONBLOCK)
    assert len(changes) == 1
    buffer.defer_callbacks(None)
    buffer.write(b"at once")
    assert changes == [(6, 8, 2), (12, 7, 0)]


def test_what_waited_is_told_when_nothing_is_deferred_any_more(base: ev.EventBase) -> None:
    buffer = Buffer()
    changes = heard(buffer)
    buffer.defer_callbacks(base)
    buffer.write(b"12")
    buffer.defer_callbacks(None)
    buffer.write(b"345")
    base.loop(ev.LoopFlag.NONBLOCK)
    assert sum(added for _, added, _ in changes) == 5


def test_another_base_may_follow_a_closed_one(base: ev.EventBase) -> None:
    buffer = Buffer()
    changes = heard(buffer)
    with ev.EventBase() as first:
        buffer.defer_callbacks(first)
        buffer.write(b"12")
    buffer.defer_callbacks(base)
    buffer.write(b"345")
    base.loop(ev.LoopFlag.NONBLOCK)
    assert changes
    assert changes[-1][1] in (3, 5)
    buffer.write(b"6789")
    base.loop(ev.LoopFlag.NONBLOCK)
    assert changes[-1] == (5, 4, 0)


def test_a_buffer_closed_while_a_callback_waits(base: ev.EventBase) -> None:
    buffer = Buffer()
    changes = heard(buffer)
    buffer.defer_callbacks(base)
    buffer.write(b"12")
    buffer.close()
    base.loop(ev.LoopFlag.NONBLOCK)
    assert changes == []


def test_what_a_deferred_one_raises_comes_out_of_the_loop(base: ev.EventBase) -> None:
    buffer = Buffer()

    def refuse(buffer: Buffer, change: BufferChange) -> None:
        raise LookupError("deferred")

    buffer.add_callback(refuse)
    buffer.defer_callbacks(base)
    buffer.write(b"12")
    with pytest.raises(LookupError, match="deferred"):
        base.dispatch()
    buffer.add_callback(refuse)
    buffer.write(b"12")
    with pytest.raises(ExceptionGroup):
        base.dispatch()
    buffer.close()


def test_deferred_from_another_thread_they_run_in_the_loops(base: ev.EventBase) -> None:
    buffer, names = Buffer(), []
    buffer.add_callback(lambda buffer, change: (names.append((threading.current_thread().name, change.added)), base.loopexit()))
    buffer.defer_callbacks(base)
    thread = threading.Thread(target=buffer.write, args=(b"12",), name="other")
    base.call_soon(thread.start)
    base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    thread.join(10)
    assert names == [(threading.current_thread().name, 2)]


def test_a_class_is_no_base() -> None:
    with pytest.raises(TypeError, match="base must be an EventBase, not type"):
        Buffer().defer_callbacks(ev.EventBase)  # type: ignore[arg-type]
