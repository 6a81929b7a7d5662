"""Downloads that share a limit: what the program draws, and where."""

from __future__ import annotations

import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs import EXAMPLES, running
from support import GIVE_UP, ROOT

SHORT = ["--downloads", "2", "--size", "30k", "--group", "60k"]
DONE = re.compile(r"2 of 2 downloads are whole: 60000 bytes in \d\.\d s, (\d+) a second of 60000 allowed\r?\n")


def in_a_terminal(*arguments: str) -> str:
    """What it draws there."""
    master, slave = pty.openpty()
    command = [sys.executable, str(EXAMPLES / "rate_limit.py"), *SHORT, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    drawn = b""
    try:
        while True:
            try:
                more = os.read(master, 65536)
            except OSError:  # Linux's way to say that the terminal has nobody left
                break
            if not more:
                break
            drawn += more
        assert child.wait(GIVE_UP) == 0, drawn.decode()
    finally:
        child.kill()
        child.wait()
        os.close(master)
    return drawn.decode()


def test_lines_and_the_limit() -> None:
    with running("rate_limit.py", *SHORT) as program:
        out = program.end()
    found = DONE.search(out)
    assert found, out
    assert int(found[1]) <= 66_000
    lines = out.splitlines()[:-1]
    assert lines
    assert all(re.fullmatch(r"download 1: .*/s  download 2: .*/s  group: .*/s", line) for line in lines)


def test_bars_in_a_terminal() -> None:
    drawn = in_a_terminal("--display", "bars")
    assert DONE.search(drawn), drawn
    assert "\x1b[3A" in drawn
    assert "█" in drawn


def test_bars_with_rich() -> None:
    pytest.importorskip("rich")
    drawn = in_a_terminal()
    assert DONE.search(drawn), drawn
    assert "so far" in drawn
    assert "█" in drawn


def test_a_picture(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib isn't installed")
    with running("rate_limit.py", *SHORT, "--each", "40k", "--plot", "speed.png", cwd=tmp_path) as program:
        out = program.end()
    assert out.endswith("drawn to speed.png\n")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(("module", "arguments"), [("matplotlib", ["--plot", "speed.png"]), ("rich", ["--display", "rich"])])
def test_what_is_not_installed(tmp_path: Path, module: str, arguments: list[str]) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text("raise ImportError")
    command = [sys.executable, str(EXAMPLES / "rate_limit.py"), *SHORT, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GIVE_UP, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{module} isn't installed: pip install 'pylibevent[examples]'\n"


@pytest.mark.parametrize("size", ["", "49", "1.5k", "3000m"])
def test_sizes_that_are_none(size: str) -> None:
    with running("rate_limit.py", f"--size={size}") as program:
        status, out, err = program.rest()
    assert (status, out) == (2, "")
    assert "not a number of bytes" in err


def test_interrupted() -> None:
    with running("rate_limit.py", "--size", "1m") as program:
        program.line()
        out = program.end(signal.SIGINT)
    assert re.search(r"0 of 4 downloads are whole: \d+ bytes", out)
