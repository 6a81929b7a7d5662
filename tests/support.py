"""What the tests share: a look at what is left over, child processes, and ends to talk to."""

from __future__ import annotations

import gc
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import pylibevent as ev
from pylibevent._libevent import lib
from pylibevent.buffer import news

ROOT = Path(__file__).resolve().parent.parent
GIVE_UP = 40.0
"""Seconds after which a test that waits for something has failed."""
TICK = 0.01
"""Seconds by which a timer may be early: libevent reads a clock that goes on by ticks of up to 10 ms."""


def named(value: object) -> str:
    """A test's name for a value: the same in each process that collects it."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody else gets, but who asks for it with SO_REUSEADDR, as servers do."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def descriptors() -> dict[int, str]:
    """The open descriptors, and what each of them is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists them is gone
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def left_over() -> dict[str, int]:
    """What a test must leave as it found it."""
    gc.collect()
    return {
        "descriptors": len(descriptors()),
        "handles in C": lib.pev_live_handles(),
        "objects lent to C": len(news.lent),
        "buffers with callbacks": len(news.watched),
    }


def run_child(code: str, *arguments: str, timeout: float = 60, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, in development mode (faulthandler, memory checks), with warnings as errors."""
    command = [sys.executable, "-X", "dev", "-W", "error", *flags, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, check=False, stdin=subprocess.DEVNULL
    )


def check_child(code: str, *arguments: str, status: int = 0, stderr: str = "", timeout: float = 60) -> str:
    """Run code in a child that must end with this status and this on stderr; returns its stdout."""
    done = run_child(code, *arguments, timeout=timeout)
    assert (done.returncode, done.stderr) == (status, stderr), f"stdout: {done.stdout}\nstderr: {done.stderr}"
    return done.stdout


def run_openssl(page: Path, folder: Path) -> None:
    """Run the command of a page that makes cert.pem, key.pem and ca.pem, as it is printed there."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl: .ci/system-packages installs it")
    found = re.search(r"^    (openssl req (?:.*\\\n)*.*)", page.read_text(), re.MULTILINE)
    assert found, f"{page.name} doesn't say how to make a certificate"
    subprocess.run(["sh", "-c", found[1]], cwd=folder, capture_output=True, check=True, timeout=GIVE_UP)


def each_back_end() -> list[ev.EventConfig]:
    """A config for each way to wait that this libevent has."""
    methods = ev.supported_methods()
    return [ev.EventConfig(avoid=[other for other in methods if other != method]) for method in methods]


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, non-blocking."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


def run_until(base: ev.EventBase, done: Callable[[], Any], give_up: float = GIVE_UP) -> None:
    """Run the loop until something holds; fail when it doesn't come to that."""
    late: list[bool] = []
    deadline = base.timer(give_up, lambda event, what: late.append(True))
    try:
        while not done():
            assert not late, f"waited {give_up} s in vain"
            base.loop(ev.LoopFlag.ONCE)
    finally:
        deadline.close()


def contents(buffer: ev.Buffer) -> bytes:
    """What a buffer holds, after every way to look at it has shown the same."""
    data = bytes(buffer)
    with buffer.peek() as views:
        assert b"".join(views) == data
    assert len(buffer) == len(data)
    assert bool(buffer) == bool(data)
    assert buffer.contiguous <= len(data)
    return data
