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
from features.store.protocol import Compaction, OnlineStore
from features.windows.engine import Computed, EntityWindows, compute_entity, locate, look, pack
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
    def horizons(self) -> Mapping[str, int]:
        """For each entity how far back its windows see, in microseconds."""
        return {plan.entity: plan.horizon for plan in self.entities}

    def compute(
        self,
        batch: EventBatch,
        frame: Frame,
        store: OnlineStore,
        log: LogState,
        namespace: Namespace,
    ) -> Windowed:
        """The windows of N events, with one read of the store. Raises as ``FeatureSet.enrich``."""
        flags = np.zeros(len(batch), np.uint32)
        if not self.entities or not len(batch):
            return Windowed({w.name: np.empty(len(batch)) for w in self.windows}, flags, after=log)
        at, after = locate(batch, log, self.rules)
        requests = [plan.request(batch, namespace) for plan in self.entities]
        found = store.read([key for r in requests for key in (*r.histories, *r.labels)])
        ids = names(batch.event_id)
        computed: list[Computed] = []
        start = 0
        for plan, request in zip(self.entities, requests, strict=True):
            end = start + len(request.histories) + len(request.labels)
            new = pack(plan.layout, batch, ids, frame)
            seen = look(plan, request, found[start:end], new, at)
            computed.append(compute_entity(plan, request, new, at, seen))
            start = end
        flags |= at.events.late.astype(np.uint32)
        for bit, entity in enumerate(computed, 2):
            flags |= entity.duplicate.astype(np.uint32) << np.uint32(1)
            flags |= entity.capped.astype(np.uint32) << np.uint32(bit)
        return Windowed(
            {name: column for entity in computed for name, column in entity.values.items()},
            flags,
            [item for entity in computed for item in entity.appends],
            [item for entity in computed for item in entity.compactions],
            after,
        )
