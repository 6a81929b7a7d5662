"""Bases in forked processes: refused until reinit(), whole after it, and the parent's is left alone."""

from __future__ import annotations

import pytest
from support import check_child

import pylibevent as ev

FORK = """
import faulthandler, os, signal, socket, sys, threading
import pylibevent as ev
READ, WRITE, PERSIST, SIGNAL = ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.PERSIST, ev.EventFlag.SIGNAL

def fork(body):
    # Runs body in a forked child, and returns the child's number.
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(20, exit=True)  # nobody would end it
        try:
            status = body()
        except BaseException:
            import traceback
            traceback.print_exc()
            status = 1
        finally:
            sys.stderr.flush()
            os._exit(status or 0)
    return pid

def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def pair():
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return one, other

"""


@pytest.mark.parametrize("method", ev.supported_methods())
def test_parent_and_child_both_go_on(method: str) -> None:
    """regress.c main/fork: a reader and two signals are on the base when it forks; the child reinits, drops one signal and
    adds another, reads twice, and ends with 76. Then the parent's loop reads to the end.
    """
    check_child(
        FORK
        + """
TEST1 = b"this is a test\\0"
base = ev.EventBase(ev.EventConfig(avoid=[name for name in ev.supported_methods() if name != sys.argv[1]]))
one, other = pair()
told, tell = pair()
told.setblocking(True)
got = []

def on_read(event, what):
    got.append(other.recv(256))
    tell.send(b"\\0")
    if got[-1] and len(got) == 1:
        event.add()

signals = []

def on_signal(event, what):
    signals.append(event.fd)
    event.delete()

one.send(TEST1)
reader = base.event(other, READ, on_read)
reader.add()
ended = base.signal(signal.SIGCHLD, on_signal)
existing = base.signal(signal.SIGUSR2, on_signal)

def child():
    base.reinit()
    ended.delete()
    added = base.signal(signal.SIGUSR1, on_signal)
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert base.dispatch()
    base.close()
    assert sorted(signals) == [signal.SIGUSR1, signal.SIGUSR2], signals
    assert got == [TEST1, TEST1], got
    return 76

pid = fork(child)
assert told.recv(1)
one.send(TEST1)
assert status_of(pid) == 76
one.send(TEST1)
one.shutdown(socket.SHUT_WR)
added = base.signal(signal.SIGUSR1, on_signal)
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGUSR2)
assert base.dispatch()
assert got == [TEST1, b""], got
assert sorted(signals) == sorted([signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD]), signals
base.close()
for sock in (one, other, tell, told):
    sock.close()
""",
        method,
    )


def test_everything_is_refused_in_a_child_before_reinit() -> None:
    """Nothing of a base can be used, or it would meddle with the parent's epoll; closing is allowed, and leaves it alone."""
    check_child(
        FORK
        + """
base = ev.EventBase()
one, other = pair()
called = []
reader = base.event(other, READ | PERSIST, lambda event, what: called.append(other.recv(10)))
reader.add()
idle = base.event(one, WRITE, print)
timer = base.timer(60, print)
quarter = base.common_timeout(0.25)
bev = ev.SocketBufferEvent(base)
calls = {
    "dispatch": lambda: base.dispatch(),
    "loop": lambda: base.loop(ev.LoopFlag.NONBLOCK),
    "loopexit": lambda: base.loopexit(),
    "loopexit after": lambda: base.loopexit(1),
    "loopbreak": lambda: base.loopbreak(),
    "loopcontinue": lambda: base.loopcontinue(),
    "event": lambda: base.event(one, READ, print),
    "timer": lambda: base.timer(0, print),
    "signal": lambda: base.signal(signal.SIGUSR1, print),
    "once": lambda: base.once(one, READ, print),
    "call_soon": lambda: base.call_soon(print),
    "call_soon_threadsafe": lambda: base.call_soon_threadsafe(print),
    "common_timeout": lambda: base.common_timeout(1),
    "active_by_fd": lambda: base.active_by_fd(other, READ),
    "now": lambda: base.now(),
    "method": lambda: base.method,
    "num_events": lambda: base.num_events,
    "events": lambda: base.events(),
    "dump": lambda: base.dump(),
    "add": lambda: idle.add(),
    "add with a timeout": lambda: idle.add(1),
    "add with a common timeout": lambda: idle.add(quarter),
    "delete": lambda: reader.delete(),
    "active": lambda: reader.active(READ),
    "pending": lambda: reader.pending(),
    "a bufferevent": lambda: ev.SocketBufferEvent(base),
    "write": lambda: bev.write(b"x"),
    "a listener": lambda: ev.Listener.bind(base, ("127.0.0.1", 0), print),
}

def refused():
    taken = []
    for name, call in calls.items():
        try:
            call()
        except ev.ForkedError as error:
            assert "reinit" in str(error), error
        except Exception as error:
            taken.append((name, repr(error)))
        else:
            taken.append((name, "no error"))
    assert not taken, taken
    assert "parent process" in repr(base) + repr(reader)

def child():
    refused()
    base.close()
    assert base.closed

assert status_of(fork(child)) == 0
one.send(b"x")
base.loop(ev.LoopFlag.ONCE)
assert called == [b"x"]
base.close()
one.close()
other.close()
""",
    )


