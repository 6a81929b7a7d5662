"""Why a loop turns, instead of going on with what is due: bits of ``EventBase._turn``."""

BREAK, EXIT, CONTINUE, CLOSED = 1, 2, 4, 8
AT_ONCE = BREAK | CONTINUE | CLOSED
"""Leave the rest of the batch where it is."""
