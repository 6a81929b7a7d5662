"""The code in README.md does what README.md says."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import GIVE_UP, ROOT, reserved_port, run_openssl

README = (ROOT / "README.md").read_text()
SERVER, *TOUR = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PORT = "9999"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the blocks run, with the files that they name, which the page's own command made."""
    run_openssl(ROOT / "README.md", tmp_path)
    return tmp_path


def wait_for_listener(child: subprocess.Popen[str], port: int) -> None:
    """Wait until somebody accepts on the port; fail when the child ends."""
    deadline = time.monotonic() + GIVE_UP
    while True:
        assert child.poll() is None, child.communicate()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """The server of the first block, ended by Ctrl-C."""
    with reserved_port() as port:
        code = SERVER.replace(PORT, str(port))
        command = [sys.executable, "-W", "error", "-c", code]
        with subprocess.Popen(command, cwd=folder, env=environment(), text=True, stderr=subprocess.PIPE) as child:
            try:
                wait_for_listener(child, port)
                yield port
                child.send_signal(signal.SIGINT)
                stderr = child.communicate(timeout=GIVE_UP)[1]
                assert child.returncode == -signal.SIGINT
                assert stderr.rstrip().endswith("KeyboardInterrupt")
            finally:
                child.kill()


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": ""}


def test_begins_with_three_sentences_and_the_two_commands() -> None:
    about, commands = README.split("\n\n")[1:3]
    assert len(re.findall(r"[.](?=\s|$)", about)) == 3
    assert re.findall(r"^ +(make \w+)", commands, re.MULTILINE) == ["make demo", "make test"]


def test_the_server_is_the_first_code_and_at_most_20_lines() -> None:
    assert README.index(SERVER) < README.index("## ")
    assert len([line for line in SERVER.splitlines() if line]) <= 20


def test_the_server_echoes_to_python_ssl(folder: Path) -> None:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    sent = bytes(range(256)) * 1000
    with server(folder) as port:
        for _ in range(3):
            with (
                socket.create_connection(("127.0.0.1", port), GIVE_UP) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as tls,
            ):
                tls.sendall(sent)
                got = bytearray()
                while len(got) < len(sent):
                    data = tls.recv(65536)
                    assert data
                    got += data
                assert bytes(got) == sent
                tls.unwrap().close()


@pytest.mark.parametrize("code", TOUR, ids=["events", "buffers", "bufferevents", "layers", "tls", "resumption"])
def test_the_tour_prints_what_it_says(code: str, folder: Path) -> None:
    expected = re.findall(r"# prints (.*)$", code, re.MULTILINE)
    assert expected
    if PORT in code:
        with server(folder) as port:
            printed = output_of(code.replace(PORT, str(port)), folder)
    else:
        printed = output_of(code, folder)
    assert sorted(printed) == sorted(expected)


def output_of(code: str, folder: Path) -> list[str]:
    """The lines that a block prints, which must end well and say nothing else."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=GIVE_UP, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


def test_names_only_files_that_exist() -> None:
    for name in re.findall(r"`([\w.]+/[\w./]*|[\w]+\.py)`", README):
        places = [ROOT / name, ROOT / "pylibevent" / name]
        assert name == ".venv" or any(place.exists() for place in places), name


def test_the_packages_are_those_that_the_build_asks_for() -> None:
    build = (ROOT / "build_ffi.py").read_text()
    for name in re.findall(r"(?:apt|dnf|brew) install ([\w@.+-]+)", build):
        assert name in README or name == "python", name
