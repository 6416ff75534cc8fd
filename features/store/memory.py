"""An online store within the process, for replay, ``score`` and tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class MemoryStore:
    """Keeps what is written until the process ends."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return list(map(self._values.get, keys))

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values.update(pairs)

    def ping(self) -> None:
        pass

    def close(self) -> None:
        pass
