"""Tables of a result of the suite ``latency`` for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table

from benchmarks.table import print_tables

PROGRAMS = {
    "worker": "the worker",
    "hand_written": "hand-written loop",
    "quix": "Quix Streams",
    "kafka_streams": "Kafka Streams",
    "pass_through": "bare loop",
}
_ROUND_MS = 1000.0
COLUMNS = ("50 %", "99 %", "99.9 %", "highest", "50 % of bare", "99 % of bare")


def show(result: Mapping[str, Any]) -> None:
    """Print the tables of a result."""
    machine = result["machine"]
    where = f"{machine['processor']}, {machine['usable_cores']} cores for all"
    tables = [latency_table(f"{name}, {where}", some) for name, some in result["cases"].items()]
    tables.append(latency_table(f"cold broker, lookups, {where}", [result["cold"]]))
    print_tables(*tables)


def latency_table(title: str, cases: Iterable[Mapping[str, Any]]) -> Table:
    """Table of percentiles, by guarantee, rate and program."""
    table = Table(
        title=f"{title}: ms from producer to read-committed consumer",
        caption="(…): the program fell behind; the time grows with the length of the run",
    )
    for name in ("guarantee", "events/s", "program"):
        table.add_column(name, no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in rows(cases):
        table.add_row(*row)
    return table


def rows(cases: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Rows of the table: guarantee, rate, program and COLUMNS."""
    for case in cases:
        for program, figures in case["programs"].items():
            yield (
                case["guarantee"].replace("_", " "),
                f"{case['rate']:,.0f}",
                PROGRAMS[program],
                *_cells(figures),
            )


def _cells(figures: Mapping[str, Any]) -> Iterator[str]:
    for name in ("p50", "p99", "p99_9", "highest"):
        ms = figures[name]
        text = "" if ms is None else f"{ms:,.1f}" if ms < _ROUND_MS else f"{ms:,.0f}"
        yield text if figures["kept_up"] or not text else f"({text})"
    yield from (f"{figures[name]:.2f}" for name in ("p50_of_bare", "p99_of_bare"))
