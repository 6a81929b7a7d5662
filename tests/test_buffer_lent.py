"""What buffers hold without a copy: references, other buffers' bytes, parts of files."""

from __future__ import annotations

import os
import random
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from support import contents, run_until, socket_pair

import pylibevent as ev
from pylibevent import Buffer, FileSegment

KNUTH = (b"If you have found the answer to such a problem", b"you ought to write it up for publication")
# What libevent allocates for the smallest chain, less the chain's own head and ten bytes.
NEARLY_A_CHAIN = 512 - 48 - 10
SMALL = b"here is a relatively small string."
BIG = random.Random(123456789).randbytes(1024 * 512)


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "file"
        path.write_bytes(data)
        return path

    return write


def test_a_reference_is_released_when_it_was_read() -> None:
    """regress_buffer.c evbuffer/reference: read in two parts, with a prepend between them, into reserved memory."""
    data, released = b"this is what we add as read-only memory.", []
    src, dst = Buffer(), Buffer()
    assert src.add_reference(data, lambda: released.append(data)) == len(data)
    with dst.reserve(len(data), 1) as space:
        (view,) = space.views
        assert src.read_into(view[:10]) == 10
        src.prepend(b"aaaaa")
        src.drain(5)
        assert released == []
        assert src.read_into(view[10 : len(data)]) == len(data) - 10
        del view
        space.commit(len(data))
    assert released == [data]
    dst.pullup(len(data))
    assert contents(dst) == data == b"this is what we add as read-only memory."


def test_a_reference_between_copies() -> None:
    """regress_buffer.c evbuffer/reference2: nearly a chain, room for a hundred, a reference, and a byte."""
    with Buffer(b"P" * NEARLY_A_CHAIN) as buffer:
        buffer.expand(100)
        buffer.add_reference(b"2")
        buffer.write(b"3")
        assert len(buffer) == NEARLY_A_CHAIN + 2
        buffer.pullup()
        assert contents(buffer) == b"P" * NEARLY_A_CHAIN + b"23"


def test_references() -> None:
    """regress_buffer.c evbuffer/add_reference: drained in parts, moved to another buffer, let go of by closing."""
    one, two, released = Buffer(), Buffer(), []
    one.add_reference(KNUTH[0], lambda: released.append(111))
    one.write(b", ")
    one.add_reference(KNUTH[1], lambda: released.append(222))
    assert len(one) == len(KNUTH[0]) + len(KNUTH[1]) + 2
    assert [one.read(6), one.read(5)] == [b"If you", b" have"]
    assert one.prepend(b"I have ") == 7
    assert KNUTH[0].startswith(b"If you")
    one.drain(7)
    one.drain(len(KNUTH[0]) - 11 - 1)
    assert released == []
    assert one.read(1) == b"m"
    assert released == [111]
    one.drain(6)
    two.write(b"I ")
    two.add_buffer(one)
    assert released == [111]
    assert two.read(16) == b"I ought to write"
    two.drain(len(two))
    assert released == [111, 222]
    one.write(b"You shake and shake the ")
    one.add_reference(b"ketchup bottle", lambda: released.append(3333))
    one.write(b". Nothing comes and then a lot'll.")
    one.close()
    assert released == [111, 222, 3333]


def test_a_reference_keeps_its_object_and_its_size() -> None:
    class Owned(bytearray):
        """A bytearray that can be referred to weakly."""

    data = Owned(b"bytes of ours")
    alive = weakref.ref(data)
    buffer = Buffer()
    buffer.add_reference(data)
    with pytest.raises(BufferError):
        data.append(1)
    data[:5] = b"BYTES"
    del data
    assert alive() is not None
    assert buffer.read() == b"BYTES of ours"
    assert alive() is None


def test_an_empty_reference_is_released_with_its_buffer() -> None:
    released: list[int] = []
    buffer = Buffer()
    assert buffer.add_reference(b"", lambda: released.append(1)) == 0
    buffer.close()
    assert released == [1]


