"""What a base tells of itself."""

from __future__ import annotations

from typing import NamedTuple

from ..flags import EventFlag
from .event import Event


class LoopStatistics(NamedTuple):
    """What a base's loop has done so far."""

    passes: int
    """How often it crossed into C."""
    polls: int
    """How often libevent polled; C stays in for passes in which there is nothing to call."""
    noted: int
    """How many things were handed to Python."""
    cut_short: int
    """How many passes ended because enough was gathered: many entries, or many bytes."""


class EventInfo(NamedTuple):
    """An event as ``EventBase.events()`` sees it."""

    event: Event | None
    """The Event, or None for one that a bufferevent or a listener, or libevent itself, made."""
    fd: int
    flags: EventFlag
    pending: EventFlag
    priority: int
    timeout: float | None
    """Seconds until it times out, or None."""
    internal: bool
    """Made by libevent or by the base for its own ends."""
