"""What is lent to a buffer by add_reference() is told to be free again once: not before the last byte is gone, not twice."""

from __future__ import annotations

import array
import gc
import mmap
import random
import textwrap
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support import check_child, contents, named, run_until, socket_pair

import pylibevent as ev
from pylibevent import Buffer


class Lent(bytearray):
    """A bytearray that can be referred to weakly."""


def unlock(data: bytearray) -> None:
    """Nobody exports it, or this raises."""
    data.append(1)


ENDS: dict[str, Callable[[Buffer], object]] = {
    "drain": lambda buffer: buffer.drain(),
    "drain more": lambda buffer: buffer.drain(1_000_000),
    "read": lambda buffer: buffer.read(),
    "read_into": lambda buffer: buffer.read_into(bytearray(1000)),
    "readline": lambda buffer: buffer.readline(ev.EOLStyle.LF),
    "remove_buffer": lambda buffer: buffer.remove_buffer(Buffer(b"x")) and buffer.write(b""),
    "close": lambda buffer: buffer.close(),
    "leaving a block": lambda buffer: buffer.__exit__(None, None, None),
    "pullup of all": lambda buffer: buffer.write(b"end") and buffer.pullup(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_each_way_out_releases(end: Callable[[Buffer], object]) -> None:
    released: list[int] = []
    buffer, data = Buffer(), Lent(b"line of bytes\n")
    buffer.add_reference(data, lambda: released.append(1))
    with pytest.raises(BufferError):
        unlock(data)
    assert released == []
    end(buffer)
    assert released == [1]
    unlock(data)
    buffer.close()
    assert released == [1]


@pytest.mark.parametrize("keep", [1, 7, 13])
def test_the_last_byte_counts(keep: int) -> None:
    released: list[int] = []
    buffer, data = Buffer(), Lent(b"line of bytes\n")
    buffer.add_reference(data, lambda: released.append(1))
    buffer.drain(len(data) - keep)
    gc.collect()
    assert released == []
    assert contents(buffer) == data[-keep:]
    buffer.drain(keep - 1)
    assert released == []
    buffer.drain(1)
    assert released == [1]


def test_a_part_that_moved_counts() -> None:
    """libevent copies the part of a chain that is moved: the chain itself is what refers."""
    released: list[int] = []
    one, two, data = Buffer(), Buffer(), Lent(b"x" * 5000)
    one.add_reference(data, lambda: released.append(1))
    one.remove_buffer(two, 2000)
    assert contents(two) == b"x" * 2000
    assert contents(one) == b"x" * 3000
    assert released == []
    two.close()
    assert released == []
    one.drain()
    assert released == [1]


@pytest.mark.parametrize("close_source_first", [True, False])
def test_shared_bytes_keep_it(close_source_first: bool) -> None:
    released: list[int] = []
    source, copies = Buffer(), [Buffer() for _ in range(3)]
    source.add_reference(Lent(b"shared"), lambda: released.append(1))
    for copy in copies:
        copy.add_buffer_reference(source)
    for buffer in [source, *copies] if close_source_first else [*copies, source]:
        assert released == []
        assert contents(buffer) == b"shared"
        buffer.close()
    del buffer, copy, source
    copies.clear()
    gc.collect()
    Buffer().write(b"any operation")
    assert released == [1]


def test_shared_bytes_moved_back_into_their_source_are_let_go_of() -> None:
    released: list[int] = []
    source, copy = Buffer(), Buffer()
    source.add_reference(Lent(b"shared"), lambda: released.append(1))
    copy.add_buffer_reference(source)
    source.add_buffer(copy)
    assert contents(source) == b"sharedshared"
    del source, copy
    gc.collect()
    Buffer().write(b"any operation")
    assert released == [1]


def test_an_empty_reference_is_released_at_the_latest_by_close() -> None:
    released: list[int] = []
    buffer, data = Buffer(), Lent()
    assert buffer.add_reference(data, lambda: released.append(1)) == 0
    buffer.close()
    assert released == [1]
    unlock(data)


def test_a_thousand_at_once() -> None:
    released: list[int] = []
    buffer = Buffer()
    for n in range(1000):
        buffer.add_reference(b"%03d" % n, lambda n=n: released.append(n))
    buffer.drain(3 * 10)
    assert sorted(released) == list(range(10))
    buffer.drain()
    assert sorted(released) == list(range(1000))


def test_the_same_object_many_times() -> None:
    released: list[int] = []
    buffer, data = Buffer(), Lent(b"again ")
    for n in range(10):
        buffer.add_reference(data, lambda n=n: released.append(n))
    assert contents(buffer) == b"again " * 10
    buffer.drain(6 * 9 + 5)
    assert sorted(released) == list(range(9))
    with pytest.raises(BufferError):
        unlock(data)
    buffer.drain()
    unlock(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"12345678",
        lambda: bytearray(b"12345678"),
        lambda: memoryview(b"--12345678--")[2:10],
        lambda: array.array("H", b"12345678"),
        lambda: memoryview(array.array("d", b"12345678")),
    ],
    ids=["bytes", "bytearray", "a part of a memoryview", "array", "memoryview of doubles"],
)
def test_what_can_be_lent(make: Callable[[], Any]) -> None:
    buffer = Buffer()
    assert buffer.add_reference(make()) == 8
    gc.collect()
    assert buffer.read() == b"12345678"


def test_a_memory_map_stays_open() -> None:
    buffer, pages = Buffer(), mmap.mmap(-1, 8192)
    pages[:4] = b"page"
    buffer.add_reference(pages)
    with pytest.raises(BufferError):
        pages.close()
    assert buffer.read(4) == b"page"
    buffer.close()
    pages.close()


@pytest.mark.parametrize("data", [None, 1, "text", object(), [1], memoryview(b"abcd")[::2]], ids=named)
def test_what_can_not_be_lent(data: Any) -> None:
    buffer, released = Buffer(b"before"), []
    with pytest.raises((TypeError, BufferError, ValueError)):
        buffer.add_reference(data, lambda: released.append(1))
    assert contents(buffer) == b"before"
    buffer.close()
    assert released == []


def test_on_release_may_do_anything() -> None:
    """Lend again to the same buffer, drain it, close it: no lock is held, and nothing is released twice."""
    released: list[str] = []
    buffer, other = Buffer(), Buffer()

    def first() -> None:
        released.append("first")
        buffer.add_reference(b"second", second)
        other.write(b"told")

    def second() -> None:
        released.append("second")
        buffer.close()
        other.drain()

    buffer.add_reference(b"first", first)
    buffer.drain()
    assert released == ["first"]
    assert contents(other) == b"told"
    buffer.drain()
    assert released == ["first", "second"]
    assert buffer.closed
    assert not other


def test_on_release_that_lends_for_ever_ends_as_recursion_does() -> None:
    buffer, going = Buffer(), True

    def again() -> None:
        if going:
            buffer.add_reference(b"x", again)
            buffer.drain()

    buffer.add_reference(b"x", again)
    with pytest.raises(RecursionError):
        buffer.drain()
    going = False
    buffer.write(b"fine")
    assert buffer.read().endswith(b"fine")


def test_several_that_raise_come_in_a_group() -> None:
    buffer, released = Buffer(), []

    def refuse(error: Exception) -> Callable[[], None]:
        def on_release() -> None:
            released.append(error)
            raise error

        return on_release

    errors = [LookupError("one"), OSError("two")]
    for n, error in enumerate(errors):
        buffer.add_reference(b"x", refuse(error))
        buffer.add_reference(b"y", lambda n=n: released.append(n))
    with pytest.raises(ExceptionGroup) as caught:
        buffer.drain()
    assert set(map(repr, caught.value.exceptions)) == set(map(repr, errors))
    assert len(released) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_one_loses_none_of_the_others(error: type[BaseException]) -> None:
    buffer, released = Buffer(), []

    def interrupt() -> None:
        released.append(2)
        raise error

    for n in range(5):
        buffer.add_reference(b"x", interrupt if n == 2 else lambda n=n: released.append(n))
    with pytest.raises(error):
        buffer.drain()
    buffer.write(b"any operation")
    assert sorted(released) == list(range(5))


def test_a_dropped_buffer_releases_with_the_next_operation() -> None:
    released: list[int] = []
    buffer, data = Buffer(), Lent(b"data")
    buffer.add_reference(data, lambda: released.append(1))
    alive = weakref.ref(data)
    del buffer, data
    gc.collect()
    Buffer().write(b"any operation")
    assert released == [1]
    assert alive() is None


def test_a_dropped_buffer_in_a_cycle_with_what_it_was_lent() -> None:
    class Holder(bytearray):
        buffer: Buffer

    holder = Holder(b"data")
    holder.buffer = Buffer()
    holder.buffer.add_reference(b"other", holder.clear)
    alive = weakref.ref(holder)
    holder.buffer.close()
    del holder
    gc.collect()
    assert alive() is None


def test_releases_come_in_the_pass_that_sends(base: ev.EventBase) -> None:
    released: list[int] = []
    with socket_pair() as (one, other):
        with ev.SocketBufferEvent(base, one.detach()) as bev:
            bev.output.add_reference(Lent(b"reference"), lambda: released.append(1))
            assert released == []
            run_until(base, lambda: released)
            assert not bev.output
        assert other.recv(100) == b"reference"
        assert released == [1]


def test_random_moves_release_each_once(rng: random.Random) -> None:
    count: dict[int, int] = {}
    buffers = [Buffer() for _ in range(4)]

    def lend(number: int) -> None:
        count[number] = 0

        def on_release() -> None:
            count[number] += 1

        buffers[number % 4].add_reference(bytes(rng.randrange(0, 3000)), on_release)

    for number in range(2000):
        one, two = rng.sample(buffers, 2)
        match rng.randrange(8):
            case 0 | 1 | 2:
                lend(number)
            case 3:
                one.add_buffer(two)
            case 4:
                one.prepend_buffer(two)
            case 5:
                one.remove_buffer(two, rng.randrange(5000))
            case 6:
                one.drain(rng.randrange(10_000))
            case 7:
                one.pullup(rng.randrange(10_000))
        assert max(count.values(), default=0) <= 1
    for buffer in buffers:
        buffer.close()
    assert set(count.values()) == {1}


def test_the_process_may_end_with_references_in_all_states() -> None:
    code = """
    import pylibevent as ev

    kept, shared = ev.Buffer(), ev.Buffer()
    kept.add_reference(bytearray(b"kept"), lambda: print("released at exit"))
    shared.add_buffer_reference(kept)
    cycle = ev.Buffer()
    cycle.add_reference(b"cycle", lambda cycle=cycle: print("released at exit"))
    dropped = ev.Buffer()
    dropped.add_reference(bytearray(b"dropped"), lambda: print("told"))
    del dropped
    kept.write(b"any operation")
    """
    assert check_child(textwrap.dedent(code)) == "told\n"
