"""Ready-made filters on top of each other, without bufferevents: what one gives the next takes."""

from __future__ import annotations

import random
from typing import Any

from filter_steps import pump
from hypothesis import given
from hypothesis import strategies as st

from pylibevent import Buffer, FilterResult, FlushMode
from pylibevent.filters import LengthPrefix, gzip_filter, length_prefix_filter, zlib_filter, zstd_filter

FORMAT = LengthPrefix(2)
LAYERS = [zlib_filter, gzip_filter, zstd_filter, lambda: length_prefix_filter(FORMAT)]


def pass_through(source: Buffer, destination: Buffer, mark: int | None) -> None:
    """What a bufferevent does that has no filter for this direction."""
    source.remove_buffer(destination, -1 if mark is None else max(mark - len(destination), 0))


class Stack:
    """Filters for one direction, with a buffer before each, after the last, and a mark for each of them."""

    def __init__(self, filters: list[Any], marks: list[int | None]) -> None:
        self.filters = filters
        self.marks = marks
        self.buffers = [Buffer() for _ in range(len(filters) + 1)]

    def run(self, mode: FlushMode = FlushMode.NORMAL) -> None:
        before = None
        while before != (before := [len(buffer) for buffer in self.buffers]):
            for i, (filter, mark) in enumerate(zip(self.filters, self.marks, strict=True)):
                source, destination = self.buffers[i : i + 2]
                room = mark if mode is FlushMode.NORMAL else None
                if filter is None:
                    pass_through(source, destination, room)
                else:
                    assert pump(filter, source, destination, room, mode) is not FilterResult.ERROR, filter.error


@given(
    layers=st.lists(st.sampled_from(LAYERS), min_size=1, max_size=4),
    sizes=st.lists(st.one_of(st.integers(0, 20), st.integers(0, 3000))),
    marks=st.lists(st.one_of(st.none(), st.integers(3002, 10_000)), min_size=8, max_size=8),
    chance=st.randoms(use_true_random=False),
)
def test_any_stack_gives_every_byte_once_and_in_order(
    layers: list[Any], sizes: list[int], marks: list[int | None], chance: random.Random
) -> None:
    """Length prefixes are only packed at the top: below, compressed bytes have none."""
    layers = [layer for i, layer in enumerate(layers) if i == 0 or layer is not LAYERS[-1]]
    pairs = [layer() for layer in layers]
    outgoing = Stack([output for _, output in pairs], marks[: len(pairs)])
    incoming = Stack([input for input, _ in reversed(pairs)], marks[4 : 4 + len(pairs)])
    messages = [chance.randbytes(size) if chance.random() < 0.5 else bytes(size) for size in sizes]
    written, got, sent = b"".join(map(FORMAT.pack, messages)), b"", outgoing.buffers[-1]
    rest = memoryview(written)
    while rest:
        n = chance.choice([1, 100, 4000])
        outgoing.buffers[0].write(rest[:n])
        rest = rest[n:]
        outgoing.run(chance.choice([FlushMode.NORMAL, FlushMode.FLUSH]))
        sent.remove_buffer(incoming.buffers[0], chance.choice([0, 1, 100, -1]))
        incoming.run()
        got += incoming.buffers[-1].read()
    outgoing.run(FlushMode.FINISHED)
    sent.remove_buffer(incoming.buffers[0])
    incoming.run(FlushMode.FINISHED)
    got += incoming.buffers[-1].read()
    assert got == written
    assert not any(map(len, outgoing.buffers + incoming.buffers))
