"""Many connections with the fast path and without it: the same callbacks, in the order of their priorities."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pylibevent as ev
from pylibevent._libevent import lib

READ = ev.EventFlag.READ
CLOSE = ev.Option.CLOSE_ON_FREE
PRIORITIES = 3
MANY = 4
MUCH = 32 * 1024
"""From how many bytes on messages stay in the socket until they are taken."""
ONE_READ = 4096
"""What libevent takes at a time."""

which = st.integers(0, MANY - 1)
HOW = ["take", "echo", "move", "to the next", "close the next", "disable the next"]
connections = st.tuples(
    st.integers(0, PRIORITIES - 1), st.sampled_from([ev.Option(0), ev.Option.DEFER_CALLBACKS]), st.sampled_from(HOW)
)
rounds = st.lists(st.tuples(which, st.sampled_from([1, 1000, ONE_READ])), min_size=1, max_size=8)


class Star:
    """Connections of one base, and a record of what Python was told."""

    def __init__(self, base: ev.EventBase, ready: list[Any]) -> None:
        self.base = base
        self.record: list[Any] = []
        self.peers: list[socket.socket] = []
        self.bevs: list[ev.SocketBufferEvent] = []
        self.how = [how for _, _, how in ready]
        for number, (priority, options, _) in enumerate(ready):
            peer, sock = socket.socketpair()
            peer.setblocking(False)
            bev = ev.SocketBufferEvent(base, sock, options | CLOSE)
            bev.priority = priority
            bev.set_callbacks(lambda bev, number=number: self.on_read(number))
            bev.enable()
            self.peers.append(peer)
            self.bevs.append(bev)

    def close(self) -> None:
        for bev, peer in zip(self.bevs, self.peers, strict=True):
            bev.abort()
            peer.close()

    def on_read(self, number: int) -> None:
        bev, following = self.bevs[number], self.bevs[(number + 1) % MANY]
        self.record.append((number, bytes(bev.input)))
        how = self.how[number]
        if how == "echo" or following.closed:
            bev.write(bev.read())
        elif how == "move":
            bev.write_buffer(bev.input)
        elif how == "to the next":
            following.write_buffer(bev.input)
        else:
            bev.read()
            if how == "close the next":
                following.close()
            elif how == "disable the next":
                following.disable(READ)

    def receive(self) -> None:
        for number, peer in enumerate(self.peers):
            data = bytearray()
            try:
                while piece := peer.recv(1 << 20):
                    data += piece
            except OSError:
                pass
            self.record.append((number, "received", bytes(data)))


def play(fast_io: bool, ready: list[Any], all_rounds: list[list[tuple[int, int]]], much: int = MUCH) -> list[Any]:
    with ev.EventBase(priorities=PRIORITIES, fast_io=fast_io) as base:
        lib.pev_loop_set_much(base._h, much)
        star = Star(base, ready)
        for number, pieces in enumerate(all_rounds):
            free = [ONE_READ] * MANY
            for at, size in pieces:
                if size <= free[at] and not star.bevs[at].closed and star.bevs[at].enabled & READ:
                    free[at] -= size
                    star.peers[at].send(bytes([number + at]) * size)
            for _ in range(6):
                base.loop(ev.LoopFlag.NONBLOCK)
            star.receive()
        star.close()
        return star.record


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    ready=st.lists(connections, min_size=MANY, max_size=MANY),
    all_rounds=st.lists(rounds, max_size=4),
    much=st.sampled_from([1, MUCH]),
)
def test_reads_come_in_the_same_order(ready: list[Any], all_rounds: list[list[tuple[int, int]]], much: int) -> None:
    assert play(True, ready, all_rounds, much) == play(False, ready, all_rounds)
