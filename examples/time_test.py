"""A port of libevent's sample/time-test.c: a timer that fires every two seconds, and says how many have really passed.

    python time_test.py [-p] [-n COUNT] [SECONDS]

Without ``-p`` the timer starts itself again each time it fires; with it, it is persistent. ``-n`` ends it after so many.
"""

from __future__ import annotations

import argparse
import time

import pylibevent as ev


def main() -> None:
    parser = argparse.ArgumentParser(description="Fire a timer again and again.")
    parser.add_argument("-p", "--persist", action="store_true", help="use a persistent event")
    parser.add_argument("-n", "--count", type=int, help="stop after so many times")
    parser.add_argument("seconds", type=float, nargs="?", default=2.0, help="between two times (%(default)s)")
    options = parser.parse_args()
    last = time.monotonic()
    fired = 0

    def on_timeout(event: ev.Event, what: ev.EventFlag) -> None:
        nonlocal last, fired
        now = time.monotonic()
        print(f"called at {int(time.time())}: {now - last:.3f} seconds elapsed.", flush=True)
        last = now
        fired += 1
        if fired == options.count:
            event.close()
        elif not options.persist:
            event.add()

    with ev.EventBase() as base:
        base.timer(options.seconds, on_timeout, persist=options.persist)
        base.dispatch()


if __name__ == "__main__":
    main()
