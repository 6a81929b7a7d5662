"""Send a file over a connection that compresses, and receive it.

    python zlib_filter.py receive --port 9999 > copy
    python zlib_filter.py send --port 9999 < file

Both say on stderr how many bytes there were, and how many on the wire. --format chooses zlib, gzip or zstd, for both the same.
The receiver doesn't trust the sender: what isn't whole, or becomes much more than was sent, is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
from typing import Any

import pylibevent as ev

FORMATS = {"zlib": ev.filters.zlib_filter, "gzip": ev.filters.gzip_filter, "zstd": ev.filters.zstd_filter}
PIECE = 1 << 16


class Transfer:
    """One file over one connection."""

    def __init__(self, base: ev.EventBase, format: str) -> None:
        self.base = base
        self.format = format
        self.size = self.wire = 0
        self.problem: object = "interrupted"

    def filtered(self, bev: ev.BufferEvent) -> ev.FilterBufferEvent:
        for buffer in (bev.input, bev.output):
            buffer.add_callback(self.on_wire)
        return ev.FilterBufferEvent(bev, *FORMATS[self.format](), options=ev.Option.CLOSE_ON_FREE)

    def on_wire(self, buffer: ev.Buffer, change: ev.BufferChange) -> None:
        self.wire += change.added

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & (ev.What.ERROR | ev.What.EOF):
            self.problem = bev.error
            bev.close()


class Receiver(Transfer):
    """Takes the first connection, and writes what comes to stdout."""

    def start(self, host: str, port: int) -> None:
        listener = ev.Listener.bind(self.base, (host, port), self.on_accept)
        print(f"listening on {host}:{listener.address[1]}", file=sys.stderr, flush=True)

    def on_accept(self, listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        listener.close()
        bev = self.filtered(ev.SocketBufferEvent(self.base, sock))
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.enable(ev.EventFlag.READ)

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.size += sys.stdout.buffer.write(bev.read())


class Sender(Transfer):
    """Connects, and sends what stdin has: a piece whenever the last one has gone."""

    ended = False

    def start(self, host: str, port: int) -> None:
        underlying = ev.SocketBufferEvent(self.base)
        underlying.connect((host, port))
        underlying.set_watermark(ev.EventFlag.WRITE, 0, 2 * PIECE)  # more than that isn't compressed ahead
        self.bev = self.filtered(underlying)
        self.bev.set_callbacks(write=self.on_write, event=self.on_event)

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.CONNECTED:
            self.on_write(bev)
        super().on_event(bev, what)

    def on_write(self, bev: ev.BufferEvent) -> None:
        piece = b"" if self.ended else sys.stdin.buffer.read(PIECE)
        self.size += len(piece)
        if piece:
            bev.write(piece)
        elif not self.ended:
            self.ended = True
            bev.flush(ev.EventFlag.WRITE, ev.FlushMode.FINISHED)

    def on_wire(self, buffer: ev.Buffer, change: ev.BufferChange) -> None:
        super().on_wire(buffer, change)
        if self.ended and not buffer:  # all of it has gone
            self.problem = None
            self.bev.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Send or receive a file, compressed on the way.")
    parser.add_argument("what", choices=["send", "receive"])
    parser.add_argument("--host", default="127.0.0.1", help="a numeric address (%(default)s)")
    parser.add_argument("--port", type=int, default=9999, help="the port; 0 to receive on any that is free (%(default)s)")
    parser.add_argument("--format", choices=FORMATS, default="zlib", help="how to compress (%(default)s)")
    options = parser.parse_args()
    with ev.EventBase() as base:
        transfer = (Sender if options.what == "send" else Receiver)(base, options.format)
        with contextlib.suppress(KeyboardInterrupt):
            try:
                transfer.start(options.host, options.port)
            except (OSError, ValueError) as error:
                raise SystemExit(f"{options.host}, port {options.port}: {error}") from None
            base.dispatch()
    sys.stdout.flush()
    print(f"{transfer.size} bytes, {transfer.wire} on the wire", file=sys.stderr)
    if transfer.problem is not None:
        raise SystemExit(str(transfer.problem))


if __name__ == "__main__":
    main()
