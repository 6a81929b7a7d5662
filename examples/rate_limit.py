"""Several downloads share one rate limit; how fast each of them is, is drawn while they run.

    python rate_limit.py [--downloads 4] [--size 300k] [--group 200k] [--each 100k] [--plot speed.png]

A server on the same loop sends as fast as it can. The downloads begin one after the other; what the first of them leaves,
the others get. In a terminal bars are drawn with rich where it is installed; elsewhere a line is printed every second.
--plot draws how it went over time, with matplotlib (pip install 'pylibevent[examples]').
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pylibevent as ev

SAMPLE = 0.25
"""Seconds between two measurements."""
STAGGER = 0.75
"""Seconds from one download's beginning to the next's."""
TICKS = 50
"""Ticks a second. Short ones make smooth curves."""
WIDTH = 40
PIECE = bytes(16384)
UNITS = {"": 1, "k": 1000, "m": 1_000_000}


class Download:
    """One connection that takes what comes."""

    def __init__(self, number: int, size: int) -> None:
        self.name = f"download {number}"
        self.size = size
        self.got = 0
        self.sampled = 0
        self.rates: list[float] = []
        self.bev: ev.BufferEvent | None = None
        self.over = False

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.got += len(bev.input)
        bev.input.drain(len(bev.input))

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & (ev.What.EOF | ev.What.ERROR):
            self.over = True
            bev.close()

    def sample(self, seconds: float) -> None:
        self.rates.append((self.got - self.sampled) / seconds)
        self.sampled = self.got


class Server:
    """Sends so many bytes to whoever connects."""

    def __init__(self, base: ev.EventBase, size: int) -> None:
        self.size = size
        self.left: dict[ev.BufferEvent, int] = {}
        self.listener = ev.Listener.bind(base, ("127.0.0.1", 0), self.on_accept)

    def on_accept(self, listener: ev.Listener, sock: Any, address: object) -> None:
        bev = ev.SocketBufferEvent(listener.base, sock)
        self.left[bev] = self.size
        bev.set_callbacks(write=self.on_write, event=self.on_event)
        self.on_write(bev)

    def on_write(self, bev: ev.BufferEvent) -> None:
        piece = PIECE[: self.left[bev]]
        if piece:
            self.left[bev] -= len(piece)
            bev.write(piece)
        else:
            self.on_event(bev, ev.What.EOF)

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        del self.left[bev]
        bev.close(timeout=60)  # of many in a group, one may have to wait for its turn

    def close(self) -> None:
        self.listener.close()
        for bev in list(self.left):
            bev.abort()
        self.left.clear()


# ---------------------------------------------------------------- drawing


def bar(rate: float, most: float) -> str:
    """A bar that is full at the highest rate there is."""
    eighths = round(min(rate / most, 1.0) * WIDTH * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(WIDTH)


def amount(number: float) -> str:
    """Bytes as people read them."""
    return f"{number / 1000:.1f} kB" if number >= 1000 else f"{number:.0f} B"


Row = tuple[str, float, int]
"""A name, its bytes per second now, and its bytes so far."""


class Lines:
    """One line a second, for files and pipes."""

    def __init__(self) -> None:
        self.next = 0.0

    def show(self, rows: list[Row], most: float) -> None:
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 1
            print("  ".join(f"{name}: {amount(rate)}/s" for name, rate, _ in rows), flush=True)


class Bars:
    """Bars drawn over and over at the same place, for a terminal without rich."""

    drawn = 0

    def show(self, rows: list[Row], most: float) -> None:
        text = "".join(f"{name:12} {bar(rate, most)} {amount(rate):>10}/s {amount(got):>10}\n" for name, rate, got in rows)
        sys.stdout.write((f"\x1b[{self.drawn}A" if self.drawn else "") + text)
        sys.stdout.flush()
        self.drawn = len(rows)


class RichBars:
    """The same with rich."""

    def __init__(self, stack: ExitStack) -> None:
        self.table: Any = importlib.import_module("rich.table").Table
        self.live: Any = stack.enter_context(importlib.import_module("rich.live").Live(auto_refresh=False))

    def show(self, rows: list[Row], most: float) -> None:
        table = self.table("", "now", "", "so far", box=None)
        for name, rate, got in rows:
            color = "cyan" if name == "group" else "green"
            table.add_row(name, f"[{color}]{bar(rate, most)}[/]", f"{amount(rate)}/s", amount(got))
        self.live.update(table, refresh=True)


def display(how: str, stack: ExitStack) -> Lines | Bars | RichBars:
    """What draws here."""
    if how == "lines" or (how == "auto" and not sys.stdout.isatty()):
        return Lines()
    if how in ("auto", "rich"):
        with contextlib.suppress(ImportError):
            return RichBars(stack)
        if how == "rich":
            raise SystemExit("rich isn't installed: pip install 'pylibevent[examples]'")
    return Bars()


def pyplot() -> Any:
    """Matplotlib, drawing to files."""
    try:
        importlib.import_module("matplotlib").use("agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise SystemExit("matplotlib isn't installed: pip install 'pylibevent[examples]'") from None


def plot(plt: Any, path: Path, downloads: list[Download], seconds: list[float], limit: int) -> None:
    """Bandwidth over time: the downloads on top of each other, and the group's limit."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    rates = [[rate / 1000 for rate in download.rates] for download in downloads]
    axes.stackplot(seconds, rates, labels=[download.name for download in downloads], step="pre", alpha=0.8)
    axes.axhline(limit / 1000, color="black", linestyle="--", label="the group's limit")
    axes.set(xlabel="seconds", ylabel="kB/s", title="Downloads that share one rate limit", ylim=(0, limit / 1000 * 1.3))
    axes.legend(loc="upper right", ncols=3, fontsize="small")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


