"""What is measured. Each section alternates its subjects in every round, so that all meet the same noise.

A section's figures are lists with one number a round. Ratios are taken round by round, and then their median; what they
shall be stands in aims.py.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .aims import HANDSHAKES, TIMERS
from .servers import HERE, HOST, SERVER_CORE, Tools, environment, load, pin, running

NAMES = {
    "bare": "bare epoll",
    "libevent": "C libevent",
    "ours-copy": "pylibevent copy",
    "ours-move": "pylibevent move",
    "ours-relay": "pylibevent relay",
    "uvloop": "uvloop Protocol",
    "asyncio": "asyncio Protocol",
    "asyncio-streams": "asyncio streams",
    "gevent": "gevent",
    "pylibevent": "pylibevent",
    "none": "alone",
    "idle": "beside idle ones",
    "one": "one base",
    "two": "two bases in two threads",
}


@dataclass
class Plan:
    """How much to measure."""

    rounds: int = 5
    seconds: float = 1.0
    sizes: tuple[int, ...] = (64, 1024, 16 * 1024, 128 * 1024)
    connections: int = 32
    idle: tuple[int, int] = (1000, 300)  # TCP, TLS
    idle_crowd: int = 10_000
    timers: int = 100_000
    crowds: tuple[int, ...] = (1, 32, 500, 5000)


QUICK = Plan(rounds=1, seconds=0.3, sizes=(64, 16 * 1024), idle=(200, 60), idle_crowd=1000, timers=20_000, crowds=(1, 500))


@dataclass
class Section:
    """A table: rows by name, subjects by kind, a list of figures in each cell."""

    name: str
    title: str
    unit: str
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, subject: str, figure: float) -> None:
        """One more figure of a round."""
        self.rows.setdefault(row, {}).setdefault(subject, []).append(figure)


def size_name(size: int) -> str:
    """As people write it."""
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


Note = Callable[[str], None]


def available(*kinds: str) -> list[str]:
    """Those of them that are installed: uvloop and gevent may not be."""
    return [kind for kind in kinds if kind not in ("uvloop", "gevent") or importlib.util.find_spec(kind) is not None]


# ---------------------------------------------------------------- echo

TCP_SUBJECTS = "bare", "libevent", "ours-copy", "ours-move", "ours-relay", "uvloop", "asyncio", "gevent"
TLS_SUBJECTS = "bare", "libevent", "ours-copy", "ours-move", "ours-relay", "uvloop", "asyncio", "asyncio-streams"


def echo(tools: Tools, plan: Plan, note: Note, *, tls: bool) -> Section:
    """Server time per echoed message."""
    title = "Echo over TLS 1.3" if tls else "Echo over TCP"
    section = Section("tls" if tls else "tcp", title, "us a message")
    for number in range(plan.rounds):
        for size in plan.sizes:
            for kind in available(*(TLS_SUBJECTS if tls else TCP_SUBJECTS)):
                with running(kind, tools, tls=tls) as (port, pid):
                    mode = "tls" if tls else "tcp"
                    got = load(tools, port, pid, connections=plan.connections, size=size, seconds=plan.seconds, mode=mode)
                section.add(size_name(size), kind, got["cpu_us"])
            note(f"{title}, round {number + 1} of {plan.rounds}, {size_name(size)}")
    return section


# ---------------------------------------------------------------- handshakes

HANDSHAKE_MODES = dict(zip(("full", "resumed", "full12", "resumed12"), HANDSHAKES, strict=True))
HANDSHAKE_CONNECTIONS = 16


def handshakes(tools: Tools, plan: Plan, note: Note) -> Section:
    """Server time per connection with one byte echoed."""
    section = Section("handshake", "Handshakes (ECDSA P-256)", "us a connection")
    for number in range(plan.rounds):
        for mode, row in HANDSHAKE_MODES.items():
            for kind in available("libevent", "ours-copy", "uvloop", "asyncio"):
                with running(kind, tools, tls=True) as (port, pid):
                    got = load(tools, port, pid, connections=HANDSHAKE_CONNECTIONS, size=1, seconds=plan.seconds, mode=mode)
                if mode.startswith("resumed") and got["resumed"] < 0.8 * got["done"]:
                    raise RuntimeError(f"{kind} didn't resume: {got}")
                section.add(row, kind, got["cpu_us"])
            note(f"{section.title}, round {number + 1} of {plan.rounds}, {row}")
    return section


# ---------------------------------------------------------------- memory

MEMORY_SUBJECTS = "libevent", "ours-copy", "uvloop", "asyncio", "asyncio-streams", "gevent"
WARM_UP = 500
SETTLE_SECONDS = 0.5


def resident(pid: int) -> int:
    """KiB of memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def connect(port: int, ctx: ssl.SSLContext | None) -> socket.socket:
    """A connection that has had one byte echoed."""
    sock = socket.create_connection((HOST, port))
    if ctx is not None:
        sock = ctx.wrap_socket(sock)
    sock.sendall(b"x")
    if sock.recv(1) != b"x":
        raise RuntimeError("not echoed")
    return sock


