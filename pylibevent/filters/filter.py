"""Filter: one whose errors are kept and are for ever."""

from __future__ import annotations

from ..buffer import Buffer
from ..errors import MAX_SIZE, FilterError
from ..flags import FilterResult, FlushMode


class Filter:
    """What the ready-made filters have in common.

    Attributes:
        error: Why it can't go on, or None.
    """

    error: FilterError | None

    def __init__(self) -> None:
        self.error = None
        self._is_taken = False  # a bufferevent has it: what it has seen belongs to that one's stream
        self._done = False  # whether this call has done anything yet

    def feed(self, source: Buffer, destination: Buffer, limit: int | None, mode: FlushMode) -> FilterResult:
        """Filter bytes.

        Args:
            source: Where they come from.
            destination: Where they go.
            limit: How many may go there, None for any number.
            mode: NORMAL, FLUSH for all that can be had now, FINISHED if nothing comes after.

        Returns:
            A FilterResult.
        """
        self._done = False
        if self.error is None:
            try:
                self._run(source, destination, MAX_SIZE if limit is None else limit, FlushMode(mode))
            except FilterError as error:
                self.error = error
                if self._done and source:  # what came before the error is told first, and what is left leads here again
                    return FilterResult.OK
        if self.error is not None:
            return FilterResult.ERROR
        return FilterResult.OK if self._done else FilterResult.NEED_MORE

    def _run(self, source: Buffer, destination: Buffer, room: int, mode: FlushMode) -> None:
        raise NotImplementedError
