"""line_filter and length_prefix_filter: whole lines, whole messages, over any splits and limits."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import Any

import pytest
from filter_steps import pump, step, through
from hypothesis import given
from hypothesis import strategies as st

from pylibevent import Buffer, BufferChange, EOLStyle, FilterError, FilterResult, FlushMode
from pylibevent.filters import LengthPrefix, length_prefix_filter, line_filter

NORMAL, FLUSH, FINISHED = FlushMode
OK, NEED_MORE, ERROR = FilterResult

PATTERNS = {
    EOLStyle.ANY: rb"[\r\n]+",
    EOLStyle.CRLF: rb"\r?\n",
    EOLStyle.CRLF_STRICT: rb"\r\n",
    EOLStyle.LF: rb"\n",
    EOLStyle.NUL: rb"\0",
}
ENDS = {
    EOLStyle.ANY: b"\n",
    EOLStyle.CRLF: b"\n",
    EOLStyle.CRLF_STRICT: b"\r\n",
    EOLStyle.LF: b"\n",
    EOLStyle.NUL: b"\0",
}


def lines_of(data: bytes, style: EOLStyle) -> list[bytes]:
    """Lines with their ends; the last one may have none."""
    ends = [0, *(match.end() for match in re.finditer(PATTERNS[style], data)), len(data)]
    return [data[i:j] for i, j in pairwise(ends) if i < j]


def is_whole(line: bytes, style: EOLStyle) -> bool:
    return re.search(rb"(?:" + PATTERNS[style] + rb")\Z", line) is not None


# ---------------------------------------------------------------- lines


def test_only_whole_lines_pass() -> None:
    incoming, outgoing = line_filter()
    assert outgoing is None
    source, got = Buffer(b"one\r\ntwo\nthr"), Buffer()
    assert pump(incoming, source, got) is OK
    assert bytes(got) == b"one\r\ntwo\n"
    assert [got.readline(), got.readline(), got.readline()] == [b"one", b"two", None]
    source.write(b"e")
    assert pump(incoming, source, got) is NEED_MORE
    assert not got
    source.write(b"e\n\n")
    assert pump(incoming, source, got) is OK
    assert bytes(got) == b"three\n\n"
    assert step(incoming, source, got, None, FINISHED) is NEED_MORE


@pytest.mark.parametrize("style", EOLStyle)
@given(
    data=st.lists(st.sampled_from([b"a", b"bcd", b"\r", b"\n", b"\r\n", b"\0", b"x" * 300])).map(b"".join),
    chance=st.randoms(use_true_random=False),
)
def test_any_lines_split_anywhere_below_any_mark(style: EOLStyle, data: bytes, chance: random.Random) -> None:
    incoming, _ = line_filter(style, allow_unterminated=True)
    expected = lines_of(data, style)
    most = max(map(len, expected), default=0) + 2
    source, destination, got, rest = Buffer(), Buffer(), b"", data
    while rest or source:
        n = chance.choice([1, 2, 3, 10, 1000])
        source.write(rest[:n])
        rest = rest[n:]
        assert pump(incoming, source, destination, chance.choice([None, most, most + 5])) is not ERROR, incoming.error
        assert style is EOLStyle.ANY or all(is_whole(line, style) for line in lines_of(bytes(destination), style))
        if source or chance.random() < 0.5:  # waits for room
            got += destination.read()
    pump(incoming, source, destination, None, FINISHED)
    assert incoming.error is None
    got += destination.read()
    if expected and not is_whole(expected[-1], style):
        data += ENDS[style]
    assert got == data


@pytest.mark.parametrize("mark", [None, 70_000])
def test_many_lines_and_messages_of_all_sizes(mark: int | None, rng: random.Random) -> None:
    format = LengthPrefix()
    parts = [rng.randbytes(rng.choice([0, 1, 100, 3000, 60_000])).replace(b"\n", b"") for _ in range(300)]
    for (incoming, _), pack, take in (
        (line_filter(), lambda part: part + b"\n", lambda buffer: buffer.readline(EOLStyle.LF)),
        (length_prefix_filter(format), format.pack, format.read),
    ):
        source, got, taken = Buffer(), Buffer(), []
        data = memoryview(b"".join(map(pack, parts)))
        while data or source:
            n = rng.choice([1, 5000, 300_000])
            source.write(data[:n])
            data = data[n:]
            assert pump(incoming, source, got, mark) is not ERROR, incoming.error
            while (part := take(got)) is not None:
                taken.append(part)
            assert not got
        assert taken == parts


def test_a_source_that_fills_again_while_it_is_emptied(rng: random.Random) -> None:
    """As the input of TLS does: what was not there before is looked at too."""
    format = LengthPrefix()
    parts = [rng.randbytes(rng.choice([0, 1, 100, 3000])).replace(b"\n", b"") for _ in range(300)]
    for (incoming, _), pack in ((line_filter(), lambda part: part + b"\n"), (length_prefix_filter(format), format.pack)):
        source, got = Buffer(), Buffer()
        data = rest = memoryview(b"".join(map(pack, parts)))

        def refill(buffer: Buffer, change: BufferChange) -> None:
            nonlocal rest
            if len(buffer) < 4000 and change.deleted:
                n = rng.choice([1, 1000])
                part, rest = rest[:n], rest[n:]
                buffer.write(part)

        callback = source.add_callback(refill)
        out = b""
        while rest or source:
            n = rng.choice([1, 2000])
            part, rest = rest[:n], rest[n:]
            source.write(part)
            assert incoming.feed(source, got, 6000, NORMAL) is not ERROR, incoming.error
            assert len(got) <= 6000
            out += got.read()
        callback.remove()
        assert out == data


def test_an_end_that_finds_little_room() -> None:
    for mode in (NORMAL, FINISHED):
        for (incoming, _), data in (
            (line_filter(allow_unterminated=True), b"one\ntwo\nthree"),
            (length_prefix_filter(LengthPrefix(1)), b"\3one\3two"),
        ):
            source, got, out = Buffer(data), Buffer(), b""
            for _ in range(3):
                assert pump(incoming, source, got, 6, mode) is not ERROR
                assert len(got) in (0, 4, 6)
                out += got.read()
            pump(incoming, source, got, 6, FINISHED)
            assert (out + got.read()).rstrip(b"\n") == data


def test_an_end_split_between_two_arrivals() -> None:
    for style in (EOLStyle.CRLF, EOLStyle.CRLF_STRICT):
        incoming, _ = line_filter(style, max_length=3)
        source, got = Buffer(), Buffer()
        for byte in b"abc\r":
            source.write(bytes([byte]))
            assert pump(incoming, source, got) is NEED_MORE
            assert not source
        source.write(b"\ndef\r\n")
        assert pump(incoming, source, got) is OK
        assert bytes(got) == b"abc\r\ndef\r\n"


@pytest.mark.parametrize("style", EOLStyle)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_line_that_is_too_long(style: EOLStyle, size: int) -> None:
    """Its end isn't counted, and what came before it passes."""
    most, end = 10, ENDS[style]
    good = b"x" * most + end
    assert through(line_filter(style, max_length=most)[0], good * 3) == good * 3
    for bad in (b"x" * (most + 1) + end, b"x" * (most + 2), b"x" * 1000):
        incoming, _ = line_filter(style, max_length=most)
        data, source, got = good * 2 + bad, Buffer(), Buffer()
        result = NEED_MORE
        while result is not ERROR and data:
            source.write(data[:size])
            data = data[size:]
            result = pump(incoming, source, got)
        assert result is ERROR
        assert str(incoming.error) == "a line has more than 10 bytes"
        assert bytes(got) == good * 2
        assert step(incoming, Buffer(b"\n"), got, None, FINISHED) is ERROR