def idle_memory(port: int, pid: int, number: int, ctx: ssl.SSLContext | None) -> float:
    """KiB of the server's memory for each of so many connections."""
    kept = [connect(port, ctx) for _ in range(WARM_UP)]
    time.sleep(SETTLE_SECONDS)
    before = resident(pid)
    kept += [connect(port, ctx) for _ in range(number)]
    time.sleep(SETTLE_SECONDS)
    after = resident(pid)
    for sock in kept:
        sock.close()
    return (after - before) / number


def memory(tools: Tools, plan: Plan, note: Note) -> Section:
    """The server's memory per idle connection."""
    section = Section("memory", "Memory of an idle connection", "KiB")
    ctx = ssl.create_default_context()
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    for number in range(min(plan.rounds, 3)):
        for tls in (False, True):
            for kind in available(*MEMORY_SUBJECTS):
                if kind == "gevent" and tls:
                    continue  # its handshakes take turns
                with running(kind, tools, tls=tls) as (port, pid):
                    figure = idle_memory(port, pid, plan.idle[tls], ctx if tls else None)
                section.add("TLS" if tls else "TCP", kind, figure)
        note(f"{section.title}, round {number + 1}")
    return section


# ---------------------------------------------------------------- timers


def timers(tools: Tools, plan: Plan, note: Note) -> Section:
    """Adding, deleting and firing many timers."""
    section = Section("timers", f"{plan.timers} pending timers", "us a timer")
    for number in range(plan.rounds):
        for kind in available("pylibevent", "uvloop", "asyncio"):
            got = run_script("timers.py", kind, str(plan.timers))
            for row in TIMERS:
                section.add(row, kind, got[row])
        note(f"{section.title}, round {number + 1} of {plan.rounds}")
    return section


def run_script(name: str, *arguments: str, cores: int = 1) -> dict[str, Any]:
    """A program of ours that prints JSON, on one processor or wherever it likes."""
    done = subprocess.run(
        [sys.executable, str(HERE / name), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=(lambda: pin(SERVER_CORE)) if cores == 1 else None,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# ---------------------------------------------------------------- crowds


def crowds(tools: Tools, plan: Plan, note: Note) -> Section:
    """What a message costs by the number of connections."""
    section = Section("crowds", "Echo of 64 B by the number of connections", "us a message")
    kinds = [f"{kind}/{mode}" for mode in ("tcp", "tls") for kind in available("ours-copy", "uvloop")]
    for number in range(plan.rounds):
        for connections in plan.crowds:
            for subject in kinds:
                kind, mode = subject.split("/")
                with running(kind, tools, tls=mode == "tls") as (port, pid):
                    seconds = plan.seconds + connections / 5000  # some messages of each connection
                    got = load(tools, port, pid, connections=connections, size=64, seconds=seconds, mode=mode)
                section.add(f"{connections} connection" + "s" * (connections > 1), subject, got["cpu_us"])
            note(f"{section.title}, round {number + 1} of {plan.rounds}, {connections}")
    return section


def tcp(tools: Tools, plan: Plan, note: Note) -> Section:
    """Echo over TCP."""
    return echo(tools, plan, note, tls=False)


def tls(tools: Tools, plan: Plan, note: Note) -> Section:
    """Echo over TLS."""
    return echo(tools, plan, note, tls=True)


def title_of(subject: str) -> str:
    """A subject's name in tables."""
    kind, _, mode = subject.partition("/")
    return NAMES[kind] + (f", {mode.upper()}" if mode else "")
