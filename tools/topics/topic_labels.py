"""Labels of the labels topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from base.errors import RecordError
from features.definition import FeatureSet
from features.loading import LabelRows
from features.loading.label_files import LabelFields
from schemas.avro.raw_values import ValueReader
from schemas.batch import Records, Refusal, refusals
from schemas.files.read import decode_rows
from tools.topics.topic_log import TopicLog
from worker.schema_sources import label_source
from worker.settings import WorkerSettings


class TopicLabels:
    """Labels of a topic, each at its own position; any schema with a label's fields will do."""

    def __init__(self, feature_set: FeatureSet, settings: WorkerSettings, log: TopicLog) -> None:
        self._topic = settings.kafka.labels_topic
        self._fields = LabelFields(feature_set)
        self._paths = {**self._fields.needed, **self._fields.optional}
        self._values = ValueReader(label_source(settings), settings.wire.max_record_bytes)
        self._log = log

    def count(self) -> int:
        """Upper bound of the number of records."""
        return self._log.count()

    def __iter__(self) -> Iterator[tuple[LabelRows, list[Refusal]]]:
        """Yield some labels, and a refusal for each invalid record among them.

        Raises:
            DependencyUnavailableError: The brokers or the registry do not answer.
        """
        for records in self._log:
            yield self._labels(records)

    def _labels(self, records: Records) -> tuple[LabelRows, list[Refusal]]:
        headers = records.headers or [None] * len(records)
        read = [self._values.read(v, h) for v, h in zip(records.values, headers, strict=True)]
        bad = {row: found for row, found in enumerate(read) if isinstance(found, RecordError)}
        bad |= records.faults
        decoded = decode_rows(
            [{} if row in bad else cast("dict[str, Any]", found) for row, found in enumerate(read)],
            self._paths,
            self._fields.aliases,
            f"topic {self._topic}",
        )
        labels, errors = self._fields.read(
            decoded, len(records), records.partitions, records.offsets
        )
        return labels, refusals(
            {**errors, **bad},
            lambda row: (
                f"{self._topic}, partition {records.partitions[row]}, offset {records.offsets[row]}"
            ),
        )
