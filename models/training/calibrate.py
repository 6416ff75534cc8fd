"""Fit a calibration curve to margins and labels that the model has not been trained on."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.calibration import Calibration

KNOT_FRAUDS: Final = 5
"""Least number of frauds that a knot stands for.

With fewer the curve would follow chance. With many more the joined steps would lie far apart, and
the curve between them would be too high.
"""
_FEW: Final = 100
_LEAST_STEP = 1e-9
_LEAST_SLOPE = 0.01
_PIECE, _MOST_PIECES, _LINE_KNOTS = 0.5, 8, 33
_HALVINGS, _SATURATED, _FARTHEST = 60, 30.0, 700.0

Knot = tuple[float, float]
"""A margin and its log-odds."""
Margins = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def fit_calibration(
    margins: Margins, labels: npt.NDArray[Any], knot_frauds: int = KNOT_FRAUDS
) -> Calibration:
    """Fit a curve that expects as many frauds as the labels have.

    With a hundred frauds or more it is an isotonic regression with few knots: neighbouring steps
    are joined until each stands for at least `knot_frauds` frauds and as many other events. With
    fewer, and where the regression finds no rise, it is straight in log-odds.

    Args:
        margins: float32[N].
        labels: 0/1 [N].
        knot_frauds: Least number of frauds, and of other events, that a knot stands for.

    Raises:
        ValueError: unless both classes are there.
    """
    frauds = int(np.count_nonzero(labels))
    if not 0 < frauds < len(labels):
        raise ValueError(f"{frauds} frauds in {len(labels)} events: a calibration needs both kinds")
    knots = _steps(margins, labels, knot_frauds) if frauds >= _FEW else []
    return _as_many(knots if len(knots) > 1 else _line(margins, labels), margins, frauds)


def _steps(margins: Margins, labels: npt.NDArray[Any], knot_frauds: int) -> list[Knot]:
    """Knots of the isotonic regression: mean margin and share of frauds of joined steps.

    More knots lie between them.
    """
    from sklearn.isotonic import isotonic_regression  # noqa: PLC0415  only training needs it

    order = np.argsort(margins, kind="stable")
    sorted_margins, sorted_labels = margins[order].astype(np.float64), labels[order]
    values, starts = np.unique(sorted_margins, return_index=True)
    counts = np.diff([*starts, len(order)])
    hits = np.add.reduceat(sorted_labels.astype(np.float64), starts)
    steps = isotonic_regression(hits / counts, sample_weight=counts.astype(np.float64))
    step_starts = np.flatnonzero(np.diff(steps, prepend=-1.0))
    sums = [np.add.reduceat(what, step_starts) for what in (counts, hits, values * counts)]
    events, of_frauds, margin_sums = _joined(np.column_stack(sums), knot_frauds).T
    # Half a fraud and half another more: no share is 0 or 1.
    return _rising(margin_sums / events, np.log((of_frauds + 0.5) / (events - of_frauds + 0.5)))


def _line(margins: Margins, labels: npt.NDArray[Any]) -> list[Knot]:
    """Knots on a straight line of log-odds by margin; two numbers need few frauds.

    A ridge penalty keeps the slope from growing without bound.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  only training needs it

    fitted = LogisticRegression().fit(margins.astype(np.float64)[:, None], labels)
    slope = max(float(fitted.coef_[0, 0]), _LEAST_SLOPE)
    low, high = float(margins.min()), float(margins.max())
    at = np.linspace(low, max(high, low + 1.0), _LINE_KNOTS)
    share = float(labels.mean())
    odds = math.log(share / (1.0 - share)) + slope * (at - float(margins.mean()))
    return _rising(at, odds)


def _as_many(knots: list[Knot], margins: Margins, frauds: int) -> Calibration:
    """The curve through the knots, shifted in log-odds until it expects this many frauds.

    Straight lines between knots lie above a curve there, and the more so the farther the knots are
    apart; where margins tell frauds from the others, that takes a shift of any size. The search
    spans all shifts: at its ends every event is a fraud, or none.
    """
    at = [margin for margin, _ in knots]
    odds = np.array([odds for _, odds in knots])

    def expects_more(by: float) -> bool:
        curve = _moved(at, odds + by)
        return curve is None or curve.apply(margins).sum() > frauds

    reach = float(np.abs(odds).max()) + _SATURATED
    low, high = -reach, reach
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if expects_more(middle):
            high = middle
        else:
            low = middle
    moved = _moved(at, odds + low)
    if moved is None:  # pragma: no cover  low is an end, or a curve that there was
        raise ValueError("no calibration curve expects as many frauds as there were")
    return moved


def _moved(at: list[float], odds: Floats) -> Calibration | None:
    """The curve through knots, without knots that float64 cannot tell from the one before.

    None where fewer than two are left: all scores are 1 then.
    """
    knots: list[Knot] = []
    for margin, score in zip(at, map(_score, odds.tolist()), strict=True):
        if score < 1.0 and (not knots or score > knots[-1][1]):
            knots.append((margin, score))
    if len(knots) < 2:
        return None
    margins, scores = zip(*knots, strict=True)
    return Calibration(margins, scores)


def _joined(steps: Floats, least: int) -> Floats:
    """Join steps until each has at least `least` frauds and as many others; the last may have less.

    Returns rows (events, frauds, sum of margins).
    """
    groups = [np.zeros(3)]
    for step in steps:
        events, frauds, _ = groups[-1]
        if min(frauds, events - frauds) >= least:
            groups.append(np.zeros(3))
        groups[-1] = groups[-1] + step
    return np.array(groups)


def _rising(margins: Floats, odds: Floats) -> list[Knot]:
    """Knots with rising log-odds, and some more between them.

    A line straight in the score would lie above the curve: frauds are few and far apart, and
    between them scores grow by orders of magnitude. So the curve is straight in log-odds there.
    """
    knots = [(float(margins[0]), float(odds[0]))]
    for knot in zip(margins.tolist(), odds.tolist(), strict=True):
        last = np.array(knots[-1])
        if knot[1] > last[1] + _LEAST_STEP:
            way = np.array(knot) - last
            pieces = min(_MOST_PIECES, math.ceil(way[0] / _PIECE))
            between = (last + way * (piece / pieces) for piece in range(1, pieces))
            knots += [*((float(m), float(o)) for m, o in between), knot]
    return knots


def _score(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(odds, -_FARTHEST)))
