"""Filters without bufferevents: what libevent does with them, step by step, and what it must find."""

from __future__ import annotations

from typing import Protocol

from pylibevent import Buffer, FilterResult, FlushMode


class Filter(Protocol):
    error: Exception | None

    def feed(self, source: Buffer, destination: Buffer, limit: int | None, mode: FlushMode) -> FilterResult: ...


def step(filter: Filter, source: Buffer, destination: Buffer, limit: int | None, mode: FlushMode) -> FilterResult:
    """One call, which must keep to the limit and say what it did."""
    taken, given = len(source), len(destination)
    result = filter.feed(source, destination, limit, mode)
    taken, given = taken - len(source), len(destination) - given
    assert taken >= 0
    assert 0 <= given <= (given if limit is None else max(limit, 0))
    if result is FilterResult.NEED_MORE:
        assert given == 0
    assert (filter.error is not None) >= (result is FilterResult.ERROR)
    return result


def pump(
    filter: Filter, source: Buffer, destination: Buffer, high: int | None = None, mode: FlushMode = FlushMode.NORMAL
) -> FilterResult:
    """Call it as often as libevent does: while it says OK, something is left, and the destination is below its mark."""
    while True:
        room = None if high is None else high - len(destination)
        result = step(filter, source, destination, room, mode)
        if result is not FilterResult.OK or not source or (high is not None and len(destination) >= high):
            return result


def through(filter: Filter, data: bytes, mode: FlushMode = FlushMode.FINISHED) -> bytes:
    """All that comes out of all that goes in; raises what is wrong with it."""
    source, destination = Buffer(data), Buffer()
    if pump(filter, source, destination, None, mode) is FilterResult.ERROR:
        assert filter.error is not None
        raise filter.error
    assert not source
    return bytes(destination)
