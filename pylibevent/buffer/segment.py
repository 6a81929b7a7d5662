"""FileSegment: a part of a file, for any number of buffers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from .._handle import next_id
from .._libevent import lib
from ..errors import MAX_SIZE, check_callable, check_descriptor, check_int, check_pointer, check_size
from .news import lent, settle


class FileSegment:
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

    __slots__ = ("_h", "_length")

    def __init__(
        self, file: object, offset: int = 0, length: int | None = None, *, on_release: Callable[[], object] | None = None
    ) -> None:
        check_callable(on_release, "on_release")
        fd = check_descriptor(file, "file")
        offset = check_int(offset, "offset", 0, MAX_SIZE)
        wanted = check_size(length, "length")
        token = next_id()
        lent[token] = (None, on_release)
        self._h: Any = None
        try:
            segment = lib.pev_segment_new(fd, offset, wanted, token)
            self._h = check_pointer(segment, f"{offset}+{'end' if wanted < 0 else wanted} of {file!r}")
        except BaseException:
            del lent[token]
            raise
        self._length = int(lib.pev_segment_length(self._h))

    def close(self) -> None:
        """Let go of the bytes; buffers that have them keep them (``evbuffer_file_segment_free``). Idempotent."""
        handle, self._h = self._h, None
        if handle is not None:
            lib.pev_segment_drop(handle)
            settle()

    def __len__(self) -> int:
        return self._length

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FileSegment {self._length} bytes{', closed' if self._h is None else ''}>"

    def __reduce_ex__(self, protocol: object) -> Any:
        """Refuse to be copied or pickled."""
        raise TypeError("cannot copy or pickle 'FileSegment' object: it holds an object of libevent's")

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting() and getattr(self, "_h", None) is not None:
            lib.pev_segment_drop(self._h)
