"""What was measured, as a table for the terminal, a page, JSON and a picture."""

from __future__ import annotations

import datetime
import json
import platform
import re
import statistics
import subprocess
from collections.abc import Iterator
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .aims import GOALS, Goal
from .measure import NAMES, Plan, Section, title_of
from .servers import HERE

Row = list[str]


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    import pylibevent as ev
    from pylibevent._libevent import ffi, lib

    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        cpu = found[1]
    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": cpu,
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "pylibevent": ev.__version__,
        "libevent": ffi.string(lib.pev_loaded_libevent_name()).decode(),
        "OpenSSL": ffi.string(lib.pev_loaded_openssl_name()).decode(),
    }
    for name in ("uvloop", "gevent"):
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "-"
    return facts


def commit() -> str:
    """What was measured, as git calls it; "dirty" where files differ from that."""
    root = HERE.parent
    if not (root / ".git").exists():  # and not of a repository that this is a folder of
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# ---------------------------------------------------------------- tables


def subjects(section: Section) -> list[str]:
    """All that a section measured, in order."""
    return list(dict.fromkeys(subject for row in section.rows.values() for subject in row))


def figures(section: Section) -> tuple[Row, list[Row]]:
    """The head and the rows of medians."""
    kinds = subjects(section)
    rows = []
    for name, row in section.rows.items():
        rows.append([name, *(shown(statistics.median(row[kind])) if kind in row else "-" for kind in kinds)])
    return [section.unit, *map(title_of, kinds)], rows


def shown(figure: float) -> str:
    """Three digits that matter."""
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def ratios_of(section: Section, goal: Goal, row: str) -> list[float]:
    """One for each round."""
    found = section.rows[row]
    if goal.subject not in found or goal.peer not in found:
        return []
    pairs = zip(found[goal.subject], found[goal.peer], strict=True)
    return [mine / theirs for mine, theirs in pairs if theirs]


def cell(found: list[float], aim: float | None) -> str:
    """The median, how far the rounds lie apart, and the aim. What is compared with the aim is what is printed."""
    if not found:
        return "-"
    median = f"{statistics.median(found):.2f}"
    if aim is not None and float(median) > round(aim, 2):
        median = f"**{median}**"
    spread = f" [{min(found):.2f}-{max(found):.2f}]" if len(found) > 1 else ""
    return median + spread + (f" ({round(aim, 2):g})" if aim is not None else "")


def ratios(section: Section) -> tuple[Row, list[Row]]:
    """The head and the rows of ratios, each beside what is aimed at."""
    rows = []
    for goal in GOALS.get(section.name, ()):
        cells = [cell(ratios_of(section, goal, name), goal.at_most.get(name)) for name in section.rows]
        if any(cell != "-" for cell in cells):
            rows.append([f"{title_of(goal.subject)} / {title_of(goal.peer)}", *cells])
    return ["ratio [rounds] (aim: at most)", *section.rows], rows


def columns(head: Row, rows: list[Row]) -> str:
    """For the terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: Row) -> str:
        name, *cells = row
        return "  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))])

    return "\n".join(map(line, [head, *rows]))


def markdown(head: Row, rows: list[Row]) -> str:
    """For a page."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def text(section: Section) -> str:
    """A section for the terminal."""
    parts = [section.title, columns(*figures(section))]
    head, rows = ratios(section)
    if rows:
        parts.append(columns(head, rows))
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- the picture

COLOURS = {
    "bare": "#b8b8b8",
    "libevent": "#6f6f6f",
    "ours-copy": "#1f6fb4",
    "ours-move": "#4f9bd9",
    "ours-relay": "#9cc9ee",
    "uvloop": "#e08a2b",
    "asyncio": "#c2503f",
    "asyncio-streams": "#dd8f83",
    "gevent": "#7a9a4b",
}
WIDTH, BAR, GAP, LEFT, RIGHT = 900, 15, 3, 150, 90


