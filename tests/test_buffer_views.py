"""Memoryviews of a buffer's memory: what they lock, for how long, and that none can see memory that is gone."""

from __future__ import annotations

import copy
import gc
import pickle
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from support import check_child, socket_pair

import pylibevent as ev
from pylibevent import Buffer

BYTES = b"abc" * 1000

CHANGES: dict[str, Callable[[Buffer], object]] = {
    "write": lambda buffer: buffer.write(b"x"),
    "write nothing": lambda buffer: buffer.write(b""),
    "writelines": lambda buffer: buffer.writelines([b"x"]),
    "prepend": lambda buffer: buffer.prepend(b"x"),
    "add_buffer": lambda buffer: buffer.add_buffer(Buffer(b"x")),
    "prepend_buffer": lambda buffer: buffer.prepend_buffer(Buffer(b"x")),
    "add_buffer_reference": lambda buffer: buffer.add_buffer_reference(Buffer(b"x")),
    "add_reference": lambda buffer: buffer.add_reference(b"x"),
    "expand": lambda buffer: buffer.expand(100_000),
    "reserve": lambda buffer: buffer.reserve(1).__enter__(),
    "read": lambda buffer: buffer.read(1),
    "read nothing": lambda buffer: buffer.read(0),
    "read_into": lambda buffer: buffer.read_into(bytearray(1)),
    "readline": lambda buffer: buffer.readline(),
    "drain": lambda buffer: buffer.drain(1),
    "remove_buffer": lambda buffer: buffer.remove_buffer(Buffer(), 1),
    "be added": lambda buffer: Buffer().add_buffer(buffer),
    "be prepended": lambda buffer: Buffer().prepend_buffer(buffer),
    "get the rest of another": lambda buffer: Buffer(b"x").remove_buffer(buffer),
    "pullup": lambda buffer: buffer.pullup(),
    "close": lambda buffer: buffer.close(),
}
LOOKS: dict[str, tuple[Callable[[Buffer], object], object]] = {
    "bytes": (bytes, BYTES),
    "len": (len, 3000),
    "bool": (bool, True),
    "copyout": (lambda buffer: buffer.copyout(2, 1), b"bc"),
    "search": (lambda buffer: buffer.search(b"ca"), 2),
    "search_eol": (lambda buffer: buffer.search_eol(), None),
    "contiguous": (lambda buffer: buffer.contiguous, 3000),
    "repr": (repr, "<Buffer 3000 bytes>"),
    "closed": (lambda buffer: buffer.closed, False),
}
LENDERS: dict[str, Callable[[Buffer], Any]] = {
    "peek": lambda buffer: buffer.peek(),
    "reserve": lambda buffer: buffer.reserve(100),
}


def views_of(lent: Any) -> tuple[memoryview, ...]:
    return lent if isinstance(lent, tuple) else lent.views


lends = pytest.mark.parametrize("lend", LENDERS.values(), ids=LENDERS)


@lends
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_block_refuses_changes(lend: Callable[[Buffer], Any], change: Callable[[Buffer], object]) -> None:
    buffer = Buffer(BYTES)
    with lend(buffer):
        for _ in range(2):
            with pytest.raises(BufferError, match="memoryviews of <Buffer"):
                change(buffer)
    assert bytes(buffer) == BYTES
    loan = change(buffer)
    if hasattr(loan, "__exit__"):
        loan.__exit__(None, None, None)
    buffer.close()


@lends
def test_the_error_names_the_buffer_that_is_lent(lend: Callable[[Buffer], Any]) -> None:
    lent, other = Buffer(BYTES), Buffer(b"other")
    with lend(lent):
        for change in (lambda: other.add_buffer(lent), lambda: other.prepend_buffer(lent), lambda: other.remove_buffer(lent)):
            with pytest.raises(BufferError, match="memoryviews of <Buffer 3000 bytes> still exist"):
                change()


@lends
@pytest.mark.parametrize(("look", "expected"), LOOKS.values(), ids=LOOKS)
def test_a_block_allows_looks(lend: Callable[[Buffer], Any], look: Callable[[Buffer], object], expected: object) -> None:
    buffer = Buffer(BYTES)
    with lend(buffer), buffer.peek(5) as again:
        assert look(buffer) == expected
        assert b"".join(again) == b"abcab"


@lends
def test_views_are_dead_after_the_block(lend: Callable[[Buffer], Any]) -> None:
    with lend(Buffer(BYTES)) as lent:
        views = views_of(lent)
        assert [len(view) > 0 for view in views] == [True] * len(views)
    for view in views:
        with pytest.raises(ValueError, match="released"):
            bytes(view)


def test_peeked_views_are_read_only_and_reserved_ones_are_not() -> None:
    buffer = Buffer(BYTES)
    with buffer.peek() as views:
        assert all(view.readonly and view.format == "B" and view.contiguous for view in views)
        with pytest.raises(TypeError):
            views[0][0] = 1
    with buffer.reserve(1) as space:
        assert not any(view.readonly for view in space.views)


