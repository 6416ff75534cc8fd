"""Tables of a result of the suite ``features`` for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.table import print_tables, programs_table, stages_table


def show(result: Mapping[str, Any], base: str) -> None:
    """Print the tables of a result; ``base`` is the program of the ratios."""
    print_tables(
        programs_table(result, base),
        stages_table(result),
        _lengths(result["lengths"]),
        _building(result["building"]),
        _memory(result["memory"]),
    )


def _lengths(costs: list[Mapping[str, Any]]) -> Table:
    table = Table(title="µs an event, by members in each of its two histories (wall clock)")
    names = ("worker", "read", "compute", "append", "sorted_sets", "sorted_sets_batched")
    for title in ("members", *names):
        table.add_column(title, justify="right")
    for cost in costs:
        table.add_row(f"{cost['length']:,}", *(f"{cost[name]:,.1f}" for name in names))
    return table


def _building(building: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"training table of {building['events']:,} events, ratio {building['ratio']:.1f}",
        caption="inside: without start; of pandas without reading and writing",
    )
    table.add_column("method")
    for title in ("s", "s inside", "events/s", "peak MiB"):
        table.add_column(title, justify="right")
    for name in ("build", "pandas"):
        figures = building[name]
        table.add_row(
            name,
            f"{figures['seconds']:.1f}",
            f"{figures['seconds_inside']:.1f}",
            f"{figures['events_per_s']:,.0f}",
            f"{figures['peak_mib']:,.0f}",
        )
    return table


def _memory(memory: Mapping[str, Any]) -> Table:
    needs = "\n".join(
        f"a million cards, {name}: {figures['calculation']}"
        for name, figures in memory["million_cards"].items()
    )
    table = Table(title="what the store holds", caption=needs)
    for title in ("program", "keys of"):
        table.add_column(title)
    for title in ("keys", "members", "a key", "bytes a key", "bytes a member"):
        table.add_column(title, justify="right")
    for program, state in memory["states"].items():
        for kind, figures in state["kinds"].items():
            if figures["members"]:
                table.add_row(
                    program,
                    kind,
                    f"{figures['keys']:,}",
                    f"{figures['members']:,}",
                    f"{figures['members_per_key']:.1f}",
                    f"{figures['bytes_per_key']:,.0f}",
                    f"{figures['bytes_per_member']:.1f}",
                )
    return table
