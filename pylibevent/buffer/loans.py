"""Peek and Reservation: memory of a buffer, lent to Python for a block."""

from __future__ import annotations

import contextlib
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .._handle import NoCopy
from .._libevent import ffi, lib
from ..errors import check, check_int

if TYPE_CHECKING:
    from .buffer import Buffer


_out: dict[int, tuple[weakref.ref[Any], _Loan]] = {}
"""What shows memory of a buffer, while it lives, by the id of the reference. The loan keeps the buffer, and what that is of."""


def _gone(exporter: weakref.ref[Any]) -> None:
    _out.pop(id(exporter))[1].one_less()


class _Loan:
    """Memory of a buffer that memoryviews show. The buffer can't be changed until the last of them is gone: slices that the
    caller made outlive the block that lent them.
    """

    __slots__ = ("_buffer", "_left")

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._left = 1  # its maker, until everything is shown

    def show(self, spans: list[tuple[Any, int]], *, readonly: bool) -> tuple[memoryview, ...]:
        """Memoryviews of these stretches of memory."""
        views: list[memoryview] = []
        for start, length in spans:
            exporter = ffi.buffer(start, length)
            reference = weakref.ref(exporter, _gone)
            _out[id(reference)] = (reference, self)
            self._left += 1
            view = memoryview(exporter)
            views.append(view.toreadonly() if readonly else view)
        self.one_less()
        return tuple(views)

    def one_less(self) -> None:
        """One that showed it is gone; after the last, the buffer may be changed again."""
        self._left -= 1
        if self._left == 0:
            lib.pev_buffer_give_back(self._buffer._h)


def _end(views: tuple[memoryview, ...]) -> None:
    """The block is over: its views can't be used any more."""
    for view in views:
        with contextlib.suppress(BufferError):  # somebody shows it further: it is gone with that
            view.release()


class Peek(NoCopy):
    """The block in which memoryviews of a buffer can be used; made by ``Buffer.peek()``."""

    __slots__ = ("_buffer", "_size", "_start", "_views")

    def __init__(self, buffer: Buffer, size: int, start: int) -> None:
        self._buffer, self._size, self._start = buffer, size, start
        self._views: tuple[memoryview, ...] | None = None

    def __repr__(self) -> str:
        return f"<Peek of {self._buffer!r}{', in use' if self._views is not None else ''}>"

    def __enter__(self) -> tuple[memoryview, ...]:
        if self._views is not None:
            raise RuntimeError("this peek is in use already")
        check(lib.pev_buffer_lend(self._buffer._h), self._buffer)
        loan = _Loan(self._buffer)
        try:
            spans = self._buffer._spans(self._size, self._start)
        except BaseException:
            loan.one_less()
            raise
        self._views = loan.show(spans, readonly=True)
        return self._views

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        views, self._views = self._views, None
        if views is not None:
            _end(views)


class Reservation(NoCopy):
    """The block in which reserved memory can be filled; made by ``Buffer.reserve()``.

    Attributes:
        views: The writable memoryviews.
    """

    __slots__ = ("_buffer", "_committed", "_shown", "_size", "_spans", "_vectors")

    def __init__(self, buffer: Buffer, size: int, vectors: int) -> None:
        self._buffer, self._size, self._vectors = buffer, size, vectors
        self._shown: tuple[memoryview, ...] | None = None
        self._spans: Any = None
        self._committed = 0

    @property
    def views(self) -> tuple[memoryview, ...]:
        """The writable memoryviews, while the block runs."""
        return self._shown if self._shown is not None else ()

    def __enter__(self) -> Self:
        if self._shown is not None:
            raise RuntimeError("this reservation is in use already")
        self._spans = ffi.new("struct pev_span[]", self._vectors)
        n = check(lib.pev_buffer_reserve(self._buffer._h, self._size, self._spans, self._vectors), self._buffer)
        self._committed = 0
        spans = [(self._spans[i].start, self._spans[i].length) for i in range(n)]
        self._shown = _Loan(self._buffer).show(spans, readonly=False)
        return self

    def __repr__(self) -> str:
        return f"<Reservation in {self._buffer!r}{', in use' if self._shown is not None else ''}>"

    def commit(self, size: int) -> None:
        """Append the first bytes of the views when the block ends without an exception (``evbuffer_commit_space``).

        Args:
            size: How many, from 0 to the length of all views together.
        """
        room = sum(len(view) for view in self.views)
        self._committed = check_int(size, "size", 0, room)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        views, self._shown = self._shown, None
        if views is None:
            return
        try:
            if error is None and self._committed:
                self._commit(len(views))  # while it is lent: nobody comes between
        finally:
            _end(views)
        self._buffer._settle()

    def _commit(self, n: int) -> None:
        left, used = self._committed, 0
        while left > 0 and used < n:
            self._spans[used].length = min(left, self._spans[used].length)
            left -= self._spans[used].length
            used += 1
        check(lib.pev_buffer_commit(self._buffer._h, self._spans, used), self._buffer)
