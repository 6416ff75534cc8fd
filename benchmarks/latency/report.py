"""Report of the suite ``latency`` for docs/explanation/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from benchmarks.latency.table import COLUMNS, rows
from benchmarks.markdown import machine_of, table

BEHIND = "in brackets where a program fell behind, so that the time grows with the run's length"
_PIPELINES = {
    "lookups": "Lookups ({partitions} partitions):",
    "handbook": "Windows of the Handbook, after {history_events:,} events of history (one "
    "partition; {source}):",
}


def latency(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Lines of the report; ``name`` is the file of the result."""
    setting = result["setting"]
    yield from machine_of(result, name)
    yield f"Percentiles in ms, over {setting['rounds']} runs; {BEHIND}."
    yield ""
    yield f"![The same, drawn](../../benchmarks/results/{PurePath(name).with_suffix('.svg')})"
    yield ""
    for pipeline, title in _PIPELINES.items():
        yield title.format(**setting)
        yield ""
        yield from latency_rows(result["cases"][pipeline])
    yield f"The first {setting['cold']['measured']:.0f} s of a broker, lookups:"
    yield ""
    yield from latency_rows([result["cold"]])


def latency_rows(cases: list[Mapping[str, Any]]) -> Iterator[str]:
    """Table of percentiles, by guarantee, rate and program."""
    yield from table(("guarantee", "events/s", "program", *COLUMNS), rows(cases), texts=3)
