"""Application of the labels topic to the labels in the online store, in steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from confluent_kafka import KafkaException

from base.errors import DependencyUnavailableError, ErrorCode, HistoriesLostError, RecordError
from features.definition import FeatureSet
from features.history.labels import LabelBatch, label_appends
from features.history.marks import MARK, Mark, read_marks, valid_marks
from features.history.namespace import Namespace
from features.history.watermarks import UNKNOWN
from features.loading.label_loader import new_labels
from features.loading.label_rows import UNKNOWN as NO_TIME
from features.loading.label_rows import whole_labels
from features.store.protocol import MarkWrite, OnlineStore, ServerRun
from schemas.batch import Records
from worker.labels.label_consumer import LabelConsumer
from worker.labels.label_decoder import LabelDecoder
from worker.labels.label_topic import SETTING, LabelTopic
from worker.process import metrics

log = structlog.get_logger(__name__)

_STEP_RECORDS = 2_000
_IDLE_S = 0.2
_NO_LABEL_TIME = RecordError(
    ErrorCode.BODY_INVALID,
    "the label has no label time, and features.yaml has no events.label.delay",
)


@dataclass(frozen=True, slots=True, eq=False)
class LabelTarget:
    """Labels in the online store.

    Attributes:
        namespace: Namespace of their keys.
        marks_key: Key of the marks of the labels topic.
        history_marks: Keys of the marks of the histories.
        expire_ms: TTL of labels after their last write, in milliseconds; None: they never expire.
    """

    namespace: Namespace
    marks_key: bytes
    history_marks: Sequence[bytes]
    expire_ms: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Marks in the store.

    Attributes:
        labels: MARK[Q], how far each partition of the labels topic is applied.
        scored: Highest watermark of the scored events; UNKNOWN without one.
        server: Run of the server.
    """

    labels: npt.NDArray[Any]
    scored: int
    server: ServerRun

    def end(self, partition: int) -> int:
        """Offset up to which a partition is applied; -1 without a mark."""
        known = partition < len(self.labels)
        return int(self.labels["reached"][partition]) - 1 if known else -1


