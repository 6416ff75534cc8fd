"""A calibration curve from margins and labels that the model has not been trained on."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.calibration import Calibration

KNOT_FRAUDS: Final = 20
"""Frauds that a knot stands for, at least: below, it would follow chance."""
_LEAST_STEP = 1e-9
_PIECE, _MOST_PIECES = 0.5, 8


def fit_calibration(
    margins: npt.NDArray[np.float32], labels: npt.NDArray[Any], knot_frauds: int = KNOT_FRAUDS
) -> Calibration:
    """The curve of the isotonic regression of labels 0/1 [N] on margins float32[N], with few knots.

    Neighbouring steps of the regression are joined until each stands for `knot_frauds` and as many
    others; a knot is the mean margin and the share of frauds of its events. Where frauds are too
    few for two knots, half of them make one. Raises ValueError unless both classes are there.
    """
    from sklearn.isotonic import isotonic_regression  # noqa: PLC0415  only training needs it

    frauds = int(np.count_nonzero(labels))
    if not 0 < frauds < len(labels):
        raise ValueError(f"{frauds} frauds in {len(labels)} events: a calibration needs both kinds")
    order = np.argsort(margins, kind="stable")
    sorted_margins, sorted_labels = margins[order].astype(np.float64), labels[order]
    values, starts = np.unique(sorted_margins, return_index=True)
    counts = np.diff([*starts, len(order)])
    hits = np.add.reduceat(sorted_labels.astype(np.float64), starts)
    steps = isotonic_regression(hits / counts, sample_weight=counts.astype(np.float64))
    step_starts = np.flatnonzero(np.diff(steps, prepend=-1.0))
    sums = [np.add.reduceat(what, step_starts) for what in (counts, hits, values * counts)]
    groups = _joined(np.column_stack(sums), min(knot_frauds, max(1, frauds // 2)))
    events, of_frauds, margin_sums = groups.T
    # Half a fraud and half another more: no share is 0 or 1.
    return _rising(margin_sums / events, (of_frauds + 0.5) / (events + 1.0))


def _joined(steps: npt.NDArray[np.float64], least: int) -> npt.NDArray[np.float64]:
    """Rows (events, frauds, sum of margins), each with `least` of either kind; the last as it is."""
    groups = [np.zeros(3)]
    for step in steps:
        events, frauds, _ = groups[-1]
        if min(frauds, events - frauds) >= least:
            groups.append(np.zeros(3))
        groups[-1] = groups[-1] + step
    return np.array(groups)


def _rising(margins: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> Calibration:
    """Knots of which each is higher than the one before; a curve of one knot gets a second."""
    knots = [(float(margins[0]), float(scores[0]))]
    for margin, score in zip(margins.tolist(), scores.tolist(), strict=True):
        if score > knots[-1][1] + _LEAST_STEP:
            knots += _bent(knots[-1], (margin, score))
    if len(knots) == 1:
        knots.append((knots[0][0] + 1.0, (1.0 + knots[0][1]) / 2))
    return Calibration([margin for margin, _ in knots], [score for _, score in knots])


def _bent(low: tuple[float, float], high: tuple[float, float]) -> list[tuple[float, float]]:
    """The way from one knot to the next, straight in log-odds: its knots after the first.

    A line straight in the score would lie above: few frauds are far apart, and between them scores
    grow by orders of magnitude.
    """
    pieces = min(_MOST_PIECES, math.ceil((high[0] - low[0]) / _PIECE))
    odds = [math.log(score / (1.0 - score)) for _, score in (low, high)]
    shares = [piece / pieces for piece in range(1, pieces)]
    between = [
        (
            low[0] + (high[0] - low[0]) * share,
            1.0 / (1.0 + math.exp(-(odds[0] + (odds[1] - odds[0]) * share))),
        )
        for share in shares
    ]
    return [*between, high]
