"""Whoever is dropped, closed or collected, at whatever time: the rest goes on, and nothing is left over."""

from __future__ import annotations

import gc
import itertools
import random
import re
import socket
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import kinds
import pytest
from support import check_child, run_until, socket_pair

import pylibevent as ev

ALL = sorted(kinds.KINDS)


def never(*arguments: object) -> None:
    raise AssertionError("called")


@contextmanager
def warned_of(*names: str) -> Iterator[None]:
    """What is collected inside says that it was open: these classes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    assert all(warning.category is ResourceWarning for warning in caught), texts
    assert sorted(re.findall(r"^unclosed <(\w+)", "\n".join(texts), re.M)) == sorted(names)


# ---------------------------------------------------------------- collected while open


def test_a_base_that_is_collected_open_says_so() -> None:
    with warned_of("EventBase"):
        ev.EventBase()


def test_a_base_is_collected_though_its_children_refer_to_it() -> None:
    """A base and its events, listeners and bufferevents are a cycle; the base closes them, so it alone warns."""

    def knot(sock: socket.socket) -> weakref.ref[ev.EventBase]:
        base = ev.EventBase()
        base.timer(60, lambda event, what: base)
        bev = ev.SocketBufferEvent(base, sock)
        bev.set_callbacks(read=never)
        ev.Listener.bind(base, ("127.0.0.1", 0), never)
        return weakref.ref(base)

    with warned_of("EventBase"), socket_pair() as (one, _other):
        gone = knot(one)
        gc.collect()
        assert gone() is None


def test_a_bufferevent_without_callbacks_that_is_dropped_says_so(base: ev.EventBase) -> None:
    with socket_pair() as (one, other), warned_of("SocketBufferEvent"):
        ev.SocketBufferEvent(base, one)
        base.loop(ev.LoopFlag.NONBLOCK)
        assert other.recv(1) == b""


def test_a_bufferevent_with_a_callback_is_kept_by_its_base(base: ev.EventBase) -> None:
    with socket_pair() as (one, other):
        got: list[bytes] = []
        bev = ev.SocketBufferEvent(base, one)
        bev.set_callbacks(read=lambda bev: got.append(bev.read()))
        bev.enable()
        del bev
        gc.collect()
        other.send(b"abc")
        run_until(base, lambda: got)
        assert got == [b"abc"]
        with warned_of():
            base.close()


def test_a_bufferevent_that_sends_its_last_bytes_is_kept_by_its_base(base: ev.EventBase) -> None:
    with socket_pair() as (one, other):
        bev = ev.SocketBufferEvent(base, one)
        bev.write(b"x" * 2_000_000)
        bev.close(timeout=10)
        with warned_of():
            del bev
            gc.collect()
        got = 0

        def read(event: ev.Event, what: ev.EventFlag) -> None:
            nonlocal got
            n = len(other.recv(1_000_000))
            got += n
            if not n:
                event.close()

        event = base.event(other, ev.EventFlag.READ | ev.EventFlag.PERSIST, read)
        event.add()
        run_until(base, lambda: event.closed)
        assert got == 2_000_000


def test_an_armed_event_is_kept_by_its_base_and_one_that_fired_is_not(base: ev.EventBase) -> None:
    called: list[bool] = []
    event = base.timer(0, lambda event, what: called.append(True))
    gone = weakref.ref(event)
    del event
    gc.collect()
    assert gone() is not None
    base.dispatch()
    assert called == [True]
    assert gone() is None


def test_an_event_that_is_not_armed_goes_without_a_word(base: ev.EventBase) -> None:
    event = base.event(-1, ev.EventFlag(0), never)
    gone = weakref.ref(event)
    with warned_of():
        del event
    assert gone() is None
    assert base.events() == [] or all(info.internal for info in base.events())


@pytest.mark.parametrize("delete", [ev.Event.delete, ev.Event.close])
def test_a_base_lets_go_of_events_that_are_deleted(base: ev.EventBase, delete: Callable[[ev.Event], None]) -> None:
    event = base.timer(60, never)
    gone = weakref.ref(event)
    delete(event)
    del event
    gc.collect()
    assert gone() is None


def test_a_child_keeps_its_base() -> None:
    event = ev.EventBase().event(-1, ev.EventFlag(0), never)
    gc.collect()
    base = event.base
    base.timer(0, lambda event, what: base.loopexit())
    base.dispatch()
    base.close()
    assert event.closed


def test_everything_has_weak_references(base: ev.EventBase) -> None:
    with socket_pair() as (one, _other):
        bev = ev.SocketBufferEvent(base, one)
        listener = ev.Listener.bind(base, ("127.0.0.1", 0), None)
        things = [base, bev, bev.input, listener, ev.DNSBase(base), base.event(-1, ev.EventFlag(0), never), ev.Buffer()]
        assert [weakref.ref(thing)() for thing in things] == things
        bev.close()


# ---------------------------------------------------------------- all orders


def make_stack(base: ev.EventBase) -> dict[str, Any]:
    server, _client = kinds.contexts()
    one, other = socket.socketpair()
    bev = ev.SocketBufferEvent(base, one)
    tls = ev.TLSBufferEvent.wrap(bev, server, server_side=True)
    tls.set_callbacks(never, None, None)
    tls.enable()
    event = base.event(other, ev.EventFlag.READ | ev.EventFlag.PERSIST, never)
    event.add()
    return {"base": base, "tls": tls, "bev": bev, "event": event, "input": tls.input, "other": other}


@pytest.fixture(scope="module")
def orders() -> list[tuple[str, ...]]:
    return list(itertools.permutations(["base", "tls", "bev", "event", "input"]))


@pytest.mark.parametrize("runs", [False, True], ids=["never ran", "ran"])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_dropping_in_every_order(orders: list[tuple[str, ...]], runs: bool) -> None:
    for order in orders:
        things = make_stack(ev.EventBase())
        gone = [weakref.ref(things[name]) for name in order]
        if runs:
            things["base"].loop(ev.LoopFlag.NONBLOCK)
        for name in order:
            del things[name]
            if order[0] == "base":
                gc.collect()
        things["other"].close()
        del things
        gc.collect()
        assert [ref() for ref in gone] == [None] * 5


@pytest.mark.parametrize("runs", [False, True], ids=["never ran", "ran"])
def test_closing_in_every_order(orders: list[tuple[str, ...]], runs: bool) -> None:
    for order in orders:
        things = make_stack(ev.EventBase())
        if runs:
            things["base"].loop(ev.LoopFlag.NONBLOCK)
        for name in order:
            try:
                things[name].close()
            except TypeError:  # the input is the bufferevent's
                assert name == "input"
            except RuntimeError:  # what another stands on
                assert (name, things["tls"].closed) == ("bev", False)
        assert all(things[name].closed for name in order)
        for name in order:
            if name != "input":
                things[name].close()
        things["other"].close()


# ---------------------------------------------------------------- inside of callbacks

ARRANGED = """
import gc, signal, sys
import kinds
import pylibevent as ev
signal.signal(signal.SIGUSR1, lambda number, frame: None)  # for when the event that watches it is closed
base = ev.EventBase()
kind, other = sys.argv[1:3]
hits = []
"""

CLOSE_OTHERS = """
def things_of(found):
    for thing in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(thing, (list, tuple)):
            yield from things_of(thing)
        elif hasattr(thing, "close"):
            yield thing


