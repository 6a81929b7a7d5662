"""Bufferevents with Option.THREADSAFE, used by many threads while the loop runs, in processes of their own."""

from __future__ import annotations

import random

import pytest
from support import check_child

START = """
import gc, random, socket, sys, threading, time
import pylibevent as ev

seed = int(sys.argv[1])
READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
OPTIONS = ev.Option.THREADSAFE | ev.Option.CLOSE_ON_FREE
base = ev.EventBase()
failed = []
stop = threading.Event()
MAY_RAISE = (ev.ClosedError, BrokenPipeError, BufferError)

def pair():
    return [ev.SocketBufferEvent(base, sock, OPTIONS) for sock in socket.socketpair()]

def guarded(work, chance):
    def run():
        try:
            while not stop.is_set():
                try:
                    work(chance)
                except MAY_RAISE:
                    pass
        except BaseException as error:
            failed.append(f"{type(error).__name__}: {error}")
    return run

def run_threads(works, seconds=1.0):
    threads = [threading.Thread(target=guarded(work, random.Random(seed + n))) for n, work in enumerate(works)]
    base.call_soon(lambda: [thread.start() for thread in threads])
    def end(event, what):
        stop.set()
        base.loopexit()
    base.timer(seconds, end)
    try:
        base.loop(ev.LoopFlag.NO_EXIT_ON_EMPTY)
    finally:
        stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a thread hangs"
    assert not failed, failed
"""

EVERYTHING = (
    START
    + """
one, other = pair()
for bev in (one, other):
    bev.set_callbacks(read=lambda bev: bev.read(), write=lambda bev: None, event=lambda bev, what: None)
    bev.enable()

def anything(chance):
    bev = chance.choice((one, other))
    chance.choice((
        lambda: bev.write(b"x" * chance.choice((0, 1, 5000))),
        lambda: bev.write_buffer(ev.Buffer(b"y" * 100)),
        lambda: bev.output.write(b"z"),
        lambda: bev.output.add_reference(b"r" * 1000),
        lambda: bev.read(chance.choice((-1, 0, 1, 1000))),
        lambda: bev.read_into(bytearray(1000)),
        lambda: bev.read_buffer(ev.Buffer()),
        lambda: bev.input.drain(len(bev.input) // 2),
        lambda: bytes(bev.input),
        lambda: bev.input.readline(ev.EOLStyle.LF),
        lambda: bev.enable(chance.choice((READ, WRITE, READ | WRITE))),
        lambda: bev.disable(READ) if chance.random() < 0.1 else None,
        lambda: bev.set_timeouts(60, 60),
        lambda: bev.set_watermark(READ | WRITE, 0, chance.choice((0, 1000))),
        lambda: bev.watermark(READ),
        lambda: bev.trigger(READ | WRITE, ignore_watermarks=True),
        lambda: bev.trigger_event(ev.What.TIMEOUT),
        lambda: bev.flush(),
        lambda: setattr(bev, "max_single_read", 1000),
        lambda: bev.max_to_write,
        lambda: bev.getsockname(),
        lambda: (bev.fd, bev.enabled, bev.error, bev.closed, bev.callbacks),
        lambda: repr(bev),
    ))()

run_threads([anything] * 6)
print("end", all(not bev.closed for bev in (one, other)))
one.abort()
other.abort()
base.close()
"""
)

CLOSING = (
    START
    + """
lock = threading.Lock()
bevs = []

def echo(bev):
    try:
        bev.write(bev.read())
    except MAY_RAISE:
        pass

def make(event, what):
    with lock:
        for _ in range(5):
            one, other = pair()
            for bev in (one, other):
                bev.set_callbacks(read=echo, event=lambda bev, what: None)
                bev.enable()
            one.write(b"x" * 1000)
            bevs.extend((one, other))

def close(chance):
    with lock:
        bev = bevs.pop(chance.randrange(len(bevs))) if bevs else None
    if bev is None:
        time.sleep(0.001)
    else:
        chance.choice((bev.close, bev.abort, lambda: bev.close(timeout=0), lambda: bev.set_callbacks()))()
        bev.abort()

def write(chance):
    with lock:
        bev = chance.choice(bevs) if bevs else None
    if bev is None:
        time.sleep(0.001)
    else:
        for _ in range(5):
            bev.write(b"y" * 1000)
            bev.read()
            repr(bev)

maker = base.timer(0.001, make, persist=True)
run_threads([close, close, close, write, write])
maker.close()
for bev in bevs:
    bev.abort()
base.loop(ev.LoopFlag.NONBLOCK)
base.close()
print("end")
"""
)

