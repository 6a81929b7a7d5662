"""python -m benchmarks [--quick] [--only SECTION ...] [--docs DIRECTORY] [--report-only]

Measures pylibevent beside bare epoll, a C program on libevent, uvloop, asyncio and gevent, and prints tables. With --docs it
writes benchmarks.md, benchmarks.json and benchmarks.svg there; with --report-only too it measures nothing, and writes the page
and the picture anew from the JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

from . import report
from .measure import QUICK, Plan
from .sections import SECTIONS
from .servers import prepare


def note(progress: str) -> None:
    """On the terminal, so that one sees it live."""
    print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="pylibevent beside its peers, in one run.")
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument("--only", nargs="+", choices=sorted(SECTIONS), help="some sections")
    parser.add_argument("--rounds", type=int, help="how many rounds (5)")
    parser.add_argument("--seconds", type=float, help="how long each server is measured in a round (1)")
    parser.add_argument("--docs", type=Path, help="write the page, the JSON and the picture into this directory")
    parser.add_argument("--report-only", action="store_true", help="measure nothing: write the page from the JSON in --docs")
    options = parser.parse_args()
    if options.report_only:
        if options.docs is None:
            parser.error("--report-only needs --docs, where benchmarks.json is")
        report.write(options.docs, *report.from_json((options.docs / "benchmarks.json").read_text()))
        return
    facts = report.machine()  # before anything changes
    plan = QUICK if options.quick else Plan()
    chosen = {name: getattr(options, name) for name in ("rounds", "seconds") if getattr(options, name) is not None}
    plan = dataclasses.replace(plan, **chosen)
    sections, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        tools = prepare(Path(folder))
        for name, measure in SECTIONS.items():
            if not options.only or name in options.only:
                try:
                    sections.append(measure(tools, plan, note))
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:  # keep what was measured
                    failed.append(f"{name}: {error}")
                    continue
                note("")
                print(report.text(sections[-1]), flush=True)
    if options.docs is not None:
        (options.docs / "benchmarks.json").write_text(report.as_json(sections, facts))
        report.write(options.docs, sections, facts)
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
