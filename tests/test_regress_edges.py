"""Edge-triggered events, step by step as upstream does it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from support import socket_pair

import pylibevent as ev

READ, WRITE, PERSIST, ET = ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.PERSIST, ev.EventFlag.ET
NONBLOCK, ONCE = ev.LoopFlag.NONBLOCK, ev.LoopFlag.ONCE
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[ev.BaseFlag(0), ev.BaseFlag.EPOLL_USE_CHANGELIST], ids=["epoll", "changelist"])
def edge_base(request: pytest.FixtureRequest) -> Iterator[ev.EventBase]:
    """A base that can tell edges, in each way in which epoll is told."""
    with ev.EventBase(ev.EventConfig(features=ev.Feature.ET, flags=request.param)) as base:
        yield base


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket_pair() as both:
        yield both


def test_one_byte_of_twelve(edge_base: ev.EventBase, pair: Pair) -> None:
    """regress_et.c et/et: 12 bytes and the end; two passes, one byte read: called once, and told ET.

    Upstream's other half, where a back end that can't do it calls twice, doesn't apply: ET is refused there.
    """
    seen: list[ev.EventFlag] = []

    def on_read(event: ev.Event, what: ev.EventFlag) -> None:
        seen.append(what)
        assert pair[1].recv(1) == b"t"

    assert pair[0].send(b"test string\0") == 12
    pair[0].shutdown(socket.SHUT_WR)
    event = edge_base.event(pair[1], READ | ET | PERSIST, on_read)
    event.add()
    assert edge_base.loop(NONBLOCK | ONCE) is False
    assert edge_base.loop(NONBLOCK | ONCE) is False
    assert seen == [READ | ET]
    event.delete()
    event.close()


def test_an_edge_and_a_level_on_one_descriptor(edge_base: ev.EventBase, pair: Pair) -> None:
    """regress_et.c et/et_mix_error: whichever is added second is refused, and isn't pending; the first one is."""
    edge, level = edge_base.event(pair[0], READ | ET, print), edge_base.event(pair[0], READ, print)
    edge.add()
    with pytest.raises(ValueError, match="can't be mixed"):
        level.add()
    assert edge.pending(READ) == READ
    assert not level.pending(READ)
    edge.delete()
    level.add()
    with pytest.raises(ValueError, match="can't be mixed"):
        edge.add()
    assert level.pending(READ) == READ
    assert not edge.pending(READ)
    edge.close()
    level.close()


def test_a_writer_whose_reader_is_deleted(edge_base: ev.EventBase, pair: Pair) -> None:
    """regress_et.c et/et_multiple_events: a byte: both are called once in two passes; the reader is deleted, the peer closes:
    the writer is called once more in two passes, by an edge still.
    """
    reads: list[ev.EventFlag] = []
    writes: list[ev.EventFlag] = []
    assert pair[0].send(b"A") == 1
    reader = edge_base.event(pair[1], READ | ET | PERSIST, lambda event, what: reads.append(what))
    writer = edge_base.event(pair[1], WRITE | ET | PERSIST, lambda event, what: writes.append(what))
    reader.add()
    writer.add()
    edge_base.loop(NONBLOCK | ONCE)
    edge_base.loop(NONBLOCK | ONCE)
    assert reads == [READ | ET]
    assert writes == [WRITE | ET]

    reader.delete()
    pair[0].close()
    edge_base.loop(NONBLOCK | ONCE)
    edge_base.loop(NONBLOCK | ONCE)
    assert reads == [READ | ET]
    assert writes == [WRITE | ET] * 2
    reader.close()
    writer.close()
