"""Many TLS clients at once, on one loop: each sends a request and gathers the answer.

    python tls_async_client.py HOST PORT [--ca ca.pem] [--name example.test] [--count 10] [--path /]

Prints the first 256 bytes of one answer, and how the others went.
"""

from __future__ import annotations

import argparse
import collections

import pylibevent as ev


class Fetch:
    """One request."""

    def __init__(self, bev: ev.TLSBufferEvent, request: bytes) -> None:
        self.bev, self.answer = bev, bytearray()
        self.end = ""
        bev.set_callbacks(read=self.on_read, event=self.on_event)
        bev.enable()
        bev.write(request)

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.answer += bev.read()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.CONNECTED:
            return
        self.end = "answered" if what & ev.What.EOF else f"failed: {bev.error}"
        bev.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Send many requests over TLS at once.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--ca", help="a PEM file of the authorities to trust; the system's if it isn't said")
    parser.add_argument("--name", help="whose certificate it must be; the host if it isn't said")
    parser.add_argument("--count", type=int, default=10, help="how many connections")
    parser.add_argument("--path", default="/")
    options = parser.parse_args()
    if options.count < 1:
        parser.error(f"--count must be at least 1, not {options.count}")
    try:
        ctx = ev.TLSContext.client(options.ca)
    except OSError as error:
        raise SystemExit(f"can't use the authorities in {options.ca}: {error}") from None
    ctx.set_alpn_protocols(["http/1.1"])
    name = options.name or options.host
    request = f"GET {options.path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    with ev.EventBase() as base:
        try:
            all_of_them = [
                Fetch(ev.TLSBufferEvent.connect(base, (options.host, options.port), ctx, name), request)
                for _ in range(options.count)
            ]
        except ValueError as error:
            raise SystemExit(f"can't connect to {options.host}, port {options.port}: {error}") from None
        base.dispatch()
    answered = [fetch for fetch in all_of_them if fetch.end == "answered"]
    if answered:
        print(bytes(answered[0].answer[:256]).decode(errors="replace"), end="")
    for end, count in sorted(collections.Counter(fetch.end for fetch in all_of_them).items()):
        print(f"{count} {end}", flush=True)
    if len(answered) < len(all_of_them):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
