"""zlib_filter, gzip_filter, zstd_filter: against the libraries that know the formats, over any splits and limits."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import zstandard
from filter_steps import pump, step, through
from hypothesis import given
from hypothesis import strategies as st
from support import check_child

from pylibevent import Buffer, ExpansionError, FilterError, FilterResult, FlushMode
from pylibevent.filters import gzip_filter, zlib_filter, zstd_filter

NORMAL, FLUSH, FINISHED = FlushMode
OK, NEED_MORE, ERROR = FilterResult


class Format(NamedTuple):
    name: str
    filters: Callable[..., Any]
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]  # all of it, or an exception
    partly: Callable[[bytes], bytes]  # what can be had of a beginning
    parts: bool
    errors: tuple[type[Exception], ...]

    def __str__(self) -> str:
        return self.name


def zstd_decompress(data: bytes) -> bytes:
    out = b""
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        out += frame.decompress(data)
        if not frame.eof:
            raise EOFError
        data = frame.unused_data
    return out


FORMATS = [
    Format(
        "zlib",
        zlib_filter,
        zlib.compress,
        zlib.decompress,
        lambda data: zlib.decompressobj().decompress(data),
        False,
        (zlib.error,),
    ),
    Format(
        "gzip",
        gzip_filter,
        gzip.compress,
        gzip.decompress,
        lambda data: zlib.decompressobj(31).decompress(data),
        True,
        (zlib.error, EOFError, gzip.BadGzipFile),
    ),
    Format(
        "zstd",
        zstd_filter,
        zstandard.ZstdCompressor(write_checksum=True).compress,
        zstd_decompress,
        lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        True,
        (EOFError, zstandard.ZstdError),
    ),
]
IN_PARTS = [kind for kind in FORMATS if kind.parts]
_FLAGS = 3
"""Where they stand in gzip's header."""

every_format = pytest.mark.parametrize("kind", FORMATS, ids=str)
every_format_with_parts = pytest.mark.parametrize("kind", IN_PARTS, ids=str)


