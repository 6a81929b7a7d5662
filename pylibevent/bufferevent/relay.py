"""Relay: two bufferevents whose bytes go to each other in C, where Python has nothing to decide.

The rules stand in csrc/relay.c. Python starts it and hears of its end, when it closes both bufferevents: what is still to be
sent goes out first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

from .._handle import Handle, next_id
from .._libevent import ffi, lib
from ..errors import ClosedError, check, check_callable, check_two

if TYPE_CHECKING:
    from ..event import EventBase
    from .common import BufferEvent


class RelayEnd(NamedTuple):
    """How a relay ended."""

    sent: int
    """Bytes that the second bufferevent took over from the first. Where there is a reason, some of them may not have left."""
    received: int
    """The same the other way; 0 where both are the same."""
    reason: BaseException | None
    """Why: what ``bev.error`` says where one of them failed or timed out, ClosedError where one was closed. None: both
    directions came to their end, or the relay was closed.
    """
    culprit: BufferEvent | None
    """The one that failed or was closed."""


RelayCallback: TypeAlias = Callable[[RelayEnd], object]


class Relay(Handle):
    """Two bufferevents, or one and itself, that pass on to each other what comes in. Made by ``BufferEvent.relay()``."""

    __slots__ = ("_base", "_bevs", "_id", "_on_close")

    _base: EventBase
    _bevs: tuple[BufferEvent, BufferEvent] | None
    _id: int
    _on_close: RelayCallback | None

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise TypeError("a Relay isn't made itself: use BufferEvent.relay()")

    @classmethod
    def _start(cls, one: BufferEvent, other: BufferEvent, on_close: RelayCallback | None) -> Self:
        if not hasattr(other, "_is_bufferevent"):
            raise TypeError(f"other must be a BufferEvent, not {type(other).__name__}")
        check_callable(on_close, "on_close")
        if other.base is not one.base:
            raise ValueError(f"other must be on the same base as {one!r}, not {other!r}")
        number = next_id()
        handle = lib.pev_relay_new(one._h, other._h, number)
        if not handle:
            check_two(-ffi.errno, one, other)
        self = cls.__new__(cls)
        self._base = one.base
        self._id = number
        self._bevs = (one, other)
        self._on_close = on_close
        self._own(handle)
        for bev in (one, other):
            bev._join(self)
        self._base._armed[number] = self
        return self

    def _record(self) -> Any:
        out = ffi.new("struct pev_relay_record *")
        lib.pev_relay_look(self._h, out)
        return out

    @property
    def sent(self) -> int:
        """Bytes that the second bufferevent has taken over from the first so far, to send them."""
        return int(self._record().sent)

    @property
    def received(self) -> int:
        """The same the other way; 0 where both are the same."""
        return int(self._record().received)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return bool(self._record().ended) or self._bevs is None or self._bevs[0].closed

    def close(self) -> None:
        """End it; both bufferevents are closed when the loop calls on_close. Idempotent.

        Raises:
            RuntimeError: Another thread is running the loop.
        """
        if not self.closed:
            check(lib.pev_relay_stop(self._h), self)

    def _ready(self, what: int, detail: int) -> None:
        """It ended."""
        bevs, self._bevs = self._bevs, None
        callback, self._on_close = self._on_close, None
        self._base._armed.pop(self._id, None)
        if bevs is None:
            return
        record = self._record()
        culprit = bevs[record.culprit] if record.culprit >= 0 else None
        reason = None
        if culprit is not None:
            reason = culprit._failed(record.what, record.error) if record.what else ClosedError(f"{culprit!r} is closed")
        for bev in bevs:
            bev._leave()
            bev.close()
        if callback is not None:
            callback(RelayEnd(record.sent, record.received, reason, culprit))

    def __repr__(self) -> str:
        record = self._record()
        state = "closed" if self.closed else "open"
        return f"<Relay {state}, {record.sent} bytes sent, {record.received} received>"

    def __del__(self) -> None:
        try:
            handle = object.__getattribute__(self, "_h")
        except AttributeError:
            return
        lib.pev_relay_drop(handle)


__all__ = ["Relay", "RelayCallback", "RelayEnd"]
