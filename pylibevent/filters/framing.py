"""line_filter and length_prefix_filter: what comes in is held back until a line, or a message, is whole.

The rules that both keep:

1. Only whole pieces reach the destination, as they are, so that a read callback never sees a part of one; it may see several.
2. The bytes of a piece that isn't whole yet are moved into a store here. Left in the source they could fill it up to its high
   mark, and then nothing would come any more.
3. A whole piece that has no room yet stays in the source, at least its last byte, so that the filter is called again. One for
   which there can never be room is an error, for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..buffer import Buffer
from ..errors import MAX_INT, FilterError, check_choice, check_int
from ..flags import EOLStyle, FlushMode
from .filter import Filter

if TYPE_CHECKING:
    from typing_extensions import Buffer as BytesLike

MAX_LINE = 1 << 16
"""Bytes in a line: what asyncio's streams allow."""

MAX_MESSAGE = 4 << 20
"""Bytes in a message: what gRPC allows."""


_STRETCH = 1 << 16


class _Framing(Filter):
    """Passes whole pieces on."""

    def __init__(self) -> None:
        super().__init__()
        self._store = Buffer()

    def _run(self, source: Buffer, destination: Buffer, room: int, mode: FlushMode) -> None:
        while room > 0 and source and (given := self._pass(source, destination, room)) is not None:
            room -= given
        if mode is FlushMode.FINISHED and self._store and not source:
            self._finish(destination, room)

    def _pass(self, source: Buffer, destination: Buffer, room: int) -> int | None:
        """Pass on and store what is there now: it may be more after that. How many bytes went on, or None if one must wait."""
        stored, available = len(self._store), len(source)
        most = room + len(destination)
        end = 0  # of the whole pieces that go on
        waits = False
        try:
            while end < available and not waits:
                before = 0 if end else stored
                if not before and (many := self._many(source.copyout(min(_STRETCH, room - end - stored), end))):
                    end += many
                    continue
                size, whole = self._measure(source, end, before)
                if size > most:
                    raise FilterError(f"what is to be passed on whole has {size} bytes or more, and the limit is {most}")
                if not whole:
                    break
                waits = size - before + end + stored > room
                if not waits:
                    end += size - before
        finally:
            if end:
                destination.add_buffer(self._store)
                source.remove_buffer(destination, end)
                self._done = True
        if waits:
            return None
        source.remove_buffer(self._store, available - end)
        return end + stored if end else 0

    def _many(self, data: bytes) -> int:
        """How many bytes of this, where a piece begins, are whole pieces that are in order: a fast look at small ones."""
        raise NotImplementedError

    def _measure(self, source: Buffer, start: int, stored: int) -> tuple[int, bool]:
        """How many bytes the piece has, as far as one can tell, that begins in the store or there, and whether it is whole."""
        raise NotImplementedError

    def _finish(self, destination: Buffer, room: int) -> None:
        """The end, and something is left in the store."""
        raise NotImplementedError


# ---------------------------------------------------------------- lines


class LineFilter(_Framing):
    """An input filter that passes whole lines on.

    Attributes:
        error: Why it can't go on, or None.
    """

    def __init__(self, style: EOLStyle, max_length: int, allow_unterminated: bool) -> None:
        super().__init__()
        self._style = check_choice(style, EOLStyle, "style")
        self._ends = (b"\r", b"\n") if self._style is EOLStyle.ANY else (_END[self._style],)
        self._max_length = check_int(max_length, "max_length", 1, MAX_INT)
        self._allow_unterminated = bool(allow_unterminated)

    def _many(self, data: bytes) -> int:
        found = ((data.rfind(end, 0, self._max_length), end) for end in self._ends)
        return max(at + len(end) if at >= 0 else 0 for at, end in found)

    def _measure(self, source: Buffer, start: int, stored: int) -> tuple[int, bool]:
        if stored and self._style in _CRLF and self._store.copyout(1, stored - 1) + source.copyout(1) == b"\r\n":
            length, size, whole = stored - 1, stored + 1, True
        elif (found := source.search_eol(self._style, start)) is not None:
            length = stored + found[0] - start
            size, whole = length + found[1], True
        else:
            size, whole = stored + len(source) - start, False
            length = size - 1  # the last byte may be the first of the end
        if length > self._max_length:
            raise FilterError(f"a line has more than {self._max_length} bytes")
        return size, whole

    def _finish(self, destination: Buffer, room: int) -> None:
        size = len(self._store)
        if not self._allow_unterminated:
            raise FilterError(f"the last line is cut short: {size} bytes and no end")
        if size > self._max_length:
            raise FilterError(f"a line has more than {self._max_length} bytes")
        end = _END[self._style]
        if size + len(end) <= room:
            destination.add_buffer(self._store)
            destination.write(end)
            self._done = True


_CRLF = (EOLStyle.CRLF, EOLStyle.CRLF_STRICT)
_END = {
    EOLStyle.ANY: b"\n",
    EOLStyle.CRLF: b"\n",
    EOLStyle.CRLF_STRICT: b"\r\n",
    EOLStyle.LF: b"\n",
    EOLStyle.NUL: b"\0",
}