def some_data(rng: random.Random, size: int) -> bytes:
    """Runs of noise and of repetitions."""
    out = bytearray()
    while len(out) < size:
        n = rng.randrange(1, 5000)
        out += rng.randbytes(n) if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 20)) * (n // 10)
    return bytes(out[:size])


# ---------------------------------------------------------------- there and back


@every_format
def test_what_one_library_writes_the_other_reads(kind: Format, rng: random.Random) -> None:
    for size in (0, 1, 100, 8333, 1_000_000):
        data = some_data(rng, size)
        incoming, outgoing = kind.filters()
        assert kind.decompress(through(outgoing, data)) == data
        assert through(incoming, kind.compress(data)) == data


@every_format
def test_levels(kind: Format, rng: random.Random) -> None:
    data = some_data(rng, 100_000)
    for level in (1, 6, 9):
        compressed = through(kind.filters(level)[1], data)
        assert kind.decompress(compressed) == data
        assert len(compressed) < len(data)


def test_level_0_only_wraps() -> None:
    assert b"abcabcabc" in through(zlib_filter(0)[1], b"abcabcabc")
    assert b"abcabcabc" in through(gzip_filter(0)[1], b"abcabcabc")


@every_format
def test_normal_keeps_back_and_flush_sends_all(kind: Format) -> None:
    _, outgoing = kind.filters()
    source, wire = Buffer(b"hello "), Buffer()
    assert pump(outgoing, source, wire) is OK  # it took them
    assert not source
    before = len(wire)
    assert pump(outgoing, source, wire, mode=FLUSH) is OK
    assert len(wire) > before
    assert kind.partly(bytes(wire)) == b"hello "
    before = len(wire)
    assert pump(outgoing, source, wire, mode=FLUSH) is NEED_MORE  # nothing new to say
    assert pump(outgoing, source, wire) is NEED_MORE
    assert len(wire) == before
    source.write(b"world")
    assert pump(outgoing, source, wire, mode=FLUSH) is OK
    assert kind.partly(bytes(wire)) == b"hello world"
    assert pump(outgoing, source, wire, mode=FINISHED) is OK
    assert kind.decompress(bytes(wire)) == b"hello world"
    before = len(wire)
    assert pump(outgoing, source, wire, mode=FINISHED) is NEED_MORE  # it has ended
    assert pump(outgoing, source, wire, mode=FLUSH) is NEED_MORE
    assert len(wire) == before


@every_format
def test_each_flush_can_be_read_at_once(kind: Format, rng: random.Random) -> None:
    incoming, outgoing = kind.filters()
    written, wire, got = Buffer(), Buffer(), Buffer()
    for size in (1, 10, 5000, 0, 200_000, 3):
        message = some_data(rng, size)
        written.write(message)
        pump(outgoing, written, wire, mode=FLUSH)
        pump(incoming, wire, got)
        assert got.read() == message
        assert not wire


@every_format
def test_nothing_is_an_empty_stream(kind: Format) -> None:
    """A connection that ends before anything came isn't an error; one that ended properly and empty neither."""
    incoming, outgoing = kind.filters()
    source, destination = Buffer(), Buffer()
    for mode in FlushMode:
        assert step(incoming, source, destination, None, mode) is NEED_MORE
    empty = through(outgoing, b"")
    assert empty
    assert kind.decompress(empty) == b""
    assert through(incoming, empty) == b""
    assert step(incoming, source, destination, None, FINISHED) is NEED_MORE


@every_format_with_parts
def test_streams_of_several_parts(kind: Format, rng: random.Random) -> None:
    parts = [some_data(rng, size) for size in (10, 0, 100_000, 1)]
    together = b"".join(map(kind.compress, parts))
    assert through(kind.filters()[0], together) == b"".join(parts)
    incoming, outgoing = kind.filters()
    source, wire, got = Buffer(), Buffer(), Buffer()
    for part in parts:
        source.write(part)
        pump(outgoing, source, wire, mode=FINISHED)
        pump(incoming, wire, got)
    assert kind.decompress(bytes(wire)) == b""
    assert bytes(got) == b"".join(parts)
    assert pump(incoming, wire, got, mode=FINISHED) is NEED_MORE


def test_zeros_after_a_gzip_member_are_skipped() -> None:
    one, other = gzip.compress(b"one"), gzip.compress(b"other")
    data = one + bytes(100_000) + other + bytes(1)
    assert gzip.decompress(data) == b"oneother"
    assert through(gzip_filter()[0], data) == b"oneother"
    with pytest.raises(FilterError):
        through(gzip_filter()[0], bytes(1) + one)


def test_a_zstd_stream_with_frames_to_be_skipped(rng: random.Random) -> None:
    skipped = b"".join(
        (0x184D2A50 + i).to_bytes(4, "little") + size.to_bytes(4, "little") + rng.randbytes(size)
        for i, size in enumerate((0, 1, 70_000))
    )
    frame = zstandard.compress(b"data")
    assert through(zstd_filter()[0], skipped + frame + skipped + frame) == b"datadata"
    with pytest.raises(FilterError, match="cut short"):
        through(zstd_filter()[0], frame + skipped[:-1])


@pytest.mark.parametrize("options", [{}, {"write_checksum": True}, {"write_content_size": False}, {"write_dict_id": False}])
def test_every_form_of_a_zstd_frame(options: dict[str, bool], rng: random.Random) -> None:
    """The header says the size of the content in 0, 1, 2, 4 or 8 bytes; blocks are raw, of one byte, or compressed."""
    sizes = (0, 1, 255, 256, 65_791, 65_792, 300_000)
    for data in (make(size) for size in sizes for make in (rng.randbytes, bytes, partial(some_data, rng))):
        for level in (-5, 1, 19):
            compressed = zstandard.ZstdCompressor(level=level, **options).compress(data)
            assert through(zstd_filter()[0], compressed) == data


def test_a_zstd_frame_that_wants_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(b"abc") + compressor.flush()
    with pytest.raises(FilterError, match="memory"):
        through(zstd_filter()[0], data)


# ---------------------------------------------------------------- what is wrong


@every_format
def test_every_beginning_of_a_stream_is_cut_short(kind: Format, rng: random.Random) -> None:
    data = some_data(rng, 300)
    compressed = kind.compress(data)
    for n in range(1, len(compressed)):
        incoming, _ = kind.filters()
        source, got = Buffer(compressed[:n]), Buffer()
        assert pump(incoming, source, got) is not ERROR
        assert data.startswith(bytes(got))
        assert pump(incoming, source, got, mode=FINISHED) is ERROR
        assert isinstance(incoming.error, FilterError)
        assert "cut short" in str(incoming.error)


@every_format
def test_every_damaged_byte_is_found_as_the_library_finds_it(kind: Format, rng: random.Random) -> None:
    data = some_data(rng, 300)
    compressed = kind.compress(data)
    for n in range(len(compressed)):
        damaged = bytearray(compressed)
        damaged[n] ^= 1 << rng.randrange(8)
        try:
            expected: bytes | None = kind.decompress(bytes(damaged))
        except kind.errors:
            expected = None
        try:
            got: bytes | None = through(kind.filters()[0], bytes(damaged))
        except FilterError:
            got = None
            if kind.name == "gzip" and n == _FLAGS:
                continue  # which the gzip module takes as they come, reserved ones too
        assert got == expected, f"byte {n}: {damaged.hex()}"


@every_format
@pytest.mark.parametrize("garbage", [b"x", b"\x1f", b"trailing garbage", b"\x28\xb5\x2f\xfe" * 1000])
def test_garbage_after_the_stream_is_an_error_and_what_came_before_is_given(kind: Format, garbage: bytes) -> None:
    for limit in (None, 1, 10):
        incoming, _ = kind.filters()
        source, got = Buffer(kind.compress(b"some data") + garbage), Buffer()
        results = []
        while not results or results[-1] is OK:
            results.append(step(incoming, source, got, limit, FINISHED))
        assert results[-1] is ERROR
        assert bytes(got) == b"some data"
        assert step(incoming, source, got, None, NORMAL) is ERROR
        source.drain()
        assert step(incoming, source, got, None, FINISHED) is ERROR  # for ever
        assert bytes(got) == b"some data"


@every_format
@pytest.mark.parametrize("cut", [None, 1, 7])
def test_what_came_before_damage_is_given_however_it_is_split(kind: Format, cut: int | None, rng: random.Random) -> None:
    incoming, outgoing = kind.filters()
    line, sent = some_data(rng, 20_000), Buffer()
    assert step(outgoing, Buffer(line), sent, None, FLUSH) is OK
    data = bytes(sent) + b"\xff" * 100
    for limit in (None, 100):
        incoming, _ = kind.filters()
        source, got = Buffer(), Buffer()
        results = []
        for start in range(0, len(data), cut or len(data)):
            source.write(data[start : start + (cut or len(data))])
            while not results or results[-1] is not ERROR:
                results.append(step(incoming, source, got, limit, NORMAL))
                if results[-1] is NEED_MORE or (results[-1] is OK and not source):
                    break
        assert results[-1] is ERROR
        assert bytes(got) == line, f"{len(got)} of {len(line)}"


def test_nothing_can_be_written_after_the_end_of_a_zlib_stream() -> None:
    _, outgoing = zlib_filter()
    wire = Buffer()
    pump(outgoing, Buffer(b"abc"), wire, mode=FINISHED)
    before = bytes(wire)
    assert pump(outgoing, Buffer(b"d"), wire) is ERROR
    assert "after the end" in str(outgoing.error)
    assert bytes(wire) == before


# ---------------------------------------------------------------- limits


@every_format
@pytest.mark.parametrize("high", [1, 4096, 65537])
def test_decompressing_below_a_mark_gives_all_as_it_is_drained(kind: Format, high: int, rng: random.Random) -> None:
    """With less and less room than a step makes, nothing is lost in the decoder, and the source isn't empty before the end."""
    data = some_data(rng, min(300_000, 3000 * high)) + bytes(min(100_000, 1000 * high))
    incoming, _ = kind.filters()
    source, destination = Buffer(kind.compress(data)), Buffer()
    got = b""
    while source:
        assert pump(incoming, source, destination, high) is not ERROR, incoming.error
        assert len(destination) <= high
        got += destination.read()
    assert got == data
    assert pump(incoming, source, destination, high, FINISHED) is NEED_MORE


@every_format
@pytest.mark.parametrize("high", [1, 4096, 65537])
def test_compressing_below_a_mark_gives_all_as_it_is_drained(kind: Format, high: int, rng: random.Random) -> None:
    data = some_data(rng, min(300_000, 3000 * high))
    _, outgoing = kind.filters()
    source, wire = Buffer(data), Buffer()
    sent = b""
    while source:
        assert pump(outgoing, source, wire, high) is OK
        sent += wire.read()
    assert pump(outgoing, source, wire, None, FINISHED) is OK
    assert kind.decompress(sent + wire.read()) == data


@every_format
@pytest.mark.parametrize("mode", [FLUSH, FINISHED])
def test_a_flush_that_has_no_room_is_carried_on(kind: Format, mode: FlushMode, rng: random.Random) -> None:
    """Once asked for, it happens, whatever the mode of the calls that follow."""
    data = rng.randbytes(10_000)
    _, outgoing = kind.filters()
    source, wire = Buffer(data), Buffer()
    assert step(outgoing, source, wire, 0, mode) is NEED_MORE
    sent = b""
    while source:
        assert step(outgoing, source, wire, 100, NORMAL) is OK
        sent += wire.read()
    assert (kind.decompress if mode is FINISHED else kind.partly)(sent) == data
    assert step(outgoing, source, wire, None, mode) is NEED_MORE


@every_format
def test_without_room_nothing_is_done(kind: Format) -> None:
    incoming, outgoing = kind.filters()
    plain, compressed, destination = Buffer(b"abc"), Buffer(kind.compress(b"abc")), Buffer()
    for limit in (0, -1, -100):
        for mode in FlushMode:
            assert step(outgoing, plain, destination, limit, mode) is NEED_MORE
            assert step(incoming, compressed, destination, limit, mode) is NEED_MORE
    assert kind.decompress(bytes(compressed)) == b"abc"


@st.composite
def plans(draw: st.DrawFn) -> list[tuple[bytes, int | None, FlushMode, int]]:
    """What is written, below which mark, in which mode, and how much is drained after."""
    piece = st.one_of(
        st.binary(max_size=50),
        st.builds(lambda what, times: what * times, st.binary(max_size=8), st.integers(0, 20_000)),
        st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 2**32), st.integers(0, 100_000)),
    )
    mark = st.one_of(st.none(), st.integers(1, 300), st.integers(1, 200_000))
    mode = st.sampled_from([NORMAL, NORMAL, FLUSH])
    step = st.tuples(piece, mark, mode, st.one_of(st.integers(0, 100), st.just(2**30)))
    return draw(st.lists(step, max_size=12))


