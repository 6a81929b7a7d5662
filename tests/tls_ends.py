"""Two ends that speak TLS, all they are told, and certificates of every kind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import trustme
from support import run_until

import pylibevent as ev

ENDS = ev.What.EOF | ev.What.ERROR | ev.What.TIMEOUT


class End:
    """One end, and all it is told."""

    def __init__(self, bev: ev.TLSBufferEvent, *, write: bytes = b"") -> None:
        self.bev = bev
        self.events: list[ev.What] = []
        self.got = bytearray()
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.enable()
        if write:
            bev.write(write)

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.got += bev.read()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.events.append(what)

    @property
    def connected(self) -> bool:
        return ev.What.CONNECTED in self.events

    @property
    def ended(self) -> bool:
        return bool(self.events and self.events[-1] & ENDS)

    @property
    def error(self) -> Any:
        return self.bev.error


def make_certificate(folder: Path, authority: trustme.CA, *names: str, **options: Any) -> tuple[str, str]:
    issued = authority.issue_cert(*names, **options)
    cert, key = str(folder / f"{names}-cert.pem".replace("/", "_")), str(folder / f"{names}-key.pem".replace("/", "_"))
    Path(cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return cert, key


def meet(
    base: ev.EventBase, server: ev.TLSContext, client: ev.TLSContext, name: str | None = "server.test", **options: Any
) -> tuple[End, End]:
    """Both ends over a socket pair."""
    one, other = socket.socketpair()
    server_end = End(ev.TLSBufferEvent.accept(base, one, server, **options))
    client_end = End(ev.TLSBufferEvent.wrap(ev.SocketBufferEvent(base, other), client, server_hostname=name, **options))
    return server_end, client_end


def shake_hands(base: ev.EventBase, *ends: End) -> None:
    """Until all are connected; none may fail."""
    run_until(base, lambda: all(end.events for end in ends))
    assert all(end.events == [ev.What.CONNECTED] for end in ends), [(end.events, end.error) for end in ends]


def both_fail(base: ev.EventBase, server: End, client: End) -> None:
    """Until both have ended."""
    run_until(base, lambda: server.ended and client.ended)


def close_all(base: ev.EventBase, *ends: End) -> None:
    for end in ends:
        end.bev.close()
    base.dispatch()


def settle(base: ev.EventBase) -> None:
    """Whatever is still to come, comes."""
    for _ in range(20):
        base.loop(ev.LoopFlag.NONBLOCK)
