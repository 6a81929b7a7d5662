"""Closing a TCP socket that still gets bytes: the peer has all that was written, and an end instead of a reset."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from typing import Any

import pytest
from support import GIVE_UP, run_until, socket_pair

import pylibevent as ev


def connected(base: ev.EventBase) -> tuple[ev.SocketBufferEvent, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), GIVE_UP)
        theirs, _ = listening.accept()
    theirs.settimeout(GIVE_UP)
    return ev.SocketBufferEvent(base, ours), theirs


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_all_arrives_though_we_never_read(base: ev.EventBase, rng: random.Random, size: int) -> None:
    bev, theirs = connected(base)
    data = rng.randbytes(size)
    got = bytearray()
    failed: list[OSError] = []

    def peer() -> None:
        try:
            theirs.sendall(b"nobody reads this" * 1000)
            while chunk := theirs.recv(65536):
                got.extend(chunk)
                with contextlib.suppress(BrokenPipeError):  # once they have closed
                    theirs.sendall(b"nor this")
        except OSError as error:
            failed.append(error)
        theirs.close()
        base.call_soon_threadsafe(lambda: None)

    bev.write(data)
    bev.close()
    thread = threading.Thread(target=peer)
    thread.start()
    base.dispatch()
    thread.join(GIVE_UP)
    assert not failed
    assert got == data


def test_a_peer_that_never_ends_is_given_up(base: ev.EventBase) -> None:
    """And finds no end in place of the rest."""
    bev, theirs = connected(base)
    with theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        bev.write(b"x" * 8_000_000)
        start = time.monotonic()
        bev.close(timeout=0.2)
        base.dispatch()
        assert time.monotonic() - start < GIVE_UP / 2
        assert base.num_events == 0
        with pytest.raises(ConnectionResetError):
            all(iter(lambda: theirs.recv(1 << 20), b""))


@pytest.mark.parametrize("kind", ["plain", "over TLS", "direct TLS"])
def test_a_slow_peer_gets_everything(base: ev.EventBase, certificates: Any, kind: str) -> None:
    """It may take any time, as long as it takes something: twice as long as the close waits without that."""
    size, patience, pause = 8_000_000, 1.5, 0.01
    bev, theirs = connected(base)
    if kind != "plain":
        server = ev.TLSContext.server(certificates.cert, certificates.key)
        bev = ev.TLSBufferEvent.wrap(bev, server, server_side=True, direct=kind == "direct TLS")
        bev.enable()
    bev.write(b"x" * size)
    got = 0

    def peer() -> None:
        nonlocal got
        ctx = ssl.create_default_context(cafile=certificates.ca)
        with theirs if kind == "plain" else ctx.wrap_socket(theirs, server_hostname="server.test") as stream:
            base.call_soon_threadsafe(lambda: bev.close(timeout=patience))
            while chunk := stream.recv(int(size * pause / (2 * patience))):
                got += len(chunk)
                time.sleep(pause)
        base.call_soon_threadsafe(lambda: None)

    thread = threading.Thread(target=peer)
    thread.start()
    run_until(base, lambda: not thread.is_alive())
    base.dispatch()
    thread.join(GIVE_UP)
    assert got == size


def test_without_anything_to_send_the_descriptor_is_closed_at_once(base: ev.EventBase) -> None:
    bev, theirs = connected(base)
    with theirs:
        bev.close()
        assert theirs.recv(1) == b""


def test_closing_the_base_ends_the_wait(rng: random.Random) -> None:
    base = ev.EventBase()
    bev, theirs = connected(base)
    with theirs:
        bev.write(b"x" * 4_000_000)
        bev.close()
        for _ in range(4):
            base.loop(ev.LoopFlag.NONBLOCK)
        base.close()


def test_a_close_that_lingers_where_there_are_priorities() -> None:
    """That all is sent is told when there is no bufferevent of libevent's any more."""
    with ev.EventBase(priorities=3) as base, socket_pair() as (near, far):
        bev = ev.SocketBufferEvent(base, near)
        bev.priority = 2
        bev.output.write(b"x" * 1_000_000)
        bev.close()
        got = bytearray()

        def take(event: ev.Event, what: ev.EventFlag) -> None:
            with contextlib.suppress(BlockingIOError):
                got.extend(far.recv(1 << 20))

        with base.timer(0.001, take, persist=True):
            run_until(base, lambda: len(got) == 1_000_000)
        base.dispatch()
