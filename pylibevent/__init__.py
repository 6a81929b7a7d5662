"""libevent and its TLS for Python."""

from . import filters
from ._library import enable_debug_logging, libevent_version, openssl_version, supported_methods
from ._version import __version__
from .addresses import parse_address
from .buffer import Buffer, BufferCallback, BufferChange, FileSegment, Peek, Reservation
from .bufferevent import (
    BufferEvent,
    FilterBufferEvent,
    PairBufferEvent,
    RateLimit,
    RateLimitGroup,
    Relay,
    RelayEnd,
    SocketBufferEvent,
    Totals,
)
from .dns import DNSBase, DNSOption, DNSRequest
from .errors import (
    ClosedError,
    DNSError,
    Error,
    ExpansionError,
    FilterError,
    ForkedError,
    TLSCertificateError,
    TLSEOFError,
    TLSError,
)
from .event import CommonTimeout, Event, EventBase, EventConfig, EventInfo, LoopStatistics
from .flags import (
    BaseFlag,
    CountFlag,
    EOLStyle,
    EventFlag,
    Feature,
    FilterResult,
    FlushMode,
    LoopFlag,
    Option,
    What,
)
from .listener import Listener
from .tls import Cipher, TLSBufferEvent, TLSContext

__all__ = [
    "BaseFlag",
    "Buffer",
    "BufferCallback",
    "BufferChange",
    "BufferEvent",
    "Cipher",
    "ClosedError",
    "CommonTimeout",
    "CountFlag",
    "DNSBase",
    "DNSError",
    "DNSOption",
    "DNSRequest",
    "EOLStyle",
    "Error",
    "Event",
    "EventBase",
    "EventConfig",
    "EventFlag",
    "EventInfo",
    "ExpansionError",
    "Feature",
    "FileSegment",
    "FilterBufferEvent",
    "FilterError",
    "FilterResult",
    "FlushMode",
    "ForkedError",
    "Listener",
    "LoopFlag",
    "LoopStatistics",
    "Option",
    "PairBufferEvent",
    "Peek",
    "RateLimit",
    "RateLimitGroup",
    "Relay",
    "RelayEnd",
    "Reservation",
    "SocketBufferEvent",
    "TLSBufferEvent",
    "TLSCertificateError",
    "TLSContext",
    "TLSEOFError",
    "TLSError",
    "Totals",
    "What",
    "__version__",
    "enable_debug_logging",
    "filters",
    "libevent_version",
    "openssl_version",
    "parse_address",
    "supported_methods",
]
