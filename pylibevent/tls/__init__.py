"""event2/bufferevent_ssl.h and OpenSSL: one file a noun."""

from .answers import VerifyStep
from .bufferevent import Cipher, TLSBufferEvent
from .context import TLSContext
from .verification import OCSP

__all__ = ["OCSP", "Cipher", "TLSBufferEvent", "TLSContext", "VerifyStep"]
