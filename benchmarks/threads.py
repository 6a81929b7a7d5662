"""Two bases in two threads of one process, over TLS: the passes of both run at once, encryption included."""

from __future__ import annotations

import os

from .measure import Note, Plan, Section, run_script
from .servers import Tools

MEBIBYTE = 1024 * 1024
ROW = "128 KiB messages"


def threads(tools: Tools, plan: Plan, note: Note) -> Section:
    """Time on the clock for each MiB that was echoed."""
    section = Section("threads", "TLS echoed within one process, by bases and threads", "us a MiB")
    for number in range(plan.rounds):
        for bases, subject in ((1, "one"), (2, "two")):
            files = tools.certificate, tools.key, tools.authority
            got = run_script("tls_threads.py", str(bases), str(plan.seconds), *files, cores=len(os.sched_getaffinity(0)))
            section.add(ROW, subject, 1e6 * MEBIBYTE / got["bytes_per_second"])
        note(f"{section.title}, round {number + 1} of {plan.rounds}")
    return section
