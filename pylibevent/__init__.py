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
    SocketBufferEvent,
    Totals,
)
from .dns import DNSBase, DNSOption, DNSRequest
from .errors import (
    BufferedDataError,
    ClosedError,
    DNSError,
    Error,
    ExpansionError,
    FilterError,
    ForkedError,
    HandshakeTimeout,
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
from .tls import OCSP, Cipher, TLSBufferEvent, TLSContext, VerifyStep

__all__ = [
    "OCSP",
    "BaseFlag",
    "Buffer",
    "BufferCallback",
    "BufferChange",
    "BufferEvent",
    "BufferedDataError",
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
    "HandshakeTimeout",
    "Listener",
    "LoopFlag",
    "LoopStatistics",
    "Option",
    "PairBufferEvent",
    "Peek",
    "RateLimit",
    "RateLimitGroup",
    "Reservation",
    "SocketBufferEvent",
    "TLSBufferEvent",
    "TLSCertificateError",
    "TLSContext",
    "TLSEOFError",
    "TLSError",
    "Totals",
    "VerifyStep",
    "What",
    "__version__",
    "enable_debug_logging",
    "filters",
    "libevent_version",
    "openssl_version",
    "parse_address",
    "supported_methods",
]
