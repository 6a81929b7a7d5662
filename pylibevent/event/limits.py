"""The order of what is due: dispatch limits, and how a second look is merged into the first."""

from __future__ import annotations

import time

from .config import EventConfig

Entry = tuple[int, int, int]
"""A number, what happened to it, and a detail: struct pev_ready."""


class Limits:
    """The dispatch limits of a config, as libevent keeps them for its own callbacks."""

    __slots__ = ("_called", "_clock", "_deadline", "_max_calls", "_max_seconds", "_min_priority", "given")

    def __init__(self, config: EventConfig) -> None:
        self._clock = time.monotonic
        self._max_seconds = config.max_interval
        self._max_calls = config.max_callbacks
        self._min_priority = config.min_priority
        self.given = self._max_seconds is not None or self._max_calls is not None
        self.start()

    def start(self) -> None:
        """A batch begins."""
        self._called = 0
        self._deadline = self._clock() + self._max_seconds if self._max_seconds is not None else None

    def reached(self, priority: int | None) -> bool:
        """A callback of this priority is done: is it time to look for more urgent ones?"""
        if not self.given or priority is None or priority < self._min_priority:
            return False
        self._called += 1
        if self._max_calls is not None and self._called >= self._max_calls:
            return True
        return self._deadline is not None and self._clock() >= self._deadline


def merge(entries: list[Entry]) -> list[Entry]:
    """One entry for each number: what happened again to something that is still due is told with it."""
    merged: dict[int, Entry] = {}
    for number, what, detail in entries:
        _, before, known = merged.get(number, (number, 0, 0))
        merged[number] = (number, before | what, detail or known)
    return list(merged.values())
