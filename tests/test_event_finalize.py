"""How events end: close() in every state, in callbacks, and what it leaves uncalled."""

from __future__ import annotations

import gc
import weakref

import pytest
from support import left_over, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)


def test_closed_in_every_state(base: ev.EventBase) -> None:
    """regress_finalize.c finalize/cb_invoked: idle, active, added for 10 s: closed, it isn't called, and holds up no loop."""
    called: list[ev.EventFlag] = []

    def make() -> ev.Event:
        return base.event(-1, NOTHING, lambda event, what: called.append(what))

    idle = make()
    idle.close()
    assert base.dispatch() is True

    active = make()
    active.active(ev.EventFlag.TIMEOUT)
    assert base.dispatch() is True
    assert called == [ev.EventFlag.TIMEOUT]
    active.active(ev.EventFlag.TIMEOUT)
    active.close()
    assert base.dispatch() is True
    assert called == [ev.EventFlag.TIMEOUT]

    added = make()
    added.add(10)
    added.close()
    assert base.num_events == 0
    assert base.dispatch() is True

    late = make()
    late.add(10)
    late.close()
    for use in (lambda: late.add(10), late.delete, lambda: late.active(ev.EventFlag.TIMEOUT), late.pending, late.remove_timer):
        with pytest.raises(ev.ClosedError, match="closed"):
            use()
    late.close()
    assert base.dispatch() is True
    assert called == [ev.EventFlag.TIMEOUT]
    assert all(event.closed for event in (idle, active, added, late))


def test_what_is_closed_is_freed() -> None:
    """regress_finalize.c finalize/free_finalize: what is closed and dropped is freed, what is kept isn't yet."""
    with ev.EventBase() as base:
        base.dispatch()
        before = left_over()["handles in C"]
        dropped, kept = (base.event(-1, NOTHING, lambda event, what: None) for _ in range(2))
        assert left_over()["handles in C"] == before + 2
        dropped.close()
        kept.close()
        del dropped
        base.dispatch()
        assert left_over()["handles in C"] == before + 1
        assert kept.closed
        del kept
        assert left_over()["handles in C"] == before


@pytest.mark.parametrize("flags", [NOTHING, ev.EventFlag.PERSIST])
def test_closed_by_each_other(base: ev.EventBase, flags: ev.EventFlag) -> None:
    """regress_finalize.c finalize/within_cb: of two that are active, the first closes both, and the second isn't called."""
    called: list[str] = []

    def callback(name: str) -> ev.event.event.EventCallback:
        def close_both(event: ev.Event, what: ev.EventFlag) -> None:
            called.append(name)
            first.close()
            second.close()

        return close_both

    first = base.event(-1, flags, callback("first"))
    second = base.event(-1, flags, callback("second"))
    first.active(ev.EventFlag.TIMEOUT)
    second.active(ev.EventFlag.TIMEOUT)
    assert base.dispatch() is True
    assert called == ["first"]
    assert first.closed
    assert second.closed


@pytest.mark.parametrize("flags", [NOTHING, ev.EventFlag.PERSIST])
def test_deleted_by_each_other_they_can_be_added_again(base: ev.EventBase, flags: ev.EventFlag) -> None:
    called: list[str] = []

    def fire(event: ev.Event, what: ev.EventFlag) -> None:
        called.append("first" if event is first else "second")
        first.delete()
        second.delete()

    first, second = (base.event(-1, flags, fire) for _ in range(2))
    for rounds in (1, 2, 3):
        first.active()
        second.active()
        assert base.dispatch() is True
        assert called == ["first"] * rounds


def test_the_base_keeps_what_is_armed_and_nothing_else(base: ev.EventBase) -> None:
    live: weakref.WeakSet[ev.Event] = weakref.WeakSet()

    def make() -> ev.Event:
        event = base.event(-1, NOTHING, lambda event, what: None)
        live.add(event)
        return event

    make()
    assert not live  # idle
    make().add(0.001)
    assert len(live) == 1
    base.dispatch()
    assert not live  # fired
    make().active()
    assert len(live) == 1
    base.dispatch()
    assert not live  # called
    event = make()
    event.add(60)
    event.delete()
    del event
    assert not live  # deleted


def test_dropped_in_its_own_callback(base: ev.EventBase) -> None:
    """The only reference to it is the base's."""
    with socket_pair() as (one, other):
        calls: list[ev.EventFlag] = []

        def fire(event: ev.Event, what: ev.EventFlag) -> None:
            calls.append(what)
            one.recv(1)
            event.close()
            del event
            gc.collect()

        base.event(one, ev.EventFlag.READ | ev.EventFlag.PERSIST, fire).add()
        other.send(b"xx")
        assert base.dispatch() is True
        assert calls == [ev.EventFlag.READ]


def test_an_event_outlives_its_base() -> None:
    base = ev.EventBase()
    event = base.timer(60, lambda event, what: None)
    base.close()
    del base
    gc.collect()
    assert event.closed
    assert event.base.closed
    event.close()
    with pytest.raises(ev.ClosedError):
        event.add()


def test_a_closed_base_makes_no_events() -> None:
    base = ev.EventBase()
    base.close()
    for make in (
        lambda: base.event(-1, NOTHING, print),
        lambda: base.timer(1, print),
        lambda: base.signal(2, print),
        lambda: base.once(-1, NOTHING, print),
        lambda: base.common_timeout(1),
        lambda: base.call_soon(print),
        lambda: base.call_soon_threadsafe(print),
        lambda: base.foreach(print),
        base.loopbreak,
        base.loopexit,
        base.loopcontinue,
        base.dump,
        base.now,
        base.monotonic,
        base.update_now,
        base.events,
        base.reinit,
        base.loop,
    ):
        with pytest.raises(ev.ClosedError, match="closed"):
            make()
    for name in ("method", "features", "priorities", "num_events"):
        with pytest.raises(ev.ClosedError, match="closed"):
            getattr(base, name)
    base.close()
    assert repr(base) == "<EventBase closed>"


def test_a_base_left_open_warns_and_is_closed() -> None:
    def leave_one() -> None:
        base = ev.EventBase()
        base.timer(60, lambda event, what: None)
        del base
        gc.collect()

    before = left_over()
    with pytest.warns(ResourceWarning, match="unclosed <EventBase"):
        leave_one()
    assert left_over() == before
