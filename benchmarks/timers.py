"""Timers: python timers.py KIND NUMBER prints, as JSON, microseconds a timer for adding, deleting and firing.

KIND is pylibevent, asyncio or uvloop. All are added before any is deleted, and deleted in random order; a pass of the loop
after that counts as deleting, since asyncio does its part of it there.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

LATER = 1000.0  # seconds: none of those that are deleted comes due


class OnPylibevent:
    def __init__(self) -> None:
        import pylibevent as ev

        self.ev = ev
        self.base = ev.EventBase()

    def add(self, seconds: float, callback: Callable[[], None]) -> Any:
        return self.base.call_later(seconds, callback)

    def delete(self, timer: Any) -> None:
        timer.cancel()

    def turn(self) -> None:
        self.base.loop(self.ev.LoopFlag.NONBLOCK)

    def run(self) -> None:
        self.base.dispatch()

    def stop(self) -> None:
        self.base.loopexit()


class OnAsyncio:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def add(self, seconds: float, callback: Callable[[], None]) -> Any:
        return self.loop.call_later(seconds, callback)

    def delete(self, timer: Any) -> None:
        timer.cancel()

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def run(self) -> None:
        self.loop.run_forever()

    def stop(self) -> None:
        self.loop.stop()


def make(kind: str) -> OnPylibevent | OnAsyncio:
    if kind == "pylibevent":
        return OnPylibevent()
    if kind == "uvloop":
        return OnAsyncio(importlib.import_module("uvloop").new_event_loop())
    return OnAsyncio(asyncio.new_event_loop())


def measure(kind: str, number: int) -> dict[str, float]:
    subject = make(kind)
    order = random.Random(number)
    delays = [LATER + order.random() for _ in range(number)]
    left = number

    def fired() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            subject.stop()

    began = time.process_time()
    timers = [subject.add(seconds, fired) for seconds in delays]
    added = time.process_time()
    order.shuffle(timers)
    again = time.process_time()
    for timer in timers:
        subject.delete(timer)
    subject.turn()
    deleted = time.process_time()
    keep = [subject.add(seconds / 1e6, fired) for seconds in delays]
    time.sleep(0.01)  # all are due
    due = time.process_time()
    subject.run()
    end = time.process_time()
    del keep
    scale = 1e6 / number
    return {"add": (added - began) * scale, "delete": (deleted - again) * scale, "fire": (end - due) * scale}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
