"""``python -m benchmarks.evaluate``: as good as published, on the Handbook's data, through Kafka.

Ends with one line of JSON.
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
from benchmarks.evaluate.online import Line
from benchmarks.evaluate.verdict import Result, judge, summary
from features.definition import load_feature_set
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

PIPELINE = Path(__file__).parents[2] / "examples" / "handbook"
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", "../shared/data"))
_TRIES = 8


class Clock:
    """Says on stderr what goes on, and how long it has been going on."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, text: str) -> None:
        seconds = int(time.monotonic() - self.started)
        print(f"[{seconds // 60:2}:{seconds % 60:02}] {text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 when offline and online margins are the same, else 1."""
    parser = argparse.ArgumentParser("python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument(
        "--tries", type=int, default=_TRIES, help="parameter sets to search through"
    )
    parser.add_argument("--keep", type=Path, help="keep table, bundles and reports in this folder")
    given = parser.parse_args(arguments)
    note = Clock()
    try:
        with ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="fraud-worker-eval."))
            folder = given.keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            results = evaluate(folder, given.tries, note)
    except (ConfigurationError, DependencyUnavailableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({**summary(results), "seconds": round(time.monotonic() - note.started)}))
    return 0 if all(result.bit_equal for result in results) else 1


def evaluate(folder: Path, tries: int, note: Clock) -> list[Result]:
    """Build, train, score and judge; every part is told of."""
    raw = DATA / FILE
    if not raw.exists():
        raise ConfigurationError(f"{raw} is absent; FRAUD_WORKER_DATA names the folder with it")
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
        line = Line(PIPELINE, feature_set, folder, (kafka, valkey))
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(line.load_labels, raw)
            before, tests = cut(raw, folder)
            loading.result()
        note("scoring all events before the first test, so that histories are what they were …")
        line.score(before, bundles[0], "scores-before", note)
        return [_test(line, want, path, note) for want, path in zip(wanted, tests, strict=True)]


def _test(line: Line, want: Expected, events: Path, note: Clock) -> Result:
    topic = f"scores-{want.split.number}"
    note(
        f"scoring {want.split.test_from} to {want.split.test_until} with bundle {want.split.number} …"
    )
    line.score(events, want.bundle, topic, note)
    result = judge(want, line.read(topic), line.dead_letters())
    note(f"test {want.split.number}: {result.words()}")
    return result


if __name__ == "__main__":
    sys.exit(main())
