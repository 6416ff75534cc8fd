"""Computation of a micro-batch's features in three steps, each of which can use another thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.compute.frame import Frame
from features.compute.matrix import Enriched, Writes, assemble
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.lookups.lookup import Lookup, LookupRequest
from features.store.protocol import Found, OnlineStore
from features.values.flags import Flags
from features.windows.plan import WindowPlan, WindowRequest
from features.windows.portions import Each
from schemas.batch import EventBatch

FAILED = "python_failed"
"""Kind of the flags that are named after a Python feature."""


class Computable(Protocol):
    """The part of a feature that computation needs.

    Attributes:
        of_event: True if the feature reads the event alone, without windows.
        compute: Function from a frame to float64[N] (0-d for a constant), NaN where missing.
    """

    @property
    def name(self) -> str: ...
    @property
    def of_event(self) -> bool: ...
    @property
    def compute(self) -> Callable[[Frame], npt.NDArray[np.float64]]: ...


class FeatureDefinitions(Protocol):
    """The part of a feature set that computation needs."""

    @property
    def features(self) -> Sequence[Computable]: ...
    @property
    def lookups(self) -> Mapping[str, Lookup]: ...
    @property
    def histories(self) -> WindowPlan: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def flags(self) -> Flags: ...
    @property
    def hooks(self) -> Sequence[str]: ...


class Enriching:
    """First step for N events, without the store: the keys to read, and the events that are late.

    Attributes:
        after: State of the log behind the batch.
    """

    def __init__(
        self,
        feature_set: FeatureDefinitions,
        batch: EventBatch,
        log: LogState,
        namespace: Namespace,
    ) -> None:
        self._feature_set = feature_set
        self._batch = batch
        self._lookups = LookupRequest(tuple(feature_set.lookups.values()), batch)
        self._windows = WindowRequest(feature_set.histories, batch, namespace, log)
        self._key = namespace.key
        self.after = self._windows.after

    def read(self, store: OnlineStore, each: Each = map) -> StoreRead:
        """Read lookups and histories in one round trip, and compute the windows.

        The store must have the writes of the micro-batch before. The call does not change it.

        Args:
            store: The online store.
            each: ``map``, or the ``map`` of a thread pool.

        Returns:
            The second step, with everything that was read.

        Raises:
            DependencyUnavailableError: The store does not answer.
            ConfigurationError: The store holds a value that is not a history.
        """
        lookups, windows, frame = self._lookups, self._windows, Frame(self._batch, self._key)
        keys = [*lookups.keys, *windows.keys]
        asks = bool(keys or lookups.hashes)
        found = store.read_all(keys, lookups.hashes) if asks else Found([], [])
        looked_up = lookups.looked_up(found)
        frame.lookups = looked_up.values
        # Division by zero, overflow and the like give a missing value here.
        with np.errstate(all="ignore"):
            compute(self._feature_set.features, frame, of_event=True)
            windowed = windows.windowed(found.values[len(lookups.keys) :], frame, each)
        frame.windows = windowed.values
        flags = {**looked_up.flags, **windowed.flags}
        return StoreRead(self._feature_set, frame, flags, windowed.writes, self.after)


@dataclass(frozen=True, slots=True, eq=False)
class StoreRead:
    """Second step for N events: looked-up values and windows, and the writes for the store.

    Attributes:
        feature_set: The feature set.
        frame: All values except the features that depend on windows.
        flags: bool[N] by flag, without those of Python features.
        writes: Writes for the online store, as in ``Enriched``.
        after: State of the log behind the batch, as in ``Enriched``.
    """

    feature_set: FeatureDefinitions
    frame: Frame
    flags: Mapping[str, npt.NDArray[np.bool_]]
    writes: Writes
    after: LogState

    def finish(self) -> Enriched:
        """Compute the other features and the matrix; does not need the store."""
        made, frame = self.feature_set, self.frame
        with np.errstate(all="ignore"):
            compute(made.features, frame, of_event=False)
            matrix = assemble(len(frame), [frame.features[name] for name in made.names])
        failed = {f"{FAILED}:{name}": rows for name, rows in frame.failed.items()}
        flags = made.flags.encode(len(frame), {**self.flags, **failed})
        return Enriched(matrix, flags, self.writes, self.after)


def compute(features: Iterable[Computable], frame: Frame, *, of_event: bool) -> None:
    """Add features to the frame.

    Args:
        features: Features of the feature set, in order.
        frame: Values of the micro-batch; changed in place.
        of_event: True for the features of the event alone, False for those that depend on windows.
    """
    for feature in features:
        if feature.of_event is of_event:
            frame.features[feature.name] = feature.compute(frame)
