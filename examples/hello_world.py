"""A port of libevent's sample/hello-world.c: says "Hello, World!" to whoever connects, and hangs up.

    python hello_world.py [PORT]      (9995; try: nc 127.0.0.1 9995)

Ctrl-C ends it, two seconds later.
"""

from __future__ import annotations

import signal
import socket
import sys
from typing import Any

import pylibevent as ev

MESSAGE = b"Hello, World!\n"
PORT = 9995


def on_write(bev: ev.BufferEvent) -> None:
    if not bev.output:
        print("flushed answer", flush=True)
        bev.close()


def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
    if what & ev.What.EOF:
        print("Connection closed.", flush=True)
    elif what & ev.What.ERROR:
        print(f"Got an error on the connection: {bev.error}", flush=True)
    bev.close()


def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
    bev = ev.SocketBufferEvent(listener.base, sock)
    bev.set_callbacks(write=on_write, event=on_event)
    bev.enable(ev.EventFlag.WRITE)
    bev.disable(ev.EventFlag.READ)
    bev.write(MESSAGE)


def on_signal(event: ev.Event, what: ev.EventFlag) -> None:
    print("Caught an interrupt signal; exiting cleanly in two seconds.", flush=True)
    event.base.loopexit(2)


def main(port: int = PORT) -> None:
    with ev.EventBase() as base:
        listener = ev.Listener.bind(base, ("127.0.0.1", port), on_accept)
        base.signal(signal.SIGINT, on_signal)
        print(f"listening on port {listener.address[1]}", flush=True)
        base.dispatch()
    print("done")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
