"""Random operations on many buffers, with Python's and C's memory watched: what is freed is overwritten, and nothing grows."""

from __future__ import annotations

import random
import textwrap

import pytest
from support import check_child

SOAK = """
import faulthandler, gc, random, resource, sys, tempfile
import pylibevent as ev
from pylibevent import Buffer
from support import left_over

faulthandler.dump_traceback_later(50, exit=True)
chance = random.Random(int(sys.argv[1]))
size = lambda: chance.choice([0, 1, 10, 100, 1000, 4096, 10_000])
number = 0


def fresh(n):
    "Bytes that no other piece has at the same place."
    global number
    number += 1
    return (b"%08d" % number * (n // 8 + 1))[:n]


class Side:
    def __init__(self):
        self.buffer, self.bytes, self.shares = Buffer(), bytearray(), False
        if chance.random() < 0.5:
            self.told = 0
            self.buffer.add_callback(self.tell)

    def tell(self, buffer, change):
        assert change.orig_size == self.told, (change, self.told)
        self.told += change.added - change.deleted


def step(sides, kept, segment):
    one, two = chance.sample(sides, 2)
    n = size()
    match chance.randrange(20):
        case 0:
            data = fresh(n)
            one.buffer.write(data)
            one.bytes += data
        case 1:
            data = fresh(n)
            one.buffer.prepend(data)
            one.bytes[:0] = data
        case 2 | 3:
            data = bytearray(fresh(n))
            lent.add(number)
            one.buffer.add_reference(data, lambda n=number: lent.remove(n))
            one.bytes += data
        case 4:
            one.buffer.drain(n)
            del one.bytes[:n]
        case 5:
            assert one.buffer.read(n) == one.bytes[:n]
            del one.bytes[:n]
        case 6:
            one.buffer.add_buffer(two.buffer)
            one.bytes += two.bytes
            two.bytes.clear()
            one.shares |= two.shares
        case 7:
            one.buffer.prepend_buffer(two.buffer)
            one.bytes[:0] = two.bytes
            two.bytes.clear()
            one.shares |= two.shares
        case 8:
            two.buffer.remove_buffer(one.buffer, n)
            one.bytes += two.bytes[:n]
            del two.bytes[:n]
            one.shares |= two.shares
        case 9:
            one.buffer.pullup(n)
        case 10:
            one.buffer.expand(n)
        case 11:
            with one.buffer.reserve(max(n, 1), chance.randint(1, 16)) as space:
                data, at = fresh(n), 0
                for view in space.views:
                    part = data[at : at + len(view)]
                    view[: len(part)] = part
                    at += len(part)
                space.commit(n)
            one.bytes += data
        case 12 if len(one.bytes) + len(two.bytes) < 100_000:
            try:
                one.buffer.add_buffer_reference(two.buffer)
                one.bytes += two.bytes
                one.shares = one.shares or bool(two.bytes)
            except ValueError:
                assert two.shares
        case 13:
            n = min(n, len(segment))
            one.buffer.add_file_segment(segment, 0, n)
            one.bytes += FILE[:n]
            one.shares = one.shares or n > 0
        case 14:
            found = one.bytes.find(b"7", n)
            assert one.buffer.search(b"7", n) == (None if found < 0 else found)
        case 15:
            with one.buffer.peek(n, n // 3) as views:
                assert b"".join(views) == one.bytes[n // 3 : n // 3 + n]
        case 16:
            if one.bytes:
                with one.buffer.peek() as views:
                    part = views[-1][: n + 1]
                kept.append((part, bytes(part)))
                at = sides.index(one)
                sides[at] = Side()
        case 17:
            at = sides.index(one)
            if chance.random() < 0.5:
                one.buffer.close()
            sides[at] = Side()
        case 18:
            line = one.buffer.readline(ev.EOLStyle.NUL)
            assert line is None
        case 19:
            for part, expected in kept:
                assert part == expected
            kept[:] = kept[-3:]
    for side in (one, two):
        side.shares = side.shares and bool(side.bytes)
    if chance.random() < 0.05:
        assert bytes(two.buffer) == two.bytes
        gc.collect(chance.randrange(2))


def soak(steps):
    sides, kept = [Side() for _ in range(6)], []
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(FILE)
        segment = ev.FileSegment(file)
    for _ in range(steps):
        step(sides, kept, segment)
        if sum(len(side.bytes) for side in sides) > 300_000:
            side = chance.choice(sides)
            side.buffer.drain()
            side.bytes.clear()
            side.shares = False
    for side in sides:
        assert bytes(side.buffer) == side.bytes
    kept.clear()
    for side in sides:
        side.buffer.close()
    segment.close()


lent, FILE = set(), fresh(5000)
before = left_over()
soak(5000)
gc.collect()
Buffer().write(b"any operation")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    soak(20_000)
gc.collect()
Buffer().write(b"any operation")
assert not lent, lent
assert left_over() == before, (before, left_over())
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
assert grown < 20_000, f"{grown} KiB more"
"""


@pytest.mark.parametrize("allocator", ["debug", "malloc_debug"])
def test_a_random_soak_with_memory_watched(allocator: str, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONMALLOC", allocator)
    monkeypatch.setenv("MALLOC_PERTURB_", "165")  # C's freed memory is overwritten (glibc)
    monkeypatch.setenv("MALLOC_CHECK_", "3")
    check_child(textwrap.dedent(SOAK), str(rng.getrandbits(32)), timeout=60)
