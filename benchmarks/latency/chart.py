"""Chart of the latency by rate, for each pipeline and guarantee."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.latency.table import PROGRAMS

_PERCENTILES = {"p50": ("50 %", "o-"), "p99": ("99 %", "s:")}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write the chart to ``path``, in the format of its suffix."""
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for pipeline, cases in result["cases"].items():
        for case in cases:
            panels.setdefault((pipeline, case["guarantee"]), []).append(case)
    # The same values give the same file.
    with mpl.rc_context({"svg.hashsalt": "fraud-worker", "svg.fonttype": "none"}):
        rows = -(-len(panels) // 2)
        figure = Figure(figsize=(10, 0.5 + 3.5 * rows), layout="constrained")
        grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flat
        for axes, ((pipeline, guarantee), cases) in zip(grid, panels.items(), strict=True):
            _lines(axes, cases)
            axes.set_title(f"{pipeline}, {guarantee.replace('_', ' ')}", fontsize="small")
        axes = figure.axes[0]
        axes.legend(fontsize="x-small", ncols=2)
        figure.supxlabel("events per second", fontsize="small")
        figure.supylabel("ms from producer to read-committed consumer", fontsize="small")
        figure.suptitle(f"{result['machine']['processor']}, {result['date']}", fontsize="small")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _lines(axes: Axes, cases: list[Mapping[str, Any]]) -> None:
    """Plot each percentile of each program; a program that fell behind has no point."""
    for number, program in enumerate(cases[0]["programs"]):
        kept_up = [case for case in cases if case["programs"][program]["kept_up"]]
        rates = [case["rate"] for case in kept_up]
        for percentile, (label, style) in _PERCENTILES.items():
            times = [case["programs"][program][percentile] for case in kept_up]
            axes.plot(
                rates, times, style, color=f"C{number}", label=f"{PROGRAMS[program]}, {label}"
            )
    axes.set(xscale="log", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.25)
