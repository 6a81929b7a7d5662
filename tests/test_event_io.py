"""Events on descriptors, over every back end: upstream's tests of them with their values."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from support import run_until, socket_pair

import pylibevent as ev

READ, WRITE, CLOSED = ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.CLOSED
PERSIST, ET, TIMEOUT = ev.EventFlag.PERSIST, ev.EventFlag.ET, ev.EventFlag.TIMEOUT
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket_pair() as both:
        yield both


def test_read(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/simpleread: something was written, and the end is closed: read, once."""
    seen: list[bytes] = []
    pair[0].send(b"this is a test\0")
    pair[0].shutdown(socket.SHUT_WR)
    any_base.event(pair[1], READ, lambda event, what: seen.append(pair[1].recv(256))).add()
    any_base.dispatch()
    assert seen == [b"this is a test\0"]


def test_two_read_the_same(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/simpleread_multiple: two events on one descriptor are both called."""
    seen: list[str] = []
    pair[0].send(b"this is a test\0")
    pair[0].shutdown(socket.SHUT_WR)
    any_base.event(pair[1], READ, lambda event, what: seen.append("one")).add()
    any_base.event(pair[1], READ, lambda event, what: seen.append("other")).add()
    any_base.dispatch()
    assert sorted(seen) == ["one", "other"]


def test_write(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/simplewrite: it can be written."""
    seen: list[int] = []
    any_base.event(pair[0], WRITE, lambda event, what: seen.append(pair[0].send(b"this is a test\0"))).add()
    any_base.dispatch()
    assert seen == [15]


def test_both_directions_hear_of_a_close(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/simpleclose_rw: one end writes and closes, the other reads to the end."""
    got: list[bytes] = []

    def on_write(event: ev.Event, what: ev.EventFlag) -> None:
        pair[0].send(b"this is a test\0")
        pair[0].close()

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        got.append(pair[1].recv(256))
        if not got[-1]:
            event.delete()

    any_base.event(pair[0], WRITE, on_write).add()
    any_base.event(pair[1], READ | PERSIST, on_read).add()
    any_base.dispatch()
    assert got == [b"this is a test\0", b""]


@pytest.mark.parametrize("flags", [ev.EventFlag(0), PERSIST, ET, PERSIST | ET], ids=["plain", "persist", "et", "persist_et"])
@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_early_close(base: ev.EventBase, pair: Pair, how: str, flags: ev.EventFlag) -> None:
    """regress.c main/simpleclose_close, main/simpleclose_shutdown, main/simpleclose_close_persist,
    main/simpleclose_shutdown_persist, main/simpleclose_close_et, main/simpleclose_shutdown_et,
    main/simpleclose_close_persist_et, main/simpleclose_shutdown_persist_et: EV_CLOSED tells of the peer's end, though
    nothing is read.
    """
    seen: list[ev.EventFlag] = []

    def on_closed(event: ev.Event, what: ev.EventFlag) -> None:
        seen.append(what)
        event.delete()

    def end(event: ev.Event, what: ev.EventFlag) -> None:
        pair[0].close() if how == "close" else pair[0].shutdown(socket.SHUT_WR)

    base.event(pair[1], CLOSED | flags, on_closed).add()
    base.timer(0.01, end)
    base.dispatch()
    assert seen == [CLOSED] or seen == [CLOSED | ET]


def test_closed_with_data_unread(base: ev.EventBase, pair: Pair) -> None:
    """test-closed.c: EV_CLOSED comes, and what was sent before can still be read."""
    seen: list[ev.EventFlag] = []
    pair[0].send(b"x" * 400)
    pair[0].shutdown(socket.SHUT_WR)
    base.event(pair[1], CLOSED, lambda event, what: seen.append(what)).add(0.5)
    base.dispatch()
    assert seen == [CLOSED]
    assert pair[1].recv(1000) == b"x" * 400


def exchange(base: ev.EventBase, pair: Pair, flags: ev.EventFlag) -> tuple[bytes, bytes]:
    """65 000 bytes each way, with events that are added again or persist."""
    data = bytes(i & 0xFF for i in range(65_000))
    sent, got = [0, 0], [bytearray(), bytearray()]

    def on_write(side: int) -> Any:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            assert what == WRITE
            sent[side] += pair[side].send(data[sent[side] : sent[side] + 10_000])
            if sent[side] < len(data):
                event.add() if not flags & PERSIST else None
            else:
                event.delete()
                pair[side].shutdown(socket.SHUT_WR)

        return callback

    def on_read(side: int) -> Any:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            assert what == READ
            chunk = pair[side].recv(10_000)
            got[side].extend(chunk)
            if not chunk:
                event.delete()
            elif not flags & PERSIST:
                event.add()

        return callback

    for side in (0, 1):
        base.event(pair[side], WRITE | flags, on_write(side)).add()
        base.event(pair[side], READ | flags, on_read(side)).add()
    base.dispatch()
    assert bytes(got[0]) == bytes(got[1]) == data
    return bytes(got[0]), bytes(got[1])


def test_added_again_each_time(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/multiple, main/combined: both ways at once, 65 000 bytes."""
    exchange(any_base, pair, ev.EventFlag(0))


def test_persistent_ones(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/persistent: the same with persistent events."""
    exchange(any_base, pair, PERSIST)


def test_events_of_each_kind_on_one_descriptor(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/multiple_events_for_same_fd: a reader, and a writer that is deleted in between."""
    seen = ev.EventFlag(0)

    def callback(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal seen
        seen |= what

    reader = any_base.event(pair[0], READ, callback)
    writer = any_base.event(pair[0], WRITE, callback)
    reader.add()
    writer.add()
    any_base.loop(ev.LoopFlag.ONCE)
    writer.delete()
    pair[1].send(b"this is a test\0")
    any_base.loop(ev.LoopFlag.ONCE)
    reader.delete()
    assert seen == READ | WRITE


def test_wanted_once(any_base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/want_only_once: an event that isn't persistent is called once, though there is more to read."""
    called: list[ev.EventFlag] = []
    pair[0].send(b"this is a test\0")
    any_base.event(pair[1], READ, lambda event, what: called.append(what)).add()
    any_base.timer(0.3, lambda event, what: any_base.loopexit())
    any_base.dispatch()
    assert called == [READ]


def test_one_that_adds_the_other(base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/nonpersist_readd: two readers that add each other in their callbacks; both are called in one pass."""
    called: list[ev.Event] = []

    def callback(event: ev.Event, what: ev.EventFlag) -> None:
        called.append(event)
        (second if event is first else first).add()

    first, second = base.event(pair[0], READ, callback), base.event(pair[1], READ, callback)
    pair[0].send(b"Hello")
    pair[1].send(b"Hello")
    first.add()
    second.add()
    assert base.loop(ev.LoopFlag.ONCE) is False
    assert len(called) == 2
    assert called[0].pending(READ)
    first.delete()
    second.delete()


def test_what_is_pending(base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/event_pending: a reader and a timer; what is added, deleted, and has fired."""
    reader = base.event(pair[0], READ, lambda event, what: None)
    timer = base.event(-1, ev.EventFlag(0), lambda event, what: None)
    reader.add()
    timer.add(0.4)
    assert reader.pending(READ) == READ
    assert not reader.pending(WRITE)
    assert not reader.pending(TIMEOUT)
    assert reader.expires is None
    assert timer.pending(TIMEOUT) == TIMEOUT
    assert timer.expires is not None
    assert not timer.pending(READ)
    reader.delete()
    assert not reader.pending()
    timer.delete()
    assert not timer.pending()


def test_activated_twice(base: ev.EventBase) -> None:
    """regress.c main/manipulate_active_events: what it has fired for adds up."""
    called: list[ev.EventFlag] = []
    event = base.event(-1, ev.EventFlag(0), lambda event, what: called.append(what))
    event.active(READ)
    assert event.pending(READ | TIMEOUT | WRITE) == READ
    event.active(WRITE)
    assert event.pending(READ | TIMEOUT | WRITE) == READ | WRITE
    base.dispatch()
    assert called == [READ | WRITE]


def test_a_duplicate(base: ev.EventBase, pair: Pair) -> None:
    """regress.c main/dup_fd: a reader on a descriptor and one on its duplicate; the first is deleted, the second stays."""
    duplicate = os.dup(pair[0].fileno())
    called: list[str] = []
    first = base.event(pair[0], READ | PERSIST, lambda event, what: called.append("first"))
    second = base.event(duplicate, READ | PERSIST, lambda event, what: called.append("second"))
    first.add()
    second.add()
    pair[1].send(b"x")
    base.loop(ev.LoopFlag.ONCE)
    assert sorted(called) == ["first", "second"]
    pair[0].recv(1)
    first.delete()
    pair[1].send(b"x")
    base.loop(ev.LoopFlag.ONCE)
    assert called.count("second") == 2
    second.close()
    os.close(duplicate)


@pytest.mark.parametrize("slowly", [False, True])
def test_many_events(any_base: ev.EventBase, slowly: bool) -> None:
    """regress.c main/many_events, main/many_events_slow_add: 70 descriptors, added at once or one by one, all called."""
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(70)]
    called = [0] * 70

    def call(i: int) -> Any:
        def callback(event: ev.Event, what: ev.EventFlag) -> None:
            assert what == WRITE
            called[i] += 1
            event.delete()

        return callback

    for i, sock in enumerate(socks):
        any_base.event(sock, WRITE | PERSIST, call(i)).add()
        if slowly:
            any_base.loop(ev.LoopFlag.NONBLOCK)
    for _ in range(3):  # epoll tells of 32 at first
        any_base.loop(ev.LoopFlag.NONBLOCK)
    assert called == [1] * 70
    for sock in socks:
        sock.close()


def test_end_of_file(any_base: ev.EventBase, pair: Pair) -> None:
    """test-eof.c: a reader of a closed end is called, and reads nothing."""
    got: list[bytes] = []

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        got.append(pair[1].recv(256))
        if got[-1]:
            event.add(60)

    pair[0].send(b"this is a test\0")
    pair[0].shutdown(socket.SHUT_WR)
    any_base.event(pair[1], READ, on_read).add(60)
    any_base.dispatch()
    assert got == [b"this is a test\0", b""]


def test_writing_to_a_closed_reader(any_base: ev.EventBase, pair: Pair) -> None:
    """test-weof.c: the first write after the reader closed fails, and nobody dies of a signal."""
    outcomes: list[int] = []

    def on_write(event: ev.Event, what: ev.EventFlag) -> None:
        try:
            outcomes.append(pair[0].send(b"this is a test\0"))
        except OSError as error:
            outcomes.append(-(error.errno or 0))
        if len(outcomes) == 1:
            pair[1].close()
        if outcomes[-1] > 0:
            event.add()

    any_base.event(pair[0], WRITE, on_write).add()
    any_base.dispatch()
    assert outcomes == [15, -errno.EPIPE]


def test_deleted_and_added_in_its_callback() -> None:
    """test-changelist.c: a writer that deletes and adds itself in its callback, with epoll's list of changes: called once a
    poll, and the loop doesn't spin.
    """
    with ev.EventBase(ev.EventConfig(flags=ev.BaseFlag.EPOLL_USE_CHANGELIST)) as base, socket_pair() as (one, _other):
        called: list[bool] = []

        def on_write(event: ev.Event, what: ev.EventFlag) -> None:
            called.append(True)
            event.delete()
            event.add()
            event.delete()

        base.event(one, WRITE | PERSIST, on_write).add()
        base.timer(0.2, lambda event, what: base.loopexit())
        base.dispatch()
        assert called == [True]
        assert base.statistics.polls < 20


def test_edge_triggered(pair: Pair) -> None:
    """regress_et.c et/et: called once for what is written once, though it isn't read."""
    with ev.EventBase(ev.EventConfig(features=ev.Feature.ET)) as base:
        called: list[ev.EventFlag] = []
        event = base.event(pair[0], READ | ET | PERSIST, lambda event, what: called.append(what))
        event.add()
        pair[1].send(b"this is a test\0")
        for _ in range(3):
            base.loop(ev.LoopFlag.NONBLOCK)
        assert len(called) == 1
        assert called[0] & READ
        pair[1].send(b"more")
        run_until(base, lambda: len(called) == 2)
        event.close()


def test_edge_and_level_can_not_be_mixed(base: ev.EventBase, pair: Pair) -> None:
    """regress_et.c et/et_mix_error: one descriptor is watched in one way."""
    edge = base.event(pair[0], READ | ET, print)
    level = base.event(pair[0], READ, print)
    edge.add()
    with pytest.raises(ValueError, match="can't be mixed"):
        level.add()
    edge.delete()
    level.add()
    with pytest.raises(ValueError, match="can't be mixed"):
        edge.add()
    level.close()
    edge.add()
    edge.close()


def test_several_edge_triggered_ones(base: ev.EventBase, pair: Pair) -> None:
    """regress_et.c et/et_multiple_events: a reader, a writer and a reader, the last deleted: the others go on."""
    called: list[str] = []

    def call(name: str) -> Any:
        return lambda event, what: called.append(name)

    events = [
        base.event(pair[1], READ | ET | PERSIST, call("read")),
        base.event(pair[1], WRITE | ET | PERSIST, call("write")),
        base.event(pair[1], READ | ET | PERSIST, call("other")),
    ]
    for event in events:
        event.add()
    events[2].delete()
    pair[0].send(b"x")
    base.loop(ev.LoopFlag.NONBLOCK)
    assert sorted(called) == ["read", "write"]
    for event in events:
        event.close()


@pytest.mark.parametrize("flags", [ET, CLOSED])
def test_what_a_back_end_can_not_do(pair: Pair, flags: ev.EventFlag) -> None:
    config = ev.EventConfig(avoid=["epoll", "poll"])
    with ev.EventBase(config) as base, pytest.raises(ValueError, match=f"{flags.name}.*select"):
        base.event(pair[0], READ | flags, print)


def test_what_epoll_refuses(base: ev.EventBase) -> None:
    with tempfile.TemporaryFile() as file:
        event = base.event(file, READ, print)
        with pytest.raises(PermissionError):
            event.add()
        assert not event.pending()
        assert base.num_events == 0
    event = base.event(999, READ, print)
    with pytest.raises(OSError, match="Bad file descriptor"):
        event.add()
    assert base.num_events == 0


@pytest.mark.parametrize(
    ("fd", "flags", "error"),
    [
        (-1, READ, ValueError),
        (None, WRITE, ValueError),
        ("1", READ, TypeError),
        (2**31, READ, ValueError),
        (1.0, READ, TypeError),
        (0, READ | ev.EventFlag.SIGNAL, ValueError),
        (0, 0x100, ValueError),
        (0, "READ", TypeError),
        (-1, ET, ValueError),
        (-1, -1, ValueError),
    ],
)
def test_descriptors_and_flags_that_are_none(base: ev.EventBase, fd: Any, flags: Any, error: type[Exception]) -> None:
    """regress.c main/bad_assign: what libevent refuses, or takes and shouldn't."""
    with pytest.raises(error, match=r"fd|flags|number of the signal"):
        base.event(fd, flags, print)
    assert base.num_events == 0


def test_the_owner_of_a_descriptor_is_kept(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    called: list[ev.EventFlag] = []
    event = base.event(one, READ, lambda event, what: called.append(what))
    event.add()
    del one  # would close the descriptor, and another one might get its number
    with other:
        other.send(b"x")
        base.dispatch()
    assert called == [READ]
    owner = event._owner
    event.close()
    owner.close()  # type: ignore[attr-defined]
