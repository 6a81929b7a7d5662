"""Ready-made filters for a FilterBufferEvent.

Each function here returns two filters, for what comes in and for what goes out; None stands for one that has nothing to do::

    bev = ev.FilterBufferEvent(underlying, *ev.filters.gzip_filter())

They keep the state of one stream: call the function again for each bufferevent. What they rely on, and any filter may:

1. ``feed(source, destination, limit, mode)`` takes bytes from the front of ``source`` and appends at most ``limit`` bytes to
   ``destination``, any number if it is None.
2. It is called again while it says OK, there is room, and ``source`` isn't empty; and at the latest when bytes come or room is
   made. So one that still has something to say leaves a byte in ``source``, even if it has seen it already.
3. OK means that something happened: an input filter added bytes, an output filter took or added some. NEED_MORE means that
   nothing did. ERROR is for ever; ``error`` then says why.
4. FINISHED means that nothing comes after what ``source`` holds. What is cut short there is an error; what is empty isn't.
"""

from .deflate import gzip_filter, zlib_filter
from .framing import LengthPrefix, LengthPrefixFilter, LineFilter, length_prefix_filter, line_filter
from .stream import Compressor, Decompressor
from .zstd import zstd_filter

__all__ = [
    "Compressor",
    "Decompressor",
    "LengthPrefix",
    "LengthPrefixFilter",
    "LineFilter",
    "gzip_filter",
    "length_prefix_filter",
    "line_filter",
    "zlib_filter",
    "zstd_filter",
]
