"""Prequential folds: trained on what was known then, assessed on the days that came after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.training.table import UNKNOWN, LabelledEvents

DAY: Final = 86_400_000_000
Rows = npt.NDArray[np.intp]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Days: trained on, waited for labels, assessed."""

    train: int = 7
    delay: int = 7
    assess: int = 7

    @property
    def total(self) -> int:
        return self.train + self.delay + self.assess


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
    an event since ``train_from``. known_by: labels of assessed events that are known later do not
    count.
    """
    train_until = train_from + lengths.train * DAY
    begin = train_until + lengths.delay * DAY
    then = events.labels_known(begin)
    train = events.between(train_from, train_until)
    train = train[then[train] != UNKNOWN]
    finally_known = events.labels_known(known_by)
    days = [begin + day * DAY for day in range(lengths.assess)]
    assess = np.concatenate([_assessed(events, train_from, day) for day in days])
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
    events: LabelledEvents, train_from: int, lengths: Lengths, count: int
) -> Iterator[Fold]:
    """The folds before the test of a model that is trained from a time on, latest first.

    They end no later than the last day of training, and hold no label that is not known when that
    test begins. Fewer than ``count`` where the events do not reach back so far.
    """
    train_until = train_from + lengths.train * DAY
    known_by = train_until + lengths.delay * DAY
    first = int(events.times[0]) if len(events.times) else train_until
    for number in range(count):
        begin = train_until - (number * lengths.assess + lengths.total) * DAY
        if begin < first // DAY * DAY:
            return
        yield make_fold(events, begin, lengths, known_by)


def _assessed(events: LabelledEvents, since: int, day: int) -> Rows:
    """Rows of the day, of cards that nobody knows to be compromised."""
    before = events.between(since, day)
    known = (events.labels[before] == 1) & (events.label_times[before] <= day)
    compromised = np.unique(events.cards[before[known]])
    rows = events.between(day, day + DAY)
    return rows[~np.isin(events.cards[rows], compromised)]
