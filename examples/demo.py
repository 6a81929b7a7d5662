"""A TLS echo server and its clients in one process, over loopback: the library's main job, told line by line.

    python demo.py      (or: make demo)

Three clients send 100 bytes, 100 kB and 10 MB, and check that the same comes back. A fourth doesn't know the authority that
issued the server's certificate, so it must refuse to talk. Ends by itself: 0 if everything happened, 1 if something didn't.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme

import pylibevent as ev

SIZES = (100, 100_000, 10_000_000)
GIVE_UP = 8.0

start = time.monotonic()


def say(who: str, text: str) -> None:
    print(f"{time.monotonic() - start:7.3f} s  {who:<9} {text}", flush=True)


class Server:
    """Echoes, and says what happens to its connections."""

    def __init__(self, base: ev.EventBase, ctx: ev.TLSContext) -> None:
        self.ctx = ctx
        self.open: dict[ev.BufferEvent, int] = {}
        self.clean_ends = 0
        self.listener = ev.Listener.bind(base, ("127.0.0.1", 0), self.on_accept)
        say("server", f"listening on {self.listener.address[0]}:{self.listener.address[1]}")

    def on_accept(self, listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        bev = ev.TLSBufferEvent.accept(listener.base, sock, self.ctx)
        self.open[bev] = 0
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.enable(ev.EventFlag.READ)
        say("server", f"accepted a connection from port {address[1]}")

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.open[bev] += len(bev.input)
        bev.write_buffer(bev.input)

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.EOF:
            self.clean_ends += 1
            say("server", f"got close_notify after {self.open.pop(bev):,} bytes: a clean end")
            bev.close()
        elif what & ev.What.ERROR:
            say("server", f"lost a connection after {self.open.pop(bev):,} bytes: {bev.error}")
            bev.close()


class Client:
    """Sends random bytes and wants them back."""

    def __init__(self, number: int, server: Server, ctx: ev.TLSContext, size: int) -> None:
        self.name = f"client {number}"
        self.sent = os.urandom(size)
        self.got = ev.Buffer()
        self.echoed = False
        self.refused = False
        self.bev = ev.TLSBufferEvent.connect(server.listener.base, server.listener.address, ctx, "localhost")
        self.bev.set_callbacks(read=self.on_read, event=self.on_event)
        self.bev.enable(ev.EventFlag.READ)

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.CONNECTED:
            cipher = self.bev.cipher
            assert cipher is not None
            say(self.name, f"handshake done: {self.bev.version}, {cipher.name}, {cipher.bits} bits")
            self.bev.write(self.sent)
            return
        self.refused = isinstance(bev.error, ev.TLSCertificateError)
        say(self.name, f"{'refused the server' if self.refused else 'failed'}: {bev.error or 'the server hung up'}")
        bev.close()

    def on_read(self, bev: ev.BufferEvent) -> None:
        bev.read_buffer(self.got)
        if len(self.got) < len(self.sent):
            return
        self.echoed = bytes(self.got) == self.sent
        say(self.name, f"{len(self.got):,} bytes echoed{'' if self.echoed else ', but not the same'}; says close_notify")
        bev.close()


def main() -> int:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    with tempfile.TemporaryDirectory() as folder, ev.EventBase() as base:
        pem = Path(folder, "server.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(pem)
        say("demo", f"libevent {ev.libevent_version} ({base.method}), {ev.openssl_version}")
        server = Server(base, ev.TLSContext.server(pem))
        trusting = ev.TLSContext.client(cadata=authority.cert_pem.bytes().decode())
        strangers = ev.TLSContext.client(cadata=trustme.CA().cert_pem.bytes().decode())
        clients = [Client(number, server, trusting, size) for number, size in enumerate(SIZES, 1)]
        stranger = Client(len(clients) + 1, server, strangers, 1)
        deadline = base.timer(GIVE_UP, lambda event, what: base.loopexit())
        everybody = [*clients, stranger]
        while deadline.pending() and (server.open or not all(client.bev.closed for client in everybody)):
            base.loop(ev.LoopFlag.ONCE)
    well = all(client.echoed for client in clients) and server.clean_ends == len(clients) and stranger.refused
    say("demo", "everything as it should be" if well else "something went wrong")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
