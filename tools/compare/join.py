"""Join of champion and challenger by the position of the event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.errors import ConfigurationError
from tools.compare.scores import Longs, ScoreCategories
from tools.compare.side import OffsetRange, Place, ScoreLog

Rows = npt.NDArray[np.intp]
_NONE: Longs = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Counts of events that one worker scored and the other did not.

    Attributes:
        dead_lettered: Events that are dead letters of the other.
        before: Events before the other's first score of the partition, or of a partition of which
            the other has scored nothing: it began later.
        after: Events after the other's last score of the partition: it has not come so far.
        missing: All other events, missing for an unknown reason.
    """

    dead_lettered: int
    before: int
    after: int
    missing: int

    @property
    def total(self) -> int:
        return self.dead_lettered + self.before + self.after + self.missing


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Rows of N events that both workers scored, and counts of the events that only one scored.

    Attributes:
        champion: intp[N], rows of the champion's scores, in order.
        challenger: intp[N], rows of the challenger's scores of the same events.
        only_champion: Events that only the champion scored.
        only_challenger: Events that only the challenger scored.
    """

    champion: Rows
    challenger: Rows
    only_champion: Unmatched
    only_challenger: Unmatched


def join(champion: ScoreLog, challenger: ScoreLog, vocabulary: ScoreCategories) -> Joined:
    """Join the scores of both workers by the position of the event.

    Raises:
        ConfigurationError: No event has both scores, or one position names two different events.
    """
    own, other = (dict(_offsets(side, vocabulary)) for side in (champion, challenger))
    _require_one_input(champion, challenger, own, other)
    left, right = [], []
    for place in filter(other.__contains__, own):
        (begin, offsets), (begin_other, offsets_other) = own[place], other[place]
        _, rows, rows_other = np.intersect1d(
            offsets, offsets_other, assume_unique=True, return_indices=True
        )
        left.append(begin + rows)
        right.append(begin_other + rows_other)
    rows, rows_other = _concat(left), _concat(right)
    if not len(rows):
        raise _nothing_in_common(champion, challenger)
    _require_same_events(champion, challenger, rows, rows_other)
    return Joined(
        rows,
        rows_other,
        _alone(champion, challenger, rows, vocabulary),
        _alone(challenger, champion, rows_other, vocabulary),
    )


def _offsets(
    side: ScoreLog, vocabulary: ScoreCategories
) -> Iterator[tuple[Place, tuple[int, Longs]]]:
    """Yield each topic and partition with its first row and its offsets."""
    topics = vocabulary.topics.texts
    for (topic, partition), rows in side.scores.stretches():
        yield (topics[topic], partition), (rows.start, side.scores.offsets[rows])


def _alone(side: ScoreLog, other: ScoreLog, joined: Rows, vocabulary: ScoreCategories) -> Unmatched:
    rest = np.ones(len(side.scores), np.bool_)
    rest[joined] = False
    found = np.zeros(4, np.int64)
    for place, (begin, offsets) in _offsets(side, vocabulary):
        alone = offsets[rest[begin : begin + len(offsets)]]
        letters = (other.letters or {}).get(place, _NONE)
        dead = np.isin(alone, letters)
        alone = alone[~dead]
        # A partition of which the other has scored nothing counts as before its first.
        span = other.spans.get(place, OffsetRange(np.iinfo(np.int64).max, np.iinfo(np.int64).max))
        before, after = (alone < span.first).sum(), (alone > span.last).sum()
        found += [dead.sum(), before, after, len(alone) - before - after]
    return Unmatched(*found.tolist())


def _require_one_input(
    champion: ScoreLog,
    challenger: ScoreLog,
    own: dict[Place, tuple[int, Longs]],
    other: dict[Place, tuple[int, Longs]],
) -> None:
    topics, topics_other = ({topic for topic, _ in places} for places in (own, other))
    if not topics & topics_other:
        raise ConfigurationError(
            f"{champion.topic} has scores of {', '.join(sorted(topics))}, {challenger.topic} of "
            f"{', '.join(sorted(topics_other))}: they are compared event by event, so both workers "
            "have to read one input topic (kafka.input_topic)"
        )


def _nothing_in_common(champion: ScoreLog, challenger: ScoreLog) -> ConfigurationError:
    def told(side: ScoreLog) -> str:
        return ", ".join(
            f"{topic}[{partition}] {span.first} to {span.last}"
            for (topic, partition), span in sorted(side.spans.items())
        )

    return ConfigurationError(
        f"no event of these days is scored on both topics: {champion.topic} holds scores of "
        f"{told(champion)}, {challenger.topic} of {told(challenger)}; do both workers read the "
        "same input topic? Where the challenger began later, wait until it has scored some"
    )


def _require_same_events(
    champion: ScoreLog, challenger: ScoreLog, rows: Rows, rows_other: Rows
) -> None:
    other = int((champion.scores.events[rows] != challenger.scores.events[rows_other]).sum())
    if other:
        raise ConfigurationError(
            f"{other:,} of {len(rows):,} positions name one event on {champion.topic} and another "
            f"on {challenger.topic}: the input topic was made anew, or there are two of that name; "
            "compare the days since then with --since"
        )


def _concat(parts: list[Rows]) -> Rows:
    return np.concatenate([np.empty(0, np.intp), *parts])
