"""Windows of one entity, and the keys that they need for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from base.arrays import Longs
from features.history.layout import Layout, StoredColumn, StoredKind
from features.history.namespace import Namespace
from features.values.grouping import grouped, order_of
from features.values.keys import Keys
from features.windows.kernel import rows
from features.windows.kernel.aggregates import DECAYED
from features.windows.kernel.structs import NOWHERE, CompiledWindows
from features.windows.window import Across, Aggregate, HistoryRules, Window
from schemas.batch import EventBatch

WORTH = 16
"""Minimum number of members that a compaction removes; it must also be the number that stays."""


class EntityWindows:
    """Windows of one entity over one history.

    Attributes:
        reach: Length of its longest window, delay included, in microseconds.
        horizon: Distance back from an event of the members that its windows and the search for
            duplicates depend on, in microseconds. Members of a shared history are judged when they
            are read, by those before them: the oldest one of a window by others that are older by
            `duplicates`.
        back: Distance before the watermark that a later event may see, in microseconds.
        own: True if all events of a key are in one partition; the histories of others are shared.
        delay: Longest delay of its windows, in microseconds.
        most_delayed: Longest time in microseconds from an event to its record's timestamp with
            which it joins; None if record timestamps do not decide it.
        labelled: True if a window counts frauds.
        compiled: The windows in the form that the compiled loop reads.
    """

    def __init__(
        self, entity: str, windows: Sequence[Window], rules: HistoryRules, origin: Any = None
    ) -> None:
        """Prepare the windows; ``origin`` is the definition of key, id and time of its events."""
        self.entity = entity
        self.windows = tuple(windows)
        self.rules = rules
        kept = (column for w in windows for column in (w.value, w.where, w.same))
        self.own = all(window.across is Across.OWN for window in windows)
        self.layout = Layout.of(
            [column for column in kept if column is not None],
            [origin, self.own, *rules.of_members],
        )
        self.reach = max(window.reach for window in windows)
        self.delay = max(window.delay for window in windows)
        aligned = (window.delay for window in windows if window.across is Across.ALIGNED)
        self.most_delayed = min(aligned, default=None) if rules.arrival else None
        self.horizon = (
            max(rules.duplicates, self.reach) if self.own else rules.duplicates + self.reach
        )
        self.back = rules.allowed_lateness + self.horizon
        self.labelled = any(w.aggregate is Aggregate.FRAUD_SHARE for w in windows)
        self.compiled = self.compile()

    def compile(self) -> CompiledWindows:
        """The windows in the form that the compiled loop reads."""
        windows, columns = self.windows, self.layout.columns
        pairs, of_window, height = _pairs(windows, columns, shared=not self.own)
        fields: Mapping[str, Any] = self.layout.dtype.fields or {}
        return CompiledWindows(
            np.array(
                [
                    [_kind(w) for w in windows],
                    [w.reach for w in windows],
                    [w.delay for w in windows],
                    [w.include_current for w in windows],
                    of_window,
                ],
                np.int64,
            ),
            np.array(
                [
                    [w.default for w in windows],
                    [w.unit for w in windows],
                    [w.parameter for w in windows],
                ],
                np.float64,
            ),
            pairs,
            np.array(
                [
                    [fields[column.key][1] for column in columns],
                    [column.kind is StoredKind.CONDITION for column in columns],
                ],
                np.int64,
            ),
            height,
            self.layout.dtype.itemsize,
            self.horizon,
            self.rules.duplicates,
            self.rules.cap,
            WORTH,
            not self.own,
            self.delay,
        )

    def joining(self) -> EntityWindows:
        """The same histories without windows: computed is only which events join them."""
        joining = copy(self)
        joining.windows, joining.labelled, joining.reach = (), False, 0
        joining.horizon = self.rules.duplicates
        joining.back = self.rules.allowed_lateness + joining.horizon
        joining.compiled = joining.compile()
        return joining

    def request(self, batch: EventBatch, namespace: Namespace) -> HistoryRequest:
        """Build the request for the keys of a batch."""
        keys, codes = grouped(batch.entity_keys[self.entity])
        order = order_of(codes, len(keys))
        of_histories = namespace.history_prefix(self.entity, self.layout.digest)
        of_labels = namespace.label_prefix(self.entity)
        return HistoryRequest(
            keys.behind(of_histories),
            keys.behind(of_labels) if self.labelled else None,
            order,
            codes[order],
        )


class HistoryRequest(NamedTuple):
    """Keys of U histories and of their labels, and their N events.

    The events are ordered by history, those of one history in the order of the log.

    Attributes:
        histories: Keys of the histories.
        labels: Keys of the labels; None if no window needs them.
        rows: int64[N], the row of each event in the batch.
        codes: int64[N], non-decreasing, the history of each event.
    """

    histories: Keys
    labels: Keys | None
    rows: Longs
    codes: Longs

    @property
    def keys(self) -> list[Keys]:
        """Keys to read: histories before labels."""
        return [self.histories] if self.labels is None else [self.histories, self.labels]


def _kind(window: Window) -> int:
    """Aggregate of a window, as the compiled loop names it."""
    return DECAYED if window.half_life else list(Aggregate).index(window.aggregate)


def _pairs(
    windows: Sequence[Window], columns: Sequence[StoredColumn], *, shared: bool
) -> tuple[Longs, list[int], int]:
    """Find the distinct pairs of value and filters, and rows for the filters that are computed.

    Returns:
        The pairs, as in `CompiledWindows`; index of the pair by window; rows of
        ``History.members``.
    """
    row_of = {column.key: rows.KEPT + index for index, column in enumerate(columns)}
    used = [
        tuple(row_of[c.key] if c else NOWHERE for c in (w.value, w.where, w.same)) for w in windows
    ]
    distinct = list(dict.fromkeys(used))
    # Behind the kept columns, shared histories have the place of the member before with the same id.
    behind = count(rows.KEPT + len(columns) + (1 if shared else 0))
    wheres = dict.fromkeys(where for _, where, _ in distinct)
    where_of = {where: next(behind) if shared else where for where in wheres}
    sames = dict.fromkeys(pair[1:] for pair in distinct)
    filter_of = {
        (where, same): where_of[where] if same == NOWHERE else next(behind) for where, same in sames
    }
    pairs = [
        (value, where_of[where], where, same, filter_of[where, same])
        for value, where, same in distinct
    ]
    table = np.array(pairs, np.int64).reshape(-1, 5).T
    return np.ascontiguousarray(table), [distinct.index(pair) for pair in used], next(behind)
