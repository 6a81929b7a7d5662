"""What aborts, crashes or corrupts a C program that uses evbuffers: in Python an exception or nothing, in a process of its own.

Each entry is a line of Python, what must come of it, and the rest that must hold afterwards. tests/guards.py has the first
of each kind; here are the others: sizes at the edges of C's types, calls in odd states, and other threads.
"""

from __future__ import annotations

import textwrap

import pytest
from support import check_child

START = """
import faulthandler, gc, os, resource, socket, sys, tempfile, threading
import pylibevent as ev
from pylibevent import Buffer

faulthandler.dump_traceback_later(30, exit=True)
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
SIZES = [2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**100]
NEGATIVE = [-2, -3, -(2**31), -(2**31) - 1, -(2**63), -(2**63) - 1, -(2**100)]


def full():
    "A buffer whose last chain has no room."
    buffer = Buffer(b"x" * 4000)
    with buffer.reserve(1, 1) as space:
        space.views[0][:] = b"x" * len(space.views[0])
        space.commit(len(space.views[0]))
    return buffer


def refused(call, *errors):
    try:
        call()
    except errors or (ValueError, MemoryError, OverflowError):
        return
    raise AssertionError(f"{call} was not refused")


def many():
    "A buffer of many chains, and what it holds."
    buffer, expected = Buffer(), b""
    for n in range(40):
        part = b"%03d." % n
        buffer.add_reference(part)
        expected += part
    return buffer, expected


"""

SIZED = {
    "read": "lambda b, n: b.read(n)",
    "drain": "lambda b, n: b.drain(n)",
    "copyout": "lambda b, n: b.copyout(n)",
    "pullup": "lambda b, n: b.pullup(n)",
    "remove_buffer": "lambda b, n: b.remove_buffer(Buffer(), n)",
    "peek": "lambda b, n: b.peek(n).__enter__() and None",
    "write_to": "lambda b, n: b.write_to(null, n)",
}


@pytest.mark.parametrize("call", SIZED.values(), ids=SIZED)
def test_sizes_at_the_edges_of_cs_types(call: str) -> None:
    """Sizes that fit are as good as all of it; others are refused, and nothing is taken."""
    check_child(
        START
        + textwrap.dedent(f"""
        call, null = {call}, os.open(os.devnull, os.O_WRONLY)
        for n in NEGATIVE:
            buffer, expected = many()
            refused(lambda: call(buffer, n), ValueError)
            assert bytes(buffer) == expected
        for n in SIZES:
            buffer, expected = many()
            try:
                call(buffer, n)
            except ValueError:
                assert n > 2**62 - 1
                assert bytes(buffer) == expected
            else:
                assert n <= 2**62 - 1
                assert bytes(buffer) in (b"", expected)
        """)
    )


PLACED = {
    "copyout": "lambda b, n: b.copyout(10, n)",
    "copyout all": "lambda b, n: b.copyout(2**61, n)",
    "peek": "lambda b, n: [*map(bytes, b.peek(10, n).__enter__())]",
    "search": "lambda b, n: b.search(b'0', n)",
    "search up to": "lambda b, n: b.search(b'?', 0, n)",
    "search from and up to": "lambda b, n: b.search(b'0', n, n)",
    "search_eol": "lambda b, n: b.search_eol(start=n)",
}


@pytest.mark.parametrize("call", PLACED.values(), ids=PLACED)
def test_places_beyond_the_end(call: str) -> None:
    check_child(
        START
        + textwrap.dedent(f"""
        call = {call}
        buffer, expected = many()
        for place in (len(expected), len(expected) + 1, 10_000, *SIZES):
            for b in (buffer, Buffer(), full()):
                try:
                    assert not call(b, place if b is buffer else max(place, 10_000)), place
                except ValueError:
                    assert place > 2**62 - 1
        for place in (-1, *NEGATIVE):
            refused(lambda: call(buffer, place), ValueError)
        assert bytes(buffer) == expected
        """)
    )


