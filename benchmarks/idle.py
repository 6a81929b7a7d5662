"""Idle connections: what they cost those that have something to say."""

from __future__ import annotations

import contextlib
import resource
import socket
import time

from .measure import Note, Plan, Section, available
from .servers import HOST, Tools, load, running

ACTIVE, SIZE = 32, 64
SETTLE_SECONDS = 0.5
IP_BIND_ADDRESS_NO_PORT = 24
SOURCES = 20_000  # ports that one address has to connect from


def allow_many() -> int:
    """How many descriptors this process and those it starts may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connect(port: int, number: int) -> list[socket.socket]:
    """So many connections, from several addresses of the loopback network."""
    kept = []
    for i in range(number):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)  # connect() finds one
        sock.bind((f"127.0.0.{2 + i // SOURCES}", 0))
        sock.connect((HOST, port))
        kept.append(sock)
    return kept


def idle(tools: Tools, plan: Plan, note: Note) -> Section:
    """Server time per message of 32 connections, with and without many idle ones beside them."""
    crowd = min(plan.idle_crowd, allow_many() - 200)
    section = Section("idle", f"Echo of {SIZE} B over TCP beside {crowd} idle connections", "us a message")
    rows = {"ours-copy": "pylibevent copy", "uvloop": "uvloop Protocol"}
    for number in range(plan.rounds):
        for kind in available(*rows):
            for subject in ("none", "idle"):
                with running(kind, tools, tls=False) as (port, pid), contextlib.ExitStack() as stack:
                    for sock in connect(port, crowd if subject == "idle" else 0):
                        stack.enter_context(sock)
                    time.sleep(SETTLE_SECONDS)
                    got = load(tools, port, pid, connections=ACTIVE, size=SIZE, seconds=plan.seconds, mode="tcp")
                section.add(rows[kind], subject, got["cpu_us"])
        note(f"{section.title}, round {number + 1} of {plan.rounds}")
    return section
