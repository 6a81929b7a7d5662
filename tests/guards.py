"""The calls that abort, exit, crash, hang or corrupt in C, made from Python: one function each, run in a process of its own.

Each function makes the call and returns what came of it; ``EXPECTED`` says what that must be: the exceptions it may raise,
or None where the call must be harmless. Entries of libevent's that no Python call can reach stand in ``UNREACHABLE``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import pylibevent as ev

UNREACHABLE = {
    "event_enable_debug_mode": "not offered: it must come before everything else, and ends the process on errors",
    "evthread_use_pthreads": "called once, at import, before any base",
    "event_set_fatal_callback": "not offered: libevent gives it no way to go on",
    "event_set_mem_functions": "not offered: it must come before everything else",
    "libevent_global_shutdown": "not offered: objects may be alive",
    "event_config_free": "a config is made in C for the moment in which a base is",
    "event_base_get_running_event": "kept in Python",
    "evbuffer_set_flags": "not offered: files are never sent with sendfile",
    "evbuffer_add_printf": "not offered: Python formats text",
    "bufferevent_base_set": "not offered: a bufferevent has one base for life",
    "bufferevent_decref": "not offered: Python counts references",
    "bufferevent_ssl_renegotiate": "not offered yet",
    "event_assign (debug mode)": "debug mode, which refuses blocking descriptors, is not offered",
    "event_del (an unlocked base)": "every base has locks: evthread_use_pthreads comes first",
    "evbuffer_peek (a sendfile chain)": "not offered: files are read when they are added",
    "evutil_socketpair": "not offered: socket.socketpair() does it",
    "bufferevent_getcb, bufferevent_get_ssl (another kind)": "each kind has only what it can do",
}

Outcome = tuple[type[BaseException], ...] | None
EXPECTED: dict[str, tuple[str, Outcome]] = {}
CALLS: dict[str, Callable[[], object]] = {}


def guard(function: str, *raises: type[BaseException]) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """This call is about a C function, and must raise one of these, or nothing where there are none."""

    def register(call: Callable[[], object]) -> Callable[[], object]:
        EXPECTED[call.__name__] = (function, raises or None)
        CALLS[call.__name__] = call
        return call

    return register


def bev_pair(
    base: ev.EventBase, options: ev.Option = ev.Option.CLOSE_ON_FREE
) -> tuple[ev.SocketBufferEvent, ev.SocketBufferEvent]:
    one, other = socket.socketpair()
    return ev.SocketBufferEvent(base, one, options), ev.SocketBufferEvent(base, other, options)


# ---------------------------------------------------------------- event.h


@guard("event_base_new", OSError)
def a_base_without_descriptors() -> None:
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, used + 2))
    ev.EventBase()


@guard("event_base_new", OSError, ev.Error)
def many_bases_until_there_are_no_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    bases = []
    try:
        while True:
            bases.append(ev.EventBase(ev.EventConfig(flags=ev.BaseFlag.PRECISE_TIMER)))
    finally:
        for base in bases:
            base.close()


@guard("event_base_free")
def a_base_closed_in_its_own_loop() -> None:
    base = ev.EventBase()
    base.timer(0, lambda event, what: base.close())
    base.timer(0, lambda event, what: base.close())
    base.dispatch()
    assert base.closed


@guard("event_base_free", RuntimeError)
def a_base_closed_while_another_thread_loops() -> None:
    base = ev.EventBase()
    started = threading.Event()
    base.call_soon(started.set)
    thread = threading.Thread(target=base.loop, args=(ev.LoopFlag.NO_EXIT_ON_EMPTY,))
    thread.start()
    started.wait(10)
    try:
        base.close()
    finally:
        base.loopbreak()
        thread.join(10)
        base.close()


@guard("event_base_free", ev.ClosedError)
def children_used_after_their_base() -> None:
    base = ev.EventBase()
    event = base.timer(1, print)
    one, other = bev_pair(base)
    listener = ev.Listener.bind(base, ("127.0.0.1", 0), print)
    base.close()
    refused = 0
    for use in (event.add, event.delete, event.pending, one.read, one.enable, listener.enable, lambda: other.write(b"x")):
        try:
            use()
        except ev.ClosedError:
            refused += 1
    assert refused == 7, refused
    for child in (event, one, other, listener):
        child.close()
    event.add(1)


@guard("event_base_free")
def a_base_closed_with_callbacks_queued() -> None:
    base = ev.EventBase()
    before = len(os.listdir("/proc/self/fd"))
    one, other = bev_pair(base, ev.Option.CLOSE_ON_FREE | ev.Option.DEFER_CALLBACKS)
    for bev in (one, other):
        bev.set_callbacks(print, print, print)
        bev.enable()
        bev.write(b"x" * 1000)
        bev.trigger(ev.EventFlag.READ, ignore_watermarks=True)
    base.close()
    assert len(os.listdir("/proc/self/fd")) < before


@guard("event_base_loop", TypeError)
def an_event_without_a_base() -> None:
    ev.Event(None, -1, ev.EventFlag(0), print)  # type: ignore[arg-type]


@guard("event_base_priority_init", RuntimeError)
def fewer_priorities_after_something_was_made() -> None:
    with ev.EventBase(priorities=5) as base:
        base.event(-1, ev.EventFlag(0), print, priority=4).active()
        base.priorities = 2


@guard("event_base_priority_init", ValueError)
def too_many_priorities() -> None:
    ev.EventBase(priorities=256)


@guard("event_base_once", OSError)
def once_on_a_regular_file() -> None:
    with ev.EventBase() as base, tempfile.TemporaryFile() as file:
        try:
            base.once(file, ev.EventFlag.READ, print)
        finally:
            base.timer(0, lambda event, what: None)
            base.dispatch()  # hangs where a lock was left


@guard("event_base_once", OSError)
def once_on_a_bad_descriptor() -> None:
    with ev.EventBase() as base:
        try:
            base.once(999, ev.EventFlag.READ, print)
        finally:
            base.dispatch()


@guard("event_base_init_common_timeout", ValueError)
def a_negative_common_timeout() -> None:
    with ev.EventBase() as base:
        base.common_timeout(-0.5)


@guard("event_base_init_common_timeout", OSError)
def too_many_common_timeouts() -> None:
    with ev.EventBase() as base:
        for n in range(1000):
            base.common_timeout(n / 1000)


@guard("event_base_foreach_event")
def foreach_that_calls_into_the_base() -> None:
    with ev.EventBase() as base:
        events = [base.timer(60, lambda event, what: None) for _ in range(5)]
        base.foreach(lambda info: events.pop().close() if events else None)
        base.foreach(lambda info: base.call_soon_threadsafe(print))


@guard("event_add", ValueError)
def a_persistent_timer_of_a_negative_time() -> None:
    with ev.EventBase() as base:
        base.timer(-1, print, persist=True)


@guard("event_add")
def every_kind_of_fraction() -> None:
    with ev.EventBase() as base:
        for seconds in (1.1, 1.999999, 1.9999999, 0.0000001, 0.5, 1e9, 5e-324):
            event = base.event(-1, ev.EventFlag.PERSIST, print)
            event.add(seconds)
            event.close()
            one, other = bev_pair(base)
            one.set_timeouts(seconds, seconds)
            one.close()
            other.close()


@guard("event_add", ValueError)
def a_time_beyond_all_times() -> None:
    with ev.EventBase() as base:
        for seconds in (1e18, float(2**63), 1e308, float("inf"), float("nan")):
            try:
                base.timer(seconds, print)
            except ValueError:
                continue
            raise AssertionError(seconds)
        base.timer(1.1e9, print)


@guard("event_add", ValueError)
def a_timer_that_persists_without_time() -> None:
    with ev.EventBase() as base:
        base.timer(0, print, persist=True)


@guard("event_active", ValueError)
def a_signal_activated_with_nonsense() -> None:
    with ev.EventBase() as base:
        base.signal(signal.SIGUSR1, print).active(ev.EventFlag.PERSIST)


@guard("event_priority_set", ValueError)
def a_priority_that_is_none() -> None:
    with ev.EventBase(priorities=2) as base:
        base.event(-1, ev.EventFlag(0), print).priority = 2


@guard("event_new", ValueError, OSError)
def signals_beyond_all_signals() -> None:
    with ev.EventBase() as base:
        for number in (0, -1, 65, 128, 2**31, 2**63):
            try:
                base.signal(number, print)
            except (ValueError, OSError):
                continue
            raise AssertionError(number)
        base.signal(signal.SIGKILL, print)


@guard("event_reinit", OSError)
def reinit_without_descriptors() -> None:
    with ev.EventBase() as base:
        used = len(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        try:
            base.reinit()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            base.timer(0, lambda event, what: None)
            base.dispatch()


@guard("event_free")
def an_event_closed_twice_and_in_another_thread() -> None:
    with ev.EventBase() as base:
        event = base.timer(60, print)
        base.timer(0.2, lambda event, what: base.loopexit())
        thread = threading.Thread(target=event.close)
        base.call_soon(thread.start)
        base.dispatch()
        thread.join(10)
        event.close()
        event.close()


@guard("event_base_loop", RuntimeError)
def a_loop_in_its_own_loop() -> None:
    with ev.EventBase() as base:
        base.timer(0, lambda event, what: base.loop())
        base.dispatch()


@guard("event_assign", ValueError)
def flags_that_exclude_each_other() -> None:
    with ev.EventBase() as base:
        base.event(1, ev.EventFlag.READ | ev.EventFlag.SIGNAL, print)


@guard("event_base_loop", ev.ForkedError)
def a_loop_in_a_forked_child() -> None:
    base = ev.EventBase()
    timer = base.timer(60, print)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            timer.delete()
        except ev.ForkedError:
            code = 0
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    base.close()
    raise ev.ForkedError("seen in the child")


@guard("event_set_log_callback")
def a_log_handler_that_uses_the_base() -> None:
    base, seen = ev.EventBase(), []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())
            base.timer(0, lambda event, what: None)
            base.dump()
            base.close()

    logger = logging.getLogger("pylibevent")
    logger.addHandler(Handler())
    bogus = base.event(1000, ev.EventFlag.READ, print)
    for _ in range(2):
        with contextlib.suppress(OSError, ev.ClosedError):
            bogus.add()  # epoll refuses it, and libevent warns
    assert len(seen) == 1
    assert base.closed


# ---------------------------------------------------------------- buffer.h


def a_full_chain() -> ev.Buffer:
    buffer = ev.Buffer()
    buffer.write(b"x" * 4096)
    buffer.write(b"x" * (buffer.contiguous if buffer.contiguous < 8192 else 1))
    return buffer


@guard("evbuffer_reserve_space", ValueError)
def reserving_nothing() -> None:
    with a_full_chain().reserve(0, 2):
        pass


@guard("evbuffer_reserve_space", MemoryError, ValueError)
def reserving_all_there_is() -> None:
    with ev.Buffer().reserve(sys.maxsize, 2):
        pass


@guard("evbuffer_read")
def reading_nothing_from_a_descriptor() -> None:
    one, other = socket.socketpair()
    with one, other:
        other.send(b"x")
        assert a_full_chain().read_from(one, 0) == 0


@guard("evbuffer_read", ValueError, MemoryError)
def reading_more_than_an_int() -> None:
    with open("/dev/zero", "rb", buffering=0) as file:
        ev.Buffer().read_from(file, 2**31)


@guard("evbuffer_remove")
def taking_more_than_there_is() -> None:
    buffer = ev.Buffer(b"abc")
    assert buffer.read(2**40) == b"abc"
    assert buffer.remove_buffer(ev.Buffer(), 2**40) == 0
    buffer.drain(2**40)


@guard("evbuffer_copyout_from", ValueError)
def copying_from_before_the_start() -> None:
    assert ev.Buffer(b"abc").copyout(10, 1000) == b""
    ev.Buffer(b"abc").copyout(1, -5)


@guard("evbuffer_search_range")
def searching_beyond_the_end() -> None:
    buffer = ev.Buffer(b"abc")
    assert buffer.search(b"a", 2**40) is None
    assert buffer.search(b"c", 0, 2**40) == 2
    assert buffer.search(b"c", 3, 1) is None
    assert buffer.search(b"x" * 100) is None
    assert buffer.search_eol(ev.EOLStyle.LF, 2**40) is None


@guard("evbuffer_pullup")
def pulling_up_what_is_shared() -> None:
    source, sibling = ev.Buffer(b"x" * 5000), ev.Buffer()
    source.write(b"y" * 5000)
    sibling.add_buffer_reference(source)
    sibling.pullup()
    sibling.drain(2500)
    assert bytes(source) == b"x" * 5000 + b"y" * 5000
    assert bytes(sibling) == b"x" * 2500 + b"y" * 5000


@guard("evbuffer_pullup", ValueError, MemoryError)
def pulling_up_more_than_there_is() -> None:
    buffer = ev.Buffer(b"abc")
    buffer.pullup(2**40)
    raise ValueError("nothing happened")


@guard("evbuffer_add_buffer_reference")
def sharing_with_a_buffer_whose_first_chain_is_empty() -> None:
    source, other = ev.Buffer(b"shared"), ev.Buffer()
    other.expand(100)
    other.write(b"x")
    other.drain(1)
    other.add_buffer_reference(source)
    del source
    gc.collect()
    assert other.read() == b"shared"


@guard("evbuffer_add_buffer_reference", ValueError, ev.Error)
def sharing_with_itself() -> None:
    buffer = ev.Buffer(b"abc")
    buffer.add_buffer_reference(buffer)


@guard("evbuffer_add_buffer", ValueError)
def moving_to_itself() -> None:
    buffer = ev.Buffer(b"abc")
    buffer.add_buffer(buffer)


@guard("evbuffer_file_segment_new", ValueError)
def a_segment_beyond_the_end_of_its_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100)
        file.flush()
        ev.FileSegment(file, 50, 100)


@guard("evbuffer_add_file_segment", ValueError)
def a_negative_offset() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100)
        file.flush()
        with ev.FileSegment(file) as segment:
            ev.Buffer().add_file_segment(segment, -1)


@guard("evbuffer_file_segment_new")
def a_file_that_shrinks() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1_000_000)
        file.flush()
        buffer = ev.Buffer()
        buffer.add_file(file)
        with ev.FileSegment(file) as segment:
            file.truncate(0)
            buffer.add_file_segment(segment)
        assert bytes(buffer) == b"x" * 2_000_000


@guard("evbuffer_add_file_segment", ev.ClosedError, ValueError)
def a_segment_that_was_closed() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100)
        file.flush()
        segment = ev.FileSegment(file)
        segment.close()
        ev.Buffer().add_file_segment(segment)


@guard("evbuffer_remove_cb_entry")
def removing_the_next_callback_in_a_callback() -> None:
    buffer = ev.Buffer()
    called: list[str] = []
    entries: list[ev.BufferCallback] = []

    def first(buffer: ev.Buffer, change: ev.BufferChange) -> None:
        called.append("first")
        for entry in entries:
            entry.remove()

    entries.append(buffer.add_callback(first))
    entries.append(buffer.add_callback(lambda buffer, change: called.append("second")))
    buffer.write(b"x")
    buffer.write(b"x")
    assert called.count("first") == 1, called


@guard("evbuffer_free")
def a_buffer_closed_in_its_own_callback() -> None:
    buffer = ev.Buffer()
    buffer.add_callback(lambda buffer, change: buffer.close())
    buffer.add_callback(lambda buffer, change: None)
    buffer.write(b"x")
    assert buffer.closed
    buffer.close()


@guard("evbuffer_free", ev.Error, TypeError, RuntimeError, BufferError)
def closing_the_buffer_of_a_bufferevent() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        one.input.close()
        one.read()
        raise ev.Error("closing it did no harm")


@guard("evbuffer_defer_callbacks", TypeError)
def deferring_to_nothing() -> None:
    buffer = ev.Buffer()
    buffer.defer_callbacks(None)
    buffer.defer_callbacks(1)  # type: ignore[arg-type]


@guard("evbuffer_unfreeze", BufferError)
def draining_the_output_of_a_bufferevent() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        one.write(b"abc")
        one.output.unfreeze(start=True)
        one.output.drain(1)


@guard("evbuffer_unfreeze", BufferError)
def adding_to_the_input_of_a_bufferevent() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        one.input.unfreeze(start=False)
        one.input.write(b"abc")


@guard("evbuffer_commit_space", ValueError)
def committing_more_than_was_reserved() -> None:
    with ev.Buffer().reserve(10) as reservation:
        reservation.commit(1_000_000)


@guard("evbuffer_peek", BufferError)
def changing_what_is_looked_at() -> None:
    buffer = ev.Buffer(b"abc")
    with buffer.peek():
        buffer.drain(1)


@guard("evbuffer_expand", MemoryError, ValueError)
def expanding_beyond_all_memory() -> None:
    ev.Buffer().expand(sys.maxsize)


# ---------------------------------------------------------------- bufferevent.h


@guard("bufferevent_free")
def a_bufferevent_closed_twice_and_in_its_callback() -> None:
    with ev.EventBase() as base:
        one, other = bev_pair(base)
        one.set_callbacks(read=lambda bev: (bev.close(), bev.close()))
        one.enable()
        other.write(b"x")
        base.loop(ev.LoopFlag.ONCE)
        one.close()
        one.abort()
        other.close()


@guard("bufferevent_socket_connect", OSError)
def connecting_twice() -> None:
    with ev.EventBase() as base, socket.create_server(("127.0.0.1", 0)) as server:
        bev = ev.SocketBufferEvent(base)
        bev.connect(server.getsockname())
        bev.connect(server.getsockname())


@guard("bufferevent_socket_connect", TypeError, ValueError)
def connecting_to_nonsense() -> None:
    with ev.EventBase() as base:
        bev = ev.SocketBufferEvent(base)
        addresses: list[Any] = [
            None,
            1,
            (),
            ("",),
            ("127.0.0.1", -1),
            ("127.0.0.1", 2**31),
            "x" * 200,
            ("::1", 1, 2),
            b"\0" * 200,
        ]
        for address in addresses:
            try:
                bev.connect(address)
            except (TypeError, ValueError):
                continue
            raise AssertionError(address)
        bev.connect(("localhost", 1))


@guard("bufferevent_socket_connect_hostname")
def connecting_by_name_without_a_resolver() -> None:
    with ev.EventBase() as base:
        bev = ev.SocketBufferEvent(base)
        seen: list[ev.What] = []
        bev.set_callbacks(event=lambda bev, what: seen.append(what))
        bev.connect_hostname("localhost", 1)
        assert not seen  # not before it returns
        base.dispatch()
        assert seen == [ev.What.WRITING | ev.What.ERROR] or seen == [ev.What.ERROR], seen
        bev.close()


@guard("bufferevent_socket_new", ValueError)
def unlocking_without_deferring() -> None:
    with ev.EventBase() as base:
        ev.SocketBufferEvent(base, None, ev.Option.UNLOCK_CALLBACKS)


@guard("bufferevent_setwatermark")
def a_reader_that_leaves_its_high_mark() -> None:
    with ev.EventBase() as base:
        one, other = bev_pair(base)
        one.set_watermark(ev.EventFlag.READ, 0, 10)
        one.set_callbacks(read=lambda bev: None)
        one.enable()
        other.write(b"x" * 100)
        base.timer(0.3, lambda event, what: base.loopexit())
        base.dispatch()
        assert base.statistics.polls < 100, base.statistics
        one.close()
        other.close()


@guard("bufferevent_set_timeouts", ValueError)
def timeouts_that_are_none() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        one.set_timeouts(-1, 0)


@guard("bufferevent_set_max_single_read", ValueError)
def a_single_read_beyond_an_int() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        one.max_single_read = 2**32


@guard("ev_token_bucket_cfg_new", ValueError)
def ticks_and_rates_that_are_none() -> None:
    refused = 0
    for arguments in ((1, 1, 1, 1, 0), (1, 1, 1, 1, 0.0005), (1, 1, 1, 1, -1), (1, 1, 1, 1, 536870912), (2**32, 1), (1, 2**32)):
        try:
            ev.RateLimit(*arguments)
        except ValueError:
            refused += 1
    assert refused == 6, refused
    raise ValueError("all of them")


@guard("bufferevent_decrement_read_limit", RuntimeError)
def decrementing_a_limit_that_is_not_there() -> None:
    with ev.EventBase() as base, ev.RateLimitGroup(base, ev.RateLimit(1, 1)) as group:
        one, _other = bev_pair(base)
        group.add(one)
        one.decrement_read_limit(1)


@guard("bufferevent_rate_limit_group_set_min_share", ValueError)
def a_share_of_nothing() -> None:
    with ev.EventBase() as base, ev.RateLimitGroup(base, ev.RateLimit(1, 1)) as group:
        group.min_share = 0


@guard("bufferevent_rate_limit_group_free")
def a_group_closed_with_members() -> None:
    with ev.EventBase() as base:
        group = ev.RateLimitGroup(base, ev.RateLimit(10, 10, tick=0.001))
        ends = bev_pair(base)
        for bev in ends:
            group.add(bev)
            bev.enable()
            bev.write(b"x" * 1000)
        ends[0].abort()  # libevent frees it in some later pass
        group.close()
        base.loop(ev.LoopFlag.NONBLOCK)
        base.loop(ev.LoopFlag.NONBLOCK)


@guard("bufferevent_add_to_rate_limit_group", ValueError)
def a_member_from_another_base() -> None:
    with ev.EventBase() as base, ev.EventBase() as second, ev.RateLimitGroup(second, ev.RateLimit(1, 1)) as group:
        one, _other = bev_pair(base)
        group.add(one)


@guard("bufferevent_set_rate_limit")
def a_limit_that_nobody_keeps() -> None:
    with ev.EventBase() as base:
        ends = bev_pair(base)
        for bev in ends:
            bev.set_rate_limit(ev.RateLimit(10, 10, tick=0.001))
            bev.enable()
            bev.write(b"x" * 100)
        gc.collect()
        base.timer(0.05, lambda event, what: base.loopexit())
        base.dispatch()
        ends[0].abort()
        ends[1].set_rate_limit(None)
        base.loop(ev.LoopFlag.NONBLOCK)


@guard("bufferevent_priority_set", ValueError)
def a_priority_the_base_does_not_have() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        one.priority = 1


@guard("bufferevent_write_buffer", ev.ClosedError)
def writing_a_closed_buffer() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        buffer = ev.Buffer(b"abc")
        buffer.close()
        one.write_buffer(buffer)


@guard("bufferevent_read_buffer")
def reading_into_its_own_output() -> None:
    with ev.EventBase() as base:
        one, other = bev_pair(base)
        one.enable()
        other.write(b"abc")
        while not one.input:
            base.loop(ev.LoopFlag.ONCE)
        one.read_buffer(one.output)
        assert bytes(one.output) == b"abc"
        one.close()
        other.close()


# ---------------------------------------------------------------- listener.h


@guard("evconnlistener_new")
def a_listener_on_a_blocking_socket() -> None:
    with ev.EventBase() as base:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(True)
        accepted: list[socket.socket] = []
        listener = ev.Listener.from_socket(base, sock, lambda listener, sock, address: accepted.append(sock))
        with listener, socket.create_connection(listener.address):
            while not accepted:
                base.loop(ev.LoopFlag.ONCE)
            base.loop(ev.LoopFlag.NONBLOCK)  # would hang in accept
        accepted[0].close()


@guard("evconnlistener_new", OSError)
def a_listener_on_what_is_no_socket() -> None:
    with ev.EventBase() as base, tempfile.TemporaryFile() as file:
        ev.Listener.from_socket(base, file, print)


@guard("evconnlistener_disable", RuntimeError)
def a_listener_disabled_from_another_thread() -> None:
    with ev.EventBase() as base:
        with ev.Listener.bind(base, ("127.0.0.1", 0), print) as listener:
            caught: list[BaseException] = []

            def disable() -> None:
                try:
                    listener.disable()
                except BaseException as error:
                    caught.append(error)
                base.loopexit()

            base.call_soon(lambda: threading.Thread(target=disable).start())
            base.dispatch()
        raise caught[0]


@guard("evconnlistener_set_error_cb")
def a_listener_without_descriptors() -> None:
    with ev.EventBase() as base:
        errors: list[OSError] = []
        accepted: list[socket.socket] = []
        listener = ev.Listener.bind(
            base,
            ("127.0.0.1", 0),
            lambda listener, sock, address: accepted.append(sock),
            error=lambda listener, error: errors.append(error),
        )
        with listener, socket.socket() as client:
            used = max(int(name) for name in os.listdir("/proc/self/fd"))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            base.loop(ev.LoopFlag.NONBLOCK)
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
            holes = []
            try:
                while True:
                    holes.append(os.dup(0))
            except OSError:
                pass
            client.connect(listener.address)
            base.timer(0.35, lambda event, what: base.loopexit())
            base.dispatch()
            assert errors
            assert len(errors) < 10, len(errors)  # paused, not spinning
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for hole in holes:
                os.close(hole)
            while not accepted:
                base.loop(ev.LoopFlag.ONCE)
            accepted[0].close()


# ---------------------------------------------------------------- bufferevent_ssl.h


@guard("bufferevent_openssl_filter_new", TypeError)
def tls_without_a_context() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        ev.TLSBufferEvent.wrap(one, None)  # type: ignore[arg-type]


@guard("bufferevent_openssl_filter_new", ValueError)
def tls_that_unlocks_without_deferring() -> None:
    with ev.EventBase() as base:
        one, _other = bev_pair(base)
        ctx = ev.TLSContext.client()
        ev.TLSBufferEvent.wrap(one, ctx, server_hostname="server.test", options=ev.Option.UNLOCK_CALLBACKS)


@guard("bufferevent_openssl_filter_new")
def tls_in_tls_in_tls() -> None:
    with ev.EventBase() as base:
        one, other = bev_pair(base)
        bev: ev.BufferEvent = one
        ctx = ev.TLSContext.client()
        for _ in range(3):
            bev = ev.TLSBufferEvent.wrap(bev, ctx, server_hostname="server.test")
            bev.enable()
        other.write(b"nothing of TLS" * 100)
        base.timer(0.1, lambda event, what: base.loopexit())
        base.dispatch()
        bev.abort()
        other.close()


@guard("bufferevent_openssl_filter_new")
def tls_that_fails_leaves_what_it_stood_on() -> None:
    with ev.EventBase() as base:
        one, other = bev_pair(base)
        ctx = ev.TLSContext.client()
        for name in (None, "", "x" * 300, "a\0b", ".", "\ud800"):
            try:
                ev.TLSBufferEvent.wrap(one, ctx, server_hostname=name)
            except (ValueError, ev.TLSError):
                continue
            raise AssertionError(name)
        one.enable()
        other.write(b"abc")
        while not one.input:
            base.loop(ev.LoopFlag.ONCE)
        assert one.read() == b"abc"
        one.close()
        other.close()


@guard("bufferevent_openssl_filter_new", ev.ClosedError)
def tls_over_what_is_closed() -> None:
    with ev.EventBase() as base:
        one, other = bev_pair(base)
        one.close()
        other.close()
        ev.TLSBufferEvent.wrap(one, ev.TLSContext.client(), server_hostname="server.test")


# ---------------------------------------------------------------- dns.h


@guard("evdns_base_free")
def a_resolver_closed_with_questions_under_way() -> None:
    with ev.EventBase() as base, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dns = ev.DNSBase(base, system=False)
        dns.add_nameserver(silent.getsockname())
        called: list[object] = []
        requests = [dns.getaddrinfo(f"name{n}.test", 80, called.append) for n in range(5)]
        requests.append(dns.resolve_ipv4("name.test", called.append))
        base.loop(ev.LoopFlag.NONBLOCK)
        dns.close()
        base.loop(ev.LoopFlag.NONBLOCK)
        assert not called
        for request in requests:
            request.cancel()


@guard("evdns_getaddrinfo", TypeError, ValueError)
def names_that_are_none() -> None:
    with ev.EventBase() as base, ev.DNSBase(base) as dns:
        for name in ("", "a\0b", "x" * 300, None, b"x", 1):
            try:
                dns.getaddrinfo(name, 80, print)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            raise AssertionError(name)
        dns.getaddrinfo("x.test", 65536, print)


@guard("bufferevent_filter_new")
def filters_without_progress() -> None:
    with ev.EventBase() as base:
        one, other = ev.PairBufferEvent.new(base)
        first = ev.FilterBufferEvent(one, None, lambda *_: ev.FilterResult.OK)
        second = ev.FilterBufferEvent(other, lambda *_: ev.FilterResult.OK)
        first.write(b"x")
        second.enable()
        base.loop(ev.LoopFlag.NONBLOCK)
        one_more, _ = ev.PairBufferEvent.new(base)
        _.write(b"x")
        third = ev.FilterBufferEvent(one_more, lambda *_: ev.FilterResult.OK)
        third.enable()
        assert base.dispatch()


@guard("bufferevent_filter_new", RuntimeError)
def a_base_closed_in_a_filter() -> None:
    base = ev.EventBase()
    one, _other = ev.PairBufferEvent.new(base)
    bev = ev.FilterBufferEvent(one, None, lambda *_: base.close())
    bev.write(b"x")
    try:
        base.dispatch()
    finally:
        base.close()


@guard("bufferevent_filter_new")
def a_filter_freed_in_its_own_call() -> None:
    with ev.EventBase() as base:
        one, other = ev.PairBufferEvent.new(base)

        def close(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
            bev.abort()
            source.remove_buffer(destination)
            return ev.FilterResult.OK

        bev = ev.FilterBufferEvent(one, close, close)
        bev.enable()
        bev.write(b"x")
        other.close()
        base.dispatch()


@guard("bufferevent_filter_new", ValueError)
def a_filter_with_options_that_exclude_each_other() -> None:
    with ev.EventBase() as base:
        ev.FilterBufferEvent(ev.PairBufferEvent.new(base)[0], options=ev.Option.UNLOCK_CALLBACKS)


@guard("bufferevent_pair_new", ev.ClosedError)
def a_pair_on_a_closed_base() -> None:
    base = ev.EventBase()
    base.close()
    ev.PairBufferEvent.new(base)


@guard("bufferevent_free (one end of a pair)", BrokenPipeError)
def writing_to_a_freed_partner() -> None:
    with ev.EventBase() as base:
        one, other = ev.PairBufferEvent.new(base)
        one.close()
        base.loop(ev.LoopFlag.NONBLOCK)
        other.write(b"x")


def main(name: str) -> None:
    """Make the call, and say what came of it."""
    _function, expected = EXPECTED[name]
    try:
        CALLS[name]()
    except (ev.Error, TypeError, ValueError, OSError, RuntimeError, BufferError, MemoryError) as error:
        if expected is None or not isinstance(error, expected):
            raise
        print(f"{type(error).__name__}: {error}")
    else:
        if expected is not None:
            raise AssertionError(f"raised none of {expected}")
        print("harmless")


if __name__ == "__main__":
    main(sys.argv[1])
