"""Any mixture of what callbacks may do to events and to their loop, against a small model of what must come of it."""

from __future__ import annotations

import random

import pytest

import pylibevent as ev

KINDS = [ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.TIMEOUT, ev.EventFlag.CLOSED]
NOTHING = ev.EventFlag(0)


class Planned(Exception):
    """What callbacks of this model raise."""


class Watched:
    """An event, and what it is owed: what it was activated for since it was last deleted, and how often."""

    def __init__(self, model: Model) -> None:
        self.owed = self.told = NOTHING
        self.activations = self.calls = 0
        self.deleted = True
        priority = model.chance.randrange(model.base.priorities)
        flags = model.chance.choice([NOTHING, ev.EventFlag.PERSIST])
        self.event = model.base.event(-1, flags, lambda event, what: model.called(self, what), priority=priority)

    def activate(self, what: ev.EventFlag) -> None:
        if self.event.closed:
            with pytest.raises(ev.ClosedError):
                self.event.active(what)
            return
        self.event.active(what)
        self.owed |= what
        self.activations += 1

    def forget(self) -> None:
        self.owed = self.told = NOTHING
        self.activations = self.calls = 0

    def delete(self) -> None:
        if not self.event.closed:
            self.event.delete()
        self.forget()

    def close(self) -> None:
        self.event.close()
        self.forget()

    def settle(self) -> None:
        """The loop says that nothing is left: it was told all of it, and not too often."""
        assert self.told == self.owed
        assert self.calls <= self.activations
        assert bool(self.calls) == bool(self.activations)
        self.forget()


class Model:
    def __init__(self, base: ev.EventBase, chance: random.Random) -> None:
        self.base, self.chance = base, chance
        self.steps = 0
        self.running = False
        self.watched = [Watched(self) for _ in range(6)]

    def called(self, watched: Watched, what: ev.EventFlag) -> None:
        assert self.running
        assert what
        assert not what & ~watched.owed, "it was told what it wasn't owed"
        assert not watched.event.closed
        watched.told |= what
        watched.calls += 1
        assert watched.calls <= watched.activations
        assert self.base.running_event is watched.event
        if self.steps:
            self.steps -= 1
            self.step()

    def step(self) -> None:
        other = self.chance.choice(self.watched)
        action = self.chance.randrange(12)
        if action < 5:
            other.activate(self.chance.choice(KINDS))
        elif action < 7:
            other.delete()
        elif action == 7:
            other.close()
            self.watched[self.watched.index(other)] = Watched(self)
        elif action == 8:
            self.base.loopbreak()
        elif action == 9:
            self.base.loopexit()
        elif action == 10:
            self.base.loopcontinue()
        elif self.running:
            raise Planned

    def loop(self, flags: ev.LoopFlag) -> bool:
        self.running = True
        try:
            return self.base.loop(flags)
        except Planned:
            return False
        finally:
            self.running = False


@pytest.mark.parametrize("priorities", [1, 3])
@pytest.mark.parametrize("flags", [ev.LoopFlag(0), ev.LoopFlag.ONCE, ev.LoopFlag.NONBLOCK], ids=["loop", "once", "nonblock"])
def test_every_activation_is_told_unless_it_is_deleted(flags: ev.LoopFlag, priorities: int, rng: random.Random) -> None:
    for _ in range(60):
        with ev.EventBase(priorities=priorities) as base:
            model = Model(base, rng)
            for _ in range(10):
                for _ in range(rng.randrange(8)):
                    model.step()
                model.steps = rng.randrange(12)
                loops = 0
                while not model.loop(flags):
                    loops += 1
                    assert loops < 200, "it doesn't come to its end"
                for watched in model.watched:
                    watched.settle()
                assert base.num_events == 0
            for watched in model.watched:
                watched.close()


def order_of_calls(base: ev.EventBase, rng: random.Random) -> list[int]:
    """The priorities of those called, of twelve that are active together; some break, raise, or delete another one."""
    order: list[int] = []
    events: list[ev.Event] = []

    def callback(event: ev.Event, what: ev.EventFlag) -> None:
        order.append(event.priority)
        choice = rng.randrange(4)
        if choice == 0:
            base.loopbreak()
        elif choice == 1:
            raise Planned
        elif choice == 2:
            rng.choice(events).delete()

    events += [base.event(-1, NOTHING, callback, priority=rng.randrange(base.priorities)) for _ in range(12)]
    for event in events:
        event.active()
    while True:
        try:
            if base.dispatch():
                return order
        except Planned:
            continue


@pytest.mark.parametrize("priorities", [1, 3])
def test_of_what_is_active_together_the_urgent_come_first(priorities: int, rng: random.Random) -> None:
    """Whatever ends the loop in between, and whatever is deleted."""
    for _ in range(100):
        with ev.EventBase(priorities=priorities) as base:
            order = order_of_calls(base, rng)
        assert order == sorted(order)
        assert order


def test_active_again_while_something_more_urgent_comes_first() -> None:
    """What is due already is told, and what it is made active with meanwhile is told by the next loop."""
    told: list[ev.EventFlag] = []
    with ev.EventBase(priorities=3) as base:
        last = base.event(-1, NOTHING, lambda event, what: told.append(what), priority=2)

        def first(event: ev.Event, what: ev.EventFlag) -> None:
            last.active(ev.EventFlag.CLOSED)
            base.loopexit()  # an event of the middle priority: there is a pass for it before the last one's call

        base.event(-1, NOTHING, first, priority=2).active()
        last.active(ev.EventFlag.READ)
        while not base.loop():
            pass
    assert told == [ev.EventFlag.READ, ev.EventFlag.CLOSED]


def test_what_was_deleted_is_not_told_with_what_comes_after_a_second_look() -> None:
    told: list[ev.EventFlag] = []
    with ev.EventBase() as base:
        later = base.event(-1, NOTHING, lambda event, what: told.append(what))

        def first(event: ev.Event, what: ev.EventFlag) -> None:
            later.delete()
            later.active(ev.EventFlag.CLOSED)
            base.loopcontinue()

        base.event(-1, NOTHING, first).active()
        later.active(ev.EventFlag.WRITE)
        base.loop()
    assert told == [ev.EventFlag.CLOSED]


def test_what_was_deleted_and_added_again_is_not_told_after_a_second_look() -> None:
    told: list[ev.EventFlag] = []
    with ev.EventBase() as base:
        later = base.event(-1, NOTHING, lambda event, what: told.append(what))

        def first(event: ev.Event, what: ev.EventFlag) -> None:
            later.delete()
            later.add(60)
            base.loopcontinue()

        base.event(-1, NOTHING, first).active()
        later.active(ev.EventFlag.WRITE)
        base.loop(ev.LoopFlag.ONCE)
        assert later.pending(ev.EventFlag.TIMEOUT)
    assert told == []
