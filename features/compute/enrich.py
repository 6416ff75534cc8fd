"""Compute the features of a micro-batch in three steps, each of which may run in another thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.arrays import Floats, Floats32
from features.compute.matrix import Enriched, assemble
from features.definition.feature_set import FeatureSet
from features.expression import ExpressionProgram
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.lookups.history import LookupHistory
from features.lookups.lookup import LookupRequest
from features.store.protocol import OnlineStore, ReadResult, StoreReads, Writes
from features.store.stored_values import StoredValues
from features.values.flags import FAILED
from features.values.frame import Frame
from features.windows.plan import Each, WindowRequest
from schemas.batch import EventBatch

_EMPTY_LOG = LogState()
_NO_LOOKUPS: Mapping[str, LookupHistory] = {}
_NOTHING_READ = ReadResult(StoredValues.of([]), [])


def enrich(
    feature_set: FeatureSet,
    batch: EventBatch,
    store: OnlineStore,
    log: LogState = _EMPTY_LOG,
    namespace: Namespace | None = None,
    each: Each = map,
) -> Enriched:
    """Compute the matrix of N events, a function of the batch, the log before it and the store.

    The values of a row have the same bits alone and in any batch. The store is only read; the
    writes that it needs before the next batch are in ``writes`` of the result. Callers that do
    other work between the steps use ``Enriching``.

    Args:
        feature_set: The feature set.
        batch: N events.
        store: The online store.
        log: State of the log before the batch.
        namespace: Namespace of the histories; by default that of a store for this run alone.
        each: ``map``, or the ``map`` of a thread pool.

    Returns:
        The features of the events.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The store holds a value that is not a history.
    """
    return Enriching(feature_set, batch, log, namespace).read(store, each).finish()


class Enriching:
    """First step for N events, without the store: the keys to read, and the events that are late.

    Lookups in ``past_lookups`` have their past values, and the others those of the store.

    Attributes:
        after: State of the log after the batch.
        until: int64[N], event time up to which the windows of each event look, less their delays.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        batch: EventBatch,
        log: LogState,
        namespace: Namespace | None = None,
        past_lookups: Mapping[str, LookupHistory] = _NO_LOOKUPS,
    ) -> None:
        namespace = namespace or Namespace.local(feature_set.name)
        self._feature_set = feature_set
        self._batch = batch
        lookups = tuple(feature_set.lookups.values())
        self._lookups = LookupRequest(lookups, batch, past_lookups)
        self._windows = WindowRequest(feature_set.histories, batch, namespace, log)
        self._key = namespace.key
        self.after = self._windows.after
        self.until = self._windows.until

    def read(self, store: StoreReads, each: Each = map) -> StoreRead:
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
        stored = store.read_all(keys, lookups.hashes) if asks else _NOTHING_READ
        looked_up = lookups.looked_up(stored)
        frame.lookups, frame.vectors = looked_up.values, looked_up.vectors
        # Division by zero, overflow and the like give a missing value here.
        with np.errstate(all="ignore"):
            compute(self._feature_set.of_event, frame)
            windowed = windows.windowed(stored.values[lookups.count :], frame, each)
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
        after: State of the log after the batch, as in ``Enriched``.
    """

    feature_set: FeatureSet
    frame: Frame
    flags: Mapping[str, npt.NDArray[np.bool_]]
    writes: Writes
    after: LogState

    def finish(self) -> Enriched:
        """Compute the other features and the matrix; does not need the store."""
        feature_set, frame = self.feature_set, self.frame
        with np.errstate(all="ignore"):
            compute(feature_set.of_store, frame)
            vectors = {name: frame.vectors[value] for name, value in feature_set.vectors.items()}
            parts: Mapping[str, Floats | Floats32] = frame.features
            if vectors:
                parts = {**frame.features, **vectors}
            matrix = assemble(len(frame), len(feature_set.names), feature_set.places, parts)
        failed = {f"{FAILED}:{name}": rows for name, rows in frame.failed.items()}
        flags = feature_set.flags.encode(len(frame), {**self.flags, **failed})
        return Enriched(matrix, flags, self.writes, self.after)


def compute(programs: Iterable[ExpressionProgram], frame: Frame) -> None:
    """Add the features of ``programs`` to the frame."""
    for program in programs:
        frame.features |= program.run(frame)
