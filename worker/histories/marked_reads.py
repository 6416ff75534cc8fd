"""Reads of histories for a micro-batch, with their marks behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from base.arrays import Longs
from features.store.protocol import Hashes, OnlineStore, ReadResult
from features.values.keys import Keys
from schemas.batch import Records
from worker.histories.alignment import Alignment, NotAlignedError, Wait, wait_for_labels
from worker.histories.marks import Marks
from worker.labels import LabelFeed


class MarkedReads:
    """Reads of a store for one micro-batch, with the marks of the histories behind them.

    Args:
        store: Online store.
        marks: Marks of the histories.
        alignment: Comparison of events with the marks.
        records: Records of the N events of the micro-batch.
        until: int64[N], as of `Enriching`.
        offsets: Offset of the next record of each partition that the worker reads.
        labels: Feed of the labels topic; None without one.
    """

    def __init__(
        self,
        store: OnlineStore,
        marks: Marks,
        alignment: Alignment,
        records: Records,
        until: Longs,
        offsets: Mapping[int, int],
        labels: LabelFeed | None,
    ) -> None:
        self._store = store
        self._marks = marks
        self._alignment = alignment
        self._records = records
        self._until = until
        self._offsets = offsets
        self._labels = labels

    def read_all(self, keys: Sequence[Keys], hashes: Sequence[Hashes] = ()) -> ReadResult:
        """Read as the store does, and check the marks.

        Raises:
            HistoriesLostError: The store has lost members before the offsets.
            NotAlignedError: Some events cannot be scored yet.
        """
        marks = self._marks
        while True:
            # Others may write between the histories or labels and the marks behind them. So loss
            # shows in the marks behind them, and completeness in those from before as well.
            before = marks.read, marks.labels
            read = self._store.read_all(keys, hashes, marks.keys)
            marks.take(read)
            marks.require(self._offsets)
            if waits := self._waits(marks.read, marks.labels):
                raise NotAlignedError(waits)
            if not self._waits(*before):
                return read

    def _waits(self, marks: Sequence[npt.NDArray[Any]], of_labels: Longs) -> dict[int, Wait]:
        """First event of each partition that cannot be scored yet, by these marks."""
        events = self._until, self._records.partitions, self._records.offsets
        labels = self._labels
        if labels is not None and len(self._until) and not labels.are_applied(of_labels):
            return wait_for_labels(labels.entities[0], *events)
        return self._alignment.waits(marks, *events)
