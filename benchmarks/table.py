"""Tables of a result for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table

_WIDTH = 110


def show(result: Mapping[str, Any], base: str) -> None:
    """Print the tables of a result of the suite ``spine``; ``base`` is the program of the ratios."""
    print_tables(programs_table(result, base), stages_table(result), _latency(result))


def print_tables(*tables: Table) -> None:
    """Print tables on stderr, with a fixed width if it is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=_WIDTH)
    console.print(Group(*tables))


def programs_table(result: Mapping[str, Any], base: str) -> Table:
    """Table of rates, ratios to ``base``, CPU and memory of the programs."""
    machine = result["machine"]
    table = Table(
        title=f"{machine['processor']}, {machine['usable_cores']} cores, shared with broker, store",
        caption="others: maximum of cores used by processes outside the benchmark",
    )
    table.add_column("program")
    for title in (
        "events/s",
        "lowest-highest",
        f"of {base}",
        "CPU µs/event",
        "peak MiB",
        "others",
    ):
        table.add_column(title, justify="right")
    for name, figures in result["programs"].items():
        table.add_row(
            name,
            f"{figures['events_per_s']:,.0f}",
            f"{figures['lowest']:,.0f}-{figures['highest']:,.0f}",
            f"{figures['ratio']:.2f}",
            f"{figures['cpu_us_per_event']:.1f}",
            f"{figures['peak_mib']:.0f}",
            f"{figures['other_cores']:.1f}",
        )
    return table


def stages_table(result: Mapping[str, Any]) -> Table:
    """Table of the time in the worker's stages."""
    stages = result["programs"]["worker"]["stages_us_per_event"]
    table = Table(title="worker, µs/event in each stage (wall clock)")
    for stage in stages:
        table.add_column(stage, justify="right")
    table.add_row(*(f"{value:.2f}" for value in stages.values()))
    return table


def _latency(result: Mapping[str, Any]) -> Table:
    table = Table(title="worker, ms from producer to read-committed consumer, 1,000 events/s")
    table.add_column("guarantee")
    for title in ("p50", "p99", "highest"):
        table.add_column(title, justify="right")
    for mode, figures in result["latency"].items():
        table.add_row(mode, *(f"{figures[key]:.1f}" for key in ("p50", "p99", "highest")))
    return table