@every_format
@given(plan=plans(), chance=st.randoms(use_true_random=False))
def test_any_splits_limits_and_flushes(kind: Format, plan: list[Any], chance: random.Random) -> None:
    """Every byte once and in order, over both filters, with buffers between them that are small now and then."""
    incoming, outgoing = kind.filters(max_ratio=None)
    source, sent, received, got = Buffer(), Buffer(), Buffer(), Buffer()
    wire, all_data, out = b"", b"", b""
    for piece, mark, mode, drained in plan:
        all_data += piece
        source.write(piece)
        pump(outgoing, source, sent, mark, mode)
        if mode is FLUSH and not source and mark is None and wire + bytes(sent):
            assert kind.partly(wire + bytes(sent)) == all_data
        moved = sent.read(drained)
        wire += moved
        received.write(moved)
        assert pump(incoming, received, got, chance.choice([None, mark, 10])) is not ERROR, incoming.error
        out += got.read(chance.choice([0, 10, -1]))
        assert all_data.startswith(out)
    pump(outgoing, source, sent, None, FINISHED)
    assert not source
    wire += bytes(sent)
    assert kind.decompress(wire) == all_data
    sent.remove_buffer(received)
    pump(incoming, received, got, None, FINISHED)
    assert incoming.error is None
    assert not received
    assert out + bytes(got) == all_data