def test_an_unfinished_last_line() -> None:
    for parts in ([b"one\ntwo"], [b"one\nt", b"wo"]):
        for allowed in (False, True):
            incoming, _ = line_filter(allow_unterminated=allowed)
            source, got = Buffer(), Buffer()
            for part in parts:
                source.write(part)
                pump(incoming, source, got)
            result = pump(incoming, source, got, mode=FINISHED)
            if allowed:
                assert (result, bytes(got)) == (OK, b"one\ntwo\n")
                assert pump(incoming, source, got, mode=FINISHED) is NEED_MORE
            else:
                assert (result, bytes(got)) == (ERROR, b"one\n")
                assert str(incoming.error) == "the last line is cut short: 3 bytes and no end"


def test_an_unfinished_last_line_that_is_too_long_by_one() -> None:
    incoming, _ = line_filter(max_length=3, allow_unterminated=True)
    with pytest.raises(FilterError, match="more than 3 bytes"):
        through(incoming, b"abcd")
    assert through(line_filter(max_length=4, allow_unterminated=True)[0], b"abcd") == b"abcd\n"


def test_unfinished_lines_do_not_fill_the_source() -> None:
    """Left there, a line longer than the mark of the bufferevent below would never come."""
    incoming, _ = line_filter(max_length=100_000)
    source, got = Buffer(), Buffer()
    for _ in range(1000):
        source.write(b"x" * 100)
        assert pump(incoming, source, got) is NEED_MORE
        assert not source
    source.write(b"\n")
    assert pump(incoming, source, got) is OK
    assert bytes(got) == b"x" * 100_000 + b"\n"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"style": 9}, ValueError, "EOLStyle"),
        ({"style": "\n"}, ValueError, "EOLStyle"),
        ({"max_length": 0}, ValueError, "max_length must be from 1"),
        ({"max_length": None}, TypeError, "max_length must be an int, not NoneType"),
    ],
)
def test_arguments_of_lines(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        line_filter(**arguments)


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("byteorder", ["big", "little"])
def test_messages_there_and_back(byteorder: Any, rng: random.Random) -> None:
    for size in range(1, 9):
        format = LengthPrefix(size, byteorder)
        messages = [rng.randbytes(rng.choice([0, 1, 100, 255])) for _ in range(20)]
        incoming, outgoing = length_prefix_filter(format)
        assert outgoing is None
        got = Buffer(through(incoming, b"".join(map(format.pack, messages))))
        assert [format.read(got) for _ in messages] == messages
        assert format.read(got) is None
        assert not got


def test_the_bytes_of_a_message() -> None:
    assert LengthPrefix().pack(b"abc") == b"\0\0\0\3abc"
    assert LengthPrefix(2, "little").pack(b"") == b"\0\0"
    assert LengthPrefix(1).pack(memoryview(b"abcdef")[::2].tobytes()) == b"\3ace"
    assert LengthPrefix(2).pack(bytearray(b"ab")) == b"\0\2ab"


@given(
    messages=st.lists(st.one_of(st.binary(max_size=5), st.integers(0, 1000).map(lambda n: b"m" * n))),
    size=st.sampled_from([2, 4]),
    chance=st.randoms(use_true_random=False),
)
def test_any_messages_split_anywhere_below_any_mark(messages: list[bytes], size: int, chance: random.Random) -> None:
    format = LengthPrefix(size)
    incoming, _ = length_prefix_filter(format)
    most = max(map(len, messages), default=0) + size
    source, destination, got = Buffer(), Buffer(), []
    rest = b"".join(map(format.pack, messages))
    while rest or source:
        n = chance.choice([1, 2, 3, 10, 1000])
        source.write(rest[:n])
        rest = rest[n:]
        assert pump(incoming, source, destination, chance.choice([None, most, most + 5])) is not ERROR, incoming.error
        if source or chance.random() < 0.5:
            while (message := format.read(destination)) is not None:
                got.append(message)
            assert not destination  # only whole ones were there
    assert pump(incoming, source, destination, None, FINISHED) is NEED_MORE
    while (message := format.read(destination)) is not None:
        got.append(message)
    assert got == messages
    assert not destination


@pytest.mark.parametrize("piece", [1, 2, 5, 1000])
def test_a_message_that_is_too_long_is_known_by_its_length(piece: int) -> None:
    format = LengthPrefix(2, max_length=10)
    incoming, _ = length_prefix_filter(format)
    data, source, got = format.pack(b"x" * 10) + b"\0\x0b", Buffer(), Buffer()
    result = NEED_MORE
    while data:
        source.write(data[:piece])
        data = data[piece:]
        result = pump(incoming, source, got)
    assert result is ERROR
    assert str(incoming.error) == "a message of 11 bytes is announced, and at most 10 are allowed"
    assert format.read(got) == b"x" * 10
    with pytest.raises(FilterError, match="of 11 bytes is announced"):
        format.read(Buffer(b"\0\x0b"))


def test_a_message_that_is_cut_short() -> None:
    format = LengthPrefix(2)
    whole = format.pack(b"abc")
    for n in range(1, len(whole)):
        for first in range(n + 1):
            incoming, _ = length_prefix_filter(format)
            source, got = Buffer(whole + whole[:first]), Buffer()
            pump(incoming, source, got)
            source.write(whole[first:n])
            assert pump(incoming, source, got, mode=FINISHED) is ERROR
            assert str(incoming.error) == f"the last message is cut short: {n} bytes of it came"
            assert bytes(got) == whole


def test_messages_wait_until_there_is_room_for_a_whole_one() -> None:
    """And the source isn't empty so long, or the filter wouldn't be called again."""
    format = LengthPrefix(1)
    incoming, _ = length_prefix_filter(format)
    message = format.pack(b"x" * 9)
    source, got = Buffer(message[:5]), Buffer(message)
    assert pump(incoming, source, got, 11) is NEED_MORE
    assert not source  # it isn't whole yet
    source.write(message[5:])
    for size in range(10, 1, -1):
        assert len(got) == size
        assert pump(incoming, source, got, 11) is NEED_MORE
        assert source
        got.drain(1)
    assert pump(incoming, source, got, 11) is OK
    assert not source
    assert bytes(got) == message[-1:] + message


@pytest.mark.parametrize("present", [0, 5])
def test_what_can_never_have_room_is_an_error(present: int) -> None:
    """Waiting for the rest of it would be for ever."""
    format = LengthPrefix(1)
    for incoming, data in (
        (length_prefix_filter(format)[0], b"\x0a"),
        (line_filter()[0], b"x" * 11),
        (line_filter()[0], b"x" * 10 + b"\n"),
    ):
        source, got = Buffer(data), Buffer(bytes(present))
        assert pump(incoming, source, got, 10) is ERROR
        assert "or more, and the limit is 10" in str(incoming.error)
    for incoming, data in ((length_prefix_filter(format)[0], b"\x09" + b"x" * 9), (line_filter()[0], b"x" * 9 + b"\n")):
        source, got = Buffer(data), Buffer(bytes(present))
        assert pump(incoming, source, got, 10) is (NEED_MORE if present else OK)
        got.drain(present)
        pump(incoming, source, got, 10)
        assert bytes(got) == data


@pytest.mark.parametrize("limit", [0, -1])
def test_without_room_nothing_passes(limit: int) -> None:
    for incoming, data in ((length_prefix_filter()[0], LengthPrefix().pack(b"abc")), (line_filter()[0], b"abc\n")):
        for full in (b"", b"full, and more than that"):
            source, got = Buffer(data), Buffer(full)
            assert step(incoming, source, got, limit, NORMAL) is NEED_MORE
            assert bytes(source) == data
        got.drain()
        assert step(incoming, source, got, None, NORMAL) is OK
        assert bytes(got) == data


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"size": 0}, ValueError, "size must be from 1 to 8"),
        ({"size": 9}, ValueError, "size must be from 1 to 8"),
        ({"size": "4"}, TypeError, "size must be an int"),
        ({"byteorder": "native"}, ValueError, 'byteorder must be "big" or "little"'),
        ({"byteorder": []}, ValueError, "byteorder"),
        ({"max_length": -1}, ValueError, "max_length must be from 0"),
    ],
)
def test_arguments_of_messages(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        LengthPrefix(**arguments)


def test_what_cannot_be_packed_or_read() -> None:
    with pytest.raises(ValueError, match="message must have 255 bytes at most, not 256"):
        LengthPrefix(1).pack(bytes(256))
    with pytest.raises(ValueError, match="message must have 10 bytes at most, not 11"):
        LengthPrefix(1, max_length=10).pack(bytes(11))
    with pytest.raises(TypeError):
        LengthPrefix().pack("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="buffer must be a Buffer, not bytes"):
        LengthPrefix().read(b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="format must be a LengthPrefix, not int"):
        length_prefix_filter(4)  # type: ignore[arg-type]
