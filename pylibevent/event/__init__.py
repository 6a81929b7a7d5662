"""event2/event.h: EventBase, EventConfig, Event."""

from .base import EventBase, EventInfo, LoopStatistics
from .config import EventConfig
from .event import CommonTimeout, Event

__all__ = ["CommonTimeout", "Event", "EventBase", "EventConfig", "EventInfo", "LoopStatistics"]
