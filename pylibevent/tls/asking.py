"""The part of a TLSBufferEvent that asks its user, and waits for answers that come later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._libevent import lib
from ..errors import check
from .answers import Later, VerifyStep, must
from .deferred import Wait, is_deferred
from .peer import Peer


class Asking(Peer):
    """See TLSBufferEvent."""

    __slots__ = ("_verdicts", "_waits")

    _verdicts: list[tuple[int, int]]
    """What was answered to the steps of a verification, by what they were."""
    _waits: dict[str, Wait]
    """By the question."""

    def _begin_asking(self) -> None:
        self._verdicts = []
        self._waits = {}

    def _is_under_way(self) -> bool:
        return bool(self._waits)

    def _still_busy(self) -> None:
        """The base keeps this while it waits. One that is closed it keeps until all is sent."""
        if not self._closed:
            self._hold()

    def _ask_once(self, what: str, ask: Callable[[], object], limit: float | None = None) -> Any:
        """What ask() gives, or what comes of it.

        Raises:
            Later: It isn't there yet. OpenSSL will ask again, and this be called again.
            BaseException: What was raised.
        """
        wait = self._waits.get(what)
        if wait is None:
            given = ask()
            if not is_deferred(given):
                return given
            wait = Wait(self._base, given, self._go_on, limit)
            if not wait.done:
                self._waits[what] = wait
                self._still_busy()
        if not wait.done:
            raise Later
        if self._waits.pop(what, None) is not None:
            self._still_busy()
        return wait.result()

    def _ask_in_doubt(self, number: int, ask: Callable[[], object]) -> bool:
        """What ask() gives. Where it comes later a server goes on, and is done when it has come (csrc/approve.c)."""
        given = ask()
        if not is_deferred(given):
            return bool(must(given, bool, "verify_callback"))
        what = f"verify_callback {number}"
        wait = Wait(self._base, given, lambda: self._judge(what, wait))
        if wait.done:
            return bool(must(wait.result(), bool, "verify_callback"))
        code = lib.pev_ssl_doubt(self._h)
        if code < 0:
            wait.cancel()
            if code == -lib.PEV_EVALUE:
                raise TypeError("verify_callback can't be deferred: it was set after the handshake had begun")
            check(code, self)
        self._waits[what] = wait
        self._still_busy()
        return True

    def _judge(self, what: str, wait: Wait) -> None:
        self._waits.pop(what, None)
        self._still_busy()
        good = False
        try:
            good = must(wait.result(), bool, "verify_callback")
        finally:
            lib.pev_ssl_judge(self._h, good)

    def _verdict(self, number: int, step: VerifyStep, *, again: bool) -> int | None:
        """What was answered to the same step of a verification that had to wait after it, and is made again."""
        verdicts = self._verdicts
        if not again and number == 0:
            verdicts.clear()
        if number < len(verdicts) and verdicts[number][0] == hash(step):
            return verdicts[number][1]
        del verdicts[number:]
        return None

    def _go_on(self) -> None:
        """There is a result."""
        lib.pev_ssl_resume(self._h)

    def _wait_no_more(self) -> None:
        while self._waits:
            self._waits.popitem()[1].cancel()


__all__ = ["Asking"]
