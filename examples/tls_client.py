"""A TLS client that does one thing after the other: connects, says whom it reached, sends a line, prints the answer.

    python tls_client.py HOST PORT [--ca ca.pem] [--name example.test] [--line "GET / HTTP/1.0"] [--most 256]

Without --ca the system's authorities are trusted. It ends with status 1 and the reason when the server can't be trusted.
"""

from __future__ import annotations

import argparse

import pylibevent as ev


def name_text(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    return ", ".join(f"{name}={value}" for part in parts for name, value in part)


class Client:
    """One connection; each step runs the loop until it is done."""

    def __init__(self, base: ev.EventBase, bev: ev.TLSBufferEvent) -> None:
        self.base, self.bev = base, bev
        self.what = ev.What(0)
        bev.set_callbacks(read=lambda bev: None, event=self.on_event)
        bev.enable()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.what |= what

    def wait(self, *, enough: int | None = None) -> None:
        """Until it is connected, or so many bytes have come; or it ended."""
        while not self.what & (ev.What.EOF | ev.What.ERROR):
            if self.what & ev.What.CONNECTED and (enough is None or len(self.bev.input) >= enough):
                return
            self.base.loop(ev.LoopFlag.ONCE)
        if self.what & ev.What.ERROR and self.bev.error is not None:
            raise self.bev.error


def talk(client: Client, line: str, most: int) -> None:
    bev = client.bev
    client.wait()
    certificate = bev.getpeercert()
    assert bev.cipher is not None
    print(f"connected with {bev.version}, {bev.cipher.name}")
    print(f"subject: {name_text(certificate['subject'])}")
    print(f"issuer: {name_text(certificate['issuer'])}", flush=True)
    bev.write(line.encode() + b"\n")
    client.wait(enough=min(most, len(line) + 1))
    print(bev.read(most).decode(errors="replace"), end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Connect over TLS, send a line, print the answer.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--ca", help="a PEM file of the authorities to trust")
    parser.add_argument("--name", help="whose certificate it must be; the host if it isn't said")
    parser.add_argument("--line", default="GET / HTTP/1.0\r\n\r\n", help="what to send")
    parser.add_argument("--most", type=int, default=256, help="how many bytes of the answer to print")
    options = parser.parse_args()
    if options.most < 1:
        parser.error(f"--most must be at least 1, not {options.most}")
    try:
        ctx = ev.TLSContext.client(options.ca)
    except OSError as error:
        raise SystemExit(f"can't use the authorities in {options.ca}: {error}") from None
    with ev.EventBase() as base:
        try:
            bev = ev.TLSBufferEvent.connect(base, (options.host, options.port), ctx, options.name)
        except ValueError as error:
            raise SystemExit(f"can't connect to {options.host}, port {options.port}: {error}") from None
        client = Client(base, bev)
        try:
            talk(client, options.line, options.most)
        except OSError as error:
            raise SystemExit(f"can't talk to {options.host}: {error.strerror or error}") from None
        finally:
            client.bev.close()
            base.dispatch()  # also the alert that says why we leave


if __name__ == "__main__":
    main()
