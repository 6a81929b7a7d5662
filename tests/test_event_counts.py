"""Which events a base has: counted, listed, found, dumped, activated by descriptor and by signal."""

from __future__ import annotations

import io
import signal
from itertools import combinations
from typing import Any

import pytest
from support import socket_pair

import pylibevent as ev

TEN_MINUTES = 600
NOTHING = ev.EventFlag(0)
READ, WRITE, TIMEOUT, PERSIST, SIGNAL = (
    ev.EventFlag.READ,
    ev.EventFlag.WRITE,
    ev.EventFlag.TIMEOUT,
    ev.EventFlag.PERSIST,
    ev.EventFlag.SIGNAL,
)
COUNTS = {"active": ev.CountFlag.ACTIVE, "virtual": ev.CountFlag.VIRTUAL, "added": ev.CountFlag.ADDED}


def check_counts(base: ev.EventBase, *, active: int, added: int) -> None:
    """Each kind, and each sum of kinds."""
    single = {"active": active, "virtual": 0, "added": added}
    for size in (1, 2, 3):
        for names in combinations(COUNTS, size):
            kinds = ev.CountFlag(sum(COUNTS[name] for name in names))
            assert base.count_events(kinds) == sum(single[name] for name in names), names
    assert base.count_events() == active + added
    assert base.num_events == added


def test_how_many_events(base: ev.EventBase) -> None:
    """regress.c main/event_base_get_num_events: one with a time and a descriptor counts twice, and once more when active."""
    with socket_pair() as (one, _other):
        event = base.event(one, READ, lambda event, what: None)
        event.add(0.1)
        check_counts(base, active=0, added=2)
        event.active(READ)
        check_counts(base, active=1, added=3)
        assert base.loop() is True
        check_counts(base, active=0, added=0)


def test_how_many_events_there_were(base: ev.EventBase) -> None:
    """regress.c main/event_base_get_max_events: two added and one deleted are four; one active is one; cleared, none."""
    with socket_pair() as (one, _other):
        first, second = (base.event(one, READ, lambda event, what: None) for _ in range(2))
        first.add(0.1)
        second.add(0.1)
        second.delete()
        assert [base.max_events(kind) for kind in COUNTS.values()] == [0, 0, 4]
        assert base.max_events() == 4
        first.active(READ)
        assert [base.max_events(kind) for kind in COUNTS.values()] == [1, 0, 4]
        assert base.max_events(ev.CountFlag.ACTIVE | ev.CountFlag.ADDED) == 5
        base.loop()
        assert [base.max_events(kind, clear=True) for kind in COUNTS.values()] == [1, 0, 4]
        assert [base.max_events(kind) for kind in COUNTS.values()] == [0, 0, 0]
        assert base.max_events() == 0


@pytest.mark.parametrize("kinds", [-1, 8, "ADDED", None, True, 1.0])
def test_kinds_that_are_none(base: ev.EventBase, kinds: Any) -> None:
    for method in (base.count_events, base.max_events):
        with pytest.raises((TypeError, ValueError), match="kinds must be"):
            method(kinds)


def test_visiting_all_events(base: ev.EventBase) -> None:
    """regress.c main/event_foreach: those added, active, or both, each once; what a call returns that is true ends it."""
    events = [base.event(-1, NOTHING, lambda event, what: None) for _ in range(5)]
    with pytest.raises(TypeError, match="callback must be callable"):
        base.foreach(101)  # type: ignore[arg-type]
    events[0].add(10)
    events[1].add(10)
    events[1].active(TIMEOUT)
    events[2].active(TIMEOUT)
    events[3].add(10)

    visited: list[ev.Event | None] = []

    def count(info: ev.EventInfo) -> int:
        if info.event is not None:
            assert info.event.base is base
            visited.append(info.event)
        return 0

    assert base.foreach(count) == 0
    assert sorted(map(id, visited)) == sorted(map(id, events[:4]))

    found: list[ev.Event] = []

    def find(info: ev.EventInfo) -> int:
        assert not found  # it ends there
        if info.event is events[2]:
            found.append(info.event)
            return 101
        return 0

    assert base.foreach(find) == 101
    assert found == [events[2]]
    for event in events:
        event.close()
    assert [info for info in base.events() if not info.internal] == []


def test_visiting_nothing(base: ev.EventBase) -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        base.foreach(None)  # type: ignore[arg-type]


def test_a_visit_may_change_what_is_visited(base: ev.EventBase) -> None:
    events = [base.event(-1, NOTHING, lambda event, what: None) for _ in range(40)]
    for event in events:
        event.add(10)
    seen = 0

    def close_all(info: ev.EventInfo) -> None:
        nonlocal seen
        seen += not info.internal
        for event in events:
            event.close()

    base.foreach(close_all)
    assert seen == 40
    assert base.num_events == 0


