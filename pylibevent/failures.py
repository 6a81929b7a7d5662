"""What callbacks raised that C waited for, until the loop lets it out.

Such a callback can't raise through C. It says that it failed, which ends its stream, and leaves the exception here; the loop
takes it after the pass, and raises it when the callbacks of that pass were called.
"""

from __future__ import annotations

from types import TracebackType

_kept: list[tuple[object, BaseException]] = []


def keep(base: object, error: BaseException) -> None:
    """The loop of this base shall raise it; None: the first loop that looks."""
    _kept.append((base, error))


def keep_stray(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    """Raised outside of what a callback of C's guards: an interrupt that came at its first line."""
    keep(None, error if error is not None else kind())


def take(base: object) -> list[BaseException]:
    """What this base's loop has to raise."""
    if not _kept:
        return []
    taken = [error for owner, error in _kept if owner is base or owner is None]
    _kept[:] = [entry for entry in _kept if entry[0] is not base and entry[0] is not None]
    return taken


def reraise(errors: list[BaseException]) -> None:
    """Raise the only one, or all of them in a group."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup("callbacks that libevent waited for", errors)
