"""FileSegment: a part of a file, for any number of buffers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .._handle import Handle, next_id
from .._libevent import lib
from ..errors import MAX_SIZE, check_callable, check_descriptor, check_int, check_pointer, check_size
from .news import lent, settle, settle_quietly


class FileSegment(Handle):
    """A part of a file, to be added to any number of buffers (``evbuffer_file_segment_new``,
    ``evbuffer_file_segment_add_cleanup_cb``).

    It is read when the segment is made, and never mapped: a file that shrinks would end the process.

    Args:
        file: A regular file: a descriptor, or an object with ``fileno()``. It may be closed afterwards.
        offset: Where the part begins, from 0.
        length: How many bytes it has. None: up to the end.
        on_release: Called without arguments when neither the segment nor a buffer holds the bytes any more.

    Raises:
        ValueError: The part goes beyond the end of the file.
        OSError: The file can't be read, or isn't a regular one (ESPIPE).
    """

    __slots__ = ("_closed", "_length")

    def __init__(
        self, file: object, offset: int = 0, length: int | None = None, *, on_release: Callable[[], object] | None = None
    ) -> None:
        self._begin()
        check_callable(on_release, "on_release")
        fd = check_descriptor(file, "file")
        offset = check_int(offset, "offset", 0, MAX_SIZE)
        wanted = check_size(length, "length")
        token = next_id()
        lent[token] = (None, on_release)
        self._closed = False
        try:
            segment = lib.pev_segment_new(fd, offset, wanted, token)
            self._h = check_pointer(segment, f"{offset}+{'end' if wanted < 0 else wanted} of {file!r}")
        except BaseException:
            del lent[token]
            raise
        self._length = int(lib.pev_segment_length(self._h))

    def close(self) -> None:
        """Let go of the bytes; buffers that have them keep them (``evbuffer_file_segment_free``). Idempotent."""
        lib.pev_segment_close(self._h)
        self._closed = True
        settle()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def __len__(self) -> int:
        return self._length

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _describe(self) -> str:
        return f"<FileSegment {self._length} bytes{', closed' if self._closed else ''}>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if _exiting():
            return
        with contextlib.suppress(AttributeError):
            lib.pev_segment_drop(object.__getattribute__(self, "_h"))
            settle_quietly()
