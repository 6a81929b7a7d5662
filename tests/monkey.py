"""Random operations on a population of everything there is, also inside of callbacks, in any order.

``python monkey.py SEED SECONDS`` ends with 0 and prints what is left over, as a literal.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import random
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import kinds
from support import left_over

import pylibevent as ev

MOST = 150
"""Objects alive at a time."""


class Planned(Exception):
    """What callbacks raise now and then."""


EXPECTED = (ev.Error, OSError, BufferError, RuntimeError, ValueError, TypeError, Planned)


def is_expected(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_expected, error.exceptions))
    return isinstance(error, EXPECTED)


class Monkey:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.live: list[Any] = []
        self.server, self.client = kinds.contexts()
        self.calls = 0
        self.over = False
        names = [name for name in dir(self) if name.startswith(("make_", "use_", "do_"))]
        self.anywhere: list[Callable[[], object]] = [getattr(self, name) for name in names]
        self.outside = self.anywhere + [self.do_run] * len(names) + [self.do_drop] * 2

    def some(self, kind: type) -> Any:
        """One of that class; None if there is none."""
        found = [thing for thing in self.live if isinstance(thing, kind)]
        return self.chance.choice(found) if found else None

    def one_of(self, *calls: Callable[[], object]) -> None:
        self.chance.choice(calls)()

    def keep(self, thing: Any) -> Any:
        self.live.append(thing)
        return thing

    def likely(self, percent: int) -> bool:
        return self.chance.randrange(100) < percent

    def base(self) -> ev.EventBase:
        return self.some(ev.EventBase) or self.make_base()

    def bytes(self) -> bytes:
        return b"monkey" * self.chance.choice([0, 1, 10, 1000, 50_000])

    # ------------------------------------------------------------ what is called back

    def called(self, *arguments: Any) -> None:
        self.calls += 1
        if self.over:
            return
        thing = arguments[0] if arguments else None
        for _ in range(self.chance.choice([0, 0, 1, 1, 2])):
            self.step(self.anywhere)
        if len(arguments) == 3 and isinstance(arguments[1], socket.socket):
            self.accept(thing, arguments[1])
        elif isinstance(thing, ev.BufferEvent) and self.likely(70):
            try:
                data = thing.read()
                if self.likely(50):
                    thing.write(data)
                elif self.likely(20):
                    thing.close()
            except EXPECTED:
                pass
        if self.likely(2):
            raise Planned

    def accept(self, listener: ev.Listener, sock: socket.socket) -> None:
        try:
            if self.likely(60):
                bev: ev.BufferEvent = ev.TLSBufferEvent.accept(listener.base, sock, self.server)
            else:
                bev = ev.SocketBufferEvent(listener.base, sock)
        except EXPECTED:
            sock.close()
            return
        self.listen(self.keep(bev))

    def listen(self, bev: ev.BufferEvent) -> None:
        bev.set_callbacks(*(self.chance.choice([self.called, self.called, None]) for _ in range(3)))
        bev.enable()
        if self.likely(20):
            bev.set_timeouts(0.01, 0.01)
        if self.likely(20):
            bev.set_watermark(ev.EventFlag.READ, self.chance.choice([0, 10]), self.chance.choice([0, 100, 10_000]))

    # ------------------------------------------------------------ making

    def make_base(self) -> ev.EventBase:
        return self.keep(ev.EventBase(priorities=self.chance.choice([1, 1, 3])))

    def make_timer(self) -> None:
        self.keep(self.base().timer(self.chance.choice([0, 0.001, 60]), self.called))
        self.keep(self.base().timer(0.001, self.called, persist=True))

    def make_signal(self) -> None:
        self.keep(self.base().signal(signal.SIGUSR1, self.called))
        if self.likely(10):
            os.kill(os.getpid(), signal.SIGUSR1)

    def make_event(self) -> None:
        one, other = socket.socketpair()
        with other:
            what = self.chance.choice([ev.EventFlag.READ, ev.EventFlag.WRITE, ev.EventFlag.CLOSED, ev.EventFlag(0)])
            persist = self.chance.choice([ev.EventFlag.PERSIST, ev.EventFlag(0)])
            event = self.keep(self.base().event(one, what | persist, self.called))
            event.add(self.chance.choice([None, 0.001]))

    def filter(self, source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        """What filters do; and what callbacks do, too, while C waits."""
        self.calls += 1
        for _ in range(self.chance.choice([0, 0, 0, 1])):
            if not self.over:
                self.step(self.anywhere)
        if self.likely(2) and not self.over:
            raise Planned
        source.remove_buffer(destination, self.chance.choice([limit, 1, None, 5000]))
        return self.chance.choice([ev.FilterResult.OK] * 40 + [ev.FilterResult.NEED_MORE] * 5 + [ev.FilterResult.ERROR])

    def closed(self) -> None:
        """A collected filter has nobody to raise to."""
        if not self.over:
            self.step(self.anywhere)

    def make_pair(self) -> None:
        extra = self.chance.choice([ev.Option(0), ev.Option.DEFER_CALLBACKS, ev.Option.THREADSAFE])
        ends: list[ev.BufferEvent]
        if self.likely(30):
            ends = [*ev.PairBufferEvent.new(self.base(), extra)]
        else:
            one, other = socket.socketpair()
            with one, other:
                ends = [ev.SocketBufferEvent(self.base(), sock, ev.Option.CLOSE_ON_FREE | extra) for sock in (one, other)]
        while self.likely(40):
            if self.likely(50):
                self.live += ends
            options = self.chance.choice([ev.Option(0), ev.Option.CLOSE_ON_FREE])
            ends = [
                ev.FilterBufferEvent(
                    end,
                    self.chance.choice([None, self.filter]),
                    self.chance.choice([None, self.filter]),
                    options,
                    self.chance.choice([None, self.closed]),
                )
                for end in ends
            ]
        if self.likely(50):
            if self.likely(50):
                self.live += ends
            ends = [
                ev.TLSBufferEvent.wrap(ends[0], self.server, server_side=True),
                ev.TLSBufferEvent.wrap(ends[1], self.client, server_hostname="server.test"),
            ]
        self.live += ends
        for end in ends:
            self.listen(end)

    def make_listener(self) -> None:
        self.keep(ev.Listener.bind(self.base(), ("127.0.0.1", 0), self.called, error=self.called))

    def make_connection(self) -> None:
        listener = self.some(ev.Listener)
        if listener is None:
            return
        if self.likely(50):
            bev: Any = ev.TLSBufferEvent.connect(self.base(), listener.address, self.client, "server.test")
        else:
            bev = ev.SocketBufferEvent(self.base())
            if self.likely(30):
                bev.connect_hostname(self.chance.choice(["127.0.0.1", "localhost", "name.invalid"]), listener.address[1])
            else:
                bev.connect(listener.address)
        self.listen(self.keep(bev))
        bev.write(self.bytes())

    def make_buffer(self) -> None:
        buffer = self.keep(ev.Buffer(self.bytes()))
        if self.likely(30):
            buffer.add_callback(self.called)
        if self.likely(30):
            buffer.add_reference(bytearray(1000), self.chance.choice([None, self.called]))
        if self.likely(10):
            buffer.add_file(__file__)

    def make_question(self) -> None:
        dns = self.some(ev.DNSBase)
        if dns is None or self.likely(20):
            dns = self.keep(ev.DNSBase(self.base(), system=False))
            dns.add_nameserver(("127.0.0.1", 9))
        self.keep(dns.getaddrinfo(self.chance.choice(["127.0.0.1", "name.invalid"]), 80, self.called))

    # ------------------------------------------------------------ using

    def use_buffer(self) -> None:
        bev, other = self.some(ev.BufferEvent), self.some(ev.Buffer)
        one: ev.Buffer = self.chance.choice([bev.input, bev.output]) if bev is not None and self.likely(40) else other
        if other is None:
            return
        if self.likely(20):
            self.keep(one)
        self.one_of(
            lambda: one.write(self.bytes()),
            lambda: one.read(self.chance.choice([-1, 5, 1000])),
            lambda: one.add_buffer(other),
            lambda: other.remove_buffer(one, self.chance.choice([-1, 10])),
            lambda: one.prepend_buffer(other),
            lambda: one.add_buffer_reference(other),
            lambda: one.pullup(self.chance.choice([-1, 100])),
            lambda: one.readline(),
            lambda: one.drain(self.chance.choice([-1, 100])),
            lambda: one.prepend(self.bytes()),
            lambda: one.copyout(10),
            lambda: one.search(b"keymon"),
            lambda: one.expand(5000),
            lambda: one.add_callback(self.called),
            lambda: one.freeze(start=True),
            lambda: one.unfreeze(start=True),
            lambda: one.defer_callbacks(self.some(ev.EventBase)),
            lambda: self.peek(one),
            lambda: self.reserve(one),
        )

    def peek(self, buffer: ev.Buffer) -> None:
        with buffer.peek() as views:
            if self.likely(50):
                self.step(self.anywhere)
            if self.likely(30):
                self.keep(tuple(view[:5] for view in views))
            assert all(bytes(view[:1]) is not None for view in views)

    def reserve(self, buffer: ev.Buffer) -> None:
        with buffer.reserve(1000) as space:
            if self.likely(50):
                self.step(self.anywhere)
            space.views[0][:10] = b"0123456789"
            space.commit(self.chance.choice([0, 10]))

    def use_bufferevent(self) -> None:
        bev: ev.BufferEvent | None = self.some(ev.BufferEvent)
        if bev is None:
            return
        self.one_of(
            lambda: bev.write(self.bytes()),
            bev.read,
            bev.enable,
            bev.disable,
            lambda: bev.trigger(ev.EventFlag.READ, ignore_watermarks=True),
            lambda: bev.trigger_event(ev.What.TIMEOUT | ev.What.READING),
            lambda: bev.flush(mode=self.chance.choice(list(ev.FlushMode))),
            lambda: bev.set_watermark(ev.EventFlag.WRITE, 0, self.chance.choice([0, 10, 1000])),
            lambda: bev.set_timeouts(0.001, None),
            lambda: bev.set_callbacks(self.called),
            lambda: bev.set_watermark(ev.EventFlag.READ, 0, 10),
            lambda: bev.close(timeout=self.chance.choice([0, 0.001, 5])),
            bev.abort,
            lambda: repr(bev),
            lambda: self.keep((bev.input, bev.output)),
        )

    def use_descriptor(self) -> None:
        bev = self.some(ev.SocketBufferEvent)
        if bev is not None:
            if self.likely(50):
                bev.set_fd(-1)
            elif (fd := bev.detach()) >= 0:
                os.close(fd)

    def use_event(self) -> None:
        event = self.some(ev.Event)
        if event is not None:
            self.one_of(event.add, lambda: event.add(0.001), event.delete, event.active, event.close, event.remove_timer)

    def use_listener(self) -> None:
        listener = self.some(ev.Listener)
        if listener is not None:
            self.one_of(
                listener.enable,
                listener.disable,
                lambda: listener.set_callback(None),
                lambda: listener.set_callback(self.called),
                listener.close,
            )

    def use_question(self) -> None:
        question = self.some(ev.DNSRequest)
        if question is not None:
            self.one_of(question.cancel, lambda: question.addresses, lambda: repr(question))

    def use_base(self) -> None:
        base = self.base()
        self.one_of(
            base.loopbreak,
            base.loopexit,
            base.loopcontinue,
            base.events,
            base.dump,
            lambda: base.call_soon(self.called, base),
            lambda: base.call_soon_threadsafe(self.called, base),
            lambda: setattr(base, "on_exception", self.chance.choice([None, lambda error: None])),
        )

    # ------------------------------------------------------------ the rest of life

    def do_run(self) -> None:
        self.base().loop(ev.LoopFlag.NONBLOCK)

    def do_close(self) -> None:
        thing = self.some(object)
        if hasattr(thing, "close") and (not isinstance(thing, ev.EventBase) or self.likely(30)):
            thing.close()

    def do_drop(self) -> None:
        for _ in range(self.chance.choice([1, 1, 3])):
            if self.live:
                self.live.pop(self.chance.randrange(len(self.live)))

    def do_collect(self) -> None:
        if self.likely(10):
            gc.collect()

    def step(self, operations: list[Callable[[], object]]) -> None:
        try:
            self.chance.choice(operations)()
        except Exception as error:
            if not is_expected(error):
                raise
        while len(self.live) > MOST:
            self.live.pop(self.chance.randrange(len(self.live)))

    def live_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step(self.outside)
        self.over = True
        self.chance.shuffle(self.live)
        while self.live:
            self.live.pop()


def lost(unraisable: Any) -> None:
    """What callbacks raised for a base that is collected before its loop could raise it."""
    if not is_expected(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def another_loop() -> None:
    """What C has let go of is told."""
    with ev.EventBase() as base:
        base.loop(ev.LoopFlag.NONBLOCK)


def main(seed: int, seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds + 30, exit=True)
    warnings.simplefilter("ignore", ResourceWarning)
    signal.signal(signal.SIGUSR1, lambda number, frame: None)  # for when no event watches it
    sys.unraisablehook = lost
    before = left_over()
    monkey = Monkey(seed)
    monkey.live_for(seconds)
    assert monkey.calls > 100, monkey.calls
    del monkey
    gc.collect()
    another_loop()
    print({name: n - before[name] for name, n in left_over().items()})


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