# ---------------------------------------------------------------- bombs


@every_format
@pytest.mark.parametrize("limit", [None, 10_000])
def test_a_bomb_is_an_error(kind: Format, limit: int | None) -> None:
    bomb = kind.compress(bytes(64 << 20))
    incoming, _ = kind.filters()
    source, got = Buffer(bomb), Buffer()
    result, size = OK, 0
    while result is OK:
        result = step(incoming, source, got, limit, NORMAL)
        size += len(got)
        got.drain()
    assert result is ERROR
    assert isinstance(incoming.error, ExpansionError)
    taken = len(bomb) - len(source)
    assert 1 << 20 <= size <= (1 << 20) + 100 * taken


@every_format
def test_what_expands_much_and_is_small_is_no_bomb(kind: Format) -> None:
    data = bytes(1 << 20)
    assert through(kind.filters(max_ratio=1)[0], kind.compress(data)) == data


@every_format
def test_the_ratio_counts_from_the_beginning(kind: Format, rng: random.Random) -> None:
    """Ten times the bytes of noise: allowed with 11, not with 9."""
    noise = rng.randbytes(1 << 20)
    data = noise + bytes(10 << 20)
    compressed = kind.compress(data)
    assert through(kind.filters(max_ratio=11)[0], compressed) == data
    with pytest.raises(ExpansionError, match="9 for each"):
        through(kind.filters(max_ratio=9)[0], compressed)
    assert through(kind.filters(max_ratio=None)[0], compressed) == data


