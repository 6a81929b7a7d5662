"""How large compressed data may become."""

from __future__ import annotations

import math

from ..errors import MAX_SIZE, ExpansionError, check_int

MAX_RATIO = 100
"""Bytes out for a byte in. Apache POI, against zip bombs, allows as many; deflate's own bound is 1032, zstd's far above it."""

FREE = 1 << 20
"""Bytes that a stream may always become, so that a small message of equal bytes passes. Apache POI grants 100 KiB."""


class Expansion:
    """Counts what a stream took and gave, and ends it when that is too much.

    Args:
        max_ratio: How many bytes may come out, beyond the first MiB, for each that came in; None for any number.
        max_size: How many bytes may come out in all; None for any number.
    """

    __slots__ = ("_given", "_max_ratio", "_max_size", "_taken")

    def __init__(self, max_ratio: float | None, max_size: int | None) -> None:
        if max_ratio is not None:
            if isinstance(max_ratio, bool) or not isinstance(max_ratio, (int, float)):
                raise TypeError(f"max_ratio must be a number or None, not {type(max_ratio).__name__}")
            if not 1 <= max_ratio < math.inf:
                raise ValueError(f"max_ratio must be finite and at least 1, not {max_ratio!r}")
        self._max_ratio = max_ratio
        self._max_size = None if max_size is None else check_int(max_size, "max_size", 0, MAX_SIZE)
        self._taken = self._given = 0

    def count(self, taken: int, given: int) -> None:
        """Add these; ExpansionError if too much came out."""
        self._taken += taken
        self._given += given
        if self._max_size is not None and self._given > self._max_size:
            raise ExpansionError(f"compressed data became more than {self._max_size} bytes")
        if self._max_ratio is not None and self._given > FREE + self._max_ratio * self._taken:
            raise ExpansionError(
                f"{self._taken} bytes of compressed data became {self._given}, more than {FREE} and {self._max_ratio} for each"
            )
