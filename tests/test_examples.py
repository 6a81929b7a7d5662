"""The demo, and the ports of libevent's samples, each run by itself."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path

import pytest
from programs import read_all, running
from support import GIVE_UP, TICK

# ---------------------------------------------------------------- the demo


def test_the_demo_tells_what_happens_and_ends_by_itself() -> None:
    with running("demo.py") as program:
        out = program.end()
    for pattern, times in (
        (r"server +listening on 127\.0\.0\.1:\d+", 1),
        (r"client \d +handshake done: TLSv1\.3, TLS_\w+, \d+ bits", 3),
        (r"client \d +(100|100,000|10,000,000) bytes echoed; says close_notify", 3),
        (r"server +got close_notify after (100|100,000|10,000,000) bytes", 3),
        (r"client 4 +refused the server: certificate verify failed", 1),
        (r"demo +everything as it should be", 1),
    ):
        assert len(re.findall(pattern, out)) == times, f"{pattern}\n{out}"


# ---------------------------------------------------------------- libevent's samples


def test_hello_world_greets_and_hangs_up() -> None:
    """sample/hello-world.c"""
    with running("hello_world.py", "0") as program:
        port = int(program.line().removeprefix("listening on port "))
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), GIVE_UP) as sock:
                assert read_all(sock) == b"Hello, World!\n"
            assert program.line() == "flushed answer"
        sent = time.monotonic()
        program.child.send_signal(signal.SIGINT)
        assert program.line() == "Caught an interrupt signal; exiting cleanly in two seconds."
        assert program.end() == "done\n"
        assert time.monotonic() - sent >= 1.9


@pytest.mark.parametrize("persist", [[], ["-p"]], ids=["again", "persistent"])
def test_time_test_fires_when_it_is_time(persist: list[str]) -> None:
    """sample/time-test.c"""
    with running("time_test.py", *persist, "-n", "3", "0.1") as program:
        lines = program.end().splitlines()
    passed = [re.fullmatch(r"called at \d+: (\d+\.\d{3}) seconds elapsed\.", line) for line in lines]
    assert len(passed) == 3
    assert sum(float(match[1]) for match in passed if match) >= 3 * (0.1 - TICK) - 0.002  # they are rounded


def test_signal_test_ends_with_the_third_signal() -> None:
    """sample/signal-test.c"""
    with running("signal_test.py") as program:
        assert program.line() == "waiting for SIGINT"
        for _ in range(3):
            program.child.send_signal(signal.SIGINT)
            assert program.line() == f"got signal {signal.SIGINT:d}"
        assert program.end() == ""


def test_event_read_fifo_prints_until_the_writer_ends(tmp_path: Path) -> None:
    """sample/event-read-fifo.c"""
    with running("event_read_fifo.py", cwd=tmp_path) as program:
        assert program.line() == "Write data to event.fifo"
        with (tmp_path / "event.fifo").open("wb", buffering=0) as fifo:
            for text in ("hello", "x" * 254):
                fifo.write(text.encode())
                assert program.line() == f"Read: {text}"
        assert program.line() == "Connection closed"
        assert program.end() == ""
    assert not (tmp_path / "event.fifo").exists()


def test_event_read_fifo_removes_the_pipe_on_ctrl_c(tmp_path: Path) -> None:
    with running("event_read_fifo.py", "pipe", cwd=tmp_path) as program:
        assert program.line() == "Write data to pipe"
        assert program.end(signal.SIGINT) == ""
    assert not (tmp_path / "pipe").exists()


def test_event_read_fifo_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "event.fifo").write_text("a file")
    with running("event_read_fifo.py", cwd=tmp_path) as program:
        program.end(status=1, stderr="event.fifo exists and isn't a named pipe\n")
    assert (tmp_path / "event.fifo").read_text() == "a file"
