"""Filters over everything, calls from within filters, what they are lent, what becomes of the one below, and how they end."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import check_child, run_until

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
OK, NEED_MORE, ERROR = ev.FilterResult.OK, ev.FilterResult.NEED_MORE, ev.FilterResult.ERROR
NORMAL, FLUSH, FINISHED = ev.FlushMode
EOF = ev.What.EOF | ev.What.READING
Contexts = tuple[ev.TLSContext, ev.TLSContext]

_kept: list[ev.BufferEvent] = []


@pytest.fixture(autouse=True)
def closed_with_their_base(base: ev.EventBase) -> Iterator[None]:
    """What keep() got is kept until the base closes it."""
    yield
    base.close()
    _kept.clear()


def keep(*bevs: ev.BufferEvent) -> None:
    _kept.extend(bevs)


@pytest.fixture
def contexts(certificates: Any) -> Contexts:
    return ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)


class Log:
    """What the callbacks of a bufferevent were called with."""

    def __init__(self, bev: ev.BufferEvent) -> None:
        self.data = bytearray()
        self.events: list[ev.What] = []
        bev.set_callbacks(read=lambda bev: self.data.extend(bev.read()), event=lambda bev, what: self.events.append(what))
        bev.enable()


class Add:
    """Adds a number to each byte."""

    def __init__(self, number: int) -> None:
        self.table = bytes((byte + number) % 256 for byte in range(256))

    def feed(self, source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        data = source.read(limit)
        destination.write(data.translate(self.table))
        return OK if data else NEED_MORE


def shifted(under: ev.BufferEvent, n: int = 1, **more: Any) -> ev.FilterBufferEvent:
    return ev.FilterBufferEvent(under, Add(-n), Add(n), **more)


def sockets(base: ev.EventBase, options: ev.Option = ev.Option.CLOSE_ON_FREE) -> tuple[ev.BufferEvent, ev.BufferEvent]:
    one, other = socket.socketpair()
    return ev.SocketBufferEvent(base, one, options), ev.SocketBufferEvent(base, other, options)


def secured(base: ev.EventBase, ends: tuple[ev.BufferEvent, ev.BufferEvent], contexts: Contexts) -> Any:
    return (
        ev.TLSBufferEvent.wrap(ends[0], contexts[0], server_side=True),
        ev.TLSBufferEvent.wrap(ends[1], contexts[1], server_hostname="server.test"),
    )


# ------------------------------------------------------------ over everything


STACKS = [
    "socket",
    "pair",
    "socket filter",
    "pair filter",
    "pair filter filter filter",
    "socket tls",
    "pair tls",
    "socket filter tls",
    "pair filter tls filter",
    "socket tls filter filter",
    "socket filter tls filter tls",
]


def build(base: ev.EventBase, stack: str, contexts: Contexts) -> Any:
    bottom, *layers = stack.split()
    ends: Any = sockets(base) if bottom == "socket" else ev.PairBufferEvent.new(base)
    for layer in layers:
        ends = tuple(map(shifted, ends)) if layer == "filter" else secured(base, ends, contexts)
    return tuple(shifted(end, 7) for end in ends)


@pytest.mark.parametrize("stack", STACKS)
def test_bytes_and_ends_go_through_every_stack(base: ev.EventBase, stack: str, contexts: Contexts) -> None:
    """Both ways, with marks, and closed with bytes on their way: the other end gets them all, then EOF."""
    one, other = build(base, stack, contexts)
    data = bytes(range(256)) * 1000
    there, back = Log(other), Log(one)
    other.set_watermark(READ, 0, 10_000)
    one.write(data)
    other.write(data[::-1])
    run_until(base, lambda: len(there.data) == len(back.data) == len(data))
    one.write(data)
    one.close(timeout=20)
    run_until(base, lambda: there.events and EOF in there.events)
    assert there.data == data * 2
    assert back.data == data[::-1]
    assert [what for what in there.events if what != ev.What.CONNECTED] == [EOF]
    other.close()
    base.dispatch()
    below: Any = one
    while below is not None:
        assert below.closed
        below = below.underlying


@pytest.mark.parametrize("stack", STACKS)
def test_a_failing_filter_on_top_of_every_stack(base: ev.EventBase, stack: str, contexts: Contexts) -> None:
    def broken(*_: object) -> ev.FilterResult:
        raise KeyError("why")

    one, other = build(base, stack, contexts)
    keep(one, other)
    top = ev.FilterBufferEvent(one, broken, None)
    keep(top)
    log = Log(top)
    other.enable()
    other.write(b"words")
    with pytest.raises(KeyError):
        run_until(base, lambda: log.events)
    run_until(base, lambda: ev.What.ERROR | ev.What.READING in log.events)
    assert isinstance(top.error, KeyError)
    top.close(timeout=1)
    other.abort()


def test_a_failing_filter_below_tls(base: ev.EventBase, contexts: Contexts) -> None:
    def broken(*_: object) -> ev.FilterResult:
        return ERROR

    one, other = sockets(base)
    server, client = secured(base, (ev.FilterBufferEvent(one, None, broken), other), contexts)
    keep(server, client)
    log = Log(server)
    client.enable()
    run_until(base, lambda: log.events)
    assert log.events[0] & ev.What.ERROR
    server.abort()
    client.abort()


def test_filters_over_tls_hear_of_a_stream_cut_short(base: ev.EventBase, contexts: Contexts) -> None:
    one, other = socket.socketpair()
    server, client = secured(base, (ev.SocketBufferEvent(base, one), ev.SocketBufferEvent(base, other)), contexts)
    top = shifted(server)
    keep(top, client)
    log = Log(top)
    client.enable()
    run_until(base, lambda: log.events == [ev.What.CONNECTED])
    client.underlying.flush()
    raw = socket.socket(fileno=client.underlying.fd)
    raw.shutdown(socket.SHUT_WR)
    raw.detach()
    run_until(base, lambda: len(log.events) > 1)
    assert log.events[1] & ev.What.ERROR
    assert isinstance(top.error, ev.TLSEOFError)
    top.abort()
    client.abort()


# ------------------------------------------------------------ calls from within


def within(base: ev.EventBase, attempt: Callable[[ev.FilterBufferEvent, ev.Buffer, ev.Buffer], object], way: str) -> Any:
    """What an attempt from within a filter gives or raises."""
    outcome: list[object] = []

    def try_it(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        if not outcome:
            outcome.append(None)
            try:
                outcome[0] = attempt(bev, source, destination)
            except Exception as error:
                outcome[0] = error
        source.remove_buffer(destination)
        return OK

    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, try_it, None) if way == "input" else ev.FilterBufferEvent(one, None, try_it)
    keep(bev, other)
    log = Log(other if way == "output" else bev)
    (other if way == "input" else bev).enable()
    (other if way == "input" else bev).write(b"words")
    for _ in range(4):
        base.loop(ev.LoopFlag.NONBLOCK)
    return outcome[0], bytes(log.data), bev


@pytest.mark.parametrize("way", ["input", "output"])
@pytest.mark.parametrize(
    "attempt",
    [
        lambda bev, source, destination: bev.base.close(),
        lambda bev, source, destination: bev.base.loop(),
        lambda bev, source, destination: bev.base.reinit(),
        lambda bev, source, destination: bev.underlying.close(),
        lambda bev, source, destination: bev.underlying.write(b"x"),
        lambda bev, source, destination: bev.underlying.set_callbacks(),
        lambda bev, source, destination: bev.input.peek().__enter__(),
        lambda bev, source, destination: bev.underlying.output.peek().__enter__(),
        lambda bev, source, destination: ev.FilterBufferEvent(bev.underlying),
    ],
)
def test_refused_within_a_filter(base: ev.EventBase, attempt: Any, way: str) -> None:
    outcome, data, _ = within(base, attempt, way)
    assert type(outcome) is RuntimeError
    assert data == b"words"


@pytest.mark.parametrize("way", ["input", "output"])
@pytest.mark.parametrize(
    "attempt",
    [
        lambda bev, source, destination: print(bev.flush(READ | WRITE, FLUSH)),
        lambda bev, source, destination: bev.disable(READ | WRITE) or bev.enable(),
        lambda bev, source, destination: bev.set_watermark(READ | WRITE, 0, 100),
        lambda bev, source, destination: bev.trigger(READ | WRITE),
        lambda bev, source, destination: bev.set_timeouts(1, 1),
        lambda bev, source, destination: bev.set_callbacks(*bev.callbacks),
        lambda bev, source, destination: print(gc.collect()),
        lambda bev, source, destination: repr(bev) and None,
    ],
)
def test_possible_within_a_filter(base: ev.EventBase, attempt: Any, way: str) -> None:
    outcome, data, _ = within(base, attempt, way)
    assert outcome is None
    assert data == b"words"


@pytest.mark.parametrize("how", [ev.FilterBufferEvent.close, ev.FilterBufferEvent.abort])
@pytest.mark.parametrize("way", ["input", "output"])
def test_closed_within_a_filter(base: ev.EventBase, how: Callable[[ev.BufferEvent], None], way: str) -> None:
    outcome, data, bev = within(base, lambda bev, source, destination: how(bev), way)
    assert outcome is None
    assert bev.closed
    base.dispatch()
    assert bev.underlying.closed
    assert data == (b"words" if way == "output" else b""), "what it still adds goes out; what comes in, nobody reads"


def test_the_one_above_closed_within_a_filter(base: ev.EventBase) -> None:
    def close_all(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        top.close()
        source.remove_buffer(destination)
        return OK

    one, other = ev.PairBufferEvent.new(base)
    middle = ev.FilterBufferEvent(one, close_all, None)
    top = shifted(middle)
    log = Log(other)
    top.enable()
    other.write(b"words")
    run_until(base, lambda: log.events)
    assert log.events == [EOF]
    assert one.closed
    assert middle.closed
    other.close()


def test_a_filter_answers_by_itself(base: ev.EventBase) -> None:
    """An input filter that writes, as the handshakes of protocols do."""

    def greet(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        line = source.readline()
        if line is None:
            return NEED_MORE
        bev.write(b"hello " + line)
        return OK

    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, greet, Add(0))
    keep(bev)
    log = Log(other)
    bev.enable()
    other.write(b"you\nthere\n")
    run_until(base, lambda: log.data == b"hello youhello there")


def test_writing_to_tls_from_a_filter_below_it(base: ev.EventBase, contexts: Contexts) -> None:
    """OpenSSL is never entered while it is at work."""

    def write_above(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        moved = source.remove_buffer(destination, limit)
        if server.version and len(sent) < 50:
            sent.append(b"%d," % len(sent))
            server.write(sent[-1])
            server.read()
        return OK if moved else NEED_MORE

    sent: list[bytes] = []
    one, other = sockets(base)
    server, client = secured(base, (ev.FilterBufferEvent(one, write_above, write_above), other), contexts)
    log = Log(client)
    server.enable()
    client.write(b"start")
    run_until(base, lambda: len(sent) == 50 and log.data == b"".join(sent))
    server.abort()
    client.abort()


# ------------------------------------------------------------ what a filter is lent


def test_what_is_lent_is_closed_before_and_after(base: ev.EventBase) -> None:
    seen: list[ev.Buffer] = []

    def keep_them(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        seen[:] = source, destination
        assert not source.closed
        source.remove_buffer(destination)
        return OK

    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, None, keep_them)
    keep(bev, other)
    bev.write(b"words")
    for buffer in seen:
        assert buffer.closed
        with pytest.raises(ev.ClosedError):
            len(buffer)
        with pytest.raises(ev.ClosedError), buffer.peek():
            pass
        assert "closed" in repr(buffer)
    bev.close()
    del bev
    gc.collect()
    with pytest.raises(ev.ClosedError):
        seen[0].read()


@pytest.mark.parametrize(
    ("attempt", "kind"),
    [
        (lambda source, destination: source.write(b"x"), BufferError),
        (lambda source, destination: destination.read(1), BufferError),
        (lambda source, destination: destination.prepend(b"x"), BufferError),
        (lambda source, destination: source.freeze(start=True), BufferError),
        (lambda source, destination: destination.unfreeze(start=True), BufferError),
        (lambda source, destination: source.add_callback(print), TypeError),
        (lambda source, destination: source.close(), TypeError),
        (lambda source, destination: destination.add_buffer_reference(source), TypeError),
        (lambda source, destination: source.add_buffer(source), BufferError),
    ],
)
def test_what_is_lent_keeps_its_ends(base: ev.EventBase, attempt: Any, kind: type[Exception]) -> None:
    outcome, data, _ = within(base, lambda bev, source, destination: attempt(source, destination), "output")
    assert isinstance(outcome, kind | ValueError)
    assert data == b"words"


def test_every_way_to_move_bytes(base: ev.EventBase) -> None:
    def move(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        destination.write(source.read(1))
        source.remove_buffer(destination, 1)
        destination.add_reference(source.copyout(1))
        source.drain(1)
        with source.peek(1) as views:
            destination.write(views[0])
        source.drain(1)
        source.prepend(b"e")
        assert source.search(b"f") == 1
        source.pullup()
        with destination.reserve(10) as room:
            room.views[0][:1] = b"e"
            room.commit(1)
        source.drain(1)
        destination.add_buffer(source)
        return OK

    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, None, move)
    keep(bev, other)
    log = Log(other)
    bev.write(b"abcdfgh")
    base.dispatch()
    assert log.data == b"abcdefgh"


@pytest.mark.parametrize("which", [0, 1])
def test_memory_left_shown_ends_the_stream_and_stays(base: ev.EventBase, which: int) -> None:
    shown: list[memoryview] = []

    def leave(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        destination.write(source.copyout(5))
        with (source, destination)[which].peek() as views:
            shown.extend(view[:] for view in views)
        return OK

    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, None, leave)
    keep(other)
    log = Log(bev)
    bev.write(b"words" * 1000)
    with pytest.raises(BufferError, match="left memoryviews"):
        base.dispatch()
    assert log.events == [ev.What.ERROR | ev.What.WRITING]
    expected = b"words" * 1000 if which == 0 else b"words"
    assert b"".join(shown) == expected
    bev.abort()
    other.close()
    del bev, log, other
    _kept.clear()
    base.dispatch()
    gc.collect()
    assert b"".join(shown) == expected, "its memory outlives everything"
    shown.clear()


def test_the_bytes_of_others_are_refused_while_shown(base: ev.EventBase) -> None:
    """Memory of the filter's own buffers is shown: writing waits, as the loop does."""
    one, other = ev.PairBufferEvent.new(base)
    bev = shifted(one)
    keep(bev, other)
    log = Log(other)
    bev.disable(WRITE)
    bev.write(b"words")
    with bev.output.peek() as views:
        with pytest.raises(BufferError):
            bev.write(b"x")
        with pytest.raises(BufferError):
            bev.flush(WRITE, FLUSH)
        with pytest.raises(BufferError):
            bev.enable(WRITE)
        with pytest.raises(BufferError):
            bev.close()
        del views
    bev.enable()
    base.dispatch()
    assert log.data == bytes(byte + 1 for byte in b"words")


