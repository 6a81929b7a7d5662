"""Who is told when a buffer changes, and which end of it may change at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import contents, run_until, socket_pair

import pylibevent as ev
from pylibevent import Buffer, BufferChange, EOLStyle


class Log(list[str]):
    """A callback that notes the lengths before and after."""

    def __call__(self, buffer: Buffer, change: BufferChange) -> None:
        self.append(f"{change.orig_size}->{change.orig_size + change.added - change.deleted}")

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


def test_callbacks() -> None:
    """regress_buffer.c evbuffer/callbacks: two, of which one is disabled for a while and the other removed."""
    buffer, one, two = Buffer(), Log(), Log()
    first, second = buffer.add_callback(one), buffer.add_callback(two)
    buffer.write(b"The 2 magic words are spotty pudding")
    second.enabled = False
    buffer.drain(10)
    buffer.prepend(b"Hello")
    second.enabled = True
    buffer.add_reference(b"Goodbye")
    first.remove()
    buffer.drain(len(buffer))
    assert buffer.remove_callback(one) is False
    buffer.write(b"X")
    assert buffer.remove_callback(two) is True
    buffer.write(b"unheard")
    assert list(one) == ["0->36", "36->26", "26->31", "31->38"]
    assert list(two) == ["0->36", "31->38", "38->0", "0->1"]


def test_a_callback_that_drains() -> None:
    """regress_buffer.c evbuffer/callbacks: what is written is gone when write() returns; later it stays."""
    buffer, log = Buffer(), Log()

    def drain(buffer: Buffer, change: BufferChange) -> None:
        if change.added > change.deleted:
            buffer.drain(change.orig_size + change.added)

    buffer.add_callback(log)
    entry = buffer.add_callback(drain)
    buffer.write(b"This should get drained right away.")
    assert len(buffer) == 0
    assert list(log) == ["0->35", "35->0"]
    entry.remove()
    buffer.write(b"This will not.")
    assert contents(buffer) == b"This will not."
    buffer.drain()
    assert list(log) == ["0->35", "35->0", "0->14", "14->0"]


class Step(NamedTuple):
    """An operation, and what it tells: of the buffer itself, and of another one."""

    do: Callable[[Buffer, Buffer], object]
    own: tuple[int, int, int] | None
    others: tuple[int, int, int] | None = None


STEPS = {
    "write": Step(lambda b, o: b.write(b"12345"), (10, 5, 0)),
    "writelines": Step(lambda b, o: b.writelines([b"12345"]), (10, 5, 0)),
    "prepend": Step(lambda b, o: b.prepend(b"12345"), (10, 5, 0)),
    "read": Step(lambda b, o: b.read(4), (10, 0, 4)),
    "read all": Step(lambda b, o: b.read(), (10, 0, 10)),
    "read_into": Step(lambda b, o: b.read_into(bytearray(3)), (10, 0, 3)),
    "readline": Step(lambda b, o: b.readline(EOLStyle.LF), (10, 0, 4)),
    "drain": Step(lambda b, o: b.drain(4), (10, 0, 4)),
    "drain more than there is": Step(lambda b, o: b.drain(11), (10, 0, 10)),
    "add_buffer": Step(lambda b, o: b.add_buffer(o), (10, 6, 0), (6, 0, 6)),
    "prepend_buffer": Step(lambda b, o: b.prepend_buffer(o), (10, 6, 0), (6, 0, 6)),
    "add_buffer_reference": Step(lambda b, o: b.add_buffer_reference(o), (10, 6, 0)),
    "remove_buffer": Step(lambda b, o: b.remove_buffer(o, 7), (10, 0, 7), (6, 7, 0)),
    "add_reference": Step(lambda b, o: b.add_reference(b"1234567"), (10, 7, 0)),
    "write nothing": Step(lambda b, o: b.write(b""), None),
    "read nothing": Step(lambda b, o: b.read(0), None),
    "drain nothing": Step(lambda b, o: b.drain(0), None),
    "expand": Step(lambda b, o: b.expand(10000), None),
    "pullup": Step(lambda b, o: b.pullup(), None),
    "copyout": Step(lambda b, o: b.copyout(), None),
    "search": Step(lambda b, o: b.search(b"4"), None),
}


@pytest.mark.parametrize("name", STEPS)
def test_each_operation_tells_once_what_it_changed(name: str) -> None:
    step = STEPS[name]
    told: list[tuple[Buffer, tuple[int, int, int]]] = []
    with Buffer(b"123\n567890") as buffer, Buffer(b"others") as other:
        for each in (buffer, other):
            each.add_callback(lambda which, change: told.append((which, tuple(change))))
        step.do(buffer, other)
        expected = [(which, change) for which, change in ((buffer, step.own), (other, step.others)) if change]
        assert sorted(told, key=lambda item: item[0] is other) == expected
        told.clear()  # its tuples hold the buffers, which hold the callbacks


def test_committing_tells() -> None:
    buffer, log = Buffer(b"1"), Log()
    buffer.add_callback(log)
    with buffer.reserve(100) as space:
        space.views[0][:2] = b"23"
        space.commit(2)
        assert list(log) == []
    assert list(log) == ["1->3"]


def test_a_callback_removes_itself_and_the_next() -> None:
    buffer, log = Buffer(), Log()

    def remove(buffer: Buffer, change: BufferChange) -> None:
        log.append("removes")
        first.remove()
        second.remove()
        second.remove()

    first = buffer.add_callback(remove)
    second = buffer.add_callback(log)
    buffer.write(b"1")
    buffer.write(b"2")
    assert list(log) == ["removes"]


def test_a_callback_closes_its_buffer() -> None:
    buffer, log = Buffer(), Log()
    buffer.add_callback(lambda buffer, change: buffer.close())
    buffer.add_callback(log)
    buffer.write(b"1")
    assert buffer.closed
    assert list(log) == []
    with pytest.raises(ev.ClosedError):
        len(buffer)


def test_what_callbacks_raise_comes_out_of_the_operation_that_is_done() -> None:
    def refuse(buffer: Buffer, change: BufferChange) -> None:
        raise LookupError(f"added {change.added}")

    buffer, log = Buffer(), Log()
    buffer.add_callback(refuse)
    buffer.add_callback(log)
    with pytest.raises(LookupError, match="added 3"):
        buffer.write(b"abc")
    assert (contents(buffer), list(log)) == (b"abc", ["0->3"])
    buffer.add_callback(refuse)
    with pytest.raises(ExceptionGroup) as caught:
        buffer.write(b"de")
    assert [str(error) for error in caught.value.exceptions] == ["added 2", "added 2"]
    assert contents(buffer) == b"abcde"


def test_deferred_callbacks_tell_in_one_what_happened_until_then(base: ev.EventBase) -> None:
    buffer, changes = Buffer(b"12"), []
    buffer.add_callback(lambda buffer, change: changes.append(tuple(change)))
    buffer.defer_callbacks(base)
    buffer.write(b"345")
    buffer.drain(4)
    buffer.prepend(b"!")
    assert changes == []
    run_until(base, lambda: changes)
    assert changes == [(2, 4, 4)]
    buffer.defer_callbacks(None)
    buffer.write(b"?")
    assert changes == [(2, 4, 4), (2, 1, 0)]


WILBUR = (
    b"I've known the wind by water banks to shake\n"
    b"The late leaves down, which frozen where they fell\n"
    b"And held in ice as dancers in a spell\n"
    b"Fluttered all winter long into a lake..."
)


@pytest.fixture
def other() -> Iterator[Buffer]:
    with Buffer(b"xyz") as buffer:
        yield buffer


def reserve_ten(buffer: Buffer) -> None:
    with buffer.reserve(10, 1) as space:
        space.views[0][:10] = b"X" * 10
        space.commit(10)


def test_frozen_end(other: Buffer, tmp_path: Path) -> None:
    """regress_buffer.c evbuffer/freeze_end: nothing is added, and nothing of what was to be added is lost."""
    path = tmp_path / "file"
    path.write_bytes(b"file_freeze_test_file")
    two = Buffer(b"abc")
    with Buffer(WILBUR) as buffer, path.open("rb") as file, socket_pair() as (near, far):
        for each in (buffer, two):
            each.freeze(start=False)
        adding: list[Callable[[], object]] = [
            lambda: buffer.write(b"Hello world"),
            lambda: buffer.writelines([b"Hello ", b"world"]),
            lambda: reserve_ten(buffer),
            lambda: buffer.add_reference(WILBUR[:5]),
            lambda: buffer.add_buffer(other),
            lambda: other.remove_buffer(buffer, 3),
            lambda: buffer.add_buffer_reference(other),
            lambda: buffer.add_file(file, 0, 21),
            lambda: buffer.read_from(far),
        ]
        near.send(b"xyz")
        for add in adding:
            with pytest.raises(BufferError, match="can't be changed"):
                add()
            assert (contents(buffer), contents(other)) == (WILBUR, b"xyz")
        assert far.recv(10) == b"xyz"
        # The start isn't frozen.
        assert buffer.read(1) == WILBUR[:1]
        buffer.drain(3)
        assert buffer.prepend(b"dummy") == 5
        assert buffer.readline(EOLStyle.LF) == b"dummy" + WILBUR[4:43]
        assert buffer.remove_buffer(other, 3) == 3
        buffer.drain(3)
        buffer.prepend_buffer(other)
        left = b"xyz" + WILBUR[44:47] + WILBUR[50:]
        assert contents(buffer) == left
        assert buffer.write_to(near) == len(left)
        assert two.write_to(near, -1) == 3
        assert far.recv(1000) == left + b"abc"
        buffer.unfreeze(start=False)
        assert buffer.write(b"thawed") == 6


def test_frozen_start(other: Buffer, tmp_path: Path) -> None:
    """regress_buffer.c evbuffer/freeze_start: nothing is taken or prepended, and nothing is lost."""
    path = tmp_path / "file"
    path.write_bytes(b"file_freeze_test_file")
    with Buffer(WILBUR) as buffer, path.open("rb") as file, socket_pair() as (near, far):
        buffer.freeze(start=True)
        # The end isn't frozen.
        assert buffer.write(b"") == 0
        reserve_ten(buffer)
        assert buffer.add_reference(WILBUR[:5]) == 5
        assert buffer.write(b"Hello world") == 11
        buffer.add_buffer(other)
        assert buffer.add_file(file, 0, 21) == 21
        near.send(b"xyz")
        assert buffer.read_from(far) == 3
        full = WILBUR + b"X" * 10 + WILBUR[:5] + b"Hello worldxyzfile_freeze_test_filexyz"
        assert contents(buffer) == full
        other.write(b"xyz")
        taking: list[Callable[[], object]] = [
            lambda: buffer.read(1),
            lambda: buffer.read(),
            lambda: buffer.read_into(bytearray(128)),
            lambda: buffer.drain(3),
            lambda: buffer.prepend(b"dummy"),
            lambda: buffer.readline(EOLStyle.LF),
            lambda: buffer.remove_buffer(other, 3),
            lambda: other.add_buffer(buffer),
            lambda: other.prepend_buffer(buffer),
            lambda: buffer.prepend_buffer(other),
            lambda: buffer.write_to(near),
            lambda: buffer.write_to(near, 3),
        ]
        for take in taking:
            with pytest.raises(BufferError, match="can't be changed"):
                take()
            assert (contents(buffer), contents(other)) == (full, b"xyz")
        with pytest.raises(BlockingIOError):
            far.recv(1)
        buffer.unfreeze(start=True)
        assert buffer.read() == full
