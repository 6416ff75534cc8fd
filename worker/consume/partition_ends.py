"""Ends of partitions behind the last record, and stalled partitions.

Behind the last record there may be control records and aborted records, which hold nothing to
score. If the checkpoint stayed before them, the lag that others see would never be 0, and retention
that deletes them would look like a loss of records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

# Time between two commits of the same partition's end that go without records.
_APART_S = 5.0
# Producers' transactions end within their timeout, by default a minute.
_OPEN_FOR_S = 90.0
# After a longer time without a poll, a partition without records is not stalled.
_GAP_S = 5.0


class PartitionEnds:
    """Next offset to read in each assigned partition, and the end of the partition if reached."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        # Ends that were reached, and the partitions whose end is still to be committed.
        self._ends: dict[int, int] = {}
        self._uncommitted: set[int] = set()
        self._due_at: dict[int, float] = {}
        # For each partition with a lag, the offset at which reading stands, and since when.
        self._held: dict[int, tuple[int, float]] = {}

    def restart(self, starts: Mapping[int, int]) -> None:
        """Forget everything, and read each partition from its start."""
        self._next = dict(starts)
        self._ends.clear()
        self._uncommitted.clear()
        self._held.clear()

    def go_back(self, offsets: Mapping[int, int]) -> None:
        """Go back in partitions to these offsets: records from there on are kept."""
        self._next |= offsets
        self._uncommitted.difference_update(offsets)

    def reach(self, ends: Mapping[int, int], held: Collection[int] = ()) -> None:
        """Record the ends to which partitions were read.

        Only the consumer's end-of-partition events are reliable: its position may stem from an
        earlier assignment.

        Args:
            ends: End of each partition that was reached.
            held: Partitions with kept records before their ends.
        """
        for partition, end in ends.items():
            self._ends[partition] = max(end, self._ends.get(partition, end))
            if partition not in held and end > self._next.get(partition, end):
                self._next[partition] = end
                self._uncommitted.add(partition)

    def behind(self, last: Mapping[int, int], held: Collection[int] = ()) -> dict[int, int]:
        """Advance past records that were just read.

        Args:
            last: Offset of the last record of each partition.
            held: Partitions with kept records behind these.

        Returns:
            Offset to commit for each partition: its end where that was reached behind the record,
            else the next offset.
        """
        self._uncommitted.difference_update(last)
        for partition, offset in last.items():
            end = 0 if partition in held else self._ends.get(partition, 0)
            self._next[partition] = max(offset + 1, end)
        return {partition: self._next[partition] for partition in last}

    def due(self, now: float) -> dict[int, int]:
        """Take the ends to commit without records by now (monotonic seconds)."""
        due = [p for p in self._uncommitted if now >= self._due_at.get(p, now)]
        self._due_at.update(dict.fromkeys(due, now + _APART_S))
        self._uncommitted.difference_update(due)
        return {partition: self._next[partition] for partition in due}

    def lag(self, high_watermarks: Mapping[int, int]) -> dict[int, int]:
        """Number of offsets between the next one to read and the high watermark."""
        return {
            p: max(0, high - self._next[p])
            for p, high in high_watermarks.items()
            if p in self._next
        }

    def held_up(self, lag: Mapping[int, int], now: float) -> dict[int, int]:
        """Offset of each partition that has a lag although it was read to its end long ago.

        Reading ends at the first record of a transaction that is still open, whatever follows.
        """
        before, self._held = self._held, {}
        for partition, behind in lag.items():
            at = self._next[partition]
            if behind and self._ends.get(partition) == at:
                offset, since = before.get(partition, (at, now))
                self._held[partition] = (at, since if offset == at else now)
        return {p: at for p, (at, since) in self._held.items() if now - since >= _OPEN_FOR_S}


class StalledPartitions:
    """Partitions from which nothing has come while the consumer listened to them.

    The consumer listens while it polls at short intervals and takes everything that is there. In a
    poll that takes as many records as it may, a partition may have to wait for its turn. Times are
    monotonic seconds.
    """

    def __init__(self) -> None:
        self._unheard: set[int] = set()
        self._listening_since = 0.0
        self._polled_at = float("-inf")

    def restart(self, partitions: Iterable[int], now: float) -> None:
        """Listen to these partitions from now on."""
        self._unheard = set(partitions)
        self._listening_since = now

    def restart_stall_timer(self, now: float) -> None:
        """Count the time without records from now on."""
        self._listening_since = now

    def begin_poll(self, now: float) -> None:
        """Restart the stall timer if the last poll was too long ago."""
        if now - self._polled_at > _GAP_S:
            self._listening_since = now

    def end_poll(self, now: float, *, took_all: bool) -> None:
        """Record the end of a poll; ``took_all`` is True if no available record was left."""
        self._polled_at = now
        if not took_all:
            self._listening_since = now

    def heard_from(self, partitions: Iterable[int]) -> None:
        """Remove partitions from which a record or their end has come."""
        self._unheard.difference_update(partitions)

    def partitions(self, seconds: float, now: float) -> list[int]:
        """Partitions from which nothing has come for longer than this time."""
        self.begin_poll(now)
        return sorted(self._unheard) if self._listening_since < now - seconds else []
