"""Suite ``partitions``: aligned against best-effort windows on four partitions, and a fill.

Both programs are the worker on the Handbook's events and features. One of them does not wait for
other partitions, so its scores are wrong; it says what the waiting costs.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from benchmarks.agreement import Agreement
from benchmarks.features.building import build
from benchmarks.features.source import HISTORY_DAYS, Source, find_source
from benchmarks.features.states import apply_labels, begin_at, empty
from benchmarks.features.testbed import PIPELINE, fill, open_testbed, train
from benchmarks.machine import machine
from benchmarks.markdown import measured_on, programs, table
from benchmarks.options import Options
from benchmarks.programs import Program, Run, Worker
from benchmarks.result import today, write_result
from benchmarks.rounds import measured_run
from benchmarks.summary import summarise
from benchmarks.table import print_tables, programs_table
from benchmarks.testbed import Testbed, note
from benchmarks.throughput import Measured, Span, group_reader, wait_for_commits
from features.definition import load_feature_set
from features.store.redis import RedisStore
from features.tables.event_files import partitions_of
from tools.embedded.topic_admin import create_topics

PARTITIONS = 4
ROUNDS = 3
BASE = "best_effort"
"""Program that the others are compared with."""
FULL = Span()
QUICK = Span(0.5, 5.0)
"""Durations for a run with fewer events."""
_TITLES = {"aligned": "aligned windows", BASE: "best-effort windows, which do not wait"}
_FILLED = "fraud_worker_filled_events_total"
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Filled:
    """Fill of empty histories from the log.

    Attributes:
        days: Days of events.
        events: Number of events.
        seconds: Time from the first look that saw a filled event to the first score behind them.
    """

    days: int
    events: int
    seconds: float


def run(options: Options) -> dict[str, Any]:
    """Measure, print the tables, and write the result file.

    Returns:
        The summary line.

    Raises:
        RunError: The worker fails, or loses an event.
    """
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder), options)
    print_tables(programs_table(result, BASE))
    write_result(options.out, result)
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path, options: Options) -> dict[str, Any]:
    source, built = find_source(folder, options.events), folder / "built.parquet"
    build(source, built, folder / "build.log")
    with open_testbed(folder, source, built, PARTITIONS) as testbed:
        fill(testbed, source)
        info = RedisStore(testbed.valkey.url).info()
        runs = _alternate(testbed, source, built, FULL if options.events is None else QUICK)
        figures = summarise(runs, BASE)
        filled = _measure_fill(testbed, source)
        per_s = filled.events / filled.seconds
        return {
            "suite": "partitions",
            "date": today(),
            "machine": machine(f"{info.server} {info.version}"),
            "setting": {**testbed.setting(ROUNDS), "source": source.name},
            "programs": figures,
            "fill": {**asdict(filled), "events_per_s": per_s},
            "last_line": {
                **{name: round(of["events_per_s"]) for name, of in figures.items()},
                "ratio": round(figures["aligned"]["ratio"], 2),
                "fill_events_per_s": round(per_s),
                "fill_to_scoring": round(per_s / figures["aligned"]["events_per_s"], 1),
            },
        }


def _alternate(
    testbed: Testbed, source: Source, built: Path, span: Span
) -> Mapping[str, list[Measured]]:
    """Run both programs in turn, so that other load on the machine affects both equally."""
    beds = {"aligned": testbed, BASE: _best_effort(testbed, source, built)}
    runs: dict[str, list[Measured]] = defaultdict(list)
    for number in range(1, ROUNDS + 1):
        for program, bed in beds.items():
            run = Run(f"{program}-{number}", history=source.history)
            empty(bed.valkey.url)
            apply_labels(bed, run, source)
            runs[program].append(measured_run(bed, Worker, run, span, Agreement().check_count))
    return runs


def _best_effort(testbed: Testbed, source: Source, built: Path) -> Testbed:
    """The same with a copy of the pipeline whose windows do not wait for other partitions."""
    copy = testbed.folder / BASE
    shutil.copytree(PIPELINE, copy)
    path = copy / "features.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    document["events"]["schema"] = str((PIPELINE / document["events"]["schema"]).resolve())
    for feature in document["features"]:
        if "delay" in feature:
            feature["across"] = BASE
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    feature_set = load_feature_set(path)
    bundle = train(testbed.folder / f"model-{BASE}", feature_set, source, built)
    return replace(testbed, pipeline=copy, feature_set=feature_set, bundle=bundle)


def _measure_fill(testbed: Testbed, source: Source) -> Filled:
    """Let a worker start behind the first days of the log, with an empty store."""
    empty(testbed.valkey.url)
    begins = _ends(source)
    run = Run("fill", first=0)
    apply_labels(testbed, run, source)
    begin_at(testbed, run, begins)
    create_topics(testbed.kafka.bootstrap, {run.output_topic: testbed.partitions})
    events = sum(begins.values())
    with closing(group_reader(testbed, run)) as reader, Worker(testbed, run) as worker:
        while _filled(worker) == 0:
            worker.require_running()
            time.sleep(_LOOK_S)
        began = time.monotonic()
        wait_for_commits(reader, run, worker, events + 1)
        seconds = time.monotonic() - began
        worker.stop()
    note(f"filled {events:,} events in {seconds:.1f} s")
    return Filled(HISTORY_DAYS, events, seconds)


def _filled(worker: Program) -> float:
    """Number of events that the worker has filled; 0 while it does not answer."""
    try:
        return worker.metrics().get(_FILLED, 0.0)
    except OSError:
        return 0.0


def _ends(source: Source) -> dict[int, int]:
    """Number of the events of the first days in each partition."""
    keys = source.table["CUSTOMER_ID"].slice(0, source.history).cast(pa.string())
    counts = np.bincount(partitions_of(keys.combine_chunks(), PARTITIONS), minlength=PARTITIONS)
    return dict(enumerate(counts.tolist()))


def partitions(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Lines of the report; ``name`` is the file of the result."""
    yield from measured_on(result, name)
    yield from programs(result, _TITLES, "times best-effort")
    filled = result["fill"]
    yield "Empty histories, filled from the log by the worker before its first score:"
    yield ""
    yield from table(
        ("days of events", "events", "s", "events/s"),
        [
            (
                str(filled["days"]),
                f"{filled['events']:,}",
                f"{filled['seconds']:.1f}",
                f"{filled['events_per_s']:,.0f}",
            )
        ],
    )
