"""Chart of the time for margins by batch size, and for contributions by explained events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_MARGINS = {
    "worker": "the worker",
    "in_place": "XGBoost, in place",
    "dmatrix": "XGBoost, a DMatrix",
}
_REASONS = {"contributions": "the worker", "xgboost": "XGBoost, pred_contribs"}
_STYLES = ("o-", "x:", "s--")


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write the chart to ``path``, in the format of its suffix."""
    # The same values give the same file.
    with mpl.rc_context({"svg.hashsalt": "fraud-worker", "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 5.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, result["scoring"], "batch", _MARGINS)
        left.set(xlabel="events in a micro-batch", ylabel="µs an event", title="margins")
        _lines(right, result["explaining"], "explained", _REASONS)
        right.set(
            xlabel="explained events in a micro-batch",
            ylabel="µs an explained event",
            title="contributions to the margin",
        )
        figure.suptitle(f"{result['machine']['processor']}, {result['date']}", fontsize="small")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _lines(
    axes: Axes, rows: Iterable[Mapping[str, Any]], along: str, names: Mapping[str, str]
) -> None:
    """Plot a line for each device, number of trees and method; trees have the same colour."""
    lines: dict[tuple[str, int, str], list[tuple[int, float]]] = {}
    for row in rows:
        for name in names:
            if row[name] is not None:
                key = (row["device"], row["trees"], name)
                lines.setdefault(key, []).append((row[along], row[name]))
    groups = list(dict.fromkeys((device, trees) for device, trees, _ in lines))
    for (device, trees, name), points in lines.items():
        style = dict(zip(names, _STYLES, strict=False))[name]
        colour = f"C{groups.index((device, trees))}"
        label = f"{names[name]}, {device}, {trees} trees"
        axes.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=4)
    axes.set(xscale="log", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize="x-small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
