"""event2/bufferevent.h: one file a kind, and the class that all share."""

from .common import BufferEvent
from .filter import FilterBufferEvent
from .pair import PairBufferEvent
from .ratelimit import RateLimit
from .ratelimit_group import RateLimitGroup, Totals
from .relay import Relay, RelayEnd
from .socket import SocketBufferEvent

__all__ = [
    "BufferEvent",
    "FilterBufferEvent",
    "PairBufferEvent",
    "RateLimit",
    "RateLimitGroup",
    "Relay",
    "RelayEnd",
    "SocketBufferEvent",
    "Totals",
]
