"""Whatever ends, hangs or corrupts a C program that uses libevent so, a Python program survives."""

from __future__ import annotations

import guards
import pytest
from support import run_child


@pytest.mark.parametrize("name", sorted(guards.CALLS))
def test_it_survives(name: str) -> None:
    done = run_child("import guards, sys; guards.main(sys.argv[1])", name, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), f"{guards.EXPECTED[name][0]}: {done.stdout}{done.stderr}"
    assert done.stdout.strip()


def test_what_can_not_be_reached_says_why() -> None:
    assert all(reason.strip() for reason in guards.UNREACHABLE.values())
    reached = {function for function, _ in guards.EXPECTED.values()}
    assert not reached & set(guards.UNREACHABLE)
