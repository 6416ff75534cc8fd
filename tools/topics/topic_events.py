"""Events of the input topic for a training table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from features.compute.bind import bind
from features.definition import FeatureSet
from features.tables.event_files import CHUNK_ROWS
from features.tables.event_table import EventTable, as_array, identity_paths
from features.tables.merge import Merge
from models.policy import Rules
from schemas.batch import EventBatch, Records, Refusal, refusals
from tools.topics.topic_log import TopicLog
from worker.schema_sources import event_decoder
from worker.settings import WorkerSettings


class TopicEvents:
    """All events of a topic; several partitions are merged in the order of event time."""

    def __init__(
        self,
        feature_set: FeatureSet,
        settings: WorkerSettings,
        rules: Rules | None,
        log: TopicLog,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        """Prepare the decoder; rules is None if there is no policy.

        Raises:
            ConfigurationError: The schemas are invalid, or the registry's settings are.
        """
        self._feature_set = feature_set
        self._log = log
        self._chunk_rows = chunk_rows
        # The worker's decoder: histories hold only events that the worker can decode.
        self._decoder = event_decoder(settings, feature_set, rules)

    @property
    def partitions(self) -> int:
        return self._log.partitions

    def count(self) -> int:
        """Upper bound of the number of records."""
        return self._log.count()

    def __iter__(self) -> Iterator[EventTable]:
        """Yield the events in tables.

        Raises:
            DependencyUnavailableError: The brokers or the registry do not answer.
        """
        merge = Merge(self._chunk_rows, self._feature_set.histories.rules)
        refused: list[Refusal] = []
        given = rows = 0
        batch: EventBatch | None = None
        for records in self._log:
            batch, invalid = self._decoded(records)
            merge.add(batch)
            refused += invalid
            rows += len(records)
            while (merged := merge.take(self._log.unfinished)) is not None:
                yield self._events(merged, given, refused, rows)
                given, refused, rows = given + len(merged), [], 0
            self._log.pause(merge.full(self._log.unfinished))
        if rows and batch is not None:
            yield self._events(batch.take(np.arange(0)), given, refused, rows)

    def _decoded(self, records: Records) -> tuple[EventBatch, list[Refusal]]:
        decoded = self._decoder.decode(records.values, records.headers)
        # Only the positions and times of the records are needed from here on.
        nothing = [None] * len(records)
        places = Records(
            records.topic,
            nothing,
            nothing,
            records.partitions,
            records.offsets,
            records.timestamps,
            faults=records.faults,
        )
        batch, errors = bind(self._feature_set, places, decoded)
        return batch, refusals(
            errors,
            lambda row: f"partition {records.partitions[row]}, offset {records.offsets[row]}",
        )

    def _events(
        self, batch: EventBatch, first: int, refused: list[Refusal], rows: int
    ) -> EventTable:
        bindings = self._feature_set.bindings
        identity: dict[str, pa.Array] = {
            bindings.tokens.get(path, path): as_array(batch.columns[path])
            for path in identity_paths(bindings)
        }
        return EventTable(batch, identity, first + np.arange(len(batch)), None, refused, rows)
