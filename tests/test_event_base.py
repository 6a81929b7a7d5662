"""What a base is: its method and features, its first events, and its end with all of them."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from support import check_child, socket_pair

import pylibevent as ev

NOTHING = ev.EventFlag(0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket_pair() as pair:
        yield pair


# ---------------------------------------------------------------- method, features, version


def test_an_avoided_method_is_not_used() -> None:
    """regress.c main/methods: with the best method avoided, whatever the environment says, there is another one."""
    methods = ev.supported_methods()
    config = ev.EventConfig(avoid=[methods[0]], flags=ev.BaseFlag.IGNORE_ENV)
    assert len(methods) > 1
    with ev.EventBase(config) as base:
        assert base.method != methods[0]
        assert base.method in methods


def test_with_all_methods_avoided_there_is_no_base() -> None:
    with pytest.raises(ev.Error):
        ev.EventBase(ev.EventConfig(avoid=ev.supported_methods()))


def test_the_version() -> None:
    """regress.c main/version: three numbers, and what the extension was compiled against."""
    from pylibevent._libevent import ffi, lib

    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", ev.libevent_version)
    assert numbers is not None
    major, minor, patch = (int(number) for number in numbers.groups())
    assert lib.pev_loaded_libevent() & 0xFFFFFF00 == major << 24 | minor << 16 | patch << 8
    compiled = ffi.string(lib.pev_compiled_libevent_name()).decode()
    assert (ev.libevent_version == compiled) is (lib.pev_loaded_libevent() == lib.pev_compiled_libevent())


def test_required_features_are_there() -> None:
    """regress.c main/base_features: a base that shall be edge-triggered is, and without it there is no base."""
    try:
        base = ev.EventBase(ev.EventConfig(features=ev.Feature.ET))
    except ev.Error:
        with ev.EventBase() as base:
            assert not base.features & ev.Feature.ET
        return
    with base:
        assert base.features & ev.Feature.ET


def test_features_that_no_method_has_together() -> None:
    config = ev.EventConfig(features=ev.Feature.ET | ev.Feature.FDS)
    with pytest.raises(ev.Error):
        ev.EventBase(config)
    with ev.EventBase(ev.EventConfig(features=ev.Feature.FDS)) as base:
        assert base.features & ev.Feature.FDS
        assert base.method != "epoll"


def test_the_environment() -> None:
    """regress.c main/base_environ: EVENT_NO... forbids a method, unless the base ignores the environment."""
    code = """
import os
import pylibevent as ev

for method in ev.supported_methods():
    os.environ.pop("EVENT_NO" + method.upper(), None)
with ev.EventBase() as base:
    default = base.method
os.environ["EVENT_NO" + default.upper()] = "1"
with ev.EventBase(ev.EventConfig()) as base:
    print(base.method != default)
with ev.EventBase(ev.EventConfig(flags=ev.BaseFlag.IGNORE_ENV)) as base:
    print(base.method == default)
for method in ev.supported_methods():
    os.environ["EVENT_NO" + method.upper()] = "1"
try:
    ev.EventBase()
except ev.Error:
    print("no method is left")
"""
    assert check_child(code).splitlines() == ["True", "True", "no method is left"]


@pytest.mark.parametrize("flags", list(ev.BaseFlag))
@pytest.mark.parametrize("method", ev.supported_methods())
def test_each_flag_with_each_method(method: str, flags: ev.BaseFlag) -> None:
    avoid = [other for other in ev.supported_methods() if other != method]
    with ev.EventBase(ev.EventConfig(avoid=avoid, flags=flags)) as base, socket_pair() as (one, other):
        assert base.method.startswith(method)
        seen: list[ev.EventFlag] = []
        base.once(one, ev.EventFlag.READ, lambda event, what: seen.append(what))
        base.timer(0.001, lambda event, what: other.send(b"x"))
        assert base.dispatch() is True
        assert seen == [ev.EventFlag.READ]


# ---------------------------------------------------------------- the beginning and the end


def test_a_new_base_reads(pair: tuple[socket.socket, socket.socket]) -> None:
    """regress.c main/event_base_new: a persistent reader gets what was written and the end of file, then deletes itself."""
    one, other = pair
    one.sendall(b"this is a test\0")
    one.shutdown(socket.SHUT_WR)
    reads: list[bytes] = []

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        reads.append(other.recv(256))
        if not reads[-1]:
            event.delete()

    with ev.EventBase() as base:
        base.event(other, ev.EventFlag.READ | ev.EventFlag.PERSIST, on_read).add()
        assert base.loop() is True
    assert reads == [b"this is a test\0", b""]


def test_a_base_closed_with_events(pair: tuple[socket.socket, socket.socket]) -> None:
    """regress.c main/free_active_base: one that waits, one that is active; neither is called, both are closed."""
    called: list[ev.EventFlag] = []
    for end, flags in zip(pair, (ev.EventFlag.READ, NOTHING), strict=True):
        base = ev.EventBase()
        event = base.event(end, flags, lambda event, what: called.append(what))
        if flags:
            event.add()
        else:
            event.active(ev.EventFlag.READ)
        assert event.pending()
        base.close()
        assert event.closed
        assert base.closed
        with pytest.raises(ev.ClosedError):
            event.add()
        with pytest.raises(ev.ClosedError):
            base.dispatch()
    assert called == []


def test_a_callback_gets_its_event(base: ev.EventBase) -> None:
    """regress.c main/event_new_selfarg: it is told which event it is of."""
    seen: list[ev.Event] = []
    event = base.event(-1, NOTHING, lambda event, what: seen.append(event))
    event.active(ev.EventFlag.READ)
    base.dispatch()
    assert len(seen) == 1
    assert seen[0] is event


def test_what_an_event_was_made_of(base: ev.EventBase, pair: tuple[socket.socket, socket.socket]) -> None:
    """regress.c main/get_assignment: base, descriptor, flags, callback."""

    def callback(event: ev.Event, what: ev.EventFlag) -> None:
        """Never called."""

    event = base.event(pair[1], ev.EventFlag.READ, callback)
    assert event.base is base
    assert event.fd == pair[1].fileno()
    assert event.flags is ev.EventFlag.READ
    assert event.callback is callback
    assert event.priority == 0
