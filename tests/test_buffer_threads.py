"""Threads that use the same buffers: each method is one step, and nothing hangs, tears or is lost.

Each runs in a process of its own, which must end by itself: with a status, not with a signal, and in time.
"""

from __future__ import annotations

import textwrap

import pytest
from support import check_child

START = """
import faulthandler, gc, os, sys, threading, time
import pylibevent as ev

faulthandler.dump_traceback_later(15, exit=True)
sys.setswitchinterval(1e-5)
wrong = []


def run(*functions):
    barrier = threading.Barrier(len(functions))

    def guarded(function):
        try:
            barrier.wait()
            function()
        except BaseException as error:
            wrong.append(f"{function.__name__}: {error!r}")

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]


def insist(change):
    while True:
        try:
            return change()
        except BufferError:
            time.sleep(0)


"""


def check(code: str) -> None:
    check_child(START + textwrap.dedent(code), timeout=60)


@pytest.fixture(autouse=True)
def _freed_memory_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What malloc frees is overwritten in children (glibc)."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")


def test_writers_and_readers() -> None:
    """Records of several writers come out whole, each writer's in its order."""
    check("""
    buffer, read = ev.Buffer(), []

    def writer(number):
        def write():
            for n in range(3000):
                buffer.write(b"%d:%06d;" % (number, n))
        return write

    def reader():
        while len(read) < 9000:
            data = buffer.read(9)
            if data:
                read.append(data)

    run(writer(1), writer(2), writer(3), reader)
    assert not buffer
    for number in (b"1", b"2", b"3"):
        assert [record for record in read if record.startswith(number)] == [b"%b:%06d;" % (number, n) for n in range(3000)]
    """)


def test_every_byte_is_drained_or_read_once() -> None:
    check("""
    buffer, taken = ev.Buffer(b"x" * 200_000), []

    def reader():
        while data := buffer.read(7):
            taken.append(len(data))

    def into():
        target = bytearray(11)
        while n := buffer.read_into(target):
            taken.append(n)

    def mover():
        other = ev.Buffer()
        while n := buffer.remove_buffer(other, 13):
            taken.append(n)
        assert len(other) % 13 <= 13

    run(reader, into, mover)
    assert sum(taken) == 200_000, sum(taken)
    """)


def test_two_buffers_moved_to_each_other() -> None:
    """Locks are taken in one order."""
    check("""
    one, two = ev.Buffer(b"1" * 50), ev.Buffer(b"2" * 50)

    def there():
        for _ in range(5000):
            one.add_buffer(two)
            two.remove_buffer(one, 7)

    def back():
        for _ in range(5000):
            two.add_buffer(one)
            one.prepend_buffer(two)

    run(there, back, there, back)
    assert len(one) + len(two) == 100
    assert sorted(bytes(one) + bytes(two)) == sorted(b"1" * 50 + b"2" * 50)
    """)


def test_peeks_give_back_what_they_took() -> None:
    """The count of what is lent survives many threads: the buffer can be changed afterwards."""
    check("""
    buffer = ev.Buffer(b"abc")

    def look():
        for _ in range(10_000):
            with buffer.peek() as (view,):
                assert bytes(view) == b"abc"

    run(look, look, look, look)
    buffer.drain()
    buffer.close()
    """)


def test_what_is_peeked_at_stays_while_others_move_it() -> None:
    check("""
    buffer, other, over, seen = ev.Buffer(), ev.Buffer(), [], []

    def look():
        while not over:
            with buffer.peek() as views:
                for view in views:
                    seen.append(1)
                    before = bytes(view)
                    time.sleep(0)
                    assert bytes(view) == before == before[:1] * len(before), (before[:20], bytes(view)[:20])

    def move():
        try:
            n = 0
            while len(seen) < 3000 and not wrong:
                n += 1
                insist(lambda: buffer.write(bytes([65 + n % 26]) * 600))
                if n % 3:
                    insist(lambda: other.add_buffer(buffer))
                else:
                    insist(lambda: buffer.remove_buffer(other))
                insist(other.drain)
        finally:
            over.append(1)

    run(look, move)
    """)


def test_what_is_reserved_is_nobody_elses() -> None:
    check("""
    buffer, committed, over = ev.Buffer(), [], []

    def fill():
        try:
            for _ in range(5000):
                def attempt():
                    with buffer.reserve(100) as space:
                        for view in space.views:
                            view[:] = b"r" * len(view)
                        space.commit(100)
                insist(attempt)
                committed.append(100)
        finally:
            over.append(1)

    def write():
        while not over:
            insist(lambda: buffer.write(b"w" * 50))
            written.append(50)

    written = []
    run(fill, write)
    data = buffer.read()
    assert (data.count(b"r"), data.count(b"w")) == (sum(committed), sum(written))
    assert not data.replace(b"r" * 100, b"").replace(b"w" * 50, b"")
    """)


