"""Fit a calibration curve to margins and labels that the model has not been trained on."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from base.arrays import Floats
from models.backend.protocol import Margins
from models.calibration import Calibration

KNOT_FRAUDS: Final = 5
"""Smallest number of frauds that a knot represents.

With fewer, the curve would follow chance. With many more, the merged steps would lie far apart, and
the curve between them would be too high.
"""
_MIN_FRAUDS_FOR_CURVE: Final = 100
_MIN_STEP = 1e-9
_MIN_SLOPE = 0.01
_SEGMENT, _MAX_SEGMENTS, _LINE_KNOTS = 0.5, 8, 33
_HALVINGS, _SATURATED, _FARTHEST = 60, 30.0, 700.0

Knot = tuple[float, float]
"""A margin and its log-odds."""


def fit_calibration(
    margins: Margins, labels: npt.NDArray[Any], knot_frauds: int = KNOT_FRAUDS
) -> Calibration:
    """Fit a curve whose scores add up to the number of frauds in the labels.

    With a hundred frauds or more, the curve is an isotonic regression with few knots: neighbouring
    steps are merged until each represents at least `knot_frauds` frauds and as many other events.
    With fewer frauds, or if the regression does not rise, the curve is a line in log-odds.

    Args:
        margins: float32[N].
        labels: 0/1 [N].
        knot_frauds: Smallest number of frauds, and of other events, that a knot represents.

    Raises:
        ValueError: unless both classes are present.
    """
    frauds = int(np.count_nonzero(labels))
    if not 0 < frauds < len(labels):
        raise ValueError(f"{frauds} frauds in {len(labels)} events: a calibration needs both kinds")
    knots = _isotonic_knots(margins, labels, knot_frauds) if frauds >= _MIN_FRAUDS_FOR_CURVE else []
    return _shift_to_total(
        knots if len(knots) > 1 else _line_knots(margins, labels), margins, frauds
    )


def _isotonic_knots(margins: Margins, labels: npt.NDArray[Any], knot_frauds: int) -> list[Knot]:
    """Knots of the isotonic regression: mean margin and log-odds of frauds of each merged step."""
    from sklearn.isotonic import isotonic_regression  # noqa: PLC0415  only training needs it

    order = np.argsort(margins, kind="stable")
    sorted_margins, sorted_labels = margins[order].astype(np.float64), labels[order]
    values, starts = np.unique(sorted_margins, return_index=True)
    counts = np.diff([*starts, len(order)])
    hits = np.add.reduceat(sorted_labels.astype(np.float64), starts)
    steps = isotonic_regression(hits / counts, sample_weight=counts.astype(np.float64))
    step_starts = np.flatnonzero(np.diff(steps, prepend=-1.0))
    sums = [np.add.reduceat(of_value, step_starts) for of_value in (counts, hits, values * counts)]
    events, frauds, margin_sums = _merge_steps(np.column_stack(sums), knot_frauds).T
    # Half a fraud and half a legitimate event are added, so that no share is 0 or 1.
    return _rising_knots(margin_sums / events, np.log((frauds + 0.5) / (events - frauds + 0.5)))


def _line_knots(margins: Margins, labels: npt.NDArray[Any]) -> list[Knot]:
    """Knots on a straight line of log-odds by margin; its two parameters need few frauds.

    A ridge penalty bounds the slope.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  only training needs it

    fitted = LogisticRegression().fit(margins.astype(np.float64)[:, None], labels)
    slope = max(float(fitted.coef_[0, 0]), _MIN_SLOPE)
    low, high = float(margins.min()), float(margins.max())
    at = np.linspace(low, max(high, low + 1.0), _LINE_KNOTS)
    share = float(labels.mean())
    odds = math.log(share / (1.0 - share)) + slope * (at - float(margins.mean()))
    return _rising_knots(at, odds)


def _shift_to_total(knots: list[Knot], margins: Margins, frauds: int) -> Calibration:
    """Shift the curve through the knots in log-odds until its scores add up to `frauds`.

    Straight lines between the knots of a convex curve lie above it, and the farther the knots are
    apart, the higher the lines are. If the margins separate frauds well, the shift may have any
    size. So the search spans all shifts: at its two ends every event is a fraud, or no event is.
    """
    at = [margin for margin, _ in knots]
    odds = np.array([odds for _, odds in knots])

    def expects_more(shift: float) -> bool:
        curve = _curve_through(at, odds + shift)
        return curve is None or curve.apply(margins).sum() > frauds

    reach = float(np.abs(odds).max()) + _SATURATED
    low, high = -reach, reach
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if expects_more(middle):
            high = middle
        else:
            low = middle
    curve = _curve_through(at, odds + low)
    if curve is None:  # pragma: no cover  low is the lower end, or a shift that had a curve
        raise ValueError(f"no calibration curve expects {frauds} frauds")
    return curve


def _curve_through(at: list[float], odds: Floats) -> Calibration | None:
    """Curve through knots; a knot whose score equals the previous one in float64 is left out.

    Returns:
        The curve; None if fewer than two knots are left, because all scores are 1.
    """
    knots: list[Knot] = []
    for margin, score in zip(at, map(_score, odds.tolist()), strict=True):
        if score < 1.0 and (not knots or score > knots[-1][1]):
            knots.append((margin, score))
    if len(knots) < 2:
        return None
    margins, scores = zip(*knots, strict=True)
    return Calibration(margins, scores)


def _merge_steps(steps: Floats, min_count: int) -> Floats:
    """Merge neighbouring steps until each has at least `min_count` frauds and as many other events.

    The last step may have fewer.

    Args:
        steps: float64[S, 3], rows of (events, frauds, sum of margins).
        min_count: Smallest number of frauds, and of other events.

    Returns:
        float64[M, 3], rows as in `steps`.
    """
    groups = [np.zeros(3)]
    for step in steps:
        events, frauds, _ = groups[-1]
        if min(frauds, events - frauds) >= min_count:
            groups.append(np.zeros(3))
        groups[-1] = groups[-1] + step
    return np.array(groups)


def _rising_knots(margins: Floats, odds: Floats) -> list[Knot]:
    """Drop knots whose log-odds do not rise, and add knots between the others.

    The curve is piecewise linear in the score. Frauds are few and far apart, and between two knots
    the score grows by orders of magnitude, so a single line would be far too high. The added knots
    lie on a straight line in log-odds.
    """
    knots = [(float(margins[0]), float(odds[0]))]
    for knot in zip(margins.tolist(), odds.tolist(), strict=True):
        last = np.array(knots[-1])
        if knot[1] > last[1] + _MIN_STEP:
            difference = np.array(knot) - last
            segments = min(_MAX_SEGMENTS, math.ceil(difference[0] / _SEGMENT))
            between = (last + difference * (place / segments) for place in range(1, segments))
            knots += [*((float(m), float(o)) for m, o in between), knot]
    return knots


def _score(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(odds, -_FARTHEST)))
