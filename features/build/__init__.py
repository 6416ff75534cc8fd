"""Training tables: the same features over event files, or over a log, in bounded memory."""

from __future__ import annotations

from features.build.events import Events
from features.build.files import FileEvents, Partitioning
from features.build.run import Built, HistoryRun, build
from features.build.sort import SortedEvents
from features.refusal import Refusal

__all__ = [
    "Built",
    "Events",
    "FileEvents",
    "HistoryRun",
    "Partitioning",
    "Refusal",
    "SortedEvents",
    "build",
]
