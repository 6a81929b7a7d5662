"""Loads the extension, looks whether it fits the libraries that are there, and carries libevent's log to Python's.

libevent and OpenSSL are linked by name and may be replaced under us. Their versions at build time and now are compared
here, before anything else is called: libevent within 2.1 or within 2.2 and not older than what was compiled against (and
its struct event, which our handles embed, of the same size); OpenSSL of the same major version and not an older minor one.
"""

from __future__ import annotations

import logging
import threading

from ._libevent import ffi, lib

_LEVELS = {
    lib.EVENT_LOG_DEBUG: logging.DEBUG,
    lib.EVENT_LOG_MSG: logging.INFO,
    lib.EVENT_LOG_WARN: logging.WARNING,
    lib.EVENT_LOG_ERR: logging.ERROR,
}

_logger = logging.getLogger("pylibevent")
_logger.addHandler(logging.NullHandler())
_log_lock = threading.Lock()


def _text(pointer: object) -> str:
    return str(ffi.string(pointer).decode()) if pointer else ""


def _check_libevent() -> None:
    compiled, loaded = lib.pev_compiled_libevent(), lib.pev_loaded_libevent()
    if compiled >> 16 != loaded >> 16 or loaded < compiled or not lib.pev_event_abi_ok():
        raise ImportError(
            f"pylibevent was compiled against libevent {_text(lib.pev_compiled_libevent_name())} and finds "
            f"{_text(lib.pev_loaded_libevent_name())}, whose binary interface differs: build pylibevent again"
        )


def _check_openssl() -> None:
    compiled, loaded = lib.pev_compiled_openssl(), lib.pev_loaded_openssl()
    if compiled >> 28 != loaded >> 28 or loaded >> 20 < compiled >> 20:
        raise ImportError(
            f"pylibevent was compiled against {_text(lib.pev_compiled_openssl_name())} and finds "
            f"{_text(lib.pev_loaded_openssl_name())}, whose binary interface differs: build pylibevent again"
        )


def _start() -> None:
    _check_libevent()
    _check_openssl()
    if lib.pev_init() < 0 or lib.pev_watch_forks() < 0 or lib.pev_tls_init() < 0:
        raise ImportError("libevent could not be prepared for use with threads and TLS")


_start()

libevent_version: str = _text(lib.pev_loaded_libevent_name())
openssl_version: str = _text(lib.pev_loaded_openssl_name())


def supported_methods() -> tuple[str, ...]:
    """The ways of waiting that this build of libevent has, best first (``event_get_supported_methods``).

    Returns:
        Names such as ``("epoll", "poll", "select")``.
    """
    out = ffi.new("char[64]")
    names: list[str] = []
    while lib.pev_method_name(len(names), out, 64) >= 0:
        names.append(_text(out))
    return tuple(names)


def enable_debug_logging(enable: bool = True) -> None:
    """Have libevent log what it does, as far as it was built for that (``event_enable_debug_logging``).

    The messages go to ``logging.getLogger("pylibevent")`` at level DEBUG.
    """
    lib.pev_log_debug(enable)


def drain_log() -> None:
    """Hand what libevent has logged since the last time to ``logging.getLogger("pylibevent")``.

    Loops do this after each pass; errors outside of a loop do it before they are raised.
    """
    if not _log_lock.acquire(blocking=False):
        return  # another thread is at it, or a handler of the logger called us
    try:
        out, severity = ffi.new("char[512]"), ffi.new("int *")
        while lib.pev_log_next(severity, out, 512) >= 0:
            text = ffi.string(out).decode(errors="replace")
            _logger.log(_LEVELS.get(severity[0], logging.WARNING), "libevent: %s", text)
    finally:
        _log_lock.release()
