"""What libevent says goes to logging.getLogger("pylibevent"), and never to stderr."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator

import pytest
from support import GIVE_UP, check_child

import pylibevent as ev

BOGUS = 1000
"""A descriptor that isn't open: epoll refuses it, and libevent warns."""


@pytest.fixture
def watch(base: ev.EventBase) -> ev.Event:
    return base.event(BOGUS, ev.EventFlag.READ, print)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What was logged; libevent's talk about each step is off again afterwards."""
    caplog.set_level(logging.DEBUG, logger="pylibevent")
    yield caplog
    ev.enable_debug_logging(False)


def test_a_warning_comes_before_its_exception(logged: pytest.LogCaptureFixture, watch: ev.Event) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        watch.add()
    (record,) = logged.records
    assert (record.name, record.levelno) == ("pylibevent", logging.WARNING)
    assert re.match(rf"libevent: Epoll ADD.* on fd {BOGUS} failed.*Bad file descriptor", record.getMessage())


def test_each_message_is_logged_once(logged: pytest.LogCaptureFixture, watch: ev.Event, base: ev.EventBase) -> None:
    for _ in range(3):
        with pytest.raises(OSError, match="Bad file descriptor"):
            watch.add()
    base.loop(ev.LoopFlag.NONBLOCK)
    assert len(logged.records) == 3


def test_a_base_that_can_not_be_made_is_logged(logged: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ev.Error):
        ev.EventBase(ev.EventConfig(avoid=ev.supported_methods()))
    assert [record.getMessage() for record in logged.records if "no event mechanism" in record.getMessage()]


def test_nothing_is_logged_when_nothing_is_wrong(logged: pytest.LogCaptureFixture, base: ev.EventBase) -> None:
    base.timer(0.001, lambda event, what: None)
    base.dispatch()
    base.close()
    assert logged.records == []


def test_a_log_handler_that_uses_the_library(watch: ev.Event) -> None:
    """It may log anew, from inside: each message comes once, and nothing recurses without end."""
    texts: list[str] = []

    class Using(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())
            if len(texts) == 1:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    watch.add()

    handler, logger = Using(), logging.getLogger("pylibevent")
    logger.addHandler(handler)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            watch.add()
        assert len(texts) == 2
    finally:
        logger.removeHandler(handler)


def test_a_log_handler_that_raises_loses_no_message(watch: ev.Event) -> None:
    """Its error comes out of where the message was handed over, and the next message finds the log working."""
    texts: list[str] = []

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())
            if len(texts) == 1:
                raise LookupError("from the handler")

    handler, logger = Raising(), logging.getLogger("pylibevent")
    logger.addHandler(handler)
    try:
        with pytest.raises(LookupError, match="from the handler"):
            watch.add()
        with pytest.raises(OSError, match="Bad file descriptor"):
            watch.add()
        assert len(texts) == 2
    finally:
        logger.removeHandler(handler)


def test_messages_of_several_threads(logged: pytest.LogCaptureFixture) -> None:
    """200 warnings from four threads, with a base each: all of them are logged, or counted as lost."""

    def warn() -> None:
        with ev.EventBase() as base:
            event = base.event(BOGUS, ev.EventFlag.READ, print)
            for _ in range(50):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    event.add()

    threads = [threading.Thread(target=warn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GIVE_UP)
    with pytest.raises(ev.Error):  # logs itself, after what may be left
        ev.EventBase(ev.EventConfig(avoid=ev.supported_methods()))
    texts = [record.getMessage() for record in logged.records]
    lost = [re.search(r"(\d+) messages of libevent were lost", text) for text in texts]
    assert len([text for text in texts if "Epoll ADD" in text]) + sum(int(m[1]) for m in lost if m) == 200


def test_what_libevent_does_step_by_step(logged: pytest.LogCaptureFixture, base: ev.EventBase) -> None:
    """Where it was built for that; switched off, it is silent again."""
    ev.enable_debug_logging()
    base.timer(0, lambda event, what: None)
    base.dispatch()
    ev.enable_debug_logging(False)
    base.loop(ev.LoopFlag.NONBLOCK)  # hands over what came last
    assert all(record.levelno == logging.DEBUG for record in logged.records)
    told = len(logged.records)
    base.timer(0, lambda event, what: None)
    base.dispatch()
    assert len(logged.records) == told


def test_without_a_handler_nothing_is_printed() -> None:
    """Warnings of a logger without handlers would go to stderr."""
    code = """
import logging
import pylibevent as ev

with ev.EventBase() as base:
    for _ in range(100):
        try:
            base.event(1000, ev.EventFlag.READ, print).add()
        except OSError as error:
            print(error.errno)
            break
    ev.enable_debug_logging()
    base.timer(0, lambda event, what: None)
    base.dispatch()
try:
    ev.EventBase(ev.EventConfig(avoid=ev.supported_methods()))
except ev.Error:
    print("refused")
"""
    assert check_child(code).splitlines() == ["9", "refused"]


def test_a_program_that_logs_to_stderr_sees_it() -> None:
    code = """
import logging, sys
logging.basicConfig(format="%(name)s %(levelname)s %(message).14s", stream=sys.stdout)
import pylibevent as ev

with ev.EventBase() as base:
    try:
        base.event(1000, ev.EventFlag.READ, print).add()
    except OSError:
        pass
"""
    assert check_child(code) == "pylibevent WARNING libevent: Epol\n"