def test_a_refused_reference_is_not_kept() -> None:
    buffer, data, released = Buffer(b"before"), bytearray(b"data"), []
    buffer.freeze(start=False)
    with pytest.raises(BufferError):
        buffer.add_reference(data, lambda: released.append(1))
    data.append(1)
    assert (released, contents(buffer)) == ([], b"before")


def test_what_on_release_raises_comes_out_of_the_operation_that_is_done() -> None:
    def refuse() -> None:
        raise LookupError("released")

    buffer = Buffer()
    buffer.add_reference(b"data", refuse)
    with pytest.raises(LookupError, match="released"):
        buffer.drain()
    assert contents(buffer) == b""


def test_multicast() -> None:
    """regress_buffer.c evbuffer/multicast: two buffers hold the same, each is read and prepended to; one is closed."""
    one, two = Buffer(), Buffer()
    for part in (KNUTH[0], b", ", KNUTH[1]):
        one.write(part)
    assert len(one) == len(KNUTH[0]) + len(KNUTH[1]) + 2
    two.add_buffer_reference(one)
    for destination, source in ((two, two), (one, two)):  # references to references
        with pytest.raises(ValueError, match=r"not a value|onto itself"):
            destination.add_buffer_reference(source)
    assert contents(one) == contents(two) == b", ".join(KNUTH)
    for buffer in (one, two):
        assert [buffer.read(6), buffer.read(5)] == [b"If you", b" have"]
        assert buffer.prepend(b"I have ") == 7
    one.close()
    assert [two.read(6), two.read(6)] == [b"I have", b"  foun"]
    assert contents(two) == b", ".join(KNUTH)[16:]


def test_multicast_and_draining() -> None:
    """regress_buffer.c evbuffer/multicast_drain: the source is emptied first."""
    one, two = Buffer(), Buffer()
    for part in (KNUTH[0], b", ", KNUTH[1]):
        one.write(part)
    two.add_buffer_reference(one)
    assert len(two) == len(KNUTH[0]) + len(KNUTH[1]) + 2
    one.drain(len(one))
    assert contents(two) == b", ".join(KNUTH)
    two.drain(len(two))
    assert (contents(one), contents(two)) == (b"", b"")


def test_pulling_up_one_copy_leaves_the_others_alone() -> None:
    one, two, three = Buffer(b"abc"), Buffer(), Buffer()
    two.add_buffer_reference(one)
    three.add_buffer_reference(one)
    two.write(b"XXX")
    three.write(b"YYY")
    two.pullup()
    three.pullup()
    one.write(b"ZZZ")
    assert (contents(one), contents(two), contents(three)) == (b"abcZZZ", b"abcXXX", b"abcYYY")


def carry(base: ev.EventBase, src: Buffer) -> bytes:
    """Send a buffer through a pair of sockets with two events, and return what arrives."""
    dst, size, written = Buffer(), len(src), []
    with socket_pair() as (near, far):

        def write(event: ev.Event, what: ev.EventFlag) -> None:
            try:
                written.append(src.write_to(near))
            except BlockingIOError:
                return
            if not src:
                event.delete()

        def read(event: ev.Event, what: ev.EventFlag) -> None:
            dst.read_from(far, 1024)

        with (
            base.event(near, ev.EventFlag.WRITE | ev.EventFlag.PERSIST, write) as writing,
            base.event(far, ev.EventFlag.READ | ev.EventFlag.PERSIST, read) as reading,
        ):
            writing.add()
            reading.add()
            run_until(base, lambda: len(dst) >= size)
    assert (sum(written), len(src)) == (size, 0)
    dst.pullup()
    return contents(dst)


