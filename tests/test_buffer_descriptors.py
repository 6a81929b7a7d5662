"""read_from() and write_to(): real descriptors of every kind."""

from __future__ import annotations

import os
import random
import signal
import socket
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support import check_child, contents, socket_pair

from pylibevent import Buffer

MOST = 4096
"""What libevent 2.1 reads at once."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket_pair() as pair:
        yield pair


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_NONBLOCK)
    yield ends
    for fd in ends:
        os.close(fd)


def test_there_and_back(pair: tuple[socket.socket, socket.socket], rng: random.Random) -> None:
    one, other = pair
    sent, source, target, data = 0, Buffer(), Buffer(), rng.randbytes(500_000)
    source.add_reference(data)
    while len(target) < len(data):
        try:
            sent += source.write_to(one)
        except BlockingIOError:
            assert target.read_from(other) > 0
        assert len(source) == len(data) - sent
        if not source:
            one.close()
            while target.read_from(other):
                pass
    assert contents(target) == data


@pytest.mark.parametrize(("size", "came"), [(-1, MOST), (1, 1), (100, 100), (4096, 4096), (2**31 - 1, MOST)])
def test_sizes_of_reads(pair: tuple[socket.socket, socket.socket], size: int, came: int) -> None:
    one, other = pair
    data = random.Random(size).randbytes(10_000)
    one.sendall(data)
    buffer = Buffer(b"<")
    assert buffer.read_from(other, size) == came
    assert contents(buffer) == b"<" + data[:came]
    assert buffer.read_from(other.fileno(), 50) == 50
    assert contents(buffer) == b"<" + data[: came + 50]


@pytest.mark.parametrize("size", [None, -1, 0, 1, 100, 100_000, 2**40])
def test_sizes_of_writes(pipe: tuple[int, int], size: int | None) -> None:
    buffer, data = Buffer(), bytes(range(250)) * 4
    for at in range(0, 1000, 10):
        buffer.add_reference(data[at : at + 10])
    written = 1000 if size is None or size < 0 else min(size, 1000)
    assert buffer.write_to(pipe[1], size) == written
    assert contents(buffer) == data[written:]
    if written:
        assert os.read(pipe[0], 2000) == data[:written]
    buffer.drain()


def test_more_chains_than_one_call_writes(pipe: tuple[int, int]) -> None:
    """libevent gives at most 128 stretches to one writev()."""
    buffer = Buffer()
    for n in range(1000):
        buffer.add_reference(b"%03d" % n)
    calls = 0
    while buffer:
        assert buffer.write_to(pipe[1]) > 0
        calls += 1
    assert calls == 8
    assert os.read(pipe[0], 4000) == b"".join(b"%03d" % n for n in range(1000))


def test_nothing_to_write_is_no_error_whatever_the_descriptor(pipe: tuple[int, int]) -> None:
    buffer = Buffer()
    assert buffer.write_to(pipe[1]) == 0
    assert buffer.write_to(pipe[0]) == 0
    buffer.write(b"x")
    assert buffer.write_to(pipe[1], 0) == 0
    assert contents(buffer) == b"x"


def test_reading_nothing_is_no_end(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    buffer = Buffer(b"x" * 4000)
    with buffer.reserve(1, 1) as space:
        space.commit(len(space.views[0]))
    assert buffer.read_from(other, 0) == 0
    with pytest.raises(BlockingIOError):
        buffer.read_from(other)
    one.close()
    assert buffer.read_from(other) == 0


def test_the_ends_of_a_pipe(pipe: tuple[int, int]) -> None:
    buffer = Buffer(b"text")
    with pytest.raises(BlockingIOError):
        buffer.read_from(pipe[0])
    for wrong, call in ((pipe[1], buffer.read_from), (pipe[0], buffer.write_to)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call(wrong)
    assert buffer.write_to(pipe[1]) == 4
    assert buffer.read_from(pipe[0]) == 4
    assert contents(buffer) == b"text"


def test_a_peer_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    buffer = Buffer(b"text")
    other.close()
    with pytest.raises(BrokenPipeError):
        buffer.write_to(one)
    assert contents(buffer) == b"text"
    assert buffer.read_from(one) == 0


def test_a_broken_pipe_ends_no_process_where_its_signal_does() -> None:
    """Python ignores SIGPIPE. Where a program doesn't, it ends as the signal says."""
    code = """
    import os, signal, sys
    import pylibevent as ev

    if sys.argv[1] == "default":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    read, write = os.pipe()
    os.close(read)
    try:
        ev.Buffer(b"x").write_to(write)
    except BrokenPipeError:
        print("broken")
    """
    assert check_child(textwrap.dedent(code), "ignored") == "broken\n"
    assert check_child(textwrap.dedent(code), "default", status=-signal.SIGPIPE) == ""


