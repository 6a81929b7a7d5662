"""A proxy: what a message costs on its way through, both ways. The one it passes on to runs beside the load."""

from __future__ import annotations

from .measure import Note, Plan, Section, size_name
from .servers import LOAD_CORE, Tools, load, running

SIZES = 64, 128 * 1024


def proxy(tools: Tools, plan: Plan, note: Note) -> Section:
    """The proxy's time per message that went to an echo server and came back. TLS is spoken with the clients only."""
    section = Section("proxy", "Proxy", "us a message")
    with running("bare", tools, tls=False, core=LOAD_CORE) as (backend, _):
        for number in range(plan.rounds):
            for tls in (False, True):
                for size in SIZES:
                    for kind in ("libevent", "ours-relay"):
                        with running(kind, tools, tls=tls, backend=backend) as (port, pid):
                            mode = "tls" if tls else "tcp"
                            got = load(
                                tools, port, pid, connections=plan.connections, size=size, seconds=plan.seconds, mode=mode
                            )
                        section.add(f"{'TLS' if tls else 'TCP'}, {size_name(size)}", kind, got["cpu_us"])
            note(f"{section.title}, round {number + 1} of {plan.rounds}")
    return section
