"""Fills of a worker: the input topic, its decoder, and where fills begin and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from confluent_kafka import Consumer

from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from schemas.avro.decoder import Decoder
from worker.fill.fill import Append, Fill, FilledHistories
from worker.fill.ranges import FillRange, RangeReader


class Checkpoints(Protocol):
    """Input topic, and the checkpoints of the group on it."""

    @property
    def topic(self) -> str:
        """Name of the input topic."""
        ...

    def bounds(self, partition: int) -> tuple[int, int]:
        """Read the bounds of a partition; see `StartOffsets.bounds`."""
        ...

    def checkpoints(self, partitions: Collection[int], timeout_s: float | None = None) -> LogState:
        """Read checkpoints; see `StartOffsets.log_state`."""
        ...


class LogSource:
    """Reader of the worker's input topic for fills.

    Args:
        poller: Poller of the input topic, or something else that knows the checkpoints.
        feature_set: Feature set whose windows read the histories.
        decoder: Decoder of the input topic.
        make_consumer: Makes a consumer for one fill.
        timeout_s: Bound on one answer of the brokers, in seconds.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        poller: Checkpoints,
        feature_set: FeatureSet,
        decoder: Decoder,
        make_consumer: Callable[[], Consumer],
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poller = poller
        self._feature_set = feature_set
        self._decoder = decoder
        self._make_consumer = make_consumer
        self._timeout_s = timeout_s
        self.clock = clock

    def bounds(self, partition: int) -> tuple[int, int]:
        """Offset of the first record, and the end behind committed records.

        Raises:
            KafkaException: The brokers do not answer.
        """
        return self._poller.bounds(partition)

    def checkpoints(self, partitions: Collection[int], timeout_s: float | None = None) -> LogState:
        """State of the log at the group's checkpoints; see `StartOffsets.log_state`."""
        return self._poller.checkpoints(partitions, timeout_s)

    def begin(
        self,
        namespace: Namespace,
        append: Append,
        ranges: Mapping[int, FillRange],
        state: LogState,
        present: Mapping[int, int],
        records: int,
    ) -> Fill:
        """Begin a fill.

        Args:
            namespace: Namespace of the histories.
            append: Appends members to the store.
            ranges: Range of each partition.
            state: State of the log at the begins of the ranges.
            present: As of `FilledHistories`.
            records: Maximum number of records in a step.
        """
        return Fill(
            FilledHistories(self._feature_set, self._decoder, namespace, append, present),
            RangeReader(self._make_consumer(), self._poller.topic, ranges, self._timeout_s),
            state,
            records=records,
            clock=self.clock,
        )
