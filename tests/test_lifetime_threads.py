"""A base that closes while other threads use it: they get an exception, nobody is hurt, and nobody waits for ever."""

from __future__ import annotations

import random

import pytest
from support import run_child

CODE = """
import gc, socket, sys, threading, time
import kinds
import pylibevent as ev

REFUSED = (ev.Error, RuntimeError, BufferError, ValueError, OSError)
TRIES = 150
which = sys.argv[1]


def never(*arguments):
    pass


def users(base):
    event = base.timer(60, never)
    if which == "call_soon_threadsafe":
        return [lambda: base.call_soon_threadsafe(never)]
    if which == "turns":
        return [base.loopbreak, base.loopexit, base.loopcontinue]
    if which == "events":
        return [lambda: event.add(1), event.delete, event.active, event.pending, lambda: repr(event)]
    if which == "questions":
        return [lambda: repr(base), lambda: base.num_events, base.events, base.dump, base.now]
    if which == "new events":
        return [lambda: base.event(-1, ev.EventFlag(0), never), lambda: base.timer(60, never)]
    if which == "close":
        return [base.close]
    if which == "loop":
        return [lambda: base.loop(ev.LoopFlag.NONBLOCK)]
    one, other = kinds.bev_pair(base)
    if which == "bufferevents":
        return [lambda: one.write(b"x"), lambda: other.read(), one.enable, lambda: repr(other)]
    if which == "close of each":
        return [one.close, other.abort, event.close]
    if which == "bufferevents with a lock":
        sockets = socket.socketpair()
        one, other = (ev.SocketBufferEvent(base, s, ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE) for s in sockets)
        return [lambda: one.write(b"x"), lambda: other.read(), one.enable, one.close, lambda: other.input.copyout(10)]
    if which == "listeners":
        listener = ev.Listener.bind(base, ("127.0.0.1", 0), never)
        return [listener.enable, listener.disable, lambda: repr(listener)]
    raise AssertionError(which)


def hammer(use, over):
    while not over.is_set():
        try:
            use()
        except REFUSED:
            pass


for turn in range(TRIES):
    over = threading.Event()
    base = ev.EventBase()
    threads = [threading.Thread(target=hammer, args=(use, over), daemon=True) for use in users(base)]
    for thread in threads:
        thread.start()
    for _ in range(turn % 7):
        try:
            base.loop(ev.LoopFlag.NONBLOCK)
        except REFUSED:
            pass
    while not base.closed:
        try:
            base.close()
        except RuntimeError:  # another thread is running the loop
            pass
    over.set()
    for thread in threads:
        thread.join(20)
        if thread.is_alive():
            import faulthandler
            faulthandler.dump_traceback()
            sys.exit("a thread hangs")
"""


@pytest.mark.parametrize(
    "which",
    [
        "call_soon_threadsafe",
        "turns",
        "events",
        "questions",
        "new events",
        "close",
        "loop",
        "bufferevents",
        "close of each",
        "bufferevents with a lock",
        "listeners",
    ],
)
def test_a_close_while_other_threads_use_it(which: str) -> None:
    done = run_child("import warnings; warnings.simplefilter('ignore')\n" + CODE, which, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]


DROPPED = """
import gc, random, sys, threading, warnings
import kinds
import pylibevent as ev
from support import left_over

warnings.simplefilter("ignore")
chance = random.Random(int(sys.argv[1]))
server_ctx, client_ctx = kinds.contexts()


def population():
    base = ev.EventBase()
    one, other = kinds.bev_pair(base)
    listener = ev.Listener.bind(base, ("127.0.0.1", 0), print)
    dns = ev.DNSBase(base, system=False)
    dns.add_nameserver(("127.0.0.1", 9))
    tls = ev.TLSBufferEvent.wrap(other, server_ctx, server_side=True)
    client = ev.TLSBufferEvent.connect(base, listener.address, client_ctx, "server.test")
    tls.set_callbacks(print, print, print)
    tls.enable()
    one.write(b"not TLS")
    timers = [base.timer(60, lambda event, what: base) for _ in range(3)]  # a cycle through the callback
    buffer = ev.Buffer(b"x" * 5000)
    buffer.add_callback(lambda buffer, change: None)
    one.write_buffer(buffer)
    request = dns.getaddrinfo("name.test", 80, print)
    return [base, one, other, listener, dns, tls, client, *timers, buffer, request, one.input, tls.output]


before = left_over()
for turn in range(40):
    things = population()
    base = things[0]
    if turn % 2:
        base.loop(ev.LoopFlag.NONBLOCK)
    del base
    chance.shuffle(things)

    def drop(mine):
        while mine:
            mine.pop()
            if chance.random() < 0.1:
                gc.collect()

    parts = [things[0::2], things[1::2]]
    del things
    threads = [threading.Thread(target=drop, args=(part,)) for part in parts]
    if turn % 4 == 0:
        del parts[0][:], parts[1][:]  # all at once
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    del parts, threads
gc.collect()
after = left_over()
assert after == before, (before, after)
"""


def test_all_orders_of_dropping_in_other_threads(rng: random.Random) -> None:
    done = run_child(DROPPED, str(rng.getrandbits(32)), timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
