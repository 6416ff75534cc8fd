"""Ends of partitions that lie behind the last record: control records or aborted ones follow it.

Such offsets hold nothing to score. If the checkpoint stayed before them, the lag that others see
would never be 0, and retention that deletes them would look like a loss of records.
"""

from __future__ import annotations

from collections.abc import Mapping

# Between two commits of an end of the same partition that no record goes with.
_APART_S = 5.0
# Transactions of producers end within their timeout, a minute by default.
_OPEN_FOR_S = 90.0


class Ends:
    """Next offset to read in each assigned partition, and its end once that was reached."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        # Ends that were reached; those among them that a commit has yet to go to.
        self._ends: dict[int, int] = {}
        self._uncommitted: set[int] = set()
        self._due_at: dict[int, float] = {}
        # For each partition the offset it stands at, and since when.
        self._held: dict[int, tuple[int, float]] = {}
        # Partitions that nothing has come of, and since when it could have.
        self._silent: set[int] = set()
        self._listening_since = 0.0

    def restart(self, starts: Mapping[int, int], now: float) -> None:
        """Forget all: each partition is read from its start."""
        self._silent = set(starts)
        self._listening_since = now
        self._next = dict(starts)
        self._ends.clear()
        self._uncommitted.clear()
        self._held.clear()

    def reach(self, ends: Mapping[int, int]) -> None:
        """Note the ends that partitions were read to, as the consumer says.

        Only the end-of-partition event tells them: a position may be of an earlier assignment.
        """
        self._silent.difference_update(ends)
        for partition, end in ends.items():
            self._ends[partition] = end
            if end > self._next.get(partition, end):
                self._next[partition] = end
                self._uncommitted.add(partition)

    def behind(self, last: Mapping[int, int]) -> dict[int, int]:
        """Take the offsets to commit with records that were just read.

        Args:
            last: offset of the last record of each partition.

        Returns:
            The end of the partition where it was reached behind that record, else the next offset.
        """
        self._silent.difference_update(last)
        self._uncommitted.difference_update(last)
        for partition, offset in last.items():
            self._next[partition] = max(offset + 1, self._ends.get(partition, 0))
        return {partition: self._next[partition] for partition in last}

    def due(self, now: float) -> dict[int, int]:
        """Take the ends that are worth a commit of their own by now (monotonic seconds)."""
        due = [p for p in self._uncommitted if now >= self._due_at.get(p, now)]
        self._due_at.update(dict.fromkeys(due, now + _APART_S))
        self._uncommitted.difference_update(due)
        return {partition: self._next[partition] for partition in due}

    def hurry(self, now: float) -> None:
        """Note that there was more to read than was read: a partition may have to wait its turn."""
        self._listening_since = now

    def silent(self, since: float) -> list[int]:
        """Partitions from which nothing has come since ``since`` (monotonic seconds)."""
        return sorted(self._silent) if self._listening_since < since else []

    def lag(self, high_watermarks: Mapping[int, int]) -> dict[int, int]:
        """Offsets between the next one to read and the high watermark."""
        return {
            p: max(0, high - self._next[p])
            for p, high in high_watermarks.items()
            if p in self._next
        }

    def held_up(self, lag: Mapping[int, int], now: float) -> dict[int, int]:
        """Partitions with a lag that were read to their end long ago: the offset they stand at.

        Reading ends at the first record of a transaction that is still open, whatever follows.
        """
        before, self._held = self._held, {}
        for partition, behind in lag.items():
            at = self._next[partition]
            if behind and self._ends.get(partition) == at:
                offset, since = before.get(partition, (at, now))
                self._held[partition] = (at, since if offset == at else now)
        return {p: at for p, (at, since) in self._held.items() if now - since >= _OPEN_FOR_S}
