"""Events that both workers scored, as columns side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.definition.spec import MICROSECONDS
from tools.compare.join import Joined
from tools.compare.scores import Longs, ScoreCategories, ScoreProvenance
from tools.compare.side import ScoreLog
from tools.compare.words import Codes

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class WorkerAnswers:
    """What one worker answered to N events.

    scores: float64[N]; decisions: int32[N]; alerts: bool[N], decisions other than the default;
    made: by how many scores each maker has, most first.
    """

    scores: npt.NDArray[np.float64]
    decisions: Codes
    alerts: Mask
    made: Sequence[tuple[ScoreProvenance, int]]


@dataclass(frozen=True, slots=True, eq=False)
class ComparedEvents:
    """N events in order of position.

    times: int64[N], microseconds since 1970-01-01 UTC; days: int64[N], since 1970 in UTC; cards:
    int64[N], numbers from 0; labels: int8[N], -1 where nobody has said.
    decisions: the names of the decisions' numbers.
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
    """The columns of the joined rows."""
    rows, own = joined.champion, champion.scores
    times = own.times[rows]
    return ComparedEvents(
        times,
        times // MICROSECONDS["d"],
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
