"""loop(ONCE) comes back after what it was woken for."""

from __future__ import annotations

import pylibevent as ev


def test_once_returns_after_a_call_from_another_thread_was_made(base: ev.EventBase) -> None:
    """The wake-up that is left over from the call must not send it to sleep again."""
    late: list[bool] = []
    called: list[bool] = []
    timer = base.timer(5, lambda event, what: late.append(True))
    base.call_soon_threadsafe(called.append, True)
    assert base.loop(ev.LoopFlag.ONCE) is False
    assert called
    assert not late
    timer.close()
