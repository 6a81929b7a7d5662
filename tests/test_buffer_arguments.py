"""What Buffer refuses, and that nothing is lost, moved or told when it does."""

from __future__ import annotations

import array
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import contents, named, socket_pair

import pylibevent as ev
from pylibevent import Buffer, EOLStyle, FileSegment
from pylibevent.buffer import news

TOO_BIG = sys.maxsize
HELD = b"abc\ndef"


class Answers:
    """Has fileno() and __index__(), which give what they were told to."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def fileno(self) -> Any:
        return self.answer

    def __index__(self) -> Any:
        return self.answer


NOT_BYTES = [None, 1, "text", [b"list"], memoryview(b"abcdef")[::2]]
NOT_SIZES: list[tuple[object, type[Exception]]] = [
    (-2, ValueError),
    (TOO_BIG, ValueError),
    (2**64, ValueError),
    (-(2**64), ValueError),
    (1.0, TypeError),
    ("1", TypeError),
    (True, TypeError),
    (Answers("1"), TypeError),
]
NOT_COUNTS = [*NOT_SIZES, (-1, ValueError), (None, TypeError)]
NOT_BUFFERS = [None, b"bytes", bytearray(b"bytes"), 1, Buffer]
NOT_FILES: list[tuple[object, type[Exception]]] = [
    (None, TypeError),
    ("name", TypeError),
    (True, TypeError),
    (1.0, TypeError),
    (Answers("1"), TypeError),
    (Answers(None), TypeError),
    (-1, ValueError),
    (Answers(-1), ValueError),
    (2**31, ValueError),
    (2**64, ValueError),
]

BYTES_IN: dict[str, Callable[[Buffer, Any], object]] = {
    "write": lambda b, x: b.write(x),
    "writelines": lambda b, x: b.writelines([x, b"after"]),
    "prepend": lambda b, x: b.prepend(x),
    "add_reference": lambda b, x: b.add_reference(x),
    "search": lambda b, x: b.search(x),
    "Buffer": lambda b, x: Buffer(x),
}
SIZES_IN: dict[str, Callable[[Buffer, Any], object]] = {
    "read": lambda b, x: b.read(x),
    "drain": lambda b, x: b.drain(x),
    "remove_buffer": lambda b, x: b.remove_buffer(Buffer(), x),
    "copyout": lambda b, x: b.copyout(x),
    "peek": lambda b, x: b.peek(x).__enter__(),
    "pullup": lambda b, x: b.pullup(x),
    "write_to": lambda b, x: b.write_to(1, x),
}
COUNTS_IN: dict[str, Callable[[Buffer, Any], object]] = {
    "expand": lambda b, x: b.expand(x),
    "reserve": lambda b, x: b.reserve(x).__enter__(),
    "vectors of reserve": lambda b, x: b.reserve(1, x).__enter__(),
    "start of copyout": lambda b, x: b.copyout(1, x),
    "start of peek": lambda b, x: b.peek(1, x).__enter__(),
    "start of search": lambda b, x: b.search(b"a", x),
    "start of search_eol": lambda b, x: b.search_eol(EOLStyle.LF, x),
}
BUFFERS_IN: dict[str, Callable[[Buffer, Any], object]] = {
    "add_buffer": lambda b, x: b.add_buffer(x),
    "prepend_buffer": lambda b, x: b.prepend_buffer(x),
    "add_buffer_reference": lambda b, x: b.add_buffer_reference(x),
    "remove_buffer": lambda b, x: b.remove_buffer(x),
}
FILES_IN: dict[str, Callable[[Buffer, Any], object]] = {
    "read_from": lambda b, x: b.read_from(x),
    "write_to": lambda b, x: b.write_to(x),
    "add_file": lambda b, x: b.add_file(x),
}


@pytest.fixture
def buffer() -> Iterator[Buffer]:
    """A buffer that must be the same after the test, and whose callbacks must have kept quiet."""
    told: list[object] = []
    before = len(news.lent)
    with Buffer(HELD) as buffer:
        entry = buffer.add_callback(lambda buffer, change: told.append(change))
        yield buffer
        assert contents(buffer) == HELD
        assert told == []
        assert len(news.lent) == before
        buffer.write(b"!")
        buffer.prepend(b"!")
        entry.remove()
        assert contents(buffer) == b"!" + HELD + b"!"
        assert len(told) == 2


@pytest.mark.parametrize("name", BYTES_IN)
@pytest.mark.parametrize("data", NOT_BYTES, ids=named)
def test_not_bytes_like(buffer: Buffer, name: str, data: object) -> None:
    with pytest.raises((TypeError, ValueError, BufferError)):
        BYTES_IN[name](buffer, data)


@pytest.mark.parametrize("name", SIZES_IN)
@pytest.mark.parametrize(("size", "error"), NOT_SIZES)
def test_not_a_size(buffer: Buffer, name: str, size: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        SIZES_IN[name](buffer, size)


@pytest.mark.parametrize("name", COUNTS_IN)
@pytest.mark.parametrize(("size", "error"), NOT_COUNTS)
def test_not_a_count(buffer: Buffer, name: str, size: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        COUNTS_IN[name](buffer, size)


@pytest.mark.parametrize("name", BUFFERS_IN)
@pytest.mark.parametrize("other", NOT_BUFFERS, ids=named)
def test_not_a_buffer(buffer: Buffer, name: str, other: object) -> None:
    with pytest.raises(TypeError, match="other must be a Buffer"):
        BUFFERS_IN[name](buffer, other)


@pytest.mark.parametrize("name", BUFFERS_IN)
def test_a_closed_buffer_as_an_argument(buffer: Buffer, name: str) -> None:
    other = Buffer(b"other")
    other.close()
    with pytest.raises(ev.ClosedError):
        BUFFERS_IN[name](buffer, other)


@pytest.mark.parametrize("name", BUFFERS_IN)
def test_a_buffer_as_its_own_argument(buffer: Buffer, name: str) -> None:
    with pytest.raises(ValueError, match="onto itself"):
        BUFFERS_IN[name](buffer, buffer)


@pytest.mark.parametrize("name", FILES_IN)
@pytest.mark.parametrize(("file", "error"), NOT_FILES)
def test_not_a_descriptor(buffer: Buffer, name: str, file: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        FILES_IN[name](buffer, file)


@pytest.mark.parametrize("name", FILES_IN)
def test_a_descriptor_that_is_not_open(buffer: Buffer, name: str) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        FILES_IN[name](buffer, 2**31 - 1)


def test_descriptors_that_have_or_take_nothing(buffer: Buffer) -> None:
    with socket_pair() as (near, far):
        with pytest.raises(BlockingIOError):
            buffer.read_from(far)
        assert buffer.read_from(far, 0) == 0
        assert buffer.write_to(near, 0) == 0
        far.close()
        assert buffer.read_from(near) == 0
        with pytest.raises(BrokenPipeError):
            buffer.write_to(near)


@pytest.mark.parametrize("size", [-2, 2**31, None, 1.5, True])
def test_sizes_of_read_from(buffer: Buffer, size: Any) -> None:
    with socket_pair() as (near, far):
        near.send(b"kept")
        with pytest.raises((TypeError, ValueError)):
            buffer.read_from(far, size)
        assert far.recv(10) == b"kept"


@pytest.mark.parametrize("target", [b"read-only", memoryview(b"read-only"), None, 1, "text", memoryview(bytearray(6))[::2]])
def test_targets_of_read_into(buffer: Buffer, target: Any) -> None:
    with pytest.raises((TypeError, ValueError, BufferError)):
        buffer.read_into(target)


@pytest.mark.parametrize("style", [None, "LF", -1, 5, 1.5, b"\n", [], EOLStyle])
def test_not_a_style(buffer: Buffer, style: Any) -> None:
    for call in (buffer.readline, buffer.search_eol):
        with pytest.raises((TypeError, ValueError)):
            call(style)


MOST = TOO_BIG // 2


@pytest.mark.parametrize(
    ("offset", "length"),
    [(8, None), (0, 8), (7, 1), (4, 4), (MOST, None), (1, MOST), (-1, None), (0, -2), (0.5, 1)],
)
def test_parts_beyond_the_file(buffer: Buffer, tmp_path: Path, offset: Any, length: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"7 bytes")
    with path.open("rb") as file:
        with pytest.raises((TypeError, ValueError)):
            buffer.add_file(file, offset, length)
        with FileSegment(file) as segment, pytest.raises((TypeError, ValueError)):
            buffer.add_file_segment(segment, offset, length)


def test_what_is_not_a_file_or_a_segment(buffer: Buffer) -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek"):
            buffer.add_file(reading)
    finally:
        os.close(reading)
        os.close(writing)
    for segment in (None, b"bytes", 1, buffer):
        with pytest.raises(TypeError, match="segment must be a FileSegment"):
            buffer.add_file_segment(segment)  # type: ignore[arg-type]


def test_a_closed_segment(buffer: Buffer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"7 bytes")
    with path.open("rb") as file:
        segment = FileSegment(file)
    segment.close()
    with pytest.raises(ev.ClosedError, match="closed"):
        buffer.add_file_segment(segment)


@pytest.mark.parametrize("size", [-1, 2**20, None, 1.5, True])
def test_sizes_of_commit(buffer: Buffer, size: Any) -> None:
    with buffer.reserve(10) as space, pytest.raises((TypeError, ValueError)):
        space.commit(size)


def test_vectors_of_reserve(buffer: Buffer) -> None:
    for size, vectors in ((0, 2), (10, 0), (10, 17)):
        with pytest.raises(ValueError, match="must be from"):
            buffer.reserve(size, vectors)


@pytest.mark.parametrize("callback", [None, 1, "name"])
def test_not_a_callback(buffer: Buffer, callback: Any) -> None:
    with pytest.raises(TypeError):
        buffer.add_callback(callback)


def test_not_a_release_callback_or_a_base(buffer: Buffer) -> None:
    with pytest.raises(TypeError, match="on_release must be callable"):
        buffer.add_reference(b"data", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="base must be an EventBase"):
        buffer.defer_callbacks(1)  # type: ignore[arg-type]
    assert buffer.remove_callback(print) is False


@pytest.mark.parametrize("method", ["freeze", "unfreeze"])
def test_ends_are_named(buffer: Buffer, method: str) -> None:
    with pytest.raises(TypeError):
        getattr(buffer, method)()
    with pytest.raises(TypeError):
        getattr(buffer, method)(True)


def test_lines_up_to_the_one_that_is_none() -> None:
    """writelines() is as many writes: those before the wrong one are done."""
    buffer = Buffer()
    with pytest.raises(TypeError):
        buffer.writelines([b"one", None, b"two"])  # type: ignore[list-item]
    assert contents(buffer) == b"one"


def test_bytes_of_other_shapes_are_taken_as_they_lie_in_memory() -> None:
    numbers = array.array("H", [1, 2, 3])
    buffer = Buffer(numbers)
    assert buffer.write(numbers) == 6
    assert contents(buffer) == numbers.tobytes() * 2
    target = array.array("H", [0, 0, 0])
    assert buffer.read_into(target) == 6
    assert target == numbers
