"""``python -m benchmarks.evaluate.card``: a model by the command's defaults, on 17 months of cards.

Builds the table of the example `sparkov` from the Sparkov data, trains with `fraud-worker train`
and nothing but `--until 2013-06-23`, and measures average precision on all events from July to
December 2013. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from features.build import FileEvents, build
from features.definition import load_feature_set
from models.backend.cpu import CpuBackend
from models.backend.threads import available_threads
from models.bundle import load_bundle
from models.training.metrics import average_precision, roc_auc
from models.training.table import TrainingTable

FEATURES: Final = Path(__file__).parents[2] / "examples" / "sparkov" / "features.yaml"
FILE: Final = "sparkov_transactions.parquet"
LAST_DAY: Final = "2013-06-23"
_TEST: Final = (datetime(2013, 7, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC))
_DATA: Final = Path(os.environ.get("FRAUD_WORKER_DATA", "../shared/data"))


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.evaluate.card", description=__doc__)
    parser.add_argument("--table", type=Path, help="a table that was built before")
    parser.add_argument("--bundle", type=Path, help="a bundle that was trained before")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fraud-worker-eval.") as scratch:
        path = given.table or _built(Path(scratch) / "table.parquet")
        told: dict[str, Any] = {}
        if given.bundle is None:
            told = train(path, Path(scratch) / "bundle")
        bundle = given.bundle or Path(scratch) / "bundle"
        print(json.dumps({**told, "test": measure(TrainingTable(path), bundle)}))
    return 0


def _built(out: Path) -> Path:
    feature_set = load_feature_set(FEATURES)
    build(feature_set, FileEvents(feature_set, [_DATA / FILE]), out)
    return out


def train(table: Path, out: Path) -> dict[str, Any]:
    """The summary of the command, with its seconds of the clock and of the processors."""
    command = [sys.executable, "-m", "worker", "train", "--features", str(table)]
    before, started = os.times(), time.monotonic()
    found = subprocess.run(
        [*command, "--until", LAST_DAY, "--out", str(out)], check=True, stdout=subprocess.PIPE
    )
    after = os.times()
    processor = sum(after[2:4]) - sum(before[2:4])
    summary: dict[str, Any] = json.loads(found.stdout)
    return {
        **{name: value for name, value in summary.items() if name not in {"out", "policy"}},
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(processor, 1),
    }


def measure(table: TrainingTable, bundle: Path) -> dict[str, float]:
    """Average precision and ROC AUC on all events of the test days, known cards included."""
    since, until = (int(moment.timestamp()) * 1_000_000 for moment in _TEST)
    events = table.read(since, until)
    margins = CpuBackend(load_bundle(bundle), available_threads()).margins(events.matrix)
    return {
        "events": len(margins),
        "frauds": int(events.labels.sum()),
        "average_precision": round(average_precision(events.labels, margins), 5),
        "roc_auc": round(roc_auc(events.labels, margins), 5),
    }


if __name__ == "__main__":
    sys.exit(main())
