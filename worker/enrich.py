"""Enrich: events to the feature matrix, with one trip to the online store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.definition import FeatureSet
from features.history.log_state import LogState
from features.matrix import Enriched
from features.store.protocol import OnlineStore
from features.windows.plan import AHEAD
from schemas.batch import EventBatch
from worker.histories import Histories


@dataclass(frozen=True, slots=True, eq=False)
class Enrich:
    """Computes the feature set."""

    feature_set: FeatureSet
    store: OnlineStore
    histories: Histories

    def __call__(self, batch: EventBatch, log: LogState) -> Enriched:
        """The features, and what they leave to be written; ``log``: the log's state before.

        Waits for the writes of the micro-batch before. Raises DependencyUnavailableError while the
        store is away.
        """
        enriching = self.feature_set.begin(batch, log, self.histories.namespace())
        self.histories.await_written()
        return enriching.read(self.store).finish()

    def ahead(self, batch: EventBatch, enriched: Enriched) -> dict[int, npt.NDArray[np.bool_]]:
        """For each partition of the batch which of its events are ahead of time."""
        if AHEAD not in self.feature_set.flag_names:
            return {}
        bit = np.uint64(self.feature_set.flag_names.index(AHEAD))
        ahead, of = (
            (enriched.flags >> bit & np.uint64(1)).astype(np.bool_),
            batch.records.partitions,
        )
        return {partition: ahead[of == partition] for partition in np.unique(of).tolist()}

    def counts(self, enriched: Enriched) -> dict[str, int]:
        """Events by flag."""
        return self.feature_set.count_flags(enriched.flags)
