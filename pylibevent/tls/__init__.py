"""event2/bufferevent_ssl.h and OpenSSL: one file a noun."""

from .bufferevent import Cipher, TLSBufferEvent
from .context import TLSContext

__all__ = ["Cipher", "TLSBufferEvent", "TLSContext"]
