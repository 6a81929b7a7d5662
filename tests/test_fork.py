"""What a forked child may do with what it inherits: ask for nothing, drop it, end; or reinit() and go on."""

from __future__ import annotations

import kinds
import pytest
from support import check_child, run_child

ALL = sorted(kinds.KINDS)
BEGIN = """
import gc, inspect, os, signal, sys, threading, time, warnings
import kinds
import pylibevent as ev
warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: it has threads
base = ev.EventBase()
kind = sys.argv[1] if len(sys.argv) > 1 else ""


def status_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def child_of_its_own():
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # nobody else would end one that hangs
    return pid
"""


@pytest.mark.parametrize("kind", ALL)
def test_a_child_forked_in_a_callback_drops_all_and_ends(kind: str) -> None:
    """The parent's loop hears everything that it would have heard."""
    code = """
hits = []
one, other = os.pipe()


def hit(thing):
    if hits:
        return
    hits.append(1)
    child = child_of_its_own()
    if child == 0:
        kinds.keep.clear()
        del thing
        gc.collect()
        sys.exit(3)
    assert status_of(child) == 3
    os.write(other, b"x")  # is the epoll set still whole?


def heard(event, what):
    hits.append(2)
    base.loopexit()


event = base.event(one, ev.EventFlag.READ, heard)
event.add()
base.timer(10, lambda event, what: sys.exit("nothing came"))
kinds.arrange(kind, base, hit)
base.dispatch()
assert hits == [1, 2]
base.close()
os.close(one)
os.close(other)
"""
    check_child(BEGIN + code, kind)


@pytest.mark.parametrize("kind", ALL)
def test_a_child_forked_in_a_callback_goes_on_after_reinit(kind: str) -> None:
    code = """
hits = []


def hit(thing):
    if hits:
        return
    hits.append(1)
    child = child_of_its_own()
    if child == 0:
        base.reinit()
        base.timer(0.01, lambda event, what: sys.exit(5))
    else:
        assert status_of(child) == 5
        base.timer(0.01, lambda event, what: base.loopexit())


base.timer(10, lambda event, what: sys.exit("nothing came"))
kinds.arrange(kind, base, hit)
base.dispatch()
base.close()
"""
    check_child(BEGIN + code, kind)


def test_every_member_of_everything_in_a_child() -> None:
    """Whatever is asked there of what stands on a base, ForkedError is the answer, or something that needs no base."""
    code = """
def quiet(*arguments):
    pass


server, client = kinds.contexts()
one, other = kinds.bev_pair(base)
dns = ev.DNSBase(base, system=False)
dns.add_nameserver(("127.0.0.1", 9))
things = {
    "base": base,
    "event": base.timer(60, print),
    "bev": one,
    "tls": ev.TLSBufferEvent.wrap(other, server, server_side=True),
    "listener": ev.Listener.bind(base, ("127.0.0.1", 0), print),
    "dns": dns,
    "request": dns.getaddrinfo("name.test", 80, print),
    "input": one.input,
    "output": one.output,
}
refused = {name: 0 for name in things}
child = child_of_its_own()
if child == 0:
    for name, thing in things.items():
        public = [member for member in dir(type(thing)) if not member.startswith("_")]
        for member in ["__len__", "__repr__", "__bytes__", *public]:
            if member in ("reinit", "close", "abort") or not hasattr(type(thing), member):
                continue
            static = inspect.getattr_static(type(thing), member)
            try:
                if isinstance(static, (classmethod, staticmethod)):
                    continue
                value = getattr(thing, member)
                if not callable(value):
                    continue
                needed = [
                    p for p in inspect.signature(value).parameters.values()
                    if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
                ]
                for argument in (None, 1, 0.5, b"x", quiet, ev.EventFlag.READ, ev.Buffer(b"x")):
                    try:
                        value(*[argument] * len(needed))
                    except (TypeError, ValueError, OSError):
                        continue
            except ev.ForkedError:
                refused[name] += 1
            except (TypeError, ValueError, OSError, ev.Error, BufferError, RuntimeError):
                pass
    print(refused)
    sys.exit(0 if min(refused[name] for name in refused if name != "request") >= 3 else 1)
assert status_of(child) == 0
one.write(b"x")
base.close()
"""
    check_child(BEGIN + code)


@pytest.mark.parametrize("end", ["sys.exit(4)", "os._exit(4)", "base.close(); sys.exit(4)", "raise SystemExit(4)"])
def test_a_child_ends_with_everything_inherited(end: str) -> None:
    code = """
for each in kinds.KINDS:
    kinds.arrange(each, base, lambda thing: None)
for _ in range(3):
    base.loop(ev.LoopFlag.NONBLOCK)
child = child_of_its_own()
if child == 0:
    END
assert status_of(child) == 4
hits = []
kinds.arrange("tls_read", base, hits.append)
base.timer(10, lambda event, what: sys.exit("nothing came"))
while not hits:
    base.loop(ev.LoopFlag.ONCE)
base.close()
"""
    check_child(BEGIN + code.replace("END", end))


def test_children_of_a_process_whose_threads_are_busy_with_the_base() -> None:
    """No lock that another thread holds at that moment is left locked in the child."""
    code = """
buffer = ev.Buffer()
buffer.add_callback(lambda buffer, change: None)
over = threading.Event()
event = base.event(-1, ev.EventFlag(0), lambda event, what: None)
uses = [
    lambda: base.call_soon_threadsafe(int),
    lambda: event.add(1),
    lambda: buffer.write(b"x"),
    buffer.drain,
    lambda: ev.EventBase().close(),
]


def hammer(use):
    while not over.is_set():
        use()


threads = [threading.Thread(target=hammer, args=(use,), daemon=True) for use in uses]
for thread in threads:
    thread.start()
try:
    for _ in range(60):
        base.loop(ev.LoopFlag.NONBLOCK)
        child = child_of_its_own()
        if child == 0:
            signal.alarm(5)
            base.reinit()
            called = []
            base.call_soon_threadsafe(called.append, 1)
            base.timer(0, lambda event, what: called.append(2))
            while len(called) < 2:
                base.loop(ev.LoopFlag.ONCE)
            with ev.EventBase() as another:
                another.loop(ev.LoopFlag.NONBLOCK)
            ev.Buffer(b"x").drain()
            os._exit(6)
        assert status_of(child) == 6
finally:
    over.set()
    for thread in threads:
        thread.join()
base.close()
"""
    done = run_child(BEGIN + code)
    assert (done.returncode, done.stderr) == (0, "")
