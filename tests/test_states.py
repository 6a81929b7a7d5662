"""Objects that outlive what they lean on, lists that are full, memory that is used up: what once crashed, or lost bytes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support import check_child
from test_ratelimit_clock import CLOCK


@pytest.fixture(autouse=True)
def perturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was freed is overwritten: glibc does so where it is told to."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")


PRELUDE = """
import gc, os, socket, sys, time, warnings
import kinds
import pylibevent as ev

warnings.simplefilter("ignore")
READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
base = ev.EventBase()

def turns(n):
    for _ in range(n):
        base.loop(ev.LoopFlag.NONBLOCK)
"""

FULL_ARENA = """
size = int(sys.argv[1])
one, other = ev.PairBufferEvent.new(base)
one.enable(), other.enable()
for _ in range(171):  # places of 2 KiB: the last message fills the arena to its last byte
    one.write(b"x" * 4096)
    assert other.read() == b"x" * 4096
for n in size, 1, size:
    one.write(b"y" * n)
    assert other.read() == b"y" * n
"""


@pytest.mark.parametrize("size", [1, 4096, 30_000, 3_000_000])
def test_reads_between_two_passes_may_fill_the_arena_to_the_last_byte(size: int) -> None:
    check_child(PRELUDE + FULL_ARENA, str(size))


FULL_BATCH = """
got, armed = [], False
listener = ev.Listener.bind(base, ("127.0.0.1", 0), lambda listener, sock, address: got.append(sock), backlog=200)
clients = [socket.create_connection(listener.address) for _ in range(150)]
made = 0

def audit(name, arguments):
    global made
    if armed and name == "socket.__new__":
        made += 1
        if made == 64:
            raise OSError("not this one")

sys.addaudithook(audit)
armed, failures = True, 0
for _ in range(20):
    try:
        turns(1)
    except OSError:
        failures += 1
armed = False
print(failures, len(got), sorted(sock.getpeername() for sock in got) == sorted(sock.getsockname() for sock in clients))
for thing in [*got, *clients, listener]:
    thing.close()
"""


def test_a_connection_that_could_not_be_taken_comes_again_where_the_batch_was_full() -> None:
    assert check_child(PRELUDE + FULL_BATCH) == "1 150 True\n"


CONNECTING = """
server, client = kinds.contexts()
with socket.create_server(("127.0.0.1", 0)) as listener:
    bev, told = ev.SocketBufferEvent(base), []
    bev.connect(listener.getsockname())
    tls = ev.TLSBufferEvent.wrap(bev, client, server_hostname="server.test", options=ev.Option(0))
    tls.abort()
    bev.set_callbacks(read=lambda bev: told.append(bev.read()), event=lambda bev, what: told.append(what))
    bev.enable()
    turns(5)
    peer, _ = listener.accept()
    with peer:
        peer.send(b"hello")
        turns(5)
        print(told == [ev.What.CONNECTED, b"hello"] or told)
        bev.close()
"""


def test_tls_that_goes_while_the_socket_connects_leaves_it_its_events() -> None:
    assert check_child(PRELUDE + CONNECTING) == "True\n"


CHOKED = """
sink, sock = socket.socketpair()
sink.setblocking(False)
under = ev.SocketBufferEvent(base, sock)
bev = ev.FilterBufferEvent(under, kinds.passes, kinds.passes, ev.Option(0))
one, other = ev.PairBufferEvent.new(base)
for end in bev, one, other:
    end.enable()
relay = one.relay(bev)
for _ in range(40):
    other.write(b"x" * 65536)
    turns(1)
waiting = len(under.output)
assert waiting > 0
bev.abort()
del bev, relay, end
gc.collect()
turns(2)
under.enable()
taken = 0
while len(under.output):
    try:
        taken += len(sink.recv(1 << 20))
    except BlockingIOError:
        pass
    turns(1)
print("sent")
under.close(), one.close(), other.close(), sink.close()
"""


def test_a_relayed_filter_that_is_dropped_leaves_nothing_at_what_it_stood_on() -> None:
    assert check_child(PRELUDE + CHOKED) == "sent\n"


NEW_KEYS = """
server, client = kinds.contexts()
one, other = kinds.bev_pair(base)
peer = ev.TLSBufferEvent.wrap(one, server, server_side=True)
live = [ev.TLSBufferEvent.wrap(other, client, server_hostname="server.test")]
del other
peer.enable(), live[0].enable()
turns(8)
assert peer.version == live[0].version == "TLSv1.3"

def drops(source, destination, limit, mode):
    live.clear()
    source.remove_buffer(destination)
    return ev.FilterResult.OK

sock, feed = socket.socketpair()
bev = ev.FilterBufferEvent(ev.SocketBufferEvent(base, sock), drops)
bev.enable()
peer.key_update()
turns(1)
feed.send(b"x")
turns(5)
print(live)
peer.close(), bev.close(), feed.close()
"""


def test_tls_may_be_dropped_in_the_pass_in_which_it_heard_of_new_keys() -> None:
    assert check_child(PRELUDE + NEW_KEYS) == "[]\n"


FAREWELL = """
import ctypes
clock = ctypes.CDLL(os.environ["LD_PRELOAD"])
with socket.create_server(("127.0.0.1", 0)) as listener:
    bev = ev.SocketBufferEvent(base, socket.create_connection(listener.getsockname()))
    peer, _ = listener.accept()
