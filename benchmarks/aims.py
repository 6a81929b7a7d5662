"""What is aimed at, by section: ratios of one subject's figure to another's, and how much they shall be at most, by row.

A ratio without an aim in a row is printed for what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Goal:
    """A ratio to print, and what it shall be at most in some rows."""

    subject: str
    peer: str
    at_most: dict[str, float] = field(default_factory=dict)


EVERY = "64 B", "1 KiB", "16 KiB", "128 KiB"
HANDSHAKES = "TLS 1.3, full", "TLS 1.3, resumed", "TLS 1.2, full", "TLS 1.2, resumed"
TIMERS = "add", "delete", "fire"
TWO_THREADS = 1.8
"""Times the work of one thread."""

GOALS = {
    "tcp": [
        Goal("ours-copy", "uvloop", dict.fromkeys(EVERY, 1.0)),
        Goal("ours-move", "ours-copy", dict.fromkeys(EVERY, 0.9)),
        Goal("ours-relay", "libevent", {"64 B": 1.1, "128 KiB": 0.25}),
    ],
    "tls": [
        Goal("ours-copy", "uvloop", dict.fromkeys(EVERY, 1.0)),
        Goal("ours-copy", "asyncio", dict(zip(EVERY, (0.5, 0.5, 0.75, 0.8), strict=True))),
        Goal("ours-move", "ours-copy", dict.fromkeys(EVERY, 0.9)),
        Goal("ours-relay", "libevent", {"64 B": 1.1, "128 KiB": 0.7}),
    ],
    "proxy": [
        Goal("ours-relay", "libevent", {"TCP, 64 B": 1.1, "TCP, 128 KiB": 0.25, "TLS, 64 B": 1.1, "TLS, 128 KiB": 0.7}),
    ],
    "handshake": [Goal("ours-copy", "libevent", dict.fromkeys(HANDSHAKES, 1.1))],
    "timers": [Goal("pylibevent", "asyncio", dict.fromkeys(TIMERS, 0.5))],
    "crowds": [Goal("ours-copy/tcp", "uvloop/tcp"), Goal("ours-copy/tls", "uvloop/tls")],
    "idle": [Goal("idle", "none", {"pylibevent copy": 1.0})],
    "threads": [Goal("two", "one", {"128 KiB messages": 1 / TWO_THREADS})],
}
