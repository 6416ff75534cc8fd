"""Charts of the training report. They need the extra `train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from matplotlib.ticker import FuncFormatter

from models.report.canvas import (
    FILL,
    GREY,
    HOT,
    INK,
    LINE,
    chart,
    day_ticks,
    percent,
    precision_recall_curve,
)
from models.training.alerts import Alerts
from models.training.out_of_fold import OutOfFold

_BINS: Final = 12
_FEATURES: Final = 20
# The lines of the lower two may lie close together, so one label is above its line, one below.
_QUANTILES: Final = (
    (0.5, "#9fb3c8", "top"),
    (0.9, "#6b93bd", "bottom"),
    (0.99, LINE, "center"),
    (0.999, HOT, "center"),
)


def precision_recall(scored: OutOfFold, marked: Iterable[tuple[str, Alerts]]) -> str:
    """Draw the precision-recall curve, with some thresholds marked on it."""
    recall, precision = precision_recall_curve(scored.labels, scored.scores)
    with chart("pr", 5.2, 3.9) as (axes, svg):
        axes.plot(recall, precision, color=LINE, lw=1.8)
        axes.fill_between(recall, precision, color=FILL, alpha=0.5, lw=0)
        share = float(np.mean(scored.labels == 1))
        axes.axhline(share, color=GREY, lw=0.8, ls=":")
        axes.text(0.01, share + 0.015, f"random scores {share:.2%}", color=GREY, size=8)
        for name, alerts in marked:
            axes.plot(alerts.recall, alerts.precision, "o", color=HOT, ms=5)
            axes.annotate(
                f"{name} ≥ {alerts.threshold:.3g}",
                (alerts.recall, alerts.precision),
                xytext=(7, 5),
                textcoords="offset points",
                color=HOT,
                size=9,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall: share of frauds alerted")
        axes.set_ylabel("precision: share of alerts that are frauds")
        percent(axes, "xy")
    return svg[0]


def reliability(scored: OutOfFold) -> str:
    """Draw the share of frauds by score, in bins with equal numbers of frauds, on log axes."""
    edges = np.unique(
        np.quantile(scored.scores[scored.labels == 1], np.linspace(0, 1, _BINS + 1)[1:-1])
    )
    places = np.searchsorted(edges, scored.scores, side="right")
    counts = np.bincount(places)
    used = counts > 0
    expected = (np.bincount(places, scored.scores)[used] / counts[used]).clip(1e-6)
    shares = np.bincount(places, scored.labels == 1)[used] / counts[used]
    error = np.sqrt(shares * (1 - shares) / counts[used])
    with chart("rel", 5.2, 3.9) as (axes, svg):
        low = min(expected.min(), shares[shares > 0].min()) / 2
        axes.plot([low, 1], [low, 1], color=GREY, lw=0.8, ls=":")
        bars = np.stack([np.minimum(2 * error, shares * 0.9), 2 * error])
        axes.errorbar(
            expected, shares, bars, fmt="o-", color=LINE, ecolor=FILL, elinewidth=3, ms=5, lw=1.2
        )
        axes.set(xscale="log", yscale="log", xlim=(low, 1.3), ylim=(low, 1.3))
        axes.set(xlabel="score", ylabel="share of frauds")
        percent(axes, "xy")
    return svg[0]


def gains(gain_by_feature: Mapping[str, float]) -> str:
    """Draw the share of the total gain of the twenty most important features."""
    ranked = sorted(gain_by_feature.items(), key=lambda item: -item[1])[:_FEATURES]
    names = [name for name, _ in ranked][::-1]
    # A model without any split has no gain.
    total = sum(gain_by_feature.values()) or 1.0
    shares = [gain / total for _, gain in ranked][::-1]
    with chart("gain", 10.6, 0.5 + 0.26 * len(names)) as (axes, svg):
        axes.barh(names, shares, color=LINE, height=0.62)
        for place, share in enumerate(shares):
            axes.text(share + 0.004, place, f"{share:.1%}", va="center", color=GREY, size=8)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0, colors=INK, labelsize=8.5)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        axes.set_xlim(0, (max(shares) or 1.0) * 1.1)
    return svg[0]


def by_day(scored: OutOfFold, threshold: float) -> str:
    """Draw the frauds above and below the threshold, and the false alerts, of each day."""
    days, places = np.unique(scored.days, return_inverse=True)
    fraud, above = scored.labels == 1, scored.scores >= threshold
    detected, missed, false = (
        np.bincount(places[rows], minlength=len(days))
        for rows in (fraud & above, fraud & ~above, ~fraud & above)
    )
    with chart("days", 10.6, 3.1) as (axes, svg):
        at = np.arange(len(days))
        axes.bar(at, detected, color=LINE, width=0.74, label="frauds above the threshold")
        axes.bar(at, missed, bottom=detected, color=FILL, width=0.74, label="frauds below")
        axes.bar(at, -false, color=HOT, alpha=0.75, width=0.74, label="alerts that are not frauds")
        axes.axhline(0, color=INK, lw=0.8)
        day_ticks(axes, days)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.0f}"))
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("events")
        axes.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.16), fontsize=9)
    return svg[0]


def score_quantiles(scored: OutOfFold) -> str:
    """Draw the median and upper quantiles of the scores of each day, on a logarithmic axis."""
    days, places = np.unique(scored.days, return_inverse=True)
    at = np.arange(len(days))
    with chart("scores", 10.6, 2.9) as (axes, svg):
        for share, color, side in _QUANTILES:
            values = [np.quantile(scored.scores[places == place], share) for place in at]
            axes.plot(at, values, color=color, lw=1.6, marker="o", ms=3)
            axes.text(at[-1] + 0.3, values[-1], f"{share:.1%}", color=color, va=side, size=9)
        day_ticks(axes, days)
        axes.set(yscale="log", ylabel="score")
        percent(axes, "y")
    return svg[0]
