"""Prequential folds: train on the labels known at a time, assess the days after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from base.arrays import Rows
from base.times import DAY
from models.training.table import UNKNOWN, LabelledEvents, Labels

_BLOCKED_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Span:
    """Days that a model is trained on; they end one label delay before the model goes live.

    Attributes:
        days: Number of days; None for all days of the table.
        half_life: Days in which the weight of an event halves; None for equal weights.
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
    """Lengths of a fold in days.

    Attributes:
        train: Length of training; may be fractional.
        delay: Label delay; may be fractional.
        assess: Number of assessed days.
    """

    train: float = 7
    delay: float = 7
    assess: int = 7


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Rows of LabelledEvents to train on and to assess, each with its label.

    Attributes:
        train: intp[T], rows whose labels are known when the assessed days begin.
        train_labels: int8[T], labels of these rows, 0/1.
        assess: intp[N], rows to assess, without events of cards known to be compromised.
        labels: int8[N], labels of the assessed rows, 0/1.
        days: int64[N], day of each assessed row, in days since 1970.
        begin: Begin of the assessed days, in microseconds since 1970 UTC.
    """

    train: Rows
    train_labels: Labels
    assess: Rows
    labels: Labels
    days: npt.NDArray[np.int64]
    begin: int


def make_fold(events: LabelledEvents, train_from: int, lengths: Lengths, known_by: int) -> Fold:
    """Make the fold whose training begins at a given time.

    A card is known to be compromised once one of its events is labelled as fraud; events before the
    last seven days of training do not count. From the next day on the card is not assessed, as it
    would have been blocked. The seven days are fixed so that the assessed events do not depend on
    the number of training days.

    Args:
        events: Events in order of time.
        train_from: Begin of training, in microseconds since 1970 UTC.
        lengths: Lengths of the fold.
        known_by: Time after which labels of assessed events are ignored, in microseconds since 1970
            UTC.
    """
    begin = train_from + microseconds(lengths.train) + microseconds(lengths.delay)
    train_until = begin - microseconds(lengths.delay)
    known_at_begin = events.labels_known(begin)
    train = events.between(train_from, train_until)
    train = train[known_at_begin[train] != UNKNOWN]
    finally_known = events.labels_known(known_by)
    blocked_from = max(train_from, train_until - _BLOCKED_DAYS * DAY)
    days = [begin + day * DAY for day in range(lengths.assess)]
    assess = np.concatenate([_assessed(events, blocked_from, day) for day in days])
    assess = assess[finally_known[assess] != UNKNOWN]
    return Fold(
        train,
        known_at_begin[train],
        assess,
        finally_known[assess],
        events.times[assess] // DAY,
        begin,
    )


def earlier_folds(
    events: LabelledEvents, begin: int, span: Span, lengths: Lengths, count: int
) -> Iterator[Fold]:
    """Yield the folds before the time when a model goes live, latest first.

    They use only labels known at that time, and end early enough for their own labels to be known.
    There are fewer than `count` folds if the events do not reach back far enough.

    Args:
        events: Events in order of time.
        begin: Time when the model goes live; a midnight, in microseconds since 1970 UTC.
        span: Days that each fold is trained on.
        lengths: Lengths of the delay and of the assessed days.
        count: Largest number of folds.
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
    """Begin of a span.

    Args:
        span: The span.
        until: End of the span, in microseconds since 1970 UTC.
        first: Begin of the table, which is the begin of the span of all days.
    """
    return first if span.days is None else until - microseconds(span.days)


def microseconds(days: float) -> int:
    """Convert days, which may be fractional, to microseconds."""
    return round(days * DAY)


def _assessed(events: LabelledEvents, since: int, day: int) -> Rows:
    """Rows of a day, without cards known to be compromised by events from `since` on."""
    before = events.between(since, day)
    known = (events.labels[before] == 1) & (events.label_times[before] <= day)
    compromised = np.unique(events.cards[before[known]])
    rows = events.between(day, day + DAY)
    return rows[~np.isin(events.cards[rows], compromised)]
