"""The windows of a feature set, by entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from features.frame import Floats, Frame
from features.history.identity import names
from features.history.log_state import LogState
from features.history.namespace import Namespace
from features.store.protocol import Compaction
from features.windows.engine import EntityWindows, locate, pack
from features.windows.portions import Each, Work, joined, portions
from features.windows.window import HistoryRules, Window
from schemas.batch import EventBatch


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """values: float64[N] by window. flags: uint32[N], bits from ``WindowPlan.flag_names``."""

    values: Mapping[str, Floats]
    flags: npt.NDArray[np.uint32]
    appends: list[tuple[bytes, bytes]] = field(default_factory=list)
    compactions: list[Compaction] = field(default_factory=list)
    after: LogState = field(default_factory=LogState)


class WindowPlan:
    """All windows of a feature set, and what holds for them."""

    def __init__(self, windows: Sequence[Window], rules: HistoryRules) -> None:
        self.windows = tuple(windows)
        self.rules = rules
        self.entities = tuple(
            EntityWindows(entity, [w for w in windows if w.entity == entity], rules)
            for entity in dict.fromkeys(window.entity for window in windows)
        )

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The meaning of each bit of the flags, from the lowest."""
        if not self.entities:
            return ()
        return ("late", "duplicate", *(f"history_capped:{e.entity}" for e in self.entities))

    @property
    def back(self) -> int:
        """How far before the highest event time so far an event to come may see, in microseconds."""
        return max((plan.back for plan in self.entities), default=self.rules.allowed_lateness)

    @property
    def horizons(self) -> Mapping[str, int]:
        """For each entity how far back its windows see, in microseconds."""
        return {plan.entity: plan.horizon for plan in self.entities}


class WindowReading:
    """What the windows of N events read, each key once, and what they make of it.

    keys: to be read in one trip. Empty where there are no windows, or no events. each: does the
    works, which do not depend on each other.
    """

    def __init__(
        self, plan: WindowPlan, batch: EventBatch, namespace: Namespace, each: Each = map
    ) -> None:
        self._plan = plan
        self._batch = batch
        self._partitions = namespace.partitions
        self._each = each
        entities = plan.entities if len(batch) else ()
        self._requests = [(entity, entity.request(batch, namespace)) for entity in entities]
        self.keys = [key for _, r in self._requests for key in (*r.histories, *r.labels)]

    def windowed(self, found: Sequence[bytes | None], frame: Frame, log: LogState) -> Windowed:
        """The windows, from what was found for ``keys``. frame: with the features of the event alone.

        Raises ConfigurationError where the store holds something else than histories.
        """
        plan, batch = self._plan, self._batch
        flags = np.zeros(len(batch), np.uint32)
        if not self._requests:
            return Windowed({w.name: np.empty(len(batch)) for w in plan.windows}, flags, after=log)
        at, after = locate(batch, log, plan.rules, self._partitions)
        ids = names(batch.event_id)
        works: list[Work] = []
        start = 0
        for entity, request in self._requests:
            end = start + len(request.histories) + len(request.labels)
            new = pack(entity.layout, batch, ids, frame)
            works += portions(entity, request, found[start:end], new, at)
            start = end
        computed = joined(works, self._each(Work.run, works), len(batch))
        flags |= at.events.late.astype(np.uint32)
        for bit, one in enumerate(computed, 2):
            flags |= one.duplicate.astype(np.uint32) << np.uint32(1)
            flags |= one.capped.astype(np.uint32) << np.uint32(bit)
        return Windowed(
            {name: column for one in computed for name, column in one.values.items()},
            flags,
            [item for one in computed for item in one.appends],
            [item for one in computed for item in one.compactions],
            after,
        )