@pytest.mark.parametrize("file_closed", [False, True])
@pytest.mark.parametrize(
    ("data", "in_file", "in_segment"),
    [
        pytest.param(SMALL, False, False, id="add_file_linear"),
        pytest.param(BIG, False, False, id="add_big_file_linear"),
        pytest.param(BIG, True, False, id="add_file_offset_linear"),
        pytest.param(BIG, False, True, id="add_file_offset2_linear"),
        pytest.param(BIG, True, True, id="add_file_offset3_linear"),
    ],
)
def test_a_segment_of_a_file_is_sent(
    base: ev.EventBase, file_of: Callable[[bytes], Path], data: bytes, in_file: bool, in_segment: bool, file_closed: bool
) -> None:
    """regress_buffer.c evbuffer/add_file_linear, evbuffer/add_big_file_linear, evbuffer/add_file_offset_linear,
    evbuffer/add_file_offset2_linear, evbuffer/add_file_offset3_linear: all of it, or a half, or a half of a half.
    """
    offset, length = (len(data) // 4 + 1, len(data) // 2 - 1) if in_file else (0, None)
    expected = data[offset:][:length]
    part, size = (len(expected) // 3, len(expected) // 2) if in_segment else (0, None)
    src = Buffer()
    with file_of(data).open("rb") as file:
        segment = FileSegment(file, offset, length)
        assert len(segment) == len(expected)
        if not file_closed:
            assert src.add_file_segment(segment, part, size) == len(expected[part:][:size])
    if file_closed:
        src.add_file_segment(segment, part, size)
    segment.close()
    assert carry(base, src) == expected[part:][:size]


@pytest.mark.parametrize(
    ("data", "in_file"),
    [
        pytest.param(SMALL, False, id="add_file_nosegment"),
        pytest.param(BIG, False, id="add_big_file_nosegment"),
        pytest.param(BIG, True, id="add_file_offset_nosegment"),
    ],
)
def test_a_file_is_sent(base: ev.EventBase, file_of: Callable[[bytes], Path], data: bytes, in_file: bool) -> None:
    """regress_buffer.c evbuffer/add_file_nosegment, evbuffer/add_big_file_nosegment, evbuffer/add_file_offset_nosegment:
    all of it, or a half.
    """
    offset, length = (len(data) // 4 + 1, len(data) // 2 - 1) if in_file else (0, None)
    src = Buffer()
    with file_of(data).open("rb") as file:
        assert src.add_file(file, offset, length) == len(data[offset:][:length])
    assert carry(base, src) == data[offset:][:length]


def test_a_segment_is_released_with_the_last_that_holds_it(file_of: Callable[[bytes], Path]) -> None:
    """regress_buffer.c evbuffer/file_segment_add_cleanup_cb: the segment is closed first, then the buffer."""
    released: list[str] = []
    buffer = Buffer()
    with file_of(b"file_segment_test_file").open("rb") as file:
        segment = FileSegment(file, on_release=lambda: released.append("token"))
    assert len(segment) == 22
    buffer.add_file_segment(segment)
    assert contents(buffer) == b"file_segment_test_file"
    segment.close()
    assert released == []
    buffer.close()
    assert released == ["token"]


def test_one_segment_in_several_buffers(file_of: Callable[[bytes], Path]) -> None:
    one, two, released = Buffer(b"1:"), Buffer(b"2:"), []
    with file_of(SMALL).open("rb") as file, FileSegment(file, 5, 10, on_release=lambda: released.append(1)) as segment:
        for buffer in (one, two, one):
            buffer.add_file_segment(segment, 2, 3)
    assert (one.read(), released) == (b"1:" + SMALL[7:10] * 2, [])
    two.prepend(b"<")
    two.write(b">")
    assert (two.read(), released) == (b"<2:" + SMALL[7:10] + b">", [1])


def test_what_is_sent_is_what_the_file_was(file_of: Callable[[bytes], Path]) -> None:
    """A file that shrinks later neither ends the process nor changes the bytes."""
    path, buffer = file_of(BIG), Buffer()
    with path.open("rb") as file:
        buffer.add_file(file)
    os.truncate(path, 0)
    assert contents(buffer) == BIG
    buffer.close()
