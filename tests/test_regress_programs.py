"""What upstream's small test programs do, with their values."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from support import TICK, check_child, each_back_end, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
READ, WRITE, TIMEOUT, PERSIST = ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.TIMEOUT, ev.EventFlag.PERSIST
SIGNAL = ev.EventFlag.SIGNAL


def test_a_base_and_no_more() -> None:
    """test-init.c: a process makes a base, and ends with status 0."""
    check_child("import pylibevent as ev; base = ev.EventBase()")


def changes_its_mind(config: ev.EventConfig) -> tuple[int, list[ev.EventFlag], bool, float, int]:
    """A writer that deletes, adds and deletes itself in its callback, and a timer of 1.5 s.

    Returns how often it was called, what the timer was told, what dispatch() returned and how long it took, and the polls.
    """
    with ev.EventBase(config) as base, socket_pair() as (_one, other):
        called = 0
        fired: list[ev.EventFlag] = []

        def on_write(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal called
            called += 1
            event.delete()
            event.add()
            event.delete()

        def on_time(event: ev.Event, what: ev.EventFlag) -> None:
            fired.append(what)
            event.delete()

        timer = base.event(-1, NOTHING, on_time)
        writer = base.event(other, WRITE | PERSIST, on_write)
        start = time.monotonic()
        timer.add(1.5)
        writer.add()
        nothing_left = base.dispatch()
        return called, fired, nothing_left, time.monotonic() - start, base.statistics.polls


def test_a_writer_that_changes_its_mind_costs_no_time() -> None:
    """test-changelist.c: called once in 1.5 s, in less than half of which the process computes; every back end at once."""
    configs = [*each_back_end(), ev.EventConfig(flags=ev.BaseFlag.EPOLL_USE_CHANGELIST)]
    used = time.process_time()
    with ThreadPoolExecutor(len(configs)) as pool:
        outcomes = list(pool.map(changes_its_mind, configs))
    used = time.process_time() - used
    for called, fired, nothing_left, seconds, polls in outcomes:
        assert (called, fired, nothing_left) == (1, [TIMEOUT], True)
        assert seconds >= 1.5 - TICK
        assert polls <= 10
    assert used / 1.5 < 0.5


def test_20000_timers_and_200000_calls(base: ev.EventBase, rng: random.Random) -> None:
    """test-time.c: 20000 timers of up to 50 ms; each call moves ten others, and from the 20000th on deletes every second of
    these, up to the 200000th; then what is left fires and dispatch() says that nothing is left.
    """
    count = 20_000
    called = 0

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal called
        called += 1
        if called < 10 * count:
            for other, microseconds in zip(rng.choices(events, k=10), rng.choices(times, k=10), strict=True):
                if microseconds % 2 or called < count:
                    other.add(microseconds / 1e6)
                else:
                    other.delete()

    times = range(50_000)
    events = [base.event(-1, NOTHING, fire) for _ in range(count)]
    for event in events:
        event.add(rng.choice(times) / 1e6)
    assert base.num_events == count
    assert base.dispatch() is True
    assert called >= count
    assert base.num_events == 0


def test_a_dump_of_thirteen_events(base: ev.EventBase) -> None:
    """test-dumpevents.c: what a dump says, line by line, of events of all kinds; times are a second or 2.5 away."""
    second, two_and_a_half = base.common_timeout(1), base.common_timeout(2.5)
    pipe1, pipe2 = os.pipe(), os.pipe()
    for fd in (*pipe1, *pipe2):
        os.set_blocking(fd, False)
    kinds = [(pipe1[0], WRITE), (pipe1[1], READ | PERSIST), (pipe2[0], WRITE | PERSIST), (pipe2[1], READ)]
    kinds += [(-1, NOTHING)] * 3 + [(-1, PERSIST)] * 3 + [(-1, NOTHING)] * 2 + [(signal.SIGINT, SIGNAL | PERSIST)]
    events = [base.event(fd, flags, print) for fd, flags in kinds]
    before = time.time()
    for event, timeout in zip(
        events, (None, 1, second, two_and_a_half, second, second, 1, two_and_a_half, second, 2.5), strict=False
    ):
        event.add(timeout)
    events[10].active(READ)
    events[11].active(READ | WRITE | TIMEOUT)
    events[1].active(READ)
    events[12].add()
    after = time.time()

    def relative(match: re.Match[str]) -> str:
        at = float(match[1])
        for name, length in (("T+1", 1), ("T+2.5", 2.5)):
            if before + length - 0.1 < at < after + length + 0.1:
                return f"Timeout={name}"
        return match[0]

    text = re.sub(r"Timeout=([0-9.]+)", relative, base.dump())
    heading, *lines = text.splitlines()
    assert heading == "Inserted events:"
    divide = lines.index("Active events:")
    inserted = [line.split(" ", 3)[2:] for line in lines[:divide] if "Internal" not in line]
    active = [line.split(" ", 3)[2:] for line in lines[divide + 1 :]]
    assert Counter(rest for _, rest in inserted) == Counter(
        [
            f"[fd  {pipe1[0]}] Write",
            f"[fd  {pipe1[1]}] Read Persist Timeout=T+1",
            f"[fd  {pipe2[0]}] Write Persist Timeout=T+1",
            f"[fd  {pipe2[1]}] Read Timeout=T+2.5",
            *["[fd  -1] Timeout=T+1"] * 3,
            *["[fd  -1] Persist Timeout=T+2.5"] * 2,
            "[fd  -1] Persist Timeout=T+1",
            "[sig 2] Signal Persist",
        ]
    )
    assert Counter(rest for _, rest in active) == Counter(
        [
            "[fd  -1, priority=0] Read active",
            "[fd  -1, priority=0] Read Write Timeout active",
            f"[fd  {pipe1[1]}, priority=0] Read active",
        ]
    )
    addresses = [address for address, _ in inserted]
    assert len(set(addresses)) == 11
    assert [address in addresses for address, _ in active] == [f"[fd  {pipe1[1]}," in rest for _, rest in active]
    for event in events:
        event.close()
    for fd in (*pipe1, *pipe2):
        os.close(fd)
