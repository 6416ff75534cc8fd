"""A comparison as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.compare.comparison import Comparison
from tools.compare.rows import agreement_rows, alert_rows, remarks, scored_rows


def show(found: Comparison, console: Console) -> None:
    """Print the results side by side, the measures of agreement and the pairs of decisions."""
    sides = ("", "champion", "challenger")
    topics = ("output topic", found.champion.topic, found.challenger.topic)
    console.print(_table(sides, [topics, *scored_rows(found), *alert_rows(found)]))
    console.print(_table(("agreement", ""), agreement_rows(found)))
    names = found.agreement.decisions
    counts = [
        (name, *(f"{count:,}" for count in row))
        for name, row in zip(names, found.agreement.counts, strict=True)
    ]
    console.print(_table(("champion \\ challenger", *names), counts))
    for remark in remarks(found):
        console.print(Text(remark))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table()
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
