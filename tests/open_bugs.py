"""Tests of bugs that are known and not mended yet: each is expected to fail until it is, and must be taken out then."""

from __future__ import annotations

RUN: dict[str, str] = {}
"""By the beginning of the test's name: what is wrong."""

DON_T_RUN: dict[str, str] = {}
"""The same for those that end or hang the process that runs them."""
