"""Parts of files in buffers, at the edges: nothing beyond the end, files that change, descriptors that go, sizes."""

from __future__ import annotations

import copy
import os
import pickle
import random
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from support import check_child, contents, descriptors, run_until, socket_pair

import pylibevent as ev
from pylibevent import Buffer, FileSegment

DATA = bytes(range(256)) * 40


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(DATA)
        file.seek(17)
        yield file


PARTS = [(0, None), (0, -1), (0, 0), (0, 1), (1, None), (5000, 100), (len(DATA), None), (len(DATA), 0), (len(DATA) - 1, 1)]


@pytest.mark.parametrize(("offset", "length"), PARTS)
def test_parts_of_a_file(file: IO[bytes], offset: int, length: int | None) -> None:
    end = len(DATA) if length is None or length < 0 else offset + length
    buffer = Buffer(b"<")
    with FileSegment(file, offset, length) as segment:
        assert len(segment) == end - offset
        assert buffer.add_file_segment(segment) == end - offset
        assert buffer.add_file(file, offset, length) == end - offset
    buffer.write(b">")
    assert contents(buffer) == b"<" + DATA[offset:end] * 2 + b">"
    buffer.close()
    assert file.tell() == 17, "the position in the file is the caller's"


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, len(DATA) + 1),
        (1, len(DATA)),
        (len(DATA), 1),
        (len(DATA) + 1, None),
        (len(DATA) + 1, 0),
        (2**40, None),
        (2**61, 2**60),
        (0, 2**61),
    ],
)
def test_nothing_beyond_the_end_of_the_file(file: IO[bytes], offset: int, length: int | None) -> None:
    released: list[int] = []
    with pytest.raises(ValueError, match="beyond the end"):
        FileSegment(file, offset, length, on_release=lambda: released.append(1))
    buffer = Buffer(b"before")
    with pytest.raises(ValueError, match="beyond the end"):
        buffer.add_file(file, offset, length)
    assert contents(buffer) == b"before"
    assert released == []


@pytest.mark.parametrize(("offset", "length"), [(0, 101), (100, 1), (101, None), (50, 51), (2**61, None), (99, 2**61)])
def test_nothing_beyond_the_end_of_the_segment(file: IO[bytes], offset: int, length: int | None) -> None:
    buffer = Buffer(b"before")
    with FileSegment(file, 100, 100) as segment:
        with pytest.raises(ValueError, match="beyond the end"):
            buffer.add_file_segment(segment, offset, length)
        assert contents(buffer) == b"before"
        assert buffer.add_file_segment(segment, 99) == 1
    assert buffer.read() == b"before" + DATA[199:200]


def test_an_empty_file_and_empty_parts() -> None:
    released: list[int] = []
    buffer = Buffer(b"before")
    with tempfile.TemporaryFile() as empty:
        assert buffer.add_file(empty) == 0
        with FileSegment(empty, on_release=lambda: released.append(1)) as segment:
            assert len(segment) == 0
            assert buffer.add_file_segment(segment) == 0
            assert buffer.add_file_segment(segment, 0, 0) == 0
            with pytest.raises(ValueError, match="beyond the end"):
                buffer.add_file_segment(segment, 0, 1)
        assert released == [1]
    assert contents(buffer) == b"before"


