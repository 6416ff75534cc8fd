"""Columns of the events that both workers scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.times import DAY
from tools.compare.join import Joined
from tools.compare.scores import Longs, ScoreCategories, ScoreProvenance
from tools.compare.side import ScoreLog
from tools.compare.words import Codes

Mask = npt.NDArray[np.bool_]


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


def events_of(
    champion: ScoreLog, challenger: ScoreLog, joined: Joined, vocabulary: ScoreCategories
) -> ComparedEvents:
    """Columns of the joined rows."""
    rows, own = joined.champion, champion.scores
    times = own.times[rows]
    return ComparedEvents(
        times,
        times // DAY,
        np.unique(own.cards[rows], return_inverse=True)[1],
        own.labels[rows],
        vocabulary.decisions.texts,
        _answers(champion, rows, vocabulary),
        _answers(challenger, joined.challenger, vocabulary),
    )


def _answers(
    side: ScoreLog, rows: npt.NDArray[np.intp], vocabulary: ScoreCategories
) -> WorkerAnswers:
    decisions = side.scores.decisions[rows]
    counts = np.bincount(side.scores.makers[rows], minlength=len(vocabulary.makers)).tolist()
    made = [(maker, count) for maker, count in zip(vocabulary.makers, counts, strict=True) if count]
    return WorkerAnswers(
        side.scores.scores[rows],
        decisions,
        decisions != vocabulary.decisions.code(side.default),
        sorted(made, key=lambda item: -item[1]),
    )
