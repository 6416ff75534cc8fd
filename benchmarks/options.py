"""Options of a run of a suite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
"""Committed results; docs/explanation/performance.md shows the newest."""
UNRECORDED = Path(__file__).parents[1] / "build" / "benchmarks"
"""Folder for the files of a run that is not recorded; git ignores it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run of a suite.

    Attributes:
        events: Number of events to play; None for the suite's default.
        out: Folder of the result files.
    """

    events: int | None = None
    out: Path = UNRECORDED
