"""Margin of one class of a multi-class model, and contributions to it.

The margin is the log-odds of the class against all others, so that its logistic is the probability
that XGBoost's softmax gives the class: for the class margins m_j and the class k,

    margin = m_k - log(sum over j != k of exp(m_j))

It is computed in float64 from the float32 margins of the classes, and rounded to float32 once. As
in `models.calibration`, exponential and logarithm are made of operations that IEEE 754 rounds the
same everywhere, so the margin has the same bits on every machine and in any batch.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from base.arrays import Floats, Floats32
from models.calibration import exp_of_negative, natural_log

_FARTHEST: Final = 700.0
"""Distance of margins from which exp(-distance) counts as exp(-700)."""
_PANELS, _POINTS = 16, 8
"""Panels of Gauss-Legendre quadrature, and points of each.

With class margins that differ by up to 40, contributions add up to the margin within 2e-8, with up to
80 within 1e-4 (measured on 4,000 random rows of 4 classes).
"""


def one_margin(margins: Floats32, fraud_class: int | None) -> Floats32:
    """Margins float32[N] of margins float32[N, K]: the only ones, or those of a class."""
    if fraud_class is None:
        return margins.reshape(-1)
    return class_margin(margins, fraud_class)


def class_margin(margins: Floats32, fraud_class: int) -> Floats32:
    """Compute the log-odds of one class against all others.

    Args:
        margins: float32[N, K], margins of K classes, K >= 2.
        fraud_class: The class.

    Returns:
        float32[N].
    """
    own = margins[:, fraud_class].astype(np.float64)
    largest, each = _exponentials(_others(margins.astype(np.float64), fraud_class))
    with np.errstate(over="ignore"):  # a margin that is not a finite float32 is refused later
        rounded: Floats32 = (own - (largest + natural_log(_total(each)))).astype(np.float32)
    return rounded


def class_contributions(
    contributions: npt.NDArray[np.float32], fraud_class: int
) -> npt.NDArray[np.float32]:
    """Combine the contributions to the margins of all classes to those to the class's log-odds.

    The margin is not linear in the margins of the classes, so its contributions are those to m_k,
    less a mean of those to the other classes. The weight of another class is its share of the
    probability of all other classes, averaged over the straight way from the biases of the classes
    to the margins of the row (Aumann and Shapley, Values of Non-Atomic Games, 1974). So the
    contributions of a row add up to its margin, with one bias for all rows.

    Args:
        contributions: float32[N, K, F+1], as from `pred_contribs`; the last column is the bias.
        fraud_class: The class.

    Returns:
        float32[N, F+1]. The last column is the margin of the biases.
    """
    exact = contributions.astype(np.float64)
    start = exact[:, :, -1]
    end = start.copy()
    for column in range(exact.shape[2] - 1):  # in a fixed order: the same bits in any batch
        end += exact[:, :, column]
    combined = exact[:, fraud_class].copy()
    weights = _mean_shares(_others(start, fraud_class), _others(end, fraud_class))
    others = [each for each in range(exact.shape[1]) if each != fraud_class]
    for weight, other in zip(weights, others, strict=True):
        combined -= weight[:, None] * exact[:, other]
    combined[:, -1] = class_margin(contributions[:, :, -1], fraud_class)
    return combined.astype(np.float32)


def _others(margins: Floats, fraud_class: int) -> Floats:
    """Margins of all other classes, float64[K-1, N]."""
    return np.ascontiguousarray(np.delete(margins, fraud_class, axis=1).T)


def _exponentials(margins: Floats) -> tuple[Floats, Floats]:
    """Largest margin of each row, and exp(margin - largest).

    Args:
        margins: float64[…, K-1, N].

    Returns:
        float64[…, N] and float64[…, K-1, N].
    """
    largest = margins.max(axis=-2)
    distances = largest[..., None, :] - margins
    return largest, exp_of_negative(np.minimum(distances, _FARTHEST))


def _mean_shares(start: Floats, end: Floats) -> Floats:
    """Share of each class, averaged over the straight way between margins, float64[K-1, N]."""
    if len(start) == 1:
        return np.ones_like(start)
    points, weights = np.polynomial.legendre.leggauss(_POINTS)
    at = (np.arange(_PANELS)[:, None] + (points + 1) / 2).ravel() / _PANELS
    _, each = _exponentials(start + at[:, None, None] * (end - start))
    each *= np.tile(weights / 2 / _PANELS, _PANELS)[:, None, None] / _total(each)[:, None]
    return _total(each, axis=0)


def _total(values: Floats, axis: int = -2) -> Floats:
    """Sum over an axis, in its order in any batch; `sum` may have another one."""
    total: Floats = np.add.reduceat(values, [0], axis=axis).squeeze(axis)
    return total
