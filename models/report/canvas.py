"""Charts as SVG for HTML pages. Needs the extra `train`."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK, GREY, LINE, FILL, HOT = "#1f2933", "#7b8794", "#2563a8", "#c9dcf0", "#c2410c"
_POINTS: Final = 1500
_TICKS: Final = 14
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fraud-worker",
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.edgecolor": "#cbd2d9",
    "axes.labelcolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#edf0f3",
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
}


@contextmanager
def chart(name: str, width: float, height: float) -> Iterator[tuple[Axes, list[str]]]:
    """Draw a chart in a `with` block; at its end the list holds the SVG.

    Args:
        name: Name of the chart, which makes its ids distinct from those of other charts.
        width: Width in inches.
        height: Height in inches.
    """
    svg: list[str] = []
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes: Axes = figure.subplots()
        yield axes, svg
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    # matplotlib gives groups the same ids in every chart. Nothing refers to them, and on a page with
    # several charts they would be duplicates.
    svg.append(re.sub(r' id="[a-z]+_\d+"', "", text[text.index("<svg") :]))


def percent(axes: Axes, names: str) -> None:
    """Format the numbers on the named axes ("x", "y" or "xy") as percentages."""
    formatter = FuncFormatter(lambda value, _: f"{value:.4%}".rstrip("0%").rstrip(".") + " %")
    for name in names:
        getattr(axes, f"{name}axis").set_major_formatter(formatter)


def day_ticks(axes: Axes, days: npt.NDArray[np.int64]) -> None:
    """Label the bars or points at 0, 1, … with dates, leaving out some if there are too many.

    Args:
        axes: The axes.
        days: int64[N], days since 1970.
    """
    at = np.arange(len(days))[:: 1 + (len(days) - 1) // _TICKS]
    dates: list[Any] = days[at].astype("datetime64[D]").tolist()
    axes.set_xticks(at, [f"{day:%-d %b}" for day in dates])


def precision_recall_curve(
    labels: npt.NDArray[Any], scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Recall and precision at falling thresholds, reduced to the points that a chart can show.

    Args:
        labels: 0/1 [N]; at least one is 1.
        scores: float64[N].

    Returns:
        Recall and precision, float64[M] each.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order] == 1)
    last = np.flatnonzero(np.diff(scores[order], append=-1.0))
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    steps = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1.0, _POINTS)))
    keep = np.unique([0, *steps.clip(0, len(recall) - 1), len(recall) - 1])
    return recall[keep], precision[keep]
