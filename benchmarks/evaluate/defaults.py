"""Evaluate the defaults of ``fraud-worker train``: ``python -m benchmarks.evaluate.defaults CASE``.

The program builds the table of an example from public data, trains with only the last training day
set, and measures the model on later days that influenced no choice. The last line of stdout is the
result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from base.times import DAY
from features.definition import load_feature_set
from features.tables import EventTableReader, build
from models.backend import open_backend
from models.bundle import load_bundle
from models.training.folds import Lengths, make_fold
from models.training.metrics import Metrics
from models.training.table import TrainingTable

_EXAMPLES: Final = Path(__file__).parents[2] / "examples"
_DATA: Final = Path(os.environ.get("FRAUD_WORKER_DATA", "../shared/data"))


@dataclass(frozen=True, slots=True)
class Case:
    """A data set with its training and test days.

    Attributes:
        example: Name of the example's folder.
        file: Name of the file with the events.
        last: Last training day; its labels are known seven days later.
        test_days: Number of test days after these seven days.
        blocked: True if cards known to be compromised are not tested, as in the Handbook.
    """

    example: str
    file: str
    last: date
    test_days: int
    blocked: bool

    @property
    def test_from(self) -> date:
        return self.last + timedelta(days=8)


CASES: Final = (
    Case("sparkov", "sparkov_transactions.parquet", date(2013, 6, 23), 184, blocked=False),
    Case("handbook", "handbook_raw.parquet", date(2018, 7, 31), 7, blocked=True),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the evaluation, and return the exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.evaluate.defaults", description=__doc__)
    parser.add_argument("case", choices=[case.example for case in CASES])
    parser.add_argument(
        "--set", default="features.yaml", help="file with the features in the folder of the example"
    )
    parser.add_argument("--table", type=Path, help="use this table instead of building one")
    parser.add_argument("--bundle", type=Path, help="use this bundle instead of training one")
    given = parser.parse_args(arguments)
    case = next(case for case in CASES if case.example == given.case)
    with tempfile.TemporaryDirectory(prefix="fraud-worker-eval.") as scratch:
        table = given.table or built(case, Path(scratch) / "table.parquet", given.set)
        bundle = given.bundle or Path(scratch) / "bundle"
        trained = {} if given.bundle else train(case, table, bundle)
        print(json.dumps({**trained, "test": measure(case, TrainingTable(table), bundle)}))
    return 0


def built(case: Case, out: Path, features: str = "features.yaml") -> Path:
    """Build the table of a case at ``out``, with the feature set of a file of the example."""
    feature_set = load_feature_set(_EXAMPLES / case.example / features)
    build(feature_set, EventTableReader(feature_set, [_DATA / case.file]), out)
    return out


def train(case: Case, table: Path, out: Path) -> dict[str, Any]:
    """Run ``fraud-worker train``; return its summary with wall-clock and CPU seconds."""
    command = [sys.executable, "-m", "tools", "train", "--features", str(table)]
    before, started = os.times(), time.monotonic()
    completed = subprocess.run(
        [*command, "--until", f"{case.last}", "--out", str(out)],
        check=True,
        stdout=subprocess.PIPE,
    )
    after = os.times()
    summary: dict[str, Any] = json.loads(completed.stdout)
    return {
        **{name: value for name, value in summary.items() if name not in {"out", "policy"}},
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(sum(after[2:4]) - sum(before[2:4]), 1),
    }


def measure(case: Case, table: TrainingTable, bundle: Path) -> dict[str, float]:
    """Metrics on the test days."""
    lengths = Lengths(train=7, delay=7, assess=case.test_days)
    train_from, since = (midnight(day) for day in (case.last - timedelta(days=6), case.test_from))
    events = table.read(train_from, since + case.test_days * DAY)
    fold = make_fold(events, train_from, lengths, known_by=np.iinfo(np.int64).max)
    rows = fold.assess if case.blocked else np.flatnonzero(events.times >= since)
    labels, days = events.labels[rows], events.times[rows] // DAY
    margins = open_backend(load_bundle(bundle), "cpu").margins(events.matrix[rows])
    metrics = Metrics.of(labels, margins, events.cards[rows], days)
    return {
        "events": len(rows),
        "frauds": int(labels.sum()),
        "average_precision": round(metrics.average_precision, 5),
        "roc_auc": round(metrics.roc_auc, 5),
        "card_precision_100": round(metrics.card_precision_100, 5),
    }


def midnight(day: date) -> int:
    """Begin of a day, UTC, in microseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


if __name__ == "__main__":
    sys.exit(main())
