"""Labels of the labels topic."""

from __future__ import annotations

from collections.abc import Iterator

from features.definition import FeatureSet
from features.loading import LabelRows
from schemas.batch import Records, Refusal, refusals
from tools.topics.topic_log import TopicLog
from worker.labels.label_decoder import LabelDecoder
from worker.settings import WorkerSettings


class TopicLabels:
    """Labels of a topic, each at its own position."""

    def __init__(self, feature_set: FeatureSet, settings: WorkerSettings, log: TopicLog) -> None:
        self._decode = LabelDecoder(feature_set, settings)
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
        labels, errors = self._decode(records)
        return labels, refusals(
            errors,
            lambda row: (
                f"{records.topic}, partition {records.partitions[row]}, "
                f"offset {records.offsets[row]}"
            ),
        )
