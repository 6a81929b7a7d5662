"""The part of a bufferevent that its bytes go through: writing and reading, and the two buffers that show them."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Protocol

from .._libevent import ffi, lib
from ..buffer import Buffer
from ..buffer.news import _released, has_news, lent, settle, watched
from ..errors import as_bytes, check, check_size, check_two
from ..event.turns import CLOSED as _CLOSED
from ..flags import What
from .settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Buffer as BytesLike

_ERROR = int(What.ERROR)
_write, _write_short = lib.pev_bev_write, lib.pev_bev_write_short
_write_buffer, _write_fresh = lib.pev_bev_write_buffer, lib.pev_bev_write_fresh
_take_fresh = lib.pev_bev_take_fresh
_LONG = lib.PEV_LONG
_PLACE, _FRESH_BITS = -lib.PEV_PLACE_SIZE, lib.PEV_FRESH_BITS
_FRESH_END, _FRESH_LEFT = (1 << _FRESH_BITS) - 1, lib.PEV_FRESH_LEFT
_MADE_SECONDS = 5.0
"""Longer than a thread needs to keep the Buffer that it has made, on any machine; it may have ended in between."""


class Arena(Protocol):
    """Where a pass puts what it has read: a ``ffi.buffer``, whose slices are bytes."""

    def __getitem__(self, where: slice, /) -> bytes: ...


class Transfer(Settings):
    """See BufferEvent."""

    __slots__ = ("_arena", "_input", "_output")

    _arena: Arena
    _input: Buffer | None
    _output: Buffer | None

    def write(self, data: BytesLike) -> None:
        """Send bytes (``bufferevent_write``). What isn't sent at once is copied to the output, and the loop sends it.

        Args:
            data: Bytes-like.

        Raises:
            ClosedError: The bufferevent is closed.
            OSError: EPIPE: it has ended with an ERROR. While that is known here, and the event callback is still to hear of it,
                what is written goes nowhere.
            RuntimeError: Another thread is running the loop.
        """
        if type(data) is bytes:
            if not (code := _write_short(self._h, data, len(data))):
                return  # PEV_SENT
            if code == _LONG:
                code = _write(self._h, data, len(data))
        else:
            code = _write(self._h, *as_bytes(data))
        if code < 0 and not self._is_about_to_fail(code):
            check(code, self)
        if watched or lent or _released:
            settle()

    def write_buffer(self, buffer: Buffer) -> None:
        """Move all of a buffer to the output, without copying (``bufferevent_write_buffer``). Errors as write()."""
        if not isinstance(buffer, Buffer):
            raise TypeError(f"buffer must be a Buffer, not {type(buffer).__name__}")
        if not _write_fresh(self._h, buffer._h) or not (code := _write_buffer(self._h, buffer._h)):
            return  # PEV_SENT
        if code < 0 and self._is_about_to_fail(code):
            buffer.drain()
        elif code < 0:
            check_two(code, self, buffer)
        if watched or lent or _released:
            settle()

    def _is_about_to_fail(self, code: int) -> bool:
        """Whether a write was refused for an ERROR that the event callback is still to hear of."""
        return code == -errno.EPIPE and self._error is None and bool(lib.pev_bev_ended(self._h) & _ERROR)

    def read(self, size: int | None = -1) -> bytes:
        """Take bytes that have come in (``bufferevent_read``).

        Args:
            size: How many at most. -1 or None: all.

        Returns:
            The bytes; none if nothing is there.

        Raises:
            ClosedError: The bufferevent is closed.
            BufferError: Memoryviews of the input still exist, or its start is frozen.
            RuntimeError: Another thread is running the loop; or another bufferevent stands on this one, or it is relayed.
        """
        if size == -1:
            if (fresh := _take_fresh(self._h)) > 0:
                return self._arena[fresh & _PLACE : fresh]
            if fresh:
                where = -fresh
                if where < _FRESH_LEFT:
                    return self._arena[where >> _FRESH_BITS : where & _FRESH_END]
                return self._read_left(where ^ _FRESH_LEFT)
            if there := lib.pev_bev_take(self._h):
                return self._taken_from_input(there)
        wanted = check_size(size)
        n = check(lib.pev_bev_input_length(self._h), self)
        n = n if wanted < 0 else min(wanted, n)
        out = ffi.new("char[]", n)
        n = check(lib.pev_bev_read(self._h, out, n), self)
        if has_news():
            settle()
        return bytes(ffi.buffer(out, n))

    def _read_left(self, where: int) -> bytes:
        """What the pass has left in the socket. A signal's handler may have closed it, and opened another one: between asking
        that and the call that reads Python looks for no signals.
        """
        if self._closed or self._base._turn & _CLOSED:
            check(lib.pev_bev_check(self._h), self)
            return b""
        try:
            return os.read(where >> _FRESH_BITS, where & _FRESH_END)
        except OSError as error:
            lib.pev_bev_keep_error(self._h, error.errno)
            return b""

    def _taken_from_input(self, where: int) -> bytes:
        """Other bytes than fresh ones: that they are gone may be news to somebody."""
        taken = self._arena[where >> _FRESH_BITS : where & _FRESH_END]
        if has_news():
            settle()
        return taken

    def read_into(self, target: BytesLike) -> int:
        """Take bytes that have come in into a writable object (``bufferevent_read``).

        Returns:
            How many, at most the size of the target.
        """
        out = ffi.from_buffer("char[]", target, require_writable=True)
        n = check(lib.pev_bev_read(self._h, out, len(out)), self)
        if has_news():
            settle()
        return n

    def read_buffer(self, buffer: Buffer) -> None:
        """Move all that has come in to the end of a buffer, without copying (``bufferevent_read_buffer``)."""
        if not isinstance(buffer, Buffer):
            raise TypeError(f"buffer must be a Buffer, not {type(buffer).__name__}")
        check_two(lib.pev_bev_read_buffer(self._h, buffer._h), buffer, self)
        if has_news():
            settle()

    @property
    def input(self) -> Buffer:
        """What has come in: can be taken from, not added to (``bufferevent_get_input``)."""
        if (there := self._input) is None:
            there = self._input = self._shown(output=False)
        return there

    @property
    def output(self) -> Buffer:
        """What is still to be sent: can be added to, not taken from (``bufferevent_get_output``)."""
        if (there := self._output) is None:
            there = self._output = self._shown(output=True)
        return there

    def _shown(self, *, output: bool) -> Buffer:
        """The input or output that nobody has asked for yet. Where threads do at the same time, one of them makes it."""
        deadline = time.monotonic() + _MADE_SECONDS
        while True:
            try:
                return Buffer._view(self, output=output)
            except FileExistsError:  # made, and not yet kept
                time.sleep(0)
                there = self._output if output else self._input
                if there is not None:
                    return there
                if time.monotonic() > deadline:
                    raise

    def _drop_buffers(self) -> None:
        """Input and output are closed with this."""
        if self._input is not None:
            self._input._forget_callbacks()
        if self._output is not None:
            self._output._forget_callbacks()
        self._input = self._output = None
