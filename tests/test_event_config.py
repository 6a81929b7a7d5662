"""EventConfig: what it takes, what it refuses, and the bases that come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import socket_pair

import pylibevent as ev

METHODS = ev.supported_methods()


def test_a_config_that_says_nothing() -> None:
    config = ev.EventConfig()
    assert config.avoided_methods == frozenset()
    assert config.features == ev.Feature(0)
    assert config.flags == ev.BaseFlag(0)
    assert config.max_interval is None
    assert config.max_callbacks is None
    assert config.min_priority == 0
    assert config.num_cpus_hint == 0
    assert repr(config) == "EventConfig()"
    with ev.EventBase(config) as base, ev.EventBase() as other:
        assert base.method == other.method
        assert base.features == other.features
        assert base.priorities == other.priorities == 1


def test_what_is_said_at_once_or_later_is_the_same() -> None:
    at_once = ev.EventConfig(
        avoid=METHODS[:1],
        features=ev.Feature.FDS,
        flags=ev.BaseFlag.IGNORE_ENV | ev.BaseFlag.NO_CACHE_TIME,
        max_dispatch_interval=0.5,
        max_callbacks=7,
        min_priority=2,
        num_cpus_hint=4,
    )
    later = ev.EventConfig(num_cpus_hint=4)
    later.avoid_method(METHODS[0])
    later.require_features(ev.Feature.FDS)
    later.set_flag(ev.BaseFlag.IGNORE_ENV)
    later.set_flag(ev.BaseFlag.NO_CACHE_TIME)
    later.set_max_dispatch_interval(0.5, 7, 2)
    for name in ("avoided_methods", "features", "flags", "max_interval", "max_callbacks", "min_priority", "num_cpus_hint"):
        assert getattr(at_once, name) == getattr(later, name), name
    assert repr(at_once) == repr(later)
    assert "max_callbacks=7" in repr(later)
    assert METHODS[0] in repr(later)


def test_one_config_makes_many_bases() -> None:
    config = ev.EventConfig(avoid=METHODS[:1])
    with ev.EventBase(config) as one, ev.EventBase(config) as other:
        assert one.method == other.method != METHODS[0]
        config.avoid_method(other.method)
        with ev.EventBase(config) as third:
            assert third.method not in (METHODS[0], other.method)
        assert one.method == other.method


def test_one_name_may_stand_alone() -> None:
    assert ev.EventConfig(avoid=METHODS[0]).avoided_methods == {METHODS[0]}


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ev.EventConfig(avoid=["kqueue?"]), ValueError, "method must be one of"),
        (lambda: ev.EventConfig(avoid=[""]), ValueError, "method must be one of"),
        (lambda: ev.EventConfig(avoid=[1]), TypeError, "method must be a str, not int"),  # type: ignore[list-item]
        (lambda: ev.EventConfig(avoid=b"epoll"), TypeError, "method must be a str"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(avoid=None), TypeError, "not iterable"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(avoid=["epoll\0"]), ValueError, "method must be one of"),
        (lambda: ev.EventConfig(features=16), ValueError, "features must be among"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(features=-1), ValueError, "features must be among"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(features="ET"), TypeError, "features must be of Feature"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(features=None), TypeError, "features must be of Feature"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(flags=1), ValueError, "flags must be among"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(flags=1 << 40), ValueError, "flags must be among"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(flags=True), TypeError, "flags must be of BaseFlag"),
        (lambda: ev.EventConfig(flags=1.0), TypeError, "flags must be of BaseFlag"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(max_dispatch_interval=-1), ValueError, "max_dispatch_interval must be"),
        (lambda: ev.EventConfig(max_dispatch_interval=float("nan")), ValueError, "max_dispatch_interval must be"),
        (lambda: ev.EventConfig(max_dispatch_interval=float("inf")), ValueError, "max_dispatch_interval must be"),
        (lambda: ev.EventConfig(max_dispatch_interval="1"), TypeError, "max_dispatch_interval"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(max_callbacks=0), ValueError, "max_callbacks must be from 1"),
        (lambda: ev.EventConfig(max_callbacks=2**31), ValueError, "max_callbacks must be from 1"),
        (lambda: ev.EventConfig(max_callbacks=1.5), TypeError, "max_callbacks must be an int"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(max_callbacks=True), TypeError, "max_callbacks must be an int"),
        (lambda: ev.EventConfig(min_priority=-1), ValueError, "min_priority must be from 0 to 254"),
        (lambda: ev.EventConfig(min_priority=255), ValueError, "min_priority must be from 0 to 254"),
        (lambda: ev.EventConfig(min_priority=None), TypeError, "min_priority must be an int"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig(num_cpus_hint=-1), ValueError, "num_cpus_hint must be from 0"),
        (lambda: ev.EventConfig(num_cpus_hint="2"), TypeError, "num_cpus_hint must be an int"),  # type: ignore[arg-type]
        (lambda: ev.EventConfig("epoll"), TypeError, "positional argument"),  # type: ignore[misc]
        (lambda: ev.EventBase("epoll"), TypeError, "config must be an EventConfig or None, not str"),  # type: ignore[arg-type]
        (lambda: ev.EventBase(ev.EventConfig), TypeError, "config must be an EventConfig or None"),  # type: ignore[arg-type]
        (lambda: ev.EventBase({}), TypeError, "config must be an EventConfig or None, not dict"),  # type: ignore[arg-type]
    ],
)
def test_what_it_refuses(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features", "ET"),
        ("features", 1 << 40),
        ("flags", None),
        ("max_interval", "soon"),
        ("max_callbacks", 2**40),
        ("max_callbacks", "7"),
        ("min_priority", 2**40),
        ("min_priority", None),
        ("num_cpus_hint", -(2**40)),
        ("avoided_methods", None),
        ("avoided_methods", {1}),
    ],
)
def test_attributes_that_were_spoilt_make_no_base(name: str, value: Any) -> None:
    """Either the attribute refuses, or the base does."""

    def make() -> None:
        config = ev.EventConfig()
        setattr(config, name, value)
        ev.EventBase(config)

    with pytest.raises((TypeError, ValueError, OverflowError, AttributeError)):
        make()


def test_a_config_that_was_not_initialised() -> None:
    with pytest.raises((ev.Error, AttributeError, TypeError)):
        ev.EventBase(ev.EventConfig.__new__(ev.EventConfig))


def test_it_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        ev.EventConfig().priority = 1  # type: ignore[attr-defined]


# ---------------------------------------------------------------- dispatch limits


@pytest.mark.parametrize("most", [1, 2, 5])
def test_after_so_many_calls_it_looks_for_urgent_ones(most: int) -> None:
    config = ev.EventConfig(max_callbacks=most, min_priority=1)
    with ev.EventBase(config, priorities=2) as base, socket_pair() as (one, other):
        order: list[str] = []
        base.event(one, ev.EventFlag.READ, lambda event, what: order.append("urgent"), priority=0).add()

        def low(event: ev.Event, what: ev.EventFlag) -> None:
            if not order:
                other.send(b"x")
            order.append("low")

        for _ in range(10):
            base.event(-1, ev.EventFlag(0), low, priority=1).active()
        base.dispatch()
        assert order.index("urgent") == most
        assert order.count("low") == 10
        assert order.count("urgent") == 1


@pytest.mark.parametrize("config", [ev.EventConfig(max_callbacks=1, min_priority=2), ev.EventConfig()])
def test_below_the_priority_there_is_no_limit(config: ev.EventConfig) -> None:
    with ev.EventBase(config, priorities=2) as base, socket_pair() as (one, other):
        order: list[str] = []
        base.event(one, ev.EventFlag.READ, lambda event, what: order.append("urgent"), priority=0).add()

        def low(event: ev.Event, what: ev.EventFlag) -> None:
            if not order:
                other.send(b"x")
            order.append("low")

        for _ in range(10):
            base.event(-1, ev.EventFlag(0), low, priority=1).active()
        base.dispatch()
        assert order == ["low"] * 10 + ["urgent"]


def test_after_so_long_it_looks_for_urgent_ones() -> None:
    """An interval of 0 is over after each call."""
    config = ev.EventConfig(max_dispatch_interval=0, min_priority=1)
    with ev.EventBase(config, priorities=2) as base, socket_pair() as (one, other):
        order: list[str] = []
        base.event(one, ev.EventFlag.READ, lambda event, what: order.append("urgent"), priority=0).add()

        def low(event: ev.Event, what: ev.EventFlag) -> None:
            if not order:
                other.send(b"x")
            order.append("low")

        for _ in range(10):
            base.event(-1, ev.EventFlag(0), low, priority=1).active()
        base.dispatch()
        assert order == ["low", "urgent"] + ["low"] * 9
