"""Tables of the proof for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_WIDTH = 110
_CHECKS = ("margins", "reasons", "training", "scores", "loss", "tests")


def show(result: Mapping[str, Any]) -> None:
    """Print the tables of a result to stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=_WIDTH)
    device = "rehearsal on the CPU" if result["rehearsal"] else result["gpu"]
    console.print(f"{device}, {result['seconds']} s")
    table = Table()
    table.add_column("check")
    table.add_column("result")
    for name in _CHECKS:
        table.add_row(name, "failed" if name in result["failures"] else "passed")
    console.print(table)
    for name in ("margins", "contributions"):
        if rows := result.get(f"{name}_by_batch"):
            console.print(_rates(name, rows, result["threads"]))


def _rates(name: str, rows: Sequence[Mapping[str, Any]], threads: int) -> Table:
    table = Table(title=f"{name}, events/s")
    for title in ("trees", "batch", f"CPU, {threads} threads", "GPU", "GPU / CPU"):
        table.add_column(title, justify="right")
    for row in rows:
        cpu, cuda = row["events_per_s"]["cpu"], row["events_per_s"]["cuda"]
        table.add_row(
            f"{row['trees']:,}",
            f"{row['batch']:,}",
            f"{cpu:,.0f}",
            f"{cuda:,.0f}",
            f"{cuda / cpu:.2f}",
        )
    return table