def test_slices_dropped_in_other_threads() -> None:
    check("""
    buffer, parts, over = ev.Buffer(b"abc" * 1000), [], []

    def lend():
        for _ in range(3000):
            with buffer.peek() as (view,):
                parts.append(view[5:9])
        over.append(1)

    def drop():
        while len(over) < 2 or parts:
            try:
                part = parts.pop()
            except IndexError:
                continue
            assert bytes(part) == b"cabc"
            del part
            gc.collect(0)

    run(lend, lend, drop, drop)
    gc.collect()
    buffer.drain()
    """)


def test_shared_bytes_of_two_buffers_that_hold_each_others() -> None:
    """Two threads let go of references to each other's buffers at the same time."""
    check("""
    for _ in range(20):
        one, two, ones, twos = (ev.Buffer() for _ in range(4))
        for buffer in (one, two):
            for _ in range(2000):
                buffer.add_reference(b"z" * 10)
        ones.add_buffer_reference(one)
        twos.add_buffer_reference(two)
        one.drain()
        two.drain()
        one.add_buffer(twos)
        two.add_buffer(ones)

        def drain_one():
            while one:
                one.drain(1000)

        def drain_two():
            while two:
                two.drain(1000)

        run(drain_one, drain_two)
    """)


def test_shared_bytes_released_by_many() -> None:
    check("""
    released = []
    source = ev.Buffer()
    for n in range(100):
        source.add_reference(b"%03d" % n, lambda n=n: released.append(n))
    copies = [ev.Buffer() for _ in range(40)]
    for copy in copies:
        copy.add_buffer_reference(source)
    source.close()

    def take():
        while copies:
            try:
                copy = copies.pop()
            except IndexError:
                return
            data = b"".join(iter(lambda: copy.read(5), b""))
            assert data == b"".join(b"%03d" % n for n in range(100))

    run(take, take, take)
    assert sorted(released) == list(range(100)), released
    """)


def test_a_buffer_closed_under_those_who_use_it() -> None:
    check("""
    def look(buffer):
        with buffer.peek() as views:
            b"".join(views)

    USES = [
        lambda b: b.write(b"x" * 5000), lambda b: b.prepend(b"x"), lambda b: b.read(3000), lambda b: b.drain(10),
        bytes, len, repr, look, lambda b: b.readline(), lambda b: b.search(b"y"), lambda b: b.pullup(), lambda b: b.close(),
        lambda b: b.add_buffer(ev.Buffer(b"z")), lambda b: b.add_reference(b"r"), lambda b: b.expand(10_000),
        lambda b: b.add_callback(lambda buffer, change: None), lambda b: b.freeze(start=True), lambda b: b.unfreeze(start=True),
    ]
    for round in range(150):
        buffer = ev.Buffer(b"abc\\n" * 1000)

        def use():
            for use in USES[round % 5:] + USES:
                try:
                    use(buffer)
                except (ev.ClosedError, BufferError):
                    pass

        run(use, use, lambda: insist(buffer.close) if round % 2 else None)
    """)


def test_callbacks_of_many_threads_count_every_byte() -> None:
    check("""
    buffer, added, deleted = ev.Buffer(), [], []
    buffer.add_callback(lambda buffer, change: (added.append(change.added), deleted.append(change.deleted)))

    def work():
        for _ in range(2000):
            buffer.write(b"12345")
            buffer.drain(3)

    run(work, work, work)
    assert sum(added) == 3 * 2000 * 5
    assert sum(added) - sum(deleted) == len(buffer)
    """)


def test_references_released_in_any_thread() -> None:
    check("""
    buffer, released = ev.Buffer(), []

    def add():
        for n in range(3000):
            data = bytearray(b"%06d;" % n)
            buffer.add_reference(data, lambda data=data: released.append(bytes(data)))

    def take():
        for _ in range(6000):
            buffer.read(10)

    run(add, add, take)
    buffer.drain()
    assert sorted(released) == sorted(b"%06d;" % n for n in range(3000) for _ in range(2))
    """)


def test_buffers_collected_in_any_thread() -> None:
    check("""
    released, lent = [], []

    def make():
        for n in range(2000):
            buffer = ev.Buffer(b"x" * 100)
            buffer.add_callback(lambda b, change, cycle=buffer: None)
            buffer.add_reference(b"%d" % n, lambda: released.append(1))
            other = ev.Buffer()
            other.add_buffer_reference(buffer)
            other.add_buffer(buffer)

    def collect():
        for _ in range(200):
            gc.collect()

    run(make, make, collect)
    gc.collect()
    ev.Buffer().write(b"x")
    assert len(released) == 4000, len(released)
    """)


def test_a_segment_closed_under_those_who_add_it() -> None:
    check("""
    import tempfile

    released = []
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"abc" * 1000)
        for _ in range(500):
            segment = ev.FileSegment(file, on_release=lambda: released.append(1))
            buffers = [ev.Buffer(), ev.Buffer()]

            def add(buffer):
                def adding():
                    try:
                        for n in range(20):
                            buffer.add_file_segment(segment, n, 100)
                    except ev.ClosedError:
                        pass
                return adding

            run(*map(add, buffers), segment.close, segment.close)
            for buffer in buffers:
                data = bytes(buffer)
                assert data == b"".join((b"abc" * 1000)[n : n + 100] for n in range(len(data) // 100))
                buffer.close()
    assert len(released) == 500, len(released)
    """)
