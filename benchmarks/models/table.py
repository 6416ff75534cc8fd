"""Tables of a result of the suite ``models`` for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.models.explained import BASE
from benchmarks.models.last_line import compared, ratios
from benchmarks.table import print_tables, programs_table, stages_table


def show(result: Mapping[str, Any]) -> None:
    """Print the tables of a result."""
    print_tables(
        _scoring(result),
        _explaining(result),
        _stages(result),
        _ratios(result),
        programs_table(result, BASE),
        stages_table(result),
        _latency(result),
    )


def _scoring(result: Mapping[str, Any]) -> Table:
    threads = result["setting"]["xgboost_threads"]
    table = Table(
        title=f"margins, µs an event; {threads} threads on the CPU",
        caption=result["gpu"] or result["no_gpu"],
    )
    table.add_column("device")
    for title in ("trees", "batch", "worker", "events/s", "XGBoost in place", "DMatrix"):
        table.add_column(title, justify="right")
    for row in result["scoring"]:
        table.add_row(
            row["device"],
            str(row["trees"]),
            f"{row['batch']:,}",
            f"{row['worker']:.3f}",
            f"{1e6 / row['worker']:,.0f}",
            _or_nothing(row["in_place"]),
            _or_nothing(row["dmatrix"]),
        )
    return table


def _explaining(result: Mapping[str, Any]) -> Table:
    table = Table(title="reasons, µs an explained event")
    table.add_column("device")
    titles = ("trees", "explained", "contributions", "XGBoost's", "reasons", "encode")
    for title in titles:
        table.add_column(title, justify="right")
    for row in result["explaining"]:
        table.add_row(
            row["device"],
            str(row["trees"]),
            str(row["explained"]),
            f"{row['contributions']:.1f}",
            _or_nothing(row["xgboost"], digits=1),
            f"{row['reasons']:.1f}",
            f"{row['encode']:.1f}",
        )
    return table


def _stages(result: Mapping[str, Any]) -> Table:
    batch = result["setting"]["batch_events"]
    table = Table(title=f"the rest, µs an event, micro-batches of {batch:,}")
    for name in result["stations"]:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{value:.3f}" for value in result["stations"].values()))
    return table


def _ratios(result: Mapping[str, Any]) -> Table:
    table = Table(title="times as long by XGBoost's own calls")
    for title in ("trees", "a DMatrix a batch", "in place, one at a time", "contributions"):
        table.add_column(title, justify="right")
    for row in compared(result):
        table.add_row(str(row["trees"]), *(f"{value:,.2f}" for value in ratios(row).values()))
    return table


def _latency(result: Mapping[str, Any]) -> Table:
    latency, every_s = result["latency"], result["setting"]["swap_every_s"]
    table = Table(
        title="worker, ms from producer to read-committed consumer, 1,000 events/s",
        caption=f"a swap every {every_s:g} s: {latency['swaps']} taken; "
        f"99 % {latency['p99_ratio']:.2f} times that without",
    )
    table.add_column("model")
    for title in ("p50", "p99", "highest"):
        table.add_column(title, justify="right")
    for mode in ("alone", "swapped"):
        table.add_row(mode, *(f"{latency[mode][key]:.1f}" for key in ("p50", "p99", "highest")))
    return table


def _or_nothing(value: float | None, *, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
