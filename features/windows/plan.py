"""Windows of a feature set, by entity."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from operator import call
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from base.arrays import Floats
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import Writes
from features.store.stored_values import StoredValues
from features.store.writes import Appends, Compactions
from features.values.frame import Frame
from features.values.hash64 import hash_ids
from features.windows.coverage import coverage, find_short, without_histories
from features.windows.engine import EntityComputation, Portion
from features.windows.entity_windows import EntityWindows
from features.windows.position import WindowPosition, arrived_after, late_across, locate
from features.windows.window import Across, HistoryRules, Window
from schemas.batch import EventBatch

Each = Callable[[Callable[[Portion], None], Sequence[Portion]], Iterable[None]]
"""``map``, or the ``map`` of a thread pool."""

CAPPED, SHORT = "history_capped", "history_short"
"""Kinds of flags that are named after an entity, too."""
LATE, AHEAD, DUPLICATE = "late", "ahead", "duplicate"
"""Flags of events, of whatever entity."""
ACROSS_LATE = "across_late"
"""Flag of events that aligned windows of other partitions have missed. It depends on when an event
came to its partition, not on the log alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """Windows of N events.

    Attributes:
        values: float64[N] by window.
        flags: bool[N] by flag.
        writes: Writes to the histories.
    """

    values: Mapping[str, Floats]
    flags: Mapping[str, npt.NDArray[np.bool_]]
    writes: Writes = field(default_factory=Writes)


class WindowPlan:
    """All windows of a feature set, and the rules for all of them.

    Attributes:
        windows: The windows.
        rules: Rules for all windows.
        entities: Windows by entity.
        aligned_delay: Shortest delay of an aligned window, in microseconds; None without one.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        rules: HistoryRules,
        origins: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Prepare the windows; ``origins`` are those of `EntityWindows`, by entity."""
        self.windows = tuple(windows)
        self.rules = rules
        self.entities = tuple(
            EntityWindows(
                entity, [w for w in windows if w.entity == entity], rules, origins.get(entity)
            )
            for entity in dict.fromkeys(window.entity for window in windows)
        )
        self._whole = self.entities
        aligned = (window.delay for window in windows if window.across is Across.ALIGNED)
        self.aligned_delay = min(aligned, default=None)

    def joining(self) -> WindowPlan:
        """The same histories without windows, whose state of the log is that of the windows."""
        joining = copy(self)
        joining.windows = ()
        joining.entities = tuple(entity.joining() for entity in self.entities)
        return joining

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the flags that windows give to events."""
        if not self.entities:
            return ()
        return (
            LATE,
            AHEAD,
            DUPLICATE,
            *(() if self.aligned_delay is None else (ACROSS_LATE,)),
            *(f"{CAPPED}:{e.entity}" for e in self.entities),
            *(f"{SHORT}:{e.entity}" for e in self.entities),
        )

    @property
    def layouts(self) -> Mapping[str, str]:
        """The digest, by entity, of the fields that the members of its histories keep."""
        return {plan.entity: plan.layout.digest for plan in self.entities}

    @property
    def backs(self) -> Mapping[str, int]:
        """The distance before the watermark that a later event may see, by entity; microseconds."""
        return {plan.entity: plan.back for plan in self.entities}

    @property
    def back(self) -> int:
        """The distance before the watermark that a later event may see, in microseconds."""
        return max((plan.back for plan in self.entities), default=self.rules.allowed_lateness)

    @property
    def span(self) -> int:
        """The distance before the watermark that a fill for later events must know; microseconds.

        A later event sees members up to ``back``. Members that are older by up to ``duplicates``
        decide which of these are duplicates.
        """
        back = max((whole.back for whole in self._whole), default=self.rules.allowed_lateness)
        return back + self.rules.duplicates

    @property
    def horizons(self) -> Mapping[str, int]:
        """The distance that windows and duplicates look back, by entity; microseconds."""
        return {plan.entity: plan.horizon for plan in self.entities}

    @property
    def reaches(self) -> Mapping[str, int]:
        """The length of the longest window, by entity; microseconds."""
        return {plan.entity: plan.reach for plan in self.entities}

    def find_short(
        self,
        namespace: Namespace,
        batch: EventBatch,
        at: WindowPosition,
        log: LogState,
        after: LogState,
    ) -> tuple[dict[str, npt.NDArray[np.bool_]], LogState]:
        """Find the events of a batch that are short of history; see `coverage.find_short`."""
        return find_short(self._whole, namespace, batch, at, log, after)

    def coverage(self, log: LogState, namespace: Namespace) -> dict[str, float]:
        """Share of each entity's longest window that its histories reach back, 0 to 1."""
        return coverage(self.entities, namespace, log)


