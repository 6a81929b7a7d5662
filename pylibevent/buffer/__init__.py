"""event2/buffer.h: Buffer."""

from .buffer import Buffer
from .loans import Peek, Reservation
from .news import BufferCallback, BufferChange
from .segment import FileSegment

__all__ = ["Buffer", "BufferCallback", "BufferChange", "FileSegment", "Peek", "Reservation"]
