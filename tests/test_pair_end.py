"""How pairs end: closes with bytes on their way, flushes, writes to nobody, memory that is shown, threads, garbage."""

from __future__ import annotations

import gc
import threading
import warnings

import pytest
from support import check_child, run_until

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
FLUSH, FINISHED = ev.FlushMode.FLUSH, ev.FlushMode.FINISHED
EOF = ev.What.EOF | ev.What.READING


class Log:
    """What the callbacks of a bufferevent were called with."""

    def __init__(self, bev: ev.BufferEvent) -> None:
        self.entries: list[object] = []
        bev.set_callbacks(read=lambda bev: self.entries.append(bev.read()), event=lambda bev, what: self.entries.append(what))

    @property
    def data(self) -> bytes:
        return b"".join(entry for entry in self.entries if isinstance(entry, bytes))

    @property
    def events(self) -> list[object]:
        return [entry for entry in self.entries if not isinstance(entry, bytes)]


# ------------------------------------------------------------ closing


def test_what_was_written_comes_before_the_end(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    other.enable()
    one.write(b"words")
    one.close()
    assert base.dispatch() is True
    assert log.entries == [b"words", EOF]
    other.close()


def test_it_waits_until_the_other_end_reads(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    data = bytes(range(256)) * 1000
    one.write(data)
    one.close(timeout=0.01)
    assert base.dispatch() is True, "nothing keeps the loop while nobody reads"
    assert log.entries == []
    base.loopexit(0.05)
    base.dispatch()
    other.enable()
    base.dispatch()
    assert log.data == data
    assert log.events == [EOF]
    assert log.entries[-1] == EOF
    other.close()


def test_it_waits_for_room_below_the_high_mark(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    sizes: list[int] = []
    events: list[ev.What] = []
    other.set_watermark(READ, 0, 10)

    def on_read(bev: ev.BufferEvent) -> None:
        sizes.append(len(bev.input))
        bev.read(7)

    other.set_callbacks(read=on_read, event=lambda bev, what: events.append(what))
    other.enable()
    one.write(b"x" * 100)
    one.close()
    run_until(base, lambda: events)
    assert max(sizes) <= 10
    assert events == [EOF]
    assert len(other.read()) <= 10
    other.close()


def test_a_disabled_writer_that_closes_still_says_its_last_words(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    other.enable()
    one.disable(WRITE)
    one.write(b"words")
    base.dispatch()
    assert log.entries == []
    one.close()
    base.dispatch()
    assert log.entries == [b"words", EOF]
    other.close()


def test_an_abort_drops_what_is_on_its_way_and_says_eof(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    one.write(b"words")
    one.abort()
    other.enable()
    base.dispatch()
    assert log.entries == [EOF]
    other.close()


def test_without_eof_the_other_end_hears_nothing(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    one.write(b"words")
    one.close(eof=False)
    other.enable()
    base.dispatch()
    assert log.entries == []
    assert other.partner is None
    other.close()
    with pytest.raises(TypeError, match="eof must be a bool"):
        other.close(eof=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("eof", [False, True])
def test_writing_to_nobody_raises(base: ev.EventBase, eof: bool) -> None:
    one, other = ev.PairBufferEvent.new(base)
    other.write(b"never taken")
    one.close(eof=eof)
    assert one.closed
    assert other.partner is None
    assert one.partner is None
    assert not other.output, "what can't arrive any more is dropped"
    with pytest.raises(BrokenPipeError):
        other.write(b"x")
    with pytest.raises(BrokenPipeError):
        other.write_buffer(ev.Buffer(b"x"))
    with pytest.raises(BrokenPipeError):
        other.output.write(b"x")
    with pytest.raises(BrokenPipeError):
        other.flush(WRITE, FLUSH)
    assert other.flush() is False
    assert other.flush(READ, FLUSH) is False
    with pytest.raises(ev.ClosedError):
        one.write(b"x")
    one.close()
    other.close()


def test_both_ends_close_with_bytes_on_their_way(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    one.write(b"x" * 100_000)
    other.write(b"y" * 100_000)
    one.close()
    other.close()
    assert base.dispatch() is True


def test_an_end_closes_in_its_own_callback(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(one)

    def answer_and_close(bev: ev.BufferEvent) -> None:
        bev.write(bev.read().upper())
        bev.close()

    other.set_callbacks(answer_and_close)
    one.enable()
    other.enable()
    one.write(b"words")
    base.dispatch()
    assert log.entries == [b"WORDS", EOF]
    one.close()


def test_the_end_comes_once_and_nothing_after_it(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    other.set_timeouts(read=0.01)
    other.enable()
    one.flush(WRITE, FINISHED)
    base.dispatch()
    one.close()
    other.enable()
    base.loopexit(0.05)
    base.dispatch()
    assert log.entries == [EOF]
    other.close()


def test_the_last_words_have_no_timeout(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    one.set_timeouts(write=0.01)
    one.write(b"words")
    one.close()
    base.loopexit(0.05)
    base.dispatch()
    other.enable()
    base.dispatch()
    assert log.entries == [b"words", EOF]
    other.close()


def test_collected_ends_warn_and_go(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    one.write(b"words")
    del one, other
    with pytest.warns(ResourceWarning, match="unclosed <PairBufferEvent") as found:
        gc.collect()
    assert len(found) == 2


def test_closing_the_base_closes_both_and_what_waits(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    third, fourth = ev.PairBufferEvent.new(base, ev.Option.THREADSAFE)
    log = Log(other)
    other.enable()
    one.write(b"words")
    third.write(b"words")
    third.close()
    base.close()
    assert one.closed
    assert other.closed
    assert fourth.closed
    assert other.partner is None
    assert log.entries == []


def test_it_is_a_context_manager(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    with one, other:
        assert one.partner is other
    assert one.closed
    assert other.closed


# ------------------------------------------------------------ flushing


def test_normal_moves_nothing(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    one.write(b"words")
    assert one.flush(mode=ev.FlushMode.NORMAL) is False
    assert not other.input


@pytest.mark.parametrize("there", [b"", b"ab", b"abcde"])
def test_flush_moves_all_whatever_the_marks(base: ev.EventBase, there: bytes) -> None:
    """In C it stops at the high mark the first time, and goes beyond it the second."""
    one, other = ev.PairBufferEvent.new(base)
    other.set_watermark(READ, 0, 5)
    other.enable()
    one.write(there)
    one.write(b"words and more")
    assert one.flush(WRITE, FLUSH) is True
    assert one.flush(WRITE, FLUSH) is False
    assert other.read() == there + b"words and more"


def test_flush_reading_takes_from_a_partner_that_nobody_reads(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    one.write(b"words")
    assert other.flush(READ, FLUSH) is True
    base.dispatch()
    assert log.entries == [b"words"]


def test_flush_reading_takes_last_words(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    one.write(b"words")
    one.close()
    assert other.flush(READ, FLUSH) is True
    base.dispatch()
    assert log.entries == [b"words", EOF]
    other.close()


def test_finished_is_the_end_of_writing(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    log, back = Log(other), Log(one)
    one.enable()
    one.write(b"words")
    assert one.flush(WRITE, FINISHED) is True
    assert one.flush(WRITE, FINISHED) is False
    with pytest.raises(BrokenPipeError):
        one.write(b"more")
    other.write(b"answer")
    base.dispatch()
    assert log.entries == [b"words", EOF]
    assert back.entries == [b"answer"]
    assert one.partner is other


def test_finished_reading_tells_the_writer(base: ev.EventBase) -> None:
    """The other end hears that nobody reads any more, and later the end of what it gets."""
    one, other = ev.PairBufferEvent.new(base)
    log = Log(other)
    other.enable()
    other.write(b"words")
    assert one.flush(READ, FINISHED) is True
    base.dispatch()
    one.write(b"more")
    one.close()
    base.dispatch()
    assert log.entries == [ev.What.EOF | ev.What.WRITING, b"more", EOF]
    other.close()


# ------------------------------------------------------------ what moves, and when not


def test_memory_that_is_shown_stays(base: ev.EventBase) -> None:
    """Whatever would move bytes of either end is refused while memory of one of them is shown."""
    one, other = ev.PairBufferEvent.new(base)
    other.enable()
    one.write(b"words")
    one.disable(WRITE)
    one.write(b"more")
    for shown in (other.input, one.output):
        with shown.peek() as views:
            seen = b"".join(views)
            for attempt in (
                lambda: one.write(b"x"),
                lambda: one.output.write(b"x"),
                lambda: one.enable(WRITE),
                lambda: one.flush(WRITE, FLUSH),
                lambda: other.flush(READ, FLUSH),
                lambda: other.read(1),
                lambda: other.input.drain(1),
                lambda: other.set_watermark(READ, 0, 100),
                lambda: one.close(),
                lambda: other.close(),
            ):
                with pytest.raises(BufferError):
                    attempt()
            assert b"".join(views) == seen
            del views
    one.enable(WRITE)
    assert other.read() == b"wordsmore"


def test_memory_of_others_doesn_t_matter(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    third, fourth = ev.PairBufferEvent.new(base)
    fourth.enable()
    third.write(b"there")
    with fourth.input.peek():
        one.write(b"words")
        other.enable()
        assert other.read() == b"words"


def test_the_write_timeout_runs_from_the_first_byte_that_waits(base: ev.EventBase) -> None:
    """Not from the setting only, as in C; and it stops when all has gone."""
    one, other = ev.PairBufferEvent.new(base)
    log = Log(one)
    one.set_timeouts(write=0.05)
    base.dispatch()
    one.write(b"words")
    other.enable()
    assert base.dispatch() is True
    assert log.entries == []
    other.disable()
    one.write(b"words")
    assert base.dispatch() is True
    assert log.entries == [ev.What.TIMEOUT | ev.What.WRITING]
    assert one.enabled == ev.EventFlag(0)


def test_sizes_of_one_read_have_no_effect(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    one.max_single_write = 10
    other.max_single_read = 10
    assert (one.max_single_write, other.max_single_read) == (10, 10)
    other.enable()
    one.write(b"x" * 1000)
    assert len(other.input) == 1000
    one.max_single_write = 0
    assert one.max_single_write == other.max_single_write


def test_a_priority_of_its_own_is_refused(base: ev.EventBase) -> None:
    one, other = ev.PairBufferEvent.new(base)
    assert one.priority == 0
    with pytest.raises(TypeError, match="PairBufferEvent can't have a priority"):
        other.priority = 0


@pytest.mark.parametrize(
    ("arguments", "kind"), [((None,), TypeError), (("base",), TypeError), ((ev.EventBase,), TypeError)], ids=repr
)
def test_bad_bases(arguments: tuple[object, ...], kind: type[Exception]) -> None:
    with pytest.raises(kind, match="base must be an EventBase"):
        ev.PairBufferEvent.new(*arguments)  # type: ignore[arg-type]


def test_bad_options(base: ev.EventBase) -> None:
    with pytest.raises(ValueError, match="UNLOCK_CALLBACKS"):
        ev.PairBufferEvent.new(base, ev.Option.UNLOCK_CALLBACKS)
    with pytest.raises(ValueError, match="options"):
        ev.PairBufferEvent.new(base, 1024)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="options"):
        ev.PairBufferEvent.new(base, "all")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="new"):
        ev.PairBufferEvent()
    base.close()
    with pytest.raises(ev.ClosedError):
        ev.PairBufferEvent.new(base)


@pytest.mark.parametrize("options", [ev.Option(0), ev.Option.CLOSE_ON_FREE, ev.Option.THREADSAFE, sum(ev.Option, ev.Option(0))])
def test_every_option(base: ev.EventBase, options: ev.Option) -> None:
    one, other = ev.PairBufferEvent.new(base, options)
    assert one.options == options
    log = Log(other)
    other.enable()
    one.write(b"words")
    one.close()
    base.dispatch()
    assert log.entries == [b"words", EOF]
    other.close()


# ------------------------------------------------------------ threads and processes


def test_threads_write_to_both_ends(base: ev.EventBase) -> None:
    pairs = [ev.PairBufferEvent.new(base, ev.Option.THREADSAFE) for _ in range(3)]
    size, chunk = 200_000, 1000
    got: dict[int, int] = {}
    ends: list[ev.BufferEvent] = []

    def on_read(bev: ev.BufferEvent) -> None:
        got[id(bev)] = got.get(id(bev), 0) + len(bev.read())

    def work(bev: ev.BufferEvent) -> None:
        for _ in range(size // chunk):
            bev.write(b"x" * chunk)

    for end in (end for pair in pairs for end in pair):
        end.set_callbacks(on_read, event=lambda bev, what: ends.append(bev))
        end.set_watermark(READ, 0, 5000)
        end.enable()
    threads = [threading.Thread(target=work, args=(end,)) for pair in pairs for end in pair]
    for thread in threads:
        thread.start()
    run_until(base, lambda: sum(got.values()) == 6 * size)
    for thread in threads:
        thread.join()
    for pair in pairs:
        closer = threading.Thread(target=pair[0].close)
        closer.start()
        closer.join()
    run_until(base, lambda: len(ends) == 3)
    assert set(got.values()) == {size}
    for pair in pairs:
        pair[1].close()


def test_one_without_a_lock_is_the_loop_s(base: ev.EventBase) -> None:
    one, _other = ev.PairBufferEvent.new(base)
    raised: list[BaseException] = []

    def write() -> None:
        for attempt in (lambda: one.write(b"x"), one.close, lambda: ev.PairBufferEvent.new(base)):
            try:
                attempt()
            except BaseException as error:
                raised.append(error)

    def in_the_loop() -> None:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    base.call_soon(in_the_loop)
    base.dispatch()
    assert [type(error) for error in raised] == [RuntimeError] * 3


def test_at_exit_with_bytes_on_their_way() -> None:
    code = """
import pylibevent as ev
base = ev.EventBase()
one, other = ev.PairBufferEvent.new(base)
third, fourth = ev.PairBufferEvent.new(base)
one.set_callbacks(print)
one.write(b"x")
third.write(b"words")
third.close()
keep = one, other, fourth, base
print("done")
"""
    with warnings.catch_warnings():
        assert check_child(code) == "done\n"
