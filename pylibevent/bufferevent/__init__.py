"""event2/bufferevent.h: one file a kind, and the class that all share."""

from .common import BufferEvent
from .relay import Relay, RelayEnd
from .socket import SocketBufferEvent

__all__ = ["BufferEvent", "Relay", "RelayEnd", "SocketBufferEvent"]
