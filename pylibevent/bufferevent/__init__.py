"""event2/bufferevent.h: one file a kind, and the class that all share."""

from .common import BufferEvent
from .pair import PairBufferEvent
from .socket import SocketBufferEvent

__all__ = ["BufferEvent", "PairBufferEvent", "SocketBufferEvent"]