def test_an_error_in_a_visit_comes_out(base: ev.EventBase) -> None:
    event = base.timer(10, lambda event, what: None)
    with pytest.raises(LookupError):
        base.foreach(lambda info: {}[info])
    event.close()


def test_activating_by_descriptor_and_signal(base: ev.EventBase) -> None:
    """regress.c main/active_by_fd: what waits for WRITE, READ, READ with a timeout, SIGHUP; the others are left alone."""
    with socket_pair() as (one, other):
        base.active_by_fd(1000, READ)  # there is none
        for bogus in (-1, 2**31):
            with pytest.raises(ValueError, match="fd"):
                base.active_by_fd(bogus, READ)
        for bogus in (1000, -1, 0):
            with pytest.raises(ValueError, match="signum"):
                base.active_by_signal(bogus)

        seen: dict[str, ev.EventFlag] = {}

        def note(name: str) -> ev.event.event.EventCallback:
            def callback(event: ev.Event, what: ev.EventFlag) -> None:
                assert name not in seen
                seen[name] = what

            return callback

        events = [
            base.event(one, READ, note("first")),
            base.event(one, WRITE, note("second")),
            base.event(other, READ, note("third")),
            base.event(other, READ, note("fourth")),
            base.event(signal.SIGHUP, SIGNAL, note("signal")),
        ]
        for event, timeout in zip(events, (TEN_MINUTES, None, None, TEN_MINUTES, TEN_MINUTES), strict=True):
            event.add(timeout)
        base.active_by_fd(one, WRITE)
        base.active_by_fd(other, READ)
        base.active_by_fd(other, TIMEOUT)
        base.active_by_signal(signal.SIGHUP)
        assert base.loop(ev.LoopFlag.ONCE) is False
        assert seen == {"second": WRITE, "third": READ, "fourth": READ | TIMEOUT, "signal": SIGNAL}
        for event in events:
            event.close()


def test_a_base_of_many_kinds(base: ev.EventBase) -> None:
    """test-dumpevents.c: descriptors, timers, common timeouts, active ones and a signal, as text and as a list."""
    second, two_and_a_half = base.common_timeout(1), base.common_timeout(2.5)
    with socket_pair() as (one, other), socket_pair() as (third, fourth):
        events = [
            base.event(fd, flags, lambda event, what: None)
            for fd, flags in (
                (one, WRITE),
                (other, READ | PERSIST),
                (third, WRITE | PERSIST),
                (fourth, READ),
                *[(-1, NOTHING)] * 3,
                *[(-1, PERSIST)] * 3,
                *[(-1, NOTHING)] * 2,
                (signal.SIGINT, SIGNAL | PERSIST),
            )
        ]
        times = (None, 1, second, two_and_a_half, second, second, 1, two_and_a_half, second, 2.5)
        for event, timeout in zip(events, times, strict=False):
            event.add(timeout)
        events[10].active(READ)
        events[11].active(READ | WRITE | TIMEOUT)
        events[1].active(READ)
        events[12].add()

        infos = {info.event: info for info in base.events() if info.event is not None}
        assert set(infos) == set(events)
        for event, timeout in zip(events, (None, 1, 1, 2.5, 1, 1, 1, 2.5, 1, 2.5, None, None, None), strict=True):
            info = infos[event]
            assert (info.fd, info.flags, info.priority, info.internal) == (event.fd, event.flags, 0, False)
            assert info.pending == event.pending()
            if timeout is None:
                assert info.timeout is None
            else:
                assert info.timeout is not None
                assert timeout - 0.5 < info.timeout <= timeout
        assert infos[events[11]].pending == READ | WRITE | TIMEOUT

        file = io.StringIO()
        text = base.dump(file)
        assert file.getvalue() == text
        inserted, active = text.split("Active events:")
        ours = [line for line in inserted.splitlines() if "Internal" not in line and "[" in line]
        assert len(ours) == 11
        assert sum(f"[fd  {end.fileno()}]" in line for line in ours for end in (one, other, third, fourth)) == 4
        assert sum("Timeout=" in line for line in ours) == 9
        assert sum("Persist" in line for line in ours) == 6
        assert [line.split("] ")[1] for line in ours if "[sig 2]" in line] == ["Signal Persist"]
        lines = [line for line in active.splitlines() if "priority=0" in line]
        states = sorted(line.split("] ")[1] for line in lines)
        assert states == ["Read Write Timeout active", "Read active", "Read active"]
        assert sum(f"[fd  {other.fileno()}, " in line for line in lines) == 1
        for event in events:
            event.close()


def test_a_dump_goes_to_what_can_be_written(base: ev.EventBase) -> None:
    with pytest.raises(TypeError, match=r"write\(\)"):
        base.dump(1)  # type: ignore[arg-type]


def test_a_list_of_many(base: ev.EventBase) -> None:
    events = [base.timer(10, lambda event, what: None) for _ in range(1000)]
    assert {info.event for info in base.events() if not info.internal} == set(events)
    for event in events:
        event.close()
