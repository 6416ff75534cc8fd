"""What two workers' answers are worth, where labels say what the events were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ConfigurationError
from features.loading import KnownLabels
from models.training.metrics import average_precision, card_precision, roc_auc
from schemas.batch import EventBatch, Records
from tools.compare.events import ComparedEvents, WorkerAnswers
from tools.compare.scores import Longs


@dataclass(frozen=True, slots=True)
class LabelledDecisions:
    """Labelled events with one decision, and the frauds among them.

    precision: frauds by events. recall: by all frauds.
    """

    events: int
    frauds: int
    precision: float
    recall: float


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Of one worker. card_precision: at the first cards of each day, as the Handbook counts."""

    average_precision: float
    roc_auc: float
    card_precision: float
    decisions: dict[str, LabelledDecisions]


@dataclass(frozen=True, slots=True)
class LabelledMetrics:
    """labelled: events that both scored and somebody has labelled."""

    labelled: int
    frauds: int
    champion: LabelledScores
    challenger: LabelledScores


class EventLabels:
    """Gives labels to scores by their event ids: the last word on each, whenever it was said."""

    def __init__(self, known: KnownLabels, *, unlabelled: int) -> None:
        """unlabelled: what those are that nobody has labelled, -1 (not known) or 0 (no frauds)."""
        self._known, self._unlabelled = known, np.int8(unlabelled)

    def __call__(self, event_id: pa.StringArray, event_time: Longs) -> npt.NDArray[np.int8]:
        n = len(event_id)
        nothing = np.zeros(n, np.int64)
        records = Records("", [None] * n, [None] * n, nothing.astype(np.int32), nothing, nothing)
        found = self._known.of(EventBatch(records, {}, event_id, event_time, None))
        labels = np.full(n, self._unlabelled, np.int8)
        labels[found.rows] = found.fraud
        return labels


def truth(events: ComparedEvents, top: int) -> LabelledMetrics:
    """Raises ConfigurationError unless there are labels, of frauds and of others."""
    known = events.labels >= 0
    labelled, frauds = int(known.sum()), int((events.labels == 1).sum())
    if not labelled:
        raise ConfigurationError(
            f"--labels: none of the {len(events):,} events that both scored has a label in it; see "
            "that it is of the same days, and names events as the topic does (event_id)"
        )
    if frauds in {0, labelled}:
        raise ConfigurationError(
            f"--labels: {frauds:,} of {labelled:,} labelled events are frauds: precision needs "
            "frauds and others; where only frauds are labelled, say --unlabelled legit"
        )
    return LabelledMetrics(
        labelled,
        frauds,
        *(_worth(events, answers, top) for answers in (events.champion, events.challenger)),
    )


def _worth(events: ComparedEvents, answers: WorkerAnswers, top: int) -> LabelledScores:
    rows = np.flatnonzero(events.labels >= 0)
    labels, scores = events.labels[rows], answers.scores[rows]
    decisions = answers.decisions[rows]
    frauds = int(labels.sum())
    decided = {}
    for code in np.unique(decisions).tolist():
        hits = labels[decisions == code]
        found = int(hits.sum())
        decided[events.decisions[code]] = LabelledDecisions(
            len(hits), found, found / len(hits), found / frauds
        )
    return LabelledScores(
        average_precision(labels, scores),
        roc_auc(labels, scores),
        card_precision(labels, scores, events.cards[rows], events.days[rows], top),
        decided,
    )
