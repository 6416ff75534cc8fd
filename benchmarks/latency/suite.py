"""Suite ``latency``: worker, hand-written loop and bare loop at three rates."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.latency.cases import BARE, Case, Cases
from benchmarks.latency.chart import draw
from benchmarks.latency.handbook import open_handbook
from benchmarks.latency.plan import Plan
from benchmarks.latency.table import show
from benchmarks.machine import machine
from benchmarks.options import Options
from benchmarks.programs import Worker, rival
from benchmarks.result import today, write_result
from benchmarks.rounds import Programs
from benchmarks.testbed import Testbed, open_testbed, played_payments
from features.store.redis import RedisStore

LOOKUPS: Programs = {
    "worker": Worker,
    "hand_written": rival("hand_written"),
    BARE: rival("pass_through"),
}
HANDBOOK: Programs = {**LOOKUPS, "hand_written": rival("sorted_sets_batched")}


def run(options: Options) -> dict[str, Any]:
    """Measure, print the tables, and write the result file and its chart.

    Returns:
        The summary line.

    Raises:
        RunError: A program fails, loses an event, or computes a different score.
    """
    plan = Plan() if options.events is None else Plan().shortened(options.events)
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder), plan, quick=options.events is not None)
    show(result)
    path = write_result(options.out, result)
    for suffix in (".svg", ".png"):
        draw(result, path.with_suffix(suffix))
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path, plan: Plan, *, quick: bool) -> dict[str, Any]:
    date = today()
    with open_testbed(folder, 0) as testbed:
        info = RedisStore(testbed.valkey.url).info()
        setting = _setting(testbed, plan)
        events = played_payments(testbed.feature_set, plan.events)
        of_lookups = Cases(testbed, LOOKUPS, events, plan)
        lookups, cold = of_lookups.measure_warm(), of_lookups.measure_cold()
    with open_handbook(folder / "handbook", plan.events, quick=quick) as handbook:
        setting["source"] = handbook.source.name
        setting["history_events"] = handbook.source.history
        windows = Cases(handbook.testbed, HANDBOOK, handbook.live, plan, handbook.prepare)
        cases = {"lookups": lookups, "handbook": windows.measure_warm()}
    return {
        "suite": "latency",
        "date": date,
        "machine": machine(f"{info.server} {info.version}"),
        "setting": setting,
        "cases": cases,
        "cold": cold,
        "last_line": last_line(cases, cold),
    }


def _setting(testbed: Testbed, plan: Plan) -> dict[str, Any]:
    return {
        **testbed.setting(plan.rounds),
        "paces": [asdict(pace) for pace in plan.paces],
        "warm": asdict(plan.warm),
        "cold": asdict(plan.cold),
    }


def last_line(cases: Mapping[str, Iterable[Case]], cold: Case) -> dict[str, Any]:
    """Summary line: milliseconds by pipeline, guarantee, rate and program, and ratios."""
    line: dict[str, Any] = {}
    for pipeline, some in cases.items():
        for case in some:
            by_rate = line.setdefault(pipeline, {}).setdefault(case["guarantee"], {})
            by_rate[f"{case['rate']:g}"] = short(case)
    return {**line, "cold": short(cold)}


def short(case: Case) -> dict[str, Any]:
    """Rounded percentiles and ratios of each program."""
    names = {"p50": 2, "p99": 2, "p50_of_bare": 2, "p99_of_bare": 2}
    return {
        program: {name: round(figures[name], digits) for name, digits in names.items()}
        | ({} if figures["kept_up"] else {"kept_up": False})
        for program, figures in case["programs"].items()
    }