def line_filter(
    style: EOLStyle = EOLStyle.CRLF, *, max_length: int = MAX_LINE, allow_unterminated: bool = False
) -> tuple[LineFilter, None]:
    """A filter that holds back what comes in until a line is whole. What goes out is left as it is.

    A read callback takes the lines, one or several::

        while (line := bev.input.readline(style)) is not None:
            ...

    Args:
        style: What ends a line.
        max_length: Bytes in a line, its end not counted, from 1. A longer one is an error; so is one that is longer, with its
            end, than the high mark for reading.
        allow_unterminated: Whether the stream may end within a line, which then gets the end that it lacks; an error otherwise.

    Returns:
        The input filter, and None.
    """
    return LineFilter(style, max_length, allow_unterminated), None


# ---------------------------------------------------------------- messages


@dataclass(frozen=True, slots=True)
class LengthPrefix:
    """Messages that begin with their length, an unsigned number that doesn't count itself.

    Attributes:
        size: Bytes of the number, 1 to 8.
        byteorder: ``"big"`` or ``"little"``.
        max_length: Bytes in a message, from 0. A longer one is an error.
    """

    size: int = 4
    byteorder: Literal["big", "little"] = "big"
    max_length: int = MAX_MESSAGE

    def __post_init__(self) -> None:
        check_int(self.size, "size", 1, 8)
        check_int(self.max_length, "max_length", 0, MAX_INT)
        if self.byteorder not in ("big", "little"):
            raise ValueError(f'byteorder must be "big" or "little", not {self.byteorder!r}')

    def pack(self, message: BytesLike) -> bytes:
        """A message with its length before it.

        Args:
            message: Bytes-like.

        Raises:
            ValueError: It is longer than max_length, or than the number can say.
        """
        with memoryview(message) as view:
            most = min(self.max_length, 256**self.size - 1)
            if view.nbytes > most:
                raise ValueError(f"message must have {most} bytes at most, not {view.nbytes}")
            return view.nbytes.to_bytes(self.size, self.byteorder) + view.tobytes()

    def read(self, buffer: Buffer) -> bytes | None:
        """Take a message from the front of a buffer.

        Args:
            buffer: The buffer, such as ``bev.input``.

        Returns:
            The message without its length, or None while there is no whole one.

        Raises:
            FilterError: It is longer than max_length.
        """
        if not isinstance(buffer, Buffer):
            raise TypeError(f"buffer must be a Buffer, not {type(buffer).__name__}")
        total = self._total(buffer.copyout(self.size))
        if total is None or total > len(buffer):
            return None
        buffer.drain(self.size)
        return buffer.read(total - self.size)

    def _total(self, head: bytes) -> int | None:
        """How many bytes the message has with its length, or None if that isn't there yet."""
        if len(head) < self.size:
            return None
        length = int.from_bytes(head, self.byteorder)
        if length > self.max_length:
            raise FilterError(f"a message of {length} bytes is announced, and at most {self.max_length} are allowed")
        return self.size + length


class LengthPrefixFilter(_Framing):
    """An input filter that passes whole messages on, with their lengths.

    Attributes:
        error: Why it can't go on, or None.
    """

    def __init__(self, format: LengthPrefix) -> None:
        if not isinstance(format, LengthPrefix):
            raise TypeError(f"format must be a LengthPrefix, not {type(format).__name__}")
        super().__init__()
        self._format = format

    def _many(self, data: bytes) -> int:
        size, byteorder, longest = self._format.size, self._format.byteorder, self._format.max_length
        end = 0
        while (start := end + size) <= len(data):
            length = int.from_bytes(data[end:start], byteorder)
            if length > longest or start + length > len(data):
                break
            end = start + length
        return end

    def _measure(self, source: Buffer, start: int, stored: int) -> tuple[int, bool]:
        size = self._format.size
        head = self._store.copyout(size) if stored else b""
        there = stored + len(source) - start
        total = self._format._total(head + source.copyout(size - len(head), start))
        return (there, False) if total is None else (total, total <= there)

    def _finish(self, destination: Buffer, room: int) -> None:
        raise FilterError(f"the last message is cut short: {len(self._store)} bytes of it came")


def length_prefix_filter(format: LengthPrefix | None = None) -> tuple[LengthPrefixFilter, None]:
    """A filter that holds back what comes in until a message is whole. What goes out is left as it is.

    What is written is packed, and a read callback takes the messages, one or several::

        format = LengthPrefix(size=2)
        bev = ev.FilterBufferEvent(underlying, *length_prefix_filter(format))
        bev.write(format.pack(b"hello"))
        ...
        while (message := format.read(bev.input)) is not None:
            ...

    Args:
        format: What a message looks like. None: LengthPrefix(). A message that is longer, with its length, than the high mark
            for reading is an error.

    Returns:
        The input filter, and None.
    """
    return LengthPrefixFilter(LengthPrefix() if format is None else format), None
