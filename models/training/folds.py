"""Prequential folds: trained on what was known then, assessed on the days that came after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.training.table import UNKNOWN, LabelledEvents

DAY: Final = 86_400_000_000
_BLOCKED_DAYS: Final = 7
Rows = npt.NDArray[np.intp]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Span:
    """Days before the delay that a model learns from.

    Attributes:
        days: The last so many; None for all that there are.
        half_life: Days in which the weight of an event halves; None where all weigh alike.
    """

    days: float | None
    half_life: float | None = None

    def __str__(self) -> str:
        days = "all days" if self.days is None else f"{self.days:g} days"
        if self.half_life is None:
            return days
        return f"{days} with a half-life of {self.half_life:g} days"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Days: trained on, waited for labels, assessed; parts of a day in the first two."""

    train: float = 7
    delay: float = 7
    assess: int = 7


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Rows of LabelledEvents, each with its label.

    train: those whose labels are known when the assessed days begin. assess: without the events of
    cards known to be compromised. days: int64[N] of the assessed rows, days since 1970.
    """

    train: Rows
    train_labels: Labels
    assess: Rows
    labels: Labels
    days: npt.NDArray[np.int64]
    begin: int
    """When the assessed days begin."""


def make_fold(events: LabelledEvents, train_from: int, lengths: Lengths, known_by: int) -> Fold:
    """The fold trained from a time on.

    A card is known to be compromised, and from that day on not assessed, once a label says so of
    one of its events in the last seven days of training or later: those cards were blocked, and
    what is assessed is the same however many days are trained on. known_by: labels of assessed
    events that are known later do not count.
    """
    begin = train_from + microseconds(lengths.train) + microseconds(lengths.delay)
    train_until = begin - microseconds(lengths.delay)
    then = events.labels_known(begin)
    train = events.between(train_from, train_until)
    train = train[then[train] != UNKNOWN]
    finally_known = events.labels_known(known_by)
    blocked_from = max(train_from, train_until - _BLOCKED_DAYS * DAY)
    days = [begin + day * DAY for day in range(lengths.assess)]
    assess = np.concatenate([_assessed(events, blocked_from, day) for day in days])
    assess = assess[finally_known[assess] != UNKNOWN]
    return Fold(
        train,
        then[train],
        assess,
        finally_known[assess],
        events.times[assess] // DAY,
        begin,
    )


def earlier_folds(
    events: LabelledEvents, begin: int, span: Span, lengths: Lengths, count: int
) -> Iterator[Fold]:
    """The folds before a model that goes to work at a time, latest first.

    They end no later than the labels that are known then, and hold no other label. Fewer than
    ``count`` where the events do not reach back so far.

    Args:
        events: In order of time.
        begin: When the model goes to work; a midnight.
        span: What each fold is trained on.
        lengths: Of the delay and of the assessed days.
        count: How many at most.
    """
    first = int(events.times[0]) // DAY * DAY if len(events.times) else begin
    end = begin - int(lengths.delay) * DAY
    for number in range(1, count + 1):
        assessed_from = end - number * lengths.assess * DAY
        train_from = span_start(span, assessed_from - microseconds(lengths.delay), first)
        train = (assessed_from - train_from) / DAY - lengths.delay
        if train_from < first or train <= 0:
            return
        yield make_fold(events, train_from, Lengths(train, lengths.delay, lengths.assess), begin)


def span_start(span: Span, until: int, first: int) -> int:
    """When the events of a span that ends at a time begin; `first` for all."""
    return first if span.days is None else until - microseconds(span.days)


def microseconds(days: float) -> int:
    """Microseconds of days, which may be parts of one."""
    return round(days * DAY)


def _assessed(events: LabelledEvents, since: int, day: int) -> Rows:
    """Rows of the day, of cards that nobody knows to be compromised."""
    before = events.between(since, day)
    known = (events.labels[before] == 1) & (events.label_times[before] <= day)
    compromised = np.unique(events.cards[before[known]])
    rows = events.between(day, day + DAY)
    return rows[~np.isin(events.cards[rows], compromised)]
