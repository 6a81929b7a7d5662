"""The part of a Buffer that calls back when it changed: news.py says what C tells of that, and when it is told."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from .._handle import Handle
from .._libevent import lib
from ..errors import check, check_base, check_callable
from .news import BufferCallback, BufferChange, ChangeCallback, raise_all, watched


class Loop(Protocol):
    """What callbacks can be deferred to: an EventBase."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        """Call later."""


class Watched(Handle):
    """See Buffer."""

    __slots__ = ("_callbacks", "_deferred", "_id", "_waiting")

    _callbacks: tuple[BufferCallback, ...]
    _deferred: Loop | None
    _id: int
    _waiting: BufferChange | None

    def add_callback(self, callback: ChangeCallback) -> BufferCallback:
        """Call when bytes were added or removed (``evbuffer_add_cb``).

        It is called after the operation that did it, or after the pass of the loop; what that changed in several steps is
        told in one. What it raises comes out of that operation, which is done, or out of the loop.

        Args:
            callback: Called as ``callback(buffer, change)`` with a BufferChange.

        Returns:
            What ``remove()`` and ``enabled`` are for.
        """
        check_callable(callback, "callback")
        if callback is None:
            raise TypeError("callback must be callable, not None")
        entry = BufferCallback(self, callback)
        check(lib.pev_buffer_check(self._h), self)
        if not self._callbacks:
            check(lib.pev_buffer_watch(self._h, 1), self)
            watched[self._id] = weakref.ref(self)
        self._callbacks += (entry,)
        return entry

    def remove_callback(self, callback: ChangeCallback) -> bool:
        """Don't call it any more (``evbuffer_remove_cb``). Returns whether it was there."""
        for entry in self._callbacks:
            if entry.callback == callback:
                self._remove_callback(entry)
                return True
        return False

    def _remove_callback(self, entry: BufferCallback) -> None:
        left = tuple(other for other in self._callbacks if other is not entry)
        if self._callbacks and not left:
            lib.pev_buffer_watch(self._h, 0)
            watched.pop(self._id, None)
        self._callbacks = left

    def defer_callbacks(self, base: Loop | None) -> None:
        """Call the callbacks from a base's loop, once for all that changed until then (``evbuffer_defer_callbacks``).

        Args:
            base: The base. None: call them at once again.
        """
        if base is not None:
            check_base(base)
        self._deferred = base
        if self._waiting is not None:  # the base before may never tell
            self._defer()

    def _defer(self) -> None:
        """Have what is waiting told by the base, or now."""
        if self._deferred is None:
            self._call_deferred()
        else:
            self._deferred.call_soon_threadsafe(self._call_deferred)

    def _changed(self, change: BufferChange, errors: list[BaseException]) -> None:
        if self._deferred is None:
            self._call(change, errors)
            return
        if self._waiting is None:
            self._waiting = change
            self._defer()
        else:
            first = self._waiting
            self._waiting = BufferChange(first.orig_size, first.added + change.added, first.deleted + change.deleted)

    def _call_deferred(self) -> None:
        change, self._waiting = self._waiting, None
        errors: list[BaseException] = []
        if change is not None:
            self._call(change, errors)
        raise_all(errors)

    def _call(self: Any, change: BufferChange, errors: list[BaseException]) -> None:
        for entry in self._callbacks:
            if entry.enabled and entry in self._callbacks:
                try:
                    entry.callback(self, change)
                except RecursionError:
                    raise  # those of all levels would be too many
                except BaseException as error:
                    errors.append(error)

    def _forget_callbacks(self) -> None:
        """The bufferevent is closed: no callback comes any more."""
        watched.pop(self._id, None)
        self._callbacks = ()
