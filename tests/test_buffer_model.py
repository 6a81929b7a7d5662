"""Any list of operations on several buffers does what it does to as many bytearrays."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pylibevent import Buffer, BufferChange, EOLStyle, FileSegment

N = 3
BUFFERS = st.integers(0, N - 1)
SHORT = st.lists(st.sampled_from([b"a", b"b", b"\r", b"\n", b"\0", b"\r\n", b"ab"]), max_size=12).map(b"".join)
LONG = st.builds(lambda part, times: (part or b"x") * times, SHORT, st.integers(1, 3000))
DATA = st.one_of(SHORT, SHORT, LONG)
SIZES = st.one_of(st.none(), st.just(-1), st.integers(0, 20), st.integers(0, 40_000))
PLACES = st.one_of(st.integers(0, 20), st.integers(0, 40_000))
STYLES = st.sampled_from(list(EOLStyle))
EOLS = {
    EOLStyle.ANY: re.compile(rb"[\r\n]+"),
    EOLStyle.CRLF: re.compile(rb"\r?\n"),
    EOLStyle.CRLF_STRICT: re.compile(rb"\r\n"),
    EOLStyle.LF: re.compile(rb"\n"),
    EOLStyle.NUL: re.compile(rb"\0"),
}
Done = Callable[[], None]
FILE = bytes(range(256)) * 64


def up_to(size: int | None, there: int) -> int:
    return there if size is None or size < 0 else min(size, there)


class Side:
    """A buffer, and what it must hold."""

    def __init__(self) -> None:
        self.buffer = Buffer()
        self.bytes = bytearray()
        self.changes: list[BufferChange] = []
        self.told = 0
        self.shares = False
        """It may hold bytes that can't be shared once more: parts of files, and of other buffers."""
        self.start_frozen = self.end_frozen = False
        self.buffer.add_callback(lambda buffer, change: self.changes.append(change))


