"""How accurate rate limits are: many connections at once, as upstream's test-ratelim.c does, and the table of
docs/rate-limits.md.

Each setup has 30 connections, over TCP, TLS, or pairs. Clients send as fast as they can. The server's ends are limited: they
echo what they get; over TLS, where nothing can be echoed before a whole record has come, they send as fast as they can too.
What counts is what the kernel says each client has received, and what clients that are ends of pairs have taken.

    python -m benchmarks.rate_limits [--seconds 10] [--write docs/rate-limits.md]
"""

from __future__ import annotations

import argparse
import math
import re
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pylibevent as ev

CONNECTIONS = 30
TICK = 0.1
BURST = 4
"""Ticks' worth. test-ratelim.c has as many."""

CHUNK = bytes(1024)
QUEUED = 8192
SETTLE = 0.6
"""Seconds before the measuring begins: what buckets were given at first is used up then."""

BYTES_RECEIVED = struct.Struct("=128xQ")
"""tcpi_bytes_received in Linux's struct tcp_info."""

BEGIN, END = "<!-- measured -->", "<!-- end of what was measured -->"


class Setup(NamedTuple):
    """What is limited, in bytes per second; the drain in bytes per tick."""

    name: str
    connection: int | None = None
    group: int | None = None
    drain: int = 0
    over: str = "TCP"

    @property
    def expected(self) -> float:
        """Bytes per second that each connection should get."""
        shares = [float(self.connection)] if self.connection else []
        if self.group:
            shares.append((self.group - self.drain / TICK) / CONNECTIONS)
        return min(shares)


class Measured(NamedTuple):
    """Bytes per second."""

    setup: Setup
    rates: list[float]

    @property
    def total(self) -> float:
        """Of all connections together."""
        return sum(self.rates)

    @property
    def mean(self) -> float:
        """Of one connection."""
        return statistics.fmean(self.rates)

    @property
    def deviation(self) -> float:
        """The standard deviation between connections."""
        return statistics.pstdev(self.rates)


UPSTREAM = (
    Setup("group", group=30_000),
    Setup("each connection", connection=1_000),
    Setup("each connection and group", connection=1_000, group=30_000),
    Setup("each connection and group, with a drain", connection=1_000, group=35_000, drain=500),
)
"""What test-ratelim.sh runs."""

SETUPS = tuple(setup._replace(over=over) for over in ("TCP", "TLS", "pairs") for setup in UPSTREAM)


def limit(per_second: int) -> ev.RateLimit:
    """So many bytes per second, as test-ratelim.c divides them."""
    rate = int(per_second * TICK)
    return ev.RateLimit(rate, rate, rate * BURST, rate * BURST, TICK)


def received(fd: int) -> int:
    """Bytes that a TCP connection has received, by the kernel's count."""
    with socket.socket(fileno=fd) as sock:
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED.size)
        finally:
            sock.detach()
    return int(BYTES_RECEIVED.unpack(info)[0])


def keep_full(bev: ev.BufferEvent) -> None:
    """Send as fast as it can."""
    while len(bev.output) < QUEUED:
        bev.write(CHUNK)


def echo(bev: ev.BufferEvent) -> None:
    """Send back what has come."""
    bev.write_buffer(bev.input)


def failed(bev: ev.BufferEvent, what: ev.What) -> None:
    """Nothing may end while it is measured."""
    if what & ~ev.What.CONNECTED:
        raise RuntimeError(f"{bev!r}: {what!r}: {bev.error}")


