"""examples/tls_sessions.py: two server processes, and a client that comes again."""

from __future__ import annotations

import re

import pytest
from programs import running
from sessions import redis_server

VISITS = 30
ATTEMPTS = 5


def counts(out: str) -> dict[str, int]:
    return {how: int(n) for n, how in re.findall(r"(\d+) (full|resumed) +\d+\.\d\d ms", out.partition("\nkeeping sessions")[2])}


def outcome(*arguments: str) -> str:
    """What it prints when no store was slow. On a busy machine one may be: its server says so and shakes hands in full."""
    for _ in range(ATTEMPTS):
        with running("tls_sessions.py", "--visits", str(VISITS), *arguments) as program:
            status, out, err = program.rest()
        assert status == 0, err
        assert all("it isn't asked for 1 s, and handshakes are full ones" in line for line in err.splitlines()), err
        if not err:
            return out
    raise AssertionError(f"{ATTEMPTS} times a store was slow: {err}")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("share", ["sqlite", "tickets"])
def test_any_process_resumes(share: str, version: str) -> None:
    out = outcome("--share", share, "--tls", version)
    assert f"keeping no sessions: {VISITS} connections" in out
    assert counts(out) == {"full": 1, "resumed": VISITS - 1}


def test_through_a_redis() -> None:
    with redis_server() as url:
        out = outcome("--share", url)
    assert counts(out) == {"full": 1, "resumed": VISITS - 1}


def test_a_redis_that_is_away() -> None:
    """Nobody is turned away for that; it is said on stderr."""
    with running("tls_sessions.py", "--share", "redis://127.0.0.1:1", "--visits", "3") as program:
        status, out, err = program.rest()
    assert status == 0
    assert counts(out) == {"full": 3}
    assert "ConnectionError" in err
    assert "handshakes are full ones" in err


def test_each_by_itself() -> None:
    with running("tls_sessions.py", "--share", "none", "--visits", str(VISITS)) as program:
        out = program.end()
    assert counts(out)["full"] >= 1
    assert sum(counts(out).values()) == VISITS


@pytest.mark.parametrize("arguments", [("--share", "nothing"), ("--visits", "0"), ("--tls", "1.1")])
def test_arguments_that_are_none(arguments: tuple[str, str]) -> None:
    with running("tls_sessions.py", *arguments) as program:
        status, out, err = program.rest()
    assert status == 2
    assert not out
    assert arguments[0] in err
