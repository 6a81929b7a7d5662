"""A port of libevent's sample/signal-test.c: counts SIGINT, and ends with the third.

    python signal_test.py      (press Ctrl-C three times)
"""

from __future__ import annotations

import signal

import pylibevent as ev

ENOUGH = 3


def main() -> None:
    called = 0

    def on_signal(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal called
        called += 1
        print(f"got signal {event.fd}", flush=True)
        if called == ENOUGH:
            event.delete()  # nothing is left to wait for: the loop ends

    with ev.EventBase() as base:
        base.signal(signal.SIGINT, on_signal)
        print("waiting for SIGINT", flush=True)
        base.dispatch()


if __name__ == "__main__":
    main()
