"""Evaluate models on the Handbook's data, scored through Kafka: ``python -m benchmarks.evaluate``.

The last line of stdout is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from base.errors import ConfigurationError, DependencyUnavailableError
from benchmarks.evaluate.days import FILE, SPLITS, cut
from benchmarks.evaluate.offline import Expected, build_table, expected, train_all
from benchmarks.evaluate.online import WorkerRuns
from benchmarks.evaluate.verdict import Result, judge, summary
from features.definition import load_feature_set
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

PIPELINE = Path(__file__).parents[2] / "examples" / "handbook"
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", "../shared/data"))
_TRIES = 8


class Clock:
    """Print progress to stderr with the elapsed time."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, text: str) -> None:
        seconds = int(time.monotonic() - self.started)
        print(f"[{seconds // 60:2}:{seconds % 60:02}] {text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the evaluation.

    Returns:
        Exit status: 0 if offline and online margins are bit-equal, else 1.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument(
        "--tries", type=int, default=_TRIES, help="number of parameter sets to search"
    )
    parser.add_argument(
        "--partitions", type=int, default=1, help="number of partitions of the input topic"
    )
    parser.add_argument("--keep", type=Path, help="keep table, bundles and reports in this folder")
    given = parser.parse_args(arguments)
    note = Clock()
    try:
        with ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="fraud-worker-eval."))
            folder = given.keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            results = evaluate(folder, given.tries, given.partitions, note)
    except (ConfigurationError, DependencyUnavailableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({**summary(results), "seconds": round(time.monotonic() - note.started)}))
    return 0 if all(result.bit_equal for result in results) else 1


def evaluate(folder: Path, tries: int, partitions: int, note: Clock) -> list[Result]:
    """Build the table, train the models, score all events and evaluate the scores."""
    raw = DATA / FILE
    if not raw.exists():
        raise ConfigurationError(f"{raw} is missing: set FRAUD_WORKER_DATA to its folder")
    feature_set = load_feature_set(PIPELINE / "features.yaml")
    note("building the table …")
    table = build_table(feature_set, raw, folder / "table.parquet")
    note(
        f"{len(table):,} events; searching {tries} parameter sets on the folds before the first test …"
    )
    bundles = train_all(table, folder, tries, note)
    wanted = [expected(table, split, bundle) for split, bundle in zip(SPLITS, bundles, strict=True)]
    with ExitStack() as stack:
        note("starting Apache Kafka and Valkey …")
        kafka = stack.enter_context(Kafka(folder / "kafka"))
        valkey = stack.enter_context(Valkey(folder / "valkey"))
        runs = WorkerRuns(PIPELINE, feature_set, folder, (kafka, valkey), partitions)
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(runs.load_labels, raw)
            before, tests = cut(raw, folder)
            loading.result()
        note("scoring all events before the first test, to fill the histories …")
        runs.score(before, bundles[0], "scores-before", note)
        return [_test(runs, want, path, note) for want, path in zip(wanted, tests, strict=True)]


def _test(runs: WorkerRuns, want: Expected, events: Path, note: Clock) -> Result:
    topic = f"scores-{want.split.number}"
    note(
        f"scoring {want.split.test_from} to {want.split.test_until} with bundle {want.split.number} …"
    )
    runs.score(events, want.bundle, topic, note)
    result = judge(want, runs.read(topic), runs.dead_letters())
    note(f"test {want.split.number}: {result.described()}")
    return result


if __name__ == "__main__":
    sys.exit(main())