class WindowRequest:
    """Reads of all windows for N events, each key once, and the computation of the windows.

    Attributes:
        keys: Keys to read in one round trip; empty if there are no windows or no events.
        after: State of the log behind the batch.
        until: int64[N], as of `Enriching`: the event time, or for a late event the earliest time
            that would not have been late, as the cap counts from there.
    """

    def __init__(
        self, plan: WindowPlan, batch: EventBatch, namespace: Namespace, log: LogState
    ) -> None:
        self._plan = plan
        self._batch = batch
        entities = plan.entities if len(batch) else ()
        self._requests = [(entity, entity.request(batch, namespace)) for entity in entities]
        self.keys = [keys for _, request in self._requests for keys in request.keys]
        # Events that join no history leave a gap in them.
        self.after = log if self._requests else without_histories(log, batch)
        self.until = batch.event_time
        if self._requests:
            self._at, after = locate(batch, log, plan.rules, namespace.partitions)
            self.until = self._at.base
            self._across_late = late_across(batch, log, self._at.late, plan.aligned_delay)
            if plan.rules.arrival and plan.aligned_delay is not None:
                arrived_late = arrived_after(batch, plan.aligned_delay)
                self._across_late |= arrived_late & ~self._at.late
            self._short, after = plan.find_short(namespace, batch, self._at, log, after)
            pairs = log.pairs_at(self._at.first, plan.rules.watermark_support, plan.span)
            self.after = replace(after, pairs=pairs)
            self._ids = hash_ids(batch.event_id, namespace.key)

    def windowed(self, stored: StoredValues, frame: Frame, each: Each = map) -> Windowed:
        """Compute the windows from the values that were read for ``keys``.

        Args:
            stored: Stored values of ``keys``, in order.
            frame: Values of the batch, with the features of the event alone.
            each: ``map``, or the ``map`` of a thread pool; the units of work are independent.

        Returns:
            The windows.

        Raises:
            ConfigurationError: The store holds a value that is not a history.
        """
        plan, batch = self._plan, self._batch
        if not self._requests:
            return Windowed({w.name: np.empty(len(batch)) for w in plan.windows}, {})
        computations, portions, start = [], list[Portion](), 0
        for entity, request in self._requests:
            end = start + sum(map(len, request.keys))
            computed = EntityComputation(
                entity, request, batch, self._ids, frame, self._at, stored[start:end]
            )
            portions += computed.portions()
            computations.append(computed)
            start = end
        deque(each(call, portions), 0)
        flags = {
            LATE: self._at.late,
            AHEAD: self._at.ahead,
            ACROSS_LATE: self._across_late,
            DUPLICATE: np.logical_or.reduce([computed.duplicate for computed in computations]),
        }
        values: dict[str, Floats] = {}
        for (entity, _), computed in zip(self._requests, computations, strict=True):
            values |= zip((window.name for window in entity.windows), computed.values, strict=True)
            flags[f"{CAPPED}:{entity.entity}"] = computed.capped
        flags |= {f"{SHORT}:{entity}": short for entity, short in self._short.items()}
        appends = Appends([computed.appends for computed in computations])
        compactions = [part for computed in computations for part in computed.compactions]
        return Windowed(values, flags, Writes(appends, Compactions(compactions)))
