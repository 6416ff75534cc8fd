"""Charts of a training, each an SVG to stand within a page. Needs the extra `train`."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from models.training.alerts import Alerts
from models.training.scored import OutOfFold

INK, GREY, LINE, FILL, HOT = "#1f2933", "#7b8794", "#2563a8", "#c9dcf0", "#c2410c"
_BINS: Final = 12
_FEATURES: Final = 20
_POINTS: Final = 1500
# The lower two may lie close to each other: one is named above its line, one below.
_QUANTILES: Final = (
    (0.5, "#9fb3c8", "top"),
    (0.9, "#6b93bd", "bottom"),
    (0.99, LINE, "center"),
    (0.999, HOT, "center"),
)
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


def precision_recall(scored: OutOfFold, marked: Iterable[tuple[str, Alerts]]) -> str:
    """The curve, and where some thresholds lie on it."""
    order = np.argsort(-scored.scores, kind="stable")
    hits = np.cumsum(scored.labels[order] == 1)
    last = np.flatnonzero(np.diff(scored.scores[order], append=-1.0))
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    keep = _thinned(recall)
    with _chart("pr", 5.2, 3.9) as (axes, svg):
        axes.plot(recall[keep], precision[keep], color=LINE, lw=1.8)
        axes.fill_between(recall[keep], precision[keep], color=FILL, alpha=0.5, lw=0)
        share = float(np.mean(scored.labels == 1))
        axes.axhline(share, color=GREY, lw=0.8, ls=":")
        axes.text(0.01, share + 0.015, f"by chance {share:.2%}", color=GREY, size=8)
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
        axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall: frauds found")
        axes.set_ylabel("precision: alerts that are frauds")
        _percent(axes, "xy")
    return svg[0]


def reliability(scored: OutOfFold) -> str:
    """Share of frauds by score, in bins that hold equal numbers of frauds, on logarithmic axes."""
    edges = np.unique(
        np.quantile(scored.scores[scored.labels == 1], np.linspace(0, 1, _BINS + 1)[1:-1])
    )
    places = np.searchsorted(edges, scored.scores, side="right")
    counts = np.bincount(places)
    used = counts > 0
    expected = (np.bincount(places, scored.scores)[used] / counts[used]).clip(1e-6)
    found = np.bincount(places, scored.labels == 1)[used] / counts[used]
    error = np.sqrt(found * (1 - found) / counts[used])
    with _chart("rel", 5.2, 3.9) as (axes, svg):
        low = min(expected.min(), found[found > 0].min()) / 2
        axes.plot([low, 1], [low, 1], color=GREY, lw=0.8, ls=":")
        bars = np.stack([np.minimum(2 * error, found * 0.9), 2 * error])
        axes.errorbar(
            expected, found, bars, fmt="o-", color=LINE, ecolor=FILL, elinewidth=3, ms=5, lw=1.2
        )
        axes.set(xscale="log", yscale="log", xlim=(low, 1.3), ylim=(low, 1.3))
        axes.set(xlabel="score", ylabel="share of frauds")
        _percent(axes, "xy")
    return svg[0]


def gains(gain_by_feature: Mapping[str, float]) -> str:
    """Total gain of each feature, most first; what is beyond the first twenty is left out."""
    ranked = sorted(gain_by_feature.items(), key=lambda item: -item[1])[:_FEATURES]
    names = [name for name, _ in ranked][::-1]
    total = sum(gain_by_feature.values())
    shares = [gain / total for _, gain in ranked][::-1]
    with _chart("gain", 10.6, 0.5 + 0.26 * len(names)) as (axes, svg):
        axes.barh(names, shares, color=LINE, height=0.62)
        for place, share in enumerate(shares):
            axes.text(share + 0.004, place, f"{share:.1%}", va="center", color=GREY, size=8)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0, colors=INK, labelsize=8.5)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        axes.set_xlim(0, max(shares) * 1.1)
    return svg[0]


def by_day(scored: OutOfFold, threshold: float) -> str:
    """For each day the frauds, those above the threshold, and the alerts that are none."""
    days, places = np.unique(scored.days, return_inverse=True)
    fraud, above = scored.labels == 1, scored.scores >= threshold
    found, missed, false = (
        np.bincount(places[rows], minlength=len(days))
        for rows in (fraud & above, fraud & ~above, ~fraud & above)
    )
    with _chart("days", 10.6, 3.1) as (axes, svg):
        at = np.arange(len(days))
        axes.bar(at, found, color=LINE, width=0.74, label="frauds above the threshold")
        axes.bar(at, missed, bottom=found, color=FILL, width=0.74, label="frauds below")
        axes.bar(at, -false, color=HOT, alpha=0.75, width=0.74, label="alerts that are no frauds")
        axes.axhline(0, color=INK, lw=0.8)
        ticks = at[:: max(1, len(at) // 14)]
        axes.set_xticks(ticks, [f"{day:%-d %b}" for day in _dates(days[ticks])])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.0f}"))
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("events")
        axes.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.16), fontsize=9)
    return svg[0]


def score_quantiles(scored: OutOfFold) -> str:
    """How scores lie on each day: median and upper quantiles, on a logarithmic axis."""
    days, places = np.unique(scored.days, return_inverse=True)
    at = np.arange(len(days))
    with _chart("scores", 10.6, 2.9) as (axes, svg):
        for share, color, side in _QUANTILES:
            values = [np.quantile(scored.scores[places == place], share) for place in at]
            axes.plot(at, values, color=color, lw=1.6, marker="o", ms=3)
            axes.text(at[-1] + 0.3, values[-1], f"{share:.1%}", color=color, va=side, size=9)
        ticks = at[:: max(1, len(at) // 14)]
        axes.set_xticks(ticks, [f"{day:%-d %b}" for day in _dates(days[ticks])])
        axes.set(yscale="log", ylabel="score")
        _percent(axes, "y")
    return svg[0]


def _dates(days: npt.NDArray[np.int64]) -> list[Any]:
    dates: list[Any] = days.astype("datetime64[D]").tolist()
    return dates


def _thinned(recall: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Few enough points to draw; both ends stay."""
    steps = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1.0, _POINTS)))
    return np.unique([0, *steps.clip(0, len(recall) - 1), len(recall) - 1])


def _percent(axes: Axes, which: str) -> None:
    written = FuncFormatter(lambda value, _: f"{value:.4%}".rstrip("0%").rstrip(".") + " %")
    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(written)


@contextmanager
def _chart(name: str, width: float, height: float) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; afterwards the list holds the SVG."""
    svg: list[str] = []
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes: Axes = figure.subplots()
        yield axes, svg
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    # Every chart has the same groups; their ids are used by nobody, and would stand twice in a page.
    svg.append(re.sub(r' id="[a-z]+_\d+"', "", text[text.index("<svg") :]))
