"""Suite ``features``: throughput online, time by history length, table building and memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.features.building import Building, measure_building
from benchmarks.features.chart import draw_lengths
from benchmarks.features.lengths import KEYS, Cost, measure_lengths
from benchmarks.features.memory import member_bytes, report
from benchmarks.features.online import BASE, ROUNDS, Online, measure_online
from benchmarks.features.source import HISTORY_DAYS, Source, find_source
from benchmarks.features.table import show
from benchmarks.features.testbed import PIPELINE, fill, open_testbed
from benchmarks.machine import machine
from benchmarks.options import Options
from benchmarks.programs import ROOT
from benchmarks.result import today, write_result
from benchmarks.rivals.task import BATCH_EVENTS
from benchmarks.summary import summarise
from benchmarks.testbed import Testbed, note
from benchmarks.throughput import Span
from features.store.redis import RedisStore

FULL = Span()
QUICK = Span(0.5, 5.0)
"""Durations for a run with fewer events."""


def run(options: Options) -> dict[str, Any]:
    """Measure, print the tables, and write the result file and its chart.

    Returns:
        The summary line.

    Raises:
        RunError: A program fails, loses an event, or computes a different result.
    """
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder), options)
    show(result, BASE)
    path = write_result(options.out, result)
    caption = f"{result['machine']['processor']}, {result['date']}; batches of {KEYS} events"
    for suffix in (".svg", ".png"):
        draw_lengths(result["lengths"], path.with_suffix(suffix), caption)
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path, options: Options) -> dict[str, Any]:
    date, source = today(), find_source(folder, options.events)
    note(f"{source.rows:,} events: {source.name}")
    built = folder / "built.parquet"
    building = measure_building(folder, source, built)
    with open_testbed(folder, source, built) as testbed:
        fill(testbed, source)
        info = RedisStore(testbed.valkey.url).info()
        online = measure_online(testbed, source, FULL if options.events is None else QUICK)
        lengths = measure_lengths(testbed.feature_set, testbed.valkey.url)
        return {
            "suite": "features",
            "date": date,
            "machine": machine(f"{info.server} {info.version}", ("pandas",)),
            "setting": _setting(testbed, source),
            **_figures(testbed, building, online, lengths),
        }


def _figures(
    testbed: Testbed, building: Building, online: Online, lengths: list[Cost]
) -> dict[str, Any]:
    programs, built = summarise(online.runs, BASE), building.figures()
    memory = report(online.states, member_bytes(testbed.feature_set))
    return {
        "programs": programs,
        "compared": {"scores": online.compared, "vectors": online.vectors_compared},
        "lengths": [{**asdict(cost), "worker": cost.worker} for cost in lengths],
        "building": built,
        "memory": memory,
        "last_line": last_line(programs, lengths, built, memory),
    }


def last_line(
    programs: Mapping[str, Any],
    lengths: list[Cost],
    built: Mapping[str, Any],
    memory: Mapping[str, Any],
) -> dict[str, Any]:
    """Summary line: events per second, ratios, microseconds per event, bytes and GiB."""
    histories = memory["states"]["worker"]["kinds"]
    return {
        **{name: round(figures["events_per_s"]) for name, figures in programs.items()},
        "ratio": round(programs["worker"]["ratio"], 1),
        "us_by_history_length": {str(cost.length): round(cost.worker, 1) for cost in lengths},
        "build": {
            "events_per_s": round(built["build"]["events_per_s"]),
            "events_per_s_inside": round(built["build"]["events_per_s_inside"]),
            "ratio": round(built["ratio"], 1),
        },
        "bytes_per_event_kept": {
            kind.removeprefix("history:"): round(figures["bytes_per_member"], 1)
            for kind, figures in histories.items()
            if kind.startswith("history:")
        },
        "million_cards_gib": round(memory["million_cards"]["worker"]["gib"], 2),
    }


def _setting(testbed: Testbed, source: Source) -> dict[str, Any]:
    return {
        "pipeline": str(PIPELINE.relative_to(ROOT)),
        "source": source.name,
        "events_in_topic": testbed.events,
        "history_days": HISTORY_DAYS,
        "history_events": source.history,
        "partitions": testbed.partitions,
        "features": len(testbed.feature_set.features),
        "windows": len(testbed.feature_set.histories.windows),
        "trees": testbed.bundle.trees,
        "xgboost_threads": testbed.threads,
        "batch_events": BATCH_EVENTS,
        "rounds": ROUNDS,
        "length_batch_events": KEYS,
    }
