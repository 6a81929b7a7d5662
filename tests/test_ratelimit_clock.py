"""The time of day is set back while limits hold: nothing stalls."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import GIVE_UP, ROOT

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/time.h>

static long ahead;

void
set_clock_ahead(long seconds)
{
	ahead = seconds;
}

int
gettimeofday(struct timeval *tv, void *zone)
{
	int (*real)(struct timeval *, void *) = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
	int result = real(tv, zone);
	tv->tv_sec += ahead;
	return result;
}
"""
"""A clock that can be set without being the administrator."""

PROGRAM = """
import ctypes, socket, sys, time
import pylibevent as ev

clock = ctypes.CDLL(sys.argv[1])
limit = ev.RateLimit(100, 100, tick=0.05)
with ev.EventBase() as base, ev.RateLimitGroup(base, limit) as group:
    streams, times = [], []
    for n in range(4):
        one, other = (ev.SocketBufferEvent(base, sock) for sock in socket.socketpair())
        (one.set_rate_limit(limit) if n % 2 else group.add(one))
        got = []
        other.set_callbacks(read=lambda bev, got=got: got.append(len(bev.read())))
        other.enable()
        one.write(bytes(10_000_000))
        streams.append((one, other, got))

    def run(seconds):
        for _, _, got in streams:
            got.clear()
        base.timer(seconds, lambda event, what: (times.append(base.now()), base.loopexit()))
        base.dispatch()
        return [sum(got) for _, _, got in streams]

    assert all(run(1)), "before"
    day, before = times[-1], time.monotonic()
    clock.set_clock_ahead(-3600)
    while times[-1] > day - 1800:  # libevent looks every five seconds
        run(0.5)
        assert time.monotonic() - before < 15, "libevent doesn't see it"
    run(1.5)
    after = run(1)
    assert all(after), after
    assert after[1] <= 100 * 24, after
    for one, other, _ in streams:
        one.abort()
        other.abort()
"""


def test_the_clock_is_set_back(tmp_path: Path) -> None:
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    except OSError:
        pytest.skip("there is no C compiler")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(library)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=GIVE_UP * 2,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
