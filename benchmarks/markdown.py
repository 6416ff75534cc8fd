"""Markdown parts of the suites' reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 0) -> Iterator[str]:
    """Lines of a table and an empty line; the first ``texts`` columns are text, not numbers."""
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * texts}{'---:|' * (len(titles) - texts)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def machine_of(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Date and machine of a result; ``name`` is its file."""
    yield ""
    yield f"{_machine(result, name)}."
    yield ""


def _machine(result: Mapping[str, Any], name: str) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{what} {number}" for what, number in machine["versions"].items())
    return (
        f"Measured on {result['date']} ([the whole result](../../benchmarks/results/{name})): "
        f"{machine['processor']}, {machine['usable_cores']} cores for program, broker and store "
        f"together, {machine['memory_gib']} GiB, {machine['system']}; {versions}"
    )


def measured_on(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Date, machine and settings of a result; ``name`` is its file."""
    setting = result["setting"]
    others = max(figures["other_cores"] for figures in result["programs"].values())
    partitions = setting["partitions"]
    yield ""
    yield (
        f"{_machine(result, name)}. {setting['trees']} trees, {setting['features']} features, {partitions} "
        f"{'partition' if partitions == 1 else 'partitions'}, {setting['xgboost_threads']} XGBoost "
        f"threads, batches of {setting['batch_events']:,}; medians of {setting['rounds']} runs. "
        f"Other processes kept up to {others:.1f} cores busy meanwhile."
    )
    yield ""


def programs(result: Mapping[str, Any], names: Mapping[str, str], ratio: str) -> Iterator[str]:
    """Table of the programs' rates.

    Args:
        result: Result of a suite.
        names: Title of each program.
        ratio: Title of the ratio's column.
    """
    yield from table(
        ("program", "events/s", "lowest to highest", ratio, "CPU µs/event", "peak MiB"),
        (
            (
                names[program],
                f"{figures['events_per_s']:,.0f}",
                f"{figures['lowest']:,.0f} to {figures['highest']:,.0f}",
                f"{figures['ratio']:.2f}",
                f"{figures['cpu_us_per_event']:.1f}",
                f"{figures['peak_mib']:.0f}",
            )
            for program, figures in result["programs"].items()
        ),
        texts=1,
    )


def stages(result: Mapping[str, Any]) -> Iterator[str]:
    """Table of the time in the worker's stages."""
    stages = result["programs"]["worker"]["stages_us_per_event"]
    yield "Time in the worker's stages, µs of wall clock an event; the commit runs beside them:"
    yield ""
    yield from table(tuple(stages), [[f"{value:.2f}" for value in stages.values()]])
