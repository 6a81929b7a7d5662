"""What callbacks raised that C waited for, until the loop lets it out.

Such a callback can't raise through C. It says that it failed, which ends its stream, and leaves the exception here; the loop
takes it after the pass, and raises it when the callbacks of that pass were called.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

_stray: list[BaseException] = []  # of no base that is known


class Keeper(Protocol):
    """Where what was raised waits: an EventBase."""

    _unraised: list[BaseException]


def keep(base: Keeper, error: BaseException) -> None:
    """The loop of this base shall raise it."""
    base._unraised.append(error)


def keep_stray(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    """Raised outside of what a callback of C's guards: an interrupt that came at its first line. The first loop that looks
    raises it.
    """
    _stray.append(error if error is not None else kind())


def has_failures(base: Keeper) -> bool:
    """Whether there is something for take()."""
    return bool(base._unraised or _stray)


def take(base: Keeper) -> list[BaseException]:
    """What this base's loop has to raise."""
    if not base._unraised and not _stray:
        return []
    errors = base._unraised + _stray
    base._unraised.clear()
    _stray.clear()
    return errors


def reraise(errors: list[BaseException], text: str) -> None:
    """Raise the only one, or all of them in a group with this text."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(text, errors)