class Run:
    """One setup, on a base that it may share with others."""

    def __init__(
        self, base: ev.EventBase, setup: Setup, contexts: tuple[ev.TLSContext, ev.TLSContext], stack: ExitStack
    ) -> None:
        self.base = base
        self.setup = setup
        self.contexts = contexts
        self.clients: list[ev.BufferEvent] = []
        self.servers: list[ev.BufferEvent] = []
        self.taken: dict[ev.BufferEvent, int] = {}
        self.waiting = CONNECTIONS * 2 if setup.over == "TLS" else 0
        self.started = 0.0
        self.first: list[int] = []
        for client, server in self.pairs() if setup.over == "pairs" else self.connections():
            for end, side in ((client, self.clients), (server, self.servers)):
                end.set_callbacks(event=self.on_event)
                end.enable()
                side.append(end)
                stack.callback(end.abort)

    def pairs(self) -> Iterator[tuple[ev.BufferEvent, ev.BufferEvent]]:
        """Ends without a descriptor."""
        for _ in range(CONNECTIONS):
            yield ev.PairBufferEvent.new(self.base)

    def connections(self) -> Iterator[tuple[ev.BufferEvent, ev.BufferEvent]]:
        """Ends of TCP connections, the client's and the server's."""
        server_ctx, client_ctx = self.contexts
        with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener:
            for _ in range(CONNECTIONS):
                one = ev.SocketBufferEvent(self.base, socket.create_connection(listener.getsockname()))
                other = ev.SocketBufferEvent(self.base, listener.accept()[0])
                if self.setup.over == "TLS":
                    yield (
                        ev.TLSBufferEvent.wrap(one, client_ctx, server_hostname="localhost"),
                        ev.TLSBufferEvent.wrap(other, server_ctx, server_side=True),
                    )
                else:
                    yield one, other

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        """A handshake is done, nothing else."""
        failed(bev, what)
        self.waiting -= 1

    def start(self, stack: ExitStack) -> None:
        """Set the limits and let it flow."""
        setup = self.setup
        group = stack.enter_context(ev.RateLimitGroup(self.base, limit(setup.group))) if setup.group else None
        for bev in self.servers:
            if setup.connection:
                bev.set_rate_limit(limit(setup.connection))
            if group is not None:
                group.add(bev)
            if setup.over == "TLS":
                bev.set_callbacks(self.discard, keep_full, failed)
                keep_full(bev)
            else:
                bev.set_callbacks(echo, None, failed)
        if group is not None and setup.drain:

            def drain(event: ev.Event, what: ev.EventFlag) -> None:
                group.decrement_read(setup.drain)
                group.decrement_write(setup.drain)

            stack.callback(self.base.timer(TICK, drain, persist=True).close)
        for bev in self.clients:
            bev.set_callbacks(self.discard, keep_full, failed)
            keep_full(bev)

    def discard(self, bev: ev.BufferEvent) -> None:
        """Take what has come."""
        self.taken[bev] = self.taken.get(bev, 0) + len(bev.input)
        bev.input.drain(len(bev.input))

    def counts(self) -> list[int]:
        """What each client has received."""
        if self.setup.over == "pairs":
            return [self.taken.get(bev, 0) for bev in self.clients]
        return [received(bev.fd) for bev in self.clients]

    def begin(self) -> None:
        """Start measuring."""
        self.started, self.first = time.monotonic(), self.counts()

    def finish(self) -> Measured:
        """What was measured since begin()."""
        seconds = time.monotonic() - self.started
        counts = zip(self.first, self.counts(), strict=True)
        return Measured(self.setup, [(last - first) / seconds for first, last in counts])


def run_for(base: ev.EventBase, seconds: float) -> None:
    """Run the loop for so long, and on to the middle between two ticks."""
    end = time.time() + seconds
    base.loopexit(seconds + TICK - (end - TICK / 2) % TICK)
    base.dispatch()


@contextmanager
def running(
    base: ev.EventBase, setups: tuple[Setup, ...], contexts: tuple[ev.TLSContext, ev.TLSContext]
) -> Iterator[Callable[[float], list[Measured]]]:
    """All setups at once; what it gives measures them for so many seconds."""
    with ExitStack() as stack:
        runs = [Run(base, setup, contexts, stack) for setup in setups]
        while any(run.waiting for run in runs):
            base.loop(ev.LoopFlag.ONCE)
        for run in runs:
            run.start(stack)
        run_for(base, SETTLE)

        def measure(seconds: float) -> list[Measured]:
            for run in runs:
                run.begin()
            run_for(base, seconds - TICK / 4)
            return [run.finish() for run in runs]

        yield measure


# ---------------------------------------------------------------- the table


def make_contexts(folder: Path) -> tuple[ev.TLSContext, ev.TLSContext]:
    """For a server and for a client, with certificates made for the occasion."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return ev.TLSContext.server(cert, key), ev.TLSContext.client(cadata=authority.cert_pem.bytes().decode())


def table(results: list[Measured]) -> str:
    """The measurements as Markdown, in bytes per second."""
    lines = [
        "| over | limited | expected each | mean | deviation | lowest | highest | all together |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        setup = result.setup
        name = f"{setup.name}: " + ", ".join(
            text
            for text in (
                f"{setup.connection} each" if setup.connection else "",
                f"{setup.group} together" if setup.group else "",
                f"{setup.drain / TICK:.0f} drained" if setup.drain else "",
            )
            if text
        )
        numbers = (setup.expected, result.mean, result.deviation, min(result.rates), max(result.rates), result.total)
        cells = [setup.over, name, *(f"{number:.1f}" for number in numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def replace_table(path: Path, text: str) -> None:
    """Put the table where the page marks it."""
    page = path.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{path} has no place that is marked with {BEGIN}")
    path.write_text(pattern.sub(lambda match: f"{BEGIN}\n{text}\n{END}", page))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table if asked to."""
    parser = argparse.ArgumentParser(description="Measure how accurate rate limits are.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure (default: 10)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    options = parser.parse_args(arguments)
    if not (math.isfinite(options.seconds) and options.seconds > 0):
        parser.error("--seconds must be above 0")
    with tempfile.TemporaryDirectory() as folder, ev.EventBase() as base:
        contexts = make_contexts(Path(folder))
        with running(base, SETUPS, contexts) as measure:
            results = measure(options.seconds)
    text = f"{options.seconds:g} seconds, {CONNECTIONS} connections each, ticks of {TICK:g} s, bursts of {BURST} ticks.\n\n"
    text += table(results)
    print(text)
    if options.write is not None:
        replace_table(options.write, text)


if __name__ == "__main__":
    main()
