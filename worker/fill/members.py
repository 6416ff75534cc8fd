"""Members that events add to histories, found without the online store."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from features.compute.enrich import compute
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.writes import Appends
from features.tables.history_run import SweptStore
from features.values.frame import Frame
from features.windows.plan import WindowRequest
from schemas.batch import EventBatch


class Members:
    """Members that the events of a log add, by the compiled loop that scoring uses.

    A local store holds the members that decide about duplicates: those of histories whose events
    are in one partition, as far back as ids are remembered.

    Args:
        feature_set: Feature set whose windows read the histories.
        namespace: Namespace of the histories.
    """

    def __init__(self, feature_set: FeatureSet, namespace: Namespace) -> None:
        self._of_event = feature_set.of_event
        self._namespace = namespace
        self._plan = feature_set.histories.joining()
        self._own = [entity for entity in self._plan.entities if entity.own]
        self._prefixes = frozenset(
            namespace.history_prefix(entity.entity, entity.layout.digest) for entity in self._own
        )
        self._local = SweptStore()

    def add(self, batch: EventBatch, log: LogState) -> tuple[Appends, LogState]:
        """Find the members that the next events add. The call may be repeated.

        Args:
            batch: Events.
            log: State of the log before them.

        Returns:
            The members; the state of the log behind the events.
        """
        request = WindowRequest(self._plan, batch, self._namespace, log)
        frame = Frame(batch, self._namespace.key)
        stored = self._local.read_all(request.keys).values
        with np.errstate(all="ignore"):
            compute(self._of_event, frame)
            writes = request.windowed(stored, frame).writes
        self._keep_beyond(batch, request.after)
        appends = Appends.of(writes.appends)
        self._local.append(appends.where(self._prefixes.__contains__), writes.compactions)
        return appends, request.after

    def forget(self, log: LogState, partitions: Collection[int]) -> None:
        """Drop what no later event needs.

        Args:
            log: State of the log.
            partitions: Partitions from which events will still come.
        """
        watermarks = log.watermarks(self._plan.rules.watermark_support)
        if partitions and watermarks.keys() >= {*partitions}:
            self._local.sweep(min(watermarks[p] for p in partitions) - self._plan.back)

    def _keep_beyond(self, batch: EventBatch, after: LogState) -> None:
        """Note the event time reached, and the keys of the few events beyond it."""
        watermarks = after.watermarks(self._plan.rules.watermark_support)
        self._local.now = max(self._local.now, *watermarks.values(), 0)
        beyond = np.flatnonzero(batch.event_time > self._local.now)
        if len(beyond):
            later = batch.take(beyond)
            for entity in self._own:
                keys = entity.request(later, self._namespace).histories.to_list()
                self._local.outlive(keys, int(later.event_time.max()))