limited, other = kinds.bev_pair(base)
clock.set_clock_ahead(3600)
limited.set_rate_limit(ev.RateLimit(1000, 1000))
bev.enable()
with socket.socket(fileno=os.dup(bev.fd)) as sock:
    try:
        while True:  # as much as the system takes
            sock.send(b"x" * 65536)
    except BlockingIOError:
        pass
timers = [base.timer(30, print) for _ in range(20)]
bev.close(timeout=60)
clock.set_clock_ahead(0)
base.timer(6.5, lambda event, what: base.loopexit())  # libevent looks at the time of day every five seconds
base.dispatch()
print("over")
peer.close()
"""


def test_a_clock_that_is_set_back_during_a_farewell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    assert check_child(PRELUDE + FAREWELL) == "over\n"


LINGERING = """
one, other = kinds.bev_pair(base)
to, end = kinds.bev_pair(base)
got, said = [], []
end.set_callbacks(read=lambda bev: got.append(bev.read()))
end.enable()
kept = one.input

def on_read(bev):
    bev.write(b"z" * 3_000_000)
    bev.close(timeout=60)
    try:
        to.write_buffer(kept)
    except ev.ClosedError as error:
        said.append(error)

one.set_callbacks(read=on_read)
one.enable()
other.write(b"hello")
turns(5)
print(got, len(said))
other.abort(), to.abort(), end.abort()
base.close()
"""


def test_what_a_closed_one_had_not_read_is_not_passed_on_while_it_lingers() -> None:
    assert check_child(PRELUDE + LINGERING) == "[] 1\n"


FORKED_VIEW = """
def make():
    base = ev.EventBase()
    one, other = kinds.bev_pair(base)
    view = one.input
    view.add_callback(print)
    child = os.fork()
    if child == 0:
        ring = [base, view]
        ring.append(ring)
        del one, other
        gc.collect()  # so that the input is looked at before what it is of
    return child

child = make()
if child == 0:
    gc.collect()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_an_input_with_callbacks_is_collected_after_the_base_in_a_forked_child() -> None:
    assert check_child(PRELUDE + FORKED_VIEW) == "0\n"


FORKED_UNREAD = """
class Late:
    def __del__(self):
        for call in (self.bev.read, lambda: self.bev.write(b"x"), lambda: self.bev.write_buffer(self.kept)):
            try:
                call()
            except ev.ClosedError:
                said.append("closed")

class Out(BaseException):
    pass

def on_read(bev):
    if os.fork() == 0:
        raise Out
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    sys.stdout.flush()
    os._exit(0)

said = []

def make():
    base = ev.EventBase()
    late = Late()
    late.bev, late.other = kinds.bev_pair(base)
    late.ring = [base, late]
    late.ring.append(late.ring)
    late.kept = late.bev.input
    late.bev.set_callbacks(read=on_read)
    late.bev.enable()
    late.other.write(b"hello")
    try:
        base.dispatch()
    except Out:
        pass

make()
gc.collect()
os._exit(0 if said == ["closed"] * 3 else 1)
"""


def test_unread_bytes_are_asked_for_after_the_base_is_collected_in_a_forked_child() -> None:
    assert check_child(PRELUDE + FORKED_UNREAD) == "0\n"


FORKED_SIGNALS = """
import signal, threading

event = base.signal(signal.SIGUSR1, print)
event.add()
runs = threading.Event()
base.call_soon(lambda base: runs.set(), base)
threading.Thread(target=base.dispatch, daemon=True).start()
runs.wait()
child = os.fork()
if child == 0:
    got = []
    with ev.EventBase() as mine:
        mine_too = mine.signal(signal.SIGUSR1, lambda event, what: (got.append(what), mine.loopexit()))
        mine_too.add()
        os.kill(os.getpid(), signal.SIGUSR1)
        mine.dispatch()
    os._exit(len(got) != 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.stdout.flush()
os._exit(0)
"""


def test_signals_are_free_in_a_child_whose_parent_had_another_thread_watch_them() -> None:
    assert check_child(PRELUDE + FORKED_SIGNALS) == "0\n"


UNLINKED = """
server, client = kinds.contexts()

def secured(ends, **options):
    made = [ev.TLSBufferEvent.wrap(ends[0], client, server_hostname="server.test", **options),
            ev.TLSBufferEvent.wrap(ends[1], server, server_side=True, **options)]
    for bev in made:
        bev.enable()
    turns(8)
    return made

lower, peer_below = secured(kinds.bev_pair(base), direct=sys.argv[1] == "direct")
upper, peer = secured([lower, peer_below], options=ev.Option(0))
peer.write(b"x" * 100)
upper.disable(READ)
upper.trigger(WRITE, defer=True)  # libevent keeps it until that was called
upper.abort(), lower.abort()
del upper, lower
gc.collect()
turns(5)
print("over")
peer.abort(), peer_below.abort()
"""


@pytest.mark.parametrize("form", ["filter", "direct"])
def test_tls_that_is_freed_is_not_read_when_one_above_it_goes_later(form: str) -> None:
    assert check_child(PRELUDE + UNLINKED, form) == "over\n"
