"""event2/event.h: EventBase, EventConfig, Event."""

from .base import EventBase
from .config import EventConfig
from .event import CommonTimeout, Event
from .info import EventInfo, LoopStatistics
from .timers import Timer

__all__ = ["CommonTimeout", "Event", "EventBase", "EventConfig", "EventInfo", "LoopStatistics", "Timer"]
