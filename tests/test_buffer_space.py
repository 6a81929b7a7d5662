"""Room at the end of a buffer, and looks at the bytes where they are."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest
from support import contents

from pylibevent import Buffer
from pylibevent._libevent import ffi


def address(view: memoryview) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(view)))


def fragmented(*parts: bytes) -> Buffer:
    """A buffer with a chain for each part."""
    buffer, part_of = Buffer(), Buffer()
    for part in parts:
        part_of.write(part)
        buffer.add_buffer(part_of)
    return buffer


def looked_at(buffer: Buffer, size: int = -1, start: int = 0) -> list[bytes]:
    with buffer.peek(size, start) as views:
        return [bytes(view) for view in views]


def test_expanding_an_empty_buffer_and_one_with_room_enough() -> None:
    """regress_buffer.c evbuffer/expand: 20000 bytes of room; no more is made, nothing moves, while it lasts."""
    buffer = Buffer()
    buffer.expand(20000)
    assert contents(buffer) == b""
    with buffer.reserve(1) as space:
        (view,) = space.views
        assert len(view) >= 20000
        place = address(view)
        del view
    buffer.write(b"X" * 1024)
    buffer.expand(1024)
    with buffer.peek() as views:
        assert [address(view) for view in views] == [place]
    assert contents(buffer) == b"X" * 1024


def test_expanding_moves_what_stands_at_the_end_of_its_chain() -> None:
    """regress_buffer.c evbuffer/expand: one byte is left in a full chain, and goes to its beginning."""
    buffer = Buffer(b"X" * 400)
    with buffer.reserve(1) as space:
        (view,) = space.views
        place, room = address(view) - 400, len(view)
        del view
    buffer.write(b"X" * (room - 2))
    buffer.write(b"Y")
    buffer.drain(400 + room - 2)
    with buffer.peek() as views:
        assert [address(view) for view in views] == [place + 400 + room - 2]
    buffer.expand(40)
    with buffer.peek() as views:
        assert [address(view) for view in views] == [place]
    assert contents(buffer) == b"Y"


def test_expanding_and_pulling_up() -> None:
    """regress_buffer.c evbuffer/expand: three times 4096 bytes, room, and one stretch."""
    buffer = Buffer()
    for letter in (b"X", b"Y", b"Z"):
        buffer.write(letter * 4096)
    buffer.expand(1024)
    assert contents(buffer) == b"X" * 4096 + b"Y" * 4096 + b"Z" * 4096
    buffer.pullup()
    assert buffer.contiguous == 3 * 4096
    assert contents(buffer) == b"X" * 4096 + b"Y" * 4096 + b"Z" * 4096


@pytest.mark.parametrize(
    ("size", "error"), [(sys.maxsize // 2, MemoryError), (sys.maxsize, ValueError), (2 * sys.maxsize + 1, ValueError)]
)
def test_expanding_beyond_all_memory(size: int, error: type[Exception]) -> None:
    """regress_buffer.c evbuffer/expand_overflow: as much as a chain can have at most, and more; nothing is lost."""
    buffer = Buffer(b"1")
    with pytest.raises(error):
        buffer.expand(size)
    with pytest.raises(error), buffer.reserve(size):
        pass
    buffer.write(b"2")
    assert contents(buffer) == b"12"


def test_reserving_in_two_stretches() -> None:
    """regress_buffer.c evbuffer/reserve2: what isn't used is offered again, at the same place.

    The last step fills the first stretch, where upstream leaves room in it: commit() takes bytes in order.
    """
    buffer = Buffer()
    with buffer.reserve(1024) as space:
        (view,) = space.views
        place, room = address(view), len(view)
        assert room >= 1024
        view[:512] = b"X" * 512
        del view
        space.commit(512)
    assert contents(buffer) == b"X" * 512
    with buffer.reserve(32) as space:
        (view,) = space.views
        assert (address(view), len(view)) == (place + 512, room - 512)
        view[:8] = b"Y" * 8
        del view
        space.commit(8)
    with buffer.reserve(room - 520 + 64) as space:
        first, second = space.views
        assert (address(first), len(first)) == (place + 520, room - 520)
        assert len(second) >= 64
        second_place = address(second)
        first[:1] = b"Z"
        del first, second
        space.commit(1)
    assert len(buffer) == 521
    with buffer.reserve(room - 521 + 64) as space:
        first, second = space.views
        assert (address(first), len(first), address(second)) == (place + 521, room - 521, second_place)
        first[:] = b"W" * len(first)
        second[:60] = b"x" * 60
        space.commit(len(first) + 60)
        del first, second
    assert looked_at(buffer) == [b"X" * 512 + b"Y" * 8 + b"Z" + b"W" * (room - 521), b"x" * 60]
    assert len(contents(buffer)) == room + 60


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="reserve_many"),
        pytest.param("add", id="reserve_many2"),
        pytest.param("fill", id="reserve_many3"),
    ],
)
def test_reserving_more_and_more(before: str) -> None:
    """regress_buffer.c evbuffer/reserve_many, evbuffer/reserve_many2, evbuffer/reserve_many3: nothing in the first chain,
    a byte, or as much as it takes.
    """
    buffer = Buffer()

    def reserve(size: int, vectors: int, fill: int = 0) -> list[tuple[int, int]]:
        with buffer.reserve(size, vectors) as space:
            if fill:
                space.views[0][:fill] = b"X" * fill
                space.commit(fill)
            return [(address(view), len(view)) for view in space.views]

    ((place, room),) = reserve(128, 2)
    assert room >= 128
    if before == "add":
        reserve(128, 2, fill=1)
        place, room = place + 1, room - 1
    elif before == "fill":
        reserve(128, 2, fill=room)
        full = place
        ((place, room),) = reserve(128, 2)
        assert place != full
    first, second = reserve(room + 128, 2)
    assert (first, second[1] >= 128) == ((place, room), True)
    size = first[1] + second[1]
    both = reserve(size + 128, 3)
    assert (len(both), both[:2]) == (3, [first, second])
    again = reserve(sum(length for _, length in both) + 128, 2)
    assert sum(length for _, length in again) >= sum(length for _, length in both) + 128
    if before == "add":
        assert (len(again), again[0]) == (2, first)
    else:
        assert len(again) == 1
    assert set(contents(buffer)) <= {ord("X")}


def test_reserving_and_leaving_a_chain_empty() -> None:
    """regress_buffer.c evbuffer/reserve_with_empty: 4096 bytes in two stretches, of which one byte is used."""
    buffer = Buffer(b"a")
    with buffer.reserve(1 << 12, 2) as space:
        assert len(space.views) == 2
        space.views[0][:1] = b"b"
        space.commit(1)
    buffer.write(b"c")
    buffer.pullup()
    assert contents(buffer) == b"abc"


def test_reserving_after_prepending_to_an_empty_chain() -> None:
    """regress_buffer.c evbuffer/reserve_invalid_last_with_datap: 4096 bytes of which none is used, and 8192."""
    with Buffer() as buffer:
        buffer.add_reference(b"")
        buffer.prepend(b"foo")
        buffer.write(b"")
        with buffer.reserve(1 << 12, 2) as space:
            assert 1 <= len(space.views) <= 2
            space.commit(0)
        with buffer.reserve(1 << 13, 2) as space:
            assert 1 <= len(space.views) <= 2
            assert sum(map(len, space.views)) >= 1 << 13
        buffer.write(b"bar")
        assert contents(buffer) == b"foobar"


@pytest.mark.parametrize("used", [0, 1, 3500, 8144])
def test_reserving_one_span_among_empty_chains(used: int) -> None:
    """It is neither the first chain with room nor the last one."""
    buffer = Buffer(b"x" * 5000)
    for size in (8000, 14_000):
        with buffer.reserve(size, 3):
            pass
    with buffer.reserve(3500, 1) as space:
        assert len(space.views) == 1
        space.views[0][:used] = b"y" * used
        space.commit(used)
    buffer.write(b"z" * 10_000)
    assert contents(buffer) == b"x" * 5000 + b"y" * used + b"z" * 10_000


def test_peeking() -> None:
    """regress_buffer.c evbuffer/peek: sixteen chains, of which some are asked for; libevent's last view isn't cut, ours is."""
    lines = [b"Contents of chunk [%d]\n" % i for i in range(16)]
    buffer = fragmented(*lines)
    assert looked_at(buffer) == lines
    assert looked_at(buffer, 65536) == lines
    assert looked_at(buffer, 40) == [lines[0], lines[1][:18]]
    assert [len(looked_at(buffer, size)) for size in (100, 60, 22, 23, 0)] == [5, 3, 1, 2, 0]
    assert looked_at(Buffer()) == looked_at(Buffer(), 50) == []
    assert looked_at(buffer, 50, 30) == [b" of chunk [1]\n", lines[2], lines[3][:14]]
    assert looked_at(buffer, 44, 44) == [lines[2], lines[3]]
    assert looked_at(buffer, 44, len(buffer)) == []
    assert contents(buffer) == b"".join(lines)


def test_peeking_from_within_the_first_chain() -> None:
    """regress_buffer.c evbuffer/peek_first_gt: from bytes 0 and 20 on, with two bytes and three."""
    lines = [b"Contents of chunk 100\n", b"Contents of chunk 1\n"]
    buffer = fragmented(*lines)
    assert looked_at(buffer) == lines
    assert looked_at(buffer, start=20) == [b"0\n", lines[1]]
    assert looked_at(buffer, 2, 20) == [b"0\n"]
    assert looked_at(buffer, 3, 20) == [b"0\n", b"C"]


def test_nothing_is_committed_by_default_or_after_an_exception() -> None:
    buffer = Buffer(b"before")
    with buffer.reserve(10) as space:
        space.views[0][:4] = b"lost"
    with suppress(KeyError), buffer.reserve(10) as space:
        space.commit(4)
        raise KeyError
    assert space.views == ()
    assert contents(buffer) == b"before"


def test_views_end_with_their_block_and_their_slices_lock_the_buffer() -> None:
    buffer = Buffer(b"before")
    with buffer.peek() as (view,):
        assert view.readonly
        with pytest.raises(BufferError):
            buffer.write(b"!")
        part = view[:3]
    with pytest.raises(ValueError, match="released"):
        bytes(view)
    assert bytes(part) == b"bef"
    with pytest.raises(BufferError):
        buffer.drain()
    with pytest.raises(BufferError):
        buffer.close()
    del part, view
    buffer.write(b" and after")
    assert contents(buffer) == b"before and after"