def test_a_child_that_only_exits_leaves_the_parent_alone() -> None:
    """With all of them open, it ends by sys.exit, which collects what it can; nothing is said."""
    check_child(
        FORK
        + """
base = ev.EventBase()
reads, writes = os.pipe()  # not sockets: Python itself would speak of those
got = []
reader = base.event(reads, READ | PERSIST, lambda event, what: got.append(os.read(reads, 10)))
reader.add()
called = []
watch = base.signal(signal.SIGUSR1, lambda event, what: called.append(what))
if os.fork() == 0:
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
os.write(writes, b"x")
os.kill(os.getpid(), signal.SIGUSR1)
base.timer(20, lambda event, what: sys.exit("waited in vain"))
while not (got and called):
    base.loop(ev.LoopFlag.ONCE)
base.close()
os.close(reads)
os.close(writes)
""",
    )


def test_reinit_again_and_where_nothing_forked(base: ev.EventBase) -> None:
    """It does no harm in the process that made the base."""
    called: list[str] = []
    base.timer(0, lambda event, what: called.append("before"))
    base.reinit()
    base.reinit()
    base.call_soon(called.append, "after")
    base.dispatch()
    assert sorted(called) == ["after", "before"]


def test_a_fork_in_a_callback() -> None:
    """The child reinits in the callback, and both loops go on behind it; what was due is called in both."""
    check_child(
        FORK
        + """
base = ev.EventBase()
one, other = pair()
called = []
pids = []

def forks(event, what):
    pids.append(os.fork())
    if not pids[0]:
        base.reinit()

base.event(one, WRITE, forks).add()
base.event(other, WRITE, lambda event, what: called.append("due")).add()
base.timer(0.05, lambda event, what: called.append("timer"))
assert base.dispatch()
assert called == ["due", "timer"], called
base.close()
one.close()
other.close()
if pids[0]:
    assert status_of(pids[0]) == 0
""",
    )


def test_a_fork_in_a_callback_without_reinit() -> None:
    """The child's loop ends with ForkedError, when it would poll next."""
    check_child(
        FORK
        + """
base = ev.EventBase()
pids = []
base.timer(0, lambda event, what: pids.append(os.fork()))
base.timer(0.05, lambda event, what: None)
try:
    base.dispatch()
except ev.ForkedError:
    os._exit(9 if not pids[0] else 1)
assert pids[0] and status_of(pids[0]) == 9
base.close()
""",
    )


def test_threads_wake_the_loop_of_a_child() -> None:
    """After reinit the child has a wake-up of its own, for threads and for Ctrl-C, and the parent keeps its."""
    check_child(
        FORK
        + """
base = ev.EventBase()
base.loop(ev.LoopFlag.NONBLOCK)  # has a wake-up descriptor from here on
timer = base.timer(60, print)

def woken():
    called = []
    thread = threading.Timer(0.05, base.call_soon_threadsafe, (lambda: (called.append(1), base.loopbreak()),))
    thread.start()
    assert not base.dispatch()
    thread.join()
    assert called

def interrupted():
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        base.dispatch()
    except KeyboardInterrupt:
        return
    raise AssertionError("slept on")

def child():
    base.reinit()
    woken()
    interrupted()
    base.close()

pid = fork(child)
woken()
interrupted()
assert status_of(pid) == 0
base.close()
""",
    )


def test_a_fork_while_another_thread_runs_the_loop() -> None:
    """That thread isn't in the child: the base can't be used there any more, but a new one can; the parent's goes on."""
    check_child(
        FORK
        + """
base = ev.EventBase()
runs = threading.Event()
base.timer(60, print)
base.call_soon(runs.set)
thread = threading.Thread(target=base.dispatch)
thread.start()
runs.wait()

def child():
    for call in (base.now, base.reinit, base.loopbreak, base.close):
        try:
            call()
        except ev.ForkedError:
            continue
        raise AssertionError("not refused")
    with ev.EventBase() as own:
        called = []
        own.timer(0, lambda event, what: called.append(1))
        own.dispatch()
        assert called

assert status_of(fork(child)) == 0
base.call_soon_threadsafe(base.loopbreak)
thread.join(20)
assert not thread.is_alive()
base.close()
""",
    )


def test_bases_made_in_a_child_are_its_own() -> None:
    check_child(
        FORK
        + """
def child():
    with ev.EventBase() as base:
        called = []
        base.timer(0, lambda event, what: called.append(1))
        assert base.dispatch() and called

parent = ev.EventBase()
assert status_of(fork(child)) == 0
parent.close()
""",
    )


def test_multiprocessing_forks() -> None:
    """A worker of multiprocessing with a base of its own, started from a callback of the parent's loop."""
    check_child(
        """
import multiprocessing
import pylibevent as ev

def work(connection):
    with ev.EventBase() as base:
        base.event(connection, ev.EventFlag.READ, lambda event, what: connection.send(connection.recv() * 2)).add()
        base.dispatch()

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    answers = []
    with ev.EventBase() as base:
        worker = fork.Process(target=work, args=(theirs,))
        base.call_soon(worker.start)
        base.event(ours, ev.EventFlag.READ, lambda event, what: answers.append(ours.recv())).add()
        base.call_soon(ours.send, 21)
        base.dispatch()
    worker.join(20)
    assert (answers, worker.exitcode) == ([42], 0), (answers, worker.exitcode)
    ours.close()
    theirs.close()
""",
    )
