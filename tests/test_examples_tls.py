"""The examples about TLS, as programs that talk to each other."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from programs import EXAMPLES, running
from support import ROOT

import pylibevent as ev


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made")
    done = run("make_certificates.py", "--folder", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "example.test, *.example.test" in done.stdout
    return path


def port_of(line: str) -> str:
    found = re.search(r", (\d+)\)", line)
    assert found, line
    return found[1]


def test_certificates_are_what_they_should_be(folder: Path) -> None:
    for key in ("ca-key.pem", "key.pem", "client-key.pem", "server.p12"):
        assert stat.S_IMODE((folder / key).stat().st_mode) == 0o600
    ev.TLSContext.server(folder / "cert.pem", folder / "key.pem")
    ev.TLSContext.server(pkcs12=folder / "server.p12")
    ev.TLSContext.server(folder / "self-signed.pem", folder / "key.pem")
    assert "BEGIN CERTIFICATE REQUEST" in (folder / "server.csr").read_text()
    theirs = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    theirs.load_cert_chain(folder / "client.pem", folder / "client-key.pem")


def test_keys_with_a_password(tmp_path: Path) -> None:
    done = run("make_certificates.py", "--folder", str(tmp_path), "--password", "secret", "--name", "a.test", "--days", "1")
    assert done.returncode == 0, done.stderr
    ev.TLSContext.server(tmp_path / "cert.pem", tmp_path / "key.pem", "secret")
    ev.TLSContext.server(pkcs12=tmp_path / "server.p12", password="secret")
    with pytest.raises(ev.TLSError):
        ev.TLSContext.server(tmp_path / "cert.pem", tmp_path / "key.pem")


def test_a_client_and_threads(folder: Path) -> None:
    arguments = ["--port", "0", "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
    with running("tls_server_threads.py", *arguments) as server:
        port = port_of(server.line())
        for name in ("example.test", "www.example.test"):
            done = run("tls_client.py", "127.0.0.1", port, "--ca", str(folder / "ca.pem"), "--name", name, "--line", "hello")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.splitlines() == [
                "connected with TLSv1.3, TLS_AES_256_GCM_SHA384",
                "subject: commonName=example.test",
                "issuer: commonName=an authority for tests",
                "hello",
            ]
            assert re.search(r"shook hands in [\d.]+ ms, TLSv1.3$", server.line())
            assert server.line().endswith("closed it")
        done = run("tls_client.py", "127.0.0.1", port, "--ca", str(folder / "ca.pem"), "--name", "other.test")
        assert done.returncode == 1
        assert "certificate is not valid for 'other.test'" in done.stderr
        assert "the peer refused the handshake" in server.line()
        server.end(signal.SIGINT)


def test_many_clients_and_one_loop(folder: Path) -> None:
    arguments = ["--port", "0", "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
    with running("tls_async_server.py", *arguments) as server:
        port = port_of(server.line())
        done = run(
            "tls_async_client.py", "127.0.0.1", port, "--ca", str(folder / "ca.pem"), "--name", "example.test", "--count", "50"
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("HTTP/1.1 200 OK")
        assert done.stdout.endswith("hello over TLS\n50 answered\n")
        done = run("tls_async_client.py", "127.0.0.1", port, "--name", "example.test", "--count", "1")
        assert done.returncode == 1
        assert "certificate verify failed" in done.stdout
        server.end(signal.SIGINT)


SERVERS, CLIENTS = ["tls_server_threads.py", "tls_async_server.py"], ["tls_client.py", "tls_async_client.py"]
MISTAKES: list[tuple[str, list[str], int, str]] = [
    *((name, ["--cert", "{junk}"], 1, "can't use the certificate .*no start line.*make_certificates.py") for name in SERVERS),
    *((name, ["--cert", "{cert}"], 1, "can't use the certificate .*no private key in") for name in SERVERS),
    *((name, ["--cert", "{cert}", "--key", "{other}"], 1, "key values mismatch") for name in SERVERS),
    *((name, ["{good}", "--port", "{taken}"], 1, "can't listen on 127.0.0.1, port .*in use") for name in SERVERS),
    *((name, ["{good}", "--port", "70000"], 1, "can't listen .*65535") for name in SERVERS),
    *((name, ["{good}", "--host", "nowhere.invalid"], 1, "can't listen .*must be numeric") for name in SERVERS),
    ("tls_async_server.py", ["{good}", "--idle", "0"], 2, "--idle must be above 0"),
    *((name, ["127.0.0.1", "{closed}", "--ca", "{ca}"], 1, "Connection refused") for name in CLIENTS),
    *((name, ["127.0.0.1", "70000", "--ca", "{ca}"], 1, "can't connect .*65535") for name in CLIENTS),
    *((name, ["127.0.0.1", "1", "--ca", "{missing}"], 1, "can't use the authorities.*No such file.*: '") for name in CLIENTS),
    *((name, ["127.0.0.1", "1", "--ca", "{junk}"], 1, "can't use the authorities.*no certificate") for name in CLIENTS),
    *((name, ["", "1", "--ca", "{ca}"], 1, "can't connect .*server_hostname isn't a host name") for name in CLIENTS),
    ("tls_client.py", ["127.0.0.1", "1", "--most", "0"], 2, "--most must be at least 1"),
    ("tls_async_client.py", ["127.0.0.1", "1", "--count", "0"], 2, "--count must be at least 1"),
    ("make_certificates.py", ["--folder", "{junk}"], 1, "can't make certificates .*File exists"),
    ("make_certificates.py", ["--days", "0"], 2, "--days must be from 1"),
    ("make_certificates.py", ["--name", "", "--folder", "{new}"], 1, "can't make certificates "),
]


@pytest.mark.parametrize(("name", "arguments", "status", "said"), MISTAKES)
def test_mistakes_are_told(folder: Path, tmp_path: Path, name: str, arguments: list[str], status: int, said: str) -> None:
    """In a sentence or two, and never with a traceback."""
    (tmp_path / "junk").write_text("nothing of the kind")
    good = ["--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        values = {
            "cert": folder / "cert.pem",
            "other": folder / "client-key.pem",
            "ca": folder / "ca.pem",
            "junk": tmp_path / "junk",
            "missing": tmp_path / "missing",
            "new": tmp_path / "new",
            "taken": taken.getsockname()[1],
            "closed": closed.getsockname()[1],
        }
        words = [word for argument in arguments for word in (good if argument == "{good}" else [argument.format(**values)])]
        done = run(name, *words)
    assert done.returncode == status, done.stderr
    assert re.search(said, done.stdout + done.stderr), done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [*SERVERS, *CLIENTS, "make_certificates.py", "tls_sessions.py"])
def test_help(name: str) -> None:
    done = run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: " in done.stdout


@pytest.mark.parametrize("name", SERVERS)
def test_missing_certificates_are_told(name: str, tmp_path: Path) -> None:
    done = run(name, "--cert", str(tmp_path / "missing.pem"))
    assert done.returncode == 1
    assert "make_certificates.py" in done.stderr
    assert "Traceback" not in done.stderr
