"""Writes the newest committed result into docs/performance.md: ``python -m benchmarks.report``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- Written by `python -m benchmarks.report`; edit nothing from here on. -->"
END = "<!-- Until here. -->"

_PROGRAMS = {
    "worker": "the worker, exactly once",
    "hand_written": "a good hand-written batch loop",
    "per_event": "a loop, one event at a time",
    "pass_through": "bytes passed through, nothing computed",
}


def newest() -> Path:
    """The last result of the suite spine, by its date."""
    return max(RESULTS.glob("*-spine.json"))


def render(path: Path) -> str:
    """The result in ``path`` as Markdown."""
    return "\n".join(_lines(json.loads(path.read_text("utf-8")), path.name)) + "\n"


def put(page: str, text: str) -> str:
    """The page with ``text`` between its marks. Raises ValueError where they are not there."""
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r}: put both where the tables belong")
    return f"{before}{begin}{text}{end}{after}"


def _lines(result: Mapping[str, Any], name: str) -> Iterator[str]:
    machine, setting = result["machine"], result["setting"]
    versions = ", ".join(f"{what} {number}" for what, number in machine["versions"].items())
    others = max(found["other_cores"] for found in result["programs"].values())
    yield ""
    yield (
        f"Measured on {result['date']} ([the whole result](../benchmarks/results/{name})): "
        f"{machine['processor']}, {machine['usable_cores']} cores for program, broker and store "
        f"together, {machine['memory_gib']} GiB, {machine['system']}; {versions}. "
        f"{setting['trees']} trees, {setting['features']} features, {setting['partitions']} "
        f"partitions, {setting['xgboost_threads']} XGBoost threads, batches of "
        f"{setting['batch_events']:,}; medians of {setting['rounds']} runs. Other processes kept up "
        f"to {others:.1f} cores busy meanwhile."
    )
    yield ""
    yield "| program | events/s | lowest to highest | times hand-written | CPU µs/event | peak MiB |"
    yield "|---|---:|---:|---:|---:|---:|"
    for program, found in result["programs"].items():
        yield (
            f"| {_PROGRAMS[program]} | {found['events_per_s']:,.0f} | "
            f"{found['lowest']:,.0f} to {found['highest']:,.0f} | {found['ratio']:.2f} | "
            f"{found['cpu_us_per_event']:.1f} | {found['peak_mib']:.0f} |"
        )
    yield ""
    stages = result["programs"]["worker"]["stages_us_per_event"]
    yield "Time in the worker's stations, µs of wall clock an event; the commit runs beside them:"
    yield ""
    yield f"| {' | '.join(stages)} |"
    yield f"|{'---:|' * len(stages)}"
    yield f"| {' | '.join(f'{value:.2f}' for value in stages.values())} |"
    yield ""
    yield "Latency from producer to a reader of committed records, at 1,000 events/s:"
    yield ""
    yield "| guarantee | median | 99 % | highest |"
    yield "|---|---:|---:|---:|"
    for mode, found in result["latency"].items():
        figures = " | ".join(f"{found[key]:.1f} ms" for key in ("p50", "p99", "highest"))
        yield f"| {mode.replace('_', ' ')} | {figures} |"
    yield ""


def main() -> None:
    """Write the page."""
    path = newest()
    PAGE.write_text(put(PAGE.read_text("utf-8"), render(path)), "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {path.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