@pytest.mark.parametrize(("flags", "reads"), [(os.O_RDONLY, True), (os.O_WRONLY, False)])
def test_a_directory_and_a_file_opened_for_one_way(flags: int, reads: bool, tmp_path: object) -> None:
    buffer = Buffer(b"text")
    directory = os.open(str(tmp_path), os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        buffer.read_from(directory)
    os.close(directory)
    file = os.open(f"{tmp_path}/file", flags | os.O_CREAT)
    if reads:
        assert buffer.read_from(file) == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            buffer.write_to(file)
    else:
        with pytest.raises(OSError, match="Bad file descriptor"):
            buffer.read_from(file)
        assert buffer.write_to(file, 2) == 2
    os.close(file)
    assert contents(buffer) == (b"text" if reads else b"xt")


def test_a_full_device() -> None:
    buffer = Buffer(b"text")
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        buffer.write_to(full)
    assert contents(buffer) == b"text"


def test_devices_that_never_end() -> None:
    buffer = Buffer()
    with open("/dev/zero", "rb", buffering=0) as zero:
        for _ in range(10):
            assert 0 < buffer.read_from(zero, 2**31 - 1) <= 2**20
    assert not bytes(buffer).strip(b"\0")
    with open(os.devnull, "wb", buffering=0) as null:
        while buffer.write_to(null):
            pass
    assert not buffer


def test_files_where_they_stand() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"0123456789")
        file.seek(3)
        buffer = Buffer()
        assert buffer.read_from(file, 4) == 4
        assert file.tell() == 7
        assert buffer.write_to(file, 2) == 2
        file.seek(0)
        assert file.read() == b"012345634" + b"9"
    assert contents(buffer) == b"56"


def test_sockets_of_messages() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        buffer = Buffer(b"first ")
        buffer.add_reference(b"message")
        assert buffer.write_to(one) == 13
        one.send(b"second")
        for expected in (b"first message", b"second"):
            assert buffer.read_from(other) == len(expected)
            assert buffer.read() == expected


def test_a_socket_that_does_not_wait_is_told_by_its_exception(pair: tuple[socket.socket, socket.socket]) -> None:
    one, _ = pair
    buffer = Buffer(b"x" * 10_000_000)
    written = buffer.write_to(one)
    with suppress(BlockingIOError):
        while more := buffer.write_to(one):
            written += more
    with pytest.raises(BlockingIOError):
        buffer.write_to(one)
    assert 0 < written < 10_000_000
    assert len(buffer) == 10_000_000 - written


def test_reading_into_frozen_and_writing_from_frozen(pipe: tuple[int, int]) -> None:
    buffer = Buffer(b"text")
    buffer.freeze(start=True)
    with pytest.raises(BufferError):
        buffer.write_to(pipe[1])
    buffer.unfreeze(start=True)
    buffer.freeze(start=False)
    os.write(pipe[1], b"more")
    with pytest.raises(BufferError):
        buffer.read_from(pipe[0])
    assert os.read(pipe[0], 100) == b"more", "nothing was taken from the descriptor"
    assert buffer.write_to(pipe[1]) == 4


def test_a_signal_while_reading_is_handled() -> None:
    """A read that a signal interrupts says so, or goes on; the handler runs."""
    code = """
    import os, signal
    import pylibevent as ev

    ran = []
    signal.signal(signal.SIGALRM, lambda *_: (ran.append(1), os.write(write, b"x")))
    read, write = os.pipe()
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    signal.siginterrupt(signal.SIGALRM, True)
    buffer = ev.Buffer()
    try:
        assert buffer.read_from(read) == 1
    except InterruptedError:
        assert buffer.read_from(read) == 1
    assert (ran, bytes(buffer)) == ([1], b"x")
    """
    check_child(textwrap.dedent(code))
