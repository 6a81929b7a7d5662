"""Tests of bugs that are known and not mended yet: each is expected to fail until it is, and must be taken out then."""

from __future__ import annotations

_DUE = "an event that is due and not called yet isn't told from an idle one"
_NEWS = "the order of deliveries between buffers' callbacks and references isn't settled yet"

RUN: dict[str, str] = {
    "test_addresses.py::test_unix_names_that_the_system_takes": "abstract names may be 108 bytes long",
    "test_addresses.py::test_the_scope_must_belong": "a scope is dropped with an IPv4 address instead of refused",
    "test_buffer_arguments.py::test_a_closed_segment": "the error for closed segments is another one now",
    "test_buffer_releases.py::test_each_way_out_releases": "pullup() copies references and tells of it late",
    "test_buffer_releases.py::test_an_interrupt_in_one": "an interrupt in one release callback delays the others",
    "test_buffer_views.py::test_the_error_names_the_buffer": "errors of two buffers name the first only",
    "test_buffer_views.py::test_freezing_while_memory_is_reserved": "commit at a frozen end says ValueError",
    "test_buffer_threads.py::test_what_is_reserved": "reserve() and writes of other threads still meet",
    "test_bufferevent_arguments.py::test_a_resolver_of": "a resolver of another base is taken",
    "test_bufferevent_arguments.py::test_small_writes": "a socket that connect() made is inherited by programs",
    "test_bufferevent_arguments.py::test_a_borrowed": "detach() of a borrowed descriptor drops its owner",
    "test_bufferevent_errors.py::test_closed_in_every_callback[output": "changes made before a close are told after it",
    "test_bufferevent_errors.py::test_what_a_warning_brings_back": "a base that a warning brings back is closed",
    "test_dns_files.py::test_options_that_are_none": "evdns takes an empty number for 0",
    "test_event_crowds.py::test_a_wake_up_that_is_left_over": "a wake-up that is left over ends one loop(ONCE) early",
    "test_event_crowds.py::test_a_loop_that_runs_is_refused": "the errors are other ones while a loop runs",
    "test_event_rearming.py::test_what_is_due_is_pending": _DUE,
    "test_event_rearming.py::test_removing_the_timeout_of": _DUE,
    "test_interrupt.py::test_ctrl_c_loses_nothing": "an interrupt between a callback's call and its first line loses that call",
    "test_lifetime_memory.py::test_what_was_lent": "what a collected buffer refers to is let go at the next operation",
    "test_listener.py::test_disabled_by_its_callback": "loop(NONBLOCK) counts what a disabled listener has noted",
}
"""By the beginning of the test's name: what is wrong."""

DON_T_RUN: dict[str, str] = {
    "test_buffer_threads.py::test_a_segment_closed": "a segment's close isn't fenced from those who add it",
    "test_event_fork.py::test_a_fork_while_another": "a fork beside a thread that is in the loop may hang the child",
    "test_event_fork.py::test_parent_and_child": "a fork beside a thread that is in the loop may hang the child",
    "test_fork.py": "a fork beside busy threads may hang the child",
    "test_buffer_threads.py::test_shared_bytes_of_two": "libevent locks two buffers that share chains in opposite order",
    "test_buffer_news.py": _NEWS,
    "test_lifetime_threads.py::test_a_close_while_other": "a base's close isn't fenced from bufferevents and listeners",
}
"""The same for those that end or hang the process that runs them."""
