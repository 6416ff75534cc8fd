"""Join of champion and challenger by the position of the event: the events that both scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Mask, Rows
from base.errors import ConfigurationError
from base.times import DAY
from tools.compare.score_columns import Codes, ScoreCategories, ScoreProvenance
from tools.compare.score_log import OffsetRange, Place, ScoreLog

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


@dataclass(frozen=True, slots=True, eq=False)
class WorkerAnswers:
    """Scores and decisions of one worker on N events.

    Attributes:
        scores: float64[N].
        decisions: int32[N], codes of the decisions.
        alerts: bool[N], True for decisions other than the default.
        made: Number of scores by provenance, largest first.
    """

    scores: npt.NDArray[np.float64]
    decisions: Codes
    alerts: Mask
    made: Sequence[tuple[ScoreProvenance, int]]


@dataclass(frozen=True, slots=True, eq=False)
class ComparedEvents:
    """Columns of N events that both workers scored, in order of position.

    Attributes:
        times: int64[N], event times in microseconds since 1970-01-01 UTC.
        days: int64[N], days since 1970-01-01 UTC.
        cards: int64[N], numbers of the cards from 0.
        labels: int8[N], 1 for a fraud, 0 for none, -1 where the label is unknown.
        decisions: Name of each decision code.
        champion: The champion's scores and decisions.
        challenger: The challenger's scores and decisions.
    """

    times: Longs
    days: Longs
    cards: Longs
    labels: npt.NDArray[np.int8]
    decisions: tuple[str, ...]
    champion: WorkerAnswers
    challenger: WorkerAnswers

    def __len__(self) -> int:
        return len(self.times)


def join(champion: ScoreLog, challenger: ScoreLog, categories: ScoreCategories) -> Joined:
    """Join the scores of both workers by the position of the event.

    Raises:
        ConfigurationError: No event has both scores, or one position names two different events.
    """
    own, other = (dict(_offsets(log, categories)) for log in (champion, challenger))
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
        _unmatched(champion, challenger, rows, categories),
        _unmatched(challenger, champion, rows_other, categories),
    )


def _offsets(
    log: ScoreLog, categories: ScoreCategories
) -> Iterator[tuple[Place, tuple[int, Longs]]]:
    """Yield each topic and partition with its first row and its offsets."""
    topics = categories.topics.texts
    for (topic, partition), rows in log.scores.stretches():
        yield (topics[topic], partition), (rows.start, log.scores.offsets[rows])


def _unmatched(
    log: ScoreLog, other: ScoreLog, joined: Rows, categories: ScoreCategories
) -> Unmatched:
    rest = np.ones(len(log.scores), np.bool_)
    rest[joined] = False
    counts = np.zeros(4, np.int64)
    for place, (begin, offsets) in _offsets(log, categories):
        single = offsets[rest[begin : begin + len(offsets)]]
        letters = (other.letters or {}).get(place, _NONE)
        dead = np.isin(single, letters)
        single = single[~dead]
        # A partition of which the other has scored nothing counts as before its first.
        span = other.spans.get(place, OffsetRange(np.iinfo(np.int64).max, np.iinfo(np.int64).max))
        before, after = (single < span.first).sum(), (single > span.last).sum()
        counts += [dead.sum(), before, after, len(single) - before - after]
    return Unmatched(*counts.tolist())


def _require_one_input(
    champion: ScoreLog,
    challenger: ScoreLog,
    own: dict[Place, tuple[int, Longs]],
    other: dict[Place, tuple[int, Longs]],
) -> None:
    topics, topics_other = ({topic for topic, _ in places} for places in (own, other))
    if not topics & topics_other:
        raise ConfigurationError(
            f"kafka.input_topic: {champion.topic} has scores of {', '.join(sorted(topics))}, "
            f"{challenger.topic} of {', '.join(sorted(topics_other))}; events are joined by "
            "position, so give pipelines whose workers read one input topic"
        )


def _nothing_in_common(champion: ScoreLog, challenger: ScoreLog) -> ConfigurationError:
    def spans(log: ScoreLog) -> str:
        return ", ".join(
            f"{topic}[{partition}] {span.first} to {span.last}"
            for (topic, partition), span in sorted(log.spans.items())
        )

    return ConfigurationError(
        f"no event of these days has both scores: {champion.topic} holds scores of "
        f"{spans(champion)}, {challenger.topic} of {spans(challenger)}; see that both workers read "
        "the same input topic, and wait if the challenger began later"
    )


def _require_same_events(
    champion: ScoreLog, challenger: ScoreLog, rows: Rows, rows_other: Rows
) -> None:
    other = int((champion.scores.events[rows] != challenger.scores.events[rows_other]).sum())
    if other:
        raise ConfigurationError(
            f"{other:,} of {len(rows):,} positions are of one event on {champion.topic} and of "
            f"another on {challenger.topic}: the input topic was created again, or two topics have "
            "this name; compare the days since then, with --since"
        )


def _concat(parts: list[Rows]) -> Rows:
    return np.concatenate([np.empty(0, np.intp), *parts])


def events_of(
    champion: ScoreLog, challenger: ScoreLog, joined: Joined, categories: ScoreCategories
) -> ComparedEvents:
    """Columns of the joined rows."""
    rows, own = joined.champion, champion.scores
    times = own.times[rows]
    return ComparedEvents(
        times,
        times // DAY,
        np.unique(own.cards[rows], return_inverse=True)[1],
        own.labels[rows],
        categories.decisions.texts,
        _answers(champion, rows, categories),
        _answers(challenger, joined.challenger, categories),
    )


def _answers(log: ScoreLog, rows: Rows, categories: ScoreCategories) -> WorkerAnswers:
    decisions = log.scores.decisions[rows]
    counts = np.bincount(log.scores.makers[rows], minlength=len(categories.makers)).tolist()
    made = [(maker, count) for maker, count in zip(categories.makers, counts, strict=True) if count]
    return WorkerAnswers(
        log.scores.scores[rows],
        decisions,
        decisions != categories.decisions.code(log.default),
        sorted(made, key=lambda item: -item[1]),
    )
