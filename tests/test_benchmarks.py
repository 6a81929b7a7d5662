"""The benchmarks run, with whichever peers are installed, and write what they found. How fast anything is, is not asked."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from support import ROOT


def test_quick_mode_writes_the_page_the_figures_and_the_picture(tmp_path: Path) -> None:
    arguments = ["--quick", "--seconds", "0.05", "--only", "tcp", "timers", "--docs", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "Echo over TCP" in done.stdout
    found = json.loads((tmp_path / "benchmarks.json").read_text())
    assert set(found["sections"]) == {"tcp", "timers"}
    rows = found["sections"]["tcp"]["rounds"]
    assert set(rows) == {"64 B", "16 KiB"}
    for row in rows.values():
        assert {"bare", "libevent", "ours-copy", "ours-move", "ours-relay", "asyncio"} <= set(row)
        assert all(figure >= 0 for figures in row.values() for figure in figures)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| pylibevent relay / C libevent |" in page
    bars = [thing for thing in ElementTree.parse(tmp_path / "benchmarks.svg").iter() if thing.tag.endswith("rect")]
    assert len(bars) == 1 + sum(map(len, rows.values()))  # and the background


def test_help_says_how() -> None:
    command = [sys.executable, "-m", "benchmarks", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "--quick" in done.stdout
