"""Measures of agreement between two workers on the same events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from base.arrays import Floats, Longs, Mask
from tools.compare.join import ComparedEvents, WorkerAnswers

QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS: Final = 10
"""Bins of the population stability index, with equal numbers of the champion's scores."""


@dataclass(frozen=True, slots=True)
class DailyRange:
    """Mean, least and largest of daily values."""

    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> DailyRange:
        return cls(float(values.mean()), float(values.min()), float(values.max()))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of the decisions of both workers.

    Attributes:
        decisions: Names of the decisions that either worker took.
        counts: ``counts[i][j]`` events have decision i of the champion and j of the challenger.
        same: Share of events with the same decision.
    """

    decisions: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    same: float


@dataclass(frozen=True, slots=True)
class Shift:
    """Differences of the scores, the challenger's less the champion's.

    Attributes:
        mean: Mean of the differences.
        mean_absolute: Mean of the absolute differences.
        quantiles: Quantiles of the differences, by share.
        stability_index: Population stability index: how far the distribution of scores has moved.
        rank_correlation: Spearman's; None if one worker gives all events the same score.
        identical: Share of scores equal to the last bit.
    """

    mean: float
    mean_absolute: float
    quantiles: dict[str, float]
    stability_index: float
    rank_correlation: float | None
    identical: float


@dataclass(frozen=True, slots=True)
class AlertRate:
    """Rate of alerts: decisions other than the default.

    Attributes:
        rate: Share of events with an alert.
        events: Number of alerts a day.
    """

    rate: float
    events: DailyRange


@dataclass(frozen=True, slots=True)
class Top:
    """Overlap of the first cards of each day.

    Attributes:
        top: Number of first cards a day of each worker.
        overlap: Share of the first cards of a day that both workers name.
    """

    top: int
    overlap: DailyRange


def agreement(events: ComparedEvents) -> Agreement:
    """Count the events of each pair of decisions, of those that a worker took."""
    own, other = events.champion.decisions, events.challenger.decisions
    size = len(events.decisions)
    counts = np.bincount(own.astype(np.int64) * size + other, minlength=size * size)
    table = counts.reshape(size, size)
    used = np.flatnonzero(table.any(axis=0) | table.any(axis=1))
    return Agreement(
        tuple(events.decisions[code] for code in used),
        tuple(tuple(row) for row in table[np.ix_(used, used)].tolist()),
        float(np.trace(table) / len(events)),
    )


def shift(events: ComparedEvents) -> Shift:
    """Differences of the scores of all events."""
    own, other = events.champion.scores, events.challenger.scores
    apart = other - own
    return Shift(
        float(apart.mean()),
        float(np.abs(apart).mean()),
        {f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(apart, QUANTILES), strict=True)},
        stability_index(own, other),
        rank_correlation(own, other),
        float(np.mean(own == other)),
    )


def stability_index(expected: Floats, found: Floats) -> float:
    """Population stability index of two samples, in bins of equal numbers of ``expected``.

    The sum over bins of (f - e) ln(f / e), where e and f are the bin's shares of the two samples.
    Half a score is added to every bin, so that an empty bin does not make the sum infinite. Usual
    reading: below 0.1 the distribution has not moved, above 0.25 it has moved much.

    Args:
        expected: float64[N].
        found: float64[M].
    """
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for scores in (expected, found):
        counts = np.bincount(np.searchsorted(edges, scores, "right"), minlength=len(edges) + 1)
        shares.append((counts + 0.5) / (len(scores) + 0.5 * len(counts)))
    e, f = shares
    return float(np.sum((f - e) * np.log(f / e)))


def rank_correlation(left: Floats, right: Floats) -> float | None:
    """Spearman's rank correlation of two float64[N]; equal scores share their mean rank.

    Returns:
        The correlation; None if all scores of one worker are equal.
    """
    ranks = [_ranks(scores) for scores in (left, right)]
    a, b = (rank - rank.mean() for rank in ranks)
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else None


def alerts(events: ComparedEvents, answers: WorkerAnswers) -> AlertRate:
    """Rate of one worker's decisions other than the default."""
    days, places = np.unique(events.days, return_inverse=True)
    counts = np.bincount(places[answers.alerts], minlength=len(days))
    return AlertRate(float(np.mean(answers.alerts)), DailyRange.of(counts))


def top_overlap(events: ComparedEvents, top: int) -> tuple[Longs, Floats]:
    """Overlap of the first cards of each day.

    Cards are ranked by their highest score of the day; of equal scores the smaller card number is
    first.

    Returns:
        The days, int64[D]; and of each day the share of its first cards that both workers name,
        float64[D].
    """
    own, other = (
        _top(answers.scores, events, top) for answers in (events.champion, events.challenger)
    )
    days = np.unique(events.days)
    both = np.bincount(np.searchsorted(days, own[0][_in(own, other)]), minlength=len(days))
    of = np.bincount(np.searchsorted(days, own[0]), minlength=len(days))
    return days, both / of


def _top(scores: Floats, events: ComparedEvents, top: int) -> tuple[Longs, Longs]:
    """Days and cards of the first ``top`` cards of each day."""
    order = np.lexsort((-scores, events.cards, events.days))
    days, cards, scores = events.days[order], events.cards[order], scores[order]
    highest = _changes(days) | _changes(cards)
    days, cards, scores = days[highest], cards[highest], scores[highest]
    order = np.lexsort((cards, -scores, days))
    days, cards = days[order], cards[order]
    begins = np.flatnonzero(_changes(days))
    place = np.arange(len(days)) - np.repeat(begins, np.diff([*begins, len(days)]))
    return days[place < top], cards[place < top]


def _in(own: tuple[Longs, Longs], other: tuple[Longs, Longs]) -> Mask:
    """Mask of the pairs of day and card in the first arrays that also occur in the second."""
    size = 1 + max(int(own[1].max()), int(other[1].max()))
    return np.isin(own[0] * size + own[1], other[0] * size + other[1])


def _changes(values: npt.NDArray[Any]) -> Mask:
    """Mask, bool[N], of values that differ from the one before; True for the first."""
    return np.concatenate([[True], values[1:] != values[:-1]])


def _ranks(scores: Floats) -> Floats:
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[places]
    return ranks