class LabelApplier:
    """Reads assigned partitions of the labels topic and appends their labels to the store.

    A partition begins at its mark in the store. Labels are members that their position identifies,
    so two owners of a partition for a moment do no harm.

    Args:
        consumer: Consumer of the labels topic.
        topic: The labels topic.
        decode: Decoder of its records.
        feature_set: Feature set whose windows count frauds.
        store: Online store.
    """

    def __init__(
        self,
        consumer: LabelConsumer,
        topic: LabelTopic,
        decode: LabelDecoder,
        feature_set: FeatureSet,
        store: OnlineStore,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._decode = decode
        self._feature_set = feature_set
        self._store = store
        self._target: LabelTarget | None = None
        # Offset up to which each partition is applied.
        self._at: dict[int, int] = {}
        # Offset from which on labels are new: those before are read again.
        self._new_from: dict[int, int] = {}
        # True until the first append behind a rewind: one that failed may have added some of these
        # labels. To look for them reads all labels of each key, which is too slow for each step.
        self._may_repeat = True
        self._logged: set[ErrorCode] = set()

    def step(self, target: LabelTarget) -> None:
        """Apply the next labels; wait for them for a moment.

        Args:
            target: Labels in the store, which may have changed since the last step.

        Raises:
            DependencyUnavailableError: The store, the registry or the brokers do not answer.
            DeliveryFatalError: The topic cannot be read.
        """
        consumer = self._consumer
        held = self._held(target)
        if target is not self._target or self._is_lost(held):
            consumer.rewind_needed = True
        try:
            records, behind = consumer.poll(_STEP_RECORDS, _IDLE_S)
            if consumer.rewind_needed:
                self._rewind(target, held)
            elif behind:
                self._apply(target, held, records, behind)
        except HistoriesLostError as error:
            consumer.rewind_needed = True
            log.warning("labels_lost", reason=str(error))
        except KafkaException as error:
            consumer.rewind_needed = True
            raise DependencyUnavailableError(
                f"{SETTING}: the brokers do not answer: {error}"
            ) from error
        except DependencyUnavailableError:
            # What was polled is read again.
            consumer.rewind_needed = True
            raise

    def close(self) -> None:
        self._consumer.close()

    def _held(self, target: LabelTarget) -> _Held:
        read = self._store.read_all([], [], [target.marks_key, *target.history_marks])
        server = read.server or ServerRun("", 0)
        labels, *histories = [
            valid_marks(read_marks(value, len(value or b"") // MARK.itemsize), server)
            for value in read.marks
        ]
        scored = [int(marks["scored"].max()) for marks in histories if (marks["reached"] > 0).any()]
        return _Held(labels, max(scored, default=UNKNOWN), server)

    def _is_lost(self, held: _Held) -> bool:
        """True if the store has lost labels that were applied, or their marks."""
        return any(
            held.end(partition) < self._at.get(partition, -1)
            for partition in self._consumer.partitions
        )

    def _rewind(self, target: LabelTarget, held: _Held) -> None:
        """Begin each partition at its mark; at its first label where the mark is no place in it."""
        partitions = self._consumer.partitions
        bounds = self._topic.bounds(partitions)
        starts, begun = dict[int, int](), list[MarkWrite]()
        for partition, (first, end) in bounds.items():
            start = held.end(partition)
            self._new_from[partition] = start
            if not first <= start <= end:
                start, self._new_from[partition] = first, end
                mark = Mark(first, first).encode(held.server)
                begun.append(MarkWrite(target.marks_key, partition, None, mark))
            starts[partition] = start
        if begun:
            self._store.write_marks(begun, target.expire_ms)
        self._consumer.go_to(starts)
        self._target, self._at, self._may_repeat = target, starts, True
        if starts:
            log.info("reading_labels", topic=self._topic.name, starts=starts)

    def _apply(
        self, target: LabelTarget, held: _Held, records: Records, behind: Mapping[int, int]
    ) -> None:
        labels, refused = self._labels(records)
        entities = self._feature_set.labelled_entities
        marks = [
            MarkWrite(
                target.marks_key,
                partition,
                self._at[partition] + 1,
                Mark(int(held.labels["begin"][partition]), end).encode(held.server),
            )
            for partition, end in behind.items()
            if end > self._at[partition]
        ]
        appends = label_appends(labels, entities, target.namespace)
        if self._may_repeat:
            appends = new_labels(self._store, appends)
        self._store.append(appends, (), target.expire_ms, marks)
        self._may_repeat = False
        self._at.update(behind)
        metrics.labels.inc(len(labels))
        metrics.late_labels.inc(self._count_late(labels, held.scored))
        self._note(records, refused)

    def _labels(self, records: Records) -> tuple[LabelBatch, dict[int, RecordError]]:
        """Complete labels of N records, and the error, by row, of each invalid record."""
        labels, refused = self._decode(records)
        rows = np.setdiff1d(np.arange(len(records)), list(refused)).astype(np.intp)
        if self._feature_set.bindings.label is None:
            missing = labels.fraud & (labels.label_time == NO_TIME)
            refused |= dict.fromkeys(rows[missing].tolist(), _NO_LABEL_TIME)
            labels, rows = labels.take(np.flatnonzero(~missing)), rows[~missing]
        whole = whole_labels(self._feature_set, labels)
        refused |= {int(rows[row]): error for row, error in whole.errors.items()}
        return whole.labels, refused

    def _count_late(self, labels: LabelBatch, scored: int) -> int:
        """Number of new labels that scored events should have counted."""
        new_from = np.full(int(labels.partitions.max(initial=0)) + 1, 0)
        for partition, offset in self._new_from.items():
            if partition < len(new_from):
                new_from[partition] = offset
        is_new = labels.offsets >= new_from[labels.partitions]
        return int((is_new & (labels.label_time <= scored)).sum())

    def _note(self, records: Records, refused: Mapping[int, RecordError]) -> None:
        """Count the invalid records by code; log the first one of each code."""
        for code, number in Counter(error.code for error in refused.values()).items():
            metrics.refused_labels.labels(code.value).inc(number)
        for row, error in sorted(refused.items()):
            if error.code not in self._logged:
                self._logged.add(error.code)
                position = records.position(row)
                log.warning(
                    "label_refused",
                    topic=position.topic,
                    partition=position.partition,
                    offset=position.offset,
                    code=error.code.value,
                    reason=error.message,
                    meaning="such labels are skipped and counted; only the first one is logged",
                )
