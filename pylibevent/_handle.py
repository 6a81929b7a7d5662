"""What all classes share that hold a handle of C's.

An object is whole or it isn't there: one whose ``__init__`` didn't run has no handle, and whatever is asked of it says so.
Handles are neither copied nor pickled. Objects are told apart in C by numbers that are never used twice.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import Error

next_id = itertools.count(1).__next__


def _is_initialised(thing: Handle) -> bool:
    try:
        object.__getattribute__(thing, "_h")
    except AttributeError:
        return False
    return True


class NoCopy:
    """What is neither copied nor pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or pickled."""
        raise TypeError(f"cannot copy or pickle {type(self).__name__!r} object: it holds an object of libevent's")


class Handle(NoCopy):
    """An object with a handle of C's in ``_h``."""

    __slots__ = ("__weakref__", "_h")

    _h: Any

    def _begin(self) -> None:
        """What every __init__ does first: an object has one handle, for life."""
        if _is_initialised(self):
            raise RuntimeError(f"{type(self).__name__} is initialised already")

    def __repr__(self) -> str:
        return self._describe() if _is_initialised(self) else f"<{type(self).__name__} without a handle>"

    def _describe(self) -> str:
        """The text of repr(), for an object that has its handle."""
        return object.__repr__(self)

    if not TYPE_CHECKING:  # a type checker would take it for a promise that any name is there

        def __getattr__(self, name: str) -> NoReturn:
            """Only called for what isn't there."""
            if name == "_h" or (not name.startswith("__") and not _is_initialised(self)):
                raise Error(f"this {type(self).__name__} is not initialised: its __init__ was not called, or it was collected")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
