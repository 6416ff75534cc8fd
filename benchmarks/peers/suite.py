"""Suite ``peers``: Quix Streams and Kafka Streams beside the worker and the hand-written loop."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.latency.cases import BARE, Cases
from benchmarks.latency.measure import Pace
from benchmarks.latency.plan import Plan
from benchmarks.latency.report import BEHIND, latency_rows
from benchmarks.latency.suite import short
from benchmarks.latency.table import PROGRAMS, latency_table
from benchmarks.machine import machine
from benchmarks.markdown import measured_on, programs
from benchmarks.options import Options
from benchmarks.peers.programs import compile_kafka_streams, kafka_streams, quix
from benchmarks.programs import Worker, rival
from benchmarks.result import today, write_result
from benchmarks.rounds import Programs, alternate
from benchmarks.summary import summarise
from benchmarks.table import print_tables, programs_table
from benchmarks.testbed import open_testbed, played_payments
from benchmarks.throughput import Span
from features.store.redis import RedisStore

BASE = "hand_written"
"""Program that the rates are compared with."""
EVENTS = 4_000_000
ROUNDS = 3
FULL = Span(10.0, 15.0)
"""Durations of a run: a Java program is slower in its first seconds."""
QUICK = Span(0.5, 3.0)
PLAN = Plan(paces=(Pace(100, 20.0, 10.0), Pace(1000, 15.0, 10.0)), guarantees=("exactly_once",))
COMMIT_S = {"throughput": 1.0, "latency": 0.05}
"""Seconds between the commits of the peers: seldom for throughput, often for latency."""


def run(options: Options) -> dict[str, Any]:
    """Measure, print the tables, and write the result file.

    Returns:
        The summary line.

    Raises:
        RunError: A program fails, or its output differs from that of the others.
    """
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder), options.events)
    print_tables(programs_table(result, BASE), latency_table("lookups", result["cases"]))
    write_result(options.out, result)
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path, events: int | None) -> dict[str, Any]:
    date, classpath = today(), compile_kafka_streams(folder / "classes")
    plan = PLAN if events is None else PLAN.shortened(events)
    rounds, span = (ROUNDS, FULL) if events is None else (1, QUICK)
    with open_testbed(folder, events or EVENTS) as testbed:
        info = RedisStore(testbed.valkey.url).info()
        at_full_load = _programs(classpath, COMMIT_S["throughput"])
        runs = alternate(testbed, at_full_load, rounds, span)
        at_rates = {**_programs(classpath, COMMIT_S["latency"]), BARE: rival("pass_through")}
        played = played_payments(testbed.feature_set, plan.events)
        cases = Cases(testbed, at_rates, played, plan).measure_warm()
        rates = summarise(runs, BASE)
        return {
            "suite": "peers",
            "date": date,
            "machine": machine(f"{info.server} {info.version}"),
            "setting": {**testbed.setting(rounds), "commit_s": COMMIT_S},
            "programs": rates,
            "cases": cases,
            "last_line": {
                **{name: round(figures["events_per_s"]) for name, figures in rates.items()},
                "latency_ms": {f"{case['rate']:g}": short(case) for case in cases},
            },
        }


def _programs(classpath: str, commit_s: float) -> Programs:
    return {
        "worker": Worker,
        "hand_written": rival("hand_written"),
        "quix": quix(commit_s),
        "kafka_streams": kafka_streams(classpath, commit_s),
    }


def peers(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Lines of the report; ``name`` is the file of the result."""
    commit_s = result["setting"]["commit_s"]
    yield from measured_on(result, name)
    yield f"At full load; the peers commit every {commit_s['throughput']:g} s:"
    yield ""
    yield from programs(result, PROGRAMS, "times hand-written")
    yield (
        f"Percentiles of the latency in ms; the peers commit every {commit_s['latency']:g} s; "
        f"{BEHIND}:"
    )
    yield ""
    yield from latency_rows(result["cases"])
