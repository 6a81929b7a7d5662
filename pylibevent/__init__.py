"""libevent and its TLS for Python."""
from .errors import *
from .flags import *
from .event import *
from .buffer import *
from .bufferevent import *
