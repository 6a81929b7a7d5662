"""zlib_filter and gzip_filter: deflate in its two wrappings."""

from __future__ import annotations

import contextlib
import zlib

from ..errors import FilterError, check_int
from .expansion import MAX_RATIO, Expansion
from .stream import Compressor, Decompressor

_ZLIB = zlib.MAX_WBITS
_GZIP = zlib.MAX_WBITS + 16


def zlib_filter(
    level: int = -1, *, max_ratio: float | None = MAX_RATIO, max_size: int | None = None
) -> tuple[Decompressor, Compressor]:
    """Two filters that decompress what comes in and compress what goes out, as one zlib stream (RFC 1950) each way.

    Writing keeps bytes back until ``flush(EventFlag.WRITE, FlushMode.FLUSH)``; ``FINISHED`` ends the stream. What is written,
    or comes, after that is an error.

    Args:
        level: How hard to compress, 0 to 9; -1 for zlib's own choice.
        max_ratio: How many bytes may come out, beyond the first MiB, for each that came in, from 1; None for any number.
        max_size: How many bytes may come out in all; None for any number.

    Returns:
        The input and the output filter, for one bufferevent: they keep what they have seen.
    """
    return _filters(_ZLIB, level, Expansion(max_ratio, max_size))


def gzip_filter(
    level: int = -1, *, max_ratio: float | None = MAX_RATIO, max_size: int | None = None
) -> tuple[Decompressor, Compressor]:
    """Two filters that decompress what comes in and compress what goes out, as gzip (RFC 1952).

    As zlib_filter(), but that a stream may have several members, one after the other: what is written after ``FINISHED`` begins
    a new one. Zero bytes after a member are skipped, as the gzip program does.

    Args:
        level: How hard to compress, 0 to 9; -1 for zlib's own choice.
        max_ratio: How many bytes may come out, beyond the first MiB, for each that came in, from 1; None for any number.
        max_size: How many bytes may come out in all; None for any number.

    Returns:
        The input and the output filter, for one bufferevent: they keep what they have seen.
    """
    return _filters(_GZIP, level, Expansion(max_ratio, max_size))


def _filters(wbits: int, level: int, expansion: Expansion) -> tuple[Decompressor, Compressor]:
    level = check_int(level, "level", -1, 9)
    return Decompressor(_Inflate(wbits), expansion), Compressor(_Deflate(wbits, level))


class _Deflate:
    """Encodes. The state, a quarter of a MiB, is there only within a stream."""

    def __init__(self, wbits: int, level: int) -> None:
        self._wbits, self._level = wbits, level
        self._ended = False
        self._stream: zlib._Compress | None = None

    def _opened(self) -> zlib._Compress:
        if self._stream is None:
            if self._ended and self._wbits == _ZLIB:
                raise FilterError("bytes were written after the end of the zlib stream")
            self._stream = zlib.compressobj(self._level, zlib.DEFLATED, self._wbits)
        return self._stream

    def encode(self, data: bytes) -> bytes:
        return self._opened().compress(data)

    def sync(self) -> bytes:
        return self._opened().flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        end = self._opened().flush(zlib.Z_FINISH)
        self._stream, self._ended = None, True
        return end


def _before_damage(stream: zlib._Decompress, data: bytes) -> tuple[bytes, int, bool]:
    """What zlib throws away when it finds damage behind it."""
    out = b""
    taken = 0
    with contextlib.suppress(zlib.error):
        for taken in range(len(data)):
            out += stream.decompress(data[taken : taken + 1])
    return out, taken, True


class _Inflate:
    """Decodes."""

    whole = True

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._ended = False
        self._stream: zlib._Decompress | None = None
        self._damage: FilterError | None = None

    def decode(self, data: bytes, most: int) -> tuple[bytes, int, bool]:
        if self._damage is not None:
            raise self._damage
        if self._stream is None:
            padding = self._padding(data)
            if padding:
                return b"", padding, False
            self._stream = zlib.decompressobj(self._wbits)
            self.whole = False
        stream = self._stream
        before = stream.copy()
        try:
            out = stream.decompress(data, most)
        except zlib.error as error:
            self._damage = FilterError(f"what came can't be decompressed: {error}")
            return _before_damage(before, data)
        if stream.eof:
            self._stream, self._ended, self.whole = None, True, True
            return out, len(data) - len(stream.unused_data), False
        return out, len(data) - len(stream.unconsumed_tail), len(out) == most

    def _padding(self, data: bytes) -> int:
        if not self._ended:
            return 0
        if self._wbits == _ZLIB:
            raise FilterError("bytes came after the end of the zlib stream")
        return len(data) - len(data.lstrip(b"\0"))
