"""Thirty connections a setup, all at once: what upstream's test-ratelim.sh runs, within its tolerances; also over TLS."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest
from support import ROOT

import pylibevent as ev

WINDOWS = (3.5, 5.0, 8.0, 12.0)
"""Seconds to measure. Where the machine was busy with something else, buckets ran over: measure again, for longer."""

GROUP, CONNECTION = 1000.0, 50.0
DEVIATIONS = {"group": 100.0}
"""Tolerances in bytes per second, as test-ratelim.sh gives them; 50 for other deviations."""


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module("benchmarks.rate_limits")
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def results(benchmark: ModuleType, certificates: Any) -> dict[tuple[str, str], Any]:
    """What was measured, by the name of the setup and what it was over."""
    contexts = ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)
    with ev.EventBase() as base, benchmark.running(base, benchmark.SETUPS, contexts) as measure:
        for seconds in WINDOWS:
            measured = measure(seconds)
            if not any(faults(result) for result in measured):
                break
    return {(result.setup.name, result.setup.over): result for result in measured}


def faults(result: Any) -> list[str]:
    """What is out of bounds."""
    setup, found = result.setup, []
    if setup.group and abs(result.total - setup.expected * len(result.rates)) > GROUP:
        found.append(f"all together: {result.total:.0f}")
    if setup.connection and abs(result.mean - setup.expected) > CONNECTION:
        found.append(f"each: {result.mean:.0f}")
    if result.deviation > DEVIATIONS.get(setup.name, CONNECTION):
        found.append(f"deviation: {result.deviation:.0f}")
    return found


def check(results: Any, over: str) -> None:
    measured = [result for (_, way), result in results.items() if way == over]
    assert len(measured) == 4
    assert {result.setup.name: faults(result) for result in measured if faults(result)} == {}


def test_rates_are_kept(results: Any) -> None:
    """test-ratelim.c: 30 connections, ticks of 100 ms, bursts of four: a group of 30 000 bytes per second, 1 000 for each
    connection, both, and both with a drain of the group.
    """
    check(results, "TCP")


def test_rates_are_kept_over_tls(results: Any) -> None:
    """The same, counted on the wire."""
    check(results, "TLS")


def test_rates_are_kept_by_pairs(results: Any) -> None:
    """The same, without descriptors."""
    check(results, "pairs")


def test_the_table_can_be_made_anew(benchmark: ModuleType, tmp_path: Any) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter\n")
    setup = benchmark.Setup("all", connection=1000, group=60_000, drain=100)
    benchmark.replace_table(page, benchmark.table([benchmark.Measured(setup, [990.0, 1010.0])]))
    text = page.read_text()
    assert "| TCP | all: 1000 each, 60000 together, 1000 drained | 1000.0 | 1000.0 | 10.0 | 990.0 | 1010.0 | 2000.0 |" in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
