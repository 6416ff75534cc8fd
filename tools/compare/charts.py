"""Charts of a comparison. They need the extra `train`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from base.arrays import Floats
from models.report.canvas import (
    FILL,
    GREY,
    HOT,
    LINE,
    chart,
    day_ticks,
    percent,
    precision_recall_curve,
)
from tools.compare.join import ComparedEvents, WorkerAnswers
from tools.compare.measures import top_overlap

_COLORS: Final = {"champion": LINE, "challenger": HOT}
_CELLS: Final = 44
_BARS: Final = 60
# The axis shows log-odds of scores, so that both ends are readable.
_LEAST: Final = 1e-6
_TICKS: Final = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
_MOST_TICKS: Final = 8
_DENSITY: Final = LinearSegmentedColormap.from_list("density", ["#e3edf8", LINE, "#12294a"])


def distribution(events: ComparedEvents) -> str:
    """Chart of the number of events by score, on a logarithmic axis."""
    sides = _sides(events)
    edges = np.linspace(*_bounds(events), _BARS + 1)
    with chart("shift", 5.2, 3.9) as (axes, svg):
        for name, answers in sides.items():
            counts, _ = np.histogram(_log_odds(answers.scores), edges)
            axes.stairs(counts, edges, color=_COLORS[name], lw=1.6, label=name, zorder=3)
        own, _ = np.histogram(_log_odds(events.champion.scores), edges)
        axes.stairs(own, edges, color=FILL, fill=True, alpha=0.5)
        axes.set(yscale="log", xlabel="score", ylabel="events", xlim=(edges[0], edges[-1]))
        axes.set_ylim(bottom=0.7)
        _score_ticks(axes.xaxis, edges[0], edges[-1])
        _legend(axes)
    return svg[0]


def density(events: ComparedEvents) -> str:
    """Chart of the number of events by both scores; on the dotted line the two are equal."""
    edges = np.linspace(*_bounds(events), _CELLS + 1)
    own, other = (_log_odds(answers.scores) for answers in _sides(events).values())
    counts, _, _ = np.histogram2d(own, other, (edges, edges))
    with chart("density", 5.2, 3.9) as (axes, svg):
        axes.grid(visible=False)
        x, y = np.nonzero(counts)
        step = edges[1] - edges[0]
        # A square for each cell that holds events: a mesh would draw the empty ones too.
        axes.scatter(
            edges[x] + step / 2,
            edges[y] + step / 2,
            c=counts[x, y],
            s=(72 * 3.3 / _CELLS) ** 2,
            marker="s",
            linewidths=0,
            cmap=_DENSITY,
            norm=LogNorm(1, max(2.0, counts.max())),
        )
        axes.plot(edges[[0, -1]], edges[[0, -1]], color=GREY, lw=1.1, ls=":")
        axes.set(xlim=(edges[0], edges[-1]), ylim=(edges[0], edges[-1]))
        axes.set(xlabel="champion's score", ylabel="challenger's score")
        _score_ticks(axes.xaxis, edges[0], edges[-1])
        _score_ticks(axes.yaxis, edges[0], edges[-1])
    return svg[0]


def alerts_by_day(events: ComparedEvents) -> str:
    """Chart of each day's alerts: events with a decision other than the default."""
    days, places = np.unique(events.days, return_inverse=True)
    with chart("alerts", 10.6, 2.9) as (axes, svg):
        for name, answers in _sides(events).items():
            counts = np.bincount(places[answers.alerts], minlength=len(days))
            axes.plot(counts, color=_COLORS[name], lw=1.6, marker="o", ms=3.5, label=name)
        axes.set_ylabel("alerts")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        day_ticks(axes, days)
        _legend(axes)
    return svg[0]


def overlap_by_day(events: ComparedEvents, top: int) -> str:
    """Chart of the share of each day's first cards that both workers name."""
    days, shares = top_overlap(events, top)
    with chart("overlap", 10.6, 2.4) as (axes, svg):
        axes.bar(np.arange(len(days)), shares, color=LINE, width=0.74)
        axes.set(ylim=(0, 1), ylabel="in both")
        axes.grid(visible=False, axis="x")
        percent(axes, "y")
        day_ticks(axes, days)
    return svg[0]


def precision_recall(events: ComparedEvents) -> str:
    """Chart of both workers' precision-recall curves, over the labelled events."""
    known = events.labels >= 0
    labels = events.labels[known]
    with chart("pr", 10.6, 3.9) as (axes, svg):
        for name, answers in _sides(events).items():
            recall, precision = precision_recall_curve(labels, answers.scores[known])
            axes.plot(recall, precision, color=_COLORS[name], lw=1.8, label=name)
        share = float(np.mean(labels))
        axes.axhline(share, color=GREY, lw=0.8, ls=":")
        axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall: frauds found")
        axes.set_ylabel("precision: alerts that are frauds")
        percent(axes, "xy")
        _legend(axes)
    return svg[0]


def _sides(events: ComparedEvents) -> dict[str, WorkerAnswers]:
    return {"champion": events.champion, "challenger": events.challenger}


def _log_odds(scores: Floats) -> Floats:
    held = scores.clip(_LEAST, 1 - _LEAST)
    odds: Floats = np.log(held) - np.log1p(-held)
    return odds


def _bounds(events: ComparedEvents) -> tuple[float, float]:
    """Bounds of the score axis in log-odds: the range of both workers' scores, with a margin."""
    ends = [(a.scores.min(), a.scores.max()) for a in _sides(events).values()]
    low, high = _log_odds(np.array([min(e[0] for e in ends), max(e[1] for e in ends)]))
    return float(low) - 0.2, float(high) + 0.2


def _score_ticks(axis: Axis, low: float, high: float) -> None:
    at = _log_odds(np.array(_TICKS))
    shown: list[Any] = [
        (place, f"{100 * score:.4f}".rstrip("0").rstrip(".") + " %")
        for place, score in zip(at.tolist(), _TICKS, strict=True)
        if low <= place <= high
    ]
    shown = shown[:: 1 + len(shown) // _MOST_TICKS]
    axis.set_ticks([place for place, _ in shown], [text for _, text in shown])


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0.2, fontsize=9)
