"""What the command line says about a run of a suite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
"""Committed results; docs/explanation/performance.md shows the newest."""
UNRECORDED = Path(__file__).parents[1] / "build" / "benchmarks"
"""Where a run that is not to be recorded leaves its files; git ignores it."""


@dataclass(frozen=True, slots=True)
class Options:
    """events: how many to play, None for as many as the suite is meant for.

    out: the folder of result files.
    """

    events: int | None = None
    out: Path = UNRECORDED
