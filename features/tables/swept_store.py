"""A store in memory that gives back what no event can see any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from features.store.memory import MemoryStore
from features.store.protocol import Compaction

_FEW = 10_000


class SweptStore(MemoryStore):
    """Histories lose their oldest members as they are read; this drops those that nobody reads.

    now: the event time that was reached, in microseconds: nothing that is written is later, but for
    what `outlive` was told of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self._written: dict[bytes, int] = {}
        self._later: dict[bytes, int] = {}
        self._due = _FEW

    def append(
        self,
        appends: Sequence[tuple[bytes, bytes]],
        compactions: Sequence[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        super().append(appends, compactions, expire_ms)
        self._written |= dict.fromkeys((key for key, _ in appends), self.now)

    def outlive(self, keys: Iterable[bytes], time: int) -> None:
        """Keep these until ``time``, which is later than ``now``."""
        for key in keys:
            self._later[key] = max(time, self._later.get(key, time))

    def sweep(self, before: int) -> None:
        """Drops what was last written to when ``now`` was not after ``before``.

        Looks once the keys have become twice as many: a look at all of them costs as much as they
        are.
        """
        if len(self._written) < self._due:
            return
        self._later = {key: time for key, time in self._later.items() if time > before}
        for key in [key for key, last in self._written.items() if last <= before]:
            if key in self._later:
                continue
            del self._written[key]
            self._values.pop(key, None)
        self._due = max(_FEW, 2 * len(self._written))
