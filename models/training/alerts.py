"""Alert metrics by score threshold: alerts per day, precision, recall and saved money."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.training.out_of_fold import OutOfFold

_DIGITS = 3


class Range(NamedTuple):
    """Mean, smallest and largest number per day."""

    mean: float
    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Alerts:
    """Effects of alerting on every event whose score is at least the threshold.

    Attributes:
        threshold: Lowest score that raises an alert.
        events: Alerted events per day.
        cards: Alerted cards per day; a card counts once a day.
        precision: Share of frauds among alerted events.
        recall: Share of alerted events among frauds.
        saved: Minor units per day: the amounts of alerted frauds minus the cost of reviews, one
            review for each card and day; None if amounts are not known.
    """

    threshold: float
    events: Range
    cards: Range
    precision: float
    recall: float
    saved: float | None


def alerts_at(scored: OutOfFold, threshold: float, review_cost: int) -> Alerts:
    """Compute the alerts at a threshold.

    Args:
        scored: Events of the earlier folds.
        threshold: Lowest score that raises an alert.
        review_cost: Minor units for each card and day.
    """
    alerted = scored.scores >= threshold
    frauds = alerted & (scored.labels == 1)
    days, places = np.unique(scored.days, return_inverse=True)
    cards = int(scored.cards.max(initial=0)) + 1
    pairs = np.unique(places[alerted] * cards + scored.cards[alerted])
    saved = None
    if scored.amounts is not None:
        saved = (int(scored.amounts[frauds].sum()) - len(pairs) * review_cost) / len(days)
    return Alerts(
        threshold,
        _range(places[alerted], len(days)),
        _range(pairs // cards, len(days)),
        float(frauds.sum() / max(1, alerted.sum())),
        float(frauds.sum() / max(1, (scored.labels == 1).sum())),
        saved,
    )


def alerts_by_budget(scored: OutOfFold, budgets: Sequence[float], review_cost: int) -> list[Alerts]:
    """Compute the alerts for each budget of cards per day, highest threshold first.

    Budgets with the same threshold share one entry. A budget above the number of cards has none.

    Args:
        scored: Events of the earlier folds.
        budgets: Cards per day, on average.
        review_cost: Minor units for each card and day.
    """
    highest, days = _highest_scores(scored), len(np.unique(scored.days))
    by_budget = (_threshold_at(highest, budget * days) for budget in budgets)
    thresholds = {threshold for threshold in by_budget if threshold is not None}
    return [
        alerts_at(scored, threshold, review_cost) for threshold in sorted(thresholds, reverse=True)
    ]


def _highest_scores(scored: OutOfFold) -> npt.NDArray[np.float64]:
    """Highest score of each card on each day, in descending order."""
    order = np.lexsort((-scored.scores, scored.cards, scored.days))
    day, card = scored.days[order], scored.cards[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (day[1:] != day[:-1]) | (card[1:] != card[:-1])
    return np.sort(scored.scores[order][first])[::-1]


def _threshold_at(highest: npt.NDArray[np.float64], cards: float) -> float | None:
    place = round(cards)
    return _rounded_up(float(highest[place - 1])) if 0 < place <= len(highest) else None


def _range(places: npt.NDArray[Any], days: int) -> Range:
    counts = np.bincount(places, minlength=days)
    return Range(float(counts.mean()), int(counts.min()), int(counts.max()))


def _rounded_up(score: float) -> float:
    """Round up to three digits of the distance to 0 or 1, whichever is nearer; stay below 1."""
    distance = min(score, 1.0 - score)
    digits = _DIGITS - 1 - math.floor(math.log10(distance))
    rounded: float = math.ceil(round(score * 10**digits, 6)) / 10**digits
    return min(rounded, float(1.0 - 10.0**-digits))
