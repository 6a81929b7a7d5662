"""All that can be measured, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable

from .idle import idle
from .measure import Note, Plan, Section, crowds, handshakes, memory, tcp, timers, tls
from .proxy import proxy
from .servers import Tools
from .threads import threads

SECTIONS: dict[str, Callable[[Tools, Plan, Note], Section]] = {
    "tcp": tcp,
    "tls": tls,
    "proxy": proxy,
    "handshakes": handshakes,
    "memory": memory,
    "timers": timers,
    "crowds": crowds,
    "idle": idle,
    "threads": threads,
}