DROPPING = (
    START
    + """
import warnings
warnings.simplefilter("ignore")
queue = []

def make(event, what):
    for _ in range(10):
        one, other = pair()
        one.write(b"x" * 1000)
        queue.extend((one, other))

def drop(chance):
    try:
        bev = queue.pop()
    except IndexError:
        time.sleep(0.001)
        return
    if chance.random() < 0.5:
        bev.write(b"y")
    if chance.random() < 0.3:
        bev.disable()
    del bev
    if chance.random() < 0.05:
        gc.collect()

maker = base.timer(0.001, make, persist=True)
run_threads([drop] * 4)
maker.close()
queue.clear()
gc.collect()
base.loop(ev.LoopFlag.NONBLOCK)
base.close()
print("end")
"""
)


@pytest.mark.parametrize("turn", range(2))
def test_everything_from_six_threads(rng: random.Random, turn: int) -> None:
    assert check_child(EVERYTHING, str(rng.getrandbits(30)), timeout=60) == "end True\n"


@pytest.mark.parametrize("turn", range(2))
def test_closed_by_threads(rng: random.Random, turn: int) -> None:
    assert check_child(CLOSING, str(rng.getrandbits(30)), timeout=60) == "end\n"


@pytest.mark.parametrize("turn", range(2))
def test_dropped_by_threads(rng: random.Random, turn: int) -> None:
    assert check_child(DROPPING, str(rng.getrandbits(30)), timeout=60) == "end\n"


FIRST_LOOKS = (
    START
    + """
sys.setswitchinterval(1e-6)
one, other = socket.socketpair()
gate = threading.Barrier(4)
found = []

def look():
    try:
        for bev in bevs:
            gate.wait(20)
            found.append((bev.input, bev.output))
    except BaseException as error:
        failed.append(repr(error))
        gate.abort()

bevs = [ev.SocketBufferEvent(base, sock.dup(), OPTIONS) for sock in (one, other) for _ in range(150)]
threads = [threading.Thread(target=look) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(20)
assert not failed, failed
assert len(set(map(id, (buffer for both in found for buffer in both)))) == 2 * len(bevs)
for bev in bevs:
    bev.abort()
base.close()
one.close()
other.close()
print("end")
"""
)


def test_the_first_look_at_the_buffers_by_four_threads() -> None:
    """All of them get the same ones."""
    assert check_child(FIRST_LOOKS, "1") == "end\n"


WRITERS = (
    START
    + """
one, other = pair()
got = bytearray()
PARTS, THREADS = 300, 4
ended = []
other.set_callbacks(read=lambda bev: got.extend(bev.read()), event=lambda bev, what: ended.append(what))
other.enable()
left = [PARTS] * THREADS

def writer(n):
    def work(chance):
        if left[n]:
            number = PARTS - left[n]
            left[n] -= 1
            one.write(b"%d:%06d;" % (n, number) * chance.randint(1, 50))
        elif not any(left):
            time.sleep(0.001)
    return work

def check(event, what):
    if not any(left) and not one.output:
        stop.set()
        base.loopexit()

base.timer(0.01, check, persist=True)
run_threads([writer(n) for n in range(THREADS)], 30)
one.close()
while not ended:
    base.loop(ev.LoopFlag.ONCE)
entries = got.split(b";")[:-1]
assert b";".join(entries) + b";" == got
for n in range(THREADS):
    numbers = [int(entry[2:]) for entry in entries if entry[:1] == b"%d" % n]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(PARTS)), len(set(numbers))
print("end")
other.abort()
base.close()
"""
)


def test_what_threads_write_is_whole_and_in_order(rng: random.Random) -> None:
    """Each write stays together, and those of one thread come in their order."""
    assert check_child(WRITERS, str(rng.getrandbits(30)), timeout=60) == "end\n"
