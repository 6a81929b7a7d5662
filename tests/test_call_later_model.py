"""Timers of call_later against a model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import pylibevent as ev

FAR = 1e6


class Model:
    """What the timers of a base shall do, in the simplest words: a list, sorted at each pass."""

    def __init__(self) -> None:
        self.pending: dict[int, float] = {}
        self.batch: list[int] = []

    def turn(self, play: Callable[[int], str]) -> str:
        """One pass: which are called, until one ends it."""
        self.batch = [number for number in self.batch if number in self.pending]  # left when the last one was ended
        if not self.batch:
            due = [number for number, when in self.pending.items() if when < FAR]
            self.batch = sorted(due, key=lambda number: self.pending[number])  # stable
        while self.batch:
            number = self.batch.pop(0)
            if number not in self.pending:
                continue  # cancelled by one before
            del self.pending[number]
            ended = play(number)
            if ended:
                return ended
        return ""


ACTIONS = st.sampled_from(["nothing", "nothing", "add", "add far", "add same", "cancel", "cancel all", "raise", "break"])
WHEN = st.integers(-3, 3).map(float)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), WHEN, ACTIONS),
        st.tuples(st.just("many"), st.integers(1, 60), ACTIONS),
        st.tuples(st.just("add far"), st.integers(0, 2), ACTIONS),
        st.tuples(st.just("cancel"), st.integers(0, 200), st.none()),
        st.tuples(st.just("loop"), st.integers(0, 1), st.none()),
    ),
    max_size=40,
)


class Stop(Exception):
    """Raised by a callback."""


class Play:
    """The same steps done to a base and to the model."""

    def __init__(self, base: ev.EventBase) -> None:
        self.base = base
        self.model = Model()
        self.real: list[int] = []
        self.expected: list[int] = []
        self.timers: dict[int, ev.Timer] = {}
        self.actions: dict[int, str] = {}
        self.numbers = itertools.count()
        self.names = itertools.count()

    def add(self, when: float, action: str) -> None:
        """Outside of the loop: to both."""
        number = next(self.numbers)
        self.actions[number] = action
        self.model.pending[number] = when
        self.timers[number] = self.base.call_at(when, self.called, number)

    def called(self, number: int) -> None:
        """A callback of the base's."""
        self.real.append(number)
        action = self.actions[number]
        if action in ("add", "add far", "add same"):
            new = 1_000_000 + number
            when = {"add": -5.0, "add far": 2 * FAR + time.monotonic(), "add same": self.timers[number].when()}[action]
            self.actions[new] = "nothing"
            self.timers[new] = self.base.call_at(when, self.called, new)
        elif action == "cancel":
            if number + 1 in self.timers:
                self.timers[number + 1].cancel()
        elif action == "cancel all":
            for timer in self.timers.values():
                timer.cancel()
        elif action == "raise":
            raise Stop(number)
        elif action == "break":
            self.base.loopbreak()

    def modelled(self, number: int) -> str:
        """The same callback, for the model."""
        self.expected.append(number)
        action = self.actions[number]
        if action in ("add", "add far", "add same"):
            when = {"add": -5.0, "add far": 2 * FAR, "add same": self.timers[number].when()}[action]
            self.model.pending[1_000_000 + number] = when
        elif action == "cancel":
            self.model.pending.pop(number + 1, None)
        elif action == "cancel all":
            self.model.pending.clear()
        return action if action in ("raise", "break") else ""

    def turn(self) -> None:
        """One loop() that doesn't wait."""
        ended = self.model.turn(self.modelled)
        try:
            self.base.loop(ev.LoopFlag.NONBLOCK)
            raised = False
        except Stop:
            raised = True
        assert raised is (ended == "raise")
        assert self.base.got_break is (ended == "break")
        assert self.real == self.expected
        self.check()

    def check(self) -> None:
        """That both think the same is pending."""
        assert self.base.num_events == len(self.model.pending)
        assert {number for number, timer in self.timers.items() if timer.pending()} == set(self.model.pending)


@given(steps=STEPS)
def test_as_the_model(steps: list[tuple[str, Any, Any]]) -> None:
    with ev.EventBase() as base:
        play = Play(base)
        for what, value, action in steps:
            if what == "add":
                play.add(value, action)
            elif what == "many":
                for n in range(value):
                    play.add(float(n * 7 % 5), action if n % 9 == 0 else "nothing")
            elif what == "add far":
                play.add(2 * FAR + time.monotonic() + value, action)
            elif what == "cancel":
                if value in play.timers:
                    play.timers[value].cancel()
                    play.model.pending.pop(value, None)
            else:
                play.turn()
            play.check()
        while any(when < FAR for when in play.model.pending.values()):
            play.turn()
