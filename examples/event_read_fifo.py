"""A port of libevent's sample/event-read-fifo.c: prints what is written to a named pipe, until the writers close it.

    python event_read_fifo.py [PATH]      (event.fifo; try: echo hello > event.fifo)

Ctrl-C ends it too; the pipe is removed in any case.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from contextlib import suppress

import pylibevent as ev

SIZE = 254


def on_read(event: ev.Event, what: ev.EventFlag) -> None:
    data = os.read(event.fd, SIZE)
    if not data:
        print("Connection closed", flush=True)
        event.delete()
        event.base.loopbreak()
        return
    print(f"Read: {data.decode(errors='backslashreplace')}", flush=True)


def main(path: str = "event.fifo") -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise SystemExit(f"{path} exists and isn't a named pipe")
        os.unlink(path)
    os.mkfifo(path, 0o600)
    fifo = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with ev.EventBase() as base:
            base.signal(signal.SIGINT, lambda event, what: base.loopbreak())
            base.event(fifo, ev.EventFlag.READ | ev.EventFlag.PERSIST, on_read).add()
            print(f"Write data to {path}", flush=True)
            base.dispatch()
    finally:
        os.close(fifo)
        os.unlink(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
