"""What the worker asks of an online store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class OnlineStore(Protocol):
    """Binary values by binary keys.

    Every method raises DependencyUnavailableError where the store does not answer now; the same
    call may succeed later.
    """

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, None where there is none; one round trip for a micro-batch."""
        ...

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Sets each key to its value. Idempotent: a write that failed may be repeated."""
        ...

    def ping(self) -> None:
        """Returns when the store answers."""
        ...

    def close(self) -> None:
        """Gives back connections; the store can be used again afterwards."""
        ...
