"""Training and test days of the Fraud Detection Handbook's data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.training.folds import Lengths

FILE: Final = "handbook_raw.parquet"
LENGTHS: Final = Lengths(train=7, delay=7, assess=7)
_FIRST: Final = date(2018, 7, 25)
_TIME: Final = "TX_DATETIME"


@dataclass(frozen=True, slots=True)
class Split:
    """Training and test days of one model; testing starts when the training labels are known.

    Attributes:
        number: Number of the split, from 1.
        train_from: First training day.
    """

    number: int
    train_from: date

    @property
    def train_last(self) -> date:
        return self.train_from + timedelta(days=LENGTHS.train - 1)

    @property
    def test_from(self) -> date:
        return self.train_from + timedelta(days=LENGTHS.train + LENGTHS.delay)

    @property
    def test_until(self) -> date:
        """Day after the last test day."""
        return self.test_from + timedelta(days=LENGTHS.assess)


SPLITS: Final = tuple(Split(n + 1, _FIRST + timedelta(days=7 * n)) for n in range(4))
"""The first is the single split; the test days of the splits are consecutive."""


def cut(raw: Path, folder: Path) -> tuple[Path, list[Path]]:
    """Write the events before the first test, and those of each test, to separate files."""
    events = pq.read_table(raw)
    before = _write(events, None, SPLITS[0].test_from, folder / "before.parquet")
    tests = [
        _write(events, split.test_from, split.test_until, folder / f"test-{split.number}.parquet")
        for split in SPLITS
    ]
    return before, tests


def _write(events: pa.Table, since: date | None, until: date, path: Path) -> Path:
    times = events[_TIME]
    rows = pc.less(times, pa.scalar(until).cast(times.type))
    if since is not None:
        rows = pc.and_(rows, pc.greater_equal(times, pa.scalar(since).cast(times.type)))
    pq.write_table(events.filter(rows), path)
    return path
