"""The benchmarks run, with whichever peers are installed, and write what they found. How fast anything is, is not asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from support import ROOT


def test_quick_mode_writes_the_page_the_figures_and_the_picture(tmp_path: Path) -> None:
    arguments = ["--quick", "--seconds", "0.05", "--only", "tcp", "timers", "--docs", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "Echo over TCP" in done.stdout
    found = json.loads((tmp_path / "benchmarks.json").read_text())
    assert set(found["sections"]) == {"tcp", "timers"}
    assert re.fullmatch(r"unknown|[\w.-]+", found["facts"]["commit"])
    rows = found["sections"]["tcp"]["rounds"]
    assert set(rows) == {"64 B", "16 KiB"}
    for row in rows.values():
        assert {"bare", "libevent", "ours-copy", "ours-move", "ours-relay", "asyncio"} <= set(row)
        assert all(figure >= 0 for figures in row.values() for figure in figures)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| pylibevent relay / C libevent |" in page
    bars = [thing for thing in ElementTree.parse(tmp_path / "benchmarks.svg").iter() if thing.tag.endswith("rect")]
    assert len(bars) == 1 + sum(map(len, rows.values()))  # and the background


def report_only(folder: Path, sections: dict[str, Any], **facts: str) -> str:
    """The page that is made of such figures."""
    whole = {"facts": {"date": "2030-01-02", "machine": "a loom", **facts}, "sections": sections}
    (folder / "benchmarks.json").write_text(json.dumps(whole))
    command = [sys.executable, "-m", "benchmarks", "--report-only", "--docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((folder / "benchmarks.json").read_text()) == whole
    assert ElementTree.parse(folder / "benchmarks.svg").getroot().tag.endswith("svg")
    return (folder / "benchmarks.md").read_text()


def section(rounds: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    return {"title": "A title", "unit": "us", "rounds": rounds}


def test_a_ratio_is_the_median_of_the_rounds_with_its_spread_and_bold_where_it_misses_its_aim(tmp_path: Path) -> None:
    rounds = {
        "64 B": {"ours-copy": [1.0, 2.0, 3.0], "uvloop": [1.0, 1.0, 2.0]},  # 1, 2, 1.5; that of the medians is 2
        "1 KiB": {"ours-copy": [1.004], "uvloop": [1.0]},
        "16 KiB": {"ours-copy": [1.0]},
        "1 MiB": {"ours-copy": [4.0, 4.0], "uvloop": [2.0, 1.0]},  # without an aim
    }
    page = report_only(tmp_path, {"tcp": section(rounds)})
    assert "| pylibevent copy / uvloop Protocol | **1.50** [1.00-2.00] (1) | 1.00 (1) | - | 3.00 [2.00-4.00] |" in page
    assert "medians of 3 rounds" in page


def test_aims_are_readable_and_ratios_may_have_none(tmp_path: Path) -> None:
    threads = section({"128 KiB messages": {"one": [2.0, 2.0], "two": [1.0, 1.4]}})
    crowds = section({"many": {"ours-copy/tcp": [3.0], "uvloop/tcp": [2.0]}})
    page = report_only(tmp_path, {"threads": threads, "crowds": crowds})
    assert "| two bases in two threads / one base | **0.60** [0.50-0.70] (0.56) |" in page
    assert "| pylibevent copy, TCP / uvloop Protocol, TCP | 1.50 |" in page


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    assert "Measured on 2030-01-02 at commit unknown: machine a loom." in report_only(tmp_path, {})
    page = report_only(tmp_path, {}, commit="0123abc", OpenSSL="OpenSSL 3.9 of some day")
    assert "Measured on 2030-01-02 at commit 0123abc: machine a loom, OpenSSL 3.9 of some day." in page


def test_a_report_needs_to_know_where() -> None:
    command = [sys.executable, "-m", "benchmarks", "--report-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--docs" in done.stderr


def test_the_page_is_what_its_figures_say(tmp_path: Path) -> None:
    """docs/benchmarks.md and docs/benchmarks.svg are what today's code writes of docs/benchmarks.json."""
    found = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    page = report_only(tmp_path, found["sections"], **found["facts"])
    assert page == (ROOT / "docs" / "benchmarks.md").read_text()
    assert (tmp_path / "benchmarks.svg").read_text() == (ROOT / "docs" / "benchmarks.svg").read_text()


def test_help_says_how() -> None:
    command = [sys.executable, "-m", "benchmarks", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "--quick" in done.stdout