# ---------------------------------------------------------------- the program


def limit(read: int) -> ev.RateLimit:
    """So many bytes a second, and no more after a pause."""
    return ev.RateLimit(read // TICKS, None, tick=1 / TICKS)


class Show:
    """The downloads, and what is drawn of them."""

    def __init__(self, base: ev.EventBase, options: argparse.Namespace, stack: ExitStack) -> None:
        self.base = base
        self.options = options
        self.server = stack.enter_context(contextlib.closing(Server(base, options.size)))
        self.group = stack.enter_context(ev.RateLimitGroup(base, limit(options.group)))
        self.display = display(options.display, stack)
        self.downloads = [Download(number + 1, options.size) for number in range(options.downloads)]
        self.waiting: Iterator[Download] = iter(self.downloads)
        self.started = self.sampled = time.monotonic()
        self.times: list[float] = []
        self.starter = base.timer(STAGGER, lambda event, what: self.start_one(), persist=True)
        self.sampler = base.timer(SAMPLE, lambda event, what: self.sample(), persist=True)
        stack.callback(self.close)
        self.start_one()

    def start_one(self) -> None:
        download = next(self.waiting, None)
        if download is None:
            self.starter.close()
            return
        bev = ev.SocketBufferEvent(self.base)
        if self.options.each:
            bev.set_rate_limit(limit(self.options.each))
        self.group.add(bev)
        bev.set_callbacks(read=download.on_read, event=download.on_event)
        bev.connect(self.server.listener.address)
        bev.enable()
        download.bev = bev

    def sample(self) -> None:
        now = time.monotonic()
        for download in self.downloads:
            download.sample(now - self.sampled)
        self.sampled = now
        self.times.append(now - self.started)
        rows = [(download.name, download.rates[-1], download.got) for download in self.downloads]
        rows.append(("group", sum(rate for _, rate, _ in rows), self.group.totals.read))
        self.display.show(rows, self.options.group)
        if all(download.over for download in self.downloads):
            self.base.loopexit()

    def close(self) -> None:
        self.starter.close()
        self.sampler.close()
        for download in self.downloads:
            if download.bev is not None:
                download.bev.abort()

    def report(self) -> str:
        """How it went, once it is over."""
        seconds = self.times[-1] if self.times else 0
        read = self.group.totals.read
        whole = sum(download.got == download.size for download in self.downloads)
        return (
            f"{whole} of {len(self.downloads)} downloads are whole: {read} bytes in {seconds:.1f} s, "
            f"{read / max(seconds, SAMPLE):.0f} a second of {self.options.group} allowed"
        )


def size(text: str) -> int:
    """A number of bytes such as 500, 20k or 3m."""
    digits, unit = text.rstrip("km"), text.lstrip("0123456789")
    if not digits.isdigit() or unit not in UNITS or not TICKS <= int(digits) * UNITS[unit] < 2**31:
        raise argparse.ArgumentTypeError(f"not a number of bytes from {TICKS} to 2**31 - 1, such as 500, 20k or 3m: {text!r}")
    return int(digits) * UNITS[unit]


def main() -> None:
    parser = argparse.ArgumentParser(description="Several downloads share one rate limit.")
    parser.add_argument("--downloads", type=int, default=4, choices=range(1, 51), metavar="1..50", help="how many")
    parser.add_argument("--size", type=size, default=300_000, help="bytes of each (default: 300k)")
    parser.add_argument("--group", type=size, default=200_000, help="bytes per second of all together (default: 200k)")
    parser.add_argument("--each", type=size, help="bytes per second of each of them (default: no limit)")
    parser.add_argument("--display", choices=["auto", "rich", "bars", "lines"], default="auto", help="how to draw it")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it to a file when it is over")
    options = parser.parse_args()
    plt = pyplot() if options.plot is not None else None
    with ExitStack() as stack:
        base = stack.enter_context(ev.EventBase())
        show = Show(base, options, stack)
        with contextlib.suppress(KeyboardInterrupt):
            base.dispatch()
        report = show.report()
    print(report)
    if plt is not None and show.times:
        plot(plt, options.plot, show.downloads, show.times, options.group)
        print(f"drawn to {options.plot}")


if __name__ == "__main__":
    main()
