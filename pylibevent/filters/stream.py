"""Compressor and Decompressor: what the filters of all compressed formats have in common.

The rules they keep:

1. Memory is bounded by steps: a step takes at most STEP bytes, and a bomb is noticed after one step too many, not after all
   of it.
2. ``limit`` is never exceeded. What a step made and the limit keeps back waits, at most one step's worth; and
3. so that the filter is called again for it, one byte that has gone through already stays in the source: the held byte.
   libevent calls a filter again only for a source that isn't empty.
"""

from __future__ import annotations

from typing import Protocol

from ..buffer import Buffer
from ..errors import FilterError
from ..flags import FlushMode
from .expansion import Expansion
from .filter import Filter

STEP = 1 << 16
LEAST = 1 << 9


class Encoder(Protocol):
    """One direction of a compressed format."""

    def encode(self, data: bytes) -> bytes:
        """Compress bytes; may keep some."""

    def sync(self) -> bytes:
        """Give all that was kept, so that the other side can decompress it."""

    def finish(self) -> bytes:
        """End the stream."""


class Decoder(Protocol):
    """The other direction."""

    @property
    def whole(self) -> bool:
        """Whether the stream may end here: before it, after it, and between the parts of one that has parts."""

    def decode(self, data: bytes, most: int) -> tuple[bytes, int, bool]:
        """Decompress bytes. What came before damage is given first, and the next call raises.

        Returns:
            At most so many bytes; how many it took; and whether there may be more to give, or to say, without taking any.

        Raises:
            FilterError: What came is damaged.
        """


class Compressor(Filter):
    """A filter that compresses: NORMAL keeps bytes back for better results, FLUSH sends all, FINISHED ends the stream.

    Attributes:
        error: Why it can't go on, or None.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder
        self._pending = memoryview(b"")
        self._held = 0
        self._mode = FlushMode.NORMAL  # what was asked for and isn't done yet
        self._keeps = False  # the encoder may be keeping bytes back
        self._ended = False  # an end was written, and nothing after it

    def _run(self, source: Buffer, destination: Buffer, room: int, mode: FlushMode) -> None:
        self._mode = max(self._mode, mode)
        while room > 0 or not self._pending:
            if self._pending:
                part, self._pending = self._pending[:room], self._pending[room:]
                room -= destination.write(part)
                self._done = True
            elif not self._step(source, room):
                break

    def _step(self, source: Buffer, room: int) -> bool:
        """Make something pending; whether there was anything left to do."""
        data = source.copyout(min(max(room, LEAST), STEP), self._held)
        if data:
            if room <= 0:
                return False
            made = self._encoder.encode(data)
            source.drain(self._held + len(data) - 1)
            self._held = 1
            self._keeps, self._ended = True, False
        elif self._mode is FlushMode.FLUSH and self._keeps:
            made, self._keeps = self._encoder.sync(), False
        elif self._mode is FlushMode.FINISHED and not self._ended:
            made, self._keeps, self._ended = self._encoder.finish(), False, True
        else:
            self._done |= self._held > 0
            source.drain(self._held)
            self._held, self._mode = 0, FlushMode.NORMAL
            return False
        self._done = True
        self._pending = memoryview(made)
        return True


class Decompressor(Filter):
    """A filter that decompresses: whatever can be had is given at once, and FINISHED within a stream is an error.

    Attributes:
        error: Why it can't go on, or None.
    """

    def __init__(self, decoder: Decoder, expansion: Expansion) -> None:
        super().__init__()
        self._decoder = decoder
        self._expansion = expansion
        self._held = 0

    def _run(self, source: Buffer, destination: Buffer, room: int, mode: FlushMode) -> None:
        while room > 0:
            data = source.copyout(min(max(room, LEAST), STEP), self._held)
            if not data and not self._held:
                break
            out, taken, more = self._decoder.decode(data, min(room, STEP))
            self._expansion.count(taken, len(out))
            if out:
                room -= destination.write(out)
                self._done = True
            gone = self._held + taken
            self._held = 1 if more and gone else 0
            source.drain(gone - self._held)
        if mode is FlushMode.FINISHED and not source and not self._decoder.whole:
            raise FilterError("compressed data is cut short: it ends within a stream")
