"""Programs that the tests start and talk to."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import GIVE_UP, ROOT

EXAMPLES = ROOT / "examples"


class Program:
    """An example that runs, and what it has printed."""

    def __init__(self, name: str, *arguments: str, cwd: Path | None = None) -> None:
        command = [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        none, pipe = subprocess.DEVNULL, subprocess.PIPE
        self.child = subprocess.Popen(command, cwd=cwd, env=environment, stdin=none, stdout=pipe, stderr=pipe, bufsize=0)
        assert self.child.stdout is not None
        self.stdout = self.child.stdout.fileno()
        self.ahead = b""
        self.over = False

    def line(self) -> str:
        """The next line that it prints; fails when none comes."""
        while b"\n" not in self.ahead:
            ready, _, _ = select.select([self.stdout], [], [], GIVE_UP)
            assert ready, "it printed nothing"
            more = os.read(self.stdout, 65536)
            assert more, self.child.communicate()[1]
            self.ahead += more
        line, _, self.ahead = self.ahead.partition(b"\n")
        return line.decode()

    def rest(self) -> tuple[int, str, str]:
        """Wait for its end. Returns its status and what it still printed, on both streams."""
        out, err = self.child.communicate(timeout=GIVE_UP)
        self.over = True
        return self.child.returncode, (self.ahead + out).decode(), err.decode()

    def end(self, *signals: int, status: int = 0, stderr: str = "") -> str:
        """Send signals; it must end with this status and this on stderr. Returns the rest of what it printed."""
        for number in signals:
            self.child.send_signal(number)
        got, out, err = self.rest()
        assert (got, err) == (status, stderr)
        return out


@contextmanager
def running(name: str, *arguments: str, cwd: Path | None = None) -> Iterator[Program]:
    program = Program(name, *arguments, cwd=cwd)
    try:
        yield program
    finally:
        if not program.over:
            program.child.kill()
            program.rest()


def read_all(sock: socket.socket) -> bytes:
    """All that comes until the other end is done."""
    got = bytearray()
    while data := sock.recv(65536):
        got += data
    return bytes(got)