CHANGES = {
    "truncated": lambda file: os.ftruncate(file.fileno(), 0),
    "shorter": lambda file: os.ftruncate(file.fileno(), 3000),
    "overwritten": lambda file: os.pwrite(file.fileno(), b"!" * len(DATA), 0),
    "closed": lambda file: file.close(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_read_stays_as_it_was(file: IO[bytes], change: Any) -> None:
    buffer, later = Buffer(), Buffer()
    buffer.add_file(file, 0, 9000)
    with FileSegment(file, 100) as segment:
        change(file)
        later.add_file_segment(segment, 50, 5000)
    assert contents(buffer) == DATA[:9000]
    assert buffer.search(DATA[8000:8100]) == DATA.find(DATA[8000:8100])
    buffer.pullup()
    assert buffer.read() == DATA[:9000]
    assert later.read() == DATA[150:5150]


def test_the_descriptor_stays_the_callers(file: IO[bytes]) -> None:
    before = descriptors()
    buffer = Buffer()
    for _ in range(20):
        buffer.add_file(file.fileno())
        FileSegment(file).close()
    assert descriptors() == before
    buffer.close()
    os.fstat(file.fileno())


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "device", "null"])
def test_what_is_not_a_regular_file(kind: str, tmp_path: Path) -> None:
    buffer = Buffer(b"before")
    with socket_pair() as (one, _):
        pipe = os.pipe()
        opened = {
            "directory": os.open(tmp_path, os.O_RDONLY),
            "device": os.open("/dev/zero", os.O_RDONLY),
            "null": os.open(os.devnull, os.O_RDONLY),
            "pipe": pipe[0],
        }
        with pytest.raises(OSError, match="Illegal seek"):
            buffer.add_file(opened.get(kind, one))
        for fd in (*opened.values(), pipe[1]):
            os.close(fd)
    assert contents(buffer) == b"before"


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    fd = os.open(path, os.O_WRONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        FileSegment(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        FileSegment(fd)


def test_offsets_beyond_4_gib() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        os.pwrite(file.fileno(), b"far away", 5 * 2**30)
        buffer = Buffer()
        assert buffer.add_file(file, 5 * 2**30) == 8
        with FileSegment(file, 5 * 2**30 - 4, 8) as segment:
            assert buffer.add_file_segment(segment, 2, 4) == 4
    assert buffer.read() == b"far away\0\0fa"


def test_a_file_larger_than_memory() -> None:
    """What can't be read into memory raises MemoryError, or OSError; the process goes on."""
    code = """
    import os, resource, tempfile
    import pylibevent as ev

    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    buffer = ev.Buffer(b"before")
    with tempfile.TemporaryFile() as file:
        file.truncate(2**40)
        for length in (None, 2**40, 2**33):
            try:
                buffer.add_file(file, 0, length)
            except (MemoryError, OSError) as error:
                print(type(error).__name__)
        assert buffer.add_file(file, 2**40 - 3) == 3
    assert buffer.read() == b"before\\0\\0\\0"
    """
    assert check_child(textwrap.dedent(code)).split() == ["MemoryError"] * 3


def test_many_megabytes(rng: random.Random) -> None:
    data = rng.randbytes(20_000_000)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        buffer = Buffer()
        with FileSegment(file) as segment:
            for start in range(0, len(data), 1_000_003):
                buffer.add_file_segment(segment, start, min(1_000_003, len(data) - start))
    assert buffer.read() == data


def test_a_segment_outlives_its_file_and_its_name(file: IO[bytes]) -> None:
    released: list[int] = []
    buffer = Buffer()
    segment = FileSegment(file, on_release=lambda: released.append(1))
    file.close()
    for n in range(100):
        buffer.add_file_segment(segment, n, 10)
    del segment
    assert buffer.read(990) == b"".join(DATA[n : n + 10] for n in range(99))
    assert released == []
    assert buffer.read() == DATA[99:109]
    assert released == [1]


def test_closing_is_idempotent_and_ends_the_use(file: IO[bytes]) -> None:
    released: list[int] = []
    segment = FileSegment(file, on_release=lambda: released.append(1))
    for _ in range(3):
        segment.close()
    assert released == [1]
    assert repr(segment) == f"<FileSegment {len(DATA)} bytes, closed>"
    with pytest.raises(ev.ClosedError):
        Buffer().add_file_segment(segment)


def test_a_segment_is_made_once(file: IO[bytes]) -> None:
    segment = FileSegment(file)
    with pytest.raises(RuntimeError, match="initialised already"):
        segment.__init__(file)  # type: ignore[misc]
    segment.close()


def test_half_a_segment_says_so() -> None:
    half = FileSegment.__new__(FileSegment)
    for use in (half.close, half.__len__, lambda: repr(half), lambda: Buffer().add_file_segment(half)):
        with pytest.raises(ev.Error, match="is not initialised"):
            use()


def test_a_segment_is_not_copied(file: IO[bytes]) -> None:
    with FileSegment(file) as segment:
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot copy or pickle"):
                attempt(segment)


def test_parts_of_files_are_not_shared_once_more(file: IO[bytes]) -> None:
    source, copy = Buffer(b"text"), Buffer(b"before")
    source.add_file(file, 0, 100)
    with pytest.raises(ValueError, match="not a value that libevent takes here"):
        copy.add_buffer_reference(source)
    assert contents(source) == b"text" + DATA[:100]
    assert contents(copy) == b"before"
    copy.add_buffer(source)
    assert copy.read() == b"beforetext" + DATA[:100]


def test_a_file_through_a_bufferevent_and_what_it_was_moved_to(base: ev.EventBase, file: IO[bytes]) -> None:
    """The output of a socket bufferevent takes a file as any buffer does, and no byte of other memory."""
    read = bytearray()
    with (
        socket_pair() as (one, other),
        ev.SocketBufferEvent(base, one.detach()) as bev,
        base.event(
            other, ev.EventFlag.READ | ev.EventFlag.PERSIST, lambda event, what: read.extend(other.recv(1 << 20))
        ) as event,
    ):
        event.add()
        bev.output.add_file(file, 100)
        bev.output.write(b"|")
        assert bytes(bev.output) == DATA[100:] + b"|"
        moved = Buffer()
        moved.add_file(file, 200)
        bev.write_buffer(moved)
        assert not moved
        expected = DATA[100:] + b"|" + DATA[200:]
        run_until(base, lambda: len(read) >= len(expected))
        assert read == expected


def test_writing_a_part_of_a_file_to_a_descriptor(file: IO[bytes]) -> None:
    buffer = Buffer()
    buffer.add_file(file, 0, 3000)
    with tempfile.TemporaryFile(buffering=0) as out:
        assert buffer.write_to(out, 1000) == 1000
        assert buffer.write_to(out) == 2000
        out.seek(0)
        assert out.read() == DATA[:3000]


def test_random_parts(file: IO[bytes], rng: random.Random) -> None:
    buffer, expected = Buffer(), bytearray()
    for _ in range(300):
        a, b = sorted(rng.randrange(len(DATA) + 1) for _ in range(2))
        with FileSegment(file, a, b - a) as segment:
            c, d = sorted(rng.randrange(b - a + 1) for _ in range(2))
            assert buffer.add_file_segment(segment, c, d - c) == d - c
        expected += DATA[a + c : a + d]
        n = rng.randrange(5000)
        assert buffer.read(n) == expected[:n]
        del expected[:n]
    assert buffer.read() == expected
