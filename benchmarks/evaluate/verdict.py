"""Compare the worker's scores with those computed offline, and evaluate them by the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from benchmarks.evaluate.offline import Expected, scores_of
from benchmarks.evaluate.online import Scores, matching
from models.training.metrics import Metrics, brier_score, calibration_error


@dataclass(frozen=True, slots=True)
class Result:
    """Result on the test days of a split.

    Attributes:
        worth: Metrics of the scores.
        calibration_error: Expected calibration error of the scores.
        brier: Brier score.
        events: Number of events on the topic.
        assessed: Number of events without those of compromised cards.
        frauds: Number of frauds among the assessed events.
        differing: Number of margins that are not bit-equal to those computed offline.
        scores_differing: Number of scores that differ from those computed offline.
        dead_letters: Number of dead letters.
        bit_equal: True if no margin or score differs, and there are no dead letters.
    """

    metrics: Metrics
    calibration_error: float
    brier: float
    events: int
    assessed: int
    frauds: int
    differing: int
    scores_differing: int
    dead_letters: int
    bit_equal: bool

    def described(self) -> str:
        metrics = self.metrics
        return (
            f"ROC AUC {metrics.roc_auc:.4f}, average precision {metrics.average_precision:.4f}, card "
            f"precision at 100 {metrics.card_precision_100:.4f}; calibration error "
            f"{self.calibration_error:.5f}; {self.differing} margins and "
            f"{self.scores_differing} scores of {self.events:,} differ from those offline, {self.dead_letters} dead letters"
        )


def judge(want: Expected, scores: Scores, dead_letters: int) -> Result:
    """Evaluate the scores on the topic.

    Raises:
        ValueError: An event does not have exactly one score, or a score names another model.
    """
    places = matching(want.ids, scores)
    if places is None:
        raise ValueError(
            f"{len(scores.ids):,} scores on the topic are not one for each of {len(want.ids):,} events"
        )
    versions = pc.unique(scores.versions).to_pylist()
    if versions != [str(want.split.train_last)]:
        raise ValueError(f"scores name the model versions {versions}")
    margins, online = scores.margins[places], scores.scores[places]
    differing = int(np.sum(margins.view(np.uint32) != want.margins.view(np.uint32)))
    scores_differing = int(np.sum(online != scores_of(want.bundle, want.margins)))
    rows = want.assessed
    labels = want.labels[rows]
    return Result(
        Metrics.of(labels, online[rows], want.cards[rows], want.days[rows]),
        calibration_error(labels, online[rows]),
        brier_score(labels, online[rows]),
        len(places),
        int(rows.sum()),
        int(labels.sum()),
        differing,
        scores_differing,
        dead_letters,
        bit_equal=not (differing or scores_differing or dead_letters),
    )


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Summary line; the single split is the first of the four folds."""
    return {
        "single": _numbers(results[:1]),
        "prequential": {**_numbers(results), "folds": [_numbers([result]) for result in results]},
        "margins_bit_equal": all(result.bit_equal for result in results),
        "events": sum(result.events for result in results),
    }


def _numbers(results: Sequence[Result]) -> dict[str, float]:
    numbers = {
        **asdict(Metrics.mean([result.metrics for result in results])),
        "calibration_error": float(np.mean([result.calibration_error for result in results])),
        "brier": float(np.mean([result.brier for result in results])),
    }
    return {name: round(value, 5) for name, value in numbers.items()}
