"""Namespace of a state, as its record in the store names it."""

from __future__ import annotations

from features.history.namespace import Namespace
from features.store.protocol import OnlineStore
from worker.histories.record import read_record


def find_namespace(store: OnlineStore, feature_set: str, state: str) -> Namespace | None:
    """Namespace of the histories that were claimed last; None if no worker has begun any."""
    record = read_record(store, feature_set, state)
    if record is None or record.source is None:
        return None
    return record.namespace(feature_set, state)
