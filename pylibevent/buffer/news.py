"""What C has to tell about buffers, and when it is told.

* Callbacks (``_deliver_changes``). C records what changed; after each operation, and after each pass of a loop, the thread
  that made the change calls the callbacks. No lock is held then, so they may do anything to any buffer.
* References (``_take_back``). What add_reference() lends to C stays in a table until C lets go; C pushes a token then, and
  the table is looked through after each operation and each pass.
"""

from __future__ import annotations

import collections
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .._handle import NoCopy
from .._libevent import ffi, lib
from ..failures import reraise

if TYPE_CHECKING:
    from .buffer import Buffer
    from .callbacks import Watched


class BufferChange(NamedTuple):
    """What happened to a buffer."""

    orig_size: int
    """Bytes before."""
    added: int
    """Bytes added since."""
    deleted: int
    """Bytes removed since."""


ChangeCallback: TypeAlias = "Callable[[Buffer, BufferChange], object]"


class BufferCallback(NoCopy):
    """A callback of a buffer's; made by ``Buffer.add_callback()``."""

    __slots__ = ("_buffer", "callback", "enabled")

    def __init__(self, buffer: Watched, callback: ChangeCallback) -> None:
        self._buffer = weakref.ref(buffer)
        self.callback = callback
        self.enabled = True
        """Whether it is called (``evbuffer_cb_set_flags``, ``evbuffer_cb_clear_flags``)."""

    def remove(self) -> None:
        """Don't call it any more (``evbuffer_remove_cb_entry``). Idempotent; allowed in any callback."""
        buffer = self._buffer()
        if buffer is not None:
            buffer._remove_callback(self)

    def __repr__(self) -> str:
        return f"<BufferCallback {self.callback!r}{'' if self.enabled else ', disabled'}>"


watched: dict[int, weakref.ref[Watched]] = {}  # buffers with callbacks, by number
lent: dict[int, tuple[object, Callable[[], object] | None]] = {}  # what C refers to, and whom to tell, by token
_released: collections.deque[Callable[[], object] | None] = collections.deque()  # whom to tell that C let go
_unraised: list[BaseException] = []  # what callbacks raised where nobody could be told


def has_news() -> bool:
    """Whether there may be something for settle() to do."""
    return bool(watched or lent or _released or _unraised)


def settle() -> bool:
    """Call the callbacks of what this thread has changed, and drop what C has let go of.

    Returns:
        Whether there was anything.

    Raises:
        BaseException: What a callback raised; an ExceptionGroup of what several did.
    """
    errors: list[BaseException] = []
    try:
        found = bool(lent or _released) and _take_back(errors)
        if watched:
            found = _deliver_changes(errors) or found
    except BaseException:
        _unraised.extend(errors)
        raise
    if _unraised:
        errors[:0], _unraised[:] = _unraised, []
    if errors:
        raise_all(errors)
    return found


def raise_all(errors: list[BaseException]) -> None:
    """Raise the only one, or a group; an interrupt goes first, and leaves the others to the next settle()."""
    for i in range(len(errors)):
        if not isinstance(errors[i], Exception):
            first = [errors.pop(i)]
            _unraised.extend(errors)
            del errors[:]
            reraise(first, "")
    reraise(errors, "callbacks of buffers")


def settle_quietly() -> None:
    """Drop what C has let go of, where an object is collected: what callbacks raise, the next settle() does."""
    if lent:
        _take_back(_unraised)


def _take_back(errors: list[BaseException]) -> bool:
    tokens = ffi.new("uint64_t[64]")
    while n := lib.pev_take_releases(tokens, 64):
        for i in range(n):
            _released.append(lent.pop(tokens[i], (None, None))[1])
    found = bool(_released)
    while _released:
        on_release = _released.popleft()
        if on_release is not None:
            try:
                on_release()
            except BaseException as error:
                errors.append(error)
    return found


def _deliver_changes(errors: list[BaseException]) -> bool:
    found = False
    change = ffi.new("struct pev_change *")
    while lib.pev_buffer_next_change(change):
        found = True
        reference = watched.get(change.id)
        buffer = reference() if reference is not None else None
        if buffer is not None:
            buffer._changed(BufferChange(change.orig_size, change.added, change.deleted), errors)
    return found
