"""examples/zlib_filter.py, both ends of it."""

from __future__ import annotations

import gzip
import random
import re
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from support import GIVE_UP, ROOT

COMMAND = [sys.executable, "-X", "dev", "-W", "error", str(ROOT / "examples" / "zlib_filter.py")]
COMPRESS = {"zlib": zlib.compress, "gzip": gzip.compress, "zstd": zstandard.compress}


@contextmanager
def receiver(format: str, copy: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    command = [*COMMAND, "receive", "--port", "0", "--format", format]
    with (
        copy.open("wb") as stdout,
        subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}) as child,
    ):
        try:
            assert child.stderr is not None
            yield child, int(child.stderr.readline().split(b":")[-1])
        finally:
            child.kill()


@pytest.mark.parametrize("format", COMPRESS)
@pytest.mark.parametrize("size", [0, 3_000_000])
def test_a_file_sent_and_received(format: str, size: int, tmp_path: Path, rng: random.Random) -> None:
    data = b"".join(b"%d\n" % rng.randrange(1000) for _ in range(size // 4))
    (tmp_path / "file").write_bytes(data)
    with receiver(format, tmp_path / "copy") as (child, port), (tmp_path / "file").open("rb") as file:
        command = [*COMMAND, "send", "--port", str(port), "--format", format]
        sent = subprocess.run(
            command, stdin=file, capture_output=True, timeout=GIVE_UP, check=False, env={"PYTHONPATH": str(ROOT)}
        )
        _, err = child.communicate(timeout=GIVE_UP)
    assert (sent.returncode, child.returncode) == (0, 0), sent.stderr + err
    assert (tmp_path / "copy").read_bytes() == data
    pattern = rb"(\d+) bytes, (\d+) on the wire\n"
    both = [re.fullmatch(pattern, text) for text in (sent.stderr, err)]
    assert all(both), (sent.stderr, err)
    assert both[0][0] == both[1][0]  # type: ignore[index]
    assert int(both[0][1]) == len(data)  # type: ignore[index]
    if size:
        assert int(both[0][2]) < len(data) * 0.7  # type: ignore[index]


@pytest.mark.parametrize("format", COMPRESS)
@pytest.mark.parametrize(
    ("spoil", "text"),
    [(lambda data: data[:-1], "cut short"), (lambda data: data + b"garbage", ""), (lambda data: b"x" + data, "")],
    ids=["cut short", "garbage", "other"],
)
def test_the_receiver_does_not_trust_the_sender(format: str, spoil: object, text: str, tmp_path: Path) -> None:
    assert callable(spoil)
    with receiver(format, tmp_path / "copy") as (child, port):
        with socket.create_connection(("127.0.0.1", port), GIVE_UP) as sock:
            sock.sendall(spoil(COMPRESS[format](b"data")))
        _, err = child.communicate(timeout=GIVE_UP)
    assert child.returncode == 1
    assert text in err.decode()
    assert b"Traceback" not in err


@pytest.mark.parametrize("format", COMPRESS)
def test_a_bomb_for_the_receiver(format: str, tmp_path: Path) -> None:
    with receiver(format, tmp_path / "copy") as (child, port):
        with socket.create_connection(("127.0.0.1", port), GIVE_UP) as sock:
            sock.sendall(COMPRESS[format](bytes(50 << 20)))
        _, err = child.communicate(timeout=GIVE_UP)
    assert child.returncode == 1
    assert "more than 1048576 and 100 for each" in err.decode()
    assert (tmp_path / "copy").stat().st_size < 12 << 20


def test_a_sender_that_finds_nobody() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        command = [*COMMAND, "send", "--port", str(nobody.getsockname()[1])]
        done = subprocess.run(
            command, input=b"data", capture_output=True, timeout=GIVE_UP, check=False, env={"PYTHONPATH": str(ROOT)}
        )
    assert done.returncode == 1
    assert done.stderr.endswith(b"Connection refused\n")
    assert b"Traceback" not in done.stderr


def test_a_receiver_that_is_interrupted(tmp_path: Path) -> None:
    with receiver("zlib", tmp_path / "copy") as (child, _):
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=GIVE_UP)
    assert (child.returncode, err) == (1, b"0 bytes, 0 on the wire\ninterrupted\n")


def test_a_port_that_is_none() -> None:
    done = subprocess.run(
        [*COMMAND, "receive", "--port", "99999"],
        capture_output=True,
        timeout=GIVE_UP,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"127.0.0.1, port 99999: ")
