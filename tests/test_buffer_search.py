"""Searching a buffer for bytes and for the ends of lines, and positions in it."""

from __future__ import annotations

import random

import pytest
from support import contents

from pylibevent import Buffer, EOLStyle

POEM_OF_FOUR = (b"hello", b"foo", b"cat", b"attack")


def fragmented(*parts: bytes) -> Buffer:
    """A buffer with a chain for each part."""
    buffer, part_of = Buffer(), Buffer()
    for part in parts:
        part_of.write(part)
        buffer.add_buffer(part_of)
    return buffer


def test_finding_nothing_beyond_the_end() -> None:
    """regress_buffer.c evbuffer/find: what a chain held before isn't found; what ends it is."""
    buffer = Buffer(b"1234567890\r\n")
    buffer.drain(12)
    buffer.write(b"1234567890\r")
    assert buffer.search(b"\r\n") is None
    buffer.drain(11)
    buffer.write(b"a" * 255 + b"x")
    assert buffer.search(b"xy") is None
    assert buffer.search(b"ax") == 254


def test_searching() -> None:
    """regress_buffer.c evbuffer/search: over four chains; onwards from a place, and up to one."""
    buffer = Buffer()
    assert [buffer.search(b"x"), buffer.search(b"x", 0), buffer.search(b"x", 0, 0)] == [None] * 3
    buffer = fragmented(*POEM_OF_FOUR)
    assert buffer.search(b"attack") == 11
    assert buffer.search(b"attacker") is None
    assert buffer.search(b"oc") == 7
    assert buffer.search(b"cat", 7) == 8
    assert buffer.search(b"tacking", 8) is None
    assert buffer.search(b"foo", 5) == 5
    assert buffer.search(b"tat", 5 + 2) == 10
    assert buffer.search(b"foo", end=12) == 5
    assert buffer.search(b"foocata", end=12) == 5
    assert buffer.search(b"foocatat", end=12) is None
    assert buffer.search(b"ack", end=12) is None
    assert buffer.search(b"attack", end=17) == 11
    assert buffer.search(b"attack", 11, 17) == 11
    assert buffer.search(b"attack", 17, 17) is None
    assert buffer.search(b"attack", 17) is None
    assert contents(buffer) == b"".join(POEM_OF_FOUR)


def test_positions() -> None:
    """regress_buffer.c evbuffer/ptr_set: 12000 bytes in three chains; at the end and beyond it there is nothing."""
    buffer = Buffer()
    assert (buffer.search(b"x", 1), buffer.copyout(1, 1), buffer.search_eol(start=1)) == (None, b"", None)
    for value, size in ((1, 5000), (2, 4000), (3, 3000)):
        with buffer.reserve(size, 1) as space:
            space.views[0][:size] = bytes([value]) * size
            space.commit(size)
    assert len(buffer) == 12000
    for start, value in ((0, 1), (4999, 1), (5000, 2), (8999, 2), (9000, 3), (10000, 3), (11000, 3), (11999, 3)):
        assert buffer.copyout(1, start) == bytes([value])
        assert buffer.search(bytes([value]), start) == start
    for start in (12000, 13000):
        assert buffer.copyout(-1, start) == b""
        assert buffer.search(b"\3", start) is None
        assert buffer.search_eol(EOLStyle.NUL, start) is None
        with buffer.peek(start=start) as views:
            assert views == ()
    assert (buffer.search(b"\2"), buffer.search(b"\3"), buffer.search(b"\1", 5000)) == (5000, 9000, None)


@pytest.mark.parametrize(
    "parts", [(b"string! \r\n\r\nx\n",), (b"string! \r", b"\n\r", b"\nx\n"), (b"string! ", b"\r\n", b"\r\nx\n")]
)
def test_searching_for_ends_of_lines(parts: tuple[bytes, ...]) -> None:
    """regress_buffer.c evbuffer/search_eol: of all styles, in one chain and over several."""
    buffer = fragmented(*parts)
    assert buffer.search_eol() == (8, 2)
    assert buffer.search_eol(EOLStyle.CRLF, 8) == (8, 2)
    assert buffer.search_eol(EOLStyle.CRLF, 9) == (9, 1)
    assert buffer.search_eol(EOLStyle.CRLF_STRICT, 9) == (10, 2)
    assert buffer.search_eol(EOLStyle.LF) == (9, 1)
    assert buffer.search_eol(EOLStyle.LF, 9) == (9, 1)
    assert buffer.search_eol(EOLStyle.LF, 10) == (11, 1)
    assert buffer.search_eol(EOLStyle.LF, len(buffer)) is None
    assert buffer.search_eol(EOLStyle.ANY) == (8, 4)
    assert buffer.search_eol(EOLStyle.NUL) is None


