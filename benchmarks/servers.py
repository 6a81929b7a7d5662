"""The programs that are measured, and how they are started: pinned to a processor of their own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
HOST = "127.0.0.1"
LIBRARIES = {
    "load": ["-lssl", "-lcrypto"],
    "echo_bare": ["-lssl", "-lcrypto"],
    "echo_libevent": ["-levent_core", "-levent_openssl", "-lssl", "-lcrypto"],
}
START_SECONDS = 10
ATTEMPTS = 3  # a machine may be busy with something else for as long as a measurement takes

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


class Tools(NamedTuple):
    """The folder of compiled programs, the certificate for TLS, and who vouches for it."""

    folder: Path
    certificate: str
    key: str
    authority: str


def prepare(folder: Path) -> Tools:
    """Compile the C programs and make a certificate (ECDSA, P-256)."""
    import trustme

    for name, libraries in LIBRARIES.items():
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", str(folder / name), str(HERE / f"{name}.c"), *libraries], check=True)
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", HOST)
    certificate, key, authority = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    ca.cert_pem.write_to_path(str(authority))
    issued.private_key_pem.write_to_path(str(key))
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return Tools(folder, str(certificate), str(key), str(authority))


def command(kind: str, tools: Tools, port: int, *, tls: bool, backend: int = 0) -> list[str]:
    """How to start a server of this kind: ``ours-MODE``, ``libevent``, ``bare``, or one of echo_python.py's."""
    files = [tools.certificate, tools.key] if tls else []
    flags = ["--cert", tools.certificate, "--key", tools.key] if tls else []
    if kind == "ours-relay" and backend:
        passes_on = ["--port", str(port), "--to", f"{HOST}:{backend}"]
        return [sys.executable, str(ROOT / "examples" / "le_proxy.py"), *passes_on, *flags]
    if kind.startswith("ours-"):
        script = "tls_echo_server.py" if tls else "echo_server.py"
        arguments = ["--port", str(port), "--mode", kind.removeprefix("ours-")]
        return [sys.executable, str(ROOT / "examples" / script), *arguments, *flags]
    if kind == "libevent":
        return [str(tools.folder / "echo_libevent"), str(port), str(backend), *files]
    if kind == "bare":
        return [str(tools.folder / "echo_bare"), str(port), *files]
    return [sys.executable, str(HERE / "echo_python.py"), kind, str(port), *files]


def pin(core: int) -> None:
    """Run this process on one processor."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {core})


def environment() -> dict[str, str]:
    """With the checked-out pylibevent first."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def running(kind: str, tools: Tools, *, tls: bool, backend: int = 0, core: int = SERVER_CORE) -> Iterator[tuple[int, int]]:
    """A server: its port and its process."""
    with reserved_port() as port:
        arguments = command(kind, tools, port, tls=tls, backend=backend)
        process = subprocess.Popen(
            arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: pin(core)
        )
        try:
            wait_for(port, process)
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else gets, but who asks for it with SO_REUSEADDR, as servers do."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until it listens."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((HOST, port)).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} doesn't listen on port {port}")


def load(tools: Tools, port: int, pid: int, *, connections: int, size: int, seconds: float, mode: str) -> dict[str, Any]:
    """What the load generator says of the server. RuntimeError if a byte came back wrong."""
    arguments = [str(tools.folder / "load"), *map(str, (port, connections, size, seconds, mode, pid))]
    for _ in range(ATTEMPTS):
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, preexec_fn=lambda: pin(LOAD_CORE))
        result: dict[str, Any] = json.loads(done.stdout)
        if result["wrong"] or result["failed"]:
            break
        if result["done"] >= connections:
            return result
    raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}")
