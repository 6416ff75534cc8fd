"""Training tables: features over event files or a log, in bounded memory."""

from __future__ import annotations

from features.tables.builder import Built, HistoryRun, build
from features.tables.event_files import FileEvents, Partitioning
from features.tables.event_table import EventTable
from features.tables.refusal import Refusal
from features.tables.sort import SortedEvents

__all__ = [
    "Built",
    "EventTable",
    "FileEvents",
    "HistoryRun",
    "Partitioning",
    "Refusal",
    "SortedEvents",
    "build",
]