def hit(thing):
    hits.append(1)
    for victim in things_of(kinds.keep):
        victim.close()
    for victim in things_of(kinds.keep):
        victim.close()
        assert victim.closed and "closed" in repr(victim), victim
    base.timer(0.01, lambda event, what: base.loopexit())


kinds.arrange(other, base, lambda thing: None)
kinds.arrange(kind, base, hit)
base.dispatch()
assert hits == [1], hits
base.close()
"""

DROP_ALL = """
def hit(thing):
    hits.append(1)
    del thing
    kinds.keep.clear()
    gc.collect()
    base.timer(0.01, lambda event, what: base.loopexit())


kinds.arrange(other, base, lambda thing: None)
kinds.arrange(kind, base, hit)
base.dispatch()
assert hits
base.close()
"""


def pairs(seed: int) -> list[tuple[str, str]]:
    """Each kind with another one."""
    others = list(ALL)
    random.Random(seed).shuffle(others)
    return list(zip(ALL, others, strict=True))


@pytest.mark.parametrize(("kind", "other"), pairs(1))
def test_closing_everything_in_a_callback(kind: str, other: str) -> None:
    check_child(ARRANGED + CLOSE_OTHERS, kind, other)


@pytest.mark.parametrize(("kind", "other"), pairs(2))
def test_dropping_everything_in_a_callback(kind: str, other: str) -> None:
    check_child("import warnings; warnings.simplefilter('ignore')\n" + ARRANGED + DROP_ALL, kind, other)


@pytest.mark.parametrize("kind", ALL)
def test_everything_is_collected_through_the_cycle_of_its_callback(kind: str) -> None:
    code = """
import warnings
from support import left_over
warnings.simplefilter("ignore")
before = left_over()


def one():
    base = ev.EventBase()
    kinds.arrange(kind, base, lambda thing: (base, thing, one))
    base.loop(ev.LoopFlag.NONBLOCK)
    kinds.keep.clear()


for _ in range(5):
    one()
base.close()
del base
after = left_over()
for name in ("handles in C", "objects lent to C", "buffers with callbacks"):
    assert after[name] <= before[name], (name, before, after)
"""
    check_child(ARRANGED + code, kind, "")


def test_no_object_of_ours_holds_a_traceback(base: ev.EventBase) -> None:
    """What a callback raised goes when whoever caught it lets go of it."""

    class Local:
        pass

    gone: list[weakref.ref[Local]] = []

    def fail(event: ev.Event, what: ev.EventFlag) -> None:
        local = Local()
        gone.append(weakref.ref(local))
        raise LookupError

    base.timer(0, fail)
    with pytest.raises(LookupError):
        base.dispatch()
    gc.collect()
    assert gone[0]() is None


# ---------------------------------------------------------------- what a callback raised lets go of its variables

GOES = """
import gc, sys, warnings, weakref
import kinds
import pylibevent as ev

kind, priorities = sys.argv[1], int(sys.argv[2])
warnings.simplefilter("ignore", ResourceWarning)
held = []

class Held:
    pass

def hit(thing):
    mine = Held()
    held.append(weakref.ref(mine))
    raise LookupError

base = ev.EventBase(priorities=priorities)
if kind == "later":
    base.call_later(0, hit, None)
else:
    kinds.arrange(kind, base, hit)
gc.collect()
gc.disable()
while not held:
    try:
        base.loop(ev.LoopFlag.ONCE)
    except LookupError:
        pass
try:
    base.loop(ev.LoopFlag.NONBLOCK)  # raises what it kept for after the pass
except (LookupError, ExceptionGroup):
    pass
print([ref() is None for ref in held][:1])
"""


@pytest.mark.parametrize("priorities", ["1", "3"])
@pytest.mark.parametrize("kind", [*ALL, "later"])
def test_what_is_raised_keeps_nothing_once_it_is_caught(kind: str, priorities: str) -> None:
    """Sockets and locks of its frames would wait for the garbage collector."""
    assert check_child(GOES, kind, priorities) == "[True]\n"
