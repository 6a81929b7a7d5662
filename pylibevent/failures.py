"""What callbacks raised that C waited for, until the loop lets it out.

Such a callback can't raise through C. It says that it failed, which ends its stream, and leaves the exception here; the loop
takes it after the pass, and raises it when the callbacks of that pass were called.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

strays: list[BaseException] = []  # of no base that is known


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
    strays.append(error if error is not None else kind())


def take(base: Keeper) -> list[BaseException]:
    """What this base's loop has to raise."""
    if not base._unraised and not strays:
        return []
    errors = base._unraised + strays
    base._unraised.clear()
    strays.clear()
    return errors


def reraise(errors: list[BaseException], text: str) -> None:
    """Raise the only one, or all of them in a group with this text. The list is empty then: frames that they hold, hold it."""
    try:
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup(text, errors)
    finally:
        del errors[:]  # no call, after which an interrupt could take the place of what is raised
