"""Suite ``spine``: throughput of the worker and three rivals, and the worker's latency."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.agreement import Agreement
from benchmarks.latency.measure import Latency, measure_latency
from benchmarks.machine import machine
from benchmarks.options import Options
from benchmarks.programs import Run, Start, Worker, rival
from benchmarks.result import today, write_result
from benchmarks.rounds import measured_run
from benchmarks.summary import last_line, summarise
from benchmarks.table import show
from benchmarks.testbed import Testbed, note, open_testbed
from benchmarks.throughput import Measured, Span
from features.store.redis import RedisStore

PROGRAMS: Mapping[str, Start] = {
    "worker": Worker,
    "hand_written": rival("hand_written"),
    "per_event": rival("per_event"),
    "pass_through": rival("pass_through"),
}
BASE = "hand_written"
"""Program that the others are compared with."""
EVENTS = 4_000_000
ROUNDS = 3
MODES = ("exactly_once", "at_least_once")
_LATENCY_WARM_UP_S = 5.0


def run(options: Options) -> dict[str, Any]:
    """Measure, print the tables, and write the result file.

    Returns:
        The summary line.

    Raises:
        RunError: A program fails, or its output differs from that of the others.
    """
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder), options.events or EVENTS)
    show(result, BASE)
    write_result(options.out, result)
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path, events: int) -> dict[str, Any]:
    date = today()
    with open_testbed(folder, events) as testbed:
        info = RedisStore(testbed.valkey.url).info()
        runs = _throughput(testbed, Span())
        latency = {mode: _latency(testbed, mode, Span()) for mode in MODES}
        programs = summarise(runs, BASE)
        return {
            "suite": "spine",
            "date": date,
            "machine": machine(f"{info.server} {info.version}"),
            "setting": testbed.setting(ROUNDS),
            "programs": programs,
            "latency": {mode: asdict(one) for mode, one in latency.items()},
            "last_line": last_line(programs, latency),
        }


def _throughput(testbed: Testbed, span: Span) -> Mapping[str, list[Measured]]:
    """Run the programs in turn, so that other load on the machine affects all equally."""
    runs: dict[str, list[Measured]] = defaultdict(list)
    agreement = Agreement()
    for number in range(1, ROUNDS + 1):
        for program, start in PROGRAMS.items():
            only_bytes = program == "pass_through"
            check = agreement.check_count if only_bytes else agreement.check_scores
            run = Run(f"{program}-{number}")
            runs[program].append(measured_run(testbed, start, run, span, check))
    note(f"{agreement.compared:,} scores compared with those of another program: all the same")
    return runs


def _latency(testbed: Testbed, mode: str, span: Span) -> Latency:
    run = Run(f"latency-{mode}", f"transactions-{mode}", {"DELIVERY__GUARANTEE": mode})
    latency = measure_latency(testbed, run, replace(span, warm_up=_LATENCY_WARM_UP_S))
    note(f"{mode}: median {latency.p50:.1f} ms, 99 % under {latency.p99:.1f} ms")
    return latency
