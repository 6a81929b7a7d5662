"""Memory of a bufferevent's buffers that memoryviews show: nothing frees it before the last of them is gone."""

from __future__ import annotations

import pytest
from support import check_child
from test_states import PRELUDE


@pytest.fixture(autouse=True)
def perturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was freed is overwritten: glibc does so where it is told to."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")


COMMITTED = """
server_ctx, client_ctx = kinds.contexts()
below = kinds.bev_pair(base) if sys.argv[1] == "socket" else ev.PairBufferEvent.new(base)
server = ev.TLSBufferEvent.wrap(below[0], server_ctx, server_side=True)
client = ev.TLSBufferEvent.wrap(below[1], client_ctx, server_hostname="server.test")
stand = []
for bev in server, client:
    bev.set_callbacks(event=lambda bev, what: stand.append(bev))
    bev.enable()
while len(stand) < 2:
    base.loop(ev.LoopFlag.ONCE)
with server.output.reserve(5000) as reservation:
    reservation.views[0][:5000] = b"x" * 5000
    kept = reservation.views[0][:5000]
    reservation.commit(5000)
print(bytes(kept) == b"x" * 5000)
try:
    turns(1)
except BufferError as error:
    print("not yet")
del kept
got = b""
while len(got) < 5000:
    base.loop(ev.LoopFlag.ONCE)
    got += client.read()
print(got == b"x" * 5000)
"""


@pytest.mark.parametrize("below", ["socket", "pair"])
def test_tls_encrypts_what_was_reserved_when_nobody_sees_it_any_more(below: str) -> None:
    assert check_child(PRELUDE + COMMITTED, below) == "True\nnot yet\nTrue\n"


DROPPED = """
one, low = ev.PairBufferEvent.new(base)
if sys.argv[1] == "filter":
    top = ev.FilterBufferEvent(low, options=ev.Option.CLOSE_ON_FREE)
else:
    top = ev.TLSBufferEvent.wrap(low, kinds.contexts()[0], server_side=True)
one.disable(WRITE)
one.write(b"x" * 5000)
with one.output.peek() as views:
    del top
    gc.collect()
    print(b"".join(views) == b"x" * 5000)
turns(1)
print(low.closed)
"""


@pytest.mark.parametrize("top", ["filter", "tls"])
def test_what_stands_on_a_pair_and_is_dropped_leaves_the_other_end_what_it_shows(top: str) -> None:
    assert check_child(PRELUDE + DROPPED, top) == "True\nTrue\n"


ELSEWHERE = """
import threading

here, there = socket.socketpair()
there.settimeout(30)
bev = ev.SocketBufferEvent(base, here, options=ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE)
bev.enable()
bev.write(b"x" * 1_000_000)
started = threading.Event()
base.call_soon(started.set)
thread = threading.Thread(target=base.loop, args=[ev.LoopFlag.NO_EXIT_ON_EMPTY])
thread.start()
started.wait()
for block in bev.output.peek(), bev.output.reserve(10), bev.input.peek():
    try:
        with block:
            print("shown")
    except RuntimeError as error:
        print("that runs its loop" in str(error))
left = 1_000_000
while left:
    left -= len(there.recv(left))
base.call_soon_threadsafe(base.loopbreak)
thread.join()
with bev.output.reserve(10), bev.input.peek():
    print("shown")
"""


def test_nobody_is_shown_what_the_thread_that_runs_the_loop_may_free() -> None:
    assert check_child(PRELUDE + ELSEWHERE) == "True\nTrue\nTrue\nshown\n"
