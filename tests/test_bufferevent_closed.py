"""Every member of every kind of bufferevent when it is closed, in a callback and between passes: nothing crashes."""

from __future__ import annotations

import pytest
from support import check_child

CODE = """
import socket, sys
import kinds
import pylibevent as ev

kind, way, place = sys.argv[1:]
base = ev.EventBase()
server, client = kinds.contexts()
READ = ev.EventFlag.READ
pairs = lambda: ev.PairBufferEvent.new(base)
sockets = lambda: kinds.bev_pair(base)
filtered = lambda ends, *filters: [ev.FilterBufferEvent(end, *filters) for end in ends]

def secured(ends, **options):
    return [ev.TLSBufferEvent.wrap(ends[0], client, server_hostname="server.test", **options),
            ev.TLSBufferEvent.wrap(ends[1], server, server_side=True, **options)]

bev, peer = {
    "socket": sockets,
    "threadsafe": lambda: [ev.SocketBufferEvent(base, sock, ev.Option.CLOSE_ON_FREE | ev.Option.THREADSAFE)
                           for sock in socket.socketpair()],
    "pair": pairs,
    "filter": lambda: filtered(sockets(), kinds.passes, kinds.passes),
    "null filter": lambda: filtered(pairs()),
    "tls": lambda: secured(sockets()),
    "direct": lambda: secured(sockets(), direct=True),
    "tls on a pair": lambda: secured(pairs()),
    "tls on a filter": lambda: secured(filtered(sockets(), kinds.passes, kinds.passes)),
    "tls in tls": lambda: secured(secured(sockets())),
    "filter on tls": lambda: filtered(secured(sockets()), kinds.passes, kinds.passes),
}[kind]()

ARGUMENTS = {
    "connect": (("127.0.0.1", 9),), "connect_hostname": ("127.0.0.1", 9), "decrement_read_limit": (1,),
    "decrement_write_limit": (1,), "export_keying_material": ("label", 10), "read_buffer": (ev.Buffer(),),
    "read_into": (bytearray(10),), "relay": (peer,), "set_fd": (-1,), "set_rate_limit": (ev.RateLimit(1000, 1000),),
    "set_timeouts": (1, 1), "set_watermark": (READ, 1, 10), "start_tls": (client,), "trigger": (READ,),
    "trigger_event": (ev.What.EOF,), "watermark": (READ,), "write_buffer": (ev.Buffer(b"kept"),),
}
ELSEWHERE = {"accept", "new", "wrap"}
MOVERS = [lambda: bev.write(b"x"), lambda: bev.write(b""), lambda: bev.write(b"x" * 1_000_000), bev.read, lambda: bev.read(1),
          lambda: bev.write(bytearray(b"x")), lambda: bev.write_buffer(peer.input), lambda: peer.write_buffer(bev.input),
          bev.enable, bev.disable, lambda: len(bev.input), lambda: bev.output.write(b"x")]

def use(name):
    value = getattr(bev, name)
    if callable(value):
        value(*ARGUMENTS.get(name, (b"x",) if name == "write" else ()))

def answer(call, *arguments):
    try:
        call(*arguments)
    except (ev.Error, OSError, TypeError, ValueError) as error:
        return type(error).__name__
    return "nothing"

def close():
    if way == "base":
        base.close()
    elif way == "abort":
        bev.abort()
    elif way == "sending":
        peer.disable(ev.EventFlag.READ | ev.EventFlag.WRITE)
        bev.write(b"x" * 3_000_000)
        bev.close(timeout=60)
    else:
        bev.close()

def look():
    names = [name for name in dir(type(bev)) if not name.startswith("_") and name not in ELSEWHERE | {"close", "abort"}]
    print([answer(move) for move in MOVERS])
    print({name: answer(use, name) for name in names})
    print(bev.closed, bev)
    print([answer(move) for move in [*MOVERS, bev.close, bev.abort]])
    print(bev.closed, bev)

got = []
peer.set_callbacks(read=got.append)
peer.enable()
bev.enable()
bev.write(b"before")
while not got:
    base.loop(ev.LoopFlag.ONCE)
if way != "base" and place == "closed in a callback":
    base.call_soon(close)
    base.loop(ev.LoopFlag.NONBLOCK)
else:
    close()
if place == "used in a callback" and way != "base":
    base.call_soon(look)
    base.loop(ev.LoopFlag.NONBLOCK)
elif place == "in one":
    other = ev.EventBase()
    other.call_soon(look)
    other.loop(ev.LoopFlag.NONBLOCK)
    other.close()
else:
    look()
peer.abort()
"""

KINDS = [
    "socket",
    "threadsafe",
    "pair",
    "filter",
    "null filter",
    "tls",
    "direct",
    "tls on a pair",
    "tls on a filter",
    "tls in tls",
    "filter on tls",
]
PLACES = ["between passes", "used in a callback", "closed in a callback", "in one"]


@pytest.mark.parametrize("way", ["close", "abort", "sending", "base"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_closed_answers_alike_everywhere(kind: str, way: str) -> None:
    answers = [check_child(CODE, kind, way, place) for place in PLACES]
    assert answers[0].splitlines()[0].count("ClosedError") >= 10
    assert len(set(answers)) == 1, answers
