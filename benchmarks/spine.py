"""Suite ``spine``: throughput of the worker and three rivals, and the worker's latency."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.latency.measure import RATE, Latency, Pace, latency_of, measure_latency
from benchmarks.machine import machine
from benchmarks.options import Options
from benchmarks.programs import Run, Worker, rival
from benchmarks.result import today, write_result
from benchmarks.rivals.task import Guarantee
from benchmarks.rounds import Programs, alternate
from benchmarks.summary import last_line, summarise
from benchmarks.table import show
from benchmarks.testbed import Testbed, note, open_testbed, played_payments
from benchmarks.throughput import Span
from features.store.redis import RedisStore

PROGRAMS: Programs = {
    "worker": Worker,
    "hand_written": rival("hand_written"),
    "per_event": rival("per_event"),
    "pass_through": rival("pass_through"),
}
BASE = "hand_written"
"""Program that the others are compared with."""
EVENTS = 4_000_000
ROUNDS = 3
MODES: tuple[Guarantee, ...] = ("exactly_once", "at_least_once")
_PACE = Pace(RATE, 5.0, 15.0)


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
        runs = alternate(testbed, PROGRAMS, ROUNDS, Span())
        latency: dict[str, Latency] = {mode: _latency(testbed, mode) for mode in MODES}
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


def _latency(testbed: Testbed, mode: Guarantee) -> Latency:
    run = Run(f"latency-{mode}", f"transactions-{mode}", mode)
    events = played_payments(testbed.feature_set, _PACE.events)
    latency = latency_of(measure_latency(testbed, Worker, run, events, [_PACE]))
    note(f"{mode}: median {latency.p50:.1f} ms, 99 % under {latency.p99:.1f} ms")
    return latency
