"""Bases in threads: python tls_threads.py BASES SECONDS CERTIFICATE KEY AUTHORITY prints, as JSON, bytes a second.

Each base has a thread, and in it pairs of TLS connections to itself: one end sends messages, the other gives them back. Python
does what the callbacks of an echo server and its client do.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

import pylibevent as ev

PAIRS = 4
MESSAGE = bytes(128 * 1024)
WARM_UP_SECONDS = 0.2


class Client:
    """One end, which keeps one message under way."""

    def __init__(self, base: ev.EventBase, ctx: ev.TLSContext, sock: socket.socket) -> None:
        self.bev = ev.TLSBufferEvent.wrap(ev.SocketBufferEvent(base, sock), ctx, server_hostname="localhost")
        self.bev.set_callbacks(read=self.on_read, event=self.on_event)
        self.bev.enable(ev.EventFlag.READ)
        self.back = self.total = 0

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if not what & ev.What.CONNECTED:
            raise bev.error or ConnectionError(f"it ended: {what}")
        bev.write(MESSAGE)

    def on_read(self, bev: ev.BufferEvent) -> None:
        n = len(bev.read())
        self.total += n
        self.back += n
        if self.back >= len(MESSAGE):
            self.back -= len(MESSAGE)
            bev.write(MESSAGE)


def echo(bev: ev.BufferEvent) -> None:
    bev.write(bev.read())


class Worker:
    """A base, its connections and its thread."""

    def __init__(self, server: ev.TLSContext, client: ev.TLSContext) -> None:
        self.base = ev.EventBase()
        self.clients: list[Client] = []
        self.servers = []
        for _ in range(PAIRS):
            here, there = socket.socketpair()
            self.clients.append(Client(self.base, client, here))
            bev = ev.TLSBufferEvent.accept(self.base, there, server)
            bev.set_callbacks(read=echo)
            bev.enable(ev.EventFlag.READ)
            self.servers.append(bev)
        self.thread = threading.Thread(target=self.base.dispatch)

    def total(self) -> int:
        return sum(client.total for client in self.clients)

    def stop(self) -> None:
        self.base.loopexit()
        self.thread.join()
        self.base.close()


def main(bases: int, seconds: float, certificate: str, key: str, authority: str) -> None:
    server, client = ev.TLSContext.server(certificate, key), ev.TLSContext.client(authority)
    workers = [Worker(server, client) for _ in range(bases)]
    for worker in workers:
        worker.thread.start()
    time.sleep(WARM_UP_SECONDS)
    begin, before = time.perf_counter(), sum(worker.total() for worker in workers)
    time.sleep(seconds)
    passed = sum(worker.total() for worker in workers) - before
    took = time.perf_counter() - begin
    for worker in workers:
        worker.stop()
    print(json.dumps({"bytes_per_second": passed / took}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:6])
