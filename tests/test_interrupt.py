"""Ctrl-C again and again while streams are busy: no callback is lost, nothing is called twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from support import GIVE_UP, ROOT

PING_PONG = """
import signal, socket, sys
import pylibevent as ev

PAIRS, ROUNDS = 8, 20_000
base = ev.EventBase()
rounds = [0] * PAIRS
interrupts = 0


def echo(bev):
    bev.write_buffer(bev.input)


def answer(bev):
    i = index[bev.fd]
    data = bev.read()
    assert data == rounds[i].to_bytes(4, "big"), (data, rounds[i])
    rounds[i] += 1
    if rounds[i] < ROUNDS:
        bev.write(rounds[i].to_bytes(4, "big"))
    elif min(rounds) == ROUNDS:
        base.loopexit()


def on_sigint(number, frame):
    # What interrupts a callback itself is the callback's business.
    global interrupts
    inside = False
    while frame is not None:
        if frame.f_code in (echo.__code__, answer.__code__):
            return
        inside = inside or frame.f_code is ev.EventBase.dispatch.__code__
        frame = frame.f_back
    if inside:
        interrupts += 1
        raise KeyboardInterrupt


signal.signal(signal.SIGINT, on_sigint)
index, bevs = {}, []
for i in range(PAIRS):
    one, other = map(lambda sock: ev.SocketBufferEvent(base, sock), socket.socketpair())
    one.set_callbacks(read=answer)
    other.set_callbacks(read=echo)
    index[one.fd] = i
    bevs += [one, other]
    one.enable()
    other.enable()
    one.write((0).to_bytes(4, "big"))
base.timer(15, lambda event, what: sys.exit(f"lost after {interrupts} interrupts: {rounds}"))
print("ready", flush=True)
while True:
    try:
        base.dispatch()
    except KeyboardInterrupt:
        if base.got_exit:
            break  # it came when the loop had ended, and dispatch() hadn't returned yet
        continue
    break
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
assert rounds == [ROUNDS] * PAIRS
base.close()
print(interrupts)
"""

ACCEPTING = """
import signal, socket, sys
import pylibevent as ev

CONNECTIONS = 400
base = ev.EventBase()
accepted = timers = interrupts = 0


def on_accept(listener, sock, address):
    global accepted
    accepted += 1
    sock.close()
    if accepted >= CONNECTIONS and interrupts:
        base.loopexit()
    else:
        clients.append(socket.create_connection(listener.address))
        clients.pop(0).close()


def on_sigint(number, frame):
    global interrupts
    inside = False
    while frame is not None:
        if frame.f_code is on_accept.__code__:
            return
        inside = inside or frame.f_code is ev.EventBase.dispatch.__code__
        frame = frame.f_back
    if inside:
        interrupts += 1
        raise KeyboardInterrupt


signal.signal(signal.SIGINT, on_sigint)
listener = ev.Listener.bind(base, ("127.0.0.1", 0), on_accept)
clients = [socket.create_connection(listener.address) for _ in range(20)]
base.timer(15, lambda event, what: sys.exit(f"lost after {interrupts} interrupts: {accepted}"))
print("ready", flush=True)
while True:
    try:
        base.dispatch()
    except KeyboardInterrupt:
        continue
    break
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
assert accepted >= CONNECTIONS
base.close()
for client in clients:
    client.close()
print(interrupts)
"""


QUEUED = """
import dis, signal
import pylibevent as ev

CALLS = 2000
RESUME = dis.opmap["RESUME"]
base = ev.EventBase()
interrupts = 0


def call(i):
    called[i] += 1


def on_sigint(number, frame):
    # At its first instruction a callback hasn't begun; it can't know that it was called.
    global interrupts
    inside = False
    while frame is not None:
        if frame.f_code is call.__code__ and frame.f_code.co_code[frame.f_lasti] != RESUME:
            return
        inside = inside or frame.f_code is ev.EventBase.dispatch.__code__
        frame = frame.f_back
    if inside:
        interrupts += 1
        raise KeyboardInterrupt


signal.signal(signal.SIGINT, on_sigint)
print("ready", flush=True)
while interrupts < 200:
    called = [0] * CALLS
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for i in range(CALLS):
        base.call_soon(call, i)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    while True:
        try:
            base.dispatch()
        except KeyboardInterrupt:
            continue
        break
    assert called == [1] * CALLS, (called.count(0), max(called))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
base.close()
print(interrupts)
"""


CAREFUL = PING_PONG.replace("base = ev.EventBase()", "base = ev.EventBase(ev.EventConfig(max_callbacks=3), priorities=2)")
SOMETIMES = "\n    if rounds[i] % 7 == 0:\n        base.loopcontinue()"
CONTINUED = PING_PONG.replace("    rounds[i] += 1", "    rounds[i] += 1" + SOMETIMES)
CODES = {"messages": PING_PONG, "connections": ACCEPTING, "queued": QUEUED, "careful": CAREFUL, "continued": CONTINUED}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_ctrl_c_loses_nothing(code: str, rng: random.Random) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 2
        while child.poll() is None and time.monotonic() < deadline:
            child.send_signal(signal.SIGINT)
            time.sleep(rng.random() * 0.002)  # what is tested is any moment
        out, err = child.communicate(timeout=GIVE_UP)
    assert (child.returncode, err) == (0, "")
    assert int(out) > 0


def test_ctrl_c_ends_a_program_that_does_not_catch_it() -> None:
    code = """
import pylibevent as ev
base = ev.EventBase()
base.timer(0, lambda event, what: print("ready", flush=True))
base.timer(60, lambda event, what: None)
base.dispatch()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=GIVE_UP)
    assert child.returncode == -signal.SIGINT
    assert err.endswith("\nKeyboardInterrupt\n")
    assert "ResourceWarning" not in err
