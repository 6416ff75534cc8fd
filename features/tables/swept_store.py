"""In-memory store that frees histories that no event can see any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from features.store.memory import MemoryStore
from features.store.protocol import Compaction

_FEW = 10_000


class SweptStore(MemoryStore):
    """Store that drops keys that are no longer read; histories lose old members when they are read.

    Attributes:
        now: Event time reached so far, in microseconds. Nothing that is written is later, except
            the keys passed to `outlive`.
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
        """Keep these keys until ``time``, which is later than ``now``."""
        for key in keys:
            self._later[key] = max(time, self._later.get(key, time))

    def sweep(self, before: int) -> None:
        """Drop keys whose last write was when ``now`` was at or before ``before``.

        A sweep runs only once the number of keys has doubled, as its cost grows with that number.
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
