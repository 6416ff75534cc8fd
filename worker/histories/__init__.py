"""The worker's side of histories: where they are, and when they are written and read."""

from __future__ import annotations

from worker.histories.alignment import NotAlignedError, Wait
from worker.histories.interface import Histories, HistoryWrites, NoHistories
from worker.histories.stored_histories import StoredHistories

__all__ = [
    "Histories",
    "HistoryWrites",
    "NoHistories",
    "NotAlignedError",
    "StoredHistories",
    "Wait",
]
