"""Windows of a feature set, by entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from base.arrays import Floats
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import Writes
from features.values.frame import Frame
from features.values.hash64 import hash_ids
from features.windows.coverage import coverage, find_short, without_histories
from features.windows.engine import Columns, EntityWindows, locate, member_columns
from features.windows.portions import Each, Work, portions
from features.windows.window import HistoryRules, Window
from schemas.batch import EventBatch

SHORT = "history_short"
"""Prefix of the flags of events that are short of history."""
LATE, AHEAD, DUPLICATE = "late", "ahead", "duplicate"
"""Flags of events, of whatever entity."""


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """Windows of N events.

    Attributes:
        values: float64[N] by window.
        flags: uint64[N], bits from ``WindowPlan.flag_names``.
        writes: Writes to the histories.
    """

    values: Mapping[str, Floats]
    flags: npt.NDArray[np.uint64]
    writes: Writes = field(default_factory=Writes)


class WindowPlan:
    """All windows of a feature set, and the rules for all of them."""

    def __init__(self, windows: Sequence[Window], rules: HistoryRules) -> None:
        self.windows = tuple(windows)
        self.rules = rules
        self.entities = tuple(
            EntityWindows(entity, [w for w in windows if w.entity == entity], rules)
            for entity in dict.fromkeys(window.entity for window in windows)
        )

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The name of each bit of the flags, from the lowest."""
        if not self.entities:
            return ()
        return (
            LATE,
            AHEAD,
            DUPLICATE,
            *(f"history_capped:{e.entity}" for e in self.entities),
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
    def horizons(self) -> Mapping[str, int]:
        """The distance that windows and duplicates look back, by entity; microseconds."""
        return {plan.entity: plan.horizon for plan in self.entities}

    @property
    def reaches(self) -> Mapping[str, int]:
        """The length of the longest window, by entity; microseconds."""
        return {plan.entity: plan.reach for plan in self.entities}

    def coverage(self, log: LogState, namespace: Namespace) -> dict[str, float]:
        """Share of each entity's longest window that its histories reach back, 0 to 1."""
        return coverage(self.entities, namespace, log)


class WindowRequest:
    """Reads of all windows for N events, each key once, and the computation of the windows.

    Attributes:
        keys: Keys to read in one round trip; empty if there are no windows or no events.
        after: State of the log behind the batch.
    """

    def __init__(
        self, plan: WindowPlan, batch: EventBatch, namespace: Namespace, log: LogState
    ) -> None:
        self._plan = plan
        self._batch = batch
        entities = plan.entities if len(batch) else ()
        self._requests = [(entity, entity.request(batch, namespace)) for entity in entities]
        self.keys = [key for _, r in self._requests for key in (*r.histories, *r.labels)]
        # Events that join no history leave a gap in them.
        self.after = log if self._requests else without_histories(log, batch)
        if self._requests:
            self._at, after = locate(batch, log, plan.rules, namespace.partitions)
            self._short, self.after = find_short(
                plan.entities, namespace, batch, self._at, log, after
            )
            self._ids = hash_ids(batch.event_id, namespace.key)

    def windowed(self, found: Sequence[bytes | None], frame: Frame, each: Each = map) -> Windowed:
        """Compute the windows from the values that were read for ``keys``.

        Args:
            found: Stored values of ``keys``, in order.
            frame: Values of the batch, with the features of the event alone.
            each: ``map``, or the ``map`` of a thread pool; the units of work are independent.

        Returns:
            The windows.

        Raises:
            ConfigurationError: The store holds a value that is not a history.
        """
        plan, batch = self._plan, self._batch
        flags = np.zeros(len(batch), np.uint64)
        if not self._requests:
            return Windowed({w.name: np.empty(len(batch)) for w in plan.windows}, flags)
        wholes = self._works(found, frame)
        parts = [part for whole in wholes for part in portions(whole)]
        writes = list(each(Work.run, parts))
        flags |= self._at.events.late.astype(np.uint64)
        flags |= self._at.ahead.astype(np.uint64) << np.uint64(1)
        for bit, whole in enumerate(wholes, 3):
            flags |= whole.columns.duplicate.astype(np.uint64) << np.uint64(2)
            flags |= whole.columns.capped.astype(np.uint64) << np.uint64(bit)
        for bit, short in enumerate(self._short.values(), 3 + len(wholes)):
            flags |= short.astype(np.uint64) << np.uint64(bit)
        return Windowed(
            {name: column for w in wholes for name, column in w.columns.values.items()},
            flags,
            Writes(
                [item for one in writes for item in one.appends],
                [item for one in writes for item in one.compactions],
            ),
        )

    def _works(self, found: Sequence[bytes | None], frame: Frame) -> list[Work]:
        """Units of work, one for each entity."""
        batch, ids, at = self._batch, self._ids, self._at
        works, start = [], 0
        for entity, request in self._requests:
            end = start + len(request.histories) + len(request.labels)
            events = member_columns(entity.layout, batch, ids, frame)
            columns = Columns.empty(entity, len(batch))
            works.append(Work(entity, request, found[start:end], events, at, columns))
            start = end
        return works
