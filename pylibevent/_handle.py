"""What all classes share that hold a handle of C's.

An object is whole or it isn't there: one whose ``__init__`` didn't run has no handle, and whatever is asked of it says so.
Handles are neither copied nor pickled. Objects are told apart in C by numbers that are never used twice.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NoReturn, Self

from .errors import Error

next_id = itertools.count(1).__next__


def _is_initialised(thing: object) -> bool:
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


class _Half:
    """What an object without a handle is too. Only there has it a ``__getattr__``: in a class with one, Python looks each
    attribute up in the slowest way.
    """

    __slots__ = ()

    def __init_subclass__(cls, **_keywords: object) -> None:
        """Not told to those that wait for subclasses of theirs: nobody made this one."""

    if not TYPE_CHECKING:  # a type checker would take it for a promise that any name is there

        def __getattr__(self, name: str) -> Any:
            """Only called for what isn't there."""
            inherited = getattr(super(), "__getattr__", None)
            if inherited is not None and name != "_h":
                return inherited(name)
            if name == "_h" or (not name.startswith("__") and not _is_initialised(self)):
                raise Error(f"this {type(self).__name__} is not initialised: its __init__ was not called, or it was collected")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _half(kind: type) -> type:
    """The class that objects of this kind have while they have no handle."""
    half: type | None = kind.__dict__.get("_half")
    if half is None:
        names = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__, "_whole": kind}
        half = type.__new__(type(kind), kind.__name__, (_Half, kind), names)
        type.__setattr__(kind, "_half", half)
    return half


class Handle(NoCopy):
    """An object with a handle of C's in ``_h``."""

    __slots__ = ("__weakref__", "_h")

    _h: Any

    def __new__(cls, *_args: Any, **_keywords: Any) -> Self:
        """One without a handle."""
        if getattr(cls, "__abstractmethods__", None):
            return super().__new__(cls)  # which says what is missing
        made: Self = object.__new__(_half(cls))
        return made

    def _begin(self) -> None:
        """What every __init__ does first: an object has one handle, for life."""
        if _is_initialised(self):
            raise RuntimeError(f"{type(self).__name__} is initialised already")

    def _own(self, handle: Any) -> None:
        """From now on it has this handle."""
        self._h = handle
        whole = self.__class__.__dict__.get("_whole")
        if whole is not None:
            self.__class__ = whole

    def _disown(self) -> None:
        """From now on it has none."""
        del self._h
        kind = self.__class__
        self.__class__ = kind.__dict__.get("_half") or _half(kind)

    def __repr__(self) -> str:
        return self._describe() if _is_initialised(self) else f"<{type(self).__name__} without a handle>"

    def _describe(self) -> str:
        """The text of repr(), for an object that has its handle."""
        return object.__repr__(self)
