"""Training tables: features over event files or a log, in bounded memory."""

from __future__ import annotations

from features.tables.builder import Built, build
from features.tables.event_files import EventTableReader, Partitioning
from features.tables.event_table import EventTable
from features.tables.history_run import HistoryRun
from features.tables.sort import SortedEvents

__all__ = [
    "Built",
    "EventTable",
    "EventTableReader",
    "HistoryRun",
    "Partitioning",
    "SortedEvents",
    "build",
]
