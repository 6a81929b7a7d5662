"""What filters may do and what comes of it: progress, limits, modes, errors, calls from within, the one below, the end."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import run_until

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
OK, NEED_MORE, ERROR = ev.FilterResult.OK, ev.FilterResult.NEED_MORE, ev.FilterResult.ERROR
NORMAL, FLUSH, FINISHED = ev.FlushMode
EOF = ev.What.EOF | ev.What.READING
FilterFunction = Callable[[ev.Buffer, ev.Buffer, "int | None", ev.FlushMode], ev.FilterResult]


_kept: list[ev.BufferEvent] = []


@pytest.fixture(autouse=True)
def closed_with_their_base(base: ev.EventBase) -> Iterator[None]:
    """What make() made is kept until the base closes it."""
    yield
    base.close()
    _kept.clear()


class Log:
    """What the callbacks of a bufferevent were called with."""

    def __init__(self, bev: ev.BufferEvent, *, enable: bool = True) -> None:
        self.data = bytearray()
        self.events: list[ev.What] = []
        bev.set_callbacks(read=lambda bev: self.data.extend(bev.read()), event=lambda bev, what: self.events.append(what))
        if enable:
            bev.enable()


def make(
    base: ev.EventBase, input_filter: Any = None, output_filter: Any = None, **more: Any
) -> tuple[ev.FilterBufferEvent, ev.PairBufferEvent]:
    """A filter over one end of a pair, and the other end."""
    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, input_filter, output_filter, **more)
    _kept.extend((bev, other))
    return bev, other


def upper(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    data = source.read(limit)
    destination.write(data.upper())
    return OK if data else NEED_MORE


def through(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
    return OK if source.remove_buffer(destination, limit) else NEED_MORE


class Lines:
    """Only whole lines pass; what is left at the end passes as it is."""

    def __init__(self) -> None:
        self.modes: list[ev.FlushMode] = []

    def feed(self, source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        self.modes.append(mode)
        line = source.readline(ev.EOLStyle.LF)
        if line is not None:
            destination.write(line + b"\n")
            return OK
        if mode == FINISHED:
            source.remove_buffer(destination)
        return NEED_MORE


# ------------------------------------------------------------ progress


@pytest.mark.parametrize("way", ["input", "output"])
def test_ok_without_progress_does_not_hang(base: ev.EventBase, way: str) -> None:
    calls: list[int] = []

    def lazy(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        calls.append(len(source))
        return OK

    bev, other = make(base, lazy, None) if way == "input" else make(base, None, lazy)
    bev.enable()
    other.enable()
    (other if way == "input" else bev).write(b"words")
    assert base.dispatch() is True
    assert calls == [5]
    (other if way == "input" else bev).write(b"more")
    assert base.dispatch() is True
    assert calls == [5, 9]


@pytest.mark.parametrize("way", ["input", "output"])
def test_one_that_gives_without_taking_leaves_others_their_turn(base: ev.EventBase, way: str) -> None:
    turns: list[int] = []
    calls: list[int] = []

    def endless(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        calls.append(1)
        destination.write(b"x")
        return OK

    bev, other = make(base, endless, None) if way == "input" else make(base, None, endless)
    bev.enable()
    other.enable()
    base.timer(0.001, lambda event, what: turns.append(1) or (len(turns) == 5 and base.loopexit()), persist=True)
    (other if way == "input" else bev).write(b"words")
    base.dispatch()
    assert len(turns) == 5
    assert calls
    bev.abort()


def test_one_that_writes_to_itself_for_ever_leaves_others_their_turn(base: ev.EventBase) -> None:
    turns: list[int] = []

    def echo(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        destination.write(source.read())
        bev.write(b"x" * 1000)
        return OK

    bev, _other = make(base, None, echo)
    base.timer(0.001, lambda event, what: turns.append(1) or (len(turns) == 5 and base.loopexit()), persist=True)
    bev.write(b"words")
    base.dispatch()
    assert len(turns) == 5
    bev.abort()


def test_what_comes_with_need_more_is_announced(base: ev.EventBase) -> None:
    def give_and_want(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        destination.write(source.read(3))
        return NEED_MORE

    bev, other = make(base, give_and_want)
    log = Log(bev)
    other.write(b"words")
    run_until(base, lambda: log.data)
    assert log.data == b"wor"


def test_what_waits_below_is_filtered_at_once(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    one.enable()
    other.write(b"words")
    assert len(one.input) == 5
    bev = ev.FilterBufferEvent(one, upper)
    log = Log(bev)
    assert base.dispatch() is True
    assert log.data == b"WORDS"
    assert not one.input


def test_what_came_while_reading_was_disabled_is_filtered_when_enabled(base: ev.EventBase) -> None:
    bev, other = make(base, upper)
    log = Log(bev, enable=False)
    bev.enable()
    other.write(b"words")
    bev.disable(READ)
    base.dispatch()
    bev.enable(READ)
    base.dispatch()
    assert log.data == b"WORDS"


def test_what_was_written_while_writing_was_disabled_goes_out_when_enabled(base: ev.EventBase) -> None:
    bev, other = make(base, None, upper)
    log = Log(other)
    bev.disable(WRITE)
    bev.write(b"words")
    base.dispatch()
    assert not log.data
    bev.enable(WRITE)
    base.dispatch()
    assert log.data == b"WORDS"


# ------------------------------------------------------------ limits


def test_no_limit_without_a_mark(base: ev.EventBase) -> None:
    limits: list[int | None] = []

    def note(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        limits.append(limit)
        return through(source, destination, limit, mode)

    bev, other = make(base, note, note)
    bev.enable()
    other.enable()
    bev.write(b"words")
    other.write(b"words")
    base.dispatch()
    assert limits == [None, None]


@pytest.mark.parametrize("filtered", [None, through], ids=["None", "Python"])
def test_the_mark_of_the_input_holds(base: ev.EventBase, filtered: FilterFunction | None) -> None:
    """The rest waits below, and in the partner; every byte that is taken lets another one in."""
    bev, other = make(base, filtered)
    bev.underlying.set_watermark(READ, 0, 50)
    bev.set_watermark(READ, 0, 10)
    bev.enable()
    data = bytes(range(200))
    other.write(data)
    got = bytearray()
    for _ in range(400):
        base.loop(ev.LoopFlag.NONBLOCK)
        assert len(bev.input) <= 10
        assert len(bev.underlying.input) <= 50
        got += bev.read(1)
    assert got == data


@pytest.mark.parametrize("filtered", [None, through], ids=["None", "Python"])
def test_the_mark_of_the_output_below_holds(base: ev.EventBase, filtered: FilterFunction | None) -> None:
    bev, other = make(base, None, filtered)
    bev.underlying.set_watermark(WRITE, 0, 10)
    data = bytes(range(200))
    bev.write(data)
    base.dispatch()
    assert len(bev.underlying.output) == 10
    assert len(bev.output) == 190
    log = Log(other)
    base.dispatch()
    assert log.data == data


def test_one_that_keeps_what_is_beyond_the_limit_is_asked_again(base: ev.EventBase) -> None:
    """As decompressors do: the source is empty, and there is more to come."""
    kept = bytearray()

    def inflate(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        for byte in source.read():
            kept.extend(bytes([byte]) * 10)
        assert limit is not None
        part = kept[:limit]
        destination.write(part)
        del kept[: len(part)]
        return OK if part else NEED_MORE

    bev, other = make(base, inflate)
    got = bytearray()

    def on_read(bev: ev.BufferEvent) -> None:
        assert len(bev.input) <= 7
        got.extend(bev.read(5))

    events: list[ev.What] = []
    bev.set_watermark(READ, 0, 7)
    bev.set_callbacks(on_read, event=lambda bev, what: events.append(what))
    bev.enable()
    other.write(b"abcdefgh")
    base.dispatch()
    got += bev.read()
    assert got == b"".join(bytes([byte]) * 10 for byte in b"abcdefgh")
    bev.abort()


def test_one_that_keeps_back_on_the_way_out_is_asked_again(base: ev.EventBase) -> None:
    kept = bytearray()

    def inflate(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        kept.extend(source.read() * 10)
        part = kept[: len(kept) if limit is None else limit]
        destination.write(part)
        del kept[: len(part)]
        return OK if part else NEED_MORE

    bev, other = make(base, None, inflate)
    bev.underlying.set_watermark(WRITE, 0, 7)
    log = Log(other)
    other.set_watermark(READ, 0, 3)
    bev.write(b"abcdefgh")
    run_until(base, lambda: len(log.data) == 80)
    assert log.data == b"abcdefgh" * 10


def test_a_mark_below_that_is_too_low_is_raised(base: ev.EventBase) -> None:
    """A filter that needs more at once than the one below may hold would wait for ever, and libevent spin."""
    lines = Lines()
    bev, other = make(base, lines)
    bev.underlying.set_watermark(READ, 0, 4)
    log = Log(bev)
    other.write(b"a line of more than four bytes\n")
    base.dispatch()
    assert log.data == b"a line of more than four bytes\n"
    assert len(lines.modes) < 20


def test_a_full_reader_does_not_spin(base: ev.EventBase) -> None:
    calls: list[int] = []

    def count(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        calls.append(1)
        return through(source, destination, limit, mode)

    bev, other = make(base, count)
    bev.underlying.set_watermark(READ, 0, 10)
    bev.set_watermark(READ, 0, 10)
    bev.set_callbacks(read=lambda bev: None)
    bev.enable()
    other.write(b"x" * 100)
    assert base.dispatch() is True
    assert len(bev.input) == 10
    assert len(calls) < 5


# ------------------------------------------------------------ modes and flushes


def test_flush_gives_the_mode_and_no_limit(base: ev.EventBase) -> None:
    calls: list[tuple[int | None, ev.FlushMode]] = []

    def note(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        calls.append((limit, mode))
        return NEED_MORE if mode == NORMAL else through(source, destination, limit, mode)

    bev, other = make(base, None, note)
    bev.underlying.set_watermark(WRITE, 0, 3)
    log = Log(other)
    bev.write(b"words")
    assert bev.flush(WRITE, NORMAL) is False
    assert bev.flush(WRITE, FLUSH) is True
    base.dispatch()
    assert log.data == b"words"
    assert not log.events
    bev.flush(WRITE, FINISHED)
    base.dispatch()
    assert log.events == [EOF], "FINISHED goes down to the pair"
    assert calls == [(3, NORMAL), (3, NORMAL), (None, FLUSH), (None, FINISHED)]


def test_flush_reads_through_the_whole_stack(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(ev.FilterBufferEvent(one, upper), through)
    _kept.append(bev)
    other.write(b"words")
    assert bev.flush(READ, FLUSH) is True
    assert bev.read() == b"WORDS"


def test_at_eof_the_input_filter_finishes(base: ev.EventBase) -> None:
    lines = Lines()
    bev, other = make(base, lines)
    log = Log(bev)
    other.write(b"one\ntwo\nthr")
    base.dispatch()
    assert log.data == b"one\ntwo\n"
    other.close()
    base.dispatch()
    assert log.data == b"one\ntwo\nthr"
    assert log.events == [EOF]
    assert lines.modes[-1] == FINISHED
    assert lines.modes.count(FINISHED) == 1


def test_eof_waits_for_what_is_before_it(base: ev.EventBase) -> None:
    """It comes neither before bytes that had no room, nor while nobody reads."""
    lines = Lines()
    bev, other = make(base, lines)
    bev.set_watermark(READ, 0, 4)
    log = Log(bev, enable=False)
    bev.set_callbacks(event=lambda bev, what: log.events.append(what))
    bev.enable()
    other.write(b"one\ntwo\nthr")
    other.close()
    base.dispatch()
    assert log.events == []
    assert FINISHED not in lines.modes
    assert bev.read() == b"one\n"
    base.dispatch()
    assert bev.read() == b"two\n"
    bev.disable(READ)
    base.dispatch()
    assert log.events == []
    bev.enable(READ)
    base.dispatch()
    assert log.events == [EOF]
    assert bev.read() == b"thr"
    bev.close()


def test_a_close_finishes_what_was_written(base: ev.EventBase) -> None:
    def lines(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        return written.feed(source, destination, limit, mode)

    written = Lines()
    bev, other = make(base, None, lines)
    log = Log(other)
    bev.write(b"one\ntw")
    bev.close()
    base.dispatch()
    assert log.data == b"one\ntw"
    assert log.events == [EOF]
    assert written.modes[-1] == FINISHED
    other.close()


def test_a_close_of_one_that_never_wrote_finishes_nothing(base: ev.EventBase) -> None:
    written = Lines()
    bev, other = make(base, None, written)
    bev.close()
    assert not written.modes
    other.close()


def test_an_abort_finishes_nothing(base: ev.EventBase) -> None:
    written = Lines()
    bev, other = make(base, None, written)
    bev.write(b"unfinished")
    bev.abort()
    assert FINISHED not in written.modes
    other.close()


def test_a_close_waits_for_a_slow_peer(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    data = bytes(range(256)) * 8000
    below = ev.SocketBufferEvent(base, one)
    below.set_watermark(WRITE, 1000, 5000)
    bev = ev.FilterBufferEvent(ev.FilterBufferEvent(below, None, through), None, through)
    bev.write(data)
    bev.close(timeout=20)
    got = bytearray()
    reader = ev.SocketBufferEvent(base, other)
    log = Log(reader)
    base.dispatch()
    assert log.data == data
    assert log.events == [EOF]
    reader.close()
    assert not got


# ------------------------------------------------------------ errors


@pytest.mark.parametrize("way", ["input", "output"])
def test_error_ends_the_stream(base: ev.EventBase, way: str) -> None:
    calls: list[int] = []

    def broken(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        calls.append(1)
        return ERROR

    bev, other = make(base, broken, None) if way == "input" else make(base, None, broken)
    log = Log(bev)
    other.enable()
    for _ in range(3):
        try:
            (other if way == "input" else bev).write(b"words")
        except BrokenPipeError:
            assert log.events
        base.dispatch()
    assert log.events == [ev.What.ERROR | (ev.What.READING if way == "input" else ev.What.WRITING)]
    assert isinstance(bev.error, ev.Error)
    assert f"the {way} filter" in str(bev.error)
    assert calls == [1]
    with pytest.raises(BrokenPipeError):
        bev.write(b"x")


@pytest.mark.parametrize("way", ["input", "output"])
def test_an_exception_ends_the_stream_and_comes_out(base: ev.EventBase, way: str) -> None:
    def broken(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        raise KeyError("why")

    bev, other = make(base, broken, None) if way == "input" else make(base, None, broken)
    log = Log(bev)
    (other if way == "input" else bev).write(b"words")
    with pytest.raises(KeyError, match="why") as caught:
        base.dispatch()
    assert log.events == [ev.What.ERROR | (ev.What.READING if way == "input" else ev.What.WRITING)]
    assert bev.error is caught.value
    assert "broken" in [entry.name for entry in caught.traceback]
    assert base.dispatch() is True


def test_several_come_out_in_a_group(base: ev.EventBase) -> None:
    errors = [KeyError("first"), ValueError("second"), OSError("third")]
    bevs = []
    for error in errors:

        def broken(*_: object, error: Exception = error) -> ev.FilterResult:
            raise error

        bevs.append(make(base, None, broken)[0])
    for bev in bevs:
        bev.write(b"x")
    with pytest.raises(ExceptionGroup) as caught:
        base.dispatch()
    assert list(caught.value.exceptions) == errors
    assert [bev.error for bev in bevs] == [None] * 3, "nobody waits for their events"


def test_on_exception_takes_them_one_by_one(base: ev.EventBase) -> None:
    taken: list[BaseException] = []
    base.on_exception = taken.append

    def broken(*_: object) -> ev.FilterResult:
        raise KeyError("why")

    for _ in range(3):
        make(base, None, broken)[0].write(b"x")
    assert base.dispatch() is True
    assert [type(error) for error in taken] == [KeyError] * 3


def test_an_interrupt_comes_out(base: ev.EventBase) -> None:
    base.on_exception = lambda error: None

    def interrupted(*_: object) -> ev.FilterResult:
        raise KeyboardInterrupt

    bev, _other = make(base, None, interrupted)
    bev.write(b"x")
    with pytest.raises(KeyboardInterrupt):
        base.dispatch()
    base.on_exception = None


def test_what_the_loop_never_came_to_raise_comes_out_of_the_base_s_close() -> None:
    def broken(*_: object) -> ev.FilterResult:
        raise KeyError("why")

    base = ev.EventBase()
    bev, _other = make(base, None, broken)
    bev.write(b"x")
    with pytest.raises(KeyError):
        base.close()
    assert base.closed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_base_collected_before_it_could_raise_leaves_nothing_behind() -> None:
    def broken(*_: object) -> ev.FilterResult:
        raise KeyError("why")

    bev, other = make(ev.EventBase(), None, broken)
    bev.write(b"x")
    del bev, other
    _kept.clear()
    gc.collect()


@pytest.mark.parametrize("answer", [None, 3, -1, True, "OK", 1.0, [], ev.What.EOF], ids=repr)
def test_other_answers_are_errors(base: ev.EventBase, answer: object) -> None:
    bev, _other = make(base, None, lambda *_: answer)
    log = Log(bev)
    bev.write(b"x")
    with pytest.raises(TypeError, match="must return a FilterResult"):
        base.dispatch()
    assert log.events == [ev.What.ERROR | ev.What.WRITING]


def test_errors_of_the_one_below_come_through(base: ev.EventBase) -> None:
    one, other = socket.socketpair()
    other.send(b"never read")
    bev = ev.FilterBufferEvent(ev.FilterBufferEvent(ev.SocketBufferEvent(base, one), through))
    log = Log(bev)
    other.close()
    run_until(base, lambda: log.events)
    assert log.events == [EOF]
    bev.set_callbacks(write=lambda bev: None, event=bev.callbacks.event)
    bev.write(b"x")
    run_until(base, lambda: log.events[1:])
    assert log.events[1] & ev.What.ERROR
    assert isinstance(bev.error, BrokenPipeError)
    bev.abort()


def test_a_failed_connection_below_comes_through(base: ev.EventBase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    below = ev.SocketBufferEvent(base)
    bev = ev.FilterBufferEvent(below, upper, upper)
    log = Log(bev)
    below.connect(address)
    run_until(base, lambda: log.events)
    assert log.events == [ev.What.ERROR]
    assert isinstance(bev.error, ConnectionRefusedError)
    bev.abort()


@pytest.mark.parametrize("first", ["connect", "filter"])
def test_a_connection_below_comes_through(base: ev.EventBase, first: str) -> None:
    def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
        sock.sendall(b"greeting")
        got.append(sock.recv(100))
        sock.close()

    got: list[bytes] = []
    listener = ev.Listener.bind(base, ("127.0.0.1", 0), on_accept)
    below = ev.SocketBufferEvent(base)
    if first == "connect":
        below.connect(listener.address)
    bev = ev.FilterBufferEvent(below, upper, upper)
    log = Log(bev)
    bev.write(b"words")
    if first == "filter":
        below.connect(listener.address)
    run_until(base, lambda: len(log.events) == 2)
    assert log.events == [ev.What.CONNECTED, EOF]
    assert log.data == b"GREETING"
    assert got == [b"WORDS"]
    bev.close()
    listener.close()


def test_a_flush_of_one_that_writes_to_itself_ends(base: ev.EventBase) -> None:
    def echo(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        if mode == NORMAL:
            return NEED_MORE
        destination.write(source.read())
        bev.write(b"again")
        return OK

    bev, other = make(base, None, echo)
    log = Log(other)
    bev.write(b"words")
    assert bev.flush(WRITE, FLUSH) is True
    base.dispatch()
    assert log.data == b"words"
    bev.abort()


def test_one_that_takes_a_byte_at_a_time_leaves_others_their_turn(base: ev.EventBase) -> None:
    turns: list[int] = []

    def slow(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        destination.write(source.read(1))
        return OK

    bev, other = make(base, None, slow)
    log = Log(other)
    bev.write(b"x" * 10_000)
    base.timer(0, lambda event, what: turns.append(len(log.data)))
    base.dispatch()
    assert len(log.data) == 10_000
    assert turns[0] < 10_000


@pytest.mark.parametrize("way", ["input", "output"])
def test_frozen_ends_hold_the_bytes_up(base: ev.EventBase, way: str) -> None:
    bev, other = make(base, upper, upper)
    log = Log(bev if way == "input" else other)
    frozen = bev.input if way == "input" else bev.underlying.output
    with pytest.raises(BufferError):
        frozen.freeze(start=way == "output")
    start = bev.underlying.input if way == "input" else None
    if start is not None:
        start.freeze(start=True)
    else:
        frozen.freeze(start=False)
    (other if way == "input" else bev).write(b"words")
    bev.enable()
    for _ in range(3):
        base.loop(ev.LoopFlag.NONBLOCK)
    assert not log.data
    if start is not None:
        start.unfreeze(start=True)
    else:
        frozen.unfreeze(start=False)
    bev.flush()
    base.dispatch()
    assert log.data == b"WORDS"
