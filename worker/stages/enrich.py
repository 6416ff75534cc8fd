"""Enrich: events to the feature matrix, with one trip to the online store."""

from __future__ import annotations

from dataclasses import dataclass

from features.compute.enrich import Enriching
from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import OnlineStore
from schemas.batch import EventBatch
from worker.histories import Histories


@dataclass(frozen=True, slots=True, eq=False)
class Enrich:
    """Computes the feature set."""

    feature_set: FeatureSet
    store: OnlineStore
    histories: Histories

    def __call__(self, batch: EventBatch, log: LogState) -> Enriched:
        """Compute the features of a micro-batch, and what they leave to be written to the store.

        Waits for the writes of the micro-batch before.

        Args:
            batch: Events of the micro-batch.
            log: State of the log before them.

        Raises:
            DependencyUnavailableError: The store is away.
        """
        enriching = Enriching(self.feature_set, batch, log, self.histories.namespace())
        self.histories.await_written()
        return enriching.read(self.store).finish()

    def coverage(self, enriched: Enriched) -> dict[str, float]:
        """For each entity the share of its longest window that histories reach back, 0 to 1."""
        namespace = self.histories.namespace() or Namespace.local(self.feature_set.name)
        return self.feature_set.histories.coverage(enriched.after, namespace)