def picture(sections: list[Section]) -> str:
    """Bars for each size, as SVG; the longest of a size fills the width."""
    parts: list[str] = []
    y = 10
    for section in sections:
        y += 22
        parts.append(f'<text x="10" y="{y}" class="title">{escape(section.title)}: {escape(section.unit)}</text>')
        y += 12
        for name, row in section.rows.items():
            y += 16
            parts.append(f'<text x="10" y="{y}" class="size">{escape(name)}</text>')
            y += 6
            bars, y = group(row, y)
            parts += bars
    style = (
        "text{font:12px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}.size{font-weight:bold}"
        ".label{text-anchor:end}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" viewBox="0 0 {WIDTH} {y + 10}">'
    return "\n".join([head, f"<style>{style}</style>", '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def group(row: dict[str, list[float]], y: int) -> tuple[list[str], int]:
    """The bars of one size, and where the next one begins."""
    medians = {kind: statistics.median(found) for kind, found in row.items()}
    longest = max(medians.values())
    parts = []
    for kind, figure in medians.items():
        length = max(1.0, figure / longest * (WIDTH - LEFT - RIGHT))
        middle = y + BAR - 3
        parts.append(f'<text x="{LEFT - 6}" y="{middle}" class="label">{escape(NAMES[kind])}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" fill="{COLOURS[kind]}"/>')
        parts.append(f'<text x="{LEFT + length + 5:.0f}" y="{middle}">{shown(figure)}</text>')
        y += BAR + GAP
    return parts, y


# ---------------------------------------------------------------- files

PAGE = """# Benchmarks

This page is written by `make bench` and by nothing else. {where}

Servers and load are pinned to a processor each; the load keeps one message under way on each of {connections} connections.
The figures are the server's own processor time (`/proc/PID/schedstat`), medians of {rounds} rounds in which all servers took
turns. Times differ from machine to machine and from hour to hour: what carries over are the ratios, which are taken within
each round. Such a ratio is the median of the rounds' ratios, and so not always what dividing two figures of a table gives. In
square brackets stand the least and the most of the rounds, which show how noisy it is, and in round ones what is aimed at.
**Bold** is what misses its aim.

What the servers are: `bare epoll` is a C program without any event library, to compare with: it reads once and writes once for
each message, with one buffer of a fixed size, and over TLS it looks once more for what isn't there and sends each record by
itself, so that it can be beaten. `C libevent` is the same echo server in C on bufferevents; `pylibevent` is
`examples/echo_server.py` (`examples/tls_echo_server.py`) with its `--mode`; the others are in `benchmarks/echo_python.py`. The
proxy is `examples/le_proxy.py`, beside the same C program as a proxy. What the figures are made of, [speed](speed.md) says.

![Server time per echoed message]({picture})

"""


LEGEND = "Medians of the ratios within each round, not ratios of the medians above; **bold** misses its aim:"


def page(sections: list[Section], facts: dict[str, str], picture_name: str) -> str:
    """The whole page."""
    with_what = [f"{name} {value.removeprefix(f'{name} ')}" for name, value in facts.items() if name not in ("date", "commit")]
    where = f"Measured on {facts['date']} at commit {facts.get('commit', 'unknown')}: {', '.join(with_what)}."
    rounds = max((len(found) for section in sections for row in section.rows.values() for found in row.values()), default=0)
    head = PAGE.format(where=where, connections=Plan.connections, rounds=rounds, picture=picture_name)
    return head + "\n".join(paragraphs(sections))


def paragraphs(sections: list[Section]) -> Iterator[str]:
    """The sections of the page."""
    for section in sections:
        yield f"## {section.title}\n\n{markdown(*figures(section))}\n"
        head, rows = ratios(section)
        if rows:
            yield f"{LEGEND}\n\n{markdown(head, rows)}\n"


def as_json(sections: list[Section], facts: dict[str, str]) -> str:
    """Everything, each round's figure too."""
    out: dict[str, Any] = {"facts": facts, "sections": {}}
    for section in sections:
        out["sections"][section.name] = {"title": section.title, "unit": section.unit, "rounds": section.rows}
    return json.dumps(out, indent=1) + "\n"


def from_json(text: str) -> tuple[list[Section], dict[str, str]]:
    """What as_json() wrote. Aims aren't in it: they are today's."""
    found = json.loads(text)
    sections = [Section(name, each["title"], each["unit"], each["rounds"]) for name, each in found["sections"].items()]
    return sections, found["facts"]


def write(folder: Path, sections: list[Section], facts: dict[str, str]) -> None:
    """The page and the picture."""
    drawn = [section for section in sections if section.name in ("tcp", "tls")]
    (folder / "benchmarks.svg").write_text(picture(drawn))
    (folder / "benchmarks.md").write_text(page(sections, facts, "benchmarks.svg"))
