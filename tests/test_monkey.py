"""Seconds of random operations on everything, in callbacks too: nothing crashes, hangs, speaks or is left over."""

from __future__ import annotations

import ast
import random

import pytest
from support import run_child

SECONDS = "2"
CODE = "import sys, monkey; monkey.main(int(sys.argv[1]), float(sys.argv[2]))"


@pytest.mark.parametrize("turn", range(4))
def test_random_operations(turn: int, rng: random.Random) -> None:
    seed = str(rng.getrandbits(32))
    done = run_child(CODE, seed, SECONDS)
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}: {done.stderr[-4000:]}"
    left = ast.literal_eval(done.stdout)
    assert not any(n > 0 for n in left.values()), f"seed {seed}: {left}"
