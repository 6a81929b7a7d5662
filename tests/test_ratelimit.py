"""RateLimit: a value, and what can't be one."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import pylibevent as ev

MOST = 2**31 - 1


def test_bursts_are_the_rates_by_default() -> None:
    limit = ev.RateLimit(1000, 2000)
    assert (limit.read, limit.write, limit.read_burst, limit.write_burst, limit.tick) == (1000, 2000, 1000, 2000, 1.0)
    assert ev.RateLimit(None, 5) == ev.RateLimit(None, 5, None, 5, 1)
    assert ev.RateLimit(None, None).read_burst is None


def test_it_is_a_value() -> None:
    limit = ev.RateLimit(1, 2, 3, 4, 0.5)
    same = ev.RateLimit(read=1, write=2, read_burst=3, write_burst=4, tick=0.5)
    assert limit == same
    assert hash(limit) == hash(same)
    assert limit != ev.RateLimit(1, 2, 3, 4, 0.501)
    assert {limit: 1}[same] == 1
    assert copy.copy(limit) == copy.deepcopy(limit) == pickle.loads(pickle.dumps(limit)) == limit
    assert eval(repr(limit), {"RateLimit": ev.RateLimit}) == limit


def test_it_does_not_change() -> None:
    limit = ev.RateLimit(1, 2)
    with pytest.raises(AttributeError):
        limit.read = 5  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        limit.other = 5  # type: ignore[attr-defined]


def test_ticks() -> None:
    for tick in [0.001, 0.002, 0.07, 0.1, 0.29, 1, 1.001, 59.999, 3600, 1_999_999.999, 2_000_000]:
        assert ev.RateLimit(1, 1, tick=tick).tick == tick


def test_no_ticks() -> None:
    for tick in [0, -1, -0.1, 0.0009, 0.0001, 1e-9, 0.0015, 0.12345, 2_000_000.001, 4294967.296, 536870912, 1e300]:
        with pytest.raises(ValueError, match="tick must be whole milliseconds"):
            ev.RateLimit(1, 1, tick=tick)


@pytest.mark.parametrize("tick", [math.nan, math.inf, -math.inf])
def test_no_numbers(tick: float) -> None:
    with pytest.raises(ValueError, match="tick"):
        ev.RateLimit(1, 1, tick=tick)


@pytest.mark.parametrize("name", ["read", "write"])
def test_no_rates(name: str) -> None:
    for rate in [0, -1, 2**31, 2**32, 2**32 + 2, 2**63 - 1, 2**64, -(2**63)]:
        with pytest.raises(ValueError, match=f"{name} must be from 1 to {MOST}, not {rate}"):
            ev.RateLimit(**{"read": 1, "write": 1, name: rate})
        with pytest.raises(ValueError, match=f"{name} must be from 1"):
            ev.RateLimit.per_second(**{name: rate})


@pytest.mark.parametrize("name", ["read_burst", "write_burst"])
def test_no_bursts(name: str) -> None:
    for burst in [0, 99, -1, 2**31, 2**32]:
        with pytest.raises(ValueError, match=f"{name} must be from 100"):
            ev.RateLimit(100, 100, **{name: burst})


def test_a_burst_of_nothing() -> None:
    with pytest.raises(ValueError, match="read_burst must be None where read is"):
        ev.RateLimit(None, 100, read_burst=100)


def test_other_types() -> None:
    values: list[Any] = ["1", 1.0, True, b"", [], object()]
    for value in values:
        for arguments in ((value, 1), (1, value), (1, 1, value), (1, 1, 1, value)):
            with pytest.raises(TypeError, match="must be an int"):
                ev.RateLimit(*arguments)
        if value != 1.0 or value is True:
            with pytest.raises(TypeError, match="tick must be a number of seconds"):
                ev.RateLimit(1, 1, tick=value)
            with pytest.raises(TypeError, match="burst_seconds"):
                ev.RateLimit.per_second(read=1, burst_seconds=value)


def test_the_largest() -> None:
    limit = ev.RateLimit(MOST, MOST, MOST, MOST, 2e6)
    with ev.EventBase() as base, ev.RateLimitGroup(base, limit) as group:
        assert group.read_limit == group.write_limit == MOST


@given(
    st.one_of(st.none(), st.integers(1, MOST // 10)),
    st.one_of(st.none(), st.integers(1, MOST // 10)),
    st.floats(0, 10),
)
def test_per_second_is_exact(read: int | None, write: int | None, burst_seconds: float) -> None:
    limit = ev.RateLimit.per_second(read=read, write=write, burst_seconds=burst_seconds)
    assert 0.1 <= limit.tick <= 1
    for rate, per_tick, burst in ((read, limit.read, limit.read_burst), (write, limit.write, limit.write_burst)):
        if rate is None:
            assert per_tick is burst is None
        else:
            assert per_tick is not None
            assert rate * round(limit.tick * 1000) == per_tick * 1000
            assert burst == max(per_tick, round(rate * burst_seconds))


@pytest.mark.parametrize(("rate", "tick"), [(10, 0.1), (15, 0.2), (4, 0.25), (2, 0.5), (1, 1), (999, 1), (1_000_000, 0.1)])
def test_ticks_of_per_second(rate: int, tick: float) -> None:
    limit = ev.RateLimit.per_second(read=rate)
    assert limit.tick == tick
    assert limit.read_burst == rate
    assert limit.write is None


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 2e9])
def test_no_burst_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="burst"):
        ev.RateLimit.per_second(read=1, burst_seconds=seconds)


def test_a_burst_beyond_what_there_is() -> None:
    with pytest.raises(ValueError, match="read_burst"):
        ev.RateLimit.per_second(read=MOST, burst_seconds=2)
