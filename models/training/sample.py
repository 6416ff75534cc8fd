"""Samples of training rows, and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from base.arrays import Rows
from base.times import DAY
from models.training.folds import Span
from models.training.table import LabelledEvents, Labels

SEARCH_ROWS: Final = 100_000
"""Largest number of rows of each fold that the search uses."""
FIT_ROWS: Final = 500_000
"""Largest number of rows that the model and the models of the earlier folds are fitted on."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows to fit a model on, in order of time.

    Attributes:
        rows: intp[N], rows of LabelledEvents.
        labels: 0/1 [N].
        weights: float32[N]; None if all are 1.
        shares: Sampled share of the legitimate events, and of the frauds.
    """

    rows: Rows
    labels: Labels
    weights: npt.NDArray[np.float32] | None
    shares: tuple[float, float]


def sample(
    events: LabelledEvents, rows: Rows, labels: Labels, span: Span, max_rows: int, seed: int
) -> Sample:
    """Take all rows, or a weighted sample of at most `max_rows`.

    A sampled row has the weight of the rows that it represents. All frauds are kept, unless there
    are more than half of `max_rows`. The same rows and seed give the same sample.

    Args:
        events: Events that the rows refer to.
        rows: intp[N], rows to sample, in order of time.
        labels: 0/1 [N], labels of the rows.
        span: Span of the rows. Its half-life is counted back from the last row.
        max_rows: Largest number of rows.
        seed: Random seed.
    """
    frauds = int(np.count_nonzero(labels))
    kept = min(frauds, max(max_rows // 2, max_rows - (len(labels) - frauds)))
    counts = (min(len(labels) - frauds, max_rows - kept), kept)
    shares = (
        counts[0] / max(1, len(labels) - frauds),
        counts[1] / max(1, frauds),
    )
    if min(shares) == 1.0 and span.half_life is None:
        return Sample(rows, labels, None, shares)
    random = np.random.default_rng(seed)
    taken = [
        random.choice(np.flatnonzero(labels == kind), counts[kind], replace=False)
        for kind in (0, 1)
    ]
    places = np.sort(np.concatenate(taken))
    weights = (1.0 / np.array(shares))[labels[places]]
    if span.half_life is not None:
        age = (events.times[rows[-1]] - events.times[rows[places]]) / DAY
        weights *= 0.5 ** (age / span.half_life)
    return Sample(rows[places], labels[places], weights.astype(np.float32), shares)
