"""Chart of the time for an event by the length of its histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

LINES = {
    "sorted_sets": "sorted sets, an event at a time",
    "sorted_sets_batched": "sorted sets, all events in one pipeline",
    "worker": "the worker: read, compute, append",
    "compute": "of that, the engine",
}
_STYLES = ("o-", "s-", "D-", "D:")


def draw_lengths(costs: Sequence[Mapping[str, Any]], path: Path, caption: str) -> None:
    """Write the chart to ``path``, in the format of its suffix.

    Args:
        costs: Microseconds per event for each length, by the names in LINES.
        path: File of the chart.
        caption: Title of the chart.
    """
    # The same values give the same file.
    with mpl.rc_context({"svg.hashsalt": "fraud-worker", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.5, 4.5), layout="constrained")
        axes = figure.subplots()
        lengths = [cost["length"] for cost in costs]
        for (name, label), style in zip(LINES.items(), _STYLES, strict=True):
            axes.plot(lengths, [cost[name] for cost in costs], style, label=label)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="members in each of an event's two histories",
            ylabel="µs an event",
        )
        axes.set_title(caption, fontsize="small")
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.legend(fontsize="small")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
