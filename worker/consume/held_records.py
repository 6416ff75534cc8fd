"""Records of partitions whose next event waits, kept in memory instead of being fetched again."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

import numpy as np

from schemas.batch import Records

MOST_BYTES = 64 * 2**20
"""Memory of all kept records from which on none are fetched of the partitions with most of them."""
_CALM_BATCHES = 16
"""Batches without a wait after which half as many partitions share one."""
_CHUNK_BYTES, _RECORD_BYTES = 1_000, 250
"""Memory of a chunk and of a record, besides keys, values and headers."""


class HeldRecords:
    """Records that were polled and are not in a micro-batch yet, in order by partition.

    Seeking back instead, and fetching the records again, made a backlog of four partitions three
    times as slow (measured: 12,000 in place of 38,000 events/s).

    Attributes:
        full: Partitions of which no more records should be fetched.
    """

    def __init__(self) -> None:
        # Number of partitions that share a batch, and number of batches since one of them waited.
        self._shared_by, self._calm = 1, 0
        self._chunks: dict[int, deque[Records]] = defaultdict(deque)
        self._bytes: dict[int, int] = defaultdict(int)
        self._waiting: set[int] = set()
        self._stopped: set[int] = set()
        self.full: set[int] = set()

    @property
    def partitions(self) -> set[int]:
        """Partitions with kept records: they were polled further than they are processed."""
        return {partition for partition, chunks in self._chunks.items() if chunks}

    @property
    def has_ready(self) -> bool:
        """True if there are kept records of a partition that does not wait."""
        return bool(self.partitions - self._waiting)

    def hold(self, offsets: Mapping[int, int], records: Records) -> None:
        """Keep a micro-batch's records from these offsets on, before those that were kept."""
        for partition, offset in offsets.items():
            chosen = (records.partitions == partition) & (records.offsets >= offset)
            self._put(partition, records.take(np.flatnonzero(chosen)), front=True)
        self._waiting |= offsets.keys()
        self._shared_by, self._calm = len(self.partitions), 0

    def stop(self, offsets: Mapping[int, int], records: Records) -> None:
        """Keep records as `hold`, and fetch no more of these partitions, until `clear`."""
        self.hold(offsets, records)
        self._stopped |= offsets.keys()
        self._judge_full()

    def exchange(
        self, records: Records, most: int, highest: Mapping[int, tuple[int, ...]]
    ) -> Records:
        """Put records behind those that are kept, and take the next ones.

        The partition that is behind the others in event time goes first, so that they seldom wait
        for it. While none waits, it fills the micro-batch alone: with the entities of one partition
        it reads half as many bytes of histories as with those of four (measured). Else partitions
        share the micro-batch, because each gives only few records before one that waits.

        Args:
            records: Records that were just polled.
            most: Maximum number of records to take.
            highest: Highest event times of the records before, by partition, in descending order.

        Returns:
            The next records; ``records`` themselves if nothing is kept and nothing waits.
        """
        if not (self._waiting or self.partitions):
            return records
        polled = np.unique(records.partitions).tolist()
        for partition in polled:
            rows = np.flatnonzero(records.partitions == partition)
            self._put(partition, records if len(polled) == 1 else records.take(rows))
        taken, ready = list[Records](), self._in_turn(highest)
        shared_by = min(self._shared_by, len(ready))
        for number, partition in enumerate(ready):
            # Rounded up: else one of few records would never be that of the first partition.
            some = self._take(partition, -(-most // max(1, shared_by - number)))
            most -= sum(map(len, some))
            taken += some
        self._judge_full()
        return records[:0].behind(taken)

    def _in_turn(self, highest: Mapping[int, tuple[int, ...]]) -> list[int]:
        """Partitions that do not wait, earliest event time first."""
        self._calm += 1
        if self._calm > _CALM_BATCHES:
            self._shared_by, self._calm = max(1, self._shared_by // 2), 0
        ready = self.partitions - self._waiting
        return sorted(ready, key=lambda partition: (highest.get(partition, ())[-1:], partition))

    def release(self, partitions: Iterable[int]) -> None:
        """Let partitions be taken from their first kept record on."""
        self._waiting.difference_update(partitions)

    def clear(self) -> None:
        """Forget everything."""
        self._chunks.clear()
        self._bytes.clear()
        self._waiting.clear()
        self._stopped.clear()
        self._shared_by = 1
        self.full = set()

    def _put(self, partition: int, records: Records, *, front: bool = False) -> None:
        if len(records):
            self._bytes[partition] += _memory(records)
            chunks = self._chunks[partition]
            chunks.appendleft(records) if front else chunks.append(records)

    def _take(self, partition: int, most: int) -> list[Records]:
        chunks, taken = self._chunks[partition], []
        while chunks and most > 0:
            chunk = chunks.popleft()
            self._bytes[partition] -= _memory(chunk)
            if len(chunk) > most:
                self._put(partition, chunk[most:], front=True)
                chunk = chunk[:most]
            taken.append(chunk)
            most -= len(chunk)
        return taken

    def _judge_full(self) -> None:
        """A partition is full at its share of the memory, until it has half of that."""
        share = MOST_BYTES / max(1, len(self.partitions))
        self.full = self._stopped | {
            partition
            for partition in self.partitions
            if self._bytes[partition] >= (share / 2 if partition in self.full else share)
        }


def _memory(records: Records) -> int:
    """Estimated memory of records, in bytes."""
    texts = sum(sum(map(len, filter(None, some))) for some in (records.keys, records.values))
    headers = sum(
        len(name) + len(value or b"") for one in records.headers or () for name, value in one or ()
    )
    return _CHUNK_BYTES + _RECORD_BYTES * len(records) + texts + headers
