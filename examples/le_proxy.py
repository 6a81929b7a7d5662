"""A proxy: what comes in goes on to another address, and back. libevent's sample le-proxy.

    python le_proxy.py --port 9999 --to 127.0.0.1:80 [--host 127.0.0.1] [--cert cert.pem --key key.pem] [--verbose]

With a certificate it speaks TLS with its clients, and plainly with whom it passes on to. All bytes stay in C: Python hears of
each connection when it comes and when it has ended. SIGINT and SIGTERM end it.
"""

from __future__ import annotations

import argparse
import functools
import socket
from typing import Any

from echo_server import listen, port_number

import pylibevent as ev


def address_of(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError
    return host.strip("[]"), port_number(port)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pass on to another address what clients send, and back.")
    parser.add_argument("--host", default="127.0.0.1", help="the numeric address to listen on (%(default)s)")
    parser.add_argument("--port", type=port_number, default=9999, help="the port, 0 for any that is free (%(default)s)")
    parser.add_argument("--to", type=address_of, required=True, metavar="HOST:PORT", help="the numeric address to pass on to")
    parser.add_argument("--cert", help="a PEM file: the certificate to speak TLS with, then those between it and the authority")
    parser.add_argument("--key", help="a PEM file: the certificate's private key, not encrypted")
    parser.add_argument("--verbose", action="store_true", help="say how each connection ended")
    options = parser.parse_args()
    if (options.cert is None) != (options.key is None):
        parser.error("--cert and --key go together")
    return options


def say(address: Any, end: ev.RelayEnd) -> None:
    why = "" if end.reason is None else f": {end.reason}"
    print(f"{address[0]} port {address[1]}: {end.sent} bytes there, {end.received} back{why}", flush=True)


def main() -> None:
    options = arguments()
    ctx = None
    if options.cert is not None:
        try:
            ctx = ev.TLSContext.server(options.cert, options.key)
        except OSError as error:
            raise SystemExit(f"can't use the certificate {options.cert} with the key {options.key}: {error}") from None

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        base = listener.base
        client = ev.SocketBufferEvent(base, sock) if ctx is None else ev.TLSBufferEvent.accept(base, sock, ctx)
        server = ev.SocketBufferEvent(base)
        client.relay(server, on_close=functools.partial(say, address) if options.verbose else None)
        server.connect(options.to)

    listen(options, on_accept)


if __name__ == "__main__":
    main()
