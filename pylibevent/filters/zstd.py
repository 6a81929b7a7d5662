"""zstd_filter: Zstandard, by the library ``zstandard``.

That library has no bound on what it makes of one call's bytes, and four bytes can stand for 128 KiB. So the decoder reads the
outer structure itself (RFC 8878, 3.1) and passes on at most one block at a time, which the format bounds by 128 KiB of data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import FilterError, check_int
from .expansion import MAX_RATIO, Expansion
from .stream import Compressor, Decompressor

if TYPE_CHECKING:
    import zstandard

MAX_WINDOW = 8 << 20
"""Bytes of memory that a stream may ask for. RFC 8878 wants decoders to allow 8 MiB; RFC 9659 makes that the bound for HTTP."""

_FASTEST, _HARDEST = -(1 << 17), 19  # harder ones need larger windows, and the zstd program's --ultra


def zstd_filter(
    level: int = 3, *, max_ratio: float | None = MAX_RATIO, max_size: int | None = None
) -> tuple[Decompressor, Compressor]:
    """Two filters that decompress what comes in and compress what goes out, as Zstandard (RFC 8878).

    It needs the library ``zstandard``: ``pip install pylibevent[zstd]``. Writing keeps bytes back until
    ``flush(EventFlag.WRITE, FlushMode.FLUSH)``; ``FINISHED`` ends the frame, and what is written after that begins a new one.
    Frames that need more than 8 MiB of memory, or a dictionary, are refused.

    Args:
        level: How hard to compress, from -131072 to 19.
        max_ratio: How many bytes may come out, beyond the first MiB, for each that came in, from 1; None for any number.
        max_size: How many bytes may come out in all; None for any number.

    Returns:
        The input and the output filter, for one bufferevent: they keep what they have seen.

    Raises:
        ImportError: The library isn't installed.
    """
    try:
        import zstandard  # noqa: F401
    except ImportError as error:
        raise ImportError("zstd_filter() needs the library zstandard: pip install pylibevent[zstd]") from error
    level = check_int(level, "level", _FASTEST, _HARDEST)
    return Decompressor(_Decoder(), Expansion(max_ratio, max_size)), Compressor(_Encoder(level))


class _Encoder:
    """Encodes; the state is there only within a frame."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._frame: zstandard.ZstdCompressionObj | None = None

    def _opened(self) -> zstandard.ZstdCompressionObj:
        if self._frame is None:
            import zstandard

            self._frame = zstandard.ZstdCompressor(level=self._level, write_checksum=True).compressobj()
        return self._frame

    def encode(self, data: bytes) -> bytes:
        return self._opened().compress(data)

    def sync(self) -> bytes:
        import zstandard

        return self._opened().flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        end = self._opened().flush()
        self._frame = None
        return end


_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50  # to 0x184D2A5F
_RLE = 1
_DICTIONARY_ID_SIZES = (0, 1, 2, 4)
_CONTENT_SIZE_SIZES = (0, 2, 4, 8)


class _Decoder:
    """Decodes: collects a header, which says how long what follows is; passes that on, or skips it; and so forth."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._checksum = False
        self._damage: FilterError | None = None
        self._between()

    @property
    def whole(self) -> bool:
        return self._then == self._magic and not self._header

    def decode(self, data: bytes, most: int) -> tuple[bytes, int, bool]:
        taken = 0
        while self._damage is None and len(self._pending) < most and taken < len(data):
            part = data[taken : taken + self._missing]
            taken += len(part)
            try:
                self._take(part)
            except FilterError as error:
                self._damage = error
        if self._damage is not None and not self._pending:
            raise self._damage
        out = bytes(self._pending[:most])
        del self._pending[:most]
        return out, taken, bool(self._pending) or self._damage is not None

    def _take(self, part: bytes) -> None:
        """Some of what is missing."""
        self._missing -= len(part)
        if self._collecting:
            self._header += part
        else:
            self._give(part)
        if not self._missing:
            self._then(self._header)

    def _collect(self, size: int, then: Callable[[bytes], None]) -> None:
        """Have ``then`` called with the next so many bytes."""
        self._collecting, self._header, self._missing, self._then = True, b"", size, then

    def _pass(self, size: int, then: Callable[[bytes], None]) -> None:
        """Decompress, or skip outside of a frame, the next so many bytes and then call ``then``."""
        self._collecting, self._header, self._missing, self._then = False, b"", size, then
        if not size:
            then(b"")

    def _give(self, data: bytes) -> None:
        if self._frame is None:
            return
        import zstandard

        try:
            self._pending += self._frame.decompress(data)
        except zstandard.ZstdError as error:
            raise FilterError(f"what came can't be decompressed: {error}") from None

    def _between(self, header: bytes = b"") -> None:
        self._frame = None
        self._collect(4, self._magic)

    def _magic(self, header: bytes) -> None:
        number = int.from_bytes(header, "little")
        if number == _MAGIC:
            self._collect(1, self._descriptor)
        elif number & ~0xF == _SKIPPABLE:
            self._collect(4, self._skippable)
        else:
            raise FilterError("what came can't be decompressed: it isn't a zstd frame")

    def _skippable(self, header: bytes) -> None:
        self._pass(int.from_bytes(header, "little"), self._between)

    def _descriptor(self, header: bytes) -> None:
        import zstandard

        (bits,) = header
        single_segment = bits >> 5 & 1
        self._checksum = bool(bits >> 2 & 1)
        content_size = _CONTENT_SIZE_SIZES[bits >> 6] or single_segment
        self._frame = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
        self._give(_MAGIC.to_bytes(4, "little") + header)
        self._pass((not single_segment) + _DICTIONARY_ID_SIZES[bits & 3] + content_size, self._next_block)

    def _next_block(self, header: bytes) -> None:
        self._collect(3, self._block)

    def _block(self, header: bytes) -> None:
        bits = int.from_bytes(header, "little")
        kind, size = bits >> 1 & 3, bits >> 3
        self._give(header)
        self._pass(1 if kind == _RLE else size, self._last_block if bits & 1 else self._next_block)

    def _last_block(self, header: bytes) -> None:
        self._pass(4 if self._checksum else 0, self._between)