@lends
@pytest.mark.parametrize("collect", [False, True], ids=["", "collected"])
def test_a_slice_locks_until_it_is_gone(lend: Callable[[Buffer], Any], collect: bool) -> None:
    buffer = Buffer(BYTES)
    with lend(buffer) as lent:
        part = views_of(lent)[0][1:3]
        other = part[:1]
    del lent
    if collect:
        gc.collect()
    with pytest.raises(BufferError):
        buffer.drain()
    del part
    with pytest.raises(BufferError):
        buffer.close()
    other.release()
    del other
    gc.collect()
    buffer.drain()
    assert buffer.write(b"x") == 1


@lends
def test_two_blocks_lock_until_both_are_over(lend: Callable[[Buffer], Any]) -> None:
    buffer = Buffer(BYTES)
    one, two = lend(buffer), buffer.peek()
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    with pytest.raises(BufferError):
        buffer.drain()
    two.__exit__(None, None, None)
    buffer.drain()


@lends
def test_a_view_that_is_exported_keeps_the_lock_and_the_others_end(lend: Callable[[Buffer], Any]) -> None:
    buffer = Buffer()
    buffer.add_reference(b"one" * 1000)
    buffer.write(b"two")
    with lend(buffer) as lent:
        views = views_of(lent)
        held, n = pickle.PickleBuffer(views[0]), len(views[0])
    assert memoryview(held).nbytes == n
    for view in views[1:]:
        with pytest.raises(ValueError, match="released"):
            bytes(view)
    with pytest.raises(BufferError, match="memoryviews"):
        buffer.drain()
    held.release()
    del views, held, lent
    gc.collect()
    buffer.drain()


@lends
def test_a_block_can_be_entered_again_after_its_end_only(lend: Callable[[Buffer], Any]) -> None:
    buffer = Buffer(BYTES)
    lent = lend(buffer)
    for _ in range(2):
        with lent, pytest.raises(RuntimeError, match="in use already"):
            lent.__enter__()
    lent.__exit__(None, None, None)  # leaving what was not entered is nothing
    buffer.drain()


@lends
def test_a_closed_buffer_lends_nothing(lend: Callable[[Buffer], Any]) -> None:
    buffer = Buffer(BYTES)
    lent = lend(buffer)
    buffer.close()
    with pytest.raises(ev.ClosedError):
        lent.__enter__()


@lends
def test_a_block_that_is_never_left_gives_back_when_it_is_collected(lend: Callable[[Buffer], Any]) -> None:
    buffer = Buffer(BYTES)
    lent = lend(buffer)
    lent.__enter__()
    with pytest.raises(BufferError):
        buffer.drain()
    del lent
    gc.collect()
    buffer.drain()


@lends
def test_an_empty_buffer_is_not_locked_by_nothing(lend: Callable[[Buffer], Any]) -> None:
    buffer = Buffer()
    with buffer.peek() as views:
        assert views == ()
        assert buffer.write(b"x") == 1
    with buffer.peek(0) as views:
        assert views == ()
    with buffer.peek(-1, 1) as views:
        assert views == ()
    buffer.close()


def test_nothing_is_committed_that_was_not_reserved() -> None:
    buffer = Buffer()
    space = buffer.reserve(10)
    with pytest.raises(ValueError, match="size must be from 0 to 0"):
        space.commit(1)
    with space:
        for size in (-1, sum(map(len, space.views)) + 1, 2**63):
            with pytest.raises(ValueError, match="size must be"):
                space.commit(size)
        for wrong in (None, 1.0, "1", True):
            with pytest.raises(TypeError):
                space.commit(wrong)  # type: ignore[arg-type]
        space.views[0][:3] = b"abc"
        space.commit(2)
        space.commit(3)
    assert bytes(buffer) == b"abc"
    with space:
        space.views[0][:3] = b"def"
    assert bytes(buffer) == b"abc", "a block begins with nothing committed"


def test_freezing_while_memory_is_reserved() -> None:
    buffer = Buffer(b"abc")
    with pytest.raises(BufferError), buffer.reserve(10) as space:  # noqa: PT012 - the end of the block raises
        space.commit(3)
        buffer.freeze(start=False)
    assert bytes(buffer) == b"abc"
    buffer.unfreeze(start=False)
    buffer.write(b"d")


def test_slices_of_reserved_memory_show_what_was_committed() -> None:
    buffer = Buffer()
    with buffer.reserve(10, 1) as space:
        space.views[0][:3] = b"abc"
        part = space.views[0][:3]
        space.commit(3)
    part[0:1] = b"A"
    assert bytes(buffer) == b"Abc"
    with pytest.raises(BufferError):
        buffer.drain()
    del part
    buffer.drain()


@lends
def test_none_can_be_copied_or_pickled(lend: Callable[[Buffer], Any]) -> None:
    lent = lend(Buffer(b"abc"))
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot copy or pickle"):
            attempt(lent)


