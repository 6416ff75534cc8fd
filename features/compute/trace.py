"""Trace of a window feature's value: the members that it counts."""

from __future__ import annotations

import numpy as np

from features.compute.enrich import compute
from features.definition.feature_set import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import OnlineStore
from features.values.frame import Frame
from features.windows.trace import Traced
from features.windows.trace import trace as trace_window
from schemas.batch import EventBatch


def trace(
    feature_set: FeatureSet,
    feature: str,
    row: int,
    batch: EventBatch,
    stored: tuple[OnlineStore, LogState, Namespace],
) -> Traced:
    """List the members that a window feature counts for the event at ``row``.

    Args:
        feature_set: The feature set.
        feature: Name of the window feature.
        row: Row of the event in the batch.
        batch: N events.
        stored: The store, the state of the log before the batch, and the namespace.

    Returns:
        The window's value and its members.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The store holds a value that is not a history.
    """
    frame = Frame(batch, stored[2].key)
    with np.errstate(all="ignore"):
        compute(feature_set.of_event, frame)
    window = next(window for window in feature_set.histories.windows if window.name == feature)
    return trace_window(feature_set.histories, window, row, batch, frame, stored)
