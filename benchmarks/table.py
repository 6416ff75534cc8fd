"""A result for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table

_WIDTH = 110


def show(result: Mapping[str, Any], base: str) -> None:
    """Print the tables of a result of the suite spine. base: the program of its ratios."""
    print_tables(programs_table(result, base), stages_table(result), _latency(result))


def print_tables(*tables: Table) -> None:
    """To a terminal, or for a file as wide as they need."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(Group(*tables))


def programs_table(result: Mapping[str, Any], base: str) -> Table:
    """Rates, ratios to ``base``, CPU and memory of the programs of a result."""
    machine = result["machine"]
    table = Table(
        title=f"{machine['processor']}, {machine['usable_cores']} cores, shared with broker, store",
        caption="others: cores kept busy by what does not belong to the benchmark, at most",
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
    for name, found in result["programs"].items():
        table.add_row(
            name,
            f"{found['events_per_s']:,.0f}",
            f"{found['lowest']:,.0f}-{found['highest']:,.0f}",
            f"{found['ratio']:.2f}",
            f"{found['cpu_us_per_event']:.1f}",
            f"{found['peak_mib']:.0f}",
            f"{found['other_cores']:.1f}",
        )
    return table


def stages_table(result: Mapping[str, Any]) -> Table:
    """Time in the worker's stages."""
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
    for mode, found in result["latency"].items():
        table.add_row(mode, *(f"{found[key]:.1f}" for key in ("p50", "p99", "highest")))
    return table
