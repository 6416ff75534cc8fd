"""Enrich: events to the feature matrix, with one trip to the online store."""

from __future__ import annotations

from dataclasses import dataclass

from features.definition import Enriched, FeatureSet
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