class Buffers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sides = [Side() for _ in range(N)]
        self.lent: list[tuple[bytearray, list[int]]] = []
        with tempfile.TemporaryFile() as file:
            file.write(FILE)
            file.flush()
            self.segment = FileSegment(file, 100, 16_000)

    @contextmanager
    def changing(self, side: Side, *, start: bool = False, end: bool = False, source: Side | None = None) -> Iterator[Done]:
        """A change at these ends, and at the start of a source: refused if one is frozen. The block says when it is done."""
        done: list[int] = []
        source_frozen = source is not None and source.start_frozen
        if (start and side.start_frozen) or (end and side.end_frozen) or source_frozen:
            with pytest.raises(BufferError):
                yield lambda: done.append(1)
            assert not done
        else:
            yield lambda: done.append(1)
            assert done

    # ------------------------------------------------------------ adding

    @rule(i=BUFFERS, data=DATA, kind=st.sampled_from([bytes, bytearray, memoryview]))
    def write(self, i: int, data: bytes, kind: Any) -> None:
        side = self.sides[i]
        with self.changing(side, end=True) as done:
            assert side.buffer.write(kind(data)) == len(data)
            done()
            side.bytes += data

    @rule(i=BUFFERS, data=DATA)
    def prepend(self, i: int, data: bytes) -> None:
        side = self.sides[i]
        with self.changing(side, start=True) as done:
            assert side.buffer.prepend(data) == len(data)
            done()
            side.bytes[:0] = data

    @rule(i=BUFFERS, data=DATA)
    def add_reference(self, i: int, data: bytes) -> None:
        side, lent, released = self.sides[i], bytearray(data), []
        with self.changing(side, end=True) as done:
            assert side.buffer.add_reference(lent, lambda: released.append(1)) == len(data)
            done()
            self.lent.append((lent, released))
            side.bytes += data

    @rule(i=BUFFERS, offset=st.integers(0, 16_000), size=SIZES)
    def add_file_segment(self, i: int, offset: int, size: int | None) -> None:
        side = self.sides[i]
        there = len(self.segment) - offset
        with self.changing(side, end=True) as done:
            n = up_to(size, there)
            assert side.buffer.add_file_segment(self.segment, offset, None if size is None else n) == n
            done()
            side.bytes += FILE[100 + offset : 100 + offset + n]
            side.shares = True

    @rule(i=BUFFERS, size=st.integers(1, 9000), vectors=st.integers(1, 16), used=st.integers(0, 9000), data=SHORT)
    def reserve(self, i: int, size: int, vectors: int, used: int, data: bytes) -> None:
        side = self.sides[i]
        filling = (data or b"r") * 9000
        with self.changing(side, end=True) as done:
            with side.buffer.reserve(size, vectors) as space:
                assert 1 <= len(space.views) <= vectors
                assert sum(map(len, space.views)) >= size
                at = 0
                for view in space.views:
                    part = filling[at : at + len(view)]
                    view[: len(part)] = part
                    at += len(part)
                n = min(used, size)
                space.commit(n)
            done()
            side.bytes += filling[:n]

    @rule(i=BUFFERS, size=st.integers(0, 9000))
    def expand(self, i: int, size: int) -> None:
        with self.changing(self.sides[i], end=True) as done:
            self.sides[i].buffer.expand(size)
            done()

    # ------------------------------------------------------------ taking

    @rule(i=BUFFERS, size=SIZES)
    def drain(self, i: int, size: int | None) -> None:
        side = self.sides[i]
        with self.changing(side, start=True) as done:
            side.buffer.drain(size)
            done()
            del side.bytes[: up_to(size, len(side.bytes))]

    @rule(i=BUFFERS, size=SIZES)
    def read(self, i: int, size: int | None) -> None:
        side = self.sides[i]
        n = up_to(size, len(side.bytes))
        with self.changing(side, start=True) as done:
            assert side.buffer.read(size) == side.bytes[:n]
            done()
            del side.bytes[:n]

    @rule(i=BUFFERS, size=st.integers(0, 9000))
    def read_into(self, i: int, size: int) -> None:
        side, target = self.sides[i], bytearray(b"?" * size)
        with self.changing(side, start=True) as done:
            n = side.buffer.read_into(target)
            done()
            assert n == min(size, len(side.bytes))
            assert target == side.bytes[:n] + b"?" * (size - n)
            del side.bytes[:n]

    @rule(i=BUFFERS, style=STYLES)
    def readline(self, i: int, style: EOLStyle) -> None:
        side = self.sides[i]
        end = EOLS[style].search(side.bytes)
        with self.changing(side, start=True) as done:
            line = side.buffer.readline(style)
            done()
            assert line == (side.bytes[: end.start()] if end else None)
            if end:
                del side.bytes[: end.end()]

    # ------------------------------------------------------------ two buffers

    @rule(i=BUFFERS, by=st.integers(1, N - 1))
    def add_buffer(self, i: int, by: int) -> None:
        side, other = self.sides[i], self.sides[(i + by) % N]
        with self.changing(side, end=True, source=other) as done:
            side.buffer.add_buffer(other.buffer)
            done()
            self.moved(other, side, len(other.bytes))

    @rule(i=BUFFERS, by=st.integers(1, N - 1))
    def prepend_buffer(self, i: int, by: int) -> None:
        side, other = self.sides[i], self.sides[(i + by) % N]
        with self.changing(side, start=True, source=other) as done:
            side.buffer.prepend_buffer(other.buffer)
            done()
            side.bytes[:0], other.bytes = other.bytes, bytearray()
            side.shares |= other.shares

    @rule(i=BUFFERS, by=st.integers(1, N - 1), size=SIZES)
    def remove_buffer(self, i: int, by: int, size: int | None) -> None:
        side, other = self.sides[i], self.sides[(i + by) % N]
        n = up_to(size, len(other.bytes))
        with self.changing(side, end=True, source=other) as done:
            assert other.buffer.remove_buffer(side.buffer, size) == n
            done()
            self.moved(other, side, n)

    def moved(self, source: Side, destination: Side, n: int) -> None:
        destination.bytes += source.bytes[:n]
        del source.bytes[:n]
        destination.shares |= source.shares

    @rule(i=BUFFERS, by=st.integers(1, N - 1))
    def add_buffer_reference(self, i: int, by: int) -> None:
        side, other = self.sides[i], self.sides[(i + by) % N]
        with self.changing(side, end=True) as done:
            try:
                side.buffer.add_buffer_reference(other.buffer)
            except ValueError:
                assert other.shares
            else:
                side.bytes += other.bytes
                side.shares |= bool(other.bytes)
            done()

    # ------------------------------------------------------------ looking

    @rule(i=BUFFERS, size=SIZES, start=PLACES)
    def look(self, i: int, size: int | None, start: int) -> None:
        side = self.sides[i]
        n = up_to(size, max(len(side.bytes) - start, 0))
        assert side.buffer.copyout(size, start) == side.bytes[start : start + n]
        with side.buffer.peek(size, start) as views:
            assert b"".join(views) == side.bytes[start : start + n]

    @rule(i=BUFFERS, size=SIZES)
    def pullup(self, i: int, size: int | None) -> None:
        side = self.sides[i]
        with self.changing(side, start=True) as done:
            side.buffer.pullup(size)
            done()
            assert side.buffer.contiguous >= up_to(size, len(side.bytes))

    @rule(i=BUFFERS, what=SHORT, start=PLACES, end=st.one_of(st.none(), PLACES))
    def search(self, i: int, what: bytes, start: int, end: int | None) -> None:
        side = self.sides[i]
        found = side.bytes.find(what, start, len(side.bytes) if end is None else end)
        assert side.buffer.search(what, start, end) == (None if found < 0 else found)

    @rule(i=BUFFERS, style=STYLES, start=PLACES)
    def search_eol(self, i: int, style: EOLStyle, start: int) -> None:
        side = self.sides[i]
        found = EOLS[style].search(side.bytes, start)
        assert side.buffer.search_eol(style, start) == (None if found is None else (found.start(), len(found[0])))

    # ------------------------------------------------------------ the rest

    @rule(i=BUFFERS, start=st.booleans(), on=st.sampled_from([True, False, False, False]))
    def freeze(self, i: int, start: bool, on: bool) -> None:
        side = self.sides[i]
        (side.buffer.freeze if on else side.buffer.unfreeze)(start=start)
        if start:
            side.start_frozen = on
        else:
            side.end_frozen = on

    @rule(i=BUFFERS)
    def replace(self, i: int) -> None:
        self.sides[i].buffer.close()
        self.sides[i] = Side()

    @invariant()
    def all_are_equal(self) -> None:
        for side in self.sides:
            assert len(side.buffer) == len(side.bytes)
            assert bool(side.buffer) == bool(side.bytes)
            assert bytes(side.buffer) == side.bytes
            side.shares = side.shares and bool(side.bytes)

    @invariant()
    def changes_are_told_in_order(self) -> None:
        for side in self.sides:
            for change in side.changes:
                assert change.orig_size == side.told
                assert change.added + change.deleted > 0
                side.told += change.added - change.deleted
            side.changes.clear()
            assert side.told == len(side.bytes)

    @invariant()
    def references_are_released_once(self) -> None:
        assert all(len(released) <= 1 for _, released in self.lent)

    def teardown(self) -> None:
        for side in self.sides:
            side.buffer.close()
        self.segment.close()
        assert all(released == [1] for _, released in self.lent)
        for data, _ in self.lent:
            data.append(1)  # nobody holds its memory any more


def test_buffers_behave_like_bytearrays() -> None:
    run_state_machine_as_test(Buffers, settings=settings(max_examples=120, stateful_step_count=40, deadline=None))
