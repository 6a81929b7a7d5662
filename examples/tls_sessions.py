"""What it saves to resume TLS sessions, and that any server process can: two on one port, and a client that comes again.

    python tls_sessions.py [--share sqlite|tickets|none|redis://HOST] [--tls 1.2|1.3] [--visits 200]

The servers share their sessions through an SQLite file, a Redis, or the keys of their tickets; with "none" each knows its own
only. Which process gets a connection is the system's choice. The certificates need trustme (pip install pylibevent[demo]).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trustme

import pylibevent as ev

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
GIVE_UP = 10.0

# ---------------------------------------------------------------- a server, in a process of its own


def serve(listening: int, folder: Path, share: str) -> None:
    """Greet each client with the number of this process and whether its session was resumed, until stdin ends."""
    ctx = ev.TLSContext.server(folder / "cert.pem", folder / "key.pem")
    if share == "sqlite":
        ctx.session_store = ev.SQLiteSessionStore(folder / "sessions.db")
    elif share == "tickets":
        ctx.ticket_keys = ev.TicketKeys(store=ev.SQLiteSessionStore(folder / "tickets.db"))
    elif share != "none":
        ctx.session_store = ev.RedisSessionStore(share, keys=(folder / "seal.key").read_bytes())

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.CONNECTED:
            assert isinstance(bev, ev.TLSBufferEvent)
            bev.write(f"{os.getpid()} {'resumed' if bev.session_reused else 'full'}\n".encode())
        bev.close()

    def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        bev = ev.TLSBufferEvent.accept(base, sock, ctx)
        bev.set_callbacks(event=on_event)
        bev.enable()

    with ev.EventBase() as base, ev.Listener.from_socket(base, socket.socket(fileno=listening), on_accept):
        base.event(sys.stdin, ev.EventFlag.READ, lambda event, what: base.loopexit()).add()
        base.dispatch()


@contextlib.contextmanager
def servers(sock: socket.socket, folder: Path, share: str, n: int = 2) -> Iterator[None]:
    """So many processes that accept from one socket."""
    command = [sys.executable, __file__, "--serve", str(sock.fileno()), str(folder), share]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[sock.fileno()]) for _ in range(n)]
    try:
        yield
    finally:
        for process in running:
            process.communicate()


# ---------------------------------------------------------------- the client


class Visitor:
    """Connects again and again, one connection at a time, and keeps what it finds."""

    def __init__(self, base: ev.EventBase, address: tuple[str, int], ctx: ev.TLSContext, visits: int) -> None:
        self.base, self.address, self.ctx, self.left = base, address, ctx, visits
        self.seconds: dict[str, list[float]] = {"full": [], "resumed": []}
        self.served: dict[str, int] = {}
        self.deadline = base.timer(GIVE_UP, lambda event, what: self.give_up("the servers don't answer"))
        self.connect()

    def connect(self) -> None:
        self.got = b""
        self.connected = 0.0
        self.start = time.perf_counter()
        bev = ev.TLSBufferEvent.connect(self.base, self.address, self.ctx, "server.test")
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.enable()

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.got += bev.read()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.CONNECTED:
            self.connected = time.perf_counter() - self.start
            return
        bev.close()
        if not what & ev.What.EOF:
            self.give_up(f"a connection failed: {bev.error}")
        pid, how = self.got.decode().split()
        self.seconds[how].append(self.connected)
        self.served[pid] = self.served.get(pid, 0) + 1
        self.left -= 1
        if self.left:
            self.deadline.add(GIVE_UP)
            self.base.call_soon(self.connect)
        else:
            self.deadline.close()

    def give_up(self, why: str) -> None:
        raise SystemExit(why)


def visit(address: tuple[str, int], ctx: ev.TLSContext, visits: int) -> Visitor:
    with ev.EventBase() as base:
        visitor = Visitor(base, address, ctx, visits)
        base.dispatch()
    return visitor


def report(title: str, visitor: Visitor) -> None:
    print(f"{title}: {sum(visitor.served.values())} connections, served by {len(visitor.served)} processes")
    for how, seconds in visitor.seconds.items():
        if seconds:
            middle = sorted(seconds)[len(seconds) // 2]
            print(f"  {len(seconds):5} {how:<8} {middle * 1000:7.2f} ms from connecting to the end of the handshake")


def make_certificates(folder: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("server.test")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "seal.key").write_bytes(ev.SealedSessionStore.make_key())


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser(description="Resume TLS sessions with two server processes.")
    parser.add_argument("--share", default="sqlite", metavar="HOW", help="sqlite, tickets, none, or redis://host[:port]")
    parser.add_argument("--tls", default="1.3", choices=VERSIONS, help="the version of TLS (default: 1.3)")
    parser.add_argument("--visits", default=200, type=int, metavar="N", help="how often the client connects (default: 200)")
    options = parser.parse_args()
    if options.share not in ("sqlite", "tickets", "none") and not options.share.startswith("redis://"):
        parser.error(f"--share must be sqlite, tickets, none or redis://..., not {options.share!r}")
    if options.visits < 1:
        parser.error("--visits must be at least 1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_certificates(folder)
        ctx = ev.TLSContext.client(folder / "ca.pem")
        ctx.minimum_version = ctx.maximum_version = VERSIONS[options.tls]
        with socket.create_server(("127.0.0.1", 0)) as sock, servers(sock, folder, options.share):
            kept, ctx.client_sessions = ctx.client_sessions, None
            report("keeping no sessions", visit(sock.getsockname(), ctx, options.visits))
            ctx.client_sessions = kept
            report("keeping sessions", visit(sock.getsockname(), ctx, options.visits))


if __name__ == "__main__":
    main()
