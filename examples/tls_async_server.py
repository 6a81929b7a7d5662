"""A small web server over TLS: one loop, any number of connections.

    python tls_async_server.py --cert cert.pem --key key.pem [--host 127.0.0.1] [--port 8443] [--idle 10]

Each request gets a short answer, after which the connection is closed cleanly. Ctrl-C ends the server.
"""

from __future__ import annotations

import argparse
import contextlib
import socket

import pylibevent as ev

BODY = b"hello over TLS\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY) + BODY
MOST_REQUEST = 64 * 1024


def on_read(bev: ev.BufferEvent) -> None:
    if bev.input.search(b"\r\n\r\n") is None and bev.input.search(b"\n\n") is None:
        if len(bev.input) > MOST_REQUEST:
            bev.close(timeout=0)
        return
    bev.write(ANSWER)
    bev.close()  # once all of it is sent, and said to be all


def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
    if what & ev.What.CONNECTED:
        return
    if what & ev.What.ERROR:
        print(f"failed: {bev.error}", flush=True)
    bev.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer HTTP requests over TLS.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--cert", required=True, help="a PEM file: the certificate, then those between it and the authority")
    parser.add_argument("--key", help="a PEM file of its key; in the same file if it isn't said")
    parser.add_argument("--idle", type=float, default=10, help="seconds after which a silent client is dropped")
    options = parser.parse_args()
    if not options.idle > 0:
        parser.error(f"--idle must be above 0, not {options.idle}")
    try:
        ctx = ev.TLSContext.server(options.cert, options.key)
    except OSError as error:
        raise SystemExit(f"can't use the certificate {options.cert}: {error}; make_certificates.py makes some") from None
    ctx.set_alpn_protocols(["http/1.1"])

    def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        bev = ev.TLSBufferEvent.accept(base, sock, ctx)
        bev.set_callbacks(read=on_read, event=on_event)
        bev.set_timeouts(read=options.idle)
        bev.enable()

    with ev.EventBase() as base:
        try:
            listener = ev.Listener.bind(base, (options.host, options.port), on_accept)
        except (OSError, ValueError) as error:
            raise SystemExit(f"can't listen on {options.host}, port {options.port}: {error}") from None
        print(f"listening on {listener.address}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            base.dispatch()
        listener.close()


if __name__ == "__main__":
    main()
