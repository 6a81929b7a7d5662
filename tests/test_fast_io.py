"""The fast path of plain sockets against libevent's own: the same bytes, and the same callbacks in the same order."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import sys
import termios
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pylibevent as ev
from pylibevent._libevent import lib

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
ONE_READ = 4096
"""What libevent takes at a time: what comes in must be one read for both."""
ONE_WRITE = 16384
"""The same for what goes out."""
MUCH = 32 * 1024
"""From how many bytes on messages stay in the socket until they are taken."""
OPTIONS = [ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE]

# ---------------------------------------------------------------- two of each

sizes = st.sampled_from([1, 2, 100, 1000, 4095, 4096])  # what one read of libevent's takes
marks = st.sampled_from([0, 1, 10, 5000])

TRAFFIC = st.one_of(
    st.tuples(st.just("peer sends"), sizes),
    st.tuples(st.just("peer ends"), st.none()),
    st.tuples(st.just("write"), st.sampled_from([0, 1, 100, 5000, ONE_WRITE])),
    st.tuples(st.just("write_buffer"), sizes),
    st.tuples(st.just("output"), sizes),
    st.tuples(st.just("pass on"), st.none()),
    st.tuples(st.just("read"), st.sampled_from([-1, 1, 100])),
    st.tuples(st.just("look"), st.none()),
    st.tuples(st.just("trigger"), st.sampled_from([READ, WRITE])),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("turn"), st.none()),
)
CHANGES = st.one_of(
    st.tuples(st.just("low"), marks),
    st.tuples(st.just("high"), marks),
    st.tuples(st.just("enable"), st.sampled_from([READ, WRITE, READ | WRITE])),
    st.tuples(st.just("disable"), st.sampled_from([READ, WRITE, READ | WRITE])),
    st.tuples(st.just("reader"), st.sampled_from(["all", "some", "nothing", "none", "echo", "move", "disable", "close"])),
    st.tuples(st.just("writer"), st.booleans()),
    st.tuples(st.just("watch"), st.sampled_from(["input", "output"])),
    st.tuples(st.just("single"), st.sampled_from([0, 1000])),
    st.tuples(st.just("limit"), st.sampled_from([None, ev.RateLimit(100, None, tick=1e6), ev.RateLimit(5000, 300, tick=1e6)])),
    st.tuples(st.just("join"), st.booleans()),
    st.tuples(st.just("freeze"), st.sampled_from(["input", "output"])),
    st.tuples(st.just("unfreeze"), st.sampled_from(["input", "output"])),
)
STEPS = st.tuples(
    st.lists(CHANGES, max_size=3),
    st.lists(st.one_of(TRAFFIC, TRAFFIC, CHANGES), min_size=1, max_size=14),
).map(lambda two: [*two[0], *two[1]])


class Connection:
    """A bufferevent, its peer, and a record of all that Python could see."""

    def __init__(self, base: ev.EventBase, options: ev.Option, record: list[Any]) -> None:
        self.base, self.record = base, record
        self.peer, sock = socket.socketpair()
        self.peer.setblocking(False)
        self.bev = ev.SocketBufferEvent(base, sock, options | ev.Option.CLOSE_ON_FREE)
        self.reading, self.writes = "all", False
        self.received = bytearray()
        self.sent = self.written = 0
        self.output_watched = False
        self.group = ev.RateLimitGroup(base, ev.RateLimit(6000, 6000, tick=1e6))
        self.set_callbacks()
        self.bev.enable()

    def close(self) -> None:
        self.bev.abort()
        self.group.close()
        self.peer.close()

    def set_callbacks(self) -> None:
        read = None if self.reading == "none" else self.on_read
        self.bev.set_callbacks(read, self.on_write if self.writes else None, self.on_event)

    # ------------------------------------------------------------ callbacks

    def on_read(self, bev: ev.BufferEvent) -> None:
        self.record.append("read")
        try:
            self.take(bev)
        except (OSError, BufferError) as error:
            self.record.append(type(error))

    def take(self, bev: ev.BufferEvent) -> None:
        if self.reading == "all":
            self.record.append(bev.read())
        elif self.reading == "some":
            self.record.append((bev.read(50), len(bev.input)))
        elif self.reading == "echo":
            bev.write(bev.read())
        elif self.reading == "move":
            bev.write_buffer(bev.input)
        elif self.reading == "disable":
            bev.disable(READ)
        elif self.reading == "close":
            bev.close(timeout=0)

    def on_write(self, bev: ev.BufferEvent) -> None:
        self.record.append("write")

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        self.record.append(what)

    # ------------------------------------------------------------ steps

    def step(self, name: str, argument: Any) -> None:
        if name == "peer sends":
            if not self.bev.closed and self.waiting() + argument > ONE_READ:
                self.turn()
            if not self.bev.closed and self.waiting() + argument > ONE_READ:
                return  # nobody reads
            with contextlib.suppress(OSError):
                self.peer.send(self.data(argument))
        elif name == "peer ends":
            with contextlib.suppress(OSError):
                self.peer.shutdown(socket.SHUT_WR)
        elif name == "turn":
            self.turn()
        elif name in ("write", "write_buffer", "output", "pass on"):
            size = argument or ONE_READ
            if self.written + size > ONE_WRITE or self.output_watched:
                self.turn()  # a callback of the output ends a pass, which is another one with the fast path
            if not self.bev.closed and len(self.bev.output) + size <= ONE_WRITE:
                self.written += size
                getattr(self, name.replace(" ", "_"))(argument)
            if self.output_watched:
                self.turn()
        elif not self.bev.closed:
            try:
                self.record.append(getattr(self, name.replace(" ", "_"))(argument))
            except BufferError as error:
                self.record.append(type(error))

    def waiting(self) -> int:
        """How many bytes wait in the socket."""
        return int.from_bytes(fcntl.ioctl(self.bev.fd, termios.FIONREAD, bytes(4)), sys.byteorder)

    def data(self, size: int) -> bytes:
        self.sent += 1
        return bytes([self.sent % 251]) * size

    def turn(self) -> None:
        """Until nothing happens any more."""
        quiet = 0
        while quiet < 3:
            before = self.state()
            self.base.loop(ev.LoopFlag.NONBLOCK)
            with contextlib.suppress(OSError):
                while data := self.peer.recv(1 << 20):
                    self.received += data
            quiet = quiet + 1 if before == self.state() else 0
        self.written = 0
        if not self.bev.closed:
            self.record.append((len(self.bev.input), len(self.bev.output), self.bev.enabled))
            self.record.append((self.bev.read_limit, self.bev.write_limit, self.group.read_limit, self.group.totals))
        self.record.append(bytes(self.received))
        self.received.clear()

    def state(self) -> tuple[int, ...]:
        waiting = (0, 0) if self.bev.closed else (len(self.bev.input), len(self.bev.output))
        return (len(self.record), len(self.received), *waiting)

    def write(self, size: int) -> None:
        with contextlib.suppress(OSError, BufferError):
            self.bev.write(self.data(size))

    def write_buffer(self, size: int) -> None:
        with contextlib.suppress(OSError, BufferError):
            self.bev.write_buffer(ev.Buffer(self.data(size)))

    def output(self, size: int) -> None:
        with contextlib.suppress(BufferError, BrokenPipeError):
            self.bev.output.write(self.data(size))

    def pass_on(self, _: None) -> None:
        with contextlib.suppress(OSError, BufferError):
            self.bev.write_buffer(self.bev.input)

    def read(self, size: int) -> bytes:
        return self.bev.read(size)

    def look(self, _: None) -> bytes:
        return bytes(self.bev.input)

    def low(self, mark: int) -> None:
        high = self.bev.watermark(READ).high
        self.bev.set_watermark(READ, min(mark, high) if high else mark, high)

    def high(self, mark: int) -> None:
        low = self.bev.watermark(READ).low
        self.bev.set_watermark(READ, min(low, mark) if mark else low, mark)

    def enable(self, events: ev.EventFlag) -> None:
        self.bev.enable(events)

    def disable(self, events: ev.EventFlag) -> None:
        self.turn()  # what was written before goes out with the fast path, and without it perhaps
        if not self.bev.closed:
            self.bev.disable(events)

    def reader(self, how: str) -> None:
        self.reading = how
        self.set_callbacks()

    def writer(self, on: bool) -> None:
        self.writes = on
        self.set_callbacks()

    def trigger(self, flag: ev.EventFlag) -> None:
        self.turn()  # libevent sends in the round after the next one, which is after what is triggered
        if not self.bev.closed:
            self.bev.trigger(flag)
            self.turn()

    def watch(self, which: str) -> None:
        self.turn()
        if self.bev.closed:
            return
        self.output_watched |= which == "output"
        getattr(self.bev, which).add_callback(lambda buffer, change: self.record.append((which, change.added)))

    def single(self, size: int) -> None:
        self.turn()
        if not self.bev.closed:
            self.bev.max_single_read = self.bev.max_single_write = size

    def limit(self, limit: ev.RateLimit | None) -> None:
        self.turn()  # what was written before is charged, or not
        if not self.bev.closed:
            self.bev.set_rate_limit(limit)

    def join(self, wanted: bool) -> None:
        self.turn()
        if self.bev.closed:
            return
        if wanted:
            self.group.add(self.bev)
        elif self.bev in self.group:
            self.group.remove(self.bev)

    def freeze(self, which: str) -> None:
        self.turn()
        if not self.bev.closed:
            getattr(self.bev, which).freeze(start=which == "input")

    def unfreeze(self, which: str) -> None:
        getattr(self.bev, which).unfreeze(start=which == "input")


def play(fast_io: bool, options: ev.Option, steps: list[tuple[str, Any]], much: int = MUCH) -> list[Any]:
    """All that Python could see of these steps; reads and writes that follow each other are one."""
    record: list[Any] = []
    with ev.EventBase(fast_io=fast_io) as base:
        lib.pev_loop_set_much(base._h, much)
        connection = Connection(base, options, record)
        try:
            for name, argument in steps:
                connection.step(name, argument)
            connection.turn()
        finally:
            connection.close()
    return record


def joined(record: list[Any]) -> list[Any]:
    """The order of what is told, where libevent may take several steps to tell it: one after the other becomes one."""
    out: list[Any] = []
    for entry in record:
        if isinstance(entry, tuple) and entry[0] in ("input", "output"):
            continue  # how many bytes at a time differs
        out.append(entry)
    return out


def watched(record: list[Any]) -> dict[str, int]:
    """How many bytes callbacks of buffers were told of, in all."""
    total = {"input": 0, "output": 0}
    for entry in record:
        if isinstance(entry, tuple) and entry[0] in total:
            total[entry[0]] += entry[1]
    return total


@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(options=st.sampled_from(OPTIONS), steps=STEPS, much=st.sampled_from([1, 500, MUCH]))
def test_python_can_not_tell_the_difference(options: ev.Option, steps: list[tuple[str, Any]], much: int) -> None:
    plain, fast = play(False, options, steps), play(True, options, steps, much)
    assert joined(fast) == joined(plain)
    assert watched(fast) == watched(plain)
