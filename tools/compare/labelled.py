"""Metrics of two workers' scores and decisions on labelled events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs
from base.errors import ConfigurationError
from features.loading import KnownLabels
from models.training.metrics import average_precision, card_precision, roc_auc
from schemas.batch import EventBatch, Records
from tools.compare.join import ComparedEvents, WorkerAnswers


@dataclass(frozen=True, slots=True)
class LabelledDecisions:
    """Counts and metrics of the labelled events with one decision.

    Attributes:
        events: Number of events.
        frauds: Number of frauds among them.
        precision: Frauds divided by events.
        recall: Frauds divided by all labelled frauds.
    """

    events: int
    frauds: int
    precision: float
    recall: float


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Metrics of one worker's scores on labelled events.

    Attributes:
        average_precision: Average precision.
        roc_auc: Area under the ROC curve.
        card_precision: Precision at the first cards of each day, as the Handbook defines it.
        decisions: Metrics by decision.
    """

    average_precision: float
    roc_auc: float
    card_precision: float
    decisions: dict[str, LabelledDecisions]


@dataclass(frozen=True, slots=True)
class LabelledMetrics:
    """Metrics of both workers on labelled events.

    Attributes:
        labelled: Number of labelled events that both workers scored.
        frauds: Number of frauds among them.
        champion: Metrics of the champion.
        challenger: Metrics of the challenger.
    """

    labelled: int
    frauds: int
    champion: LabelledScores
    challenger: LabelledScores


class EventLabels:
    """Labels of scores by event id; the last label of an event counts, whatever its time."""

    def __init__(self, known: KnownLabels, *, unlabelled: int) -> None:
        """Prepare the labels.

        Args:
            known: All labels.
            unlabelled: Label of events without one: -1 (unknown) or 0 (no fraud).
        """
        self._known, self._unlabelled = known, np.int8(unlabelled)

    def __call__(self, event_id: pa.StringArray, event_time: Longs) -> npt.NDArray[np.int8]:
        n = len(event_id)
        nothing = np.zeros(n, np.int64)
        records = Records("", [None] * n, [None] * n, nothing.astype(np.int32), nothing, nothing)
        known = self._known.of(EventBatch(records, {}, event_id, event_time, None))
        labels = np.full(n, self._unlabelled, np.int8)
        labels[known.rows] = known.fraud
        return labels


def measure_labelled(events: ComparedEvents, top: int) -> LabelledMetrics:
    """Measure both workers on labelled events.

    Args:
        events: Events that both workers scored.
        top: Number of cards a day for the card precision.

    Raises:
        ConfigurationError: There are no labels, or only frauds, or no frauds.
    """
    known = events.labels >= 0
    labelled, frauds = int(known.sum()), int((events.labels == 1).sum())
    if not labelled:
        raise ConfigurationError(
            f"--labels: it has no label for any of the {len(events):,} events that both scored; see "
            "that it covers the same days and that its event_id holds the ids of these events"
        )
    if frauds in {0, labelled}:
        raise ConfigurationError(
            f"--labels: {frauds:,} of {labelled:,} labelled events are frauds, and the metrics need "
            "both classes; if only frauds are labelled, give --unlabelled legit"
        )
    return LabelledMetrics(
        labelled,
        frauds,
        *(
            _labelled_scores(events, answers, top)
            for answers in (events.champion, events.challenger)
        ),
    )


def _labelled_scores(events: ComparedEvents, answers: WorkerAnswers, top: int) -> LabelledScores:
    rows = np.flatnonzero(events.labels >= 0)
    labels, scores = events.labels[rows], answers.scores[rows]
    decisions = answers.decisions[rows]
    frauds = int(labels.sum())
    decided = {}
    for code in np.unique(decisions).tolist():
        hits = labels[decisions == code]
        hit_frauds = int(hits.sum())
        decided[events.decisions[code]] = LabelledDecisions(
            len(hits), hit_frauds, hit_frauds / len(hits), hit_frauds / frauds
        )
    return LabelledScores(
        average_precision(labels, scores),
        roc_auc(labels, scores),
        card_precision(labels, scores, events.cards[rows], events.days[rows], top),
        decided,
    )
