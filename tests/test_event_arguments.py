"""Arguments of EventBase and Event that are none: each is refused with a sentence that names it, and changes nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)
READ, WRITE, SIGNAL, ET, PERSIST = (
    ev.EventFlag.READ,
    ev.EventFlag.WRITE,
    ev.EventFlag.SIGNAL,
    ev.EventFlag.ET,
    ev.EventFlag.PERSIST,
)


def no(event: ev.Event, what: ev.EventFlag) -> None:
    pytest.fail("it was never added")


@pytest.fixture
def reader(base: ev.EventBase) -> Iterator[socket.socket]:
    with socket_pair() as (one, _other):
        yield one


@pytest.mark.parametrize("flags", [SIGNAL | READ, SIGNAL | WRITE, SIGNAL | ev.EventFlag.CLOSED, SIGNAL | ET])
@pytest.mark.parametrize("fd", [-1, 1, 2])
def test_a_signal_is_nothing_else(base: ev.EventBase, fd: int, flags: ev.EventFlag) -> None:
    """regress.c main/bad_assign: READ beside SIGNAL is refused, and so is all else that is about descriptors."""
    with pytest.raises(ValueError, match="SIGNAL"):
        base.event(fd, flags, no)
    with pytest.raises(ValueError, match="SIGNAL"):
        base.once(fd, flags, no)
    assert base.num_events == 0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((-1, READ), ValueError, "fd must be a descriptor"),
        ((None, WRITE), ValueError, "fd must be a descriptor"),
        ((-1, ET), ValueError, "flags must have READ, WRITE or CLOSED where they have ET"),
        ((-2, NOTHING), ValueError, "fd must be an open descriptor"),
        ((2**31, READ), ValueError, "fd must be an open descriptor"),
        ((-(2**70), READ), ValueError, "fd must be an open descriptor"),
        (("0", READ), TypeError, "fd must be a descriptor or have fileno"),
        ((1.0, READ), TypeError, "fd must be a descriptor or have fileno"),
        ((True, READ), TypeError, "fd must be a descriptor or have fileno"),
        ((0, 256), ValueError, "flags must be among"),
        ((0, -1), ValueError, "flags must be among"),
        ((0, "READ"), TypeError, "flags must be of EventFlag"),
        ((0, None), TypeError, "flags must be of EventFlag"),
        ((0, True), TypeError, "flags must be of EventFlag"),
        ((0, SIGNAL), ValueError, "the number of the signal must be from 1 to 64"),
        ((65, SIGNAL), ValueError, "the number of the signal must be from 1 to 64"),
        ((-1, SIGNAL), ValueError, "the number of the signal must be from 1 to 64"),
        ((None, SIGNAL), TypeError, "the number of the signal must be an int"),
    ],
)
def test_what_an_event_is_not_made_of(
    base: ev.EventBase, arguments: tuple[Any, Any], error: type[Exception], text: str
) -> None:
    for make in (base.event, lambda fd, flags, callback: ev.Event(base, fd, flags, callback)):
        with pytest.raises(error, match=text):
            make(*arguments, no)
    assert base.num_events == 0
    assert base.dispatch() is True


@pytest.mark.parametrize("callback", [None, 1, "no", b"", [], object()])
def test_what_is_no_callback(base: ev.EventBase, callback: Any) -> None:
    for make in (
        lambda: base.event(-1, NOTHING, callback),
        lambda: base.timer(1, callback),
        lambda: base.timer(1, callback, persist=True),
        lambda: base.signal(1, callback),
        lambda: base.once(-1, NOTHING, callback),
        lambda: base.once(-1, NOTHING, callback, 1),
    ):
        with pytest.raises(TypeError, match="callback must be callable"):
            make()
    event = base.event(-1, NOTHING, no)
    with pytest.raises(TypeError, match="callback must be callable"):
        event.callback = callback
    assert event.callback is no
    assert base.num_events == 0


@pytest.mark.parametrize("base", [None, 1, "base", object(), ev.EventBase, ev.EventConfig()])
def test_what_is_no_base(base: Any) -> None:
    with pytest.raises(TypeError, match="base must be an EventBase"):
        ev.Event(base, -1, NOTHING, no)


TIMES: list[tuple[Any, type[Exception]]] = [
    (-1, ValueError),
    (-1e-9, ValueError),
    (float("nan"), ValueError),
    (float("inf"), ValueError),
    (float("-inf"), ValueError),
    (1e9 + 1, ValueError),
    (10**400, (ValueError, OverflowError)),  # type: ignore[list-item]
    ("1", TypeError),
    (True, TypeError),
    ([], TypeError),
    (1j, TypeError),
]


@pytest.mark.parametrize(("seconds", "error"), TIMES)
def test_what_is_no_time(base: ev.EventBase, reader: socket.socket, seconds: Any, error: type[Exception]) -> None:
    event = base.event(reader, READ, no)
    for use in (
        lambda: event.add(seconds),
        lambda: base.timer(seconds, no),
        lambda: base.timer(seconds, no, persist=True),
        lambda: base.once(reader, READ, no, seconds),
        lambda: base.common_timeout(seconds),
        lambda: base.loopexit(seconds),
    ):
        with pytest.raises(error):
            use()
    assert event.pending() == NOTHING
    assert base.num_events == 0
    assert base.dispatch() is True


def test_a_period_is_above_zero(base: ev.EventBase) -> None:
    with pytest.raises(ValueError, match="seconds must be above 0"):
        base.timer(0, no, persist=True)
    assert base.num_events == 0


@pytest.mark.parametrize("seconds", [0, 0.0, 1e-9, 1, 1e9, 10**9])
def test_what_is_a_time(base: ev.EventBase, seconds: float) -> None:
    event = base.event(-1, NOTHING, no)
    event.add(seconds)
    assert event.pending() == ev.EventFlag.TIMEOUT
    assert event.expires is not None
    event.add(base.common_timeout(seconds))
    assert event.pending() == ev.EventFlag.TIMEOUT
    event.close()


def test_a_failed_add_leaves_what_was(base: ev.EventBase, reader: socket.socket) -> None:
    event = base.event(reader, READ, no)
    event.add(60)
    expires = event.expires
    with pytest.raises(ValueError, match="timeout must be"):
        event.add(-1)
    assert event.expires == expires
    assert event.pending() == READ | ev.EventFlag.TIMEOUT
    event.close()


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (PERSIST, ValueError),
        (ET, ValueError),
        (-1, ValueError),
        (256, ValueError),
        ("READ", TypeError),
        (None, TypeError),
        (1.0, TypeError),
    ],
)
def test_what_can_not_have_happened(base: ev.EventBase, reader: socket.socket, flags: Any, error: type[Exception]) -> None:
    event = base.event(reader, READ, no)
    uses: list[Callable[[], object]] = [
        lambda: event.active(flags),
        lambda: event.pending(flags),
        lambda: base.active_by_fd(reader, flags),
    ]
    for use in uses:
        with pytest.raises(error, match="flags must be"):
            use()
    assert event.pending() == NOTHING
    assert base.dispatch() is True


def test_what_is_asked_with_the_wrong_number_of_arguments(base: ev.EventBase) -> None:
    event: Any = base.event(-1, NOTHING, no)
    some_base: Any = base
    for use in (
        lambda: some_base.event(),
        lambda: some_base.event(-1, NOTHING, no, 0),
        lambda: some_base.timer(1),
        lambda: some_base.timer(1, no, True),
        lambda: some_base.loop(NOTHING, NOTHING),
        lambda: some_base.call_soon(),
        lambda: event.add(1, 2),
        lambda: event.active(READ, 1, 1),
        lambda: ev.Event(),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match="argument"):
            use()


@pytest.mark.parametrize("name", ["base", "fd", "flags", "expires", "closed"])
def test_what_an_event_is_can_not_be_changed(base: ev.EventBase, name: str) -> None:
    event = base.event(-1, NOTHING, no)
    with pytest.raises(AttributeError):
        setattr(event, name, getattr(event, name))


@pytest.mark.parametrize(
    "name", ["method", "features", "num_events", "running_event", "statistics", "got_exit", "got_break", "closed", "novelty"]
)
def test_what_a_base_is_can_not_be_changed(base: ev.EventBase, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(base, name, 1)
