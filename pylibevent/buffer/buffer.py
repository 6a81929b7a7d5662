"""Buffer: a queue of bytes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .._handle import Handle, next_id
from .._libevent import ffi, lib
from ..errors import (
    MAX_INT,
    MAX_SIZE,
    ClosedError,
    as_bytes,
    check,
    check_callable,
    check_choice,
    check_descriptor,
    check_int,
    check_pointer,
    check_size,
    check_two,
    failure,
)
from ..flags import EOLStyle
from .callbacks import Watched
from .loans import Peek, Reservation
from .news import BufferCallback, BufferChange, has_news, lent, settle, settle_quietly, watched
from .segment import FileSegment

if TYPE_CHECKING:
    from typing_extensions import Buffer as BytesLike


_NOT_FOUND = -1
_MOST_SPANS = 16

_allocate = ffi.new_allocator(should_clear_after_alloc=False)


class Buffer(Watched):
    """A queue of bytes in chains of memory (``evbuffer_new``): added at one end, taken from the other, moved without copying.

    Any thread may use it; each method is one step. The buffers of a bufferevent, its ``input`` and ``output``, belong to it:
    input can't be added to and output can't be drained.

    Args:
        data: What it holds at first, bytes-like.
    """

    __slots__ = ("_owner",)

    def __init__(self, data: BytesLike = b"") -> None:
        self._begin()
        self._id = next_id()
        self._owner: object = None
        self._callbacks = ()
        self._deferred = None
        self._waiting = None
        raw, n = as_bytes(data)
        self._own(check_pointer(lib.pev_buffer_new(self._id), "a Buffer"))
        if n:
            check(lib.pev_buffer_add(self._h, raw, n), self)

    @classmethod
    def _view(cls, owner: Handle, *, output: bool) -> Buffer:
        """The input or output of a bufferevent."""
        self = cls.__new__(cls)
        self._id = next_id()
        self._owner = owner
        self._callbacks = ()
        self._deferred = None
        self._waiting = None
        self._own(check_pointer(lib.pev_buffer_view(owner._h, output, self._id), owner))
        return self

    @classmethod
    def _for_filters(cls) -> Buffer:
        """Shows a filter its source or destination, while it is called."""
        self = cls.__new__(cls)
        self._id = next_id()
        self._owner = None
        self._callbacks = ()
        self._deferred = None
        self._waiting = None
        self._own(check_pointer(lib.pev_lent_new(self._id), "a Buffer"))
        return self

    def _settle(self) -> None:
        if has_news():
            settle()

    # ------------------------------------------------------------ adding

    def write(self, data: BytesLike) -> int:
        """Append bytes, copied (``evbuffer_add``).

        Args:
            data: Bytes-like.

        Returns:
            How many.

        Raises:
            BufferError: The end is frozen, or memoryviews of the buffer exist.
            ClosedError: The buffer is closed.
        """
        raw, n = as_bytes(data)
        check(lib.pev_buffer_add(self._h, raw, n), self)
        self._settle()
        return n

    def writelines(self, lines: Iterable[BytesLike]) -> int:
        """Append several, in order (``evbuffer_add_iovec``). Returns how many bytes that were."""
        return sum(self.write(line) for line in lines)

    def prepend(self, data: BytesLike) -> int:
        """Put bytes before the first, copied (``evbuffer_prepend``). As write()."""
        raw, n = as_bytes(data)
        check(lib.pev_buffer_prepend(self._h, raw, n), self)
        self._settle()
        return n

    def add_buffer(self, other: Buffer) -> None:
        """Move all of another buffer to the end, without copying (``evbuffer_add_buffer``)."""
        check_two(lib.pev_buffer_add_buffer(self._h, _handle_of(other, "other")), self, other)
        self._settle()

    def prepend_buffer(self, other: Buffer) -> None:
        """Move all of another buffer before the first byte, without copying (``evbuffer_prepend_buffer``)."""
        check_two(lib.pev_buffer_prepend_buffer(self._h, _handle_of(other, "other")), self, other)
        self._settle()

    def add_buffer_reference(self, other: Buffer) -> None:
        """Append what another buffer holds, which keeps it; neither copies (``evbuffer_add_buffer_reference``).

        Raises:
            ValueError: The other holds parts of files, or bytes that are such references themselves.
            TypeError: The other is a bufferevent's.
        """
        check_two(lib.pev_buffer_add_buffer_reference(self._h, _handle_of(other, "other")), self, other)
        self._settle()

    def add_reference(self, data: BytesLike, on_release: Callable[[], object] | None = None) -> int:
        """Append bytes without copying them (``evbuffer_add_reference``).

        The object is kept until libevent lets go of it; a bytearray can't change its size so long.

        Args:
            data: Bytes-like.
            on_release: Called without arguments when libevent has let go, after the operation or the pass that did it.

        Returns:
            How many bytes.
        """
        check_callable(on_release, "on_release")
        raw = ffi.from_buffer("char[]", data)
        if not len(raw):  # nothing that C would ever let go of
            check(lib.pev_buffer_add(self._h, raw, 0), self)
            if on_release is not None:
                on_release()
            return 0
        token = next_id()
        lent[token] = (raw, on_release)
        code = lib.pev_buffer_add_reference(self._h, raw, len(raw), token)
        if code < 0:
            del lent[token]
            check(code, self)
        self._settle()
        return len(raw)

    def add_file(self, file: object, offset: int = 0, length: int | None = None) -> int:
        """Append a part of a file (``evbuffer_add_file``). Arguments and errors as for FileSegment.

        Returns:
            How many bytes.
        """
        with FileSegment(file, offset, length) as segment:
            return self.add_file_segment(segment)

    def add_file_segment(self, segment: FileSegment, offset: int = 0, length: int | None = None) -> int:
        """Append a part of a segment, without copying (``evbuffer_add_file_segment``).

        Args:
            segment: The segment.
            offset: Where in it the part begins, from 0.
            length: How many bytes. None: up to its end.

        Returns:
            How many bytes.

        Raises:
            ValueError: The part goes beyond the end of the segment, or that is closed.
        """
        if not isinstance(segment, FileSegment):
            raise TypeError(f"segment must be a FileSegment, not {type(segment).__name__}")
        if segment.closed:
            raise ClosedError(f"{segment!r} is closed")
        offset = check_int(offset, "offset", 0, MAX_SIZE)
        wanted = check_size(length, "length")
        if offset > len(segment) or wanted > len(segment) - offset:
            raise ValueError(f"offset {offset} and length {length} go beyond the end of {segment!r}")
        check(lib.pev_buffer_add_segment(self._h, segment._h, offset, wanted), self)
        self._settle()
        return len(segment) - offset if wanted < 0 else wanted

    def expand(self, size: int) -> None:
        """Make room for so many more bytes in one stretch (``evbuffer_expand``)."""
        check(lib.pev_buffer_expand(self._h, check_int(size, "size", 0, MAX_SIZE)), self)

    def reserve(self, size: int, vectors: int = 2) -> Reservation:
        """Memory at the end to be filled in place (``evbuffer_reserve_space``, ``evbuffer_commit_space``).

        ::

            with buffer.reserve(4096) as space:
                space.commit(sock.recv_into(space.views[0]))

        Args:
            size: How many bytes at least, from 1.
            vectors: In how many stretches at most, 1 to 16.

        Returns:
            A Reservation, a context manager. While its block runs the buffer can't be changed.
        """
        return Reservation(self, check_int(size, "size", 1, MAX_SIZE), check_int(vectors, "vectors", 1, _MOST_SPANS))

    # ------------------------------------------------------------ taking

    def read(self, size: int | None = -1) -> bytes:
        """Take bytes from the front (``evbuffer_remove``).

        Args:
            size: How many at most. -1 or None: all.
        """
        wanted = check_size(size)
        n = check(lib.pev_buffer_length(self._h), self)
        n = n if wanted < 0 else min(wanted, n)
        out = _allocate("char[]", n)
        n = check(lib.pev_buffer_remove(self._h, out, n), self)
        self._settle()
        return bytes(ffi.buffer(out, n))

    def read_into(self, target: BytesLike) -> int:
        """Take bytes from the front into a writable object (``evbuffer_remove``).

        Returns:
            How many, at most the size of the target.
        """
        out = ffi.from_buffer("char[]", target, require_writable=True)
        n = check(lib.pev_buffer_remove(self._h, out, len(out)), self)
        self._settle()
        return n

    def readline(self, style: EOLStyle = EOLStyle.CRLF) -> bytes | None:
        """Take a line from the front, without its end (``evbuffer_readln``).

        Args:
            style: What ends a line.

        Returns:
            The line, or None while there is no whole one.
        """
        line, n = ffi.new("char **"), ffi.new("size_t *")
        if not check(lib.pev_buffer_readline(self._h, check_choice(style, EOLStyle, "style"), line, n), self):
            return None
        try:
            out = bytes(ffi.buffer(line[0], n[0]))
        finally:
            lib.pev_free(line[0])
        self._settle()
        return out

    def drain(self, size: int | None = -1) -> None:
        """Throw away bytes from the front (``evbuffer_drain``).

        Args:
            size: How many at most. -1 or None: all.
        """
        wanted = check_size(size)
        check(lib.pev_buffer_drain(self._h, 2 * MAX_SIZE if wanted < 0 else wanted), self)
        self._settle()

    def remove_buffer(self, other: Buffer, size: int | None = -1) -> int:
        """Move bytes from the front to the end of another buffer (``evbuffer_remove_buffer``).

        Args:
            other: Where to.
            size: How many at most. -1 or None: all.

        Returns:
            How many.
        """
        wanted = check_size(size)
        code = lib.pev_buffer_remove_buffer(self._h, _handle_of(other, "other"), MAX_SIZE if wanted < 0 else wanted)
        n = check_two(code, self, other)
        self._settle()
        return n

    # ------------------------------------------------------------ looking

    def copyout(self, size: int | None = -1, start: int = 0) -> bytes:
        """Copy bytes and leave them (``evbuffer_copyout``, ``evbuffer_copyout_from``).

        Args:
            size: How many at most. -1 or None: all.
            start: How many to skip, from 0.
        """
        wanted, start = check_size(size), check_int(start, "start", 0, MAX_SIZE)
        n = max(check(lib.pev_buffer_length(self._h), self) - start, 0)
        n = n if wanted < 0 else min(wanted, n)
        out = _allocate("char[]", n)
        n = check(lib.pev_buffer_copyout(self._h, out, n, start), self)
        return bytes(ffi.buffer(out, n))

    def peek(self, size: int | None = -1, start: int = 0) -> Peek:
        """Look at the bytes where they are (``evbuffer_peek``).

        ::

            with buffer.peek() as views:
                sock.sendmsg(views)

        Args:
            size: How many at most. -1 or None: all.
            start: How many to skip, from 0.

        Returns:
            A context manager that gives a tuple of read-only memoryviews. The buffer can't be changed before the block is
            over and all slices of the views are gone. Of a bufferevent's buffer, it raises RuntimeError while another thread
            runs the loop, or libevent waits for the callback that asks.
        """
        return Peek(self, check_size(size), check_int(start, "start", 0, MAX_SIZE))

    def _spans(self, size: int, start: int) -> list[tuple[Any, int]]:
        room = 8
        while True:
            out = ffi.new("struct pev_span[]", room)
            n = check(lib.pev_buffer_peek(self._h, MAX_SIZE if size < 0 else size, start, out, room), self)
            if n <= room:
                return [(out[i].start, out[i].length) for i in range(n)]
            room = n

    def pullup(self, size: int | None = -1) -> None:
        """Bring bytes at the front into one stretch of memory, so that peek() shows them in one view (``evbuffer_pullup``).

        Args:
            size: How many at most. -1 or None: all.
        """
        wanted = check_size(size)
        check(lib.pev_buffer_pullup(self._h, MAX_SIZE if wanted < 0 else wanted), self)
        self._settle()

    @property
    def contiguous(self) -> int:
        """How many bytes at the front are in one stretch (``evbuffer_get_contiguous_space``)."""
        return check(lib.pev_buffer_contiguous(self._h), self)

    def search(self, what: BytesLike, start: int = 0, end: int | None = None) -> int | None:
        """Where these bytes stand first (``evbuffer_search``, ``evbuffer_search_range``).

        Args:
            what: Bytes-like.
            start: Where to begin, from 0.
            end: Where they must end at the latest. None: at the end.

        Returns:
            The position, or None if they aren't there.
        """
        raw, n = as_bytes(what)
        start = check_int(start, "start", 0, MAX_SIZE)
        stop = MAX_SIZE if end is None else check_int(end, "end", 0, MAX_SIZE)
        return self._found(lib.pev_buffer_search(self._h, raw, n, start, stop))

    def search_eol(self, style: EOLStyle = EOLStyle.CRLF, start: int = 0) -> tuple[int, int] | None:
        """Where the first end of a line stands (``evbuffer_search_eol``).

        Args:
            style: What ends a line.
            start: Where to begin, from 0.

        Returns:
            Its position and its length, or None.
        """
        n, style = ffi.new("size_t *"), check_choice(style, EOLStyle, "style")
        found = lib.pev_buffer_search_eol(self._h, style, check_int(start, "start", 0, MAX_SIZE), n)
        position = self._found(found)
        return None if position is None else (position, int(n[0]))

    def _found(self, position: int) -> int | None:
        return None if position == _NOT_FOUND else check(position, self)

    def __len__(self) -> int:
        """How many bytes it holds (``evbuffer_get_length``)."""
        return check(lib.pev_buffer_length(self._h), self)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __bytes__(self) -> bytes:
        return self.copyout()

    # ------------------------------------------------------------ descriptors

    def read_from(self, fd: object, size: int = -1) -> int:
        """Read from a descriptor, once (``evbuffer_read``).

        Args:
            fd: A descriptor, or an object with ``fileno()``.
            size: How many bytes at most, up to 2**31 - 1. -1: what is there, up to 4096.

        Returns:
            How many came; 0 at the end of the file, or if size is 0.

        Raises:
            OSError: BlockingIOError if nothing is there.
        """
        number = check_descriptor(fd, "fd")
        n: int = lib.pev_buffer_read_fd(self._h, number, check_int(size, "size", -1, MAX_INT))
        if n < 0:
            raise failure(-n, self, f"descriptor {number}")
        self._settle()
        return n

    def write_to(self, fd: object, size: int | None = -1) -> int:
        """Write to a descriptor, once, and drain what was written (``evbuffer_write``, ``evbuffer_write_atmost``).

        Args:
            fd: A descriptor, or an object with ``fileno()``.
            size: How many bytes at most. -1 or None: all.

        Returns:
            How many were written.

        Raises:
            OSError: BlockingIOError if the descriptor takes nothing now.
        """
        number = check_descriptor(fd, "fd")
        n: int = lib.pev_buffer_write_fd(self._h, number, check_size(size))
        if n < 0:
            raise failure(-n, self, f"descriptor {number}")
        self._settle()
        return n

    if lib.pev_has_max_read():

        @property
        def max_read(self) -> int:
            """How many bytes read_from() takes at most; may be set (``evbuffer_get_max_read``, libevent 2.2)."""
            return check(lib.pev_buffer_get_max_read(self._h), self)

        @max_read.setter
        def max_read(self, size: int) -> None:
            check(lib.pev_buffer_set_max_read(self._h, check_int(size, "max_read", 1, MAX_INT)), self)

    # ------------------------------------------------------------ freezing

    def freeze(self, *, start: bool) -> None:
        """Refuse changes at one end (``evbuffer_freeze``).

        Args:
            start: True: nothing can be prepended or taken. False: nothing can be appended.

        Raises:
            BufferError: The end of a bufferevent's buffer that libevent needs itself.
        """
        check(lib.pev_buffer_freeze(self._h, bool(start)), self)

    def unfreeze(self, *, start: bool) -> None:
        """Undo freeze() (``evbuffer_unfreeze``)."""
        check(lib.pev_buffer_unfreeze(self._h, bool(start)), self)

    def _instead(self) -> str:
        """What to use where an end can't be changed, for the message."""
        if self._owner is None:
            return ""
        if getattr(self._owner, "_output", None) is self:
            return ": only its bufferevent takes from its output, to send it; abort() of that drops what isn't sent"
        return ": only its bufferevent adds to its input; write() of that sends bytes"

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Let go of the bytes (``evbuffer_free``). Idempotent; allowed in its own callbacks.

        Raises:
            BufferError: Memoryviews of the buffer exist.
            TypeError: It is a bufferevent's.
        """
        code = lib.pev_buffer_close(self._h)
        if code == -lib.PEV_EKIND and self._owner is None:
            raise TypeError(f"{self!r} is lent to the filter, and closed when that returns")
        if code == -lib.PEV_EKIND:
            raise TypeError(f"{self!r} is closed with its bufferevent, by close() of that")
        check(code, self)
        watched.pop(self._id, None)
        self._callbacks = ()
        self._settle()

    @property
    def closed(self) -> bool:
        """Whether it, or the bufferevent that it belongs to, is closed."""
        return bool(lib.pev_buffer_check(self._h) == -lib.PEV_ECLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _describe(self) -> str:
        n = lib.pev_buffer_length(self._h)
        state = f"{n} bytes" if n >= 0 else "closed" if n == -lib.PEV_ECLOSED else "not usable here"
        owner = f", of {type(self._owner).__name__}" if self._owner is not None else ""
        return f"<Buffer {state}{owner}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if _exiting():
            return
        with contextlib.suppress(AttributeError):
            handle = object.__getattribute__(self, "_h")
            watched.pop(self._id, None)
            lib.pev_buffer_drop(handle)
            settle_quietly()


def _handle_of(buffer: object, name: str) -> Any:
    if not isinstance(buffer, Buffer):
        raise TypeError(f"{name} must be a Buffer, not {type(buffer).__name__}")
    return buffer._h


__all__ = ["Buffer", "BufferCallback", "BufferChange", "FileSegment", "Peek", "Reservation"]
