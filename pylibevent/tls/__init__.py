"""event2/bufferevent_ssl.h and OpenSSL: one file a noun."""

from .answers import VerifyStep
from .bufferevent import TLSBufferEvent
from .context import TLSContext
from .peer import Cipher
from .verification import OCSP

__all__ = ["OCSP", "Cipher", "TLSBufferEvent", "TLSContext", "VerifyStep"]
