"""An echo server over TLS with a thread, and a base, for each connection; they share one context.

    python tls_server_threads.py --cert cert.pem --key key.pem [--host 127.0.0.1] [--port 8433]

It says how long each handshake took, and why each connection ended. Ctrl-C ends it. One loop for all connections, as in
tls_async_server.py, needs less of everything; threads are for callbacks that block.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading

import pylibevent as ev


class Connection(threading.Thread):
    """Serves one client until it ends."""

    def __init__(self, sock: socket.socket, address: object, ctx: ev.TLSContext) -> None:
        super().__init__()
        self.sock, self.address, self.ctx = sock, address, ctx
        self.base: ev.EventBase | None = None
        self.ready = threading.Event()

    def run(self) -> None:
        with ev.EventBase() as base:
            self.base = base
            self.ready.set()
            bev = ev.TLSBufferEvent.accept(base, self.sock, self.ctx)
            bev.set_callbacks(read=lambda bev: bev.write_buffer(bev.input), event=self.on_event)
            bev.enable()
            base.dispatch()
            bev.abort()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        assert isinstance(bev, ev.TLSBufferEvent)
        if what & ev.What.CONNECTED:
            self.say(f"shook hands in {(bev.handshake_time or 0) * 1000:.1f} ms, {bev.version}")
            return
        self.say("closed it" if what & ev.What.EOF else f"failed: {bev.error}")
        bev.close()

    def say(self, text: str) -> None:
        print(f"{self.address}: {text}", flush=True)

    def stop(self) -> None:
        self.ready.wait()
        if self.base is not None and not self.base.closed:
            self.base.loopexit()


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo what clients send, over TLS, with a thread for each.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8433)
    parser.add_argument("--cert", required=True, help="a PEM file: the certificate, then those between it and the authority")
    parser.add_argument("--key", help="a PEM file of its key; in the same file if it isn't said")
    options = parser.parse_args()
    try:
        ctx = ev.TLSContext.server(options.cert, options.key)
    except OSError as error:
        raise SystemExit(f"can't use the certificate {options.cert}: {error}; make_certificates.py makes some") from None
    threads: list[Connection] = []

    def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        threads[:] = [thread for thread in threads if thread.is_alive()]
        threads.append(Connection(sock, address, ctx))
        threads[-1].start()

    with ev.EventBase() as base:
        try:
            listener = ev.Listener.bind(base, (options.host, options.port), on_accept)
        except (OSError, ValueError) as error:
            raise SystemExit(f"can't listen on {options.host}, port {options.port}: {error}") from None
        print(f"listening on {listener.address}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            base.dispatch()
        listener.close()
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
