"""Chains of memory: bytes come and go at both ends, and empty chains lie between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support import contents

from pylibevent import Buffer

# What libevent allocates for the smallest chain, less the chain's own head and ten bytes.
NEARLY_A_CHAIN = 512 - 48 - 10
Chained = Callable[..., Buffer]


def pulled(buffer: Buffer) -> bytes:
    """The contents, brought into one stretch."""
    before = contents(buffer)
    buffer.pullup()
    assert buffer.contiguous == len(before)
    assert contents(buffer) == before
    return before


@pytest.fixture
def chained() -> Iterator[Chained]:
    """Makes buffers with a chain for each part; an empty part is an empty chain."""
    with ExitStack() as stack:

        def make(*parts: bytes) -> Buffer:
            buffer = stack.enter_context(Buffer())
            for part in parts:
                buffer.add_reference(part)
            return buffer

        yield make


def test_everything_once() -> None:
    """regress_buffer.c evbuffer/evbuffer: adding, moving, draining, prepending, pulling up."""
    one, two = Buffer(), Buffer()
    one.write(b"hello/1")
    assert len(one) == 7
    one.add_buffer(two)
    one.drain(len(b"hello/"))
    assert contents(one) == b"1"
    two.write(b"/hello")
    one.add_buffer(two)
    assert (len(two), contents(one)) == (0, b"1/hello")
    one.write(bytes(512))
    assert len(one) == 7 + 512
    one.pullup(7 + 512)
    assert one.contiguous == 7 + 512
    assert contents(one) == b"1/hello" + bytes(512)
    one.prepend(b"something")
    one.prepend(b"else")
    one.pullup(4 + 9 + 7)
    assert one.contiguous >= 4 + 9 + 7
    assert contents(one)[: 4 + 9 + 7] == b"elsesomething1/hello"
    one.drain()
    two.drain()
    assert (contents(one), contents(two)) == (b"", b"")
    for _ in range(3):
        two.write(bytes(range(256)) * 2)
        one.add_buffer(two)
    assert (len(one), len(two)) == (3 * 512, 0)
    assert one.remove_buffer(two, 1280) == 1280
    assert (len(one), len(two)) == (256, 1280)
    assert pulled(one) == bytes(range(256))
    assert pulled(two) == bytes(range(256)) * 5


def test_reserving_in_one_stretch_and_draining_more_than_there_is() -> None:
    """regress_buffer.c evbuffer/evbuffer: one-vector reserve and commit, three times."""
    buffer = Buffer(bytes(256))
    for _ in range(3):
        with buffer.reserve(10000, 1) as space:
            (view,) = space.views
            assert len(view) >= 10000
            view[:10000] = bytes(i & 255 for i in range(10000))
            space.commit(10000)
        assert contents(buffer)[-10000:] == bytes(i & 255 for i in range(10000))
        buffer.drain(10000 * 5000)
        assert contents(buffer) == b""


def test_moving_a_part_behind_an_empty_chain(chained: Chained) -> None:
    """regress_buffer.c evbuffer/remove_buffer_with_empty: three bytes move behind one chain and an empty one."""
    src, dst = chained(b"AA", b"AA"), chained()
    dst.write(b"AA")
    dst.add_reference(b"")
    assert (pulled(src), pulled(dst)) == (b"AAAA", b"AA")
    assert src.remove_buffer(dst, 3) == 3
    assert (pulled(src), pulled(dst)) == (b"A", b"AAAAA")


def test_moving_a_part_with_empty_chains_inside(chained: Chained) -> None:
    """regress_buffer.c evbuffer/remove_buffer_with_empty2: both ends have an empty chain in the middle."""
    src, dst, buf = chained(b"foo", b""), chained(b"foo", b""), Buffer()
    for end in (src, dst):
        buf.write(b"foo")
        buf.add_reference(b"foo")
        end.add_buffer(buf)
        assert (len(end), len(buf)) == (9, 0)
    assert (pulled(src), pulled(dst)) == (b"foofoofoo", b"foofoofoo")
    assert src.remove_buffer(dst, 8) == 8
    assert (len(src), len(dst)) == (1, 17)
    assert (pulled(src), pulled(dst)) == (b"o", b"foofoofoofoofoofo")


def test_moving_a_part_after_prepending_empty_chains(chained: Chained) -> None:
    """regress_buffer.c evbuffer/remove_buffer_with_empty3: an empty chain is prepended with its buffer."""
    src, dst, buf = chained(b"foo", b""), chained(b"foo", b""), Buffer()
    for end in (src, dst):
        buf.write(b"foo")
        buf.add_reference(b"")
        end.prepend_buffer(buf)
        assert (len(end), len(buf)) == (6, 0)
    assert (pulled(src), pulled(dst)) == (b"foofoo", b"foofoo")
    assert src.remove_buffer(dst, 5) == 5
    assert (len(src), len(dst)) == (1, 11)
    assert (pulled(src), pulled(dst)) == (b"o", b"foofoofoofo")


@pytest.mark.parametrize("pull", [False, True])
def test_moving_a_part_whose_chains_nobody_joined(pull: bool, chained: Chained) -> None:
    """The three before pull up first, which joins the chains; here they stay as they are until they have moved."""
    look = pulled if pull else contents
    for src, moved, rest in (
        (chained(b"AA", b"", b"AA"), b"AAA", b"A"),
        (chained(b"foo", b"", b"foo", b"foo"), b"foofoofo", b"o"),
        (chained(b"", b"foo", b"", b"foo", b""), b"foofo", b"o"),
    ):
        dst = chained(b"AA", b"")
        assert src.remove_buffer(dst, len(moved)) == len(moved)
        assert (look(src), look(dst)) == (rest, b"AA" + moved)
        src.write(b"!")
        dst.write(b"!")
        assert (look(src), look(dst)) == (rest + b"!", b"AA" + moved + b"!")


def test_moving_from_behind_an_empty_front(chained: Chained) -> None:
    """regress_buffer.c evbuffer/remove_buffer_with_empty_front: nothing is prepended to a reference."""
    one, two = chained(), chained()
    assert one.add_reference(b"foo") == 3
    assert one.prepend(b"") == 0
    assert one.remove_buffer(two, 1) == 1
    assert one.write(b"bar") == 3
    assert pulled(one) == b"oobar"
    assert pulled(two) == b"f"


def test_moving_with_a_reserved_chain_left_empty() -> None:
    """regress_buffer.c evbuffer/remove_buffer_adjust_last_with_datap_with_empty: the order of the bytes stays."""
    one, two = Buffer(b"aaaaaa"), Buffer()
    with one.reserve(971, 2) as space:
        assert len(space.views) == 2
        space.views[0][:1] = b"b"
        space.commit(1)
    two.write(b"cc")
    two.prepend(b"ddd")
    two.prepend_buffer(one)
    one.add_buffer(two)
    assert one.remove_buffer(two, 11) == 11
    assert pulled(two) == b"aaaaaabdddc"
    assert pulled(one) == b"c"


def test_adding_a_buffer_behind_an_empty_chain(chained: Chained) -> None:
    """regress_buffer.c evbuffer/add_buffer_with_empty, evbuffer/add_buffer_with_empty2: with bytes before it, and without."""
    buf = Buffer()
    for parts, size in (((b"foo", b""), 6), ((b"",), 3)):
        for _ in ("source", "destination"):
            end = chained(*parts)
            buf.write(b"foo")
            end.add_buffer(buf)
            assert (len(end), len(buf)) == (size, 0)
            assert pulled(end) == b"foo" * (size // 3)


def test_pulling_up_an_empty_chain(chained: Chained) -> None:
    """regress_buffer.c evbuffer/pullup_with_empty: behind bytes, alone, and up to a size."""
    buffer = chained()
    buffer.write(b"foo")
    buffer.add_reference(b"")
    assert len(buffer) == 3
    assert pulled(buffer) == b"foo"
    assert pulled(Buffer()) == b""
    buffer = chained()
    buffer.write(b"foo")
    buffer.add_reference(b"")
    buffer.pullup(3)
    assert (buffer.contiguous, contents(buffer)) == (3, b"foo")


def test_prepending_to_an_empty_reference(chained: Chained) -> None:
    """regress_buffer.c evbuffer/empty_reference_prepend, evbuffer/empty_reference_prepend_buffer: bytes, then a buffer."""
    buffer = chained(b"")
    assert contents(buffer) == b""
    buffer.prepend(b"foo")
    assert pulled(buffer) == b"foo"
    one, two = chained(b""), Buffer(b"foo")
    two.prepend_buffer(one)
    assert pulled(two) == b"foo"
    assert pulled(one) == b""


def test_adding_after_expanding() -> None:
    """regress_buffer.c evbuffer/add1, evbuffer/add2: a byte, and nearly a chain."""
    for data, room in ((b"1", 2048), (b"P" * NEARLY_A_CHAIN, 100)):
        buffer = Buffer(data)
        buffer.expand(room)
        assert contents(buffer) == data
        buffer.write(b"2")
        buffer.write(b"3")
        assert len(buffer) == len(data) + 2
        assert pulled(buffer) == data + b"23"


def test_adding_a_hundred_thousand_times() -> None:
    """regress_buffer.c evbuffer/iterative: parts of 1 to 103 bytes, a thousand times."""
    alphabet = b"abcdefghijklmnopqrstvuwxyz" * 4
    assert len(alphabet) - 1 == 103
    buffer, expected = Buffer(), bytearray()
    for _ in range(1000):
        for size in range(1, len(alphabet)):
            buffer.write(alphabet[:size])
            expected += alphabet[:size]
    assert contents(buffer) == expected


def test_adding_several_at_once() -> None:
    """regress_buffer.c evbuffer/add_iovec: four lines, of which each comes out whole."""
    lines = [
        b"Guilt resembles a sword with two edges.",
        b"On the one hand, it cuts for Justice, imposing practical morality upon those who fear it.",
        b"Conscience does not always adhere to rational judgment.",
        b"Guilt is always a self-imposed burden, but it is not always rightly imposed.",
    ]
    buffer = Buffer()
    assert buffer.writelines(lines) == len(buffer) == sum(map(len, lines))
    assert [buffer.read(len(line)) for line in lines] == lines
    assert len(buffer) == 0


def test_prepending_into_the_first_chain_and_before_it() -> None:
    """regress_buffer.c evbuffer/prepend: to nothing, in a new chain, in the first one, over two; buffers too."""
    one, two = Buffer(), Buffer()
    one.prepend(b"This string has 29 characters")
    one.prepend(b"Short.")
    one.drain(6 + 11)
    one.prepend(b"it")
    with one.peek() as views:
        assert bytes(views[0][:6]) == b"it has"
    one.prepend(b"It is no longer true to say ")
    assert contents(one) == one.read(127) == b"It is no longer true to say it has 29 characters"
    for n in (999, 1000):
        one.write(b"Here is string %d. " % n)
        two.prepend_buffer(one)
        assert contents(one) == b""
    assert contents(two) == two.read(127) == b"Here is string 1000. Here is string 999. "


def test_prepending_is_told() -> None:
    """regress_buffer.c evbuffer/prepend: 8096 bytes before 3, with a callback."""
    buffer, changes = Buffer(), []
    buffer.prepend(b"foo")
    entry = buffer.add_callback(lambda buffer, change: changes.append(tuple(change)))
    buffer.prepend(b"A" * 8096)
    entry.remove()
    assert changes == [(3, 8096, 0)]
    buffer.pullup(8096)
    assert contents(buffer)[:8096] == b"A" * 8096
    buffer.drain(8096)
    assert pulled(buffer) == b"foo"
    buffer.drain(3)
    assert contents(buffer) == b""


def test_copying_out(chained: Chained) -> None:
    """regress_buffer.c evbuffer/copyout: within a chain, over two, over three, beyond the end."""
    text = (
        b"Still they skirmish to and fro, men my messmates on the snow "
        b"When we headed off the aurochs turn for turn; "
        b"When the rich Allobrogenses never kept amanuenses, "
        b"And our only plots were piled in lakes at Berne."
    )
    assert len(text) == 206
    buffer = chained(text[:80], text[80:160])
    buffer.write(text[160:])
    assert len(buffer) == 206
    for size in (10, 100, 230):
        assert buffer.copyout(size) == text[:size]
    assert buffer.copyout(10, 15) == b"mish to an"
    for size in (65, 90, 160, 999):
        assert buffer.copyout(size, 15) == text[15 : 15 + size]
    assert contents(buffer) == text
