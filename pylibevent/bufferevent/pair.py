"""PairBufferEvent: two bufferevents that are each other's peer, without a socket.

What libevent leaves out when one of them is closed, csrc/pair.c does: the other gets what was on its way, then EOF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Self

from .._handle import next_id
from .._libevent import ffi, lib
from ..errors import check, check_base
from ..flags import Option, What
from .common import CLOSE_TIMEOUT, BufferEvent, check_options, refuse_kind

if TYPE_CHECKING:
    from ..event import EventBase

NO_OPTIONS = Option(0)
_END_OF_WRITING = What.EOF | What.WRITING


class PairBufferEvent(BufferEvent):
    """One of two bufferevents that are linked: what is written to one comes in at the other (``bufferevent_pair_new``).

    Made by ``new()``. Bytes go across while the one end has writing enabled and the other reading, as many as the reader's high
    mark lets in. There is no socket: ``fd`` is -1, and ``max_single_read`` and ``max_single_write`` have no effect.
    """

    __slots__ = ("_partner",)

    _partner: Self | None

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise TypeError("a PairBufferEvent isn't made itself: PairBufferEvent.new() makes two")

    @classmethod
    def new(cls, base: EventBase, options: Option = NO_OPTIONS) -> tuple[Self, Self]:
        """Make two that are linked (``bufferevent_pair_new``).

        Args:
            base: The base of both.
            options: How they work. CLOSE_ON_FREE has no meaning here.

        Returns:
            Both of them.

        Raises:
            ValueError: Options that exclude each other.
        """
        check_base(base)
        bits = check_options(options)
        handles, numbers = ffi.new("struct pev_bev *[2]"), (next_id(), next_id())
        check(lib.pev_pair_new(base._h, bits, *numbers, handles), base)
        one, other = cls.__new__(cls), cls.__new__(cls)
        for end, partner, handle, number in zip((one, other), (other, one), handles, numbers, strict=True):
            end._partner = partner
            end._start(base, handle, number, bits)
        return one, other

    @property
    def partner(self) -> Self | None:
        """The other end (``bufferevent_pair_get_partner``). None: one of them is closed."""
        if self._partner is None or self.closed or self._partner.closed:
            return None
        return self._partner

    @property
    def priority(self) -> int:
        """That of all that has no descriptor; it can't be set (``bufferevent_get_priority``)."""
        return check(lib.pev_bev_get_priority(self._h), self)

    @priority.setter
    def priority(self, priority: int) -> NoReturn:
        refuse_kind(self, "have a priority of its own")

    def close(self, *, timeout: float = CLOSE_TIMEOUT, eof: bool = True) -> None:
        """Close this end (``bufferevent_free``). Idempotent; allowed in every callback. No callback comes after it.

        The other end gets what was written, when it reads, and then EOF. What it had written and this end had not taken is
        dropped, and what it writes from now on raises BrokenPipeError.

        Args:
            timeout: 0: drop what the other end has not taken. Else it is kept for as long as the other end takes.
            eof: False: close as libevent does: drop what is on its way, and let the other end hear nothing.

        Raises:
            BufferError: Memoryviews of the buffers of either end still exist.
            RuntimeError: Another thread is running the loop.
        """
        if not isinstance(eof, bool):
            raise TypeError(f"eof must be a bool, not {type(eof).__name__}")
        if self._closed:
            return
        lib.pev_pair_keep_silent(self._h, not eof)
        super().close(timeout=timeout)
        self._part()

    def _carried_away(self) -> None:
        super()._carried_away()
        self._part()

    def _part(self) -> None:
        partner, self._partner = self._partner, None
        if partner is not None:
            partner._partner = None

    def _ended(self, events: int, detail: int) -> None:
        if events == _END_OF_WRITING:
            self._call_event(events)  # the other end has finished reading: it may still write
        else:
            super()._ended(events, detail)


__all__ = ["PairBufferEvent"]
