"""Metrics of a ranking by score, and of scores as probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

TOP_CARDS: Final = 100
"""Number of cards that are reviewed each day."""
_BINS = 10
Scores = npt.NDArray[np.floating[Any]]


def average_precision(labels: npt.NDArray[Any], scores: Scores) -> float:
    """Area under the precision-recall curve, as steps (scikit-learn's average_precision_score).

    Needs the extra `train`.

    Args:
        labels: 0/1 [N].
        scores: float[N]; higher is more suspicious.

    Returns:
        The area; NaN if no label is 1.
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415  only training needs it

    if not np.any(labels):
        return float("nan")
    return float(average_precision_score(labels, scores))


def roc_auc(labels: npt.NDArray[Any], scores: Scores) -> float:
    """Area under the ROC curve; NaN unless both classes are present. Needs the extra `train`."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  only training needs it

    if np.all(labels) or not np.any(labels):
        return float("nan")
    return float(roc_auc_score(labels, scores))


def card_precision(
    labels: npt.NDArray[Any],
    scores: Scores,
    cards: npt.NDArray[Any],
    days: npt.NDArray[Any],
    top: int = TOP_CARDS,
) -> float:
    """Share of compromised cards among the `top` cards of each day, averaged over the days.

    It is defined as in the Fraud Detection Handbook. A card has the highest score of its events on
    that day. It is a hit if one of its events on that day is a fraud. A hit is excluded from all
    later days. Of cards with equal scores the one with the smaller number comes first.

    Args:
        labels: 0/1 [N].
        scores: float[N]; higher is more suspicious.
        cards: Number of each event's card, [N].
        days: Day of each event, [N].
        top: Number of cards reviewed each day.

    Returns:
        The mean share; NaN without events.
    """
    earlier_hits: list[npt.NDArray[Any]] = []
    shares = []
    for day in np.unique(days):
        rows = np.flatnonzero(days == day)
        if earlier_hits:
            rows = rows[~np.isin(cards[rows], np.concatenate(earlier_hits))]
        known, codes = np.unique(cards[rows], return_inverse=True)
        highest = np.full(len(known), -np.inf)
        np.maximum.at(highest, codes, scores[rows])
        fraud = np.bincount(codes, labels[rows] == 1, len(known)) > 0
        first = np.argsort(-highest, kind="stable")[:top]
        hits = known[first][fraud[first]]
        shares.append(len(hits) / top)
        earlier_hits.append(hits)
    return float(np.mean(shares)) if shares else float("nan")


def brier_score(labels: npt.NDArray[Any], scores: Scores) -> float:
    """Mean squared difference between scores, as probabilities, and labels 0/1."""
    return float(np.mean((scores - labels) ** 2))


def calibration_error(labels: npt.NDArray[Any], scores: Scores, bins: int = _BINS) -> float:
    """Expected calibration error, in bins of equal width.

    It is the mean of |mean score - share of frauds| over the bins, weighted by their events.
    """
    places = np.minimum((scores * bins).astype(np.intp), bins - 1)
    gaps = np.bincount(places, scores - labels, bins)
    return float(np.abs(gaps).sum() / len(scores))


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of the scores of some days.

    Attributes:
        roc_auc: Area under the ROC curve.
        average_precision: Area under the precision-recall curve, as steps.
        card_precision_100: Card precision of the 100 cards with the highest scores of each day.
    """

    roc_auc: float
    average_precision: float
    card_precision_100: float

    @classmethod
    def of(
        cls,
        labels: npt.NDArray[Any],
        scores: Scores,
        cards: npt.NDArray[Any],
        days: npt.NDArray[Any],
    ) -> Metrics:
        """Compute all metrics; the arguments are those of `card_precision`."""
        return cls(
            roc_auc(labels, scores),
            average_precision(labels, scores),
            card_precision(labels, scores, cards, days),
        )

    @classmethod
    def mean(cls, metrics: Sequence[Metrics]) -> Metrics:
        return cls(
            float(np.mean([one.roc_auc for one in metrics])),
            float(np.mean([one.average_precision for one in metrics])),
            float(np.mean([one.card_precision_100 for one in metrics])),
        )
