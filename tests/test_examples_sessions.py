"""examples/tls_sessions.py: two server processes, and a client that comes again."""

from __future__ import annotations

import re

import pytest
from programs import running
from sessions import redis_server

VISITS = 30


def counts(out: str) -> dict[str, int]:
    return {how: int(n) for n, how in re.findall(r"(\d+) (full|resumed) +\d+\.\d\d ms", out.partition("\nkeeping sessions")[2])}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("share", ["sqlite", "tickets"])
def test_any_process_resumes(share: str, version: str) -> None:
    with running("tls_sessions.py", "--share", share, "--tls", version, "--visits", str(VISITS)) as program:
        out = program.end()
    assert f"keeping no sessions: {VISITS} connections" in out
    assert counts(out) == {"full": 1, "resumed": VISITS - 1}


def test_through_a_redis() -> None:
    with redis_server() as url, running("tls_sessions.py", "--share", url, "--visits", str(VISITS)) as program:
        out = program.end()
    assert counts(out)["resumed"] >= VISITS // 2  # a server whose Redis was slow once didn't ask for a second


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
