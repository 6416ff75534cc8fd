"""The suite ``spine``: the worker beside three programs that do its work, and its latency."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from benchmarks.agreement import Agreement
from benchmarks.ground import PARTITIONS, Ground, ground, note
from benchmarks.latency.measure import Latency, measure_latency
from benchmarks.machine import machine
from benchmarks.programs import PROGRAMS, Run
from benchmarks.rivals.task import BATCH_EVENTS
from benchmarks.summary import last_line, summarise
from benchmarks.table import show
from benchmarks.throughput import Measured, Span, measure
from features.store.redis import RedisStore
from worker.embedded.topics import create_topics

RESULTS = Path(__file__).with_name("results")
EVENTS = 4_000_000
ROUNDS = 3
MODES = ("exactly_once", "at_least_once")
_LATENCY_WARM_UP_S = 5.0


def run() -> dict[str, Any]:
    """Measure, print the tables, write the dated result file; returns the last line.

    Raises RunError when a program fails, or does other work than the others.
    """
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['date']}-spine.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    note(f"written to {path}")
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path) -> dict[str, Any]:
    date = datetime.now(UTC).date().isoformat()
    with ground(folder, EVENTS) as on:
        info = RedisStore(on.valkey.url).info()
        runs = _throughput(on, Span())
        latency = {mode: _latency(on, mode, Span()) for mode in MODES}
        programs = summarise(runs)
        return {
            "suite": "spine",
            "date": date,
            "machine": machine(f"{info.server} {info.version}"),
            "setting": _setting(on),
            "programs": programs,
            "latency": {mode: asdict(found) for mode, found in latency.items()},
            "last_line": last_line(programs, latency),
        }


def _setting(on: Ground) -> Mapping[str, Any]:
    return {
        "events_in_topic": on.events,
        "partitions": PARTITIONS,
        "features": len(on.feature_set.features),
        "trees": on.bundle.trees,
        "xgboost_threads": on.threads,
        "batch_events": BATCH_EVENTS,
        "rounds": ROUNDS,
    }


def _throughput(on: Ground, span: Span) -> Mapping[str, list[Measured]]:
    """Interleaved, so that what else the machine does strikes all alike."""
    runs: dict[str, list[Measured]] = defaultdict(list)
    agreement = Agreement()
    with AdminClient({"bootstrap.servers": on.kafka.bootstrap, "log_level": 0}) as admin:
        for number in range(1, ROUNDS + 1):
            for program in PROGRAMS:
                run = Run(f"{program}-{number}")
                create_topics(on.kafka.bootstrap, {run.output_topic: PARTITIONS})
                measured = measure(on, program, run, span)
                runs[program].append(measured)
                note(
                    f"{number}/{ROUNDS} {program}: {measured.events_per_s:,.0f} events/s, "
                    f"{measured.cpu_us_per_event:.1f} µs of CPU an event"
                )
                if program == "pass_through":
                    agreement.check_count(on, run, measured.committed)
                else:
                    agreement.check_scores(on, run, measured.committed)
                for deleted in admin.delete_topics([run.output_topic]).values():
                    deleted.result(30)
    note(f"{agreement.compared:,} scores compared with those of another program: all the same")
    return runs


def _latency(on: Ground, mode: str, span: Span) -> Latency:
    found = measure_latency(on, mode, _LATENCY_WARM_UP_S, span.measured)
    note(f"{mode}: median {found.p50:.1f} ms, 99 % under {found.p99:.1f} ms")
    return found