@pytest.mark.parametrize(
    ("style", "text", "lines", "rest"),
    [
        (EOLStyle.ANY, b"complex silly newline\r\n\n\r\n\n\rmore\0\n", [b"complex silly newline", b"more\0"], b""),
        (EOLStyle.ANY, b"\nno newline", [b""], b"no newline"),
        (
            EOLStyle.CRLF,
            b"Line with\rin the middle\nLine with good crlf\r\n\nfinal\nx",
            [b"Line with\rin the middle", b"Line with good crlf", b"", b"final"],
            b"x",
        ),
        (
            EOLStyle.CRLF_STRICT,
            b"x and a bad crlf\nand a good one\r\n\r\nMore\r",
            [b"x and a bad crlf\nand a good one", b""],
            b"More\r",
        ),
        (
            EOLStyle.CRLF_STRICT,
            b"An internal CR\r is not an eol\r\nNor is a lack of one",
            [b"An internal CR\r is not an eol"],
            b"Nor is a lack of one",
        ),
        (EOLStyle.LF, b"An\rand a nl\n\nText", [b"An\rand a nl", b""], b"Text"),
        (
            EOLStyle.NUL,
            b"NUL\n\0\0The all-zeros character which may serve\0to accomplish time fill\0and media fill",
            [b"NUL\n", b"", b"The all-zeros character which may serve", b"to accomplish time fill"],
            b"and media fill",
        ),
    ],
)
def test_reading_lines(style: EOLStyle, text: bytes, lines: list[bytes], rest: bytes) -> None:
    """regress_buffer.c evbuffer/readln: each style of ends; what has none stays. In one chain, and a chain for each byte."""
    for buffer in (Buffer(text), fragmented(*(text[i : i + 1] for i in range(len(text))))):
        assert [buffer.readline(style) for _ in lines] == lines
        assert buffer.readline(style) is None
        assert contents(buffer) == rest


@pytest.mark.parametrize(
    ("style", "rest", "end", "line"),
    [
        (EOLStyle.CRLF_STRICT, b"More\r", b"\n", b"More"),
        (EOLStyle.CRLF_STRICT, b"Nor is a lack of one", b"\r\n", b"Nor is a lack of one"),
        (EOLStyle.LF, b"Text", b"\n", b"Text"),
    ],
)
def test_a_line_is_there_when_its_end_comes(style: EOLStyle, rest: bytes, end: bytes, line: bytes) -> None:
    """regress_buffer.c evbuffer/readln: the end is added to what was no line."""
    buffer = Buffer(rest)
    assert buffer.readline(style) is None
    buffer.write(end)
    assert buffer.readline(style) == line
    assert contents(buffer) == b""


def test_ends_of_lines_over_two_chains() -> None:
    """regress_buffer.c evbuffer/readln: each CR ends a chain, and its LF begins the next."""
    buffer = fragmented(b" and a bad crlf\nand a good one\r", b"\n\r", b"\nMore\r")
    assert buffer.readline(EOLStyle.CRLF_STRICT) == b" and a bad crlf\nand a good one"
    assert buffer.readline(EOLStyle.CRLF_STRICT) == b""
    assert buffer.readline(EOLStyle.CRLF_STRICT) is None
    buffer.write(b"\n")
    assert buffer.readline(EOLStyle.CRLF_STRICT) == b"More"
    assert contents(buffer) == b""
    buffer = fragmented(b"one line\ntwo line\nblue line")
    assert [buffer.readline(EOLStyle.LF) for _ in range(3)] == [b"one line", b"two line", None]
    assert contents(buffer) == b"blue line"


def test_searching_agrees_with_bytes(rng: random.Random) -> None:
    """Random texts of few letters, cut at random, searched for each of their parts and for strangers."""
    for _ in range(300):
        parts = [bytes(rng.choices(b"ab\r\n", k=rng.randrange(1, 6))) for _ in range(rng.randrange(1, 6))]
        buffer, text = fragmented(*parts), b"".join(parts)
        for _ in range(10):
            what = bytes(rng.choices(b"ab\r\n", k=rng.randrange(1, 4)))
            start, end = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
            for args in ((), (start,), (start, end)):
                position = text.find(what, *args)
                expected = None if position < 0 else position
                assert buffer.search(what, *args) == expected, (parts, what, args)
            position = text.find(b"\n", start)
            assert buffer.search_eol(EOLStyle.LF, start) == ((position, 1) if position >= 0 else None), (parts, start)
            position = text.find(b"\r\n", start)
            assert buffer.search_eol(EOLStyle.CRLF_STRICT, start) == ((position, 2) if position >= 0 else None), (parts, start)