# ------------------------------------------------------------ the one below


def test_callbacks_below_are_protected_and_given_back(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    keep(one, other)
    log = Log(one)
    callbacks = one.callbacks
    changed: list[int] = []
    one.input.add_callback(lambda buffer, change: changed.append(change.added))
    bev = shifted(one, options=ev.Option(0))
    assert one.callbacks == (None, None, None)
    with pytest.raises(RuntimeError, match="another bufferevent stands on"):
        one.set_callbacks(read=print)
    above = Log(bev)
    other.write(b"bcd")
    base.dispatch()
    assert (above.data, log.data) == (b"abc", b"")
    assert sum(changed) == 3, "callbacks of its buffers still work"
    bev.disable(READ)
    bev.close()
    assert not one.closed
    assert one.callbacks == callbacks
    assert one.enabled == READ | WRITE
    other.write(b"bcd")
    base.dispatch()
    assert (above.data, log.data) == (b"abc", b"bcd")
    other.close()
    base.dispatch()
    assert log.events == [EOF]
    one.close()


def test_what_came_unheard_is_told_when_given_back(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(one)
    bev = shifted(one, options=ev.Option(0))
    other.write(b"words")
    other.close()
    base.dispatch()
    assert not log.data
    bev.close()
    base.dispatch()
    assert log.data == b"words"
    assert log.events == [EOF]
    one.close()


def test_one_that_did_not_read_does_not_read_after(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    keep(one, other)
    bev = shifted(one, options=ev.Option(0))
    bev.enable()
    bev.close()
    assert one.enabled == WRITE
    other.write(b"words")
    base.dispatch()
    assert not one.input


def test_reading_below_stops_while_it_is_not_wanted(base: ev.EventBase) -> None:
    one, other = sockets(base)
    bev = shifted(one)
    keep(bev, other)
    other.write(b"words")
    for _ in range(3):
        base.loop(ev.LoopFlag.NONBLOCK)
    assert not one.input
    bev.enable()
    run_until(base, lambda: bev.input)


def test_stacks_of_one_below_two_are_refused(base: ev.EventBase) -> None:
    one, _other = ev.PairBufferEvent.new(base)
    bev = shifted(one)
    keep(bev, _other)
    with pytest.raises(RuntimeError, match="another bufferevent stands on"):
        shifted(one)
    with pytest.raises(RuntimeError, match="another bufferevent stands on"):
        one.close()


# ------------------------------------------------------------ on_close


def count_closes(base: ev.EventBase, **more: Any) -> tuple[ev.FilterBufferEvent, ev.PairBufferEvent, list[int]]:
    closes: list[int] = []
    one, other = ev.PairBufferEvent.new(base)
    return shifted(one, on_close=lambda: closes.append(1), **more), other, closes


@pytest.mark.parametrize("how", ["close", "abort", "with", "twice", "lingering", "base", "collected", "above", "options"])
def test_on_close_runs_once(base: ev.EventBase, how: str) -> None:
    bev, other, closes = count_closes(base, **({"options": ev.Option(0)} if how == "options" else {}))
    keep(other)
    if how == "close":
        bev.close()
    elif how == "abort":
        bev.abort()
    elif how == "with":
        with bev:
            pass
    elif how == "twice":
        bev.close()
        bev.close()
        bev.abort()
    elif how == "lingering":
        bev.underlying.set_watermark(WRITE, 0, 1)
        bev.write(b"words")
        bev.close()
        assert closes == []
        other.enable()
        base.dispatch()
    elif how == "base":
        base.close()
    elif how == "collected":
        one = bev.underlying
        with pytest.warns(ResourceWarning, match="unclosed <FilterBufferEvent"):
            del bev
        assert one.closed
        bev = None  # type: ignore[assignment]
    elif how == "above":
        shifted(bev).close()
        base.dispatch()
    elif how == "options":
        one = bev.underlying
        bev.close()
        one.close()
    assert closes == [1]
    del bev
    gc.collect()
    base.close()
    assert closes == [1]


def test_on_close_that_raises(base: ev.EventBase) -> None:
    def raises() -> None:
        raise KeyError("why")

    one, other = ev.PairBufferEvent.new(base)
    bev = shifted(one, on_close=raises)
    with pytest.raises(KeyError):
        bev.close()
    assert bev.closed
    assert one.closed
    bev.close()
    bevs = [shifted(end, on_close=raises) for end in ev.PairBufferEvent.new(base)]
    with pytest.raises(ExceptionGroup, match="closing a base") as caught:
        base.close()
    assert len(caught.value.exceptions) == 2
    assert base.closed
    assert all(bev.closed for bev in bevs)
    base.close()
    other.close()


# ------------------------------------------------------------ arguments


def test_bad_arguments(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    keep(one, other)
    for value in (None, base, 3, ev.PairBufferEvent):
        with pytest.raises(TypeError, match="underlying must be a BufferEvent"):
            ev.FilterBufferEvent(value)  # type: ignore[arg-type]
    for value in (3, b"x", object()):
        with pytest.raises(TypeError, match="input_filter must be callable, have feed"):
            ev.FilterBufferEvent(one, value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="output_filter must be callable, have feed"):
            ev.FilterBufferEvent(one, None, value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_close must be callable"):
        ev.FilterBufferEvent(one, on_close=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="UNLOCK_CALLBACKS"):
        ev.FilterBufferEvent(one, options=ev.Option.UNLOCK_CALLBACKS)
    with pytest.raises(ValueError, match="THREADSAFE"):
        ev.FilterBufferEvent(one, options=ev.Option.THREADSAFE)
    bev = ev.FilterBufferEvent(one, Add(1), Add(2))
    assert isinstance(bev.input_filter, Add)
    assert isinstance(bev.output_filter, Add)
    assert bev.options == ev.Option.CLOSE_ON_FREE
    with pytest.raises(TypeError, match="can't have a priority"):
        bev.priority = 0
    bev.close()
    with pytest.raises(ev.ClosedError):
        ev.FilterBufferEvent(bev)
    with pytest.raises(ev.ClosedError):
        ev.FilterBufferEvent(one)


def test_sizes_of_one_read_belong_to_the_socket_below(base: ev.EventBase) -> None:
    """Set on the filter they have no effect; set on the socket they hold for what it sends."""
    one, other = sockets(base)
    bev = shifted(one)
    keep(bev, other)
    bev.max_single_write = bev.max_single_read = 3
    assert (bev.max_single_write, bev.max_single_read) == (3, 3)
    one.max_single_write = 10
    lengths: list[int] = []
    other.set_callbacks(read=lambda bev: lengths.append(len(bev.read())))
    other.enable()
    bev.write(b"x" * 50)
    run_until(base, lambda: sum(lengths) == 50)
    assert len(one.output) == 0


# ------------------------------------------------------------ threads


def test_filters_of_one_with_a_lock_run_in_the_loop_s_thread(base: ev.EventBase) -> None:
    options = ev.Option.THREADSAFE | ev.Option.CLOSE_ON_FREE
    threads: set[int] = set()

    class Spy(Add):
        def feed(self, *arguments: Any) -> ev.FilterResult:
            threads.add(threading.get_ident())
            return super().feed(*arguments)

    one, other = ev.PairBufferEvent.new(base, options)
    first, second = ev.FilterBufferEvent(one, None, Spy(1)), ev.FilterBufferEvent(other, Spy(-1), None)
    assert first.options == options
    got: list[int] = []
    second.set_callbacks(read=lambda bev: got.append(len(bev.read())))
    second.enable()
    workers = [threading.Thread(target=lambda: [first.write(b"x" * 100) for _ in range(500)]) for _ in range(4)]
    for worker in workers:
        worker.start()
    run_until(base, lambda: sum(got) == 4 * 500 * 100)
    for worker in workers:
        worker.join()
    assert threads == {threading.get_ident()}
    first.close()
    second.close()
    base.dispatch()


def test_crowds_that_are_dropped_at_exit() -> None:
    code = """
import pylibevent as ev
base = ev.EventBase()
def answer(source, destination, limit, mode):
    source.remove_buffer(destination)
    return ev.FilterResult.OK
keep = []
for i in range(20):
    one, other = ev.PairBufferEvent.new(base)
    first, second = ev.FilterBufferEvent(one, answer, answer), ev.FilterBufferEvent(other, answer, answer)
    second.set_callbacks(print)
    second.enable()
    first.write(b"words")
    if i % 2:
        first.close()
    keep.append((first, second))
base.loop(ev.LoopFlag.NONBLOCK)
"""
    assert check_child(code).count("FilterBufferEvent") == 20


DEEP = """
import pylibevent as ev

with ev.EventBase() as base:
    bottom, peer = ev.PairBufferEvent.new(base)
    stack = [bottom]
    try:
        while True:
            stack.append(ev.FilterBufferEvent(stack[-1]))
    except RuntimeError as error:
        assert "at most 100" in str(error), error
    assert len(stack) == 100
    came = {stack[-1]: b"", peer: b""}
    def read(bev):
        came[bev] += bev.read()
    for end in came:
        end.set_callbacks(read=read)
        end.enable()
    stack[-1].write(b"down")
    peer.write(b"up")
    for _ in range(200):  # a pass for each, on the way down
        base.loop(ev.LoopFlag.NONBLOCK)
    assert came == {peer: b"down", stack[-1]: b"up"}, came
    assert repr(stack[-1]) and stack[-1].fd == -1
    HOW
    del stack, came, bottom
    peer.close()
print("done")
"""


@pytest.mark.parametrize("how", ["stack[-1].close()", "stack[-1].abort()", "pass", "base.close()"])
def test_a_hundred_on_each_other_and_no_more(how: str) -> None:
    assert check_child(DEEP.replace("HOW", how)) == "done\n"
