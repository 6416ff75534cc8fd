"""Members from which one window's value was computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.history.layout import MISSING, StoredKind
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import OnlineStore
from features.values.frame import Frame
from features.values.hash64 import hash_ids
from features.windows.engine import EntityComputation
from features.windows.kernel.structs import Trace
from features.windows.plan import WindowPlan
from features.windows.position import locate
from features.windows.window import Window
from schemas.batch import EventBatch


@dataclass(frozen=True, slots=True)
class TracedMember:
    """A member that a window counted.

    Attributes:
        partition: Partition of the event.
        offset: Offset of the event.
        event_time: Microseconds.
        value: Value that is aggregated, None if the window has no value.
        fraud: True if labels known at the explained event's time say fraud.
        current: True for the explained event itself.
    """

    partition: int
    offset: int
    event_time: int
    value: float | None
    fraud: bool
    current: bool


@dataclass(frozen=True, slots=True)
class Traced:
    """A window's value and the members that it counts.

    Attributes:
        value: The value.
        after: Exclusive lower bound on the event time, in microseconds.
        until: Inclusive upper bound on the event time, in microseconds.
        members: The members.
    """

    value: float
    after: int
    until: int
    members: list[TracedMember]


def trace(
    windows: WindowPlan,
    window: Window,
    row: int,
    batch: EventBatch,
    frame: Frame,
    histories: tuple[OnlineStore, LogState, Namespace],
) -> Traced:
    """List the members that ``window`` counts for one event, in member order.

    Args:
        windows: Windows of the feature set.
        window: The window.
        row: Row of the event in the batch.
        batch: N events.
        frame: Values of the batch, with the features of the event alone.
        histories: The store, the state of the log before the batch, and the namespace.

    Returns:
        The window's value and its members.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The store holds a value that is not a history.
    """
    store, log, namespace = histories
    plan = next(p for p in windows.entities if p.entity == window.entity)
    at, _ = locate(batch, log, windows.rules, namespace.partitions)
    request = plan.request(batch, namespace)
    ids = hash_ids(batch.event_id, namespace.key)
    stored = store.read_all(request.keys).values
    computation = EntityComputation(plan, request, batch, ids, frame, at, stored)
    size = int(stored.lengths.clip(0).sum()) // plan.compiled.size + len(batch)
    of = plan.windows.index(window)
    traced = Trace(row, of, np.empty((6, size), np.int64), np.zeros(1, np.int64))
    for portion in computation.portions(traced):
        portion()
    members = [
        TracedMember(partition, offset, time, _value(window, kept), bool(fraud), bool(current))
        for partition, offset, time, kept, fraud, current in traced.members[
            :, : traced.number[0]
        ].T.tolist()
    ]
    value = float(computation.values[of, row])
    base, time = int(at.base[row]), int(batch.event_time[row])
    return Traced(value, base - window.reach, time - window.delay, members)


def _value(window: Window, kept: int) -> float | None:
    """Stored value in its unit, or None; also None for a text, of which only a hash is stored."""
    if window.value is None or window.value.kind is not StoredKind.VALUE or kept == MISSING:
        return None
    return kept / 10.0**window.value.scale
