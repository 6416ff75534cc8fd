"""Summary of the runs of a suite: medians, spreads and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.latency.measure import Latency
from benchmarks.throughput import Measured


def summarise(runs: Mapping[str, Sequence[Measured]], base: str) -> dict[str, Any]:
    """Medians, lowest and highest rate, ratio to ``base``, and all runs of each program."""
    rates = {name: _median([run.events_per_s for run in some]) for name, some in runs.items()}
    return {
        name: {
            "events_per_s": rates[name],
            "lowest": min(run.events_per_s for run in some),
            "highest": max(run.events_per_s for run in some),
            "cpu_us_per_event": _median([run.cpu_us_per_event for run in some]),
            "peak_mib": _median([run.peak_bytes / 2**20 for run in some]),
            "other_cores": max(run.other_cores for run in some),
            "ratio": rates[name] / rates[base],
            "stages_us_per_event": _stages(some),
            "runs": [asdict(run) for run in some],
        }
        for name, some in runs.items()
    }


def last_line(programs: Mapping[str, Any], latency: Mapping[str, Latency]) -> dict[str, Any]:
    """Summary line of a result: events per second, milliseconds."""
    return {
        **{name: round(figures["events_per_s"]) for name, figures in programs.items()},
        "latency_ms": {
            mode: {"1000": {"p50": round(figures.p50, 2), "p99": round(figures.p99, 2)}}
            for mode, figures in latency.items()
        },
    }


def _stages(runs: Sequence[Measured]) -> dict[str, float]:
    return {
        stage: _median([run.stages[stage] * 1e6 / run.events for run in runs])
        for stage in runs[0].stages
    }


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))
