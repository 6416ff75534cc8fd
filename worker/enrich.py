"""Enrich: events to the feature matrix, with one trip to the online store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.definition import FeatureSet
from features.matrix import Enriched
from features.store.protocol import OnlineStore
from schemas.batch import EventBatch


@dataclass(frozen=True, slots=True, eq=False)
class Enrich:
    """Computes the feature set."""

    feature_set: FeatureSet
    store: OnlineStore

    def __call__(self, batch: EventBatch) -> Enriched:
        """Raises DependencyUnavailableError while the store is away."""
        return self.feature_set.enrich(batch, self.store)

    def counts(self, enriched: Enriched) -> dict[str, int]:
        """Events by flag."""
        if not enriched.flags.any():
            return {}
        return {
            name: int(np.count_nonzero(enriched.flags >> np.uint32(bit) & np.uint32(1)))
            for bit, name in enumerate(self.feature_set.flag_names)
        }
