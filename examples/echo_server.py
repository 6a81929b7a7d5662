"""An echo server: what a client sends, it gets back.

    python echo_server.py --port 9999 [--host 127.0.0.1] [--mode copy|move|relay]

``copy`` brings the bytes into Python and out again; ``move`` hands the chains of the input buffer to the output buffer, and
no byte is copied; ``relay`` leaves all to C, which tells Python only of the end. SIGINT and SIGTERM end it.
tls_echo_server.py is the same with TLS.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any

import pylibevent as ev

ENDED = ev.What.EOF | ev.What.ERROR
BACKLOG = 1024  # many may come at once; the system allows up to net.core.somaxconn


def copy(bev: ev.BufferEvent) -> None:
    bev.write(bev.read())


def move(bev: ev.BufferEvent) -> None:
    bev.write_buffer(bev.input)


MODES = {"copy": copy, "move": move, "relay": None}


def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
    if what & ENDED:
        bev.close()  # what is still to be sent goes out first


def port_number(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def arguments(description: str) -> argparse.ArgumentParser:
    """What both echo servers take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="the numeric address to listen on (%(default)s)")
    parser.add_argument("--port", type=port_number, default=9999, help="the port, 0 for any that is free (%(default)s)")
    parser.add_argument("--mode", choices=sorted(MODES), default="copy", help="how the bytes go back (%(default)s)")
    return parser


def allow_many_connections() -> None:
    """Each connection takes a descriptor, and the usual limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses what it calls unlimited
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_on_signals(base: ev.EventBase) -> None:
    """Ctrl-C and kill end the loop; a second one, when the base has let go of them, does nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
        base.signal(number, lambda event, what: base.loopexit())


def serve(options: argparse.Namespace, connect: Callable[[ev.EventBase, socket.socket], ev.BufferEvent]) -> None:
    """Listen, and echo until a signal comes; ``connect`` makes a bufferevent of an accepted socket."""
    echo = MODES[options.mode]

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        bev = connect(listener.base, sock)
        if echo is None:
            bev.relay(bev)
            return
        bev.set_callbacks(read=echo, event=on_event)
        bev.enable(ev.EventFlag.READ)

    listen(options, on_accept)


def listen(options: argparse.Namespace, on_accept: Callable[[ev.Listener, socket.socket, Any], object]) -> None:
    """Accept at the options' host and port until a signal comes."""
    allow_many_connections()
    with ev.EventBase() as base:
        stop_on_signals(base)
        try:
            listener = ev.Listener.bind(base, (options.host, options.port), on_accept, backlog=BACKLOG)
        except (OSError, ValueError) as error:
            raise SystemExit(f"can't listen on {options.host}, port {options.port}: {error}") from None
        host, port = listener.address[:2]
        print(f"listening on [{host}]:{port}" if ":" in host else f"listening on {host}:{port}", flush=True)
        base.dispatch()


if __name__ == "__main__":
    serve(arguments("Echo what clients send.").parse_args(), ev.SocketBufferEvent)