CALLS = {
    "evbuffer_reserve_space of 0 behind a full chain": """
        for vectors in (1, 2, 16):
            refused(lambda: full().reserve(0, vectors), ValueError)
        for vectors in (0, -1, 17, *SIZES, *NEGATIVE):
            refused(lambda: full().reserve(10, vectors), ValueError)
    """,
    "evbuffer_reserve_space of too much": """
        buffer = full()
        before = bytes(buffer)
        for size in SIZES:
            refused(lambda: buffer.reserve(size).__enter__(), ValueError, MemoryError)
            assert bytes(buffer) == before
        for size in NEGATIVE:
            refused(lambda: buffer.reserve(size), ValueError)
        buffer.write(b"x")
    """,
    "evbuffer_expand of too much": """
        buffer, expected = many()
        for size in SIZES:
            refused(lambda: buffer.expand(size), ValueError, MemoryError)
        for size in (-1, *NEGATIVE):
            refused(lambda: buffer.expand(size), ValueError)
        buffer.expand(0)
        assert bytes(buffer) == expected
    """,
    "evbuffer_read of 0, and beyond an int": """
        with open("/dev/zero", "rb", buffering=0) as zero:
            for buffer in (full(), Buffer(), many()[0]):
                n = len(buffer)
                assert buffer.read_from(zero, 0) == 0
                for size in [*SIZES[1:], *NEGATIVE]:
                    refused(lambda: buffer.read_from(zero, size), ValueError)
                assert len(buffer) == n
    """,
    "evbuffer_pullup of more than memory": """
        chunk, buffer = b"x" * 50_000_000, Buffer()
        for _ in range(50):
            buffer.add_reference(chunk)
        refused(buffer.pullup, MemoryError)
        refused(buffer.read, MemoryError)
        refused(lambda: bytes(buffer), MemoryError)
        assert len(buffer) == 2_500_000_000
        assert buffer.copyout(3, 2_400_000_000) == b"xxx"
        assert buffer.search(b"y", 2_499_000_000) is None
        with buffer.peek(10, 2_200_000_000) as views:
            assert b"".join(views) == b"x" * 10
        other = Buffer()
        assert buffer.remove_buffer(other, 2_300_000_000) == 2_300_000_000
        assert (len(buffer), len(other)) == (200_000_000, 2_300_000_000)
        buffer.prepend_buffer(other)
        buffer.drain(2_499_999_999)
        assert bytes(buffer) == b"x"
    """,
    "evbuffer_pullup of an empty buffer": """
        buffer = Buffer()
        for size in (None, -1, 0, 1, 2**31):
            buffer.pullup(size)
        buffer.add_reference(b"")
        buffer.pullup()
        assert bytes(buffer) == b""
    """,
    "evbuffer_pullup of shared bytes in every state": """
        for drained in range(0, 12, 3):
            for n in range(0, 160, 20):
                source, expected = many()
                one, two = Buffer(), Buffer(b"<")
                one.add_buffer_reference(source)
                two.add_buffer_reference(source)
                for buffer in (source, one):
                    buffer.drain(drained)
                    buffer.pullup(n)
                    buffer.write(b"YYY" * 100)
                    buffer.pullup()
                assert bytes(two) == b"<" + expected
                assert bytes(one) == bytes(source) == expected[drained:] + b"YYY" * 100
    """,
    "evbuffer_ptr of chains that are gone": """
        buffer, expected = many()
        at = buffer.search(b"020")
        buffer.drain(at)
        assert buffer.search(b"020", 0) == 0
        assert buffer.copyout(4, at) == expected[2 * at : 2 * at + 4]
        buffer.drain()
        assert buffer.copyout(4, at) == b""
        assert buffer.search(b"0", at) is None
    """,
    "buffers with themselves": """
        buffer, expected = many()
        for call in (buffer.add_buffer, buffer.prepend_buffer, buffer.remove_buffer, buffer.add_buffer_reference):
            refused(lambda: call(buffer), ValueError)
        assert bytes(buffer) == expected
        for data in (bytes(buffer),):
            buffer.write(data)
        assert bytes(buffer) == expected * 2
    """,
    "memory of a buffer's own as an argument": """
        buffer, other = Buffer(b"abc" * 100), Buffer()
        with buffer.peek() as views:
            refused(lambda: buffer.write(views[0]), BufferError)
            refused(lambda: buffer.prepend(views[0]), BufferError)
            refused(lambda: buffer.add_reference(views[0]), BufferError)
            refused(lambda: buffer.read_into(views[0]), BufferError, TypeError, ValueError)
            assert buffer.search(views[0][3:6]) == 0
            assert other.write(views[0]) == 300
        with other.reserve(10) as space:
            refused(lambda: other.read_into(space.views[0]), BufferError)
            assert buffer.read_into(space.views[0][:6]) == 6
            space.commit(6)
        assert bytes(other) == b"abc" * 102
    """,
    "a reference to another buffer's memory": """
        source, target, released = Buffer(b"abc" * 100), Buffer(), []
        with source.peek() as views:
            target.add_reference(views[0], lambda: released.append(1))
        del views
        refused(source.drain, BufferError)
        assert bytes(target) == b"abc" * 100
        target.drain()
        gc.collect()
        assert released == [1]
        source.drain()
    """,
    "evbuffer_free twice, and use after it": """
        buffer = Buffer(b"abc")
        buffer.close()
        buffer.close()
        other, file = Buffer(b"other"), open(ev.__file__, "rb")
        for use in (
            lambda: buffer.write(b"x"), lambda: buffer.prepend(b"x"), lambda: buffer.add_reference(b"x"), lambda: len(buffer),
            lambda: bytes(buffer), lambda: bool(buffer), lambda: buffer.read(), lambda: buffer.read_into(bytearray(1)),
            lambda: buffer.readline(), lambda: buffer.drain(), lambda: buffer.copyout(), lambda: buffer.pullup(),
            lambda: buffer.contiguous, lambda: buffer.search(b"x"), lambda: buffer.search_eol(), lambda: buffer.expand(1),
            lambda: buffer.reserve(1).__enter__(), lambda: buffer.peek().__enter__(), lambda: buffer.add_buffer(other),
            lambda: buffer.prepend_buffer(other), lambda: buffer.remove_buffer(other),
            lambda: buffer.add_buffer_reference(other), lambda: other.add_buffer(buffer),
            lambda: other.prepend_buffer(buffer), lambda: other.remove_buffer(buffer),
            lambda: other.add_buffer_reference(buffer), lambda: buffer.read_from(0), lambda: buffer.write_to(1),
            lambda: buffer.add_file(file), lambda: buffer.freeze(start=True),
            lambda: buffer.unfreeze(start=True), lambda: buffer.add_callback(print),
        ):
            try:
                use()
            except ev.ClosedError:
                continue
            raise AssertionError(use.__code__.co_firstlineno)
        file.close()
        assert (bytes(other), buffer.closed, repr(buffer)) == (b"other", True, "<Buffer closed>")
    """,
    "freezing what is frozen": """
        buffer = Buffer(b"abc")
        for start in (True, False):
            for _ in range(3):
                buffer.freeze(start=start)
            buffer.unfreeze(start=start)
            buffer.unfreeze(start=start)
        buffer.freeze(start=True)
        buffer.freeze(start=False)
        assert bytes(buffer) == b"abc"
        buffer.close()
        Buffer().freeze(start=True)
    """,
    "commit after anything in between": """
        buffer = Buffer(b"abc")
        reservation = buffer.reserve(10)
        with reservation as space:
            view = space.views[0]
            space.commit(3)
        refused(lambda: reservation.commit(1), ValueError)
        reservation.__exit__(None, None, None)
        buffer.drain()
        with reservation as space:
            space.commit(2)
            view = None
            refused(buffer.drain, BufferError)
            refused(buffer.close, BufferError)
            refused(lambda: buffer.reserve(5).__enter__(), BufferError)
        assert len(buffer) == 2
    """,
    "shared bytes of shared bytes": """
        source, one, two = Buffer(b"abc"), Buffer(), Buffer(b"two")
        one.add_buffer_reference(source)
        refused(lambda: two.add_buffer_reference(one), ValueError)
        refused(lambda: source.add_buffer_reference(one), ValueError)
        one.write(b"more")
        refused(lambda: two.add_buffer_reference(one), ValueError)
        assert (bytes(source), bytes(one), bytes(two)) == (b"abc", b"abcmore", b"two")
        one.drain()
        two.add_buffer_reference(one)
        assert bytes(two) == b"two"
    """,
    "sharing with a buffer of empty chains": """
        for empty in (lambda b: b.expand(1000), lambda b: b.add_reference(b""), lambda b: (b.write(b"x"), b.drain())):
            for source in (Buffer(), Buffer(b"abc"), many()[0]):
                expected, target = bytes(source), Buffer()
                empty(target)
                target.add_buffer_reference(source)
                empty(source)
                del source
                gc.collect()
                target.write(b"end")
                target.prepend(b"start")
                target.pullup()
                assert target.read() == b"start" + expected + b"end"
                gc.collect()
    """,
    "file segments at odd offsets": """
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"abc" * 1000)
            for offset in (-1, *NEGATIVE, 3001, *SIZES):
                refused(lambda: ev.FileSegment(file, offset), ValueError)
                refused(lambda: Buffer().add_file(file, offset), ValueError)
            for length in (*NEGATIVE, 3001, *SIZES):
                refused(lambda: ev.FileSegment(file, 0, length), ValueError)
            with ev.FileSegment(file, 1000, 1000) as segment:
                for offset in (-1, *NEGATIVE, 1001, *SIZES):
                    refused(lambda: Buffer().add_file_segment(segment, offset), ValueError)
                for length in (*NEGATIVE, 1001, *SIZES):
                    refused(lambda: Buffer().add_file_segment(segment, 0, length), ValueError)
                frozen = Buffer()
                frozen.freeze(start=False)
                for _ in range(5):
                    refused(lambda: frozen.add_file_segment(segment), BufferError)
                good = Buffer()
                good.add_file_segment(segment)
                assert bytes(good) == (b"abc" * 1000)[1000:2000]
    """,
    "files in the output of a bufferevent, moved on": """
        base, (one, other) = ev.EventBase(), socket.socketpair()
        bev = ev.SocketBufferEvent(base, one)
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"abc" * 1000)
            bev.output.add_file(file)
            file.truncate(0)
        assert bytes(bev.output) == b"abc" * 1000
        assert bev.output.search(b"cab") == 2
        with bev.output.peek() as views:
            assert b"".join(views) == b"abc" * 1000
        for move in (lambda: Buffer().add_buffer(bev.output), lambda: bev.output.drain(), lambda: bev.output.prepend(b"x")):
            refused(move, BufferError)
        while bev.output:
            base.loop(ev.LoopFlag.ONCE)
        assert other.recv(10_000) == b"abc" * 1000
        bev.close(), other.close(), base.close()
    """,
    "the buffers of a bufferevent that is gone": """
        base, (one, other) = ev.EventBase(), socket.socketpair()
        bev = ev.SocketBufferEvent(base, one)
        ends = bev.input, bev.output
        calls = []
        for end in ends:
            end.add_callback(lambda buffer, change: calls.append(change))
        peeks = [end.peek() for end in ends]
        bev.close()
        for end, peek in zip(ends, peeks):
            assert end.closed and "closed" in repr(end)
            for use in (end.read, end.drain, end.pullup, peek.__enter__, lambda: end.write(b"x")):
                refused(use, ev.ClosedError)
            refused(lambda: Buffer().add_buffer(end), ev.ClosedError)
        del bev
        base.close()
        gc.collect()
        for end in ends:
            refused(end.read, ev.ClosedError)
        assert calls == []
        other.close()
    """,
    "callbacks removed and buffers closed by other threads": """
        for _ in range(200):
            buffer = Buffer()
            entries = [buffer.add_callback(lambda buffer, change: None) for _ in range(10)]
            remove_all = lambda: [entry.remove() for entry in entries]
            threads = [threading.Thread(target=remove_all), threading.Thread(target=buffer.close)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(10):
                    buffer.write(b"x")
            except ev.ClosedError:
                pass
            for thread in threads:
                thread.join()
    """,
    "initialised again, and not at all": """
        buffer = Buffer(b"abc")
        refused(lambda: buffer.__init__(b"x"), RuntimeError)
        for data in (None, 1, "text", object(), [b"x"]):
            refused(lambda: Buffer(data), TypeError)
        half = Buffer.__new__(Buffer)
        for use in (half.read, half.close, lambda: len(half), lambda: bytes(half), lambda: buffer.add_buffer(half)):
            refused(use, ev.Error)
        del half
        gc.collect()
        assert bytes(buffer) == b"abc"
    """,
}


@pytest.mark.parametrize("code", CALLS.values(), ids=CALLS)
def test_it_is_refused_or_harmless(code: str) -> None:
    check_child(START + textwrap.dedent(code))
