"""Flags of two classes are never mixed: equal numbers mean different things in them. Plain numbers go with all of them."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import pytest
from support import socket_pair

import pylibevent as ev
from pylibevent.flags import CountFlag, LoopFlag, NamedFlag

KINDS: list[type[NamedFlag]] = [
    ev.EventFlag,
    ev.What,
    ev.Option,
    ev.Feature,
    ev.BaseFlag,
    ev.DNSOption,
    ev.SessionCacheMode,
    LoopFlag,
    CountFlag,
]
OPERATORS: list[Callable[[Any, Any], Any]] = [operator.and_, operator.or_, operator.xor, operator.contains]


def test_these_are_all_of_them() -> None:
    assert set(KINDS) == {kind for kind in NamedFlag.__subclasses__() if kind.__module__.startswith("pylibevent")}


@pytest.mark.parametrize("one", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("operate", OPERATORS, ids=lambda operate: operate.__name__)
def test_two_classes_do_not_mix(one: type[NamedFlag], operate: Callable[[Any, Any], Any]) -> None:
    for other in KINDS:
        if other is one:
            continue
        for value in (*other, other(0), ~other(0)):
            with pytest.raises(TypeError, match=f"(?s){one.__name__}.*{other.__name__}|{other.__name__}.*{one.__name__}"):
                operate(next(iter(one)), value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("operate", OPERATORS[:3], ids=lambda operate: operate.__name__)
def test_plain_numbers_and_its_own_class_do(kind: type[NamedFlag], operate: Callable[[Any, Any], Any]) -> None:
    bits = sum(kind)
    for one, other in itertools.product((*kind, kind(0), kind(bits)), repeat=2):
        expected = kind(operate(int(one), int(other)))
        for result in (operate(one, other), operate(one, int(other)), operate(int(one), other)):
            assert (result, type(result), repr(result)) == (expected, kind, repr(expected))


def test_in_place_too() -> None:
    flags: Any = ev.EventFlag.READ
    flags |= 4
    assert flags == ev.EventFlag.READ | ev.EventFlag.WRITE
    with pytest.raises(TypeError, match="EventFlag and What"):
        flags |= ev.What.EOF


@pytest.mark.parametrize("other", ["x", None, 1.5, [1]])
def test_what_is_no_flag_at_all(other: Any) -> None:
    for operate in OPERATORS[:3]:
        with pytest.raises(TypeError):
            operate(ev.What.EOF, other)
        with pytest.raises(TypeError):
            operate(other, ev.What.EOF)


CALLS: dict[str, Callable[[ev.EventBase, ev.SocketBufferEvent, int], object]] = {
    "event": lambda base, bev, fd: base.event(fd, ev.What.READING, print),  # type: ignore[arg-type]
    "once": lambda base, bev, fd: base.once(fd, ev.What.READING, print),  # type: ignore[arg-type]
    "active_by_fd": lambda base, bev, fd: base.active_by_fd(fd, ev.What.WRITING),  # type: ignore[arg-type]
    "loop": lambda base, bev, fd: base.loop(ev.EventFlag.TIMEOUT),  # type: ignore[arg-type]
    "enable": lambda base, bev, fd: bev.enable(ev.What.WRITING),  # type: ignore[arg-type]
    "disable": lambda base, bev, fd: bev.disable(ev.What.WRITING),  # type: ignore[arg-type]
    "trigger": lambda base, bev, fd: bev.trigger(ev.What.WRITING),  # type: ignore[arg-type]
    "trigger_event": lambda base, bev, fd: bev.trigger_event(ev.EventFlag.READ),  # type: ignore[arg-type]
    "flush": lambda base, bev, fd: bev.flush(ev.What.WRITING),  # type: ignore[arg-type]
    "flush mode": lambda base, bev, fd: bev.flush(ev.EventFlag.READ, ev.EventFlag.TIMEOUT),  # type: ignore[arg-type]
    "watermark": lambda base, bev, fd: bev.set_watermark(ev.What.WRITING, 1),  # type: ignore[arg-type]
    "options": lambda base, bev, fd: ev.SocketBufferEvent(base, None, ev.What.READING),  # type: ignore[arg-type]
    "avoided": lambda base, bev, fd: ev.EventConfig(features=ev.BaseFlag.IGNORE_ENV),  # type: ignore[arg-type]
    "base flags": lambda base, bev, fd: ev.EventConfig(flags=ev.Feature.ET),  # type: ignore[arg-type]
    "readline": lambda base, bev, fd: bev.input.readline(ev.FlushMode.FLUSH),  # type: ignore[arg-type]
    "search_eol": lambda base, bev, fd: bev.input.search_eol(ev.EventFlag.READ),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CALLS)
def test_an_argument_of_another_class_is_refused(base: ev.EventBase, name: str) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one) as bev:
        with pytest.raises(TypeError, match=r"must be of \w+, not \w+|and \w+ don't mix"):
            CALLS[name](base, bev, other.fileno())
        bev.abort()


def test_a_plain_number_is_an_argument(base: ev.EventBase) -> None:
    with socket_pair() as (one, other), ev.SocketBufferEvent(base, one) as bev:
        bev.enable(2)  # type: ignore[arg-type]
        assert bev.enabled & 2
        bev.flush(2, 1)  # type: ignore[arg-type]
        bev.input.readline(3)  # type: ignore[arg-type]
        with base.event(other, 2, print) as event:  # type: ignore[arg-type]
            assert event.flags is ev.EventFlag.READ
        bev.abort()