@lends
def test_reprs_of_blocks_help(lend: Callable[[Buffer], Any]) -> None:
    lent = lend(Buffer(b"abc"))
    assert repr(lent).startswith(f"<{type(lent).__name__} ")
    assert "0x" not in repr(lent)
    assert "<Buffer 3 bytes>" in repr(lent)


@pytest.mark.parametrize("kind", [ev.Peek, ev.Reservation])
def test_blocks_made_by_hand_are_harmless(kind: type) -> None:
    buffer, refusals = Buffer(BYTES), (AttributeError, TypeError, ValueError, OverflowError, MemoryError, ev.Error)
    for arguments in (
        (),
        (buffer, 0, 0),
        (buffer, -5, -5),
        (buffer, 2**64, 2**64),
        (buffer, 10, 10**9),
        (None, 1, 1),
        (buffer, 10, 17),
    ):
        with suppress(*refusals), kind(*arguments):
            pass
    with suppress(*refusals), kind.__new__(kind):
        pass
    buffer.drain()


def test_a_bufferevent_whose_input_is_looked_at_stays(base: ev.EventBase) -> None:
    with socket_pair() as (one, other):
        bev = ev.SocketBufferEvent(base, one.detach())
        bev.enable(ev.EventFlag.READ)
        other.send(BYTES)
        while not bev.input:
            base.loop(ev.LoopFlag.ONCE)
        source = bev.input
        with source.peek() as views:
            for refused in (bev.close, bev.abort, bev.read, base.close, lambda: Buffer().add_buffer(source)):
                with pytest.raises(BufferError):
                    refused()
            part = views[0][:3]
        with pytest.raises(BufferError):
            bev.close()
        assert bytes(part) == b"abc"
        part.release()
        del part
        bev.close()
        with pytest.raises(ev.ClosedError), source.peek():
            pass


# ---------------------------------------------------------------- nobody sees memory that is gone

FATES = {
    "the buffer is dropped": """
        del buffer, views
        gc.collect()
    """,
    "the buffer is dropped in a cycle": """
        buffer.add_callback(lambda buffer, change, cycle=[buffer]: cycle)
        del buffer, views
        gc.collect()
    """,
    "the buffer is closed": """
        try:
            buffer.close()
        except BufferError:
            pass
    """,
    "the buffer is dropped by another thread": """
        held = [buffer]
        del buffer, views
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        gc.collect()
    """,
    "the block's objects are collected first": """
        del views
        gc.collect()
        del buffer
        gc.collect()
    """,
}
GONE = """
    import gc, threading
    import pylibevent as ev

    buffer = ev.Buffer(b"abc" * 1000)
    with {lend} as views:
        part = ({views})[0][:300]
        part_of_part = part[:3]
        before = bytes(part)
    {fate}
    others = [ev.Buffer(bytes([n]) * 3000) for n in range(100)]
    assert bytes(part) == before, bytes(part)[:30]
    assert bytes(part_of_part) == before[:3]
    del part
    gc.collect()
    assert bytes(part_of_part) == before[:3]
    del part_of_part
"""


@pytest.fixture
def _freed_memory_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What malloc frees is overwritten in children (glibc)."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")


@pytest.mark.usefixtures("_freed_memory_changes")
@pytest.mark.parametrize(("lend", "views"), [("buffer.peek()", "views"), ("buffer.reserve(500)", "views.views")], ids=LENDERS)
@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_slices_outlive_all(lend: str, views: str, fate: str) -> None:
    check_child(
        textwrap.dedent(GONE.format(lend=lend, views=views, fate=textwrap.indent(textwrap.dedent(fate), "    ").strip()))
    )


@pytest.mark.usefixtures("_freed_memory_changes")
def test_a_finalizer_that_looks_at_a_slice_in_the_buffers_own_cycle() -> None:
    code = """
    import gc
    import pylibevent as ev

    class Owner:
        def __del__(self):
            seen.append(bytes(self.part))

    seen = []
    for first in (True, False):
        buffer = ev.Buffer(b"abc" * 1000)
        owner = Owner() if first else None
        owner = owner or Owner()
        with buffer.peek() as views:
            owner.part = views[0][:]
        owner.buffer, owner.owner = buffer, owner
        del owner, buffer, views
        gc.collect()
    assert seen == [b"abc" * 1000] * 2, [part[:30] for part in seen]
    """
    check_child(textwrap.dedent(code))


@pytest.mark.usefixtures("_freed_memory_changes")
def test_views_that_are_alive_when_the_process_ends() -> None:
    code = """
    import pylibevent as ev

    class Late:
        def __del__(self, bytes=bytes):
            assert bytes(self.part)[:3] == b"abc"

    late, buffer = Late(), ev.Buffer(b"abc" * 1000)
    lent, more = buffer.peek(), ev.Buffer(b"abc" * 1000).peek()
    late.part = lent.__enter__()[0][:]
    later = Late()
    later.part = more.__enter__()[0][:]
    later.cycle = late.cycle = [late, later, buffer]
    """
    check_child(textwrap.dedent(code))