@every_format
def test_a_largest_size(kind: Format) -> None:
    compressed = kind.compress(b"x" * 1000)
    assert through(kind.filters(max_size=1000)[0], compressed) == b"x" * 1000
    with pytest.raises(ExpansionError, match="more than 999 bytes"):
        through(kind.filters(max_size=999)[0], compressed)
    assert through(kind.filters(max_size=0)[0], kind.compress(b"")) == b""


def test_bombs_with_the_limit_off_take_no_memory_beyond_the_mark() -> None:
    """4 GiB out of 128 KiB of zstd, and a GiB out of a MiB of zlib, a little of them drained at a time."""
    out = check_child(
        """
import pathlib, resource, zlib
import pylibevent as ev

def zlib_bomb():
    stream = zlib.compressobj(9)
    zeros = bytes(1 << 24)
    return b"".join([stream.compress(zeros) for _ in range(4)] + [stream.flush()])

def zstd_bomb():
    frame = b"\\x28\\xb5\\x2f\\xfd\\x00\\x38"  # no size, no checksum, a window of 128 KiB
    block = (1 << 1 | 1 << 17 << 3).to_bytes(3, "little") + b"x"  # 128 KiB of x
    return frame + block * 32768

bombs = [(ev.filters.zlib_filter, zlib_bomb()), (ev.filters.zstd_filter, zstd_bomb())]
size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (48 << 20),) * 2)
for make, bomb in bombs:
    for limit in (100, 100_000):
        incoming, _ = make(max_ratio=None)
        source, got = ev.Buffer(bomb), ev.Buffer()
        for _ in range(500):
            assert incoming.feed(source, got, limit, ev.FlushMode.NORMAL) is ev.FilterResult.OK, incoming.error
            assert len(got) == limit
            got.drain()
    incoming, _ = make()
    source, got, result = ev.Buffer(bomb), ev.Buffer(), ev.FilterResult.OK
    while result is ev.FilterResult.OK:
        result = incoming.feed(source, got, None, ev.FlushMode.FINISHED)
    assert isinstance(incoming.error, ev.ExpansionError)
print("bounded")
"""
    )
    assert out == "bounded\n"


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"level": 23}, ValueError, "level must be from"),
        ({"level": -200_000}, ValueError, "level must be from"),
        ({"level": "9"}, TypeError, "level must be an int, not str"),
        ({"level": True}, TypeError, "level must be an int, not bool"),
        ({"max_ratio": 0.5}, ValueError, "max_ratio must be finite and at least 1, not 0.5"),
        ({"max_ratio": float("nan")}, ValueError, "max_ratio must be"),
        ({"max_ratio": float("inf")}, ValueError, "max_ratio must be"),
        ({"max_ratio": "1"}, TypeError, "max_ratio must be a number or None, not str"),
        ({"max_size": -1}, ValueError, "max_size must be from 0"),
        ({"max_size": 1.5}, TypeError, "max_size must be an int, not float"),
    ],
)
def test_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    for make in (zlib_filter, gzip_filter, zstd_filter):
        with pytest.raises(error, match=text):
            make(**arguments)


def test_without_the_library_zstd_says_what_to_install() -> None:
    out = check_child(
        """
import sys
sys.modules["zstandard"] = None
import pylibevent as ev
ev.filters.zlib_filter()
try:
    ev.filters.zstd_filter()
except ImportError as error:
    print(error)
"""
    )
    assert out == "zstd_filter() needs the library zstandard: pip install pylibevent[zstd]\n"


@every_format
def test_feeding_it_what_it_cannot_take(kind: Format) -> None:
    incoming, outgoing = kind.filters()
    for filter in (incoming, outgoing):
        with pytest.raises(ValueError, match="FlushMode"):
            filter.feed(Buffer(), Buffer(), None, 7)
        closed = Buffer()
        closed.close()
        with pytest.raises(Exception, match="closed"):
            filter.feed(closed, Buffer(), None, NORMAL)
        assert filter.error is None


# ---------------------------------------------------------------- upstream's


def test_the_values_of_upstream() -> None:
    """regress_bufferevent.c bufferevent/bufferevent_zlib: its filters alone, 8333 bytes in two pieces, then the end."""
    data = bytes(i % 256 for i in range(8333))
    incoming, outgoing = zlib_filter()
    source, wire, got = Buffer(), Buffer(), Buffer()
    for piece in (data[:1800], data[1800:]):
        source.write(piece)
        assert pump(outgoing, source, wire) is OK
    assert pump(outgoing, source, wire, mode=FINISHED) is OK
    assert zlib.decompress(bytes(wire)) == data
    while wire:
        assert pump(incoming, wire, got) is OK
    assert bytes(got) == data
