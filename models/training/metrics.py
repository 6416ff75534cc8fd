"""Quality of a ranking by score, and of scores as probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

TOP_CARDS: Final = 100
"""Cards that are reviewed a day."""
_BINS = 10
Scores = npt.NDArray[np.floating[Any]]


def average_precision(labels: npt.NDArray[Any], scores: Scores) -> float:
    """Area under the precision-recall curve, as steps (scikit-learn's average_precision_score).

    `labels` 0/1 [N], `scores` [N], higher is more suspicious. NaN when no label is 1. Needs the
    extra `train`.
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415  only training needs it

    if not np.any(labels):
        return float("nan")
    return float(average_precision_score(labels, scores))


def roc_auc(labels: npt.NDArray[Any], scores: Scores) -> float:
    """Area under the ROC curve; NaN unless both classes are there. Needs the extra `train`."""
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
    """Share of frauds among the `top` cards of each day, mean of days; all arrays [N].

    It is defined as in the Fraud Detection Handbook. A card has the highest score of its events
    that day. It is a hit if one of its events that day is a fraud, and a hit is excluded from the
    next day on. Of equal scores the card with the smaller number goes first. NaN without events.
    """
    found: list[npt.NDArray[Any]] = []
    shares = []
    for day in np.unique(days):
        rows = np.flatnonzero(days == day)
        if found:
            rows = rows[~np.isin(cards[rows], np.concatenate(found))]
        known, codes = np.unique(cards[rows], return_inverse=True)
        highest = np.full(len(known), -np.inf)
        np.maximum.at(highest, codes, scores[rows])
        fraud = np.bincount(codes, labels[rows] == 1, len(known)) > 0
        first = np.argsort(-highest, kind="stable")[:top]
        hits = known[first][fraud[first]]
        shares.append(len(hits) / top)
        found.append(hits)
    return float(np.mean(shares)) if shares else float("nan")


def brier_score(labels: npt.NDArray[Any], scores: Scores) -> float:
    """Mean squared distance of scores, as probabilities, from labels 0/1."""
    return float(np.mean((scores - labels) ** 2))


def calibration_error(labels: npt.NDArray[Any], scores: Scores, bins: int = _BINS) -> float:
    """Expected calibration error, in bins of equal width.

    It is |mean score - share of frauds| of each bin, weighted by the events of the bin.
    """
    places = np.minimum((scores * bins).astype(np.intp), bins - 1)
    gaps = np.bincount(places, scores - labels, bins)
    return float(np.abs(gaps).sum() / len(scores))


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of scores on some days.

    Attributes:
        roc_auc: Area under the ROC curve.
        average_precision: Area under the precision-recall curve, as steps.
        card_precision_100: Card precision of the first 100 cards of each day.
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
        return cls(
            roc_auc(labels, scores),
            average_precision(labels, scores),
            card_precision(labels, scores, cards, days),
        )

    @classmethod
    def mean(cls, worths: Sequence[Metrics]) -> Metrics:
        return cls(
            float(np.mean([worth.roc_auc for worth in worths])),
            float(np.mean([worth.average_precision for worth in worths])),
            float(np.mean([worth.card_precision_100 for worth in worths])),
        )
