"""How far two workers agree about the same events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tools.compare.events import ComparedEvents, WorkerAnswers
from tools.compare.scores import Longs

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS: Final = 10
"""Of the population stability index: equal numbers of the champion's scores."""


@dataclass(frozen=True, slots=True)
class DailyRange:
    """Over days."""

    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> DailyRange:
        return cls(float(values.mean()), float(values.min()), float(values.max()))


@dataclass(frozen=True, slots=True)
class Agreement:
    """counts[i][j]: events that the champion decided i and the challenger j, of `decisions`.

    same: the share of events with one decision.
    """

    decisions: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    same: float


@dataclass(frozen=True, slots=True)
class Shift:
    """The challenger's scores less the champion's.

    mean, mean_absolute, quantiles: of the difference; quantiles by share. stability_index: of the
    population, how far the distribution of scores has moved. rank_correlation: Spearman's; None
    where one worker gives one score to all. identical: the share of scores equal to the last bit.
    """

    mean: float
    mean_absolute: float
    quantiles: dict[str, float]
    stability_index: float
    rank_correlation: float | None
    identical: float


@dataclass(frozen=True, slots=True)
class AlertRate:
    """Decisions other than the default. rate: of events; events: a day."""

    rate: float
    events: DailyRange


@dataclass(frozen=True, slots=True)
class Top:
    """How many of a day's first `top` cards are among both workers' first, as shares of them."""

    top: int
    overlap: DailyRange


def agreement(events: ComparedEvents) -> Agreement:
    """Decisions that nobody took are left out."""
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
    """Over all events."""
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
    """The population stability index; float64[N] and float64[M], in bins by ``expected``.

    Sum over bins of (f - e) ln(f / e), e and f the shares of each. Half a score is added to every
    bin, so that one that is empty does not make it infinite. Usual readings: below 0.1 nothing has
    moved, above 0.25 much has.
    """
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for scores in (expected, found):
        counts = np.bincount(np.searchsorted(edges, scores, "right"), minlength=len(edges) + 1)
        shares.append((counts + 0.5) / (len(scores) + 0.5 * len(counts)))
    e, f = shares
    return float(np.sum((f - e) * np.log(f / e)))


def rank_correlation(left: Floats, right: Floats) -> float | None:
    """Spearman's: equal scores share their mean rank. float64[N] each; None without any spread."""
    ranks = [_ranks(scores) for scores in (left, right)]
    a, b = (rank - rank.mean() for rank in ranks)
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else None


def alerts(events: ComparedEvents, answers: WorkerAnswers) -> AlertRate:
    """Of one of the two workers."""
    days, places = np.unique(events.days, return_inverse=True)
    counts = np.bincount(places[answers.alerts], minlength=len(days))
    return AlertRate(float(np.mean(answers.alerts)), DailyRange.of(counts))


def top_overlap(events: ComparedEvents, top: int) -> tuple[Longs, Floats]:
    """The days, int64[D], and of each the share of its first cards that both workers name.

    A card stands where its highest score of the day does; of equal ones the smaller number is first.
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
    """Which pairs of day and card of the first are among the second."""
    size = 1 + max(int(own[1].max()), int(other[1].max()))
    return np.isin(own[0] * size + own[1], other[0] * size + other[1])


def _changes(values: npt.NDArray[Any]) -> Mask:
    """bool[N], where a value is another than the one before it, and at the first."""
    return np.concatenate([[True], values[1:] != values[:-1]])


def _ranks(scores: Floats) -> Floats:
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[places]
    return ranks
